"""Classes that stand in the signatures under test."""

from __future__ import annotations

import dataclasses
import enum
from typing import Generic, NamedTuple, TypeVar

from typing_extensions import NotRequired, TypedDict

T = TypeVar('T')
K = TypeVar('K')


class Color(enum.Enum):
    """Colors of things."""

    RED = 'r'
    darkGreen = 2
    CRIMSON = 'r'


class Level(enum.IntEnum):
    LOW = 0
    HIGH = 10


@dataclasses.dataclass
class Point:
    """A point of the plane.

    :ivar x: how far to the right.
    """

    x: int
    y: int = 0


@dataclasses.dataclass
class Point3(Point):
    z: int | None = 7


@dataclasses.dataclass
class Node:
    name: str
    children: list[Node] = dataclasses.field(default_factory=list)
    next: Node | None = None
    by_name: dict[str, Node] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Computed:
    side: int
    area: int = dataclasses.field(init=False)
    tags: list[str] = dataclasses.field(default_factory=lambda: ['new'])

    def __post_init__(self) -> None:
        if self.side < 0:
            raise ValueError('a side is never negative')
        object.__setattr__(self, 'area', self.side**2)


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: list[T] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Labelled(Box[K], Generic[K, T]):
    label: T | None = None


@dataclasses.dataclass
class Words(Box[str]):
    pass


class Movie(TypedDict):
    title: str
    year: NotRequired[int | None]
    tags: NotRequired[list[str]]


class Partial(TypedDict, total=False):
    a: int


class Pair(NamedTuple):
    left: int
    right: str | int = 'r'
