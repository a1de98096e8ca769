"""Reads an actor class: the service that its annotations declare."""
