"""A thread for each RPC, so that no RPC waits for another."""

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

_IDLE_TIMEOUT_S = 10.0
_MAX_IDLE = 8

Work = Callable[[], None]


class ThreadPerCall(Executor):
    """Runs each RPC on a daemon thread of its own.

    A fixed pool deadlocks when its workers wait for an RPC that gets no worker (grpc issues 8616
    and 7052). So the number of threads has no limit. A thread whose RPC has ended waits for another
    one for a while, since the start of a thread costs a quarter of a call.

    When no more threads can be started, a reserve thread runs RPCs. It answers health checks, and
    refuses other RPCs. An exception here would end the thread on which gRPC serves all RPCs.

    :ivar idle: the queues of idle threads.
    :ivar reserve_work: the queue of the reserve thread.
    """

    def __init__(self) -> None:
        self.reserve_work: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self.idle: list[queue.SimpleQueue[Work]] = []
        self._idle_lock = threading.Lock()
        OnDemandThread('uactor-reserve', self._run_reserve).ensure_running()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on an idle, new or reserve thread.

        The reserve thread runs it only when no thread can be started.
        """
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        with self._idle_lock:
            idle = self.idle.pop() if self.idle else None
        if idle is not None:
            idle.put(run)
            return future
        own: queue.SimpleQueue[Work] = queue.SimpleQueue()
        try:
            start_daemon('uactor-rpc', self._work, own)
            own.put(run)
        except RuntimeError as error:
            log.warning('a call is refused: %s', error)
            self.reserve_work.put(run)
        return future

    def _work(self, own: queue.SimpleQueue[Work]) -> None:
        run: Work | None = own.get()  # not an argument, which the thread would keep until it ends
        while run is not None:
            attempt('an RPC', run)
            del run  # with the call's arguments, which an idle thread must not keep alive
            run = self._next(own)

    def _next(self, own: queue.SimpleQueue[Work]) -> Work | None:
        """Wait for another RPC; return None if this thread is to end."""
        with self._idle_lock:
            if _this_thread.is_retired or len(self.idle) >= _MAX_IDLE:
                return None
            self.idle.append(own)
        try:
            return own.get(timeout=_IDLE_TIMEOUT_S)
        except queue.Empty:
            with self._idle_lock:
                if own in self.idle:
                    self.idle.remove(own)
                    return None
            return own.get()  # it has just been given an RPC

    def _run_reserve(self) -> bool:
        _this_thread.is_reserve = True
        self.reserve_work.get()()
        return True


class _ThreadState(threading.local):
    is_reserve = False
    is_retired = False


_this_thread = _ThreadState()


def is_reserve() -> bool:
    """Return whether this is the reserve thread, which must not block.

    RPCs wait for it.
    """
    return _this_thread.is_reserve


def retire() -> None:
    """End this thread together with its RPC.

    A session may have left thread-local data on it.
    """
    _this_thread.is_retired = True
