"""Typed calls of an actor that runs: arguments, attributes, handles, streams."""

from __future__ import annotations

import os
import queue
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.host.typed.shop import Article, Kind, Shop
from tests.host.typed.support import Typed, create_typed_client
from tests.support import eventually
from tests.support.programs import get_output, run_python
from tests.support.rpc import KEYED, client_of, failing, get_dial_address
from tests.support.terminal import Grpcurl
from uactor.service.schema import schema_of

pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.oldest_python]


@pytest.fixture
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture
def client(shop: Any) -> Iterator[Typed]:
    with create_typed_client(shop, Shop) as client:
        yield client


@pytest.fixture
def grpcurl(shop: Any) -> Grpcurl:
    return Grpcurl(get_dial_address(shop), 'tests.host.typed.shop.v1.ShopService')


# --- calls ---------------------------------------------------------------------------------------


def test_grpcurl_calls_methods_with_plain_json(grpcurl: Grpcurl) -> None:
    toy = {'name': 'dune', 'kind': 'KIND_TOY', 'price': 9.5}
    assert grpcurl.rpc('Stock', article=toy, times=2) == {'result': [toy, toy]}
    totals = grpcurl.rpc('Total', prices={'a': 1, 'b': 0.5}, codes=[{'items': [1, 2]}, {}])
    assert totals == {'result': {'item0': 1.5, 'item1': '3'}}
    assert grpcurl.rpc('Raw', value=[1, {'a': None}]) == {'result': {'it': [1, {'a': None}]}}


def test_an_argument_that_is_absent_has_its_default(client: Typed) -> None:
    assert client.call('Add') == 1
    assert client.call('Add', 0) == 1
    assert client.call('Add', by=5) == 6
    assert client.call('Stock', Article('a')) == [Article('a')]


def test_the_arm_of_a_union_is_what_the_method_gets(client: Typed) -> None:
    for value, name in ((3, 'int'), ('3', 'str'), (Article('a', Kind.TOY), 'Article')):
        assert client.call('Sell', value) == name
    assert client.call('Sell', None) is None
    assert client.call('Sell') is None


def test_variadic_parameters_are_fields(client: Typed) -> None:
    assert client.call('Variadic', 1, 2, a='b') == "(1, 2) {'a': 'b'}"
    assert client.call('Variadic') == '() {}'


def test_attributes_are_read_and_written(client: Typed, shop: Any) -> None:
    assert client.call('GetLabel') == 'ann & co'
    assert client.call('SetOwner', 'bob') is None
    assert (client.call('GetOwner'), shop.owner) == ('bob', 'bob')
    client.call('SetLimit', 7)
    assert client.call('GetLimit') == shop.limit == 7
    assert 'SetLabel' not in client.schema.methods
    with failing('UNKNOWN'):
        client.call('SetOwner', 'nobody')


def test_typed_and_other_callers_share_the_object(client: Typed, shop: Any) -> None:
    with client_of(get_dial_address(shop)) as generic:
        assert [client.call('Add'), shop.add(1), generic.call('add'), client.call('Add')] == [
            *(1, 2, 3, 4)
        ]


def test_calls_run_at_the_same_time(client: Typed) -> None:
    waiting = client.rpc('Wait').future(
        client.schema.methods['Wait'].request_class(), metadata=KEYED, timeout=20
    )
    numbers = iter([1])
    assert client.stream('Collect', numbers) == 1  # which ends the waiting
    waiting.result()


def test_nobody_gets_in_without_the_authkey(client: Typed) -> None:
    request = client.schema.methods['Add'].request_class()
    for _ in range(2):  # before the service is made, and after
        for metadata in (None, [('authorization', 'Bearer wrong')]):
            with failing('UNAUTHENTICATED'):
                client.rpc('Add')(request, metadata=metadata, timeout=20)
        client.call('Add')


# --- handles -------------------------------------------------------------------------------------


def test_a_result_that_stays_is_a_handle_for_all_doors(client: Typed, shop: Any) -> None:
    handle = client.call('Basket')
    assert (handle.typeid, handle.repr, handle.service) == ('list', '[]', '')
    with client_of(get_dial_address(shop)) as generic:
        generic.call('append', 'a', handle=handle.id)
        assert client.call('Size', handle) == 1

        def holds() -> list[tuple[int, int]]:
            listed = generic.rpc('ListHandles').handles
            return [(each.holds, each.clients) for each in listed if each.handle.id == handle.id]

        eventually(lambda: holds() == [(1, 0)])  # the lease, once the argument has gone
        generic.rpc('ReleaseHandle', handles=[handle.id])
    with failing('NOT_FOUND'):
        client.call('Size', handle)
    handle.id = 'beef.1'
    with failing('FAILED_PRECONDITION'):
        client.call('Size', handle)


def test_the_handle_of_an_actor_names_its_typed_service(client: Typed, shop: Any) -> None:
    me = client.call('Me')
    assert me.service == client.schema.service
    assert me.address == get_dial_address(shop)
    assert client.call('First', me) == 'ann & co'
    with Shop() as other:
        other.owner = 'eve'
        with create_typed_client(other, Shop) as there:
            assert client.call('First', there.call('Me')) == 'eve & co'


def test_grpcurl_passes_a_handle_back(grpcurl: Grpcurl) -> None:
    handle = grpcurl.rpc('Basket')['result']
    assert grpcurl.rpc('Size', basket=handle) == {'result': '0'}
    assert grpcurl.rpc('Size', basket={'id': handle['id']}) == {'result': '0'}


# --- streams of the server -----------------------------------------------------------------------


def test_a_generator_is_a_stream(client: Typed, grpcurl: Grpcurl) -> None:
    assert list(client.iterate('Each', 2)) == [Article('number 0'), Article('number 1')]
    assert list(client.iterate('Each', 0)) == []
    articles = grpcurl.stream('Each', {'count': 2})
    assert [each['result']['name'] for each in articles] == ['number 0', 'number 1']


def test_an_exception_of_a_generator_ends_its_stream(client: Typed) -> None:
    found = []
    with failing('FAILED_PRECONDITION') as failure:
        for article in client.iterate('Each', 5):
            found.append(article.name)  # noqa: PERF401  # kept after the error
    assert found == ['number 0', 'number 1', 'number 2']
    assert failure.info.metadata['py_type'] == 'tests.host.typed.shop.SoldOut'


def test_cancelling_closes_the_generator(client: Typed) -> None:
    method = client.schema.methods['Endless']
    stream = client.rpc('Endless')(method.request_class(), metadata=KEYED, timeout=20)
    assert [next(stream).result for _ in range(3)] == [0, 1, 2]
    stream.cancel()
    assert client.call('Closed')


def test_a_killed_client_closes_the_generator(client: Typed, grpcurl: Grpcurl) -> None:
    words = [*grpcurl.words('-d', '{}'), f'{client.schema.service}/Endless']
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.stdout.close()
    assert client.call('Closed')


# --- streams of the client -----------------------------------------------------------------------


def test_an_iterator_is_fed_by_the_client(client: Typed, grpcurl: Grpcurl) -> None:
    assert client.stream('Collect', [1, 2, 3], start=10) == 16
    assert client.stream('Collect', []) == 0
    assert grpcurl.stream('Collect', {'start': 5}, {'numbers': 1}, {'numbers': 0}) == [
        {'result': '6'}
    ]


def test_both_sides_stream_in_turn(client: Typed) -> None:
    asked: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    asked.put('a')
    answers = client.iterate('Pairs', iter(asked.get, None), '!')
    assert next(answers) == 'a!'
    asked.put('b')  # only now: nothing waits for the end of the stream
    assert next(answers) == 'b!'
    asked.put(None)
    assert list(answers) == []


def test_a_client_that_goes_ends_the_iterator_with_an_error(client: Typed, shop: Any) -> None:
    """Otherwise a method would take half of an upload for all of it."""
    method = client.schema.methods['Upload']
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    requests.put(method.request_class(parts='a'))
    call = client.rpc('Upload')(iter(requests.get, None), metadata=KEYED, timeout=20)
    assert next(call).result == 1
    call.cancel()
    assert client.call('Closed')
    assert not client.call('GetComplete')
    requests.put(None)
    assert list(client.iterate('Upload', iter('ab'))) == [1, 2]
    assert client.call('GetComplete')


def test_a_handle_of_something_else_does_not_fit(client: Typed) -> None:
    with failing('INVALID_ARGUMENT') as failure:
        client.call('First', client.call('Basket'))
    assert failure.fields == ['shop']
    assert 'a handle to a ListProxy, not to a Shop' in failure.text


def test_an_item_that_does_not_fit_is_the_clients_fault(client: Typed) -> None:
    request = client.schema.methods['Collect'].request_class
    for second, field in ((request(), 'numbers'), (request(numbers=1, start=1), 'start')):
        with failing('INVALID_ARGUMENT') as failure:
            client.rpc('Collect')(iter([request(numbers=1), second]), metadata=KEYED, timeout=20)
        assert failure.fields == [field]
        assert failure.executed == 'yes'


# --- coroutines ----------------------------------------------------------------------------------


def test_coroutines_and_asynchronous_iterators_run_to_their_end(client: Typed) -> None:
    assert client.call('Shout', 'a') == 'A'
    assert client.stream('Later', [1, 2]) == 3
    assert list(client.iterate('Ticks', 3)) == [0, 1, 2]
    assert list(client.iterate('Gather', iter([1, 2]))) == [-1, -2]
    with failing('FAILED_PRECONDITION') as failure:
        client.call('Shout', '')
    assert failure.executed == 'yes'


def test_cancelling_closes_an_asynchronous_generator(client: Typed) -> None:
    request = client.schema.methods['Ticks'].request_class(count=10**9)
    stream = client.rpc('Ticks')(request, metadata=KEYED, timeout=20)
    next(stream)
    stream.cancel()
    assert client.call('Closed')


# --- what it does without ------------------------------------------------------------------------


def forbidden(*args: Any, **kwargs: Any) -> Any:
    raise AssertionError('something is unpickled')


class Wary(Shop):
    """Can't unpickle anything once it has been told so."""

    _exposed_ = ('forbid',)  # type: ignore[assignment]

    def forbid(self) -> bool:
        import pickle

        import cloudpickle

        from uactor.codec import pickling

        modules: list[Any] = [pickle, cloudpickle, pickling]
        for module in modules:
            module.loads = forbidden
        pickle.load = pickle.Unpickler = forbidden  # type: ignore[assignment, misc]
        return True

    def shutdown(self) -> None:
        os._exit(0)  # its owner can't ask it any more


def test_typed_calls_never_unpickle_anything() -> None:
    actor: Any = Wary()
    with create_typed_client(actor, Wary) as client, client_of(get_dial_address(actor)) as generic:
        assert client.call('Forbid')
        with failing('INVALID_ARGUMENT') as failure:
            generic.rpc('Call', method='add', arguments={'data': b'\x80\x05)}\x86.'})
        assert 'something is unpickled' in failure.text
        test_an_argument_that_is_absent_has_its_default(client)
        test_the_arm_of_a_union_is_what_the_method_gets(client)
        assert client.call('First', client.call('Me')) == 'ann & co'
        assert client.call('Size', client.call('Basket')) == 0
        assert list(client.iterate('Pairs', iter('ab'), '!')) == ['a!', 'b!']
        test_coroutines_and_asynchronous_iterators_run_to_their_end(client)
        with failing('UNKNOWN'):
            client.call('Fail', 'strange')
        with failing('UNAVAILABLE'):
            generic.rpc('Shutdown')


# --- classes that are nowhere but in a script ----------------------------------------------------

SCRIPT = """
from __future__ import annotations

import dataclasses
import enum
import multiprocessing
from typing import Annotated, NamedTuple, Optional, TypedDict

import grpc

import uactor
from uactor.v1 import actor_pb2 as pb, actor_pb2_grpc

Ids = list[int]


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Leaf:
    color: Color


@dataclasses.dataclass
class Tree:
    leaf: Leaf
    children: list[Tree] = dataclasses.field(default_factory=list)


class Wood(TypedDict):
    trees: list[Tree]


class Pair(NamedTuple):
    left: Leaf
    right: Optional['Pair'] = None


class Forest(uactor.Actor):
    _exposed_ = ('ids', 'plant', 'pair', 'top', 'lost')
    ids: Ids

    def plant(self, tree: Tree, *, wood: Wood | None = None) -> Tree:
        return tree

    def pair(self, pair: Pair, number: Annotated[int, uactor.UInt32] = 1) -> dict[str, Pair]:
        return {'it': pair}

    @property
    def top(self) -> Leaf:
        return Leaf(Color.RED)

    def lost(self, what: Missing) -> None:
        pass


with Forest() as forest:
    address = forest.connection_address
    channel = grpc.insecure_channel(address if isinstance(address, str) else '%s:%d' % address)
    key = uactor.call_metadata(multiprocessing.current_process().authkey)
    stub = actor_pb2_grpc.ActorServiceStub(channel)
    found = stub.Describe(pb.DescribeRequest(), metadata=key)
    print(*(method.rpc for method in found.methods if method.rpc))
    print(*(attribute.get_rpc for attribute in found.attributes))
    print(*(member.name for member in found.typed_service.unmapped))
    print(found.typed_service.name)
"""
EXPECTED = 'Pair Plant\nGetIds GetTop\nlost\nmain.v1.ForestService\n'


def as_script(directory: Any) -> str:
    (directory / 'forest.py').write_text(SCRIPT)
    return get_output(run_python(str(directory / 'forest.py')))


@pytest.mark.parametrize(
    'run',
    [
        as_script,
        lambda directory: get_output(run_python('-c', SCRIPT)),
        lambda directory: get_output(run_python('-', stdin=SCRIPT)),
    ],
    ids=['script', 'command', 'stdin'],
)
def test_annotations_of_a_script_are_known_in_the_actor(
    run: Callable[[Any], str], tmp_path: Any
) -> None:
    assert run(tmp_path) == EXPECTED


def test_an_annotation_that_can_not_be_pickled_does_no_harm() -> None:
    program = """
from __future__ import annotations
import threading
import uactor
lock = threading.Lock()
class Odd(uactor.Actor):
    def call(self, value: lock) -> int:
        return 5
print(Odd().call(1))
"""
    assert get_output(run_python('-c', program)) == '5\n'


def test_the_schema_here_is_the_one_there(client: Typed, shop: Any) -> None:
    with client_of(get_dial_address(shop)) as generic:
        described = generic.rpc('Describe').typed_service
    assert described.fingerprint == schema_of(Shop).fingerprint
    unmapped = {member.name: member.reason for member in described.unmapped}
    assert unmapped == client.schema.unmapped
    assert list(unmapped) == ['untyped']
