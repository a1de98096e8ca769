"""Threads for RPCs: as many as there are RPCs, so that none waits for another to end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

T = TypeVar('T')


class ThreadPerCall(Executor):
    """Runs each call on a daemon thread of its own.

    A fixed pool deadlocks when its workers wait for a call that can't get a worker
    (grpc issues 8616 and 7052).
    """

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn`` on a new thread."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = fn(*args, **kwargs)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)

        threading.Thread(target=run, name='uactor-rpc', daemon=True).start()
        return future
