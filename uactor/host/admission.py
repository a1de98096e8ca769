"""Strangers: those who have connected, and have not proved yet that they know the authkey.

Each takes a thread and a descriptor of the actor. So only so many are let in at a time, and each
has to prove itself soon, sooner when many are there. A client does in a millisecond.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from uactor.runtime.timers import Timer, timers

MOST = 256
"""How many there are at a time on one door."""
_CROWD = MOST // 2
_PATIENCE_S, _PATIENCE_WITH_A_CROWD_S = 10.0, 2.0
"""How long one may take to prove that it knows the key."""


class Strangers:
    """The strangers at one door.

    :param has_room: is called when there is room again for one more.
    """

    def __init__(self, has_room: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._timers: dict[object, Timer] = {}
        self._has_room = has_room

    def enter(self, stranger: object, end: Callable[[], None]) -> bool:
        """Take note of a stranger; return whether there was room, and it may be let in.

        :param end: ends its connection. It is called when the stranger takes too long.
        :raises RuntimeError: when the thread that watches the time can't be had.
        """
        with self._lock:
            there = len(self._timers)
            if there >= MOST:
                return False
            patience = _PATIENCE_S if there < _CROWD else _PATIENCE_WITH_A_CROWD_S
            self._timers[stranger] = timers.at(time.monotonic() + patience, end)
            return True

    @property
    def has_room(self) -> bool:
        """Whether one more may be let in."""
        return len(self._timers) < MOST

    def leave(self, stranger: object) -> None:
        """Take note that a stranger is none any more, or has gone."""
        with self._lock:
            timer = self._timers.pop(stranger, None)
            made_room = len(self._timers) == MOST - 1
        if timer is None:
            return
        timer.cancel()
        if made_room and self._has_room is not None:
            self._has_room()
