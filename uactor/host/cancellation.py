"""Waits that end when their client has gone.

Problem: a host thread that blocks in ``queue.get()`` for a client that was killed would take the
next item for no receiver.

Mechanism: the primitives that an actor shares (Event, Condition, Semaphore, Barrier, queues,
results of pools) have conditions inside. These wait on a :class:`Waiter` that a
:class:`CancelToken` can wake. Locks implemented in C have no condition inside, and are tried in
slices of time.

Invariant: only calls into shared primitives are interrupted, never the actor's own methods.
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

_SLICE_S = 0.25
"""How long a thread waits for a C lock before it checks for cancellation, in seconds."""

_SYNC = (threading.Condition, threading.Event, threading.Semaphore, threading.Barrier)
WAITABLE: tuple[type, ...] = (
    *_SYNC,
    queue.Queue,
    multiprocessing.pool.ApplyResult,
    multiprocessing.pool.IMapIterator,
    Future,
)
"""Types that block in conditions of their own."""


Reason = Literal['gone', 'cancelled', 'deadline']
"""Why a call is cancelled: its client has gone, or has cancelled it, or its deadline has passed."""


class CallCancelledError(BaseException):
    """The call that this thread runs has been cancelled."""


class Wakeable(Protocol):
    """Something that waits, and can be woken when its call is cancelled."""

    def wake(self) -> None:
        """End the wait. Any thread may call this."""
        ...


class Waiter:
    """A waiter of a condition, which ``notify`` or a cancellation wakes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._guard = threading.Lock()
        self._lock.acquire()
        self.notified = False

    def wait(self, timeout: float | None) -> None:
        """Wait until woken.

        :param timeout: for so many seconds at most; None for any time.
        """
        self._lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))

    def wake(self) -> None:
        """See :class:`Wakeable`."""
        with self._guard:
            if self._lock.locked():
                self._lock.release()

    def release(self) -> None:
        """Wake the waiter on behalf of :meth:`threading.Condition.notify`, which calls this."""
        self.notified = True
        self.wake()


class CancelToken:
    """Ends the waits of a session, or of one call.

    :ivar is_cancelled: whether the session or call has been cancelled.
    :ivar reason: why it has been cancelled.
    """

    # Class attributes: each call of a pipelined session has a token, and few are ever cancelled.
    _lock = threading.Lock()  # shared by all tokens, and held for moments only
    _wakeable: frozenset[Wakeable] = frozenset()
    is_cancelled = False
    reason: Reason = 'gone'

    def cancel(self, reason: Reason = 'gone') -> None:
        """End the current waits and all later ones.

        Any thread may call this.
        """
        with self._lock:
            if not self.is_cancelled:
                self.is_cancelled, self.reason = True, reason
            wakeable = self._wakeable
        for waiter in wakeable:
            waiter.wake()

    def wake(self) -> None:
        """Cancel, because another token is cancelled; see :class:`Wakeable`."""
        self.cancel()

    def raise_if_cancelled(self) -> None:
        """Raise :class:`CallCancelledError` if the token has been cancelled."""
        if self.is_cancelled:
            raise CallCancelledError

    @contextlib.contextmanager
    def wake_on_cancel(self, waiter: Wakeable) -> Iterator[None]:
        """Wake ``waiter`` when the token is cancelled inside this context."""
        with self._lock:
            self._wakeable |= {waiter}
            is_cancelled = self.is_cancelled
        if is_cancelled:
            waiter.wake()
        try:
            yield
        finally:
            with self._lock:
                self._wakeable -= {waiter}

    def bind_to_thread(self) -> _ThreadBinding:
        """Return a context in which this token interrupts this thread's waits."""
        return _ThreadBinding(self)

    def wait_in_slices(self, wait: Callable[[float], T], timeout: float | None) -> T:
        """Call ``wait(seconds)`` until its result is true or the timeout has passed."""
        end = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        while True:
            self.raise_if_cancelled()
            left = _SLICE_S if end is None else max(0.0, min(_SLICE_S, end - time.monotonic()))
            result = wait(left)
            if result or (end is not None and time.monotonic() >= end):
                return result


class _Current(threading.local):
    cancel_token: CancelToken | None = None


_current = _Current()


class _ThreadBinding:
    """See :meth:`CancelToken.bind_to_thread`. A generator would take four times as long."""

    __slots__ = ('_cancel_token', '_previous')

    def __init__(self, cancel_token: CancelToken) -> None:
        self._cancel_token = cancel_token

    def __enter__(self) -> None:
        self._previous, _current.cancel_token = _current.cancel_token, self._cancel_token

    def __exit__(self, *exception: object) -> None:
        _current.cancel_token = self._previous


def _wait(condition: Any, timeout: float | None = None) -> bool:
    """Wait like :meth:`threading.Condition.wait`, until notified or interrupted.

    Uses what subclasses of Condition may override: ``_is_owned``, ``_release_save`` and
    ``_acquire_restore``.
    """
    cancel_token = _current.cancel_token
    if cancel_token is None:
        return threading.Condition.wait(condition, timeout)
    if not condition._is_owned():
        raise RuntimeError('cannot wait on un-acquired lock')
    waiter = Waiter()
    condition._waiters.append(waiter)
    state = condition._release_save()
    try:
        with cancel_token.wake_on_cancel(waiter):
            waiter.wait(timeout)
    finally:
        condition._acquire_restore(state)
        with contextlib.suppress(ValueError):  # notify has taken it out
            condition._waiters.remove(waiter)
    if cancel_token.is_cancelled:
        if waiter.notified:
            condition.notify()  # for another waiter, which can use it
        raise CallCancelledError
    return waiter.notified


def make_interruptible(primitive: Any) -> None:
    """Make cancellation end the waits inside ``primitive``, if it has any."""
    if isinstance(primitive, threading.Condition):
        primitive.wait = types.MethodType(_wait, primitive)  # type: ignore[method-assign]
    elif isinstance(primitive, WAITABLE):
        for part in vars(primitive).values():
            if isinstance(part, _SYNC):
                make_interruptible(part)
