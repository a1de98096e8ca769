"""How the pickle that a thread makes will be received."""

from __future__ import annotations

import threading
from collections.abc import Callable

GRANTED = 'granted'
"""Claim of a proxy whose hold the host has given to the receiver already."""


# --- what a pickle of a proxy may rely on -----------------------------------------------


class TransferContext:
    """Says how the pickle that this thread is making will be received.

    :ivar grants: ids of this process's objects whose holds the receiver gets along with
        the pickle; None when the receiver takes its holds itself.
    :ivar leases: those taken on objects of other actors, by their ids. One will do for all
        proxies of an object in the message, and for the second try where names won't do.
    :ivar undo: gives these leases up, when there is no message after all.
    :ivar has_proxies: whether the pickle holds any, whose receiver takes a hold when it comes.
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
    """Return how the pickle in the making travels; None for one that uactor doesn't send.

    In a passage the sender keeps its proxies alive until the receiver has them.
    """
    return _transfers.current


def restore_transfer(outer: TransferContext | None) -> None:
    """Let go of a passage that a signal handler left between two bytecodes of its ``with``."""
    _transfers.current = outer


class transfer:  # a generator would take four times as long, for each call
    """Say that what this thread pickles meanwhile is sent in one message by uactor."""

    __slots__ = ('_passage', '_previous')

    def __init__(self, granting: bool = False) -> None:
        self._passage = TransferContext(granting)

    def __enter__(self) -> TransferContext:
        self._previous, _transfers.current = _transfers.current, self._passage
        return self._passage

    def __exit__(self, kind: object, *exception: object) -> None:
        _transfers.current = self._previous
        if kind is not None:
            for undo in self._passage.undo:
                undo()
