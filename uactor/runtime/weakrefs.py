"""Weak references whose callbacks run no Python code.

The collections of :mod:`weakref`, and its ``finalize``, have callbacks in Python. Those run
wherever a thread drops the last reference. An exception that a signal handler raises in one is
lost.
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
    """Maps objects to values, without keeping the objects alive.

    Threads may share it.

    :ivar by_reference: the values, also those of objects that have died recently.
    """

    def __init__(self) -> None:
        self.by_reference: dict[weakref.ref[T], V] = {}
        self._gone: collections.deque[weakref.ref[T]] = collections.deque()

    def get(self, item: T) -> V | None:
        """Return the value of an object, or None without one."""
        return self.by_reference.get(weakref.ref(item))

    def __contains__(self, item: T) -> bool:
        return weakref.ref(item) in self.by_reference

    def values(self) -> list[V]:
        """Return the values of the live objects."""
        return [
            value
            for reference, value in tuple(self.by_reference.items())
            if reference() is not None
        ]

    def __setitem__(self, item: T, value: V) -> None:
        """Set the value of an object, and forget the dead objects."""
        while self._gone:
            self.by_reference.pop(self._gone.popleft(), None)  # a dead reference equals only itself
        self.by_reference[weakref.ref(item, self._gone.append)] = value

    def clear(self) -> None:
        """Forget all objects."""
        self.by_reference.clear()

    def __iter__(self) -> Iterator[T]:
        """Yield the live objects."""
        for reference in tuple(self.by_reference):
            item = reference()
            if item is not None:
                yield item


class WeakBag(WeakKeys[T, None]):
    """Collects objects, without keeping them alive. Threads may share it."""

    def add(self, item: T) -> None:
        """Add an object."""
        self[item] = None


class _Named(weakref.ref[T]):
    """A weak reference to an object that has a name."""

    __slots__ = ('name',)

    name: Any


class WeakValues(Generic[K, T]):
    """Maps names to objects, without keeping the objects alive.

    One thread at a time sets names.

    :ivar references: weak references by name, also to objects that have died recently.
    """

    def __init__(self) -> None:
        self.references: dict[K, _Named[T]] = {}
        self._gone: collections.deque[weakref.ref[T]] = collections.deque()

    def get(self, name: K) -> T | None:
        """Return the object of a name, or None without one."""
        reference = self.references.get(name)
        return None if reference is None else reference()

    def __setitem__(self, name: K, item: T) -> None:
        """Name an object, and forget the dead objects."""
        while self._gone:
            self._forget(self._gone.popleft())
        named: Any = _Named(item, self._gone.append)
        named.name = name
        self.references[name] = named

    def _forget(self, gone: Any) -> None:
        name: K = gone.name
        if self.references.get(name) is gone:  # else the name has a new object by now
            del self.references[name]


class _DescriptorEnd(weakref.ref[Any]):
    """Closes the descriptors of a dead owner, by C code alone."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    close: Callable[[], object] = bool  # does nothing until a list is set


_CLOSE = operator.methodcaller('close')
_ends: set[_DescriptorEnd] = set()


def descriptors_of(owner: object) -> list[int]:
    """Return a list whose descriptors are closed once ``owner`` is gone.

    Append a descriptor by the C code that opens it: then no signal handler can raise in between.
    Remove it from the list to close it sooner.
    """
    for end in tuple(_ends):
        if end() is None:
            _ends.discard(end)
    owned: list[int] = []
    end = _DescriptorEnd(owner, _CLOSE)
    end.close = functools.partial(collections.deque, map(os.close, owned), 0)
    _ends.add(end)
    return owned
