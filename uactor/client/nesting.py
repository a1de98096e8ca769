"""Calls that are made from inside gRPC.

The garbage collector and signals interrupt threads anywhere, gRPC's own ones too, and
the finalizers and handlers that they run may call actors. While a thread is inside
gRPC, with its locks, no response to such a call comes through on the same channel. So
a connection has channels by number, and a call takes the first that its thread does
not block.
"""

from __future__ import annotations

import itertools
import sys
import threading


class _Blocked(threading.local):
    """The numbers of the channels that this thread blocks until it goes on."""

    channels: tuple[int, ...] = (0,)  # while __init__ is being interrupted

    def __init__(self) -> None:
        self.channels = (0,) if _runs_grpc() else ()


def _runs_grpc() -> bool:
    frame = sys._getframe()
    while frame is not None and frame.f_globals.get('__name__') != 'grpc._channel':
        frame = frame.f_back  # type: ignore[assignment]  # None at the bottom
    return frame is not None


_blocked = _Blocked()


def free_channel() -> int:
    """Return the number of the channel for a call of this thread."""
    channels = _blocked.channels
    if not channels:
        return 0
    return next(number for number in itertools.count() if number not in channels)


def is_free(channel: int) -> bool:
    """Tell whether this thread does not block ``channel``."""
    return channel not in _blocked.channels


def serves(channel: int) -> None:
    """Note that this thread is one of gRPC's own, at the service of ``channel``."""
    _blocked.channels = (channel,)


class Inside:
    """The context of what is done inside gRPC, on ``channel``."""

    __slots__ = ('_before', '_channel')

    def __init__(self, channel: int) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        self._before = _blocked.channels
        _blocked.channels = (*self._before, self._channel)

    def __exit__(self, *exception: object) -> None:
        _blocked.channels = self._before
