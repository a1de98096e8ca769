"""Proxies of lists, dicts, sets, arrays, values and namespaces.

Each has the methods and operators of what it stands for. Iteration reads ahead:
a list in slices, a dict or set as the copy of its keys at the start.
"""

from __future__ import annotations

import abc
import collections.abc
import operator
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from uactor.proxies.base import BaseProxy, ProxyMethod

K = TypeVar('K')
V = TypeVar('V')
T = TypeVar('T')

_READ_AHEAD = 128
_registers = abc.ABCMeta.register


def _plain(value: Any) -> Any:
    """Return the value that a proxy stands for, or ``value`` itself."""
    return value._getvalue() if isinstance(value, BaseProxy) else value


def _compared(compare: Callable[[Any, Any], bool]) -> Any:
    """Return an operator that compares by value."""

    def method(self: BaseProxy, other: Any) -> Any:
        if isinstance(other, BaseProxy) and other._id == self._id:
            other = ours = self._getvalue()
        else:
            ours, other = self._getvalue(), _plain(other)
        return compare(ours, other)

    return method


def _reflected(compute: Callable[[Any, Any], Any]) -> Callable[[BaseProxy, Any], Any]:
    """Return a binary operator, for the right-hand side, that computes a plain value."""

    def method(self: BaseProxy, other: Any) -> Any:
        return compute(_plain(other), self._getvalue())

    return method


def _binary(compute: Callable[[Any, Any], Any]) -> Callable[[BaseProxy, Any], Any]:
    """Return a binary operator that computes a plain value."""

    def method(self: BaseProxy, other: Any) -> Any:
        return compute(self._getvalue(), _plain(other))

    return method


def _in_place(name: str) -> Callable[[Any, Any], Any]:
    """Return an in-place operator: changes the object, and the proxy stays what it is."""

    def method(self: Any, other: Any) -> Any:
        self._callmethod(name, (_plain(other),))
        return self

    return method


class _Sequence(BaseProxy, Generic[T]):
    """What lists and arrays have in common."""

    __contains__ = ProxyMethod('__contains__')
    __delitem__ = ProxyMethod('__delitem__')
    __getitem__ = ProxyMethod('__getitem__')
    __len__ = ProxyMethod('__len__')
    __setitem__ = ProxyMethod('__setitem__')
    append = ProxyMethod('append')
    count = ProxyMethod('count')
    extend = ProxyMethod('extend')
    index = ProxyMethod('index')
    insert = ProxyMethod('insert')
    pop = ProxyMethod('pop')
    remove = ProxyMethod('remove')
    reverse = ProxyMethod('reverse')
    __add__ = _binary(operator.add)
    __radd__ = _reflected(operator.add)
    __mul__ = _binary(operator.mul)
    __rmul__ = _binary(operator.mul)
    __iadd__ = _in_place('extend')
    __imul__ = _in_place('__imul__')
    __eq__ = _compared(operator.eq)
    __ne__ = _compared(operator.ne)
    __lt__ = _compared(operator.lt)
    __le__ = _compared(operator.le)
    __gt__ = _compared(operator.gt)
    __ge__ = _compared(operator.ge)
    __hash__ = BaseProxy.__hash__

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, read in slices."""
        start = 0
        while True:
            items = self._callmethod('__getitem__', (slice(start, start + _READ_AHEAD),))
            yield from items
            if len(items) < _READ_AHEAD:
                return
            start += _READ_AHEAD

    def __reversed__(self) -> Iterator[T]:
        """Iterate over a copy, from its end."""
        return reversed(self._getvalue())


_SEQUENCE = (
    '__contains__ __delitem__ __getitem__ __len__ __setitem__ __imul__ __iadd__ append count '
    'extend index insert pop remove reverse'
)


class ListProxy(_Sequence[T]):
    """Stands for a :class:`list`."""

    _exposed_ = (*_SEQUENCE.split(), 'clear', 'copy', 'sort', '__add__', '__mul__', '__reversed__')

    clear = ProxyMethod('clear')
    copy = ProxyMethod('copy')
    sort = ProxyMethod('sort')


class ArrayProxy(_Sequence[T]):
    """Stands for an :class:`array.array`, or an array of :mod:`ctypes`."""

    _exposed_ = (
        *_SEQUENCE.split(),
        *['buffer_info', 'byteswap', 'frombytes', 'fromfile', 'fromlist', 'fromunicode', 'tobytes', 'tofile'],
        *['tolist', 'tounicode', '__getattribute__'],
    )

    buffer_info = ProxyMethod('buffer_info')
    byteswap = ProxyMethod('byteswap')
    frombytes = ProxyMethod('frombytes')
    fromfile = ProxyMethod('fromfile')
    fromlist = ProxyMethod('fromlist')
    fromunicode = ProxyMethod('fromunicode')
    tobytes = ProxyMethod('tobytes')
    tofile = ProxyMethod('tofile')
    tolist = ProxyMethod('tolist')
    tounicode = ProxyMethod('tounicode')

    @property
    def typecode(self) -> str:
        """Code of the type of the items."""
        return str(self._connection.get_attribute(self._id, 'typecode', self._manager._proxy))

    @property
    def itemsize(self) -> int:
        """Size of an item in bytes."""
        return int(self._connection.get_attribute(self._id, 'itemsize', self._manager._proxy))


class DictProxy(BaseProxy, Generic[K, V]):
    """Stands for a :class:`dict`, or any mapping."""

    _exposed_ = tuple(
        ['__contains__', '__delitem__', '__getitem__', '__ior__', '__iter__', '__len__', '__setitem__', 'clear', 'copy', 'get', 'items', 'keys', 'pop', 'popitem', 'setdefault', 'update', 'values']
    )
    _method_to_typeid_ = {'__iter__': 'Iterator'}

    __contains__ = ProxyMethod('__contains__')
    __delitem__ = ProxyMethod('__delitem__')
    __getitem__ = ProxyMethod('__getitem__')
    __len__ = ProxyMethod('__len__')
    __setitem__ = ProxyMethod('__setitem__')
    clear = ProxyMethod('clear')
    copy = ProxyMethod('copy')
    get = ProxyMethod('get')
    items = ProxyMethod('items')
    keys = ProxyMethod('keys')
    pop = ProxyMethod('pop')
    popitem = ProxyMethod('popitem')
    setdefault = ProxyMethod('setdefault')
    update = ProxyMethod('update')
    values = ProxyMethod('values')
    __or__ = _binary(operator.or_)
    __ror__ = _reflected(operator.or_)
    __ior__ = _in_place('update')
    __eq__ = _compared(operator.eq)
    __ne__ = _compared(operator.ne)
    __hash__ = BaseProxy.__hash__

    def __iter__(self) -> Iterator[K]:
        """Iterate over a copy of the keys."""
        return iter(self._callmethod('keys'))

    def __reversed__(self) -> Iterator[K]:
        """Iterate over a copy of the keys, from the last."""
        return reversed(self._callmethod('keys'))


class SetProxy(BaseProxy, Generic[T]):
    """Stands for a :class:`set`."""

    _exposed_ = tuple(
        ['__contains__', '__iand__', '__ior__', '__isub__', '__ixor__', '__len__', 'add', 'clear', 'copy', 'difference', 'difference_update', 'discard', 'intersection', 'intersection_update', 'isdisjoint', 'issubset', 'issuperset', 'pop', 'remove', 'symmetric_difference', 'symmetric_difference_update', 'union', 'update']
    )

    __contains__ = ProxyMethod('__contains__')
    __len__ = ProxyMethod('__len__')
    add = ProxyMethod('add')
    clear = ProxyMethod('clear')
    copy = ProxyMethod('copy')
    difference = ProxyMethod('difference')
    difference_update = ProxyMethod('difference_update')
    discard = ProxyMethod('discard')
    intersection = ProxyMethod('intersection')
    intersection_update = ProxyMethod('intersection_update')
    isdisjoint = ProxyMethod('isdisjoint')
    issubset = ProxyMethod('issubset')
    issuperset = ProxyMethod('issuperset')
    pop = ProxyMethod('pop')
    remove = ProxyMethod('remove')
    symmetric_difference = ProxyMethod('symmetric_difference')
    symmetric_difference_update = ProxyMethod('symmetric_difference_update')
    union = ProxyMethod('union')
    update = ProxyMethod('update')
    __and__ = _binary(operator.and_)
    __rand__ = _reflected(operator.and_)
    __or__ = _binary(operator.or_)
    __ror__ = _reflected(operator.or_)
    __sub__ = _binary(operator.sub)
    __rsub__ = _reflected(operator.sub)
    __xor__ = _binary(operator.xor)
    __rxor__ = _reflected(operator.xor)
    __iand__ = _in_place('__iand__')
    __ior__ = _in_place('__ior__')
    __isub__ = _in_place('__isub__')
    __ixor__ = _in_place('__ixor__')
    __eq__ = _compared(operator.eq)
    __ne__ = _compared(operator.ne)
    __lt__ = _compared(operator.lt)
    __le__ = _compared(operator.le)
    __gt__ = _compared(operator.gt)
    __ge__ = _compared(operator.ge)
    __hash__ = BaseProxy.__hash__

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy."""
        return iter(self._getvalue())


_registers(collections.abc.MutableSequence, ListProxy)
_registers(collections.abc.MutableSequence, ArrayProxy)
_registers(collections.abc.MutableMapping, DictProxy)
_registers(collections.abc.MutableSet, SetProxy)


class ValueProxy(BaseProxy, Generic[T]):
    """Stands for a value holder such as :func:`multiprocessing.Value` makes."""

    _exposed_ = ('get', 'set', '__getattribute__', '__setattr__')

    @property
    def value(self) -> T:
        """The value."""
        result: T = self._connection.get_attribute(self._id, 'value', self._manager._proxy)
        return result

    @value.setter
    def value(self, value: T) -> None:
        self._connection.set_attribute(self._id, 'value', value)

    def get(self) -> T:
        """Return the value."""
        return self.value

    def set(self, value: T) -> None:
        """Replace the value."""
        self.value = value


class NamespaceProxy(BaseProxy):
    """Stands for an object whose public attributes can be read, written and deleted."""

    _exposed_ = ('__getattribute__', '__setattr__', '__delattr__')

    def __getattr__(self, name: str) -> Any:
        """Read an attribute."""
        if name.startswith('_'):
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        return self._connection.get_attribute(self._id, name, self._manager._proxy)

    def __setattr__(self, name: str, value: Any) -> None:
        """Write an attribute."""
        if name.startswith('_'):
            object.__setattr__(self, name, value)
        else:
            self._connection.set_attribute(self._id, name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute."""
        if name.startswith('_'):
            object.__delattr__(self, name)
        else:
            self._callmethod('__delattr__', (name,))


class IteratorProxy(BaseProxy):
    """Stands for an iterator or generator."""

    _exposed_ = ('__next__', 'next', 'send', 'throw', 'close')

    __next__ = ProxyMethod('__next__')
    next = ProxyMethod('next')
    send = ProxyMethod('send')
    throw = ProxyMethod('throw')
    close = ProxyMethod('close')

    def __iter__(self) -> IteratorProxy:
        """Return the proxy itself."""
        return self


_registers(collections.abc.Iterator, IteratorProxy)
