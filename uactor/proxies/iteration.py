"""Iterations over results of calls, or over the items of one call."""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from time import perf_counter
from typing import Any, Generic, TypeVar

from uactor.core.futures import FailedCall, ResultBuffer, StreamBuffer
from uactor.core.interfaces import NO_HANDLE, BurstHandle, BurstReceiver, CallHandle
from uactor.runtime.deferred import deferred
from uactor.runtime.limits import validate_count
from uactor.runtime.system_errors import is_interruption

T = TypeVar('T')


class _Iteration(Iterator[T], AsyncIterator[T], Generic[T]):
    """An iteration for threads and coroutines; closing it cancels its calls.

    :param give_up: cancels the calls. It must not refer to the iteration.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._pid = os.getpid()
        self._closed = False
        deferred.submit_when_gone(self, give_up)

    def close(self) -> None:
        """Cancel the calls without waiting for their end."""
        self._closed = True
        if os.getpid() == self._pid:
            self._cancel()

    def _cancel(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Cancel the calls without waiting for their end."""
        self.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    async def __aenter__(self) -> Any:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[T]:
        return self


class Stream(_Iteration[T]):
    """The items of a generator in an actor, as it yields them.

    The call is made when the first item is requested. As a context manager, the stream closes the
    generator on leaving. Leaving the loop does, too, once the program has no reference to the
    stream. Threads and tasks may share it: each item goes to one of them.
    """

    def __init__(self, submit: Callable[[StreamBuffer], CallHandle], window: int) -> None:
        self._items = StreamBuffer(window)
        self._submit: Callable[[StreamBuffer], CallHandle] | None = submit
        super().__init__(self._items.cancel)

    def _cancel(self) -> None:
        self._items.cancel()

    def _begin(self) -> None:
        submit, self._submit = self._submit, None
        if submit is not None and not self._closed:
            self._items.call_handle = submit(self._items)

    def _unpack(self, more: bool, value: Any) -> Any:
        """Return an item, or raise the exception that ends the stream.

        :raises StopIteration: if the stream ends without one.
        """
        if more:
            return value
        self._closed = True
        self._items.call_handle = NO_HANDLE
        if value is None:
            raise StopIteration
        try:
            raise value
        finally:
            del value  # a cycle with its traceback otherwise

    def __next__(self) -> T:
        try:
            self._begin()
            if self._closed:
                raise StopIteration
            item: T = self._unpack(*self._items.next())
            return item
        except BaseException:  # also KeyboardInterrupt: an item may be lost
            if not self._closed:
                self.close()
            raise

    async def __anext__(self) -> T:
        try:
            self._begin()
            if self._closed:
                raise StopAsyncIteration
            found = await self._items.anext()
            try:
                item: T = self._unpack(*found)
            except StopIteration:
                raise StopAsyncIteration from None
            return item
        except BaseException:  # also CancelledError
            if not self._closed:
                self.close()
            raise


_FIRST_WINDOW = 128
_MAX_WINDOW = 1024
"""How many calls may be in progress, at first and at most, if the program sets no window."""
_FAST_S, _SLOW_S = 1e-3, 4e-3
"""The window grows if half of its results are fetched faster, and shrinks if it takes longer."""


class Results(_Iteration[T]):
    """The results of calls, in their order.

    A window of calls is in progress at a time. One thread or task iterates.

    The calls are made in bursts of half a window, which travel together.

    :param submit: makes a burst of calls with these arguments.
    :param arguments: the arguments of the calls, taken while the results are fetched.
    :param window: how many calls are in progress, or done and not fetched; None to adapt it to
        their duration.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[tuple[Any, ...]], BurstReceiver], BurstHandle],
        arguments: Iterator[tuple[Any, ...]],
        window: int | None,
    ) -> None:
        if window is not None:
            window = validate_count(window, 'a window of calls')
        self._submit = submit
        self._arguments = arguments
        self._adapts = window is None
        self._window = _FIRST_WINDOW if window is None else window
        self._outcomes = _NO_RESULTS  # of the burst whose results are fetched
        # Of that burst and all later ones.
        self._bursts: collections.deque[ResultBuffer] = collections.deque([_NO_RESULTS])
        super().__init__(functools.partial(_cancel_bursts, self._bursts))
        # The exception of a call, as opposed to one of the iteration.
        self._failed: BaseException | None = None
        self._is_awaited = False
        self._at = 0  # place of the next result in its burst
        self._until = 0  # up to here results can be fetched without further work
        self._since = 0  # results from here on have been fetched, but not subtracted from _left
        self._left = 0  # how many results of all bursts are still to be fetched
        self._error: Exception | None = None  # raised by the iterator of the arguments
        self._called = perf_counter()
        self._submit_calls()

    def _submit_calls(self) -> None:
        """Make as many calls as the window has room for."""
        arguments: list[tuple[Any, ...]] = []
        if self._error is None:
            try:
                arguments += itertools.islice(self._arguments, self._window - self._left)
            except Exception as error:  # raised after the results of the calls before it
                if is_interruption(error):
                    raise
                self._error = error
        if arguments:
            results = ResultBuffer(len(arguments))
            self._bursts.append(results)
            self._left += len(arguments)
            results.burst = self._submit(arguments, results)

    def _adapt(self) -> None:
        """Adapt the window so that a burst takes about a millisecond."""
        now = perf_counter()
        took, self._called = now - self._called, now
        if took < _FAST_S:
            self._window = min(2 * self._window, _MAX_WINDOW)
        elif took > _SLOW_S:
            self._window = max(self._window // 2, _FIRST_WINDOW)

    def _cancel(self) -> None:
        self._outcomes, self._at, self._until = _NO_RESULTS, 0, 0
        _cancel_bursts(self._bursts)

    def _advance(self) -> bool:
        """Make further calls when due, and return whether there is another result.

        :raises Exception: the error of the arguments, when all results before it are fetched.
        """
        if self._closed:
            return False
        self._left -= self._at - self._since
        if 2 * self._left <= self._window:
            if self._adapts:
                self._adapt()
            self._submit_calls()
        if self._at == self._outcomes.count and len(self._bursts) > 1:
            self._bursts.popleft()
            self._outcomes, self._at = self._bursts[0], 0
        self._since = self._at
        if self._error is not None and not self._left:
            error, self._error = self._error, None
            self._failed = error
            try:
                raise error
            finally:
                del error  # a cycle with its traceback otherwise
        return self._left > 0

    def _find_ready(self) -> int:
        """Record where the ready results end; return the place of the next.

        The caller has waited for the next result, so that is ready.
        """
        at, until = self._at, self._outcomes.ready
        before_calls = self._left - self._window // 2
        if before_calls > 0:
            until = min(until, at + before_calls)
        self._until = max(until, at + 1)
        return at

    @contextlib.contextmanager
    def _only_consumer(self) -> Iterator[None]:
        """Wait in the block, as the only thread or task.

        :raises RuntimeError: if another one waits. It would not be woken.
        """
        if self._is_awaited:
            raise self._record_failure(FailedCall(RuntimeError(_TWO_CONSUMERS)))
        self._is_awaited = True
        try:
            yield
        finally:
            self._is_awaited = False

    def _record_failure(self, failed: FailedCall) -> BaseException:
        """Record and return the error of a call.

        It does not end the iteration.
        """
        self._failed = failed.error
        return failed.error

    def _close_after(self, error: BaseException) -> None:
        """Close the iteration after an error, which may have lost a result.

        The error of a call does not close it.
        """
        failed, self._failed = self._failed, None
        if error is not failed and not self._closed:
            self.close()

    def __next__(self) -> T:
        try:
            at = self._at
            if at == self._until:
                if not self._advance():
                    raise StopIteration
                if not self._outcomes.has(self._at):
                    with self._only_consumer():
                        self._outcomes.wait(self._at)
                at = self._find_ready()
            self._at = at + 1
            fetched: Any = self._outcomes.take(at)
            if type(fetched) is FailedCall:
                raise self._record_failure(fetched)
            return fetched  # type: ignore[no-any-return]
        except BaseException as error:  # also KeyboardInterrupt
            fetched = None  # a cycle with the traceback otherwise
            self._close_after(error)
            raise

    async def __anext__(self) -> T:
        try:
            if self._at == self._until:
                if not self._advance():
                    raise StopAsyncIteration
                if not self._outcomes.has(self._at):
                    with self._only_consumer():
                        await self._outcomes.await_for(self._at)
                self._find_ready()
        except BaseException as error:  # also CancelledError
            self._close_after(error)
            raise
        return self.__next__()  # which need not wait


_TWO_CONSUMERS = (
    'another thread or task waits for the next result of this map(); '
    'have one consumer iterate, or put a lock around next()'
)
_NO_RESULTS = ResultBuffer(0)


def _cancel_bursts(bursts: collections.deque[ResultBuffer]) -> None:
    """Cancel the calls of bursts that have no result yet."""
    while bursts:
        bursts.popleft().burst.cancel_from(0)
