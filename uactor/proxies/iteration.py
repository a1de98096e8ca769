"""What one iterates over: the results of many calls, or the items of one."""

from __future__ import annotations

import collections
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
    """Iterates in threads and in coroutines, and gives up what is left when it is left.

    :param give_up: gives up what is left. It doesn't refer to the iteration.
    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self._pid = os.getpid()
        self._closed = False
        deferred.submit_when_gone(self, give_up)

    def close(self) -> None:
        """Give up what is left, without waiting for that."""
        self._closed = True
        if os.getpid() == self._pid:
            self._cancel()

    def _cancel(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        """Give up what is left, without waiting for that."""
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

    It is called when the first item is asked for. A context manager that closes the generator on
    leaving; leaving the loop does, too, once nobody has the stream any more.
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
        """Return an item, or raise what stands at the end.

        :raises StopIteration: when that is nothing.
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
        except BaseException:  # also KeyboardInterrupt, which may have lost an item
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
"""How many calls may be under way, at first and at most, where nobody has said how many."""
_FAST_S, _SLOW_S = 1e-3, 4e-3
"""Results of half of them that have been fetched sooner make that more, later fewer, in seconds."""


class Results(_Iteration[T]):
    """The results of calls, in their order; so many at a time.

    Calls are made in bursts, of half of that: they travel together.

    :param submit: makes calls with such arguments.
    :param arguments: of the calls, drawn as the results are fetched.
    :param window: how many calls are under way, or done and not fetched; None for as many as pay.
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
        # That one, and those that follow.
        self._bursts: collections.deque[ResultBuffer] = collections.deque([_NO_RESULTS])
        super().__init__(functools.partial(_cancel_bursts, self._bursts))
        self._failed: BaseException | None = None  # what a call has raised, and not this
        self._at = 0  # the next one to be fetched
        self._until = 0  # so far there is nothing to be done but that
        self._since = 0  # from here on what has been fetched has not been counted
        self._left = 0  # those of all bursts
        self._error: Exception | None = None  # of the arguments
        self._called = perf_counter()
        self._submit_calls()

    def _submit_calls(self) -> None:
        """Make as many more calls as may be under way."""
        arguments: list[tuple[Any, ...]] = []
        if self._error is None:
            try:
                arguments += itertools.islice(self._arguments, self._window - self._left)
            except Exception as error:  # it comes after the results of those before it
                if is_interruption(error):
                    raise
                self._error = error
        if arguments:
            outcomes = ResultBuffer(len(arguments))
            self._bursts.append(outcomes)
            self._left += len(arguments)
            outcomes.burst = self._submit(arguments, outcomes)

    def _adapt(self) -> None:
        """Let more calls be under way, or fewer: a burst is to take about a millisecond."""
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
        """Call on when it is time, and go to the next result; tell whether there is one.

        :raises Exception: when there are no more, but an error of the arguments.
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
        """Note how many results can be fetched at once, of which one is there; return its place."""
        at, until = self._at, self._outcomes.ready
        before_calls = self._left - self._window // 2
        if before_calls > 0:
            until = min(until, at + before_calls)
        self._until = max(until, at + 1)
        return at

    def _record_failure(self, failed: FailedCall) -> BaseException:
        """Return the error of a call, which does not end the iteration."""
        self._failed = failed.error
        return failed.error

    def _close_after(self, error: BaseException) -> None:
        """Close after an error, unless a call has raised it: a result may be lost otherwise."""
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
                    await self._outcomes.await_for(self._at)
                self._find_ready()
        except BaseException as error:  # also CancelledError
            self._close_after(error)
            raise
        return self.__next__()  # which need not wait


_NO_RESULTS = ResultBuffer(0)


def _cancel_bursts(bursts: collections.deque[ResultBuffer]) -> None:
    """Give up those calls of bursts that have not been answered."""
    while bursts:
        bursts.popleft().burst.cancel_from(0)
