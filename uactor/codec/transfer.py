"""How the receiver takes the pickle that a thread is making.

A proxy that is pickled has to keep its object until the receiver holds it. What the sender does for
that depends on the message that the pickle goes in. So the encoder of a message sets a context for
its thread, and the reducer of a proxy reads it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

GRANTED = 'granted'
"""The claim of a proxy whose hold the host has already given to the receiver."""


class TransferContext:
    """What the reducer of a proxy knows of the pickle's message.

    :ivar grants: ids of this process's own objects. The receiver gets their holds with the
        pickle. None when the receiver takes its holds itself.
    :ivar leases: leases on objects of other actors, by the ids of the objects. One lease serves all
        proxies of an object in the message, and a second attempt to pickle it.
    :ivar undo: functions that give the leases up when no message is sent after all.
    :ivar has_proxies: whether the pickle contains a proxy.
    """

    def __init__(self, granting: bool = False) -> None:
        self.grants: list[str] | None = [] if granting else None
        self.leases: dict[str, str] = {}
        self.undo: list[Callable[[], None]] = []
        self.has_proxies = False


class _Transfers(threading.local):
    current: TransferContext | None = None


_transfers = _Transfers()


def current_transfer() -> TransferContext | None:
    """Return the context of the pickle that this thread makes.

    Return None for a pickle outside uactor.
    """
    return _transfers.current


def restore_transfer(outer: TransferContext | None) -> None:
    """Restore the context that an interrupted ``with`` block has replaced.

    A signal handler may raise between two bytecodes of the block, before it restores the context
    itself.
    """
    _transfers.current = outer


# A generator would take four times as long, for each call.
class transfer:  # noqa: N801  # used as a function is
    """Set the context of what this thread pickles in the block.

    All of that goes in one message.
    """

    __slots__ = ('_context', '_previous')

    def __init__(self, granting: bool = False) -> None:
        self._context = TransferContext(granting)

    def __enter__(self) -> TransferContext:
        self._previous, _transfers.current = _transfers.current, self._context
        return self._context

    def __exit__(self, kind: object, *exception: object) -> None:
        _transfers.current = self._previous
        if kind is not None:
            for undo in self._context.undo:
                undo()
