"""Proxies of lists, dicts and sets do what these do."""

from __future__ import annotations

import collections
import collections.abc
import copy
import math
import operator
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.workshop import Workshop, differences


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


# --- the same operation on the object and on its proxy ---------------------------------------

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
"""

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
"""

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
a.update([9], (7, 8))
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
"""

TABLES: dict[str, tuple[str, Any]] = {
    'list': (LIST, [3, 1, 2, 1]),
    'dict': (DICT, {'x': 1, 'y': 2}),
    'set': (SET, {1, 2, 3}),
}
MODULES = {module.__name__: module for module in (collections, copy, operator)}


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


# --- what stays in the actor, and what is a copy -------------------------------------------------


@pytest.mark.parametrize(
    ('typeid', 'value', 'code'),
    [
        ('list', [1], 'a += [2]'),
        ('list', [1], 'a *= 2'),
        ('dict', {}, 'a |= {1: 2}'),
        ('set', {1}, 'a |= {2}'),
        ('set', {1}, 'a &= {2}'),
    ],
)
def test_an_in_place_operator_changes_the_object_and_keeps_the_proxy(
    workshop: Workshop, typeid: str, value: Any, code: str
) -> None:
    proxy = workshop.share(typeid, value)
    names = {'a': proxy}
    exec(code, names)
    assert names['a'] is proxy
    assert proxy._getvalue() != value


def test_the_result_of_a_method_is_a_copy(workshop: Workshop) -> None:
    outer = workshop.share('list', [[1], {2}, {'x': 3}])
    outer[0].append(2)
    outer[1].clear()
    outer[2]['x'] = 4
    assert list(outer) == [[1], {2}, {'x': 3}]


def test_a_proxy_inside_a_container_leads_to_its_object(workshop: Workshop) -> None:
    inner = workshop.share('list', [])
    outer = workshop.share('dict', {'inner': inner})
    outer['inner'].append(1)
    outer['inner'] += [2]
    assert list(inner) == [1, 2]
    assert outer['inner'] == inner
    assert {**outer}['inner']._id == inner._id


def test_a_container_is_found_in_another_by_its_value(workshop: Workshop) -> None:
    outer = workshop.share('list', [[1], [2]])
    assert workshop.share('list', [2]) in outer
    assert outer.index(workshop.share('list', [2])) == 1


@pytest.mark.parametrize(
    ('typeid', 'value'),
    [
        ('list', list(range(1000))),
        ('dict', dict.fromkeys(range(1000))),
        ('set', set(range(1000))),
    ],
)
def test_a_large_container_is_iterated_over_completely(
    workshop: Workshop, typeid: str, value: Any
) -> None:
    proxy = workshop.share(typeid, value)
    assert sorted(proxy) == list(range(1000))
    assert sum(1 for _ in proxy) == len(proxy) == 1000


def test_a_list_that_grows_while_it_is_iterated_over_is_iterated_over_to_its_end(
    workshop: Workshop,
) -> None:
    work = workshop.share('list', [4])
    for item in work:
        work.extend([item - 1] * (item > 1))
    assert list(work) == [4, 3, 2, 1]


def test_a_list_longer_than_what_is_read_ahead_can_be_extended_by_itself(
    workshop: Workshop,
) -> None:
    proxy = workshop.share('list', list(range(200)))
    proxy.extend(proxy)
    proxy += proxy
    proxy[:0] = proxy
    assert list(proxy) == list(range(200)) * 8


def test_keys_and_items_may_change_while_they_are_iterated_over(workshop: Workshop) -> None:
    numbers, unique = workshop.share('dict', {1: 1, 2: 2}), workshop.share('set', {1, 2})
    for key in numbers:
        del numbers[key]
    for item in unique:
        unique.remove(item)
    assert not numbers
    assert not unique


def test_containers_in_two_actors_are_compared_and_joined_by_value(workshop: Workshop) -> None:
    with Workshop() as other:
        ours, theirs = workshop.share('list', [1]), other.share('list', [2])
        ours.extend(theirs)
        assert ours + theirs == [1, 2, 2]
        assert theirs > ours
        letters, numbers = workshop.share('dict', {'x': 1}), other.share('dict', {'y': 2})
        letters.update(numbers)
        assert letters == {'x': 1, 'y': 2}
        assert letters | numbers == numbers | letters
        odd, even = workshop.share('set', {1}), other.share('set', {2})
        assert odd.isdisjoint(even)
        odd |= even
        assert even < odd


def test_the_items_of_an_iterator_in_an_actor_are_used_up(workshop: Workshop) -> None:
    numbers = workshop.make('Iterator', iter, range(3))
    proxy = workshop.share('list', [])
    proxy += numbers
    assert list(proxy) == [0, 1, 2]
    assert list(numbers) == []


def test_an_object_equals_itself_whatever_it_holds(workshop: Workshop) -> None:
    """As a list does that holds a NaN, which equals nothing."""
    items, same = workshop.share('list', [math.nan]), [math.nan]
    assert (items == items) is (same == same) is True
    assert (items != items) is (items < items) is False


# --- other types under the same typeids ----------------------------------------------------------


def test_a_list_proxy_stands_for_a_deque_too(workshop: Workshop) -> None:
    proxy = workshop.share('list', collections.deque([1, 2, 3]))
    proxy.append(4)
    assert proxy.pop() == 4
    proxy *= 2
    assert proxy == collections.deque([1, 2, 3, 1, 2, 3])
    assert str(proxy) == 'deque([1, 2, 3, 1, 2, 3])'
    with pytest.raises(AttributeError):
        proxy.sort()


@pytest.mark.parametrize('kind', [collections.OrderedDict, collections.Counter])
def test_a_dict_proxy_stands_for_subclasses_of_dict(
    workshop: Workshop, kind: type[dict[str, int]]
) -> None:
    proxy = workshop.make('dict', kind, {'x': 1})
    proxy['y'] = 2
    assert proxy == kind({'x': 1, 'y': 2})
    assert type(proxy | kind()) is kind
    assert list(proxy.items()) == [('x', 1), ('y', 2)]


def test_a_missing_key_is_made_by_the_defaultdict_in_the_actor(workshop: Workshop) -> None:
    proxy = workshop.make('dict', collections.defaultdict, list)
    assert proxy['x'] == []
    assert dict(proxy) == {'x': []}
