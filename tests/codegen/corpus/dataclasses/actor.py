"""Classes with named fields."""

from __future__ import annotations

import collections
import dataclasses
from typing import NamedTuple, TypedDict

import uactor


@dataclasses.dataclass(frozen=True, order=True)
class Point:
    """A point of the plane.

    :ivar x: to the right.
    """

    x: float
    y: float = 0.0


@dataclasses.dataclass
class Shape:
    name: str
    points: list[Point] = dataclasses.field(default_factory=list)
    parent: Shape | None = None
    ident: str = dataclasses.field(default_factory=lambda: 'made')
    size: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.size = len(self.points)


@dataclasses.dataclass
class Parts:
    """Containers of all kinds, empty until they are filled."""

    tags: set[str] = dataclasses.field(default_factory=set)
    fixed: frozenset[int] = frozenset()
    queue: collections.deque[int] = dataclasses.field(default_factory=collections.deque)
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    ordered: collections.OrderedDict[str, int] = dataclasses.field(
        default_factory=collections.OrderedDict
    )
    by_point: dict[Point, int] = dataclasses.field(default_factory=dict)


class Row(NamedTuple):
    cells: list[int] = []
    names: dict[str, int] = {}


class Pair(NamedTuple):
    """A pair."""

    left: int
    right: str = 'r'


class _Needed(TypedDict):
    title: str


class Options(_Needed, total=False):
    """What may be said."""

    count: int


class Drawing(uactor.Actor):
    """Draws."""

    _package_ = 'corpus.dataclasses'
    _exposed_ = ('echo', 'scale', 'pair', 'options', 'points', 'parts', 'row')

    def echo(self, shape: Shape) -> Shape:
        return shape

    def scale(self, point: Point, by: float = 2) -> Point:
        return Point(point.x * by, point.y * by)

    def pair(self, pair: Pair) -> Pair:
        return Pair(pair.left + 1, pair.right)

    def options(self, options: Options) -> Options:
        return {**options, 'title': options['title'].upper()}

    def points(self, points: set[Point]) -> frozenset[Point]:
        return frozenset(points)

    def parts(self, parts: Parts) -> Parts:
        return parts

    def row(self, row: Row) -> Row:
        return row
