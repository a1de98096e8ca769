"""Actors behave as in uActor 0.1.1: starting, configuring, attributes, and how long they live."""

from __future__ import annotations

import abc
import dataclasses
import gc
import os
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import pytest

import uactor
from tests.support import Actor, eventually, is_running
from tests.support.programs import get_output, run_python

T = TypeVar('T')

# --- starting ------------------------------------------------------------------------------------


class Counter(Actor):
    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value, self.step = start, step

    def increment(self) -> int:
        self.value += self.step
        return self.value

    def pid(self) -> int:
        return os.getpid()


class RefusingActor(Actor):
    def __init__(self) -> None:
        raise LookupError('no actor today')


def test_an_actor_runs_in_a_process_of_its_own() -> None:
    with Counter() as counter:
        assert counter.pid() != os.getpid()


def test_instantiating_a_class_gives_a_proxy_of_that_class() -> None:
    with Counter() as counter:
        assert isinstance(counter, Counter.proxy_class)
        assert isinstance(counter, uactor.ActorProxy)
        assert isinstance(counter, uactor.BaseProxy)
        assert not isinstance(counter, Counter)


def test_constructor_arguments_reach_the_actor() -> None:
    with Counter(10, step=5) as counter:
        assert [counter.increment(), counter.increment()] == [15, 20]


def test_the_error_of_a_constructor_is_raised_where_the_actor_was_asked_for() -> None:
    with pytest.raises(LookupError, match='no actor today'):
        RefusingActor()


# --- inheritance and configuration ---------------------------------------------------------------


class Greeter(Actor):
    _exposed_ = ('greet', 'name')
    _method_to_typeid_ = {'names': 'list', 'letters': 'list'}

    def __init__(self, name: str) -> None:
        self.name = name

    def greet(self) -> str:
        return f'I am {self.name}.'

    def names(self) -> list[str]:
        return [self.name]

    def letters(self) -> list[str]:
        return list(self.name)

    def unlisted(self) -> None: ...


class LoudGreeter(Greeter):
    _exposed_ = ('shout',)  # type: ignore[assignment]
    _method_to_typeid_ = {'letters': None, 'initials': 'dict'}

    def greet(self) -> str:
        return f'{super().greet()} Hello!'

    def shout(self) -> str:
        return self.greet().upper()

    def initials(self) -> dict[str, str]:
        return {self.name[0]: self.name}


@pytest.fixture(scope='module')
def loud() -> Iterator[LoudGreeter]:
    with LoudGreeter('Ada') as greeter:
        yield greeter


def test_methods_are_inherited_and_overridden(loud: LoudGreeter) -> None:
    assert loud.greet() == 'I am Ada. Hello!'


def test_exposed_names_of_all_base_classes_add_up(loud: LoudGreeter) -> None:
    assert loud.shout() == 'I AM ADA. HELLO!'
    assert loud.name == 'Ada'


def test_a_method_not_listed_in_exposed_is_not_on_the_proxy(loud: LoudGreeter) -> None:
    with pytest.raises(AttributeError, match=r"'LoudGreeter.proxy_class' object .* 'unlisted'"):
        loud.unlisted()


def test_the_actor_refuses_what_it_does_not_expose(loud: Any) -> None:
    with pytest.raises(AttributeError, match='unlisted'):
        loud._callmethod('unlisted')


def test_method_to_typeid_of_all_base_classes_adds_up(loud: LoudGreeter) -> None:
    assert uactor.typeid(loud.names()) == 'list'
    assert uactor.typeid(loud.initials()) == 'dict'


def test_a_derived_class_can_return_by_value_what_its_base_returns_by_proxy(
    loud: LoudGreeter,
) -> None:
    assert type(loud.letters()) is list


class Describing:
    def describe(self) -> str:
        return repr(self)


@dataclasses.dataclass
class Pair(Describing, Actor, Generic[T]):
    _exposed_ = ('left',)
    left: T
    right: T


class AbstractActor(Actor, abc.ABC):
    @abc.abstractmethod
    def method(self) -> None: ...


def test_an_actor_class_can_be_a_generic_dataclass_with_a_mixin() -> None:
    with Pair[int](1, right=2) as pair:
        pair.left = 3
        assert pair.describe() == 'Pair(left=3, right=2)'


def test_an_abstract_actor_class_cannot_be_instantiated() -> None:
    with pytest.raises(TypeError, match='abstract'):
        AbstractActor()  # type: ignore[abstract]


class PlainProxy(uactor.BaseProxy):
    """A proxy class without members of its own."""


@pytest.mark.parametrize(
    ('members', 'message'),
    [
        ({'_proxies_': {'actor': PlainProxy}}, "'actor' is reserved"),
        ({'_proxies_': {'auto': PlainProxy}}, "'auto' is reserved"),
        ({'_method_to_typeid_': {'method': 'nonsense'}}, "'nonsense' .* is not defined"),
    ],
)
def test_reserved_and_undefined_typeids_are_a_type_error_of_the_class(
    members: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        type('MisconfiguredActor', (uactor.Actor,), members)


def test_proxies_of_one_actor_are_equal_whatever_their_class() -> None:
    class Derived(Actor):
        pass

    with Derived() as actor:
        other = Actor.connect(actor.connection_address)
        assert type(other) is not type(actor)
        assert other == actor
        assert {other: 1} == {actor: 1}


def test_a_manager_class_lists_the_typeids_of_its_actor_class() -> None:
    class Base(uactor.Actor):
        _proxies_ = {'Ours': PlainProxy}

    class Derived(Base):
        _proxies_ = {'Theirs': PlainProxy}

    assert {'list', 'auto', 'actor', 'Ours', 'Theirs'} <= set(Derived.manager_class.typeids())
    assert 'Theirs' not in Base.manager_class.typeids()
    assert 'Ours' not in uactor.Actor.manager_class.typeids()
    assert 'actor' in uactor.Actor.manager_class.typeids()
    assert 'actor' not in uactor.ActorManager.typeids()


class NamingManager(uactor.ActorManager):
    def label(self) -> str:
        return f'manager of {self.address}'


class PersonalProxy(uactor.ActorProxy):
    def greet(self) -> str:
        return 'The proxy says: ' + self._callmethod('greet')


class CustomizedActor(Greeter):
    manager_class = NamingManager
    proxy_class = PersonalProxy


class DerivedCustomizedActor(CustomizedActor): ...


def test_a_proxy_class_can_hide_a_method_by_none() -> None:
    class HidingProxy(uactor.ActorProxy):
        secret = None

    class Hiding(uactor.Actor):
        proxy_class = HidingProxy

        def secret(self) -> None: ...

    assert Hiding.proxy_class.secret is None


def test_custom_manager_and_proxy_classes_are_used_and_inherited() -> None:
    with DerivedCustomizedActor('Grace') as actor:
        assert isinstance(actor, PersonalProxy)
        assert actor.greet() == 'The proxy says: I am Grace.'
        assert actor.name == 'Grace'
        assert actor._manager.label() == f'manager of {actor.connection_address}'


# --- attributes ----------------------------------------------------------------------------------


class Thermostat(Actor):
    _exposed_ = ('target', 'doubled', 'myself', 'absent', 'raised')
    _method_to_typeid_ = {'past': 'list'}

    def __init__(self, target: int) -> None:
        self.target = target
        self._past = [target]

    @property
    def doubled(self) -> int:
        return self.target * 2

    @property
    def raised(self) -> int:
        return self.target

    @raised.setter
    def raised(self, by: int) -> None:
        self.target += by

    @property
    def myself(self) -> Any:
        return uactor.proxy(self, 'actor')

    @property
    def past(self) -> list[int]:
        return self._past


@pytest.fixture(scope='module')
def thermostat() -> Iterator[Any]:
    with Thermostat(20) as actor:
        yield actor


def test_exposed_attributes_are_read_and_written_in_the_actor(thermostat: Any) -> None:
    thermostat.target = 20
    assert thermostat.doubled == 40
    thermostat.target = 21
    assert (thermostat.target, thermostat.doubled) == (21, 42)
    assert thermostat.myself.target == 21


def test_setters_of_exposed_properties_run_in_the_actor(thermostat: Any) -> None:
    thermostat.target = 20
    thermostat.raised = 3
    assert thermostat.target == 23


def test_a_property_can_return_a_proxy_declaratively(thermostat: Any) -> None:
    past = thermostat.past
    past.append(1)
    assert thermostat.past[:] == past[:] == [20, 1]


def test_a_missing_attribute_or_setter_is_an_attribute_error(thermostat: Any) -> None:
    with pytest.raises(AttributeError):
        thermostat.doubled = 1  # no setter
    with pytest.raises(AttributeError, match='absent'):
        _ = thermostat.absent


class Polynomial(Actor):
    """Is used by its operators."""

    _exposed_ = ('__call__', '__getitem__', '__len__', '__contains__')
    _method_to_typeid_ = {'__iter__': 'Iterator'}

    def __init__(self, *coefficients: int) -> None:
        self._coefficients = coefficients

    def __call__(self, x: int) -> int:
        return sum(factor * x**power for power, factor in enumerate(self._coefficients))

    def __getitem__(self, power: int) -> int:
        return self._coefficients[power]

    def __len__(self) -> int:
        return len(self._coefficients)

    def __contains__(self, coefficient: int) -> bool:
        return coefficient in self._coefficients

    def __iter__(self) -> Iterator[int]:
        return iter(self._coefficients)


def test_exposed_special_methods_make_the_proxy_an_operand() -> None:
    with Polynomial(3, 0, 2) as polynomial:
        assert polynomial(10) == 203
        assert polynomial[2] == 2
        assert len(polynomial) == 3
        assert 3 in polynomial
        assert list(polynomial) == [3, 0, 2]


# --- how long an actor lives ---------------------------------------------------------------------


def test_an_actor_that_nobody_refers_to_ends() -> None:
    actor = Parent(generations=0)
    process = actor._manager.process
    assert process.is_alive()
    del actor
    gc.collect()
    process.join(5)
    assert process.exitcode == 0


def test_an_actor_lives_while_a_result_proxy_is_held() -> None:
    actor = Parent(generations=0)
    process = actor._manager.process
    things = actor.things()
    del actor
    gc.collect()
    things.append('still there')
    assert things[:] == ['still there']
    del things
    gc.collect()
    process.join(5)
    assert process.exitcode == 0


def test_the_manager_of_the_owner_knows_the_process() -> None:
    with Counter() as entered:
        process: Any = entered._manager.parent.process
        assert process.pid == entered.pid()
        assert process.is_alive()
        assert process.exitcode is None
        process.join(timeout=0)
        assert process.is_alive()
    exitcode: Any = process.exitcode
    assert (process.is_alive(), exitcode) == (False, 0)


HOLDING_PROGRAM = """
import atexit, time, uactor

class ReluctantActor(uactor.Actor):
    def __init__(self):
        atexit.register(time.sleep, 1.2)  # longer than its connections stay open

    def things(self):
        return uactor.proxy([1], 'list')

actor = ReluctantActor()
things = actor.things()
"""


def test_a_program_can_end_while_it_holds_proxies_and_its_actors_take_time() -> None:
    assert get_output(run_python('-c', HOLDING_PROGRAM)) == ''


LATE_CALL_PROGRAM = """
import threading, uactor

class Actor(uactor.Actor):
    def method(self): ...

def call_late():
    threading.main_thread().join()
    process = actor._manager.process
    process.kill()
    process.join()
    try:
        actor.method()
    except (uactor.ActorDiedError, RuntimeError):  # Python 3.12 starts no more threads then
        print('refused')

actor = Actor()
threading.Thread(target=call_late).start()
"""


def test_a_program_can_end_though_a_thread_calls_a_dead_actor_after_the_main_thread() -> None:
    program = run_python('-c', LATE_CALL_PROGRAM)
    assert (program.returncode, program.stdout) == (0, 'refused\n')


# --- actors inside actors ------------------------------------------------------------------------


class Parent(Actor):
    _method_to_typeid_ = {'things': 'list'}

    def __init__(self, generations: int = 1) -> None:
        self._child: Any = type(self)(generations - 1) if generations else None
        self._things: list[Any] = []

    def child(self) -> Any:
        return self._child

    def child_address(self) -> Any:
        return self._child.connection_address

    def child_pid(self) -> int:
        return int(self._child.pid())

    def things(self) -> list[Any]:
        return self._things

    def pid(self) -> int:
        return os.getpid()


@pytest.fixture(scope='module')
def parent() -> Iterator[Any]:
    with Parent() as actor:
        yield actor


def test_an_actor_can_own_an_actor_and_hand_it_out(parent: Any) -> None:
    child = parent.child()
    assert child.connection_address == parent.child_address() != parent.connection_address
    assert child.pid() == parent.child_pid() != parent.pid()
    assert type(child._manager) is Parent.manager_class
    assert child._manager.process is None


def test_proxies_of_an_inner_actor_reach_the_same_objects(parent: Any) -> None:
    one, other = parent.child().things(), parent.child().things()
    one.append(1)
    other.append(2)
    assert one[:] == other[:] == [1, 2]
    assert one._token == other._token
    assert one._token.address == parent.child_address()


def test_an_inner_actor_ends_with_the_outer_one() -> None:
    with Parent(generations=2) as parent:
        pids = parent.child_pid(), parent.child().child_pid()
    eventually(lambda: not any(map(is_running, pids)))
