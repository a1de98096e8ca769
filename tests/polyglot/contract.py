"""An actor whose clients in other languages go through the mapping table.

What they send comes back with the ``repr`` that it had in Python, so that they can tell a value
that has merely survived from one that has meant the right thing.
"""

from __future__ import annotations

import collections
import dataclasses
import decimal
import enum
import fractions
import ipaddress
import pathlib
import threading
import uuid
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import uactor
from tests.support import Actor
from uactor.proxies.containers import ListProxy

T = TypeVar('T')


@dataclasses.dataclass
class Seen(Generic[T]):
    """A value, and what Python saw in it."""

    value: T
    as_python: str


@dataclasses.dataclass
class Widths:
    """An integer or float of each width."""

    plain: int
    i32: Annotated[int, uactor.Int32]
    u32: Annotated[int, uactor.UInt32]
    u64: Annotated[int, uactor.UInt64]
    s64: Annotated[int, uactor.SInt64]
    f64: Annotated[int, uactor.Fixed64]
    single: Annotated[float, uactor.Float32]
    double: float
    big: Annotated[int, uactor.BigInt]


class Color(enum.Enum):
    """Any value will do: enums go by name."""

    RED = 'r'
    DARK_GREEN = ('g', 2)


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 10


@dataclasses.dataclass
class Enums:
    color: Color
    level: Level
    speed: Literal['slow', 'fast']
    colors: list[Color]


@dataclasses.dataclass
class Texts:
    """What is written out, in the form that Python has for it."""

    price: decimal.Decimal
    share: fractions.Fraction
    id: uuid.UUID
    day: date
    at: time
    path: pathlib.PurePosixPath
    host: ipaddress.IPv4Address


@dataclasses.dataclass
class Times:
    at: datetime
    lasts: timedelta


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Containers:
    grid: list[list[int]]
    holes: list[str | None]
    ages: dict[str, int]
    lists: dict[str, list[int]]
    by_point: dict[Point, str]
    unique: set[int]
    pair: tuple[str, float]
    tree: Tree | None = None


@dataclasses.dataclass
class Tree:
    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Optionals:
    """None is none of the other values: not 0, not '', not an empty list."""

    count: int | None = None
    text: str | None = None
    level: Level | None = None
    point: Point | None = None
    items: list[int] | None = None


@dataclasses.dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value <= 0:
            raise ValueError(f'{self.value} is not positive')


class Overdrawn(Exception):
    """A declared error."""


class Contract(Actor):
    """What clients in all languages can rely on."""

    _package_ = 'contract'
    _exposed_ = (
        *('scalars', 'widths', 'enums', 'texts', 'times', 'containers', 'optionals', 'either'),
        *('anything', 'defaults', 'variadic', 'limit', 'label', 'count', 'endless', 'closed'),
        *('collect', 'running', 'basket', 'size_of', 'me', 'label_of', 'positive', 'fail'),
    )
    _method_to_typeid_ = {'basket': 'list', 'me': 'actor'}
    _errors_ = {Overdrawn: 'FAILED_PRECONDITION'}

    limit: int

    def __init__(self) -> None:
        self.limit = 100
        self._basket: list[str] = []
        self._closed: dict[str, threading.Event] = collections.defaultdict(threading.Event)

    # --- values ----------------------------------------------------------------------------------

    def scalars(self, flag: bool, number: int, ratio: float, text: str, data: bytes) -> str:
        return repr((flag, number, ratio, text, data))

    def widths(self, value: Widths) -> Seen[Widths]:
        return Seen(value, repr(value))

    def enums(self, value: Enums) -> Seen[Enums]:
        return Seen(value, repr(value))

    def texts(self, value: Texts) -> Seen[Texts]:
        return Seen(value, repr(value))

    def times(self, value: Times) -> Seen[Times]:
        return Seen(value, repr(value))

    def containers(self, value: Containers) -> Seen[Containers]:
        return Seen(value, repr(value))

    def optionals(self, value: Optionals) -> Seen[Optionals]:
        return Seen(value, repr(value))

    def either(self, value: int | str | Point | list[int] | None) -> int | str | Point | list[int]:
        """Return the value, or for None its ``repr``."""
        return repr(value) if value is None else value

    def anything(self, value: Any) -> Seen[Any]:
        return Seen(value, repr(value))

    def defaults(self, number: int = 7, text: str | None = 'none', level: Level = Level.LOW) -> str:
        return repr((number, text, level))

    def variadic(self, *numbers: int, **names: str) -> str:
        return repr((numbers, names))

    @property
    def label(self) -> str:
        """What it is called."""
        return f'contract up to {self.limit}'

    # --- streams ---------------------------------------------------------------------------------

    def count(self, to: int) -> Iterator[int]:
        for number in range(to):
            if number == self.limit:
                raise Overdrawn(f'no more than {self.limit}')
            yield number

    def endless(self, name: str) -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            self._closed[name].set()

    def closed(self, name: str) -> bool:
        """Wait until the generator of that name has been closed."""
        return self._closed[name].wait(10)

    def collect(self, numbers: Iterator[int], start: int = 0) -> int:
        return sum(numbers, start)

    def running(self, numbers: Iterator[int], start: int = 0) -> Iterator[int]:
        """Yield the sum so far after each number."""
        for number in numbers:
            start += number
            yield start

    # --- handles ---------------------------------------------------------------------------------

    def basket(self) -> list[str]:
        return self._basket

    def size_of(self, basket: ListProxy[str]) -> int:
        return len(basket)

    def me(self) -> Contract:
        return self

    def label_of(self, contract: Contract) -> str:
        return contract.label

    # --- errors ----------------------------------------------------------------------------------

    def positive(self, value: Positive) -> int:
        return value.value

    def fail(self, kind: Literal['declared', 'undeclared', 'unimplemented']) -> None:
        errors = {
            'declared': Overdrawn('by 3'),
            'undeclared': KeyError('k'),
            'unimplemented': NotImplementedError('not yet'),
        }
        raise errors[kind]
