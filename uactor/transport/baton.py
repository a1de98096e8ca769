"""Turns: which thread of this process makes calls, while others want to as well.

One thread runs Python at a time. A thread that sends or sleeps lets another one run, and has to
wait for that one when it comes back. Each of these changes takes longer than a small call, and
twice as long with two cores as with one. So as long as calls come back soon, one thread makes
its calls for a while, and the others wait for their turn, asleep. Whoever makes calls once
in a while only is let in between two calls of the one that makes them in a row, and whoever has
to sleep for an answer lets the next one go on.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from time import perf_counter

from uactor.runtime.locks import locked

_SLICE = 5e-3
"""How long a thread goes on making calls in a row, in seconds, as Python's own threads run."""
_PAUSE = 50e-6
"""How soon calls follow each other that are made in a row, in seconds."""
_LOOK = 1e-3
"""After how long one looks whether the thread whose turn it is makes calls still, in seconds."""
_LONGEST = 50e-3
"""After how long a thread goes on without its turn, in seconds."""


class _Waiter:
    """A thread that wants to make a call."""

    __slots__ = ('in_a_row', 'ready', 'rest', 'thread')

    def __init__(self, thread: int, in_a_row: bool, rest: Callable[[], None]) -> None:
        self.thread = thread
        self.in_a_row = in_a_row
        self.rest = rest
        self.ready = threading.Lock()
        self.ready.acquire()


class Turns:
    """Whose turn it is. Threads are named by their idents.

    :ivar holder: the thread whose turn it is; 0 for none.
    :ivar calls: whether that is in a call.
    :ivar waiting: those in line.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, in a process that was forked."""
        self.holder = 0
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self.waiting: collections.deque[_Waiter] = collections.deque()
        self.calls = False
        self._in_a_row = False  # whether it makes one call after the other
        self._until = 0.0
        self._latest: _Waiter | None = None  # who has had the turn last, or has it

    def take(self, thread: int, ended: float, rest: Callable[[], None]) -> None:
        """Wait for the turn of this thread, which is about to make a call.

        :param ended: when its last one ended, by :func:`time.perf_counter`.
        :param rest: is called when another thread gets the turn after it, by whichever thread.
        """
        now = perf_counter()
        in_a_row = now < ended + _PAUSE
        latest = self._latest
        if self.holder == thread and latest is not None:
            latest.rest = rest
            if now < self._until or not self.waiting:
                self.calls, self._in_a_row = True, in_a_row
                return
        waiter = _Waiter(thread, in_a_row, rest)
        if self._stands_in_line(waiter, now):
            self._wait(waiter, now + _LONGEST)

    def goes_on(self, thread: int) -> bool:
        """Begin a call, if it is the turn of this thread and nobody waits for it; tell whether."""
        if self.holder != thread or self.waiting:
            return False
        self.calls = True
        return True

    @locked
    def _stands_in_line(self, waiter: _Waiter, now: float) -> bool:
        """Tell whether a thread has to wait now, or else give it the turn."""
        if self.holder == waiter.thread:
            self._next(now)
        if not self.holder or not self.calls:
            self._give(waiter, now)
            return False
        if waiter.in_a_row:
            self.waiting.append(waiter)
        else:
            self.waiting.appendleft(waiter)
            self._until = now
        return True

    def _wait(self, waiter: _Waiter, longest: float) -> None:
        try:
            # Not all of those in line look at a time.
            while not waiter.ready.acquire(timeout=_LOOK * max(1, len(self.waiting))):
                if not self._waits_on(waiter, longest):
                    return
        except BaseException:  # KeyboardInterrupt
            self._withdraw(waiter)
            self.leave(waiter.thread)
            raise

    @locked
    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    @locked
    def _waits_on(self, waiter: _Waiter, longest: float) -> bool:
        """Tell whether a thread that has waited for some time goes on with that."""
        now = perf_counter()
        if waiter not in self.waiting:
            return False
        if self.calls and now < longest:
            return True
        self.waiting.remove(waiter)
        if not self.calls:
            self._give(waiter, now)
        return False

    def _give(self, waiter: _Waiter, now: float) -> None:
        before, self._latest = self._latest, waiter
        if before is not None and before.thread != waiter.thread:
            before.rest()
        self.holder, self._until = waiter.thread, now + _SLICE
        self.calls, self._in_a_row = True, waiter.in_a_row

    def _next(self, now: float) -> None:
        """Let the next thread in line have its turn."""
        self.holder, self.calls = 0, False
        if self.waiting:
            waiter = self.waiting.popleft()
            self._give(waiter, now)
            waiter.ready.release()

    def done(self, thread: int) -> None:
        """Know that the call of this thread has come back."""
        if self.holder == thread:
            self.calls = False
            if self.waiting and not self._in_a_row:
                self.leave(thread)

    def leave(self, thread: int) -> None:
        """Know that this thread sleeps."""
        if self.holder == thread:
            self._leave(thread)

    @locked
    def _leave(self, thread: int) -> None:
        if self.holder == thread:
            self._next(perf_counter())

    @locked
    def end(self, thread: int) -> None:
        """Know that this thread makes no more calls."""
        self.leave(thread)
        latest = self._latest
        if latest is not None and latest.thread == thread:
            self._latest = None
            latest.rest()


turns = Turns()
"""The turns of this process."""
