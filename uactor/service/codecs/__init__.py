"""Codecs convert Python values to messages of a typed service and back.

Generated clients carry a copy of this folder, which therefore needs Protobuf only.
"""
