"""Proxies of arrays, values, namespaces and iterators do what these do."""

from __future__ import annotations

import array
import collections
import collections.abc
import copy
import ctypes
import itertools
import multiprocessing
from collections.abc import Generator, Iterator
from multiprocessing.managers import Value  # type: ignore[attr-defined]
from typing import Any

import pytest

from tests.support.workshop import Tool, Workshop, differences


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


# --- the same operation on the object and on its proxy ---------------------------------------

ARRAY = """
a[0]
a[-1]
a[9]
a[1:]
a[::-1]
a[0] = 9
a[0] = 'x'
a[0] = 1 << 40
a[1:2] = array.array('i', [7, 8])
a[1:2] = [7, 8]
del a[0]
del a[::2]
len(a)
bool(a)
1 in a
list(a)
[*reversed(a)]
sorted(a)
a.append(5)
a.append('x')
a.extend([5, 6])
a.extend(array.array('i', [5]))
a.extend(array.array('d', [5]))
a.extend(x for x in [5])
a.extend(a)
a.fromlist([5, 6])
a.fromlist(['x'])
a.frombytes(bytes(8))
a.frombytes(b'x')
a.fromunicode('x')
a.tounicode()
a.insert(0, 7)
a.pop()
a.pop(9)
a.remove(1)
a.remove(9)
a.index(1)
a.index(9)
a.count(1)
a.reverse()
a.clear()
a.byteswap()
a.tobytes()
a.tolist()
a.buffer_info()[1]
a.typecode
a.itemsize
a += array.array('i', [5])
a += [5]
a += a
a *= 2
a + array.array('i', [5])
array.array('i', [5]) + a
a + [5]
a * 2
2 * a
a == array.array('i', [3, 1, 2, 1])
array.array('i', [3, 1, 2, 1]) == a
a == [3, 1, 2, 1]
a != array.array('i')
a < array.array('i', [4])
array.array('i', [4]) >= a
a == a
isinstance(a, collections.abc.MutableSequence)
str(a)
copy.deepcopy(a)
"""

NAMESPACE = """
a.x
a.nothing
a.x = [3]
a.new = 3
del a.x
del a.nothing
hasattr(a, 'x')
hasattr(a, 'nothing')
getattr(a, 'nothing', 5)
setattr(a, 'new', 3)
a.x += 1
a == 5
a._private
str(a)
"""

VALUE = """
a.value
a.value = 5
a.value += 1
a.get()
a.set(5)
a.set()
a.nothing
a.value = None
str(a)
"""

TABLES: dict[str, tuple[str, Any]] = {
    'Array': (ARRAY, array.array('i', [3, 1, 2, 1])),
    'Namespace': (NAMESPACE, multiprocessing.managers.Namespace(x=1, y='two')),
    'Value': (VALUE, Value('i', 1)),
}
MODULES = {module.__name__: module for module in (array, collections, copy)}


@pytest.mark.parametrize('typeid', TABLES)
def test_an_operation_does_the_same_to_an_object_and_to_its_proxy(
    workshop: Workshop, typeid: str
) -> None:
    table, value = TABLES[typeid]
    assert not differences(
        table,
        lambda: copy.deepcopy(value),
        lambda: workshop.share(typeid, value),
        shown=True,
        **MODULES,
    )


def test_an_array_that_is_changed_in_place_stays_where_it_is(workshop: Workshop) -> None:
    proxy = same = workshop.share('Array', array.array('i', range(500)))
    proxy += array.array('i', [1])
    proxy *= 2
    assert proxy is same
    assert len(proxy) == sum(1 for _ in proxy) == 1002


def test_an_array_of_ctypes_and_one_of_multiprocessing_can_be_shared(workshop: Workshop) -> None:
    arrays = (
        workshop.make('Array', lambda: (ctypes.c_int * 3)()),
        workshop.make('Array', multiprocessing.Array, 'i', 3),
    )
    for proxy in arrays:
        proxy[0] = 5
        proxy[1:] = [6, 7]
        assert list(proxy) == proxy[:] == [5, 6, 7]
        assert len(proxy) == 3
        with pytest.raises(IndexError):
            proxy[3]


def test_a_value_of_ctypes_and_one_of_multiprocessing_can_be_shared(workshop: Workshop) -> None:
    values = (
        workshop.make('Value', ctypes.c_int, 3),
        workshop.make('Value', multiprocessing.Value, 'i', 3),
    )
    for proxy in values:
        proxy.value += 1
        proxy.set(proxy.get() + 1)
        assert proxy.value == 5
        with pytest.raises(TypeError):
            proxy.value = 'five'


def test_a_namespace_proxy_stands_for_any_object_with_attributes(workshop: Workshop) -> None:
    proxy = workshop.make('Namespace', Tool, 'saw')
    proxy.name = proxy.name.upper()
    assert (proxy.name, proxy.label) == ('SAW', 'tool SAW')
    with pytest.raises(AttributeError):
        proxy.label = 'no setter'
    with pytest.raises(AttributeError):
        _ = proxy.nothing
    del proxy.name
    assert not hasattr(proxy, 'name')


# --- iterators -----------------------------------------------------------------------------------


def count_down(start: int) -> Generator[Any, Any, str]:
    """Yield numbers; what is sent replaces the current one, a KeyError starts again."""
    current = start
    while current > 0:
        try:
            sent = yield current
        except KeyError:
            current = start
            continue
        current = current - 1 if sent is None else sent
    return 'lift-off'


def test_a_generator_is_driven_through_its_proxy(workshop: Workshop) -> None:
    proxy = workshop.make('Iterator', count_down, 9)
    assert next(proxy) == 9
    assert proxy.send(5) == 5
    assert next(proxy) == 4
    assert proxy.throw(KeyError('again')) == 9
    assert proxy.throw(KeyError) == 9
    proxy.send(2)
    assert list(proxy) == [1]


def test_the_return_value_of_a_generator_is_in_its_stop_iteration(workshop: Workshop) -> None:
    proxy = workshop.make('Iterator', count_down, 1)
    next(proxy)
    with pytest.raises(StopIteration) as stopped:
        next(proxy)
    assert stopped.value.value == 'lift-off'

    def delegate() -> Iterator[Any]:
        result = yield from workshop.make('Iterator', count_down, 2)
        yield result

    assert list(delegate()) == [2, 1, 'lift-off']


def test_an_exception_that_a_generator_does_not_catch_comes_back(workshop: Workshop) -> None:
    proxy = workshop.make('Iterator', count_down, 9)
    next(proxy)
    with pytest.raises(ValueError, match='enough'):
        proxy.throw(ValueError('enough'))
    with pytest.raises(StopIteration):
        next(proxy)
    with pytest.raises(TypeError, match='just-started'):
        workshop.make('Iterator', count_down, 9).send(5)


def test_a_closed_generator_yields_nothing_more(workshop: Workshop) -> None:
    proxy = workshop.make('Iterator', count_down, 9)
    next(proxy)
    proxy.close()
    assert list(proxy) == []
    assert next(proxy, 'default') == 'default'


def test_an_iterator_proxy_works_wherever_an_iterator_does(workshop: Workshop) -> None:
    proxy = workshop.make('Iterator', itertools.count)
    assert isinstance(proxy, collections.abc.Iterator)
    assert iter(proxy) is proxy
    assert list(itertools.islice(proxy, 3)) == [0, 1, 2]
    assert list(zip('ab', proxy, strict=False)) == [('a', 3), ('b', 4)]
    assert dict(zip(proxy, 'a', strict=False)) == {5: 'a'}
    assert 8 in proxy
    iterator: Any = proxy
    with pytest.raises(AttributeError):
        iterator.send(1)


def test_a_generator_that_yields_proxies_is_driven_through_its_proxy(workshop: Workshop) -> None:
    for number, proxy in enumerate(workshop.lists(3)):
        proxy.append(number)
        assert list(proxy) == [number]


def test_two_readers_of_an_iterator_share_its_items(workshop: Workshop) -> None:
    first = workshop.make('Iterator', itertools.count)
    second = copy.copy(first)
    assert [next(first), next(second), next(first)] == [0, 1, 2]
