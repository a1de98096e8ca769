"""Actors behave as in uActor 0.1.1: starting, configuring, leaving, sharing, connecting."""

from __future__ import annotations

import functools
import gc
import os
import pathlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor, eventually, is_running

ROOT = pathlib.Path(__file__).parent.parent
SECRET = b'a key of its own'


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
    _exposed_ = ('shout',)
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


def test_what_a_class_does_not_list_in_exposed_is_not_on_the_proxy(loud: LoudGreeter) -> None:
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


class NetworkActor(uactor.Actor):
    _options_ = {'address': ('localhost', 0), 'authkey': b'not this one'}

    def pid(self) -> int:
        return os.getpid()


class KeyedNetworkActor(NetworkActor):
    _options_ = {'authkey': SECRET}
    _exposed_ = ('counts', 'stops')
    _method_to_typeid_ = {'counts': 'dict'}

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.stops = 0

    def counts(self) -> dict[str, int]:
        return self._counts

    def shutdown(self) -> None:
        self.stops += 1


@pytest.fixture(scope='module')
def network_actor() -> Iterator[KeyedNetworkActor]:
    with KeyedNetworkActor() as actor:
        yield actor


def test_options_of_all_base_classes_add_up(network_actor: KeyedNetworkActor) -> None:
    host, port = network_actor.connection_address
    assert host == '127.0.0.1'  # the base class's address, looked up
    with KeyedNetworkActor.connect((host, port), SECRET) as remote:
        assert remote.pid() == network_actor.pid()


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


def test_custom_manager_and_proxy_classes_are_used_and_inherited() -> None:
    with DerivedCustomizedActor('Grace') as actor:
        assert isinstance(actor, PersonalProxy)
        assert actor.greet() == 'The proxy says: I am Grace.'
        assert actor.name == 'Grace'
        assert actor._manager.label() == f'manager of {actor.connection_address}'


# --- leaving a block -----------------------------------------------------------------------------


class Diary(Actor):
    """Writes its hooks into a file, which outlives it."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._write('__init__')

    def _write(self, line: str) -> None:
        with self._path.open('a') as file:
            file.write(line + '\n')

    def __enter__(self) -> Any:
        self._write('__enter__')
        return super().__enter__()

    def __exit__(self, *exc_info: Any) -> bool | None:
        self._write('__exit__ {} {!r} {}'.format(getattr(*exc_info[:1], '__name__', None), *exc_info[1:]))
        return super().__exit__(*exc_info)

    def shutdown(self) -> None:
        self._write('shutdown')
        super().shutdown()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'diary'


class SwallowingActor(Actor):
    def __exit__(self, exc_type: Any, *exc_info: Any) -> bool:
        return exc_type is ValueError


class UnleavableActor(Actor):
    def __exit__(self, *exc_info: Any) -> None:
        raise LookupError('there is no way out')


class MuteActor(Actor):
    """Forgets to return itself from __enter__."""

    def __enter__(self) -> None: ...


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__('held a lock')
        self.lock = threading.Lock()


def test_leaving_the_block_of_the_owner_ends_the_process() -> None:
    counter = Counter()
    process = counter._manager.process
    with counter as entered:
        assert entered._token == counter._token
        with entered:
            pass
        assert process.is_alive()  # only the owner's block ends it
    assert not process.is_alive()
    assert process.exitcode == 0


def test_hooks_run_in_the_order_enter_exit_shutdown(path: pathlib.Path) -> None:
    with Diary(path):
        pass
    assert path.read_text().split('\n') == [
        '__init__',
        '__enter__',
        '__exit__ None None None',
        'shutdown',
        '',
    ]


def test_shutdown_without_a_block_runs_its_hook_once(path: pathlib.Path) -> None:
    diary = Diary(path)
    process = diary._manager.process
    diary.shutdown()
    assert not process.is_alive()
    assert path.read_text().split() == ['__init__', 'shutdown']


def test_exit_of_the_actor_is_told_the_exception_without_a_traceback(path: pathlib.Path) -> None:
    with pytest.raises(KeyError), Diary(path):
        raise KeyError('gone')
    assert "__exit__ KeyError KeyError('gone') None" in path.read_text()


def test_exit_of_the_actor_is_told_of_an_exception_that_cannot_be_pickled(
    path: pathlib.Path,
) -> None:
    with pytest.raises(UnpicklableError), Diary(path):
        raise UnpicklableError
    assert '__exit__ RemoteError RemoteError(' in path.read_text()
    assert 'UnpicklableError' in path.read_text()
    assert 'held a lock' in path.read_text()


@pytest.mark.parametrize('error_class', [ValueError, UnpicklableError, KeyboardInterrupt])
def test_an_exception_in_the_block_reaches_the_caller_unchanged(
    error_class: type[BaseException],
) -> None:
    error = error_class()
    with pytest.raises(error_class) as caught, Counter():
        raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_true_result_of_exit_swallows_the_exception() -> None:
    with SwallowingActor():
        raise ValueError('not worth mentioning')
    with pytest.raises(LookupError), SwallowingActor():
        raise LookupError('worth mentioning')


def test_an_error_of_exit_reaches_the_caller_and_the_process_ends() -> None:
    actor = UnleavableActor()
    process = actor._manager.process
    with pytest.raises(LookupError, match='no way out'), actor:
        pass
    assert not process.is_alive()


def test_an_enter_that_returns_nothing_still_gives_the_actor() -> None:
    with MuteActor() as actor:
        assert uactor.typeid(actor) == 'actor'


def test_leaving_the_block_of_an_actor_that_died_adds_no_error() -> None:
    with Counter() as counter:
        kill(counter)
    error = ValueError('from the block')
    with pytest.raises(ValueError) as caught, Counter() as counter:
        kill(counter)
        raise error
    assert caught.value is error


def kill(actor: Any) -> None:
    process = actor._manager.parent.process
    process.kill()
    process.join(5)
    assert process.exitcode == -9


def test_leaving_a_block_after_shutdown_in_it_is_a_broken_pipe_as_in_uactor() -> None:
    counter = Counter()
    process = counter._manager.process
    with pytest.raises(BrokenPipeError), counter as entered:
        entered.shutdown()
        assert not process.is_alive()


def test_calling_an_actor_that_was_shut_down_is_a_broken_pipe_as_in_uactor() -> None:
    counter = Counter()
    counter.shutdown()
    with pytest.raises(BrokenPipeError):
        counter.increment()
    with pytest.raises(BrokenPipeError):
        counter.shutdown()


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


def test_what_an_attribute_lacks_is_an_attribute_error(thermostat: Any) -> None:
    with pytest.raises(AttributeError):
        thermostat.doubled = 1  # no setter
    with pytest.raises(AttributeError, match='absent'):
        _ = thermostat.absent


# --- how long an actor lives ---------------------------------------------------------------------


class Shelf(Actor):
    """Gives its things by proxy, as the declaration or the caller says."""

    _method_to_typeid_ = {'things': 'list', 'myself': 'actor'}

    def __init__(self) -> None:
        self._things: list[Any] = []

    def things(self) -> list[Any]:
        return self._things

    def things_as(self, typeid: str) -> Any:
        return uactor.proxy(self._things, typeid)

    def things_seen_inside(self) -> bool:
        return self.things() is self._things

    def share(self, value: Any, typeid: str) -> Any:
        return uactor.proxy(value, typeid)

    def myself(self) -> Shelf:
        return self

    def myself_as(self, typeid: str) -> Any:
        return uactor.proxy(self, typeid)

    def echo(self, value: Any) -> Any:
        return value

    def send(self, value: Any, target: Callable[[Any], Any]) -> Any:
        return target(value)

    def send_list(self, value: list[Any], target: Callable[[Any], Any]) -> Any:
        return target(uactor.proxy(value, 'list'))


@pytest.fixture(scope='module')
def shelf() -> Iterator[Any]:
    with Shelf() as actor:
        yield actor


@pytest.fixture(scope='module')
def other_shelf() -> Iterator[Any]:
    with Shelf() as actor:
        yield actor


def test_an_actor_that_nobody_refers_to_ends() -> None:
    actor = Shelf()
    process = actor._manager.process
    assert process.is_alive()
    del actor
    gc.collect()
    process.join(5)
    assert process.exitcode == 0


def test_an_actor_lives_while_a_result_proxy_is_held() -> None:
    actor = Shelf()
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
        process = entered._manager.parent.process
        assert process.pid == entered.pid()
        assert process.is_alive()
        assert process.exitcode is None
        process.join(timeout=0)
        assert process.is_alive()
    assert (process.is_alive(), process.exitcode) == (False, 0)


def test_only_the_manager_of_the_owner_has_a_process(network_actor: Any) -> None:
    remote = KeyedNetworkActor.connect(network_actor.connection_address, SECRET)
    assert remote._manager.process is None
    assert network_actor._manager.process is None  # it was returned by __enter__


# --- actors inside actors ------------------------------------------------------------------------


class Parent(Actor):
    _method_to_typeid_ = {'things': 'list'}

    def __init__(self, generations: int = 1) -> None:
        self._child = type(self)(generations - 1) if generations else None
        self._things: list[Any] = []

    def child(self) -> Any:
        return self._child

    def child_address(self) -> Any:
        return self._child.connection_address

    def child_pid(self) -> int:
        return self._child.pid()

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


# --- what names a proxy --------------------------------------------------------------------------


def test_a_token_names_typeid_address_and_id(shelf: Any) -> None:
    things = shelf.things()
    assert things._token.typeid == uactor.typeid(things) == 'list'
    assert things._token.address == shelf._token.address == shelf.connection_address
    assert things._token.id != shelf._token.id
    assert uactor.typeid(shelf) == 'actor'


def test_the_same_object_with_the_same_typeid_has_the_same_id(shelf: Any) -> None:
    assert shelf.things()._token == shelf.things_as('list')._token
    assert shelf.myself()._token == shelf._token


def test_the_same_object_with_another_typeid_is_refused(shelf: Any) -> None:
    things = shelf.things()
    with pytest.raises(uactor.ProxyError, match="'list'"):
        shelf.things_as('auto')
    with pytest.raises(uactor.ProxyError, match="'actor'"):
        shelf.myself_as('auto')
    things.clear()


def test_typeid_of_what_is_no_proxy_is_refused(shelf: Any) -> None:
    with pytest.raises(ValueError, match='not a proxy'):
        uactor.typeid(None)
    things = shelf.things()
    del things._token
    with pytest.raises(uactor.ProxyError, match='token'):
        uactor.typeid(things)


def test_proxies_can_only_be_made_inside_an_actor() -> None:
    with pytest.raises(uactor.ProxyError, match='inside an actor'):
        uactor.proxy([])


def test_an_actor_refuses_proxies_that_it_cannot_make(shelf: Any) -> None:
    with pytest.raises(uactor.ProxyError, match="'nonsense'"):
        shelf.share([], 'nonsense')
    with pytest.raises(uactor.ProxyError, match="'actor'"):
        shelf.share(1, 'actor')


def test_calls_inside_the_actor_get_the_plain_value(shelf: Any) -> None:
    assert shelf.things_seen_inside() is True


# --- proxies of any class ------------------------------------------------------------------------


class Ledger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines)

    def read(self) -> list[str]:
        return self.lines

    def _burn(self) -> None:
        self.lines.clear()


class LedgerProxy(uactor.BaseProxy):
    _exposed_ = ('write', 'read')
    _method_to_typeid_ = {'read': 'list'}

    def write(self, line: str) -> str:
        return f'line {self._callmethod("write", (line,))}'

    write_by_name = functools.partialmethod(uactor.BaseProxy._callmethod, 'write')
    read = uactor.ProxyMethod('read')


class OpenLedgerProxy(uactor.BaseProxy):
    """Says nothing about what is exposed: all public methods are."""

    def write(self, **kwargs: Any) -> int:
        return self._callmethod('write', (), kwargs)


class Office(Actor):
    _proxies_ = {'Ledger': LedgerProxy, 'OpenLedger': OpenLedgerProxy}
    _method_to_typeid_ = {'ledger': 'Ledger', 'auto_ledger': 'auto', 'nothing': 'OpenLedger'}

    def ledger(self) -> Any:
        return Ledger()

    def open_ledger(self) -> Any:
        return uactor.proxy(Ledger(), 'OpenLedger')

    def auto_ledger(self) -> Any:
        return Ledger()

    def explicit_auto_ledger(self) -> Any:
        return uactor.proxy(Ledger())

    def nothing(self) -> None: ...


@pytest.fixture(scope='module')
def office() -> Iterator[Any]:
    with Office() as actor:
        yield actor


def test_a_custom_proxy_calls_its_object(office: Any) -> None:
    ledger = office.ledger()
    assert isinstance(ledger, LedgerProxy)
    assert uactor.typeid(ledger) == 'Ledger'
    assert ledger.write('bread') == 'line 1'
    assert ledger.write_by_name(('salt',)) == 2
    assert ledger.read()[:] == ['bread', 'salt']


def test_results_of_a_custom_proxy_can_be_proxies_too(office: Any) -> None:
    ledger = office.ledger()
    ledger.read().append('wine')
    assert ledger.write('bread') == 'line 2'


def test_a_custom_proxy_reaches_only_what_it_exposes(office: Any) -> None:
    with pytest.raises(AttributeError, match='_burn'):
        office.ledger()._callmethod('_burn')


def test_a_custom_proxy_without_exposed_names_reaches_all_public_methods(office: Any) -> None:
    ledger = office.open_ledger()
    assert ledger.write(line='bread') == 1
    assert ledger._callmethod('read') == ['bread']
    with pytest.raises(AttributeError, match='_burn'):
        ledger._callmethod('_burn')


@pytest.mark.parametrize('method', ['auto_ledger', 'explicit_auto_ledger'])
def test_an_auto_proxy_has_the_public_methods_of_its_object(office: Any, method: str) -> None:
    ledger = getattr(office, method)()
    assert uactor.typeid(ledger) == 'auto'
    assert ledger.write('bread') == 1
    assert ledger.read() == ['bread']
    with pytest.raises(AttributeError, match='_burn'):
        ledger._burn()


def test_even_none_can_be_returned_by_proxy(office: Any) -> None:
    assert isinstance(office.nothing(), OpenLedgerProxy)


# --- proxies between actors ----------------------------------------------------------------------


def test_a_proxy_keeps_its_manager_class_on_its_way_through_another_actor(
    office: Any, shelf: Any
) -> None:
    ledger = office.ledger()
    returned = shelf.echo(ledger)
    assert type(ledger._manager) is type(returned._manager) is Office.manager_class
    assert type(returned) is LedgerProxy
    assert returned._token == ledger._token


def test_bound_methods_of_proxies_are_callbacks(shelf: Any, other_shelf: Any, office: Any) -> None:
    assert shelf.send('ping', other_shelf.echo) == 'ping'
    assert shelf.send('ping', shelf.echo) == 'ping'  # to the sender itself
    assert shelf.send('bread', office.ledger().write) == 'line 1'


def test_an_actor_can_pass_a_proxy_to_a_callback(shelf: Any, other_shelf: Any) -> None:
    returned = shelf.send_list([1, 2], other_shelf.echo)
    assert returned[:] == [1, 2]
    assert returned._token.address == shelf.connection_address


# --- over the network ----------------------------------------------------------------------------


class Forwarder(uactor.Actor):
    """Owns an actor whose key its callers do not know by themselves."""

    _options_ = {'address': ('localhost', 0), 'authkey': b'the key of the forwarder'}
    _exposed_ = ('inner', 'inner_address')

    def __init__(self) -> None:
        self.inner = KeyedNetworkActor()
        self.inner_address = self.inner.connection_address


@pytest.fixture
def forwarder() -> Iterator[Any]:
    with Forwarder() as actor:
        yield actor


def test_a_manager_connects_by_address_and_key(network_actor: Any) -> None:
    manager = KeyedNetworkActor.manager_class(network_actor.connection_address, SECRET)
    manager.connect()
    assert manager.actor().pid() == network_actor.pid()
    assert manager.process is None


@pytest.mark.parametrize('form', ['({host!r}, {port})', "'{host}:{port}'"])
def test_connect_takes_both_forms_of_a_tcp_address(network_actor: Any, form: str) -> None:
    _, port = network_actor.connection_address
    address = eval(form.format(host='localhost', port=port))
    remote = KeyedNetworkActor.connect(address, SECRET)
    assert remote.connection_address == remote._token.address == address
    assert remote.pid() == network_actor.pid()


def test_a_connected_proxy_shares_objects_with_the_owner(network_actor: Any) -> None:
    remote = KeyedNetworkActor.connect(network_actor.connection_address, SECRET)
    remote.counts().update(a=1)
    assert network_actor.counts().get('a') == 1


def test_connecting_with_a_wrong_key_is_refused(network_actor: Any) -> None:
    with pytest.raises(uactor.AuthkeyError):
        KeyedNetworkActor.connect(network_actor.connection_address, b'wrong')
    assert network_actor.pid()


def test_a_connected_proxy_runs_hooks_but_does_not_end_the_actor(network_actor: Any) -> None:
    _, port = network_actor.connection_address
    before = network_actor.stops
    remote = KeyedNetworkActor.connect(('localhost', port), SECRET)
    remote.shutdown()
    assert network_actor.stops == before + 1
    with remote:
        pass
    assert network_actor.stops == before + 1


def test_connecting_to_an_own_actor_at_its_own_address_gives_a_proxy_that_can_end_it() -> None:
    actor = KeyedNetworkActor()
    process = actor._manager.process
    KeyedNetworkActor.connect(actor.connection_address, SECRET).shutdown()
    assert not process.is_alive()


def test_another_program_connects_by_address_and_key(network_actor: Any) -> None:
    program = (
        'from tests.test_actors import SECRET, KeyedNetworkActor\n'
        f'with KeyedNetworkActor.connect({network_actor.connection_address}, SECRET) as actor:\n'
        '    actor.counts().update(visits=1)\n'
        '    print(actor.pid())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == network_actor.pid()
    assert network_actor.counts()['visits'] == 1


def test_a_forwarded_proxy_needs_a_connection_to_its_actor(forwarder: Any) -> None:
    with pytest.raises(uactor.AuthkeyError):
        _ = forwarder.inner
    with KeyedNetworkActor.connect(forwarder.inner_address, SECRET) as inner:
        assert forwarder.inner.pid() == inner.pid()


def test_capture_names_further_addresses_of_the_actor_connected_to(forwarder: Any) -> None:
    given = forwarder.inner_address
    reached = 'localhost', given[1]
    with KeyedNetworkActor.connect(reached, SECRET, capture=[given]) as inner:
        forwarded = forwarder.inner
        assert forwarded.pid() == inner.pid()
        assert forwarded.connection_address == reached
