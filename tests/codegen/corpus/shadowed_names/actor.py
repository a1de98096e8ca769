"""Names that mean something else in the generated module, and unusual classes."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import typing
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import uactor

UserId = NewType('UserId', int)
T = TypeVar('T')


class Outer:
    class Mode(enum.Enum):
        A = 1
        B = 2
        C = 1

    @dataclasses.dataclass
    class Inner:
        int: int
        str: str = 'x'
        datetime: typing.Optional[datetime.datetime] = None
        list: typing.Optional[typing.List[int]] = None


class Weird(enum.Enum):
    X = object()
    Y = float('inf')


class Any_(NamedTuple):
    a: int
    m: Outer.Mode = Outer.Mode.A
    t: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Tree:
    value: int
    children: tuple[Tree, ...] = ()
    extra: dict[str, Tree] = dataclasses.field(default_factory=dict)
    u: int | str | None = None
    kind: Literal['a', 'b "q"'] = 'a'


class TD(TypedDict, total=False):
    x: int
    nested: list[Tree]


Keys = TypedDict('Keys', {'from': 'int', 'a b': 'Tree', 'id': 'uuid.UUID'}, total=False)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)
    d: datetime.timedelta = datetime.timedelta(1)


class Handle(NamedTuple):
    x: int


class Names(uactor.Actor):
    """Back\\slash "quoted" \"\"\"triple\"\"\""""

    _package_ = 'corpus.shadowed_names'
    _exposed_ = (
        '_call',
        'list',
        'str',
        'int',
        'datetime',
        'typing',
        'self_',
        'tree',
        'td',
        'box',
        'user',
        'weird',
        'inner',
        'nt',
        'items',
        'schema',
        '_private',
        'kwargs',
        'print',
        'h',
        'every',
        'float',
        'dict',
        'collections',
        'cancel',
        'close_channel',
        'unions',
        'empty',
        'shadows',
        'keys',
    )

    def _call(self, call: Tree) -> Tree:
        return call

    def list(self, list: typing.List[typing.List[int]]) -> typing.List[typing.List[int]]:
        return list

    def str(self, str: str) -> str:
        return str

    def int(self, a: 'int', /, *b: 'int') -> 'int':
        return a

    def float(self, a: 'float' = 1.0) -> 'float':
        return a

    def dict(self, a: 'typing.Dict[str, Any]') -> 'typing.Dict[str, Any]':
        return a

    def datetime(self, d: datetime.datetime | None = None) -> datetime.datetime | None:
        return d

    def typing(self, x: Any) -> Any:
        return x

    def collections(self, x: Sequence[UserId]) -> Mapping[UserId, Sequence[UserId]]:
        return {1: x}

    def self_(self, name: Literal['x', 'y', None]) -> Literal['x', 'y', None]:
        return name

    def tree(self, t: Tree) -> Tree:
        return t

    def td(self, td: TD) -> TD:
        return td

    def box(self, b: Box[Box[int]]) -> Box[Tree]:
        return Box(Tree(1))

    def user(self, u: UserId) -> UserId:
        return u

    def weird(self, w: Weird) -> Weird:
        return w

    def inner(self, i: Outer.Inner) -> Outer.Inner:
        return i

    def nt(self, a: Any_) -> Any_:
        return a

    def h(self, a: Handle) -> Handle:
        return a

    async def items(self, xs: AsyncIterator[Tree], n: int = 2) -> AsyncIterator[Tree]:
        async for x in xs:
            yield x

    def _private(self) -> int:
        return 1

    def kwargs(self, *args: int | str, **timeout: Tree) -> None: ...
    def print(self, *, end: str, sep: str = ' ') -> None: ...
    def every(
        self, a: tuple[()], b: tuple[int, str] | None, c: set[frozenset[int]] | None = None
    ) -> tuple[()]:
        return ()

    def cancel(self) -> None: ...
    def close_channel(self) -> None: ...
    def unions(
        self,
        a: Tree | Any_ | datetime.datetime | bytes | None,
        b: dict[str, int | None] | list[str] = {},
    ) -> Iterator[Tree | str]:
        yield 'x'

    def empty(self, e: Empty) -> Empty:
        return e

    def shadows(self, bool: bool, bytes: bytes) -> typing.List[bytes]:
        return [bytes] * bool

    def keys(self, keys: Keys) -> Keys:
        return keys

    @property
    def schema(self) -> str:
        return 's'


@dataclasses.dataclass
class Empty:
    pass
