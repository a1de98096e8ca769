"""Weak collections that run no Python code when one of their objects goes.

Those of :mod:`weakref` have a callback in Python for that. It runs wherever the last reference is
dropped, and what a signal handler raises in it, nobody hears of.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar('T')


class WeakBag(Generic[T]):
    """Objects, as long as somebody else has them. Threads may use it at the same time."""

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[T]] = {}

    def add(self, item: T) -> None:
        """Take an object in, and forget those that have gone."""
        for number, known in tuple(self._references.items()):
            if known() is None:
                self._references.pop(number, None)
        reference = weakref.ref(item)
        self._references[id(reference)] = reference

    def clear(self) -> None:
        """Forget all."""
        self._references.clear()

    def __iter__(self) -> Iterator[T]:
        """Yield the objects that there are."""
        for reference in tuple(self._references.values()):
            item = reference()
            if item is not None:
                yield item
