"""An actor for the tests of futures, streams, deadlines, cancellation and mailboxes.

Its methods wait for events, which the tests set, so that nothing depends on time.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from queue import Queue
from typing import Any

import uactor
from tests.support import Actor


class Bench(Actor):
    """Waits, counts, yields, and reports what happens to its calls."""

    _method_to_typeid_ = {'event': 'Event', 'queue': 'Queue', 'told': 'Queue', 'lazily': 'Iterator'}

    def __init__(self) -> None:
        self._events: dict[str, threading.Event] = {}
        self._queue: Queue[Any] = Queue()
        self._told: Queue[Any] = Queue()
        self._lock = threading.Lock()
        self._running = self._most = 0
        self._order: list[Any] = []

    # --- what it shares

    def event(self, name: str) -> threading.Event:
        with self._lock:
            return self._events.setdefault(name, threading.Event())

    def queue(self) -> Queue[Any]:
        return self._queue

    def told(self) -> Queue[Any]:
        return self._told

    # --- methods

    def echo(self, value: Any) -> Any:
        return value

    def add(self, one: int, other: int = 0) -> int:
        return one + other

    def divide(self, one: int, other: int) -> float:
        return one / other

    def note(self, value: Any) -> Any:
        self._order.append(value)
        return value

    def noted(self) -> list[Any]:
        return self._order

    def wait_for(self, name: str, value: Any = None) -> Any:
        """Report that the call has begun, wait, and report whether it is cancelled."""
        self._told.put(f'begun {name}')
        self.event(name).wait()
        self._told.put(uactor.current_call().cancelled)
        return value

    def until_cancelled(self, value: Any = None) -> None:
        """Run until the call is cancelled."""
        call = uactor.current_call()
        self._told.put('begun')
        while not call.cancelled:
            time.sleep(0.001)
        self._told.put('cancelled')

    def pieces(self, count: int, size: int) -> Iterator[bytes]:
        for _ in range(count):
            yield bytes(size)

    def left(self) -> float | None:
        return uactor.current_call().deadline

    def caller(self) -> str:
        return uactor.current_call().caller

    def ask(self, method: Callable[..., Any], *args: Any) -> Any:
        return method(*args)

    def threads(self) -> int:
        return threading.active_count()

    def pid(self) -> int:
        return os.getpid()

    # --- coroutines

    async def later(self, name: str, value: Any = None) -> Any:
        """Report that the call has begun, wait, and report a cancellation."""
        self._told.put(f'begun {name}')
        try:
            while not self.event(name).is_set():
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self._told.put(f'cancelled {name}')
            raise
        return value

    async def meet(self, parties: int) -> int:
        """Return once that many calls of this method run at the same time."""
        self._running += 1
        while self._running < parties:
            await asyncio.sleep(0)
        return threading.get_ident()

    async def breaks(self) -> None:
        raise LookupError('in a coroutine')

    # --- streams

    def count(self, stop: int) -> Iterator[int]:
        """Yield numbers, and report when the generator is closed."""
        try:
            for number in range(stop):
                self._most = number
                yield number
        finally:
            self._told.put('closed')

    async def count_async(self, stop: int) -> AsyncIterator[int]:
        """Yield numbers, and report when the generator is closed."""
        try:
            for number in range(stop):
                self._most = number
                await asyncio.sleep(0)
                yield number
        finally:
            self._told.put('closed')

    def lazily(self, stop: int) -> Iterator[int]:
        yield from range(stop)

    def most(self) -> int:
        return self._most

    def fails_after(self, number: int) -> Iterator[int]:
        yield from range(number)
        raise LookupError('in a stream')

    def gated(self, name: str) -> Iterator[str]:
        """Yield once, wait, and yield again."""
        try:
            yield 'first'
            self._told.put(f'begun {name}')
            self.event(name).wait()
            yield 'second'
        finally:
            self._told.put('closed')
