"""Weak references whose end runs no Python code.

The collections of :mod:`weakref`, and its ``finalize``, have callbacks in Python. Those run
wherever the last reference is dropped, and what a signal handler raises in one, nobody hears of.
"""

from __future__ import annotations

import collections
import functools
import operator
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

K = TypeVar('K')
T = TypeVar('T')
V = TypeVar('V')


class WeakKeys(Generic[T, V]):
    """Values by objects, as long as somebody else has these. Threads may share it."""

    def __init__(self) -> None:
        self._values: dict[weakref.ref[T], V] = {}
        self._gone: collections.deque[weakref.ref[T]] = collections.deque()

    def get(self, item: T) -> V | None:
        """Return the value of an object; None when it has none."""
        return self._values.get(weakref.ref(item))

    def __contains__(self, item: T) -> bool:
        return weakref.ref(item) in self._values

    def values(self) -> list[V]:
        """Return the values of the objects that there are."""
        return [
            value for reference, value in tuple(self._values.items()) if reference() is not None
        ]

    def __setitem__(self, item: T, value: V) -> None:
        """Give an object a value, and forget those that have gone."""
        while self._gone:
            self._values.pop(self._gone.popleft(), None)  # which equals itself alone now
        self._values[weakref.ref(item, self._gone.append)] = value

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()

    def __iter__(self) -> Iterator[T]:
        """Yield the objects that there are."""
        for reference in tuple(self._values):
            item = reference()
            if item is not None:
                yield item


class WeakBag(WeakKeys[T, None]):
    """Objects, as long as somebody else has them. Threads may use it at the same time."""

    def add(self, item: T) -> None:
        """Take an object in."""
        self[item] = None


class _Named(weakref.ref[T]):
    """An object under a name."""

    __slots__ = ('name',)

    name: Any


class WeakValues(Generic[K, T]):
    """Objects by name, as long as somebody else has them. One thread at a time names some."""

    def __init__(self) -> None:
        self._known: dict[K, _Named[T]] = {}
        self._gone: collections.deque[weakref.ref[T]] = collections.deque()

    def get(self, name: K) -> T | None:
        """Return the object of a name; None when there is none."""
        reference = self._known.get(name)
        return None if reference is None else reference()

    def __setitem__(self, name: K, item: T) -> None:
        """Name an object, and forget those that have gone."""
        while self._gone:
            self._forget(self._gone.popleft())
        named: Any = _Named(item, self._gone.append)
        named.name = name
        self._known[name] = named

    def _forget(self, gone: Any) -> None:
        name: K = gone.name
        if self._known.get(name) is gone:  # else it is another one's by now
            del self._known[name]


class _DescriptorEnd(weakref.ref[Any]):
    """Closes descriptors whose owner has gone; by C code alone."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    close: Callable[[], object] = bool  # does nothing, until there is a list


_CLOSE = operator.methodcaller('close')
_ends: set[_DescriptorEnd] = set()


def descriptors_of(owner: object) -> list[int]:
    """Return a list whose descriptors are closed once ``owner`` has gone.

    Append a descriptor by C code that makes it, and no signal handler comes between. Take it out to
    close it sooner.
    """
    for end in tuple(_ends):
        if end() is None:
            _ends.discard(end)
    owned: list[int] = []
    end = _DescriptorEnd(owner, _CLOSE)
    end.close = functools.partial(collections.deque, map(os.close, owned), 0)
    _ends.add(end)
    return owned
