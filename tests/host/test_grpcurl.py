"""All that an actor does can be done from a terminal, with grpcurl or with buf curl."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.support import Actor
from tests.support.rpc import get_dial_address
from tests.support.terminal import HEADER, WRONG, BufCurl, Grpcurl, parse_json_values, run
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]

RPCS = [method.name for method in pb.DESCRIPTOR.services_by_name['ActorService'].methods]
ROOT = Path(__file__).parents[2]
SERVICE = 'uactor.v1.ActorService'
HEALTH = 'grpc.health.v1.Health'
UNKNOWN, INVALID_ARGUMENT, NOT_FOUND, UNIMPLEMENTED, UNAUTHENTICATED = 2, 3, 5, 12, 16
SERVICES = [
    HEALTH,
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
    'tests.host.test_grpcurl.v1.LedgerService',
    SERVICE,
]


class Ledger(Actor):
    """Keeps accounts."""

    _exposed_ = ('limit', 'post', 'entries', 'total', 'mean', 'each', 'closed')
    _method_to_typeid_ = {'entries': 'list'}

    def __init__(self) -> None:
        self.limit = 100
        self._entries: list[int] = []
        self._closed = threading.Event()

    def post(self, amount: int, *, note: str = '') -> int:
        """Add an amount."""
        if amount > self.limit:
            raise ValueError(f'{amount} is more than {self.limit}')
        self._entries.append(amount)
        return sum(self._entries)

    def entries(self) -> list[int]:
        return self._entries

    def total(self, numbers: list[int]) -> int:
        return sum(numbers)

    def mean(self) -> Fraction:
        return Fraction(7, 2)

    def each(self, step: int) -> Iterator[int]:
        try:
            while True:
                yield step
        finally:
            self._closed.set()

    def closed(self) -> bool:
        return self._closed.wait(10)


@pytest.fixture(scope='module')
def actor() -> Iterator[Any]:
    with Ledger() as actor:
        yield actor


@pytest.fixture
def address(actor: Any) -> str:
    return get_dial_address(actor)


# --- grpcurl -------------------------------------------------------------------------------------


@pytest.fixture
def grpcurl(address: str) -> Grpcurl:
    return Grpcurl(address)


def test_grpcurl_lists_and_describes_the_services(grpcurl: Grpcurl) -> None:
    assert grpcurl.run('list').stdout.split() == SERVICES
    described = grpcurl.run('describe', SERVICE).stdout
    assert '// ActorService reaches the actor of this process' in described
    assert '// Call runs a method and returns its result.\n  rpc Call (' in described
    assert 'rpc Call (' in grpcurl.run('describe', f'{SERVICE}.Call').stdout
    message = grpcurl.run('describe', 'uactor.v1.CallRequest').stdout
    assert '  // Name of the method.\n  string method = 2;' in message
    for name in ('uactor.v1.Executed', 'google.protobuf.Duration', *SERVICES):
        assert f'{name} is a' in grpcurl.run('describe', name).stdout


def test_grpcurl_describes_the_actor(grpcurl: Grpcurl, address: str) -> None:
    found = grpcurl.rpc('Describe')
    assert found['className'] == 'tests.host.test_grpcurl.Ledger'
    assert found['doc'] == 'Keeps accounts.'
    assert found['handle']['address'] == address
    [post] = [method for method in found['methods'] if method['name'] == 'post']
    assert post['signature'] == "(amount: int, *, note: str = '') -> int"
    assert {'name': 'limit'} in found['attributes']


def test_grpcurl_calls_a_method_with_native_values(grpcurl: Grpcurl) -> None:
    note = {'note': {'string': 'refund'}}
    before = grpcurl.rpc('Call', method='post', args=[{'int64': 0}], kwargs=note)
    after = grpcurl.rpc('Call', method='post', args=[{'int64': -3}])
    assert int(after['result']['int64']) == int(before['result']['int64']) - 3


def test_grpcurl_reads_and_sets_an_attribute(grpcurl: Grpcurl) -> None:
    assert grpcurl.rpc('SetAttribute', name='limit', value={'double': 99.5}) == {}
    assert grpcurl.rpc('GetAttribute', name='limit') == {'value': {'double': 99.5}}


def test_grpcurl_creates_a_handle_calls_into_it_and_releases_it(grpcurl: Grpcurl) -> None:
    items = {'list': {'items': [{'string': 'a'}, {'null': 'NULL_VALUE'}]}}
    handle = grpcurl.rpc('CreateHandle', typeid='list', args=[items], lease='60s')['handle']
    assert (handle['typeid'], handle['repr']) == ('list', "['a', None]")
    grpcurl.rpc('Call', handle=handle['id'], method='append', args=[{'bytes': 'YQ=='}])
    popped = grpcurl.rpc('Call', handle=handle['id'], method='pop')
    assert popped == {'result': {'bytes': 'YQ=='}}
    grpcurl.rpc('RetainHandle', handles=[handle['id']])
    listed = grpcurl.rpc('ListHandles')['handles']
    assert [info['holds'] for info in listed if info['handle']['id'] == handle['id']] == [2]
    grpcurl.rpc('ReleaseHandle', handles=[handle['id']] * 2)
    code, text = grpcurl.failure('Call', handle=handle['id'], method='copy')
    assert code == NOT_FOUND
    assert 'its last holder has released it' in text


def test_grpcurl_gets_a_handle_for_what_it_cannot_read(grpcurl: Grpcurl) -> None:
    handle = grpcurl.rpc('Call', method='mean')['result']['handle']
    assert handle['repr'] == 'Fraction(7, 2)'
    ratio = grpcurl.rpc('Call', handle=handle['id'], method='as_integer_ratio')['result']
    assert ratio == {'list': {'items': [{'int64': '7'}, {'int64': '2'}]}}


def test_grpcurl_passes_a_handle_as_an_argument(grpcurl: Grpcurl) -> None:
    entries = grpcurl.rpc('Call', method='entries')['result']['handle']
    assert entries['typeid'] == 'list'
    found = grpcurl.rpc('Call', method='total', args=[{'handle': {'id': entries['id']}}])
    posted = grpcurl.rpc('Call', method='post', args=[{'int64': 0}])
    assert found == posted


def test_grpcurl_shows_the_details_of_a_failure(grpcurl: Grpcurl) -> None:
    code, text = grpcurl.failure('Call', method='post', args=[{'int64': 1000}])
    assert code == UNKNOWN
    assert 'Message: ValueError: 1000 is more than' in text
    assert '"executed": "yes"' in text
    assert '"@type": "type.googleapis.com/google.rpc.DebugInfo"' in text
    assert 'in post' in text
    code, text = grpcurl.failure('Call', method='post')
    assert code == INVALID_ARGUMENT
    assert '"field": "args"' in text
    assert grpcurl.failure('Call', method='_entries')[0] == UNIMPLEMENTED


def test_grpcurl_streams_a_generator_which_is_closed_when_it_leaves(grpcurl: Grpcurl) -> None:
    request = {'call': {'method': 'each', 'args': [{'int64': 5}]}}
    words = grpcurl.words('-d', json.dumps(request))
    with subprocess.Popen(
        [*words, f'{SERVICE}/CallStream'], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        first = [next(process.stdout) for _ in range(5)]
        process.terminate()
        process.stdout.close()
    assert json.loads(''.join(first)) == {'item': {'int64': '5'}}
    assert grpcurl.rpc('Call', method='closed') == {'result': {'bool': True}}


def test_grpcurl_holds_a_session(grpcurl: Grpcurl) -> None:
    lock = grpcurl.rpc('CreateHandle', typeid='RLock')['handle']['id']
    requests: list[dict[str, Any]] = [
        {'id': 1, 'hello': {'protocol_version': 1, 'nonce': 'AAAA'}},
        {'id': 2, 'call': {'handle': lock, 'method': 'acquire'}},
        {'id': 3, 'call': {'handle': lock, 'method': 'release'}},
        {'id': 4, 'goodbye': {}},
    ]
    stdin = ''.join(map(json.dumps, requests))
    done = run(*grpcurl.words('-d', '@'), f'{SERVICE}/Session', stdin=stdin)
    assert done.returncode == 0, done.stderr
    welcome, acquired, released = parse_json_values(done.stdout)
    assert welcome['welcome']['actor']['typeid'] == 'actor'
    assert acquired == {'id': '2', 'result': {'bool': True}}
    assert list(released['result']) == ['null']


def test_grpcurl_checks_health_without_the_authkey(grpcurl: Grpcurl) -> None:
    only_reflection = ('-reflect-header', HEADER)
    done = grpcurl.run(f'{HEALTH}/Check', headers=only_reflection)
    assert json.loads(done.stdout) == {'status': 'SERVING'}


@pytest.mark.parametrize('headers', [(), ('-H', WRONG)], ids=['no authkey', 'wrong authkey'])
def test_grpcurl_learns_nothing_without_the_authkey(grpcurl: Grpcurl, headers: Any) -> None:
    for command in ('list', 'describe'):
        done = grpcurl.run(command, headers=headers)
        assert done.returncode != 0
        assert 'Unauthenticated' in done.stderr
        assert not done.stdout


@pytest.mark.parametrize('rpc', [name for name in RPCS if name != 'Session'])
def test_grpcurl_can_do_nothing_without_the_authkey(grpcurl: Grpcurl, rpc: str) -> None:
    wrong = ('-reflect-header', HEADER, '-rpc-header', WRONG)
    done = grpcurl.run(f'{SERVICE}/{rpc}', headers=wrong)
    assert done.returncode == 64 + UNAUTHENTICATED, done.stderr


def test_grpcurl_ends_an_actor() -> None:
    actor: Any = Ledger()
    process = actor._manager.process
    assert Grpcurl(get_dial_address(actor)).rpc('Shutdown') == {}
    process.join(5)
    assert process.exitcode == 0


# --- buf curl ------------------------------------------------------------------------------------


@pytest.fixture
def buf_curl(address: str) -> BufCurl:
    return BufCurl(address)


@pytest.mark.parametrize('version', ['grpc-v1', 'grpc-v1alpha'])
def test_buf_curl_works_with_both_versions_of_reflection(buf_curl: BufCurl, version: str) -> None:
    reflection = ('--reflect-header', HEADER, '--reflect-protocol', version)
    assert buf_curl.run('', '--list-services', *reflection).stdout.split() == SERVICES
    posted = buf_curl.rpc('Call', version, method='post', args=[{'int64': 0}])
    assert 'int64' in posted['result']


def test_buf_curl_does_all_that_grpcurl_does(buf_curl: BufCurl) -> None:
    assert buf_curl.rpc('Describe')['doc'] == 'Keeps accounts.'
    assert buf_curl.rpc('SetAttribute', name='limit', value={'int64': 50}) == {}
    assert buf_curl.rpc('GetAttribute', name='limit') == {'value': {'int64': '50'}}
    handle = buf_curl.rpc('CreateHandle', typeid='dict')['handle']['id']
    pair = [{'string': 'a'}, {'string': 'b'}]
    buf_curl.rpc('Call', handle=handle, method='__setitem__', args=pair)
    copy = buf_curl.rpc('Call', handle=handle, method='copy')['result']
    assert copy == {'map': {'entries': [{'key': pair[0], 'value': pair[1]}]}}
    buf_curl.rpc('ReleaseHandle', handles=[handle])
    assert handle not in {info['handle']['id'] for info in buf_curl.rpc('ListHandles')['handles']}


def test_buf_curl_can_do_nothing_without_the_authkey(buf_curl: BufCurl) -> None:
    schema = ('--schema', str(ROOT / 'proto'))
    for headers in ((), ('-H', WRONG)):
        done = buf_curl.run(f'/{SERVICE}/Describe', *schema, *headers)
        assert done.returncode == UNAUTHENTICATED * 8, done.stderr  # as buf has it
        assert json.loads(done.stderr)['code'] == 'unauthenticated'
