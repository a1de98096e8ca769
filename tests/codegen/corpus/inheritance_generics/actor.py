"""Inherited members, and generic classes."""

from __future__ import annotations

import dataclasses
from typing import Generic, TypeVar

import uactor

T = TypeVar('T')


@dataclasses.dataclass
class Page(Generic[T]):
    """A page of many."""

    items: list[T]
    next: int | None = None


@dataclasses.dataclass
class Base:
    ident: int


@dataclasses.dataclass
class Derived(Base):
    name: str = 'nobody'


class Repository(uactor.Actor, Generic[T]):
    _package_ = 'corpus.inheritance_generics'
    _exposed_ = ('first', 'page')

    def first(self, items: list[T]) -> T:
        """Return the first."""
        return items[0]

    def page(self, items: list[T], size: int = 2) -> Page[T]:
        return Page(items[:size], size if size < len(items) else None)


class People(Repository[Derived]):
    _package_ = 'corpus.inheritance_generics'
    _exposed_ = ('first', 'page', 'numbers')

    def page(self, items: list[Derived], size: int = 1) -> Page[Derived]:
        """Return a page of people."""
        return super().page(items, size)

    def numbers(self, page: Page[int]) -> int:
        return sum(page.items)
