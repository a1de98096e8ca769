"""Proxies of lists, dicts, sets, arrays, values and namespaces do what these do."""

from __future__ import annotations

import array
import collections
import collections.abc
import copy
import ctypes
import itertools
import multiprocessing
import operator
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import uactor
from tests.workshop import Workshop, outcome


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


# --- the same operation on the object and on its proxy ----------------------------------------

LIST = """
a[0]
a[-1]
a[9]
a['x']
a[1:]
a[::2]
a[::-1]
a[5:1]
a[0] = 'z'
a[9] = 'z'
a[1:3] = 'xyz'
a[::2] = [7, 8]
a[::2] = [7]
a[1:1] = iter([7, 8])
a[:] = []
del a[0]
del a[9]
del a[1:]
del a[::2]
len(a)
bool(a)
1 in a
9 in a
9 not in a
list(a)
tuple(a)
set(a)
[*a]
[*reversed(a)]
sorted(a)
sorted(a, reverse=True)
max(a)
sum(a)
dict(enumerate(a))
list(zip(a, a))
first, *rest = a
[x for x in a if x != 1]
a.append(5)
a.append(None)
a.append()
a.extend([5, 6])
a.extend(range(3))
a.extend(x for x in 'ab')
a.extend('ab')
a.extend(a)
a.extend(5)
a.insert(0, 'x')
a.insert(99, 'x')
a.pop()
a.pop(0)
a.pop(9)
a.remove(1)
a.remove(9)
a.clear()
a.index(1)
a.index(1, 2)
a.index(9)
a.count(1)
a.copy()
a.reverse()
a.sort()
a.sort(reverse=True)
a.sort(key=lambda x: -x)
a.sort(key=str)
a.append('x'); a.sort()
a += [5, 6]
a += 'ab'
a += (x for x in 'ab')
a += a
a += 5
a *= 2
a *= 0
a *= 'x'
a + [5]
a + a
a + (5,)
[5] + a
(5,) + a
a * 2
2 * a
a * 'x'
a * a
-a
a | [1]
a == [3, 1, 2, 1]
a == [3]
[3, 1, 2, 1] == a
a != [3, 1, 2, 1]
a == a
a == (3, 1, 2, 1)
a != 5
a < [4]
a <= [3, 1, 2, 1]
a > [4]
a >= [3, 1, 2, 1]
[4] > a
a < a
a < 5
a.nothing
a.nothing()
a()
operator.itemgetter(1, 2)(a)
operator.length_hint(a)
isinstance(a, collections.abc.MutableSequence)
isinstance(a, collections.abc.Reversible)
isinstance(a, collections.abc.Iterable)
isinstance(a, collections.abc.Mapping)
str(a)
f'{a}'
'{}'.format(a)
copy.deepcopy(a)
""".strip().splitlines()

DICT = """
a['x']
a['nothing']
a[[]]
a['z'] = 3
a[[]] = 3
del a['x']
del a['nothing']
len(a)
bool(a)
'x' in a
'z' in a
[] in a
list(a)
[*reversed(a)]
sorted(a)
dict(a)
{**a}
{k: a[k] for k in a}
first, second = a
list(a.items())
list(a.keys())
list(a.values())
sorted(a.items())
a.get('x')
a.get('nothing')
a.get('nothing', 5)
a.get()
a.setdefault('x', 5)
a.setdefault('z', 5)
a.pop('x')
a.pop('nothing')
a.pop('nothing', 5)
a.popitem()
a.clear()
a.clear(); a.popitem()
a.copy()
a.fromkeys('xy', 0)
a.update({'z': 3})
a.update([('z', 3)])
a.update(z=3)
a.update({'x': 0}, y=0)
a.update((k, 0) for k in 'xz')
a.update(a)
a.update(5)
a.update()
a |= {'z': 3}
a |= [('z', 3)]
a |= a
a |= 5
a | {'z': 3}
a | a
{'z': 3} | a
a | [('z', 3)]
a | 5
5 | a
a & {}
a == {'x': 1, 'y': 2}
a == {'y': 2, 'x': 1}
{'x': 1, 'y': 2} == a
a == {}
a != {}
a == a
a != 5
a < {}
a + {}
isinstance(a, collections.abc.MutableMapping)
isinstance(a, collections.abc.Mapping)
isinstance(a, collections.abc.Sequence)
str(a)
copy.deepcopy(a)
collections.ChainMap(a, {'z': 3})['z']
'{x}'.format_map(a)
""".strip().splitlines()

SET = """
len(a)
bool(a)
1 in a
9 in a
[] in a
sorted(a)
set(a)
frozenset(a)
a.add(5)
a.add(1)
a.add([])
a.discard(1)
a.discard(9)
a.remove(1)
a.remove(9)
a.clear()
a.clear(); a.pop()
a.pop() in {1, 2, 3}
a.copy()
a.difference([1])
a.difference([1], [2])
a.difference(a)
a.intersection([1, 9])
a.symmetric_difference([1, 9])
a.union([9], 'x')
a.union(a)
a.union(x for x in [1, 9])
a.isdisjoint([9])
a.isdisjoint(a)
a.issubset(range(9))
a.issuperset([1])
a.issuperset(a)
a.update([9], 'x')
a.update(x for x in [1, 9])
a.update(a)
a.update(5)
a.difference_update([1])
a.difference_update(a)
a.intersection_update([1, 9])
a.symmetric_difference_update([1, 9])
a.symmetric_difference_update(a)
a & {1, 9}
a | {1, 9}
a - {1, 9}
a ^ {1, 9}
{1, 9} & a
{1, 9} | a
{1, 9} - a
{1, 9} ^ a
frozenset([1, 9]) | a
a & a
a - a
a & [1]
a | 5
[1] & a
a &= {1, 9}
a |= {1, 9}
a -= {1, 9}
a ^= {1, 9}
a -= a
a ^= a
a |= [1]
a == {1, 2, 3}
{1, 2, 3} == a
a == frozenset([1, 2, 3])
a != {1}
a == a
a != 5
a < {1, 2, 3, 4}
a <= {1, 2, 3}
a > {1}
a >= a
a < a
{1} < a
{1, 2, 3} >= a
a < [1]
a + {1}
{1, 2}.issubset(a)
isinstance(a, collections.abc.MutableSet)
isinstance(a, collections.abc.Set)
isinstance(a, collections.abc.Sequence)
str(a)
copy.deepcopy(a)
""".strip().splitlines()

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
""".strip().splitlines()

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
""".strip().splitlines()

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
""".strip().splitlines()

TABLES: dict[str, tuple[list[str], Any]] = {
    'list': (LIST, [3, 1, 2, 1]),
    'dict': (DICT, {'x': 1, 'y': 2}),
    'set': (SET, {1, 2, 3}),
    'Array': (ARRAY, array.array('i', [3, 1, 2, 1])),
    'Namespace': (NAMESPACE, multiprocessing.managers.Namespace(x=1, y='two')),
    'Value': (VALUE, multiprocessing.managers.Value('i', 1)),
}
MODULES = {module.__name__: module for module in (array, collections, copy, operator)}


@pytest.mark.parametrize(
    ('typeid', 'code'),
    [(typeid, line) for typeid, (lines, _) in TABLES.items() for line in lines],
)
def test_an_operation_does_the_same_to_an_object_and_to_its_proxy(
    workshop: Workshop, typeid: str, code: str
) -> None:
    plain = copy.deepcopy(TABLES[typeid][1])
    proxy = workshop.share(typeid, plain)
    expected, expected_error = outcome(code, a=plain, **MODULES)
    result, error = outcome(code, a=proxy, **MODULES)
    assert error is expected_error, (error, expected_error)
    assert type(result) is type(expected)
    assert result == expected
    assert str(proxy) == repr(plain)
