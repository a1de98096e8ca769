"""The event loop of an actor: its coroutines run there, concurrently, all on one thread."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import CoroutineType
from typing import Any, TypeVar

from uactor.host.cancellation import CancelToken, Interrupted
from uactor.runtime.threads import OnDemandThread

T = TypeVar('T')

log = logging.getLogger('uactor.host')


class Loop:
    """An event loop on a daemon thread that is started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                try:
                    OnDemandThread('uactor-loop', lambda: _run(loop)).ensure_running()
                except BaseException:  # no thread to be had
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def start(
        self, coroutine: Coroutine[Any, Any, T], done: Callable[[asyncio.Task[T]], None]
    ) -> Callable[[], None]:
        """Run a coroutine, in the context of this thread.

        :param done: called on the loop when it has ended, in whatever way.
        :return: what cancels it, from any thread.
        """
        loop = self._running()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            task = loop.create_task(coroutine)
            tasks.append(task)
            task.add_done_callback(done)

        loop.call_soon_threadsafe(begin)
        return lambda: _cancel(loop, tasks)

    def wait(self, coroutine: Coroutine[Any, Any, T], cancel_token: CancelToken) -> T:
        """Run a coroutine and return its result.

        :raises Interrupted: when nobody waits for it any more; it has been cancelled then.
        :raises RuntimeError: on the thread of the loop itself, which would wait for ever.
        """
        if self._is_here():
            coroutine.close()
            raise RuntimeError('a blocking call would stop the event loop; await its .aio(…)')
        ended: queue.SimpleQueue[asyncio.Task[T]] = queue.SimpleQueue()
        cancel = self.start(coroutine, ended.put)
        with cancel_token.wake_on_cancel(_Cancelling(cancel)):
            task = ended.get()
        if task.cancelled() and cancel_token.is_cancelled:
            raise Interrupted
        return task.result()

    def _is_here(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:  # there is none on this thread
            return False

    def finished(self, result: Any, cancel_token: CancelToken) -> Any:
        """Return what comes of a result that :func:`is_unfinished`.

        An asynchronous iterator becomes one of the usual kind, which runs it here.
        """
        if isinstance(result, CoroutineType):
            return self.wait(result, cancel_token)
        return Steps(self, result)


def _run(loop: asyncio.AbstractEventLoop) -> bool:
    """Run the loop until something ends it; return whether it can go on.

    A task or callback that raises SystemExit ends :meth:`run_forever`, and so does a coroutine
    that calls ``loop.stop()``: the others go on.
    """
    loop.run_forever()
    if loop.is_closed():
        log.error('the event loop of this actor has been closed: its coroutines do not go on')
        return False
    log.warning('the event loop of this actor has been stopped, and goes on')
    return True


def is_unfinished(result: Any) -> bool:
    """Tell whether a result needs the loop: a coroutine, or an asynchronous iterator."""
    kind = type(result)
    return kind is CoroutineType or (kind not in FINISHED and hasattr(kind, '__anext__'))


FINISHED = frozenset([type(None), bool, int, float, str, bytes, list, tuple, dict])
"""Types that most results have: looking for what a type has not got takes time."""


def _cancel(loop: asyncio.AbstractEventLoop, tasks: list[asyncio.Task[Any]]) -> None:
    loop.call_soon_threadsafe(lambda: tasks[0].cancel())


class _Cancelling:
    """Cancels a coroutine when it is woken."""

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.wake = cancel


class Steps(Iterator[T]):
    """Iterates over an asynchronous iterator, a step at a time."""

    def __init__(self, loop: Loop, items: AsyncIterator[T]) -> None:
        self._loop = loop
        self._items = items

    def __next__(self) -> T:
        try:
            return self._loop.wait(_step(self._items), CancelToken())
        except _Ended:
            raise StopIteration from None

    def close(self) -> None:
        """Close the iterator."""
        self._loop.wait(closing(self._items), CancelToken())


_END: Any = object()


class _Ended(Exception):
    """An asynchronous iterator has no more items."""


async def _step(items: AsyncIterator[T]) -> T:
    """Return the next item. What ends an iterator can't leave a coroutine as it is."""
    item = await anext(items, _END)
    if item is _END:
        raise _Ended
    return item


async def closing(items: AsyncIterator[Any]) -> None:
    """Close an asynchronous iterator, if it can be closed."""
    close = getattr(items, 'aclose', None)
    if close is not None:
        await close()
