"""A library, whose clients know nothing of Python actors."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

import uactor


class Kind(enum.Enum):
    """What a work is."""

    BOOK = 'book'
    MAP = 'map'


@dataclasses.dataclass(frozen=True)
class Work:
    """Something to lend."""

    title: str
    kind: Kind = Kind.BOOK
    year: int | None = None


class OnLoan(Exception):
    """Somebody has it."""


class Library(uactor.Actor):
    """Lends works."""

    _exposed_ = ('add', 'lend', 'works')
    _errors_ = {OnLoan: 'FAILED_PRECONDITION'}

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._lent: set[str] = set()

    def add(self, work: Work) -> int:
        """Take a work in, and return how many there are."""
        self._works[work.title] = work
        return len(self._works)

    def lend(self, title: str, weeks: int = 4) -> int:
        """Lend a work, and return for how many weeks.

        :param weeks: how long it is wanted.
        """
        if title in self._lent:
            raise OnLoan(title)
        self._lent.add(title)
        return min(weeks, 8)

    def works(self, kind: Kind | None = None) -> Iterator[Work]:
        """Tell of all works, or of those of one kind."""
        yield from (work for work in self._works.values() if kind in (None, work.kind))
