"""Threads for RPCs: as many as there are RPCs, so that none waits for another to end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from uactor.runtime.threads import OnDemandThread, attempt, start_daemon

T = TypeVar('T')

log = logging.getLogger('uactor.host')

_IDLE_SECONDS = 10.0
_MOST_IDLE = 8

Work = Callable[[], None]


class ThreadPerCall(Executor):
    """Runs each call on a daemon thread that has nothing else to do.

    A fixed pool deadlocks when its workers wait for a call that can't get a worker
    (grpc issues 8616 and 7052). So there is no limit; but a thread that is through waits for
    another call for a while, since starting one costs a quarter of a call.

    When there are no more threads to be had, a reserve takes over, which answers what needs no
    time: health, and that there are no more threads. An exception here would end the thread that
    serves all RPCs.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._idle: list[queue.SimpleQueue[Work]] = []
        self._changing_idle = threading.Lock()
        OnDemandThread('uactor-reserve', self._be_reserve).ensure_running()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on a thread that is idle or new, or else on the reserve."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._changing_idle:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            idle.put(run)
            return future
        own: queue.SimpleQueue[Work] = queue.SimpleQueue()
        try:
            start_daemon('uactor-rpc', self._work, own)
            own.put(run)
        except RuntimeError as error:
            log.warning('a call is refused: %s', error)
            self._waiting.put(run)
        return future

    def _work(self, own: queue.SimpleQueue[Work]) -> None:
        run: Work | None = own.get()  # not an argument, which the thread would keep until it ends
        while run is not None:
            attempt('an RPC', run)
            del run  # with the call's arguments, which an idle thread must not keep alive
            run = self._next(own)

    def _next(self, own: queue.SimpleQueue[Work]) -> Work | None:
        """Wait to be given something to do; return None when it is time to end."""
        with self._changing_idle:
            if _here.retired or len(self._idle) >= _MOST_IDLE:
                return None
            self._idle.append(own)
        try:
            return own.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            with self._changing_idle:
                if own in self._idle:
                    self._idle.remove(own)
                    return None
            return own.get()  # it has just been given something

    def _be_reserve(self) -> bool:
        _here.reserve = True
        self._waiting.get()()
        return True


class _Here(threading.local):
    reserve = False
    retired = False


_here = _Here()


def is_reserve() -> bool:
    """Tell whether this thread has no time: there are no others, and RPCs wait for it."""
    return _here.reserve


def retire() -> None:
    """Have this thread end with its RPC: a session may have left on it what belongs to threads."""
    _here.retired = True
