"""Enums, literals and unions."""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

import uactor


class Color(enum.Enum):
    """A color."""

    RED = 'red'
    GREEN = 'green'


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 10


class Word(str, enum.Enum):
    YES = 'yes'
    NO = 'no'


@dataclasses.dataclass
class Circle:
    radius: float
    color: Color = Color.RED


@dataclasses.dataclass
class Square:
    side: float


class Painter(uactor.Actor):
    _package_ = 'corpus.enums_unions'
    _exposed_ = ('mix', 'level', 'word', 'mode', 'paint', 'anything', 'maybe')

    def mix(self, color: Color = Color.GREEN) -> Color:
        return Color.RED if color is Color.GREEN else Color.GREEN

    def level(self, level: Level) -> Level:
        return level

    def word(self, word: Word) -> Word:
        return word

    def mode(self, mode: Literal['fast', 'slow'] = 'fast') -> Literal['fast', 'slow']:
        return mode

    def paint(self, shape: Circle | Square) -> Circle | Square:
        return shape

    def anything(self, value: int | str | list[int]) -> int | str | list[int]:
        return value

    def maybe(self, value: int | Color | None = None) -> int | Color | None:
        return value
