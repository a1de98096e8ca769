"""Waits that end when the client they are for has gone.

A host thread that blocks in ``queue.get()`` for a client that was killed would
take the next item for nobody. So the conditions inside the primitives that an
actor shares (Event, Condition, Semaphore, Barrier, the queues, results of pools)
wait on a waiter that the session can wake; locks implemented in C, which have no
condition inside, are tried in slices.

Only calls into shared primitives are interrupted, never the actor's own methods.
"""

from __future__ import annotations

import contextlib
import multiprocessing.pool
import queue
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, Literal, Protocol, TypeVar

T = TypeVar('T')

_SLICE = 0.25
"""How long a C lock is waited for before looking whether the client is still there, in seconds."""

_SYNC = (threading.Condition, threading.Event, threading.Semaphore, threading.Barrier)
WAITABLE: tuple[type, ...] = (
    *_SYNC,
    queue.Queue,
    multiprocessing.pool.ApplyResult,
    multiprocessing.pool.IMapIterator,
    Future,
)
"""What blocks in conditions of its own."""


Reason = Literal['gone', 'cancelled', 'deadline']
"""Why nobody waits for a call any more: its client has gone, or has given it up."""


class Interrupted(BaseException):
    """Nobody waits for what this thread does."""


class Wakeable(Protocol):
    """What an interrupt wakes."""

    def wake(self) -> None:
        """Wake it. Any thread may."""
        ...


class Waiter:
    """Stands in a condition's line of waiters; released by ``notify`` or by an interrupt."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._lock.acquire()
        self.notified = False

    def wait(self, timeout: float | None) -> None:
        """Wait until it is woken, or for so many seconds."""
        self._lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))

    def wake(self) -> None:
        """See :class:`Wakeable`."""
        with self._guard:
            if self._lock.locked():
                self._lock.release()

    def release(self) -> None:
        """Do what :meth:`threading.Condition.notify` expects of a waiter's lock."""
        self.notified = True
        self.wake()


class CancelToken:
    """Ends the waits of a session, or of one call.

    :ivar fired: whether it has.
    :ivar reason: and why.
    """

    # There is one for each call of a pipelined session, and few are ever fired or waited by.
    _lock = threading.Lock()  # of all: it is held for moments
    _wakeable: frozenset[Wakeable] = frozenset()
    fired = False
    reason: Reason = 'gone'

    def fire(self, reason: Reason = 'gone') -> None:
        """End the waits that are under way, and all that follow. Any thread may."""
        with self._lock:
            if not self.fired:
                self.fired, self.reason = True, reason
            wakeable = self._wakeable
        for waiter in wakeable:
            waiter.wake()

    def wake(self) -> None:
        """Fire, because another one does: see :class:`Wakeable`."""
        self.fire()

    def check(self) -> None:
        """Raise :class:`Interrupted` if nobody waits any more."""
        if self.fired:
            raise Interrupted

    @contextlib.contextmanager
    def wakes(self, waiter: Wakeable) -> Iterator[None]:
        """Let :meth:`fire` wake ``waiter`` meanwhile."""
        with self._lock:
            self._wakeable |= {waiter}
            fired = self.fired
        if fired:
            waiter.wake()
        try:
            yield
        finally:
            with self._lock:
                self._wakeable -= {waiter}

    def on_this_thread(self) -> _OnThisThread:
        """Return a context in which the waits of this thread are interruptible."""
        return _OnThisThread(self)

    def sliced(self, wait: Callable[[float], T], timeout: float | None) -> T:
        """Call ``wait(seconds)`` until its result is true or time is up."""
        end = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        while True:
            self.check()
            left = _SLICE if end is None else max(0.0, min(_SLICE, end - time.monotonic()))
            result = wait(left)
            if result or (end is not None and time.monotonic() >= end):
                return result


class _Current(threading.local):
    interrupt: CancelToken | None = None


_current = _Current()


class _OnThisThread:
    """See :meth:`CancelToken.on_this_thread`. A generator would take four times as long."""

    __slots__ = ('_interrupt', '_previous')

    def __init__(self, interrupt: CancelToken) -> None:
        self._interrupt = interrupt

    def __enter__(self) -> None:
        self._previous, _current.interrupt = _current.interrupt, self._interrupt

    def __exit__(self, *exception: object) -> None:
        _current.interrupt = self._previous


def _wait(condition: Any, timeout: float | None = None) -> bool:
    """Wait like :meth:`threading.Condition.wait`, until notified or interrupted.

    Uses what subclasses of Condition may override: ``_is_owned``, ``_release_save`` and
    ``_acquire_restore``.
    """
    interrupt = _current.interrupt
    if interrupt is None:
        return threading.Condition.wait(condition, timeout)
    if not condition._is_owned():
        raise RuntimeError('cannot wait on un-acquired lock')
    waiter = Waiter()
    condition._waiters.append(waiter)
    state = condition._release_save()
    try:
        with interrupt.wakes(waiter):
            waiter.wait(timeout)
    finally:
        condition._acquire_restore(state)
        with contextlib.suppress(ValueError):  # notify has taken it out
            condition._waiters.remove(waiter)
    if interrupt.fired:
        if waiter.notified:
            condition.notify()  # it was meant for somebody who can use it
        raise Interrupted
    return waiter.notified


def make_interruptible(primitive: Any) -> None:
    """Let sessions interrupt waits inside ``primitive``, if it is one that waits."""
    if isinstance(primitive, threading.Condition):
        primitive.wait = types.MethodType(_wait, primitive)  # type: ignore[method-assign]
    elif isinstance(primitive, WAITABLE):
        for part in vars(primitive).values():
            if isinstance(part, _SYNC):
                make_interruptible(part)
