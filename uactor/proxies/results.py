"""What one iterates over: the results of many calls, or the items of one."""

from __future__ import annotations

import collections
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from uactor.futures import Items, Outcomes
from uactor.local import NO_TICKET, Burst, BurstReceiver, Ticket

T = TypeVar('T')


class _Iteration(Iterator[T], AsyncIterator[T], Generic[T]):
    """Iterates in threads and in coroutines, and gives up what is left when it is left."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._closed = False

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

    def __del__(self) -> None:
        if not getattr(self, '_closed', True):
            self.close()

    def __aiter__(self) -> AsyncIterator[T]:
        return self


class Stream(_Iteration[T]):
    """The items of a generator in an actor, as it yields them.

    It is called when the first item is asked for. A context manager that closes the generator on
    leaving; leaving the loop does, too, once nobody has the stream any more.
    """

    def __init__(self, submit: Callable[[Items], Ticket], window: int) -> None:
        super().__init__()
        self._submit: Callable[[Items], Ticket] | None = submit
        self._items = Items(window)

    def _cancel(self) -> None:
        self._items.ticket.cancel()
        self._items.ticket = NO_TICKET

    def _begin(self) -> None:
        submit, self._submit = self._submit, None
        if submit is not None and not self._closed:
            self._items.ticket = submit(self._items)

    def _unpacked(self, more: bool, value: Any) -> Any:
        """Return an item, or raise what stands at the end.

        :raises StopIteration: when that is nothing.
        """
        if more:
            return value
        self._closed = True
        self._items.ticket = NO_TICKET
        if value is None:
            raise StopIteration
        try:
            raise value
        finally:
            del value  # a cycle with its traceback otherwise

    def __next__(self) -> T:
        self._begin()
        if self._closed:
            raise StopIteration
        try:
            found = self._items.next()
        except BaseException:  # KeyboardInterrupt
            self.close()
            raise
        item: T = self._unpacked(*found)
        return item

    async def __anext__(self) -> T:
        self._begin()
        if self._closed:
            raise StopAsyncIteration
        try:
            found = await self._items.anext()
        except BaseException:  # CancelledError
            self.close()
            raise
        try:
            item: T = self._unpacked(*found)
        except StopIteration:
            raise StopAsyncIteration from None
        return item


class Results(_Iteration[T]):
    """The results of calls, in their order; so many at a time.

    Calls are made in bursts, of half of that: they travel together.

    :param submit: makes calls with such arguments.
    :param arguments: of the calls, drawn as the results are fetched.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[tuple[Any, ...]], BurstReceiver], Burst],
        arguments: Iterator[tuple[Any, ...]],
        window: int,
    ) -> None:
        if window < 1:
            raise ValueError(f'a window takes 1 call or more, not {window}')
        super().__init__()
        self._submit = submit
        self._arguments = arguments
        self._window = window
        self._bursts: collections.deque[Outcomes] = collections.deque()
        self._at = 0  # in the first of them
        self._left = 0  # in all of them
        self._call_on()

    def _call_on(self) -> None:
        arguments = list(itertools.islice(self._arguments, self._window - self._left))
        if arguments:
            outcomes = Outcomes(len(arguments))
            self._bursts.append(outcomes)
            self._left += len(arguments)
            outcomes.burst = self._submit(arguments, outcomes)

    def _cancel(self) -> None:
        at, self._at, self._left = self._at, 0, 0
        while self._bursts:
            self._bursts.popleft().burst.give_up(at)
            at = 0

    def _fetched(self, outcomes: Outcomes) -> T:
        at = self._at
        self._at, self._left = at + 1, self._left - 1
        if at + 1 == outcomes.count:
            self._bursts.popleft()
            self._at = 0
        if self._left * 2 <= self._window:
            self._call_on()
        fetched: T = outcomes.take(at)
        return fetched

    def __next__(self) -> T:
        if not self._left:
            raise StopIteration
        outcomes = self._bursts[0]
        if not outcomes.has(self._at):
            try:
                outcomes.wait(self._at)
            except BaseException:  # KeyboardInterrupt
                self.close()
                raise
        return self._fetched(outcomes)

    async def __anext__(self) -> T:
        if not self._left:
            raise StopAsyncIteration
        outcomes = self._bursts[0]
        if not outcomes.has(self._at):
            try:
                await outcomes.await_for(self._at)
            except BaseException:  # CancelledError
                self.close()
                raise
        return self._fetched(outcomes)
