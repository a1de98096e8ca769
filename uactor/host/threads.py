"""Threads for RPCs: as many as there are RPCs, so that none waits for another to end."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar('T')

log = logging.getLogger(__name__)

NO_THREADS = 'the actor process can start no more threads'


class ThreadPerCall(Executor):
    """Runs each call on a daemon thread of its own.

    A fixed pool deadlocks when its workers wait for a call that can't get a worker
    (grpc issues 8616 and 7052).

    When there are no more threads to be had, a reserve takes over, which answers what needs no
    time: health, and that there are no more threads. An exception here would end the thread that
    serves all RPCs.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._be_reserve, name='uactor-reserve', daemon=True).start()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on a new thread, or else on the reserve."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        try:
            threading.Thread(target=run, name='uactor-rpc', daemon=True).start()
        except RuntimeError as error:
            log.warning('a call is refused: %s', error)
            self._waiting.put(run)
        return future

    def _be_reserve(self) -> None:
        _reserve.here = True
        while True:
            self._waiting.get()()


class _Reserve(threading.local):
    here = False


_reserve = _Reserve()


def is_reserve() -> bool:
    """Tell whether this thread has no time: there are no others, and RPCs wait for it."""
    return _reserve.here
