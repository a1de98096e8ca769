"""The threads of a process take turns to make calls.

Problem: one thread runs Python at a time. A thread that sends or sleeps lets another one run, and
has to wait for that one when it comes back. Each change takes longer than a small call, and twice
as long with two cores as with one.

Mechanism: the threads pass a baton. As long as calls return soon, its holder makes calls in a row
for a time slice, and the other threads sleep in a queue. A thread that calls now and then goes to
the head of the queue, and gets the baton between two calls of the holder. A holder that has to
sleep for a result passes the baton on.

Invariants: the baton is a matter of speed alone. A thread that has waited for `_MAX_WAIT_S` calls
without it. All changes are made under one lock, but for two: the holder begins and ends a call
without the lock, since it alone does.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from time import perf_counter

from uactor.runtime.locks import synchronized

_SLICE_S = 5e-3
"""How long a thread makes calls in a row before it lets others: as Python's own time slices."""
_MAX_GAP_S = 50e-6
"""Calls that follow each other this soon are made in a row."""
_CHECK_S = 1e-3
"""How often a waiting thread checks whether the holder is still in a call."""
_MAX_WAIT_S = 50e-3
"""A thread that has waited this long calls without the baton."""


class _Waiter:
    """A thread that wants to make a call."""

    __slots__ = ('in_a_row', 'on_handover', 'ready', 'thread')

    def __init__(self, thread: int, in_a_row: bool, on_handover: Callable[[], None]) -> None:
        self.thread = thread
        self.in_a_row = in_a_row
        self.on_handover = on_handover
        self.ready = threading.Lock()
        self.ready.acquire()


class CallBaton:
    """Orders the calls of a process's threads.

    Threads are named by their idents.

    :ivar holder: the thread that has the baton; 0 for none.
    :ivar in_call: whether the holder is in a call.
    :ivar waiting: the threads in the queue.
    :ivar slice_end: when the holder's time slice ends.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, in a process that was forked."""
        self.holder = 0
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that has it
        self.waiting: collections.deque[_Waiter] = collections.deque()
        self.in_call = False
        self._in_a_row = False  # whether the holder makes one call after the other
        self.slice_end = 0.0
        self._latest: _Waiter | None = None  # the holder, or else the last one

    def acquire(self, thread: int, last_end: float, on_handover: Callable[[], None]) -> None:
        """Wait for the baton, before a call of this thread.

        :param last_end: when the thread's last call ended, by :func:`time.perf_counter`.
        :param on_handover: is called once the next thread gets the baton, by any thread.
        """
        now = perf_counter()
        in_a_row = now < last_end + _MAX_GAP_S
        latest = self._latest
        if self.holder == thread and latest is not None:
            latest.on_handover = on_handover
            if now < self.slice_end or not self.waiting:
                self.in_call, self._in_a_row = True, in_a_row
                return
        waiter = _Waiter(thread, in_a_row, on_handover)
        if self._enqueue(waiter, now):
            self._wait(waiter, now + _MAX_WAIT_S)

    def try_continue(self, thread: int) -> bool:
        """Begin a call if this thread holds the baton and none waits.

        Return whether the call has begun.
        """
        if self.holder != thread or self.waiting:
            return False
        self.in_call = True
        return True

    @synchronized
    def _enqueue(self, waiter: _Waiter, now: float) -> bool:
        """Pass the baton to a thread, or queue the thread.

        Return whether the thread is queued.
        """
        if self.holder == waiter.thread:
            self._pass_on(now)
        if not self.holder or not self.in_call:
            self._pass_to(waiter, now)
            return False
        if waiter.in_a_row:
            self.waiting.append(waiter)
        else:
            self.waiting.appendleft(waiter)
            self.slice_end = now
        return True

    def _wait(self, waiter: _Waiter, deadline: float) -> None:
        try:
            # The more threads wait, the less often each of them checks.
            while not waiter.ready.acquire(timeout=_CHECK_S * max(1, len(self.waiting))):
                if not self._must_wait(waiter, deadline):
                    return
        except BaseException:  # KeyboardInterrupt
            self._withdraw(waiter)
            self.yield_(waiter.thread)
            raise

    @synchronized
    def _withdraw(self, waiter: _Waiter) -> None:
        if waiter in self.waiting:
            self.waiting.remove(waiter)

    @synchronized
    def _must_wait(self, waiter: _Waiter, deadline: float) -> bool:
        """Return whether a queued thread must go on waiting.

        If not, take it out of the queue; it gets the baton if that is free.
        """
        now = perf_counter()
        if waiter not in self.waiting:
            return False
        if self.in_call and now < deadline:
            return True
        self.waiting.remove(waiter)
        if not self.in_call:
            self._pass_to(waiter, now)
        return False

    def _pass_to(self, waiter: _Waiter, now: float) -> None:
        before, self._latest = self._latest, waiter
        if before is not None and before.thread != waiter.thread:
            before.on_handover()
        self.holder, self.slice_end = waiter.thread, now + _SLICE_S
        self.in_call, self._in_a_row = True, waiter.in_a_row

    def _pass_on(self, now: float) -> None:
        """Pass the baton to the next thread in the queue, if any."""
        self.holder, self.in_call = 0, False
        if self.waiting:
            waiter = self.waiting.popleft()
            self._pass_to(waiter, now)
            waiter.ready.release()

    def release(self, thread: int) -> None:
        """Record that this thread's call has returned.

        A thread that calls in a row keeps the baton until its time slice ends.
        """
        if self.holder == thread:
            self.in_call = False
            if self.waiting and not self._in_a_row:
                self.yield_(thread)

    def yield_(self, thread: int) -> None:
        """Pass the baton on, if this thread holds it.

        A thread that is about to sleep calls this.
        """
        if self.holder == thread:
            self._yield(thread)

    @synchronized
    def _yield(self, thread: int) -> None:
        if self.holder == thread:
            self._pass_on(perf_counter())

    @synchronized
    def retire(self, thread: int) -> None:
        """Pass the baton on for good: this thread makes no more calls."""
        self.yield_(thread)
        latest = self._latest
        if latest is not None and latest.thread == thread:
            self._latest = None
            latest.on_handover()


call_baton = CallBaton()
"""The baton of this process."""
