"""How typed calls fail: codes, details, and their size; and what classes declare of exceptions."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

import uactor
from tests.host.typed.shop import FAILURES, Shop, SoldOut
from tests.host.typed.support import Typed, create_typed_client
from tests.support import Actor, get_own_host
from tests.support.rpc import KEYED, client_of, failing, get_dial_address
from tests.support.terminal import Grpcurl
from uactor.errors import STATUS_CODES
from uactor.host.grpc.typed_service import TypedService
from uactor.service.contract.lock import Lock
from uactor.service.schema import schema_of

pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.oldest_python]


@pytest.fixture(scope='module')
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture
def client(shop: Any) -> Iterator[Typed]:
    with create_typed_client(shop, Shop) as client:
        yield client


SERVICE = 'tests.host.typed.shop.v1.ShopService'


# --- bad arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('rpc', 'fields', 'field', 'text'),
    [
        ('Stock', {}, 'article', 'missing'),
        ('Stock', {'article': {}}, 'article.name', 'missing'),
        ('Stock', {'article': {'name': ''}}, 'article', 'an article has a name'),
        ('Stock', {'article': {'name': 'a', 'kind': 7}}, 'article.kind', '7'),
        ('Raw', {'value': {}}, 'value', 'holds nothing'),
        ('Size', {}, 'basket', 'missing'),
    ],
)
def test_a_bad_argument_is_reported_by_its_field(
    client: Typed, rpc: str, fields: Any, field: str, text: str
) -> None:
    with failing('INVALID_ARGUMENT') as failure:
        client.send(rpc, fields)
    assert failure.fields == [field]
    [violation] = failure.details['BadRequest'].field_violations
    assert text in violation.description
    assert failure.executed == 'no'
    assert failure.info.domain == SERVICE
    assert failure.info.reason == 'INVALID_ARGUMENT'


@pytest.mark.parametrize(
    ('data', 'text'),
    [
        (b'\x08\x01\xa2\x06\x01a', 'unknown field number 100'),
        (b'\xff', 'not a valid tests.host.typed.shop.v1.AddRequest'),
    ],
)
def test_a_request_that_does_not_match_its_message_type_is_refused(
    client: Typed, data: bytes, text: str
) -> None:
    with failing('INVALID_ARGUMENT') as failure:
        client.rpc('Add', serialize=bytes)(data, metadata=KEYED, timeout=20)
    [violation] = failure.details['BadRequest'].field_violations
    assert violation.description == text


def test_an_rpc_that_does_not_exist_is_unimplemented(client: Typed) -> None:
    for service in (SERVICE, f'{SERVICE}s', 'tests.host.typed.shop.v1.CountingService'):
        for rpc in ('Untyped', 'SetLabel', ''):
            call = client.channel.unary_unary(f'/{service}/{rpc}')
            with failing('UNIMPLEMENTED'):
                call(b'', metadata=KEYED, timeout=20)


# --- exceptions ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('name', 'code'),
    [
        ('sold out', 'FAILED_PRECONDITION'),  # not NOT_FOUND, which a base class says
        ('for ever', 'FAILED_PRECONDITION'),  # derived from it
        ('key', 'OUT_OF_RANGE'),  # inherited
        ('strange', 'UNKNOWN'),
        ('not implemented', 'UNIMPLEMENTED'),
        ('of ours', 'UNKNOWN'),
        ('exit', 'UNKNOWN'),
    ],
)
def test_an_exception_of_a_method_has_its_code_at_both_doors(
    client: Typed, shop: Any, name: str, code: str
) -> None:
    error = FAILURES[name]
    with failing(code) as failure:
        client.call('Fail', name)
    with client_of(get_dial_address(shop)) as generic, failing(code) as other:
        generic.call('fail', name)
    assert failure.text == other.text
    assert failure.text.endswith(f'{type(error).__qualname__}: {error}')
    assert failure.info.metadata == other.info.metadata
    assert failure.executed == 'yes'
    assert 'in fail' in failure.details['DebugInfo'].detail
    assert [failure.info.domain, other.info.domain] == [SERVICE, 'uactor.v1.ActorService']


def test_python_callers_get_the_exception_itself(shop: Any) -> None:
    with pytest.raises(SoldOut, match='none left'):
        shop.fail('sold out')


def test_a_long_traceback_still_has_its_code_and_fits_the_trailers(client: Typed) -> None:
    with failing('UNKNOWN') as failure:
        client.call('Deep', 500)
    assert failure.info.metadata['py_type'] == 'tests.host.typed.shop.Strange'
    assert len(failure.text) <= 1024
    assert ' … ' in failure.details['DebugInfo'].detail
    data = failure.trailers['grpc-status-details-bin']
    assert len(data) <= 4096
    assert status_pb2.Status.FromString(data).code == 2


def test_a_result_that_does_not_fit_is_the_actors_fault(client: Typed) -> None:
    with failing('INTERNAL') as failure:
        client.call('Wrong')
    assert "result[1]: 'two' (str) is not an int" in failure.text
    assert failure.executed == 'yes'


class Small(Actor):
    """Takes and sends small messages only."""

    _options_ = {**Actor._options_, 'max_message_size': 10_000}

    def size(self, data: bytes) -> int:
        return len(data)

    def blob(self, size: int) -> bytes:
        return bytes(size)


def test_a_message_that_is_too_large_is_resource_exhausted() -> None:
    with Small() as actor, create_typed_client(actor, Small) as client:
        for rpc, argument in (('Size', bytes(20_000)), ('Blob', 20_000)):
            for _ in range(2):
                with failing('RESOURCE_EXHAUSTED'):
                    client.call(rpc, argument)
        assert client.call('Size', b'a') == 1


class Dying(Actor):
    def die(self) -> None:
        os._exit(1)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


@pytest.mark.filterwarnings('ignore')
def test_a_deadline_and_a_death_have_their_codes() -> None:
    actor: Any = Dying()
    with create_typed_client(actor, Dying) as client:
        request = client.schema.methods['Wait'].request_class(seconds=0.5)
        with failing('DEADLINE_EXCEEDED'):
            client.rpc('Wait')(request, metadata=KEYED, timeout=0.1)
        with failing('UNAVAILABLE'):  # what gRPC says of a connection that breaks
            client.call('Die')


def test_while_it_is_constructed_an_actor_is_unavailable() -> None:
    class Reflexive(Actor):
        def __init__(self) -> None:
            with (
                create_typed_client(_Here(), Reflexive) as client,
                failing('UNAVAILABLE') as failure,
            ):
                client.call('Five')
            self.told = failure.executed

        def five(self) -> int:
            return 5

        def told_so(self) -> str:
            return self.told

    class _Here:
        @property
        def connection_address(self) -> Any:
            return get_own_host().connection.actor.address

    with Reflexive() as actor:
        assert actor.told_so() == 'no'


# --- declared codes ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('errors', 'text'),
    [
        ({ValueError: 'OK'}, "'OK' of ValueError is no status code"),
        ({ValueError: 'not_found'}, "'not_found' of ValueError"),
        ({ValueError: 5}, '5 of ValueError'),
        ({'ValueError': 'NOT_FOUND'}, "'ValueError' is not an exception class"),
        ({int: 'NOT_FOUND'}, "<class 'int'> is not an exception class"),
    ],
)
def test_declared_codes_are_checked_when_the_class_is_defined(errors: Any, text: str) -> None:
    with pytest.raises(TypeError, match=text):
        type('Declaring', (uactor.Actor,), {'_errors_': errors})


def test_every_code_can_be_declared() -> None:
    assert set(STATUS_CODES) == {code.name for code in grpc.StatusCode} - {'OK'}
    for code in STATUS_CODES:
        type('Declaring', (uactor.Actor,), {'_errors_': {ValueError: code}})


# --- the lock file -------------------------------------------------------------------------------

MODULE = '''
import uactor
from tests.support import Actor

class Locked(Actor):
    """Has a lock beside it."""
    def first(self, a: int, b: int) -> int:
        return a - b
'''


@pytest.fixture
def module(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Returns a module with an actor, from a folder where a lock may be put beside it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'locked_shop.py').write_text(MODULE)
    importlib.invalidate_caches()
    yield importlib.import_module('locked_shop')
    del sys.modules['locked_shop']


def describe(actor: Any) -> Any:
    with client_of(get_dial_address(actor)) as generic:
        return generic.rpc('Describe').typed_service


def test_without_a_lock_numbers_follow_the_declaration(module: Any) -> None:
    with module.Locked() as actor, create_typed_client(actor, module.Locked) as client:
        assert client.call('First', 5, 3) == 2
        found = describe(actor)
    assert (found.name, found.locked, found.error) == ('locked_shop.v1.LockedService', False, '')


def lock_of(actor_class: type) -> Any:
    return schema_of(actor_class).lock


def test_a_running_actor_has_the_numbers_of_the_lock_beside_its_module(
    module: Any, tmp_path: Any
) -> None:
    text = lock_of(module.Locked).dump().replace('"number": 2', '"number": 9')
    text = text.replace('"next": 3', '"next": 10')
    (tmp_path / 'locked_shop.actors.lock.json').write_text(text)
    schema = schema_of(module.Locked, Lock.parse(text))
    with module.Locked() as actor:
        found = describe(actor)
        assert found.locked
        assert found.fingerprint == schema.fingerprint
        with create_typed_client(actor, module.Locked) as client:
            client.schema = schema
            assert client.call('First', 5, 3) == 2
            numbers = {field.name: field.number for field in schema.file.message_type[0].field}
            assert numbers == {'a': 1, 'b': 9}


def test_a_broken_lock_leaves_the_actor_its_generic_service(module: Any, tmp_path: Any) -> None:
    (tmp_path / 'locked_shop.actors.lock.json').write_text('{"version": 1')
    with module.Locked() as actor, create_typed_client(actor, module.Locked) as client:
        assert actor.first(5, 3) == 2
        for _ in range(2):
            with failing('FAILED_PRECONDITION') as failure:
                client.call('First', 5, 3)
            assert 'is not a lock file of uactor' in failure.text
        assert 'is not a lock file of uactor' in describe(actor).error
        grpcurl = Grpcurl(get_dial_address(actor), 'grpc.health.v1.Health')
        assert 'locked_shop' not in grpcurl.run('list').stdout
        health = grpcurl.rpc('Check', service='locked_shop.v1.LockedService')
        assert health == {'status': 'NOT_SERVING'}
        assert grpcurl.rpc('Check') == {'status': 'SERVING'}


def test_an_incomplete_lock_is_an_error(
    module: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    text = lock_of(module.Locked).dump()
    (tmp_path / 'locked_shop.actors.lock.json').write_text(text)
    module.Locked.first.__annotations__['b'] = float
    service = TypedService(module.Locked, lambda: None)
    found = service.schema()
    assert found is not None
    assert not found.is_locked
    [record] = caplog.records
    assert record.levelname == 'WARNING'
    assert 'does not have all of locked_shop.v1.LockedService' in record.getMessage()


# --- what the log says ---------------------------------------------------------------------------


def test_the_log_names_once_what_is_not_mapped(caplog: pytest.LogCaptureFixture) -> None:
    service = TypedService(Shop, lambda: None)
    with caplog.at_level(logging.INFO, 'uactor'):
        service.files()
        service.files()
    assert [record.getMessage() for record in caplog.records] == [f'not in {SERVICE}: untyped']


def test_health_knows_what_was_found_before_there_was_a_server(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
    def prepare(self) -> bool:
        from uactor.core import current_host
        return current_host.host.typed_service.schema() is None
"""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'late_shop.py').write_text(MODULE + source)
    (tmp_path / 'late_shop.actors.lock.json').write_text('{"version": 1')
    importlib.invalidate_caches()
    module = importlib.import_module('late_shop')
    try:
        with module.Locked() as actor:
            assert actor.prepare()
            grpcurl = Grpcurl(get_dial_address(actor), 'grpc.health.v1.Health')
            health = grpcurl.rpc('Check', service='late_shop.v1.LockedService')
            assert health == {'status': 'NOT_SERVING'}
    finally:
        del sys.modules['late_shop']
