"""What the standard proxies have in common, and that each has all that its object has."""

from __future__ import annotations

import array
import collections.abc
import copy
import multiprocessing.managers
import multiprocessing.pool
import queue
import threading
from collections.abc import Iterator
from multiprocessing.managers import Value  # type: ignore[attr-defined]
from typing import Any

import pytest

import uactor
from tests.support import eventually
from tests.support.workshop import Workshop
from uactor.proxies.standard import PROXIES


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


TYPEIDS = [
    'list',
    'dict',
    'set',
    'Namespace',
    'Value',
    'Array',
    'Iterator',
    'Queue',
    'JoinableQueue',
    'LifoQueue',
    'PriorityQueue',
    'SimpleQueue',
    'Event',
    'Lock',
    'RLock',
    'Semaphore',
    'BoundedSemaphore',
    'Condition',
    'Barrier',
    'Pool',
    'AsyncResult',
    'actor',
    'auto',
]

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    'list': ([3, 1],),
    'dict': ({'x': 1},),
    'set': ({1, 2},),
    'Namespace': (),
    'Value': ('i', 5),
    'Array': ('i', [3, 1]),
    'Iterator': ([3, 1],),
    'Barrier': (2,),
}
"""What the manager's methods of these names take; the others need nothing."""


def make(workshop: Workshop, typeid: str) -> Any:
    """Return a proxy of a new object."""
    return getattr(workshop._manager, typeid)(*ARGUMENTS.get(typeid, ()))


# --- making objects ------------------------------------------------------------------------------


def test_each_actor_class_has_the_standard_typeids() -> None:
    assert set(Workshop.manager_class.typeids()) == set(TYPEIDS)
    assert set(uactor.ActorManager.typeids()) >= set(TYPEIDS) - {'actor'}


@pytest.mark.parametrize('typeid', sorted(set(TYPEIDS) - {'actor', 'auto', 'AsyncResult', 'Pool'}))
def test_a_manager_makes_objects_of_the_standard_typeids(workshop: Workshop, typeid: str) -> None:
    before = workshop.shared()
    proxy = make(workshop, typeid)
    assert uactor.typeid(proxy) == typeid
    assert type(proxy) is PROXIES[typeid]
    assert workshop.shared() == before + 1
    del proxy
    assert workshop.shared() == before


@pytest.mark.parametrize('typeid', ['actor', 'auto', 'AsyncResult', 'nothing'])
def test_a_manager_makes_no_objects_of_other_typeids(workshop: Workshop, typeid: str) -> None:
    with pytest.raises(uactor.ProxyError):
        workshop._manager.connection.create(typeid, (), {}, workshop._manager.create_proxy)


def test_an_error_of_a_shared_objects_constructor_reaches_the_caller(workshop: Workshop) -> None:
    with pytest.raises(TypeError, match='not iterable'):
        workshop._manager.list(5)
    with pytest.raises(ValueError, match='>= 0'):
        workshop._manager.Semaphore(-1)


# --- what proxies offer --------------------------------------------------------------------------

OBJECTS: dict[str, Any] = {
    'list': [],
    'dict': {},
    'set': set(),
    'Namespace': multiprocessing.managers.Namespace(),
    'Value': Value('i', 0),
    'Array': array.array('i'),
    'Iterator': (item for item in list[int]()),
    'Queue': queue.Queue(),
    'JoinableQueue': queue.Queue(),
    'LifoQueue': queue.LifoQueue(),
    'PriorityQueue': queue.PriorityQueue(),
    'SimpleQueue': queue.SimpleQueue(),
    'Event': threading.Event(),
    'Lock': threading.Lock(),
    'RLock': threading.RLock(),
    'Semaphore': threading.Semaphore(),
    'BoundedSemaphore': threading.BoundedSemaphore(),
    'Condition': threading.Condition(),
    'Barrier': threading.Barrier(1),
    'Pool': multiprocessing.pool.ThreadPool,
    'AsyncResult': multiprocessing.pool.AsyncResult,
}

QUEUE_INTERNALS = {
    *('mutex', 'not_empty', 'not_full', 'all_tasks_done'),
    *('queue', 'unfinished_tasks', 'is_shutdown'),
}
MISSING: dict[str, set[str]] = {
    'dict': {'__lt__', '__le__', '__gt__', '__ge__'},  # always a TypeError
    'Array': {'__copy__'},  # copy.copy() gives another proxy, as of any proxy
    'Iterator': {'gi_code', 'gi_frame', 'gi_running', 'gi_suspended', 'gi_yieldfrom'},
    'Queue': QUEUE_INTERNALS,
    'JoinableQueue': QUEUE_INTERNALS,
    'LifoQueue': QUEUE_INTERNALS,
    'PriorityQueue': QUEUE_INTERNALS,
    'Event': {'isSet'},  # deprecated
    'Lock': {'acquire_lock', 'locked_lock', 'release_lock'},  # obsolete
    'Condition': {'notifyAll'},  # deprecated
    'Pool': {'Process'},  # not for users
}
"""What proxies leave out on purpose."""

EVERY_OBJECT_HAS = {
    *('__class__', '__class_getitem__', '__dict__', '__doc__', '__getattribute__', '__init__'),
    *('__init_subclass__', '__module__', '__new__', '__setattr__', '__delattr__', '__sizeof__'),
    *('__subclasshook__', '__weakref__', '__static_attributes__', '__firstlineno__', '__dir__'),
    *('__reduce__', '__reduce_ex__', '__getstate__', '__setstate__', '__hash__', '__del__'),
    *('__name__', '__qualname__', '__buffer__', '__release_buffer__', '__slotnames__'),
}


def list_members(owner: type) -> set[str]:
    """Return the public names and special methods that a class has of its own."""
    return {
        name
        for name in dir(owner)
        if not name.startswith('_') or name.startswith('__')
        if getattr(owner, name) is not getattr(object, name, None)
    }


@pytest.mark.parametrize('typeid', OBJECTS)
def test_a_proxy_has_all_that_its_object_has(typeid: str) -> None:
    real = OBJECTS[typeid]
    names = list_members(real if isinstance(real, type) else type(real)) - EVERY_OBJECT_HAS
    if not isinstance(real, type):
        names |= {name for name in getattr(real, '__dict__', ()) if not name.startswith('_')}
    missing = names - list_members(PROXIES[typeid])
    left_out = MISSING.get(typeid, set())
    assert missing <= left_out
    assert not left_out & list_members(PROXIES[typeid])


def test_the_objects_of_all_standard_typeids_are_compared() -> None:
    assert set(OBJECTS) == set(PROXIES)
    assert set(PROXIES) | {'actor', 'auto'} == set(TYPEIDS)


ABSTRACT = {
    collections.abc.MutableSequence: {'list', 'Array'},
    collections.abc.Sequence: {'list', 'Array'},
    collections.abc.MutableMapping: {'dict'},
    collections.abc.Mapping: {'dict'},
    collections.abc.MutableSet: {'set'},
    collections.abc.Set: {'set'},
    collections.abc.Iterator: {'Iterator'},
    collections.abc.Iterable: {'list', 'Array', 'dict', 'set', 'Iterator'},
    collections.abc.Collection: {'list', 'Array', 'dict', 'set'},
    collections.abc.Sized: {'list', 'Array', 'dict', 'set'},
    collections.abc.Container: {'list', 'Array', 'dict', 'set'},
    collections.abc.Reversible: {'list', 'Array', 'dict'},
    collections.abc.Hashable: set(PROXIES),
    collections.abc.Callable: set(),
}


@pytest.mark.parametrize('abstract', ABSTRACT, ids=lambda abstract: abstract.__name__)
def test_a_proxy_is_an_instance_of_the_abstract_class_of_its_object(abstract: type) -> None:
    found = {typeid for typeid, proxytype in PROXIES.items() if issubclass(proxytype, abstract)}
    assert found == ABSTRACT[abstract]


# --- what all proxies do -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('typeid', 'shown'),
    [
        ('list', '[3, 1]'),
        ('dict', "{'x': 1}"),
        ('set', '{1, 2}'),
        ('Namespace', 'Namespace()'),
        ('Value', "Value('i', 5)"),
        ('Array', "array('i', [3, 1])"),
        ('Event', '<threading.Event '),
        ('Lock', '<unlocked _thread.lock '),
        ('Queue', '<queue.Queue object at '),
    ],
)
def test_str_shows_the_object_and_repr_the_proxy(
    workshop: Workshop, typeid: str, shown: str
) -> None:
    proxy = make(workshop, typeid)
    assert shown in str(proxy)
    assert f'{proxy}' == format(proxy) == '%s' % proxy == str(proxy)  # noqa: UP031
    name = type(proxy).__name__
    assert repr(proxy) == f'<{name} object, typeid {typeid!r} at {id(proxy):#x}>'


def test_str_of_the_proxy_of_an_actor_shows_the_actor(workshop: Workshop) -> None:
    assert str(workshop).startswith('<tests.support.workshop.Workshop object at ')


def test_proxies_of_one_object_are_equal_and_others_are_not(workshop: Workshop) -> None:
    event = make(workshop, 'Event')
    again = workshop.run(lambda event: event, event)
    assert again is not event
    assert again == event
    assert len({event, again, make(workshop, 'Event')}) == 2
    assert event != make(workshop, 'Event')
    assert event != 'event'


def test_a_copy_of_a_proxy_is_a_proxy_of_the_same_object(workshop: Workshop) -> None:
    first = make(workshop, 'list')
    second = copy.copy(first)
    second.append(5)
    assert list(first) == [3, 1, 5]
    del first
    assert list(second) == [3, 1, 5]


def test_a_deep_copy_of_a_proxy_is_a_copy_of_the_object(workshop: Workshop) -> None:
    value = {'items': make(workshop, 'list')}
    assert copy.deepcopy(value) == {'items': [3, 1]}
    with pytest.raises(TypeError):
        copy.deepcopy(make(workshop, 'Lock'))


def test_an_object_without_length_or_truth_is_true(workshop: Workshop) -> None:
    for typeid in ('Event', 'Lock', 'Value', 'Namespace', 'Queue', 'Iterator'):
        assert make(workshop, typeid)


def test_an_object_lives_as_long_as_it_has_a_proxy(workshop: Workshop) -> None:
    before = workshop.shared()
    first = make(workshop, 'list')
    second = workshop.run(lambda proxy: proxy, first)
    del first
    assert workshop.shared() == before + 1
    assert list(second) == [3, 1]
    held = make(workshop, 'dict')
    held['list'] = second
    del second
    assert list(held['list']) == [3, 1]
    del held
    eventually(lambda: workshop.shared() == before)
