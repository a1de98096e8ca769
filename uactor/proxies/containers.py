"""Proxies of lists, dicts, sets, arrays, values and namespaces.

Each has the methods and operators of its object. Iteration reads ahead: a list in slices, a dict
or set as a copy of its keys at the start. Iterators among the arguments of a method are turned
into lists, since an iterator can't be sent.
"""

from __future__ import annotations

import array
import collections.abc
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from uactor.proxies.base import BaseProxy, ProxyMethod, expose
from uactor.proxies.remote_method import RemoteMember

K = TypeVar('K')
V = TypeVar('V')
T = TypeVar('T')
P = TypeVar('P', bound=BaseProxy)

_MAX_SLICE_ITEMS = 128


def _get_plain(value: Any) -> Any:
    """Return a copy of a proxy's object, or ``value`` itself."""
    return value._getvalue() if isinstance(value, BaseProxy) else value


def _compare_by(compare: Callable[[Any, Any], bool]) -> Any:
    """Return an operator that compares by value."""

    def method(self: BaseProxy, other: Any) -> Any:
        if isinstance(other, BaseProxy) and other._id == self._id:
            other = ours = self._getvalue()
        else:
            ours, other = self._getvalue(), _get_plain(other)
        return compare(ours, other)

    return method


def _compute_reflected(compute: Callable[[Any, Any], Any]) -> Callable[[BaseProxy, Any], Any]:
    """Return a reflected binary operator that computes a plain value."""

    def method(self: BaseProxy, other: Any) -> Any:
        return compute(_get_plain(other), self._getvalue())

    return method


def _compute(compute: Callable[[Any, Any], Any]) -> Callable[[BaseProxy, Any], Any]:
    """Return a binary operator that computes a plain value."""

    def method(self: BaseProxy, other: Any) -> Any:
        return compute(self._getvalue(), _get_plain(other))

    return method


def _change_in_place(name: str, *accepted: type) -> Callable[[Any, Any], Any]:
    """Return an in-place operator that changes the object and returns the proxy.

    :param accepted: types of its right-hand side; if there are none, it takes any iterable.
    """

    def method(self: Any, other: Any) -> Any:
        other = _get_plain(other) if accepted else _gather(other)
        if accepted and not isinstance(other, accepted):
            return NotImplemented
        self._callmethod(name, (other,))
        return self

    return method


def _gather(value: Any) -> Any:
    """Return an iterable in a form that can be sent."""
    return list(value) if isinstance(value, collections.abc.Iterator) else _get_plain(value)


def create_gathering_method(name: str) -> Any:
    """Return a method that calls ``name``, whose positional arguments are iterables."""
    call = ProxyMethod(name).function

    def gather_all(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return tuple(map(_gather, args)), kwargs

    @functools.wraps(call)
    def method(self: BaseProxy, /, *args: Any, **kwargs: Any) -> Any:
        return call(self, *map(_gather, args), **kwargs)

    return RemoteMember(name, method, gather_all)


def _register_as(abstract: Any) -> Callable[[type[P]], type[P]]:
    """Return a decorator that registers a proxy class with an abstract class."""
    return abstract.register  # type: ignore[no-any-return]  # ABCMeta.register returns the class


class _Sequence(BaseProxy, Generic[T]):
    """Methods that lists and arrays have in common."""

    __contains__ = ProxyMethod('__contains__')
    __delitem__ = ProxyMethod('__delitem__')
    __getitem__ = ProxyMethod('__getitem__')
    __len__ = ProxyMethod('__len__')
    append = ProxyMethod('append')
    clear = ProxyMethod('clear')
    count = ProxyMethod('count')
    extend = create_gathering_method('extend')
    index = ProxyMethod('index')
    insert = ProxyMethod('insert')
    pop = ProxyMethod('pop')
    remove = ProxyMethod('remove')
    reverse = ProxyMethod('reverse')
    __add__ = _compute(operator.add)
    __radd__ = _compute_reflected(operator.add)
    __mul__ = _compute(operator.mul)
    __rmul__ = _compute(operator.mul)
    __iadd__ = _change_in_place('extend')
    __imul__ = _change_in_place('__imul__', object)
    __eq__ = _compare_by(operator.eq)
    __ne__ = _compare_by(operator.ne)
    __lt__ = _compare_by(operator.lt)
    __le__ = _compare_by(operator.le)
    __gt__ = _compare_by(operator.gt)
    __ge__ = _compare_by(operator.ge)
    __hash__ = BaseProxy.__hash__

    def __setitem__(self, key: Any, value: Any) -> None:
        """Replace an item, or a slice."""
        self._callmethod('__setitem__', (key, _gather(value) if type(key) is slice else value))

    def __iter__(self) -> Iterator[T]:
        """Iterate over the items, with those that are added meanwhile.

        The items are read in slices.
        """
        start = 0
        while items := self._callmethod('__getitem__', (slice(start, start + _MAX_SLICE_ITEMS),)):
            yield from items
            start += len(items)

    def __reversed__(self) -> Iterator[T]:
        """Iterate over a copy, from its end."""
        items: list[T] = self._getvalue()
        return reversed(items)


@_register_as(collections.abc.MutableSequence)
@expose('__imul__', '__reversed__', '__setitem__')
class ListProxy(_Sequence[T]):
    """A proxy of a :class:`list`."""

    copy = ProxyMethod('copy')
    sort = ProxyMethod('sort')


@_register_as(collections.abc.MutableSequence)
@expose('__imul__', '__setitem__', 'typecode', 'itemsize')
class ArrayProxy(_Sequence[T]):
    """A proxy of an :class:`array.array`, or an array of :mod:`ctypes`."""

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
    __iadd__ = _change_in_place('extend', array.array)

    @property
    def typecode(self) -> str:
        """Code of the type of the items."""
        return str(self._get_attribute('typecode'))

    @property
    def itemsize(self) -> int:
        """Size of an item in bytes."""
        return int(self._get_attribute('itemsize'))


@_register_as(collections.abc.MutableMapping)
@expose('__iter__')
class DictProxy(BaseProxy, Generic[K, V]):
    """A proxy of a :class:`dict`, or any mapping."""

    _method_to_typeid_: ClassVar[Mapping[str, str] | None] = {'__iter__': 'Iterator'}

    __contains__ = ProxyMethod('__contains__')
    __delitem__ = ProxyMethod('__delitem__')
    __getitem__ = ProxyMethod('__getitem__')
    __len__ = ProxyMethod('__len__')
    __setitem__ = ProxyMethod('__setitem__')
    clear = ProxyMethod('clear')
    copy = ProxyMethod('copy')
    fromkeys = ProxyMethod('fromkeys')
    get = ProxyMethod('get')
    items = ProxyMethod('items')
    keys = ProxyMethod('keys')
    pop = ProxyMethod('pop')
    popitem = ProxyMethod('popitem')
    setdefault = ProxyMethod('setdefault')
    update = create_gathering_method('update')
    values = ProxyMethod('values')
    __or__ = _compute(operator.or_)
    __ror__ = _compute_reflected(operator.or_)
    __ior__ = _change_in_place('update')
    __eq__ = _compare_by(operator.eq)
    __ne__ = _compare_by(operator.ne)
    __hash__ = BaseProxy.__hash__

    def __iter__(self) -> Iterator[K]:
        """Iterate over a copy of the keys."""
        keys: list[K] = self._callmethod('keys')
        return iter(keys)

    def __reversed__(self) -> Iterator[K]:
        """Iterate over a copy of the keys, from the last."""
        keys: list[K] = self._callmethod('keys')
        return reversed(keys)


@_register_as(collections.abc.MutableSet)
@expose()
class SetProxy(BaseProxy, Generic[T]):
    """A proxy of a :class:`set`."""

    __contains__ = ProxyMethod('__contains__')
    __len__ = ProxyMethod('__len__')
    add = ProxyMethod('add')
    clear = ProxyMethod('clear')
    copy = ProxyMethod('copy')
    difference = create_gathering_method('difference')
    difference_update = create_gathering_method('difference_update')
    discard = ProxyMethod('discard')
    intersection = create_gathering_method('intersection')
    intersection_update = create_gathering_method('intersection_update')
    isdisjoint = create_gathering_method('isdisjoint')
    issubset = create_gathering_method('issubset')
    issuperset = create_gathering_method('issuperset')
    pop = ProxyMethod('pop')
    remove = ProxyMethod('remove')
    symmetric_difference = create_gathering_method('symmetric_difference')
    symmetric_difference_update = create_gathering_method('symmetric_difference_update')
    union = create_gathering_method('union')
    update = create_gathering_method('update')
    __and__ = _compute(operator.and_)
    __rand__ = _compute_reflected(operator.and_)
    __or__ = _compute(operator.or_)
    __ror__ = _compute_reflected(operator.or_)
    __sub__ = _compute(operator.sub)
    __rsub__ = _compute_reflected(operator.sub)
    __xor__ = _compute(operator.xor)
    __rxor__ = _compute_reflected(operator.xor)
    __iand__ = _change_in_place('intersection_update', set, frozenset)
    __ior__ = _change_in_place('update', set, frozenset)
    __isub__ = _change_in_place('difference_update', set, frozenset)
    __ixor__ = _change_in_place('symmetric_difference_update', set, frozenset)
    __eq__ = _compare_by(operator.eq)
    __ne__ = _compare_by(operator.ne)
    __lt__ = _compare_by(operator.lt)
    __le__ = _compare_by(operator.le)
    __gt__ = _compare_by(operator.gt)
    __ge__ = _compare_by(operator.ge)
    __hash__ = BaseProxy.__hash__

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy."""
        return iter(self._getvalue())


@expose('get', 'set', 'value')
class ValueProxy(BaseProxy, Generic[T]):
    """A proxy of a value holder such as :func:`multiprocessing.Value` makes."""

    @property
    def value(self) -> T:
        """The value."""
        result: T = self._get_attribute('value')
        return result

    @value.setter
    def value(self, value: T) -> None:
        self._set_attribute('value', value)

    def get(self) -> T:
        """Return the value."""
        return self.value

    def set(self, value: T) -> None:
        """Replace the value."""
        self.value = value


@expose('__getattribute__', '__setattr__', '__delattr__')
class NamespaceProxy(BaseProxy):
    """A proxy that reads, writes and deletes public attributes of its object."""

    def __getattr__(self, name: str) -> Any:
        """Read an attribute."""
        if name.startswith('_'):
            raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
        return self._get_attribute(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Write an attribute."""
        if name.startswith('_'):
            object.__setattr__(self, name, value)
        else:
            self._set_attribute(name, value)

    def __delattr__(self, name: str) -> None:
        """Delete an attribute."""
        if name.startswith('_'):
            object.__delattr__(self, name)
        else:
            self._callmethod('__delattr__', (name,))


@_register_as(collections.abc.Iterator)
@expose()
class IteratorProxy(BaseProxy):
    """A proxy of an iterator or generator."""

    __next__ = ProxyMethod('__next__')
    next = ProxyMethod('next')
    send = ProxyMethod('send')
    throw = ProxyMethod('throw')
    close = ProxyMethod('close')

    def __iter__(self) -> IteratorProxy:
        """Return the proxy itself."""
        return self
