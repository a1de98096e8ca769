"""Fire all deadlines of this process on one thread."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.limits import MAX_WAIT_S
from uactor.runtime.locks import synchronized
from uactor.runtime.threads import OnDemandThread, attempt

_IDLE_S = 5.0
"""How long the thread waits without a timer before it ends, in seconds."""
_MIN_CANCELLED = 64
"""How many cancelled timers the heap may hold: to rebuild it for fewer does not pay."""


class Timer:
    """Calls a function at a given time, unless it is cancelled.

    :ivar when: the time, on the clock of :func:`time.monotonic`.
    """

    __slots__ = ('_call', '_timers', 'when')

    def __init__(self, timers: Timers, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self._timers = timers
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Cancel the timer, unless it has fired."""
        if self._take() is not None:
            self._timers._count_cancelled()

    def _take(self) -> Callable[[], object] | None:
        call, self._call = self._call, None
        return call

    def _fire(self) -> None:
        call = self._take()
        if call is not None:
            attempt('a deadline', call)


class Timers:
    """Calls functions at given times, on a thread that lives meanwhile."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start without timers, in a forked child."""
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self._changed = threading.Condition(self._lock)
        self._numbers = itertools.count()
        self._heap: list[tuple[float, int, Timer]] = []
        self._dead = 0
        self._thread = OnDemandThread('uactor-timers', self._step)

    def at(self, when: float, call: Callable[[], object]) -> Timer:
        """Call a function at ``when``, or soon if that has passed.

        :param call: the function. It must not block.
        :raises ValueError: when the time is NaN, which would break the order of all timers.
        :raises ResourceError: when the process can start no more threads. Then no timer is set.
        """
        if math.isnan(when):
            raise ValueError('a timer is set for a time, not for nan')
        timer = Timer(self, when, call)
        self._add(timer)
        return timer

    @synchronized
    def _add(self, timer: Timer) -> None:
        self._thread.ensure_running()
        heapq.heappush(self._heap, (timer.when, next(self._numbers), timer))
        if self._heap[0][2] is timer:
            self._changed.notify()

    @synchronized
    def _count_cancelled(self) -> None:
        """Drop the cancelled timers once they are the majority."""
        self._dead += 1
        if self._dead > _MIN_CANCELLED and self._dead * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2]._call is not None]
            heapq.heapify(self._heap)
            self._dead = 0

    def _step(self) -> bool:
        timer = self._next()
        if timer is None:
            return False
        timer._fire()
        return True

    def _next(self) -> Timer | None:
        """Wait for the next due timer and return it.

        Return None after a time without timers.
        """
        with self._changed:
            while True:
                left = self._heap[0][0] - time.monotonic() if self._heap else _IDLE_S
                if self._heap and left <= 0:
                    return heapq.heappop(self._heap)[2]
                if not self._changed.wait(min(left, MAX_WAIT_S)) and not self._heap:
                    self._thread.mark_finished()
                    return None


timers = Timers()
"""The timers of this process."""

at_fork(in_child=timers.reset)
