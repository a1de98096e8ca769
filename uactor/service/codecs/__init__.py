"""Codecs: values of Python into messages of a typed service, and back."""
