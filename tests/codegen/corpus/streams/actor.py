"""Streams of the server, of the client, and of both."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import uactor


class Empty(Exception):
    """There was nothing."""


class Feed(uactor.Actor):
    _package_ = 'corpus.streams'
    _exposed_ = (
        *('ticks', 'endless', 'total', 'tell', 'echo', 'later', 'slow'),
        *('fail', 'closed', 'breaks'),
    )
    _errors_ = {Empty: 'FAILED_PRECONDITION'}

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._never = threading.Event()

    def ticks(self, count: int, start: int = 0) -> Iterator[int]:
        """Count."""
        yield from range(start, start + count)

    def endless(self) -> Iterator[int | None]:
        try:
            while True:
                yield None
        finally:
            self._closed.set()

    def closed(self) -> bool:
        """Tell whether the endless stream has been closed; wait for it."""
        return self._closed.wait(20)

    def total(self, numbers: Iterator[int], factor: int = 1) -> int:
        """Add up."""
        return factor * sum(numbers)

    def tell(self, names: Iterator[str | None]) -> list[str | None]:
        return list(names)

    async def later(self, names: AsyncIterator[str]) -> AsyncIterator[str]:
        async for name in names:
            yield name.upper()

    def echo(self, lists: Iterator[list[int]], more: int = 0) -> Iterator[list[int]]:
        for each in lists:
            yield [number + more for number in each]

    def slow(self) -> None:
        """Never end."""
        self._never.wait()

    def fail(self, text: str) -> int:
        raise Empty(text)

    def breaks(self, after: int) -> Iterator[int]:
        yield from range(after)
        raise Empty('broken')
