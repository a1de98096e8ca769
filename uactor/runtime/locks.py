"""Locks, latches and thread starts that signal handlers can interrupt without harm.

A handler may raise between any two bytecodes of the main thread. The end of a ``with`` block is
several of them. An exception there leaves the block without releasing its lock, and other threads
wait for ever. The Python code in which :mod:`threading` waits can be interrupted like this, too. It
may raise a ``RuntimeError`` of its own in place of the handler's exception, or keep a lock.
"""

from __future__ import annotations

import _thread
import collections
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec('P')
S = TypeVar('S')
T = TypeVar('T')


class OwnedLock(Protocol):
    """A lock that knows its owner.

    It is an ``RLock``, or a ``Condition`` with an ``RLock``.
    """

    def release(self) -> None:
        """Release the lock once."""
        ...


def is_owned(lock: OwnedLock) -> bool:
    """Return whether this thread holds a lock."""
    owned: bool = lock._is_owned()  # type: ignore[attr-defined]  # as threading.Condition does
    return owned


def release_fully(lock: OwnedLock) -> None:
    """Release a lock as often as this thread has acquired it.

    Call this in an ``except`` block. A ``finally`` block runs without an exception too. A signal
    handler could then raise in here before the lock is released.
    """
    while is_owned(lock):
        lock.release()


def synchronized(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Run a method with its object's ``_lock``; release that after any exception.

    The lock is an ``RLock``.
    """

    @functools.wraps(method)
    def with_lock(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        lock: Any = self._lock  # type: ignore[attr-defined]
        outer = lock._is_owned()  # e.g. by code of this thread that a signal handler interrupted
        try:
            with lock:
                return method(self, *args, **kwargs)
        except BaseException:
            if not outer:
                release_fully(lock)
            raise

    return with_lock


class Latch:
    """An event that is set once.

    Its waiters share no lock that one of them could keep.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._waiting: collections.deque[threading.Lock] = collections.deque()

    def is_set(self) -> bool:
        """Return whether the latch is set."""
        return self._is_set

    def set(self) -> None:
        """Set the latch, and wake all waiters."""
        self._is_set = True
        while self._waiting:
            try:
                waiter = self._waiting.popleft()
            except IndexError:  # another thread sets the latch, too
                return
            waiter.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the latch is set; return whether it is.

        :param timeout: how long to wait at most, in seconds; None for any time.
        """
        if self._is_set:
            return True
        waiter = threading.Lock()
        waiter.acquire()
        self._waiting.append(waiter)
        try:
            if not self._is_set:  # else set() may have seen no waiter
                waiter.acquire(timeout=_lock_timeout(timeout))
        finally:
            if not self._is_set:
                self._forget(waiter)
        return self._is_set

    def _forget(self, waiter: threading.Lock) -> None:
        try:
            self._waiting.remove(waiter)
        except ValueError:  # another thread sets the latch, and has removed the waiter
            return


def _lock_timeout(timeout: float | None) -> float:
    """Convert a timeout to what a lock accepts.

    None becomes -1, and a longer timeout the maximum of locks.
    """
    return -1 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)


def start_thread(make: Callable[[], threading.Thread]) -> None:
    """Start a thread. A signal handler's exception passes through unchanged.

    After that exception the thread may run, or not. :meth:`threading.Thread.start` breaks a thread
    when it is interrupted. The owner of a thread's last reference runs a finalizer of
    :mod:`threading` in Python.

    :raises RuntimeError: when the system has no more threads, or the interpreter is ending.
    """
    run_uninterrupted(lambda: make().start())


def run_uninterrupted(
    do: Callable[[], object], if_left: Callable[[], object] = lambda: None
) -> None:
    """Run a function that no signal handler can interrupt.

    The main thread runs it on another thread. An exception that a handler raises meanwhile passes
    through, and the function runs to its end nevertheless.

    :param do: the function. It has no result, because an exception could lose one.
    :param if_left: runs after it if a handler raised before it was done.
    :raises RuntimeError: when the system has no more threads, or the interpreter is ending.
    """
    if threading.get_ident() != threading.main_thread().ident:
        do()
        return
    if sys.is_finalizing():
        raise RuntimeError('the interpreter is ending')
    failures: list[BaseException] = []
    done, left = Latch(), Latch()

    def run() -> None:
        try:
            do()
        except BaseException as error:
            failures.append(error)
        done.set()
        if left.is_set():
            if_left()

    try:
        _thread.start_new_thread(run, ())
        done.wait()
    except BaseException:
        left.set()
        raise
    if failures:
        raise failures.pop()
