"""Calls of shared locks, queues and other primitives.

A client that dies keeps no lock: those that it has acquired through proxies are released. A lock
that belongs to a thread (RLock, Condition) is released when the session ends, on its thread. What a
call has taken for a client that has gone meanwhile is put back.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import multiprocessing.synchronize
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.errors import ThreadOwnedError
from uactor.host.callers import Caller
from uactor.host.cancellation import WAITABLE, CallCancelledError, CancelToken
from uactor.host.holders import Holder
from uactor.runtime.limits import clamp_timeout

log = logging.getLogger('uactor.host')

_LOCK, _RLOCK = type(threading.Lock()), type(threading.RLock())
_C_LOCKS = (
    _LOCK,
    _RLOCK,
    multiprocessing.synchronize.Lock,
    multiprocessing.synchronize.RLock,
    multiprocessing.synchronize.Semaphore,
)
_THREAD_OWNED = (_RLOCK, threading.Condition, multiprocessing.synchronize.RLock)
_LOCKS = (*_C_LOCKS, threading.Condition, threading.Semaphore)
_QUEUES = (queue.Queue, queue.SimpleQueue)
PRIMITIVES: tuple[type, ...] = (*_LOCKS, *_QUEUES, *WAITABLE)
"""The types whose methods :func:`call` calls."""

_ACQUIRE_METHODS = ('acquire', '__enter__')
_RELEASE_METHODS = ('release', '__exit__')
_GET_METHODS = ('get', 'get_nowait')


@dataclasses.dataclass
class _Acquired:
    lock: Any
    caller: Caller


class Locks:
    """The locks that clients hold through proxies."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._acquired: collections.deque[_Acquired] = collections.deque()

    def record_acquire(self, lock: Any, caller: Caller) -> Callable[[], None]:
        """Record that ``caller`` has acquired ``lock``.

        :returns: a function that releases it, unless ``caller`` has released it before.
        """
        record = _Acquired(lock, caller)
        with self._mutex:
            self._acquired.append(record)
        return lambda: self._release(lambda acquired: acquired is record)

    def record_release(self, lock: Any, caller: Caller, count: int) -> None:
        """Record that ``caller`` has released ``lock``, which another caller may have acquired.

        :param count: how many times.
        """

        def distance(acquired: _Acquired) -> int:
            if acquired.caller is caller:
                return 0
            return 1 if acquired.caller.holder == caller.holder else 2

        with self._mutex:
            candidates = [acquired for acquired in self._acquired if acquired.lock is lock]
            # Of other callers the first one: the lock may have been acquired again by now.
            for found in sorted(candidates, key=distance)[:count]:
                self._acquired.remove(found)

    def release_thread_owned(self, caller: Caller) -> None:
        """Release the locks that the thread of a session owns.

        This runs on that thread, when the session ends.
        """
        self._release(
            lambda acquired: acquired.caller is caller and isinstance(acquired.lock, _THREAD_OWNED)
        )

    def release_all(self, holder: Holder) -> None:
        """Release the locks of a client process that has ended."""
        self._release(
            lambda acquired: (
                acquired.caller.holder == holder and not isinstance(acquired.lock, _THREAD_OWNED)
            )
        )

    def _release(self, is_chosen: Callable[[_Acquired], bool]) -> None:
        with self._mutex:
            released = [acquired for acquired in self._acquired if is_chosen(acquired)]
            self._acquired = collections.deque(
                acquired
                for acquired in self._acquired
                if all(acquired is not gone for gone in released)
            )
        for acquired in released:
            try:
                acquired.lock.release()
                log.info('released a %s of a client that has gone', type(acquired.lock).__name__)
            except (RuntimeError, ValueError) as error:  # it has been released elsewhere
                log.debug('a lock of a client that has gone was free already: %s', error)


def call(
    primitive: Any,
    method: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    caller: Caller,
    locks: Locks,
) -> Any:
    """Call a method of a shared primitive for a client.

    :raises CallCancelledError: when the client goes while the call waits, which then takes nothing.
    """
    function = getattr(primitive, method)
    _check_owner(primitive, method, caller)
    if args or kwargs:
        args, kwargs = _clamp_timeout_argument(primitive, method, args, kwargs)
    caller.stage = 'running'
    with caller.cancel_token.bind_to_thread():
        if isinstance(primitive, _LOCKS):
            if method in _ACQUIRE_METHODS:
                return _acquire_for(primitive, method, args, kwargs, caller, locks)
            result = function(*args, **kwargs)
            if method in _RELEASE_METHODS:
                locks.record_release(primitive, caller.owner, _release_count(method, args, kwargs))
            return result
        if isinstance(primitive, _QUEUES) and method in _GET_METHODS:
            return _get(primitive, method, args, kwargs, caller)
        return function(*args, **kwargs)


_TIMEOUTS = {'acquire': 1, 'wait': 0, 'put': 2, 'get': 0, 'next': 0, 'result': 0, 'exception': 0}
"""The index of the timeout among the positional arguments, by method."""


def _clamp_timeout_argument(
    primitive: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the arguments with any timeout clamped to the system's limit."""
    index = _TIMEOUTS.get(method)
    if index is None:
        return args, kwargs
    if method == 'get' and isinstance(primitive, _QUEUES):
        index = 1
    if 'timeout' in kwargs:
        return args, {**kwargs, 'timeout': clamp_timeout(kwargs['timeout'])}
    if len(args) > index:
        args = (*args[:index], clamp_timeout(args[index]), *args[index + 1 :])
    return args, kwargs


def _release_count(method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> int:
    """Return how many times a call of a method releases a lock.

    The ``release`` of a semaphore has an argument for it.
    """
    count: int = kwargs.get('n', args[0] if args else 1) if method == 'release' else 1
    return count


def _check_owner(primitive: Any, method: str, caller: Caller) -> None:
    if (
        method in _ACQUIRE_METHODS
        and isinstance(primitive, _THREAD_OWNED)
        and not caller.owns_thread
    ):
        raise ThreadOwnedError(
            f'a {type(primitive).__name__} belongs to the thread that acquires it: call {method}() '
            'plainly, not by .future or .aio; outside Python, in a Session that is not pipelined'
        )


def _acquire_for(
    lock: Any,
    method: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    caller: Caller,
    locks: Locks,
) -> bool:
    if method == '__enter__':
        args, kwargs = (), {}
    is_acquired = _acquire(lock, caller.cancel_token, *args, **kwargs)
    if is_acquired:
        if caller.cancel_token.is_cancelled:
            lock.release()
            raise CallCancelledError
        undo = locks.record_acquire(lock, caller.owner)
        if caller.owns_thread:
            caller.record_undo(undo)
        else:
            caller.undo = undo  # the call may be cancelled until its response is sent
    return is_acquired


def _acquire(
    lock: Any, cancel_token: CancelToken, blocking: bool = True, timeout: float | None = None
) -> bool:
    inner = getattr(lock, '_lock', None) if isinstance(lock, threading.Condition) else lock
    waits_in_condition = not isinstance(inner, _C_LOCKS)
    if waits_in_condition or not blocking or timeout == 0:
        return bool(lock.acquire(blocking, *(() if timeout is None else (timeout,))))
    if timeout is not None and timeout < 0 and timeout != -1:
        raise ValueError('timeout value must be a non-negative number')
    attempt: Callable[[float], bool] = functools.partial(lock.acquire, True)
    return cancel_token.wait_in_slices(attempt, timeout)


def _get(
    source: Any, method: str, args: Sequence[Any], kwargs: Mapping[str, Any], caller: Caller
) -> Any:
    if isinstance(source, queue.SimpleQueue) and method == 'get':
        item = _simple_get(source, caller.cancel_token, *args, **kwargs)
    else:
        item = getattr(source, method)(*args, **kwargs)
    caller.undo = functools.partial(_put_back, source, item)
    return item


def _simple_get(
    source: queue.SimpleQueue[Any],
    cancel_token: CancelToken,
    block: bool = True,
    timeout: float | None = None,
) -> Any:
    if not block:
        return source.get(False)
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")

    def attempt(seconds: float) -> list[Any]:
        try:
            return [source.get(True, seconds)]
        except queue.Empty:
            return []

    found = cancel_token.wait_in_slices(attempt, timeout)
    if not found:
        raise queue.Empty
    return found[0]


def _put_back(source: Any, item: Any) -> None:
    """Put an item back to the front of its queue, if possible."""
    if isinstance(source, queue.SimpleQueue):
        source.put(item)
        return
    with source.mutex:
        if type(source)._put is queue.Queue._put:  # first in, first out
            source.queue.appendleft(item)
        else:
            source._put(item)
        source.not_empty.notify()
