"""Proxies of any class: what names them, what they expose, and how actors pass them on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor


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
        ledger._burn()  # noqa: SLF001  # which the test is about


class LedgerManager(uactor.ActorManager): ...


LedgerManager.register('Ledger', Ledger, LedgerProxy)


class Archive(Actor):
    manager_class = LedgerManager


def test_a_manager_makes_objects_of_the_classes_registered_with_it() -> None:
    with Archive() as archive:
        ledger = archive._manager.Ledger()
        assert isinstance(ledger, LedgerProxy)
        assert ledger.write('bread') == 'line 1'
        assert ledger._token.address == archive.connection_address


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
