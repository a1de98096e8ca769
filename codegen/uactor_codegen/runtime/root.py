"""The root of the errors."""

from __future__ import annotations


class UActorException(Exception):
    """A call of an actor failed, or a value does not fit."""
