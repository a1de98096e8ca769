"""How a session ends that its client has not deserved."""

from __future__ import annotations

NO_THREADS = 'the actor process can start no more threads'


class Refused(Exception):
    """The session has been ended, and the client been told why.

    What a client sends is no fault of the actor: it is not worth a word on standard error.
    """
