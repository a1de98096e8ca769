"""Receive the results of calls without blocking: futures, coroutines, streams."""

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
from typing import TYPE_CHECKING, Any, TypeVar, cast

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

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar('T')

log = logging.getLogger('uactor.client')


class RevocableResult:
    """A result that the host takes back, unless the caller accepts it.

    The call has taken an item of a queue, or a lock. A result that nothing refers to any more is
    discarded.

    :param settle: tells the host whether the result is accepted.
    """

    __slots__ = ('_settle', 'value')

    def __init__(self, value: Any, settle: Callable[[bool], None]) -> None:
        self.value = value
        self._settle = [settle]

    def accept(self) -> Any:
        """Keep the result, and return it."""
        self._end(True)
        return self.value

    def discard(self) -> None:
        """Have the host put back what the call has taken."""
        self._end(False)

    def _end(self, is_accepted: bool) -> None:
        try:
            settle = self._settle.pop()
        except IndexError:  # the first call counts
            return
        settle(is_accepted)

    def __del__(self) -> None:
        self.discard()


def accept(value: Any) -> Any:
    """Return a result, which is accepted if it is revocable."""
    return value.accept() if type(value) is RevocableResult else value


class CallFuture(concurrent.futures.Future[T]):
    """The future of a call's result.

    Unlike that of :class:`concurrent.futures.Future`, :meth:`cancel` also succeeds while the method
    runs. Callbacks run on the thread that delivers all results, so they must not wait for one.
    """

    _is_delivered = False  # whether the delivering thread completes it, not the user's

    def __init__(self) -> None:
        super().__init__()
        self.call_handle: CallHandle = NO_HANDLE
        self._uncancelled = [True]

    @classmethod
    def start(cls, submit: Callable[[ClientCall, Receiver], CallHandle], call: ClientCall) -> Self:
        """Submit a call, and return the future of its result."""
        future = cls()
        future.call_handle = submit(call, future)
        return future

    def cancel(self) -> bool:
        """Give the call up, unless it is done; return whether that succeeded.

        A method that has not begun when the actor receives the cancellation never runs. A running
        method goes on to its end. It can see in :func:`uactor.current_call` that its result is not
        needed. A coroutine is cancelled.

        The cancellation is on its way when this returns. The exception is more than 32 KiB of
        unanswered requests, which the wire may not hold. An actor process that is stopped by then
        receives it before it runs calls that it has not read yet. Over gRPC this order is not
        certain, and the method may run.
        """
        if not super().cancel():
            return False
        try:
            self._uncancelled.pop()
        except IndexError:  # it was cancelled before
            return True
        self.set_running_or_notify_cancel()
        self.call_handle.cancel()
        self.call_handle.flush()
        return True

    def receive(self, value: Any) -> None:
        """Receive the result. See :class:`uactor.core.interfaces.Receiver`."""
        try:
            self._is_delivered = True
            if type(value) is RevocableResult:
                self._receive_revocable(value)
            else:
                self.set_result(value)
        except concurrent.futures.InvalidStateError:
            log.debug('the result of a call came too late')
            if type(value) is RevocableResult:
                value.discard()

    def _receive_revocable(self, result: RevocableResult) -> None:
        self.set_result(result.value)
        result.accept()

    def fail(self, error: BaseException) -> None:
        """Receive the error. See :class:`uactor.core.interfaces.Receiver`."""
        try:
            self._is_delivered = True
            self.set_exception(error)
        except concurrent.futures.InvalidStateError:
            log.debug('the error of a call came too late: %s', error)

    def add_done_callback(self, fn: Callable[[concurrent.futures.Future[T]], object]) -> None:
        """Call a function when the future is done.

        See :class:`concurrent.futures.Future`. The thread that delivers results logs any exception
        of the function, SystemExit too.
        """

        def call(future: concurrent.futures.Future[T]) -> None:
            try:
                fn(future)
            except Exception:
                raise  # the base class logs it
            except BaseException:
                # Read from the argument: a callback that refers to its future would be a cycle.
                if not known or not cast('CallFuture[T]', future)._is_delivered:
                    raise  # on the thread of the user
                report('a callback of a future has failed')

        known = False
        super().add_done_callback(call)
        known = True

    def disown(self, error: BaseException) -> None:
        """Fail the future in a forked child, without calling its callbacks.

        The callbacks are the parent's. The lock is replaced, because a thread of the parent may
        have held it, and the child lacks that thread.
        """
        self._condition = threading.Condition()
        self._waiters: list[Any] = []
        self._done_callbacks: list[Any] = []
        self.fail(error)

    def result(self, timeout: float | None = None) -> T:
        """Wait for the result and return it, or raise the error.

        :param timeout: how long to wait at most, in seconds; None for any time.
        :raises TimeoutError: when the result has not arrived by then.
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
        """Return the error, or None if the call succeeds. See :meth:`result`."""
        try:
            self._await(timeout)
            return super().exception(0)
        except BaseException:
            release_fully(self._condition)
            raise
        finally:
            del self

    def _await(self, timeout: float | None) -> None:
        """Wait until the future is done, on this thread's own latch.

        A signal handler that interrupts the wait for a condition may leave the condition locked.
        Then the thread that delivers results would hang.
        """
        if not self.done():
            done = Latch()
            self.add_done_callback(lambda _: done.set())
            if not done.wait(timeout):
                raise concurrent.futures.TimeoutError


class AwaitedCall(CallFuture[T]):
    """The future of a call that one thread waits for."""

    _revocable: RevocableResult | None = None

    def _receive_revocable(self, result: RevocableResult) -> None:
        self._revocable = result  # first: then the thread that waits goes on
        self.set_result(result.value)

    def wait(self) -> T:
        """Return the result; cancel the call if this thread is interrupted meanwhile."""
        try:
            result = self.result()
            if self._revocable is not None:
                self._revocable.accept()
            return result
        except BaseException:
            if not self.cancel() and self._revocable is not None:
                self._revocable.discard()
            raise
        finally:
            del self  # a cycle with the traceback otherwise


# --- asyncio -------------------------------------------------------------------------------------

_MAX_CALLBACKS_AT_ONCE = 500
"""How many results an event loop takes before its other callbacks may run."""


class _LoopCallbacks:
    """Callbacks that other threads queue for an event loop.

    A burst of them wakes the loop once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Weak: _loop_callbacks maps the loop to this object, and a strong one would keep both.
        self._loop = weakref.ref(loop)
        self._queued: collections.deque[Callable[[], None]] = collections.deque()
        self._woken = False

    def put(self, callback: Callable[[], None]) -> None:
        """Queue a callback, and wake the loop unless it is being woken."""
        self._queued.append(callback)
        if not self._woken:
            self._woken = True
            self._wake()

    def forget_waking(self) -> None:
        """Wake the loop at the next callback, in a forked child.

        A thread of the parent, which the child lacks, may have been about to wake it.
        """
        self._woken = False

    def _wake(self) -> None:
        loop = self._loop()
        if loop is not None:
            try:
                loop.call_soon_threadsafe(self._deliver)
            except RuntimeError as error:  # the loop is closed
                log.debug('nobody waits for a result any more: %s', error)

    def _deliver(self) -> None:
        self._woken = False
        for _ in range(_MAX_CALLBACKS_AT_ONCE):
            try:
                callback = self._queued.popleft()
            except IndexError:
                return
            callback()
        if self._queued and not self._woken:
            self._woken = True
            self._wake()


_loop_callbacks: WeakKeys[asyncio.AbstractEventLoop, _LoopCallbacks] = WeakKeys()


def _get_loop_callbacks(loop: asyncio.AbstractEventLoop) -> _LoopCallbacks:
    """Return the callback queue of a loop. The loop's thread calls this."""
    callbacks = _loop_callbacks.get(loop)
    if callbacks is None:
        callbacks = _loop_callbacks[loop] = _LoopCallbacks(loop)
    return callbacks


def disown(receiver: Receiver, error: BaseException) -> None:
    """Fail the receiver of a parent's call, in a forked child."""
    if isinstance(receiver, CallFuture):
        receiver.disown(error)
    else:
        receiver.fail(error)


def _after_fork_in_child() -> None:
    for callbacks in _loop_callbacks.values():
        callbacks.forget_waking()
    for receiver in tuple(_awaiting_threads):
        receiver.fail(ForkedError())


at_fork(in_child=_after_fork_in_child)


class LoopFuture:
    """Receives a call's result for a coroutine of the running loop."""

    __slots__ = ('_callbacks', '_future')

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = loop.create_future()
        self._callbacks = _get_loop_callbacks(loop)

    def receive(self, value: Any) -> None:
        """Receive the result. See :class:`uactor.core.interfaces.Receiver`."""
        self._callbacks.put(lambda: self._complete(value, None))

    def fail(self, error: BaseException) -> None:
        """Receive the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._callbacks.put(lambda: self._complete(None, error))

    def _complete(self, value: Any, error: BaseException | None) -> None:
        if self._future.done():
            log.debug('the result of a call came too late')
        elif error is None:
            self._future.set_result(value)
        elif isinstance(error, (StopIteration, asyncio.CancelledError)):
            self._future.set_exception(_wrap_unraisable(error))
        else:
            self._future.set_exception(error)

    async def wait(self, call_handle: CallHandle) -> Any:
        """Return the result; cancel the call if this task is cancelled meanwhile."""
        try:
            return accept(await self._future)
        finally:
            if self._future.cancelled():
                call_handle.cancel()


def _wrap_unraisable(error: BaseException) -> BaseException:
    """Wrap an error that a coroutine can't raise."""
    wrapped = RuntimeError(f'the method raised {type(error).__name__}')
    wrapped.__cause__ = error
    return wrapped


async def run_in_thread(function: Callable[[], T]) -> T:
    """Run a blocking function on a new thread, and await its result.

    The threads of the loop's executor are few, and may all be blocked.
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
"""The futures of coroutines that wait for a thread."""


# --- streams -------------------------------------------------------------------------------------


class StreamBuffer:
    """Receives the items of a stream, each for one consumer.

    Once they have taken half of the window, the sender is granted as many new items. The end stays
    in the buffer for the other consumers.

    :param window: how many items may be on their way or in this buffer.
    """

    def __init__(self, window: int) -> None:
        self.call_handle: CallHandle = NO_HANDLE
        self._window = window
        self._taken = 0
        self._items: queue.SimpleQueue[tuple[bool, Any]] = queue.SimpleQueue()
        self._awaiting: list[Callable[[], None]] = []  # each wakes a coroutine

    def cancel(self) -> None:
        """Cancel the call, and so the items that have not arrived."""
        call_handle, self.call_handle = self.call_handle, NO_HANDLE
        call_handle.cancel()

    # --- called by the sender

    def item(self, value: Any) -> None:
        """Receive an item. See :class:`uactor.core.interfaces.StreamReceiver`."""
        self._put(True, value)

    def receive(self, value: Any) -> None:  # noqa: ARG002  # named by the protocol
        """Receive the end. See :class:`uactor.core.interfaces.Receiver`."""
        self._put(False, None)

    def fail(self, error: BaseException) -> None:
        """Receive the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._put(False, error)

    def _put(self, more: bool, value: Any) -> None:
        self._items.put((more, value))
        for wake in tuple(self._awaiting):
            wake()

    # --- called by the consumer

    def _hand_out(self, more: bool, value: Any) -> tuple[bool, Any]:
        if more:
            self._taken += 1
            if self._taken * 2 >= self._window:
                self._grant(self._taken)
                self._taken = 0
        else:
            self._put(False, None)
        return more, value

    def _grant(self, items: int) -> None:
        self.call_handle.grant(items)

    def next(self) -> tuple[bool, Any]:
        """Wait for the next item, or for the end.

        :returns: True and the item, or False and the error; at a normal end that is None.
        """
        return self._hand_out(*self._items.get())

    async def anext(self) -> tuple[bool, Any]:
        """Await the next item, or the end. See :meth:`next`."""
        try:
            found = self._items.get_nowait()
        except queue.Empty:
            found = await self._await_item()
        return self._hand_out(*found)

    async def _await_item(self) -> tuple[bool, Any]:
        loop = asyncio.get_running_loop()
        callbacks, arrived = _get_loop_callbacks(loop), asyncio.Event()

        def wake() -> None:
            callbacks.put(arrived.set)

        self._awaiting.append(wake)
        try:
            while True:
                try:
                    return self._items.get_nowait()
                except queue.Empty:  # another consumer may have been faster
                    await arrived.wait()
                    arrived.clear()
        finally:
            self._awaiting.remove(wake)


class FailedCall:
    """The exception of a call, in the place of its result."""

    __slots__ = ('error',)

    def __init__(self, error: BaseException) -> None:
        self.error = error


_MISSING: Any = object()


class ResultBuffer:
    """Receives the results of a burst, and hands them out by index.

    :ivar burst: the handle of the calls.
    :ivar count: the number of calls.
    :ivar ready: calls with a lower index are done; further ones may be.
    """

    def __init__(self, count: int) -> None:
        self.burst: BurstHandle = NO_BURST
        self.count = count
        self.ready = 0
        self._results: list[Any] = [_MISSING] * count
        self._awaited = -1
        self._notify: Callable[[], None] = _do_nothing

    # --- called by the sender

    def receive_all(self, first: int, values: Sequence[Any]) -> None:
        """Receive results. See :class:`uactor.core.interfaces.BurstReceiver`."""
        end = first + len(values)
        self._results[first:end] = values
        if first == self.ready:
            self.ready = end
        if first <= self._awaited < end:
            self._notify()

    def fail(self, index: int, error: BaseException) -> None:
        """Receive the error of a call. See :class:`uactor.core.interfaces.BurstReceiver`."""
        self.receive_all(index, [FailedCall(error)])

    # --- called by the consumer

    def take(self, index: int) -> Any:
        """Remove the result of a finished call, and return it.

        The result of a failed call is a :class:`FailedCall`.
        """
        result, self._results[index] = self._results[index], None
        return result

    def has(self, index: int) -> bool:
        """Return whether a call is done."""
        return self._results[index] is not _MISSING

    def wait(self, index: int) -> None:
        """Wait until a call is done."""
        arrived: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._expect(index, lambda: arrived.put(None))
        if self._results[index] is _MISSING:  # else the sender may not notify any more
            arrived.get()

    async def await_for(self, index: int) -> None:
        """Wait until a call is done, in a coroutine."""
        callbacks, arrived = _get_loop_callbacks(asyncio.get_running_loop()), asyncio.Event()
        self._expect(index, lambda: callbacks.put(arrived.set))
        if self._results[index] is _MISSING:
            await arrived.wait()

    def _expect(self, index: int, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._awaited = index


class IndexedReceiver:
    """Passes a call's result, with its index, to a burst's receiver."""

    def __init__(self, receiver: BurstReceiver, index: int) -> None:
        self._receiver = receiver
        self._index = index

    def receive(self, value: Any) -> None:
        """Receive the result. See :class:`uactor.core.interfaces.Receiver`."""
        self._receiver.receive_all(self._index, [accept(value)])

    def fail(self, error: BaseException) -> None:
        """Receive the error. See :class:`uactor.core.interfaces.Receiver`."""
        self._receiver.fail(self._index, error)


def _do_nothing() -> None:
    """Do nothing: no consumer waits."""
