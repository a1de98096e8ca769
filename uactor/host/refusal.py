"""The end of sessions that the host refuses."""

from __future__ import annotations

NO_THREADS = 'the actor process can start no more threads'


class RefusedError(Exception):
    """The host has ended the session, and has told the client why.

    What a client sends is no fault of the actor, so nothing is written to standard error.
    """
