"""The results of a pipelined session that can still be taken back.

Problem: a call takes an item out of a queue, or a lock. The caller gives the call up while the
result is on its way, or before anything takes it. The item would be lost, or the lock taken for
ever.

Mechanism: the host marks such a result as revocable, and remembers how to put back what the call
has taken. The client confirms the result, or cancels the request once nothing takes the result any
more.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from uactor.v1 import actor_pb2 as pb

_REVOCABLE = pb.SessionResponse(revocable=True).SerializeToString()
_MAX_RESULTS = 1 << 16
"""How many results are remembered. More would come from a client that confirms none."""


class RevocableResults:
    """How to put back what the results have taken, by request number.

    Any thread may call the methods.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._undo: dict[int, Callable[[], None]] = {}

    def add(
        self, number: int, undo: Callable[[], None], response: pb.SessionResponse | bytes
    ) -> pb.SessionResponse | bytes:
        """Remember how to undo a call, and return its response, marked."""
        with self._lock:
            self._undo[number] = undo
            if len(self._undo) > _MAX_RESULTS:
                del self._undo[next(iter(self._undo))]
        if isinstance(response, bytes):
            return response + _REVOCABLE
        response.revocable = True
        return response

    def confirm(self, number: int) -> None:
        """Forget how to undo a call: its result has been accepted."""
        with self._lock:
            self._undo.pop(number, None)

    def revoke(self, number: int) -> bool:
        """Undo a call; return whether it could be undone."""
        with self._lock:
            undo = self._undo.pop(number, None)
        if undo is not None:
            undo()
        return undo is not None
