"""An actor's event loop, which runs all its coroutines on one thread."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import CoroutineType
from typing import Any, Generic, TypeVar

from uactor.host.cancellation import CallCancelledError, CancelToken
from uactor.runtime.threads import OnDemandThread

T = TypeVar('T')

log = logging.getLogger('uactor.host')

FINISHED = frozenset([type(None), bool, int, float, str, bytes, list, tuple, dict])
"""The types of most results: to look for a missing attribute of theirs takes time."""

_END: Any = object()


class EventLoop:
    """An event loop on a daemon thread that starts when first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def ensure_running(self) -> asyncio.AbstractEventLoop:
        """Start the thread of the loop if necessary, and return the loop.

        :raises RuntimeError: when no thread can be started.
        """
        with self._lock:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                try:
                    OnDemandThread('uactor-loop', lambda: _run(loop)).ensure_running()
                except BaseException:  # no thread can be started
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def wait(self, coroutine: Coroutine[Any, Any, T], cancel_token: CancelToken) -> T:
        """Run a coroutine and return its result.

        :raises CallCancelledError: when the call has been cancelled; so has the coroutine then.
        :raises RuntimeError: on the thread of the loop itself, which would wait for ever.
        """
        if self._is_this_thread():
            coroutine.close()
            raise RuntimeError('a blocking call would stop the event loop; await its .aio(…)')
        ended: queue.SimpleQueue[asyncio.Task[T]] = queue.SimpleQueue()
        loop_task = LoopTask(self, coroutine, ended.put)
        loop_task.start()
        with cancel_token.wake_on_cancel(loop_task):
            task = ended.get()
        if task.cancelled() and cancel_token.is_cancelled:
            raise CallCancelledError
        return task.result()

    def _is_this_thread(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:  # no loop runs on this thread
            return False

    def finish(self, result: Any, cancel_token: CancelToken) -> Any:
        """Return the final result for a result that :func:`is_unfinished`.

        A coroutine is run. An asynchronous iterator becomes a plain one that runs it on the loop.
        """
        if isinstance(result, CoroutineType):
            return self.wait(result, cancel_token)
        return Steps(self, result)


class LoopTask(Generic[T]):
    """A coroutine on the event loop, which any thread may cancel.

    A cancellation may come before the coroutine begins.

    :param done: is called on the loop when the coroutine has ended, in whatever way.
    """

    def __init__(
        self,
        loop: EventLoop,
        coroutine: Coroutine[Any, Any, T],
        done: Callable[[asyncio.Task[T]], None],
    ) -> None:
        self._event_loop = loop
        self._coroutine = coroutine
        self._done = done
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[T] | None = None
        self._is_cancelled = False

    def start(self) -> None:
        """Run the coroutine in the context of this thread.

        :raises RuntimeError: when no thread can be started; the coroutine has been closed then.
        """
        try:
            loop = self._event_loop.ensure_running()
        except BaseException:
            self._coroutine.close()
            raise
        self._loop = loop
        loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = task = asyncio.get_running_loop().create_task(self._coroutine)
        task.add_done_callback(self._done)
        if self._is_cancelled:
            task.cancel()

    def cancel(self) -> None:
        """Cancel the coroutine, once."""
        if self._is_cancelled:
            return
        self._is_cancelled = True  # before the look at the task: _begin() has the other order
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel_task)

    def _cancel_task(self) -> None:
        if self._task is not None:  # else _begin() is still to come, and cancels it
            self._task.cancel()

    wake = cancel
    """See :class:`~uactor.host.cancellation.Wakeable`."""


def _run(loop: asyncio.AbstractEventLoop) -> bool:
    """Run the loop until something ends it; return whether it can continue.

    A task or callback that raises SystemExit ends :meth:`run_forever`, and so does a coroutine
    that calls ``loop.stop()``. The other coroutines go on.
    """
    loop.run_forever()
    if loop.is_closed():
        log.error('the event loop of this actor has been closed: its coroutines never finish')
        return False
    log.warning('the event loop of this actor was stopped, and is started again')
    return True


def is_unfinished(result: Any) -> bool:
    """Return whether a result is a coroutine or an asynchronous iterator.

    These need the event loop.
    """
    kind = type(result)
    return kind is CoroutineType or (kind not in FINISHED and hasattr(kind, '__anext__'))


class Steps(Iterator[T]):
    """Runs each step of an asynchronous iterator on the event loop."""

    def __init__(self, loop: EventLoop, items: AsyncIterator[T]) -> None:
        self._loop = loop
        self._items = items

    def __next__(self) -> T:
        try:
            return self._loop.wait(_step(self._items), CancelToken())
        except _EndOfIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Close the iterator."""
        self._loop.wait(close_iterator(self._items), CancelToken())


class _EndOfIteration(Exception):  # noqa: N818  # no error, as StopIteration
    """An asynchronous iterator has no more items."""


async def _step(items: AsyncIterator[T]) -> T:
    """Return the next item. A coroutine can't raise StopIteration at the end."""
    item = await anext(items, _END)
    if item is _END:
        raise _EndOfIteration
    return item


async def close_iterator(items: AsyncIterator[Any]) -> None:
    """Close an asynchronous iterator, if it can be closed."""
    close = getattr(items, 'aclose', None)
    if close is not None:
        await close()
