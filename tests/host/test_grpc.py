"""All that an actor does can be done by any gRPC client: ActorService without the library."""

from __future__ import annotations

import base64
import contextlib
import hmac
import itertools
import os
import pickle
import queue
import socket
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

import uactor
from tests.support import TRANSPORT, Actor, count_waiters, eventually, get_own_host
from tests.support.rpc import (
    KEY,
    KEYED,
    Client,
    call_request,
    client_of,
    failing,
    get_dial_address,
    native,
    plain,
)
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]

SERVICE = '/uactor.v1.ActorService/'
RPCS = [method.name for method in pb.DESCRIPTOR.services_by_name['ActorService'].methods]
WRONG = uactor.call_metadata(b'another key')


class Sealed:
    """What has no native form."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return f'<sealed {self._text}>'

    def opened(self) -> str:
        return self._text


class Waiting(uactor.Actor):
    """Knows who waits."""

    _method_to_typeid_ = {'queue': 'Queue'}

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()
        self._asleep = threading.Event()

    def queue(self) -> Any:
        return self._queue

    def waiters(self) -> int:
        return count_waiters(self._queue.not_empty)

    def sleep(self) -> Any:
        self._asleep.set()
        return threading.Event().wait()

    def wait_until_asleep(self) -> bool:
        return self._asleep.wait(10)


class Store(Actor):
    """Keeps things.

    And gives them away.
    """

    _exposed_ = ('label', 'limit', 'hidden_by_a_property')
    _method_to_typeid_ = {'things': 'list'}

    def __init__(self) -> None:
        super().__init__()
        self.label = 'store'
        self.secret = 'not exposed'
        self._limit = 10
        self._things: list[Any] = []
        self._closed = threading.Event()

    @property
    def limit(self) -> int:
        """How many things there may be."""
        return self._limit

    @limit.setter
    def limit(self, value: int) -> None:
        if value < 0:
            raise ValueError('a limit is positive')
        self._limit = value

    @property
    def hidden_by_a_property(self) -> Any:
        raise ConnectionError('out of reach')


class Methods(Store, Waiting):
    """Keeps things, and has methods."""

    _exposed_ = None  # type: ignore[assignment]

    def echo(self, value: Any) -> Any:
        return value

    def keep(self, thing: str, /, times: int = 1, *, loud: bool = False) -> list[str]:
        """Keep a thing."""
        self._things += [thing.upper() if loud else thing] * times
        return list(self._things)

    def things(self) -> list[Any]:
        return self._things

    def tuple_keys(self, table: dict[Any, Any]) -> list[str]:
        return [type(key).__name__ for key in table]

    def power(self, base: int, exponent: int) -> int:
        return base**exponent

    def sealed(self, text: str) -> Sealed:
        return Sealed(text)

    def numbers(self) -> Iterator[int]:
        return iter([1, 2])

    def an_event(self) -> Any:
        return uactor.proxy(threading.Event(), 'Event')

    def total(self, numbers: Any) -> int:
        return sum(numbers)

    def count(self) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            self._closed.set()

    def wait_until_closed(self) -> bool:
        return self._closed.wait(10)

    def stumble(self) -> Iterator[int]:
        yield 1
        raise LookupError('no second one')

    def fail(self, name: str, text: str) -> None:
        raise ERRORS[name](text)

    def fail_deep(self, depth: int, text: str) -> None:
        if not depth:
            raise ValueError(text)
        self.fail_deep(depth - 1, text)

    def unfinished(self) -> None:
        raise NotImplementedError('come back later')

    def call_a_dead_actor(self) -> None:
        raise uactor.ActorDiedError('another actor', 'no')

    def unspeakable(self) -> Any:
        return uactor.proxy(self.sealed('x'), 'no such typeid')


class Verbose(Exception): ...


Verbose.__qualname__ = 'Name' * 1000
ERRORS = {'ValueError': ValueError, 'SystemExit': SystemExit, 'Verbose': Verbose}


@pytest.fixture(scope='module')
def actor() -> Iterator[Any]:
    with Methods() as actor:
        yield actor


@pytest.fixture(scope='module')
def client(actor: Any) -> Iterator[Client]:
    with client_of(get_dial_address(actor)) as client:
        yield client


@pytest.fixture(scope='module')
def other() -> Iterator[Any]:
    with Methods() as actor:
        yield actor


# --- calls ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'value',
    [
        None,
        False,
        True,
        0,
        2**63 - 1,
        -(2**63),
        -0.0,
        float('inf'),
        '',
        'naïve 🦆',
        b'\x00\xff',
        [],
        [1, [None, 'two'], b'3'],
    ],
    ids=repr,
)
def test_native_values_go_there_and_back(client: Client, value: Any) -> None:
    found = client.call('echo', value)
    assert type(found) is type(value)
    assert repr(found) == repr(value)


def test_a_map_keeps_its_order_and_the_types_of_its_keys(client: Client) -> None:
    table = {'b': 1, 2: 'x', b'a': None, True: [1]}
    assert client.call('echo', table) == [('b', 1), (2, 'x'), (b'a', None), (True, [1])]


def test_a_list_as_a_key_is_a_tuple(client: Client) -> None:
    key = native([1, native([2])])
    table = pb.Value(map=pb.MapValue(entries=[pb.MapEntry(key=key, value=native(1))]))
    assert client.call('tuple_keys', table) == ['tuple']


def test_arguments_go_by_position_and_by_keyword(client: Client) -> None:
    before = len(client.call('keep', 'a'))
    assert client.call('keep', 'b', 2, loud=True)[before:] == ['B', 'B']
    assert client.call('keep', 'c', times=1)[before + 2 :] == ['c']


def test_a_value_without_a_native_form_comes_as_a_callable_handle(client: Client) -> None:
    handle = client.call('sealed', 'letter')
    assert handle.repr == '<sealed letter>'
    assert (handle.typeid, list(handle.methods)) == ('auto', ['opened'])
    assert client.call('opened', handle=handle.id) == 'letter'
    assert client.call('power', 2, 64).repr == str(2**64)


def test_parts_of_a_result_come_as_handles_too(client: Client) -> None:
    first, [second] = client.call(
        'echo', [client.call('sealed', 'a'), [client.call('sealed', 'b')]]
    )
    assert [first.repr, second.repr] == ['<sealed a>', '<sealed b>']


def test_an_iterator_comes_as_a_handle_that_can_be_advanced(client: Client) -> None:
    handle = client.call('numbers')
    assert handle.typeid == 'Iterator'
    assert [client.call('__next__', handle=handle.id) for _ in range(2)] == [1, 2]
    with failing('UNKNOWN') as failure:
        client.call('__next__', handle=handle.id)
    assert failure.info.metadata['py_type'] == 'StopIteration'


def test_a_pickle_comes_only_to_who_asks_for_it(client: Client) -> None:
    request = call_request('sealed', 'letter')
    request.accept_pickle = True
    result = client.rpc('Call', request).result
    assert pickle.loads(result.pickle.data).opened() == 'letter'


# --- attributes ----------------------------------------------------------------------------------


def test_attributes_and_properties_are_read_and_set(client: Client) -> None:
    client.set('label', ['a', 1])
    assert client.get('label') == ['a', 1]
    client.set('limit', 11)
    assert client.get('limit') == 11


def test_an_error_of_a_property_is_reported_like_that_of_a_method(client: Client) -> None:
    with failing('UNKNOWN') as failure:
        client.set('limit', -1)
    assert failure.text == 'ValueError: a limit is positive'
    with failing('UNKNOWN') as failure:
        client.get('hidden_by_a_property')
    assert failure.executed == 'yes'


@pytest.mark.parametrize('name', ['secret', '_things', 'keep', '__class__', 'no_such_thing'])
def test_an_attribute_that_is_not_exposed_is_unimplemented(client: Client, name: str) -> None:
    with failing('UNIMPLEMENTED') as failure:
        client.get(name)
    assert failure.executed == 'no'
    with failing('UNIMPLEMENTED'):
        client.set(name, 1)


@pytest.mark.parametrize('name', ['_closed', '__init__', '__reduce__', 'no_such_thing'])
def test_a_method_that_is_not_exposed_is_unimplemented(client: Client, name: str) -> None:
    with failing('UNIMPLEMENTED') as failure:
        client.call(name)
    assert failure.executed == 'no'


def test_an_attribute_cannot_be_called(client: Client) -> None:
    with failing('INVALID_ARGUMENT') as failure:
        client.call('label')
    assert failure.fields == ['method']


# --- descriptions --------------------------------------------------------------------------------


class Undocumented(uactor.Actor):
    pass


def test_the_docstring_of_the_base_describes_no_actor() -> None:
    with Undocumented() as actor, client_of(get_dial_address(actor)) as client:
        assert client.rpc('Describe').doc == ''


def test_describe_tells_what_can_be_called_and_read(client: Client, actor: Any) -> None:
    found = client.rpc('Describe')
    assert found.class_name == 'tests.host.test_grpc.Methods'
    assert found.doc == 'Keeps things, and has methods.'
    assert found.handle.address == get_dial_address(actor)
    methods = {method.name: method for method in found.methods}
    assert methods['keep'].doc == 'Keep a thing.'
    signature = '(thing: str, /, times: int = 1, *, loud: bool = False) -> list[str]'
    assert methods['keep'].signature == signature
    assert methods['things'].typeid == 'list'
    assert {'__enter__', '__exit__', 'shutdown'} < set(methods)
    docs = {attribute.name: attribute.doc for attribute in found.attributes}
    assert docs['limit'] == 'How many things there may be.'
    assert {'label', 'limit'} < set(docs)
    assert {'list', 'Event', 'actor', 'auto'} < set(found.typeids)
    assert (found.protocol_version, found.serializer) == (1, 'cloudpickle')


def test_a_handle_can_be_described(client: Client) -> None:
    handle = client.create('list', [1, 2])
    found = client.rpc('Describe', handle=handle.id)
    assert (found.class_name, found.handle.repr) == ('builtins.list', '[1, 2]')
    assert 'append' in {method.name for method in found.methods}


# --- handles -------------------------------------------------------------------------------------


def test_a_handle_lives_until_its_last_hold_is_released(client: Client) -> None:
    handle = client.create('list', [1])
    client.call('append', 2, handle=handle.id)
    assert client.call('__len__', handle=handle.id) == 2
    client.rpc('RetainHandle', handles=[handle.id])
    client.rpc('ReleaseHandle', handles=[handle.id])
    assert client.call('pop', handle=handle.id) == 2
    client.rpc('ReleaseHandle', handles=[handle.id])
    for use in (
        lambda: client.call('pop', handle=handle.id),
        lambda: client.get('x', handle.id),
        lambda: client.rpc('Describe', handle=handle.id),
        lambda: client.rpc('RetainHandle', handles=[handle.id]),
        lambda: client.rpc('ReleaseHandle', handles=[handle.id]),
        lambda: client.call('echo', handle),
    ):
        with failing('NOT_FOUND') as failure:
            use()
        assert failure.executed == 'no'


def test_a_handle_of_an_earlier_process_differs_from_an_unknown_one(client: Client) -> None:
    with failing('FAILED_PRECONDITION') as failure:
        client.call('pop', handle='0123abcd.1')
    assert failure.info.metadata['py_type'] == 'uactor.errors.StaleHandleError'


def test_list_handles_counts_holds_and_client_processes(client: Client, actor: Any) -> None:
    things = actor.things()  # held by this process
    handle = client.call('things')  # and by nobody in particular
    assert handle.id == things._token.id
    client.rpc('RetainHandle', handles=[handle.id])
    first, *others = client.rpc('ListHandles').handles
    assert first.handle.typeid == 'actor'
    [found] = [info for info in others if info.handle.id == handle.id]
    assert (found.handle.typeid, found.holds, found.clients) == ('list', 3, 1)
    client.rpc('ReleaseHandle', handles=[handle.id, handle.id])


def test_a_leased_handle_expires_and_each_use_renews_its_lease(client: Client) -> None:
    lease = Duration(nanos=700_000_000)
    used, idle = (client.create('list', lease=lease).id for _ in range(2))

    def is_listed(handle: str) -> bool:
        return handle in {info.handle.id for info in client.rpc('ListHandles').handles}

    eventually(lambda: client.call('copy', handle=used) == [] and not is_listed(idle))
    assert client.call('copy', handle=used) == []
    eventually(lambda: not is_listed(used))


def test_proxies_come_as_handles_of_their_typeid(client: Client) -> None:
    assert client.call('things').typeid == 'list'  # declared
    event = client.call('an_event')  # made by the method
    assert event.typeid == 'Event'
    client.call('set', handle=event.id)
    assert client.call('is_set', handle=event.id) is True


def test_the_caller_can_have_a_result_kept_under_a_typeid(client: Client) -> None:
    handle = client.call('echo', [3, 1], typeid='list')
    client.call('sort', handle=handle.id)
    assert client.call('copy', handle=handle.id) == [1, 3]


def test_an_unknown_typeid_is_refused_before_the_method_runs(client: Client) -> None:
    for attempt in (
        lambda: client.call('keep', 'x', typeid='Lost'),
        lambda: client.create('Lost'),
        lambda: client.create('AsyncResult'),  # known, but not to be made
    ):
        with failing('INVALID_ARGUMENT') as failure:
            attempt()
        assert (failure.fields, failure.executed) == (['typeid'], 'no')


def test_a_result_under_two_typeids_is_an_internal_error(client: Client) -> None:
    client.call('things')
    with failing('INTERNAL') as failure:
        client.call('things', typeid='auto')
    assert failure.executed == 'yes'


def test_a_handle_can_be_an_argument(client: Client, other: Any) -> None:
    assert client.call('total', client.create('list', [1, 2])) == 3
    with client_of(get_dial_address(other)) as elsewhere:
        assert client.call('total', elsewhere.create('list', [3, 4])) == 7


# --- streams -------------------------------------------------------------------------------------


def test_a_generator_is_streamed_and_closed_when_the_stream_is_cancelled(client: Client) -> None:
    stream = client.stream('count')
    assert [plain(next(stream).item) for _ in range(3)] == [0, 1, 2]
    stream.cancel()
    assert client.call('wait_until_closed') is True


def test_any_iterable_is_streamed(client: Client) -> None:
    assert [plain(part.item) for part in client.stream('echo', ['a', None])] == ['a', None]
    [part] = client.stream('echo', [client.call('sealed', 'x')])
    assert part.item.handle.repr == '<sealed x>'


def test_the_items_of_a_stream_can_be_kept_under_a_typeid(client: Client) -> None:
    first, second = client.stream('echo', [[1], [2, 3]], typeid='list')
    assert client.call('__len__', handle=first.item.handle.id) == 1
    assert client.call('__len__', handle=second.item.handle.id) == 2


def test_an_error_ends_the_stream_after_what_came_before_it(client: Client) -> None:
    stream = client.stream('stumble')
    assert plain(next(stream).item) == 1
    with failing('UNKNOWN') as failure:
        next(stream)
    assert failure.text == 'LookupError: no second one'


def test_streaming_what_is_not_iterable_is_an_internal_error(client: Client) -> None:
    with failing('INTERNAL') as failure:
        next(client.stream('echo', 1))
    assert failure.executed == 'yes'


# --- failures ------------------------------------------------------------------------------------


def test_an_exception_is_unknown_with_its_class_its_text_and_its_traceback(client: Client) -> None:
    with failing('UNKNOWN') as failure:
        client.call('fail', 'ValueError', 'two\nlines')
    assert failure.text == 'ValueError: two lines'
    assert failure.info.reason == 'UNKNOWN'
    assert failure.info.domain == 'uactor.v1.ActorService'
    assert dict(failure.info.metadata) == {'py_type': 'ValueError', 'executed': 'yes'}
    assert 'in fail' in failure.details['DebugInfo'].detail
    assert 'uactor/host' not in failure.details['DebugInfo'].detail


def test_an_actor_survives_the_exit_that_a_method_asks_for(client: Client) -> None:
    with failing('UNKNOWN') as failure:
        client.call('fail', 'SystemExit', 'out')
    assert failure.text == 'SystemExit: out'


def test_not_implemented_is_unimplemented_and_has_run(client: Client) -> None:
    with failing('UNIMPLEMENTED') as failure:
        client.call('unfinished')
    assert failure.executed == 'yes'


@pytest.mark.parametrize('method', ['call_a_dead_actor', 'unspeakable'])
def test_an_error_of_uactor_in_a_method_invites_nobody_to_try_again(
    client: Client, method: str
) -> None:
    with failing('UNKNOWN') as failure:
        client.call(method)
    assert failure.executed == 'yes'


@pytest.mark.parametrize('letter', ['x', 'ё', '%', '\n'])
def test_the_trailers_of_a_failure_stay_within_4_kib(client: Client, letter: str) -> None:
    text = letter * 65536
    named: dict[str, Any] = {text: 1}
    attempts: list[tuple[str, Callable[[], Any]]] = [
        ('UNKNOWN', lambda: client.call('fail', 'Verbose', text)),
        ('UNKNOWN', lambda: client.call('fail_deep', 200, text)),
        ('INVALID_ARGUMENT', lambda: client.call('keep', 'x', **named)),
    ]
    for code, attempt in attempts:
        with failing(code) as failure:
            attempt()
        assert len(failure.text.encode()) <= 1024
        assert failure.info.reason == code
        assert set(failure.details) == {
            'ErrorInfo',
            'DebugInfo' if code == 'UNKNOWN' else 'BadRequest',
        }
        assert size_on_the_wire(failure) <= 4096


def size_on_the_wire(failure: Any) -> int:
    printable = ''.join(map(chr, range(0x20, 0x7F))).replace('%', '')
    message = urllib.parse.quote(failure.text, safe=printable)
    size = len('grpc-statusgrpc-message') + 2 + len(message)
    for key, value in failure.trailers.items():
        size += len(key) + len(base64.b64encode(value) if key.endswith('-bin') else value)
    return size


UNHASHABLE = pb.Value(
    map=pb.MapValue(entries=[pb.MapEntry(key=native({}), value=native(1))]),
)
GARBLED = pb.Value(pickle=pb.Pickle(data=b'garbled'))


@pytest.mark.parametrize(
    ('args', 'kwargs', 'field', 'text'),
    [
        ((), {}, 'args', "missing a required argument: 'thing'"),
        (('x', 1, True), {}, 'args', 'too many positional arguments'),
        (('x',), {'size': 1}, 'kwargs', "got an unexpected keyword argument 'size'"),
        (('x', UNHASHABLE), {}, 'args[1]', 'cannot be the key'),
        (('x',), {'times': GARBLED}, 'kwargs.times', 'cannot rebuild'),
    ],
    ids=['missing', 'too many', 'unknown', 'unhashable', 'garbled'],
)
def test_arguments_that_do_not_fit_are_refused_before_the_method_runs(
    client: Client, args: Any, kwargs: Any, field: str, text: str
) -> None:
    before = client.call('keep', 'x', 0)
    with failing('INVALID_ARGUMENT') as failure:
        client.call('keep', *args, **kwargs)
    assert failure.fields == [field]
    assert text in failure.text
    assert failure.executed == 'no'
    assert client.call('keep', 'x', 0) == before


def test_constructors_of_handles_refuse_arguments_too(client: Client) -> None:
    with failing('INVALID_ARGUMENT') as failure:
        client.rpc('CreateHandle', typeid='Queue', kwargs={'size': native(1)})
    assert failure.fields == ['kwargs']
    with failing('INVALID_ARGUMENT') as failure:
        client.create('list', lease=Duration(seconds=-1))
    assert failure.fields == ['lease']


def test_a_value_that_cannot_be_decoded_is_not_set(client: Client) -> None:
    before = client.get('limit')
    with failing('INVALID_ARGUMENT') as failure:
        client.set('limit', GARBLED)
    assert (failure.fields, client.get('limit')) == (['value'], before)


class Strict(Actor):
    """Takes no pickles."""

    _options_ = {'serializer': 'native'}

    def echo(self, value: Any) -> Any:
        return value


def test_an_actor_can_refuse_pickles() -> None:
    with Strict() as actor, client_of(get_dial_address(actor)) as client:
        data = pickle.dumps((('x',), {}))
        with failing('INVALID_ARGUMENT') as failure:
            client.rpc('Call', method='echo', arguments=pb.Pickle(data=data), accept_pickle=True)
        assert failure.fields == ['arguments']
        request = call_request('echo', ['x'])
        request.accept_pickle = True
        assert plain(client.rpc('Call', request).result) == ['x']


# --- reflection ----------------------------------------------------------------------------------

ACTOR_FILE, HEALTH_FILE = 'uactor/v1/actor.proto', 'grpc_health/v1/health.proto'


@pytest.fixture(params=['v1', 'v1alpha'])
def reflected(client: Client, request: Any) -> Callable[..., Any]:
    """Asks one version of the reflection service; both have the same messages."""
    path = f'/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo'
    info = client.channel.stream_stream(
        path,
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    def ask(**question: Any) -> reflection_pb2.ServerReflectionResponse:
        asked = reflection_pb2.ServerReflectionRequest(host='here', **question)
        [response] = info(iter([asked]), metadata=KEYED, timeout=20)
        assert (response.valid_host, response.original_request) == ('here', asked)
        return response

    return ask


def files_in(response: Any) -> dict[str, FileDescriptorProto]:
    files = map(
        FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto
    )
    return {file.name: file for file in files}


def test_reflection_lists_all_services_itself_included(reflected: Callable[..., Any]) -> None:
    listed = reflected(list_services='').list_services_response.service
    assert [service.name for service in listed] == [
        'grpc.health.v1.Health',
        'grpc.reflection.v1.ServerReflection',
        'grpc.reflection.v1alpha.ServerReflection',
        'tests.host.test_grpc.v1.MethodsService',
        'uactor.v1.ActorService',
    ]


@pytest.mark.parametrize('rpc', [name for name in RPCS if name != 'Session'])
def test_a_request_that_cannot_be_decoded_is_an_invalid_argument(client: Client, rpc: str) -> None:
    call: Any = client.channel.unary_unary(SERVICE + rpc)
    with failing('INVALID_ARGUMENT') as failure:
        call(b'\xff', metadata=KEYED, timeout=20)
    assert failure.executed == 'no'


@pytest.mark.parametrize(
    'symbol',
    [
        'uactor.v1.ActorService',
        'uactor.v1.ActorService.Call',
        'uactor.v1.CallRequest',
        'uactor.v1.CallRequest.args',
        'uactor.v1.CallRequest.KwargsEntry',
        'uactor.v1.Executed',
    ],
)
def test_reflection_finds_symbols_with_their_comments_and_imports(
    reflected: Callable[..., Any], symbol: str
) -> None:
    files = files_in(reflected(file_containing_symbol=symbol))
    assert set(files) == {ACTOR_FILE, *files[ACTOR_FILE].dependency}
    comments = [place.leading_comments for place in files[ACTOR_FILE].source_code_info.location]
    assert ' Name of the method.\n' in comments


def test_reflection_finds_files_by_their_name(reflected: Callable[..., Any]) -> None:
    assert set(files_in(reflected(file_by_filename=HEALTH_FILE))) == {HEALTH_FILE}


@pytest.mark.parametrize(
    'question',
    [
        {'file_by_filename': 'no/such.proto'},
        {'file_containing_symbol': 'no.such.Symbol'},
        {'all_extension_numbers_of_type': 'uactor.v1.Value'},
    ],
    ids=str,
)
def test_reflection_says_what_it_does_not_know(
    reflected: Callable[..., Any], question: dict[str, str]
) -> None:
    assert reflected(**question).error_response.error_code == 5  # NOT_FOUND


@pytest.mark.parametrize(
    'service', ['grpc.reflection.v1.ServerReflection', 'uactor.v1.ActorService']
)
def test_files_that_reflection_serves_can_be_loaded(
    reflected: Callable[..., Any], service: str
) -> None:
    pool = descriptor_pool.DescriptorPool()
    files = files_in(reflected(file_containing_symbol=service))
    for file in sorted(files.values(), key=lambda file: len(file.dependency)):
        pool.Add(file)
    found = pool.FindServiceByName(service)
    assert found.methods[0].input_type.full_name.startswith(found.file.package)


# --- authkeys ------------------------------------------------------------------------------------

SOME_PATHS = [
    *(SERVICE + name for name in RPCS if name != 'Session'),
    '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo',
    '/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo',
    '/grpc.health.v1.Health/NoSuchMethod',
    SERVICE + 'NoSuchMethod',
    '/no.such.Service/Method',
]


@pytest.mark.parametrize('metadata', [(), WRONG, (('authorization', 'Basic x'),)], ids=repr)
@pytest.mark.parametrize('path', SOME_PATHS)
def test_without_the_authkey_nothing_is_answered(client: Client, path: str, metadata: Any) -> None:
    call: Any = client.channel.unary_unary(path)
    with failing('UNAUTHENTICATED'):
        call(b'', metadata=metadata, timeout=20)
    with failing('UNAUTHENTICATED'):
        stream: Any = client.channel.stream_stream(path)
        next(stream(iter([b'', b'']), metadata=metadata, timeout=20))


def test_a_missing_method_is_unimplemented_for_clients_with_the_authkey(client: Client) -> None:
    call: Any = client.channel.unary_unary('/no.such.Service/Method')
    with failing('UNIMPLEMENTED'):
        call(b'', metadata=KEYED, timeout=20)


def test_padded_base64_is_as_good(client: Client) -> None:
    token = base64.urlsafe_b64encode(KEY).decode()
    client.stub.Describe(
        pb.DescribeRequest(), metadata=(('authorization', f'Bearer {token}'),), timeout=20
    )


# --- health --------------------------------------------------------------------------------------

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_health_needs_no_authkey(client: Client) -> None:
    health: Any = health_pb2_grpc.HealthStub(client.channel)
    for service in ('', 'uactor.v1.ActorService', 'grpc.reflection.v1.ServerReflection'):
        request = health_pb2.HealthCheckRequest(service=service)
        assert health.Check(request, timeout=20).status == SERVING
    with failing('NOT_FOUND'):
        health.Check(health_pb2.HealthCheckRequest(service='no.such.Service'), timeout=20)


def test_health_tells_whether_the_actor_is_there_already_and_still(tmp_path: Path) -> None:
    gate = tmp_path / 'gate'
    os.mkfifo(gate)
    address = free_address(tmp_path)

    class Slow(Waiting):
        _options_ = {'address': address}

        def __init__(self) -> None:
            super().__init__()
            gate.read_text()  # until somebody has written into this pipe

    with ThreadPoolExecutor(3) as threads, client_of(address) as client:
        started = threads.submit(Slow)
        health: Any = health_pb2_grpc.HealthStub(client.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=20, wait_for_ready=True)
        assert next(watch).status == NOT_SERVING
        with failing('UNAVAILABLE') as failure:
            client.call('sleep')
        assert failure.executed == 'no'
        gate.write_text('go on')
        assert next(watch).status == SERVING
        actor: Any = started.result()
        process = actor._manager.process
        waiting = threads.submit(client.call, 'get', handle=client.call('queue').id)
        sleeping = threads.submit(client.call, 'sleep')
        assert client.call('wait_until_asleep')
        eventually(lambda: client.call('waiters') == 1)
        process.terminate()
        assert next(watch).status == NOT_SERVING
        with failing('ABORTED') as failure:
            waiting.result()
        assert failure.executed == 'maybe'
        with failing('UNAVAILABLE'):
            sleeping.result()
        process.join(5)
        assert process.exitcode == 0


def free_address(tmp_path: Path) -> str:
    if TRANSPORT != 'tcp':
        return f'unix:{tmp_path}/s'
    with socket.create_server(('127.0.0.1', 0)) as probe:
        return '127.0.0.1:{}'.format(*probe.getsockname()[1:])


# --- sessions ------------------------------------------------------------------------------------


class Session:
    """One bidirectional stream, spoken by hand."""

    def __init__(self, client: Client, metadata: Any = ()) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._responses = client.stub.Session(
            iter(self._requests.get, None), metadata=metadata, timeout=20
        )
        self._number = 0

    def send(self, **kind: Any) -> int:
        self._number += 1
        self._requests.put(pb.SessionRequest(id=self._number, **kind))
        return self._number

    def ask(self, **kind: Any) -> pb.SessionResponse:
        number = self.send(**kind)
        response: pb.SessionResponse = next(self._responses)
        assert response.id == number
        return response

    def hello(self, version: int = 1) -> pb.Welcome:
        hello = pb.Hello(protocol_version=version, client_id='by hand', nonce=b'n' * 16)
        return self.ask(hello=hello).welcome

    def call(self, method: str, *args: Any, handle: str = '') -> Any:
        response = self.ask(call=call_request(method, *args, handle=handle))
        return plain(response.result) if response.HasField('result') else response.failure

    def leave(self) -> None:
        self.send(goodbye=pb.Goodbye())
        self._requests.put(None)
        assert list(self._responses) == []


def proof(key: bytes, role: bytes, theirs: bytes, ours: bytes) -> bytes:
    return hmac.digest(key, b'uactor/1 ' + role + theirs + ours, 'sha256')


def test_a_session_with_the_authkey_in_its_metadata_needs_no_proof(client: Client) -> None:
    session = Session(client, KEYED)
    welcome = session.hello()
    assert (welcome.protocol_version, welcome.actor.typeid) == (1, 'actor')
    assert session.call('echo', [1, 'two']) == [1, 'two']
    session.leave()


def test_a_session_proves_by_challenge_that_both_sides_know_the_authkey(client: Client) -> None:
    session = Session(client)
    welcome = session.hello()
    assert welcome.proof == proof(KEY, b'host', b'n' * 16, welcome.nonce)
    session.send(proof=pb.Proof(proof=proof(KEY, b'client', welcome.nonce, b'n' * 16)))
    assert session.call('echo', 1) == 1
    session.leave()


@pytest.mark.parametrize('metadata', [(), WRONG], ids=['none', 'wrong'])
@pytest.mark.parametrize('key', [b'', b'another key'], ids=['no proof', 'wrong proof'])
def test_a_session_without_the_authkey_ends_before_its_first_request(
    client: Client, metadata: Any, key: bytes
) -> None:
    session = Session(client, metadata)
    welcome = session.hello()
    if key:
        wrong = proof(key, b'client', welcome.nonce, b'n' * 16)
        session.send(proof=pb.Proof(proof=wrong))
    with failing('UNAUTHENTICATED'):
        session.call('echo', 1)


def test_a_session_begins_with_hello_in_the_same_version(client: Client) -> None:
    with failing('FAILED_PRECONDITION'):
        Session(client, KEYED).call('echo', 1)
    with failing('FAILED_PRECONDITION') as failure:
        Session(client, KEYED).hello(version=2)
    assert 'protocol 1, not 2' in failure.text


def test_a_session_does_all_that_unary_calls_do(client: Client) -> None:
    session = Session(client, KEYED)
    session.hello()
    made = session.ask(create_handle=pb.CreateHandleRequest(typeid='list')).result.handle
    assert session.call('append', 'x', handle=made.id) is None
    retained = session.ask(retain_handle=pb.RetainHandleRequest(handles=[made.id], as_lease=True))
    assert retained.retained.lease_id
    session.ask(set_attribute=pb.SetAttributeRequest(name='limit', value=native(3)))
    read = session.ask(get_attribute=pb.GetAttributeRequest(name='limit'), releases=[made.id])
    assert plain(read.result) == 3
    failure = session.call('fail', 'ValueError', 'text')
    assert (failure.type_name, failure.message) == ('ValueError', 'text')
    assert (failure.executed, failure.HasField('pickle')) == (pb.EXECUTED_YES, False)
    assert 'in fail' in failure.traceback
    assert session.call('nothing').executed == pb.EXECUTED_NO
    session.leave()


@pytest.mark.parametrize('typeid', ['RLock', 'Condition'])
def test_thread_owned_locks_work_in_a_session_and_are_refused_elsewhere(
    client: Client, typeid: str
) -> None:
    lock = client.create(typeid).id
    with failing('FAILED_PRECONDITION') as failure:
        client.call('acquire', handle=lock)
    assert 'Session' in failure.text
    assert failure.executed == 'no'
    first, second = Session(client, KEYED), Session(client, KEYED)
    first.hello()
    second.hello()
    assert [first.call('acquire', handle=lock) for _ in range(2)] == [True, True]
    assert second.call('acquire', False, handle=lock) is False
    assert [first.call('release', handle=lock) for _ in range(2)] == [None, None]
    assert second.call('acquire', False, handle=lock) is True
    for session in (first, second):
        session.leave()


def test_other_locks_work_everywhere(client: Client) -> None:
    lock = client.create('Lock').id
    assert client.call('acquire', handle=lock) is True
    assert client.call('acquire', False, handle=lock) is False
    client.call('release', handle=lock)


def test_a_cancelled_call_takes_nothing(client: Client) -> None:
    handle = client.call('queue').id
    request = call_request('get', handle=handle)
    waiting = client.stub.Call.future(request, metadata=KEYED, timeout=20)
    eventually(lambda: client.call('waiters') == 1)
    waiting.cancel()
    client.call('put', 'item', handle=handle)
    assert client.call('get', handle=handle) == 'item'


# --- the beginning -------------------------------------------------------------------------------


class Quiet(Actor):
    def serves_grpc(self) -> bool:
        """Tell whether gRPC's own thread for RPCs is there."""
        return get_own_host().grpc_server.server is not None


@pytest.mark.skipif(TRANSPORT != 'unix', reason='the server waits for somebody only beside a lane')
def test_the_server_runs_only_after_a_client_has_come() -> None:
    with Quiet() as actor:
        assert not actor.serves_grpc()
        with client_of(get_dial_address(actor)) as client:
            assert client.rpc('Describe').class_name
        assert actor.serves_grpc()


def test_all_who_come_first_are_served() -> None:
    with Quiet() as actor, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client_of(get_dial_address(actor))) for _ in range(20)]
        with ThreadPoolExecutor(len(clients)) as pool:
            found = list(pool.map(lambda client: client.rpc('Describe').class_name, clients))
        assert found == [f'{__name__}.Quiet'] * 20


# --- the end -------------------------------------------------------------------------------------


class Farewell(Actor):
    def __init__(self, diary: Path, error: bool) -> None:
        self._diary = diary
        self._error = error

    def shutdown(self) -> None:
        self._diary.write_text('the end')
        if self._error:
            raise RuntimeError('not yet')


@pytest.mark.parametrize('error', [False, True], ids=['in peace', 'with an error'])
def test_shutdown_is_answered_and_then_the_process_ends(tmp_path: Path, error: bool) -> None:
    actor: Any = Farewell(tmp_path / 'diary', error)
    process = actor._manager.process
    with client_of(get_dial_address(actor)) as client:
        if error:
            with failing('UNKNOWN'):
                client.rpc('Shutdown')
        else:
            assert client.rpc('Shutdown') == pb.ShutdownResponse()
        process.join(5)
        assert process.exitcode == 0
        assert (tmp_path / 'diary').read_text() == 'the end'
        with failing('UNAVAILABLE'):
            client.rpc('Describe')
