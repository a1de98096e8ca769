"""What receives the results of calls that nobody blocks for: futures, coroutines, streams."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextvars
import logging
import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from uactor.core.interfaces import (
    NO_BURST,
    NO_HANDLE,
    BurstHandle,
    BurstReceiver,
    CallHandle,
    ClientCall,
    Receiver,
)
from uactor.errors import ForkedError
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.locks import Latch, release_fully
from uactor.runtime.threads import report, start_daemon
from uactor.runtime.weakrefs import WeakKeys

T = TypeVar('T')

log = logging.getLogger('uactor.client')


class CallFuture(concurrent.futures.Future[T]):
    """The result of a call, once it has come.

    As :class:`concurrent.futures.Future`, but :meth:`cancel` also succeeds while the method runs.
    Callbacks run on a thread that other results come through: they must not wait for one.
    """

    _is_delivered = False  # whether the thread that settles it is not the user's

    def __init__(self) -> None:
        super().__init__()
        self.call_handle: CallHandle = NO_HANDLE
        self._uncancelled = [True]

    @classmethod
    def start(
        cls, submit: Callable[[ClientCall, Receiver], CallHandle], call: ClientCall
    ) -> CallFuture[Any]:
        """Have a call made, and return the future of its result."""
        future: CallFuture[Any] = CallFuture()
        future.call_handle = submit(call, future)
        return future

    def cancel(self) -> bool:
        """Give the call up, unless it is done; tell whether it has been given up.

        A method that has not begun when the actor hears of that never runs. The word is on its way
        when this returns, unless more than 32 KiB of requests have not been answered, which the
        wire may not hold. An actor that has been stopped by then hears of it before it runs what
        it has not read yet; over gRPC that can't be told, and the method may run. One that runs
        goes on to its end, and can see that it is in vain (:func:`uactor.current_call`); a
        coroutine is cancelled.
        """
        if not super().cancel():
            return False
        try:
            self._uncancelled.pop()
        except IndexError:  # it has been cancelled before
            return True
        self.set_running_or_notify_cancel()
        self.call_handle.cancel()
        self.call_handle.flush()
        return True

    def receive(self, value: T) -> None:
        """Take the result. See :class:`uactor.core.interfaces.Receiver`."""
        try:
            self._is_delivered = True
            self.set_result(value)
        except concurrent.futures.InvalidStateError:
            log.debug('the result of a call came too late')

    def fail(self, error: BaseException) -> None:
        """Take the error. See :class:`uactor.core.interfaces.Receiver`."""
        try:
            self._is_delivered = True
            self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            log.debug('the error of a call came too late: %s', error)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call a function when the future is done; see :class:`concurrent.futures.Future`.

        What it raises on the thread that other results come through is logged: SystemExit too.
        """

        def call(future: concurrent.futures.Future[T]) -> None:
            try:
                fn(future)
            except Exception:
                raise  # the base class logs it
            except BaseException:
                # Asked of the argument: with itself in it, a done future would be a cycle.
                if not known or not cast('CallFuture[T]', future)._is_delivered:
                    raise  # on the thread of the user
                report('a callback of a future has failed')

        known = False
        super().add_done_callback(call)
        known = True

    def disown(self, error: BaseException) -> None:
        """Fail in a forked child, where threads that had the lock of this future are gone.

        Its callbacks are the parent's.
        """
        self._condition = threading.Condition()
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self.fail(error)

    def result(self, timeout: float | None = None) -> T:
        """Return the result, or raise the error.

        :param timeout: how long it is waited for at most, in seconds.
        :raises TimeoutError: when it has not come by then.
        """
        try:
            self._await(timeout)
            return super().result(0)
        except BaseException:
            release_fully(self._condition)
            raise
        finally:
            del self  # a cycle with the traceback otherwise

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error; None when there is a result. See :meth:`result`."""
        try:
            self._await(timeout)
            return super().exception(0)
        except BaseException:
            release_fully(self._condition)
            raise
        finally:
            del self

    def _await(self, timeout: float | None) -> None:
        """Wait until it is done.

        On a latch of this thread's own. A signal handler that interrupts the wait for a condition
        may leave that locked, and then the thread that brings results hangs.
        """
        if not self.done():
            done = Latch()
            self.add_done_callback(lambda _: done.set())
            if not done.wait(timeout):
                raise concurrent.futures.TimeoutError

    def wait(self) -> T:
        """Return the result; give the call up when this thread is interrupted meanwhile."""
        try:
            return self.result()
        except BaseException:
            self.cancel()
            raise
        finally:
            del self  # a cycle with the traceback otherwise


# --- asyncio -------------------------------------------------------------------------------------

_MAX_CALLBACKS_AT_ONCE = 500
"""How many results an event loop takes before it has a look at other things."""


class _LoopCallbacks:
    """What other threads have for an event loop: a burst wakes it once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = weakref.ref(loop)  # which knows this, by _posts: that would keep both
        self._letters: collections.deque[Callable[[], None]] = collections.deque()
        self._woken = False

    def put(self, letter: Callable[[], None]) -> None:
        self._letters.append(letter)
        if not self._woken:
            self._woken = True
            self._wake()

    def forget_waking(self) -> None:
        """Wake the loop at the next letter: who was about to may be a thread of the parent."""
        self._woken = False

    def _wake(self) -> None:
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._deliver)
            except RuntimeError as error:  # it has been closed
                log.debug('nobody waits for a result any more: %s', error)

    def _deliver(self) -> None:
        self._woken = False
        for _ in range(_MAX_CALLBACKS_AT_ONCE):
            try:
                letter = self._letters.popleft()
            except IndexError:
                return
            letter()
        if self._letters and not self._woken:
            self._woken = True
            self._wake()


_callbacks: WeakKeys[asyncio.AbstractEventLoop, _LoopCallbacks] = WeakKeys()


def _callbacks_of(loop: asyncio.AbstractEventLoop) -> _LoopCallbacks:
    """Return what takes letters for a loop. On its thread."""
    post = _callbacks.get(loop)
    if post is None:
        post = _callbacks[loop] = _LoopCallbacks(loop)
    return post


def disown(receiver: Receiver, error: BaseException) -> None:
    """Have the receiver of a call that is the parent's fail, in a forked child."""
    if isinstance(receiver, CallFuture):
        receiver.disown(error)
    else:
        receiver.fail(error)


def _after_fork_in_child() -> None:
    for post in _callbacks.values():
        post.forget_waking()
    for receiver in tuple(_awaiting_threads):
        receiver.fail(ForkedError())


at_fork(in_child=_after_fork_in_child)


class LoopFuture:
    """Receives the result of a call for a coroutine of the loop that runs here."""

    __slots__ = ('_future', '_post')

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = loop.create_future()
        self._post = _callbacks_of(loop)

    def receive(self, value: Any) -> None:
        """Take the result. See :class:`uactor.core.interfaces.Receiver`."""
        self._post.put(lambda: self._settle(value, None))

    def fail(self, error: BaseException) -> None:
        """Take the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._post.put(lambda: self._settle(None, error))

    def _settle(self, value: Any, error: BaseException | None) -> None:
        if self._future.done():
            log.debug('the result of a call came too late')
        elif error is None:
            self._future.set_result(value)
        elif isinstance(error, (StopIteration, asyncio.CancelledError)):
            self._future.set_exception(_wrap_unraisable(error))
        else:
            self._future.set_exception(error)

    async def wait(self, ticket: CallHandle) -> Any:
        """Return the result; give the call up when this task is cancelled meanwhile."""
        try:
            return await self._future
        finally:
            if self._future.cancelled():
                ticket.cancel()


def _wrap_unraisable(error: BaseException) -> BaseException:
    """Return an error for one that a coroutine can't raise."""
    told = RuntimeError(f'the method raised {type(error).__name__}')
    told.__cause__ = error
    return told


async def run_in_thread(function: Callable[[], T]) -> T:
    """Await what a blocking function returns.

    On a thread of its own: those of the loop's executor are few, and may all be blocked.
    """
    receiver = LoopFuture()
    context = contextvars.copy_context()

    def run() -> None:
        try:
            result = context.run(function)
        except BaseException as error:
            receiver.fail(error)
        else:
            receiver.receive(result)

    _awaiting_threads.add(receiver)
    try:
        start_daemon('uactor-aio', run)
        result: T = await receiver.wait(NO_HANDLE)
    finally:
        _awaiting_threads.discard(receiver)
    return result


_awaiting_threads: set[LoopFuture] = set()
"""Who waits for a thread."""


# --- streams -------------------------------------------------------------------------------------


class StreamBuffer:
    """Receives the items of a stream, and hands them out to one consumer.

    The consumer grants new ones when half of those granted have been handed out.

    :param window: how many may be on their way or here.
    """

    def __init__(self, window: int) -> None:
        self.call_handle: CallHandle = NO_HANDLE
        self._window = window
        self._taken = 0
        self._items: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._notify: Callable[[], None] | None = None

    def cancel(self) -> None:
        """Give up what has not come."""
        ticket, self.call_handle = self.call_handle, NO_HANDLE
        ticket.cancel()

    # --- of the sender

    def item(self, value: Any) -> None:
        """Take an item. See :class:`uactor.core.interfaces.Receiver`."""
        self._put(True, value)

    def receive(self, value: Any) -> None:
        """Take the end. See :class:`uactor.core.interfaces.Receiver`."""
        self._put(False, None)

    def fail(self, error: BaseException) -> None:
        """Take the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._put(False, error)

    def _put(self, more: bool, value: Any) -> None:
        self._items.put((more, value))
        notify = self._notify
        if notify is not None:
            notify()

    # --- of the consumer

    def _hand_out(self, more: bool, value: Any) -> tuple[bool, Any]:
        if more:
            self._taken += 1
            if self._taken * 2 >= self._window:
                self._grant(self._taken)
                self._taken = 0
        return more, value

    def _grant(self, items: int) -> None:
        self.call_handle.grant(items)

    def next(self) -> tuple[bool, Any]:
        """Wait for the next item, or the end: then False, and the error or None."""
        return self._hand_out(*self._items.get())

    async def anext(self) -> tuple[bool, Any]:
        """Await the next item, or the end: then False, and the error or None."""
        if self._items.empty():
            loop = asyncio.get_running_loop()
            post, arrived = _callbacks_of(loop), asyncio.Event()
            self._notify = lambda: post.put(arrived.set)
            try:
                while self._items.empty():
                    await arrived.wait()
                    arrived.clear()
            finally:
                self._notify = None
        return self._hand_out(*self._items.get())


class FailedCall:
    """The exception of a call, where values are expected."""

    __slots__ = ('error',)

    def __init__(self, error: BaseException) -> None:
        self.error = error


_MISSING: Any = object()


class ResultBuffer:
    """Receives what comes of calls that were made together, and hands it out by their index.

    :ivar burst: those calls.
    :ivar count: how many there are.
    :ivar ready: how many of the first ones are done, at least.
    """

    def __init__(self, count: int) -> None:
        self.burst: BurstHandle = NO_BURST
        self.count = count
        self.ready = 0
        self._outcomes: list[Any] = [_MISSING] * count
        self._awaited = -1
        self._notify: Callable[[], None] = _notify_nobody

    # --- of the sender

    def receive_all(self, first: int, values: Sequence[Any]) -> None:
        """Take results. See :class:`uactor.core.interfaces.BurstReceiver`."""
        end = first + len(values)
        self._outcomes[first:end] = values
        if first == self.ready:
            self.ready = end
        if first <= self._awaited < end:
            self._notify()

    def fail(self, index: int, error: BaseException) -> None:
        """Take the error of a call. See :class:`uactor.core.interfaces.BurstReceiver`."""
        self.receive_all(index, [FailedCall(error)])

    # --- of the consumer

    def take(self, index: int) -> Any:
        """Return the result of a call, which is there, or a :class:`FailedCall`."""
        outcome, self._outcomes[index] = self._outcomes[index], None
        return outcome

    def has(self, index: int) -> bool:
        """Tell whether a call is done."""
        return self._outcomes[index] is not _MISSING

    def wait(self, index: int) -> None:
        """Wait until a call is done."""
        arrived: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._expect(index, lambda: arrived.put(None))
        if self._outcomes[index] is _MISSING:  # else nobody may notify
            arrived.get()

    async def await_for(self, index: int) -> None:
        """Await that a call is done."""
        post, arrived = _callbacks_of(asyncio.get_running_loop()), asyncio.Event()
        self._expect(index, lambda: post.put(arrived.set))
        if self._outcomes[index] is _MISSING:
            await arrived.wait()

    def _expect(self, index: int, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._awaited = index


class IndexedReceiver:
    """Receives what comes of one of such calls, where that was made by itself."""

    def __init__(self, outcomes: BurstReceiver, index: int) -> None:
        self._outcomes = outcomes
        self._index = index

    def receive(self, value: Any) -> None:
        """Take the result. See :class:`uactor.core.interfaces.Receiver`."""
        self._outcomes.receive_all(self._index, [value])

    def fail(self, error: BaseException) -> None:
        """Take the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._outcomes.fail(self._index, error)


def _notify_nobody() -> None:
    """Wake nobody."""
