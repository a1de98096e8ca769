"""Weak references whose end runs no Python code."""

from __future__ import annotations

import gc
import os
import sys

import pytest

from uactor.runtime.weakrefs import WeakBag, WeakKeys, WeakValues, descriptors_of

pytestmark = pytest.mark.quick


class Thing:
    """Can be referred to weakly."""


def test_objects_are_known_by_name_as_long_as_they_are_there() -> None:
    things: WeakValues[str, Thing] = WeakValues()
    first, second = Thing(), Thing()
    things['first'], things['second'] = first, second
    assert things.get('first') is first
    del first
    assert things.get('first') is None
    third = Thing()
    things['third'] = third  # upon which the first one is forgotten
    assert (things.get('second'), things.get('third')) == (second, third)
    assert len(things.references) == 2


def test_a_name_goes_on_to_another_object() -> None:
    things: WeakValues[str, Thing] = WeakValues()
    first, second, third = Thing(), Thing(), Thing()
    things['name'] = first
    things['name'] = second
    del first
    things['other'] = third
    assert things.get('name') is second


def test_objects_have_values_as_long_as_they_are_there() -> None:
    values: WeakKeys[Thing, int] = WeakKeys()
    first, second = Thing(), Thing()
    values[first], values[second] = 1, 2
    values[first] = 3
    assert (values.get(first), values.get(second), values.get(Thing())) == (3, 2, None)
    assert first in values
    assert sorted(values.values()) == [2, 3]
    del first
    assert list(values) == [second]
    assert values.values() == [2]
    third = Thing()
    values[third] = 4
    assert len(values.by_reference) == 2


def test_a_bag_has_what_is_there() -> None:
    bag: WeakBag[Thing] = WeakBag()
    first, second = Thing(), Thing()
    bag.add(first)
    bag.add(first)
    bag.add(second)
    assert len(list(bag)) == 2
    del second
    assert list(bag) == [first]
    bag.clear()
    assert list(bag) == []


@pytest.mark.parametrize('sooner', [True, False])
def test_a_descriptor_is_closed_once(sooner: bool) -> None:
    owner = Thing()
    owned = descriptors_of(owner)
    owned.extend(map(os.open, (os.devnull,), (os.O_RDONLY,)))
    [descriptor] = owned
    if sooner:
        os.close(owned.pop())
        other = os.open(os.devnull, os.O_RDONLY)
        assert other == descriptor
    del owner, owned
    gc.collect()
    if sooner:
        os.close(other)  # which the end of the owner has left open
    with pytest.raises(OSError, match='Bad file descriptor'):
        os.fstat(descriptor)


def test_no_python_runs_at_the_end_of_what_is_known() -> None:
    things: WeakValues[str, Thing] = WeakValues()
    bag: WeakBag[Thing] = WeakBag()
    thing = Thing()
    things['name'] = thing
    bag.add(thing)
    descriptors_of(thing).append(os.open(os.devnull, os.O_RDONLY))
    ran: list[str] = []
    sys.setprofile(lambda frame, event, _: ran.append(event))
    del thing
    sys.setprofile(None)
    assert 'call' not in ran
