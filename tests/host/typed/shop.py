"""A shop, whose typed service the tests call."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import uactor
from tests.support import Actor


class Kind(enum.Enum):
    """What an article is."""

    BOOK = 'book'
    TOY = 'toy'


@dataclasses.dataclass
class Article:
    """Something to buy.

    :ivar name: what it is called.
    """

    name: str
    kind: Kind = Kind.BOOK
    price: float | None = None

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError('an article has a name')


class SoldOut(Exception):
    """There is none left."""


class SoldOutForEver(SoldOut):
    """There will be none."""


class Strange(Exception):
    """Nobody has declared it."""


class Counting(Actor):
    """What many actors can do."""

    _errors_ = {SoldOut: 'NOT_FOUND', KeyError: 'OUT_OF_RANGE'}

    def __init__(self) -> None:
        self.count = 0

    def add(self, by: int = 1) -> int:
        """Count on.

        :param by: how far.
        """
        self.count += by
        return self.count


class Shop(Counting):
    """Sells articles."""

    _exposed_ = (
        *('stock', 'total', 'sell', 'label', 'owner', 'limit', 'basket', 'size', 'me', 'first'),
        *('each', 'endless', 'closed', 'collect', 'pairs', 'shout', 'wait', 'later', 'ticks'),
        *(
            'upload',
            'complete',
            'gather',
            'fail',
            'deep',
            'wrong',
            'variadic',
            'untyped',
            'raw',
            'blob',
            'thread',
        ),
    )
    _method_to_typeid_ = {'basket': 'list', 'me': 'actor'}
    _errors_ = {SoldOut: 'FAILED_PRECONDITION'}

    limit: int
    complete: bool

    def __init__(self) -> None:
        super().__init__()
        self.articles: list[Article] = []
        self.limit, self.complete = 3, False
        self._owner = 'ann'
        self._basket: list[Any] = []
        self._closed = threading.Event()
        self._taken: list[int] = []

    def stock(self, article: Article, *, times: int = 1) -> list[Article]:
        """Put an article on the shelf."""
        self.articles += [article] * times
        return self.articles

    def total(self, prices: dict[str, float], codes: list[list[int]]) -> tuple[float, int]:
        return sum(prices.values()), sum(map(sum, codes))

    def sell(self, what: int | str | Article | None = None) -> int | str | None:
        return type(what).__name__ if what is not None else None

    @property
    def label(self) -> str:
        """What the sign says."""
        return f'{self._owner} & co'

    @property
    def owner(self) -> str:
        """Who owns it."""
        return self._owner

    @owner.setter
    def owner(self, name: str) -> None:
        if name == 'nobody':
            raise ValueError('a shop has an owner')
        self._owner = name

    def basket(self) -> list[Any]:
        return self._basket

    def size(self, basket: uactor.BaseProxy) -> int:
        return len(basket)  # type: ignore[arg-type]  # a proxy of a list

    def me(self) -> Shop:
        return self

    def first(self, shop: Shop) -> str:
        """Return the label of a shop, this one or another."""
        return shop.label

    def each(self, count: int) -> Iterator[Article]:
        for index in range(count):
            if index == self.limit:
                raise SoldOut('no more')
            yield Article(f'number {index}')

    def endless(self) -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            self._closed.set()

    def closed(self) -> bool:
        return self._closed.wait(10)

    def collect(self, numbers: Iterator[int], start: int = 0) -> int:
        try:
            for number in numbers:
                self._taken.append(number)
                start += number
        finally:
            self._closed.set()
        return start

    def upload(self, parts: Iterator[str]) -> Iterator[int]:
        count = 0
        try:
            for part in parts:
                count += len(part)
                yield count
            self.complete = True
        finally:
            self._closed.set()

    def pairs(self, names: Iterator[str], suffix: str) -> Iterator[str]:
        for name in names:
            yield name + suffix

    async def shout(self, text: str) -> str:
        await asyncio.sleep(0)
        if not text:
            raise SoldOutForEver('no text')
        return text.upper()

    def wait(self) -> None:
        self._closed.wait(10)

    async def later(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def ticks(self, count: int) -> AsyncIterator[int]:
        try:
            for number in range(count):
                await asyncio.sleep(0)
                yield number
        finally:
            self._closed.set()

    async def gather(self, numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield -number

    def fail(self, name: str) -> None:
        raise FAILURES[name]

    def deep(self, depth: int) -> None:
        if depth:
            self.deep(depth - 1)
        raise Strange('x' * 65536)

    def wrong(self) -> list[int]:
        return [1, 'two']  # type: ignore[list-item]

    def variadic(self, *numbers: int, **names: str) -> str:
        return f'{numbers} {names}'

    def untyped(self, number):  # type: ignore[no-untyped-def]
        return number

    def raw(self, value: Any) -> dict[str, Any]:
        return {'it': value}

    def blob(self, size: Annotated[int, uactor.UInt32]) -> bytes:
        return bytes(size)

    def thread(self) -> str:
        return threading.current_thread().name


FAILURES: dict[str, BaseException] = {
    'sold out': SoldOut('none left'),
    'for ever': SoldOutForEver('none at all'),
    'key': KeyError('k'),
    'strange': Strange('odd'),
    'not implemented': NotImplementedError('not yet'),
    'of ours': uactor.HandleError('of another actor'),
    'exit': SystemExit(3),
}
