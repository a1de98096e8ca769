"""Limits on clients without a proof that they know the authkey.

Such a client takes a thread and a descriptor of the actor. So their number is limited, and each
must prove itself within seconds, sooner when there are many. A client of uactor needs one ms.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from uactor.runtime.timers import Timer, timers

MAX_UNPROVEN = 256
"""How many clients without a proof a listener admits at a time."""

_MANY_UNPROVEN = MAX_UNPROVEN // 2
_PROOF_TIMEOUT_S, _PROOF_TIMEOUT_IF_MANY_S = 10.0, 2.0
"""How long a client may take for its proof; the latter once there are many."""


class Admission:
    """Admits clients to one listener, and limits the time for their proof.

    :param on_room: called when there is room again for one more client.
    """

    def __init__(self, on_room: Callable[[], None] | None = None) -> None:
        self._lock = threading.Lock()
        self._timers: dict[object, Timer] = {}
        self._on_room = on_room

    def admit(self, client: object, end: Callable[[], None]) -> bool:
        """Admit a client, if there is room, and start its time limit.

        :param end: ends the connection of a client whose proof takes too long.
        :returns: whether there was room.
        :raises RuntimeError: when the thread of the timers cannot be started.
        """
        with self._lock:
            count = len(self._timers)
            if count >= MAX_UNPROVEN:
                return False
            is_crowded = count >= _MANY_UNPROVEN
            limit_s = _PROOF_TIMEOUT_IF_MANY_S if is_crowded else _PROOF_TIMEOUT_S
            self._timers[client] = timers.at(time.monotonic() + limit_s, end)
            return True

    @property
    def has_room(self) -> bool:
        """Whether one more client can be admitted."""
        return len(self._timers) < MAX_UNPROVEN

    def remove(self, client: object) -> None:
        """Forget a client that has proved itself, or has gone."""
        with self._lock:
            timer = self._timers.pop(client, None)
            made_room = len(self._timers) == MAX_UNPROVEN - 1
        if timer is None:
            return
        timer.cancel()
        if made_room and self._on_room is not None:
            self._on_room()
