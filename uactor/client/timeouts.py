"""Limits on how long an actor may take to answer."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from uactor.errors import ResourceError
from uactor.runtime.timers import Timer, timers

log = logging.getLogger('uactor.client')

HANDSHAKE_S = 20.0
"""How long it may take to open a session. A stopped actor never answers, and an actor whose code
holds the interpreter lock answers late. gRPC allows as much for each address."""

GRACE_S = 0.25
"""How long the host has to report that a deadline has passed."""

FORK_S = 1.0
"""How long a fork waits for an actor to lease inherited objects."""


class UnansweredError(Exception):
    """The host has not answered in time."""


class StreamTimeout(contextlib.AbstractContextManager[None]):
    """Breaks a stream off when the host takes too long.

    :param cancel: breaks the stream off; any thread may call it.
    :param seconds: how long the wait may last; None for any time.
    :ivar expired: whether the wait has taken too long.
    """

    def __init__(self, cancel: Callable[[], None], seconds: float | None) -> None:
        self._cancel = cancel
        self._seconds = seconds
        self._timer: Timer | None = None
        self.expired = False

    def __enter__(self) -> None:
        if self._seconds is None:
            return
        try:
            self._timer = timers.at(time.monotonic() + self._seconds, self._expire)
        except ResourceError as error:  # the wait may still end by itself
            log.warning('the time that an actor takes to answer is not limited: %s', error)

    def __exit__(self, *exception: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self._cancel()
