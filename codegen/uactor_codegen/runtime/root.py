"""Root of the errors."""

from __future__ import annotations


class UActorException(Exception):
    """Something has gone wrong with an actor, or with a value for it."""
