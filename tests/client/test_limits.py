"""Absurd time limits: each says what is wrong with it, or means any time, and harms no other."""

from __future__ import annotations

import contextlib
import fractions
import importlib
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from h2.connection import H2Connection
from h2.events import DataReceived

import uactor
from tests.support import Actor, rpc
from tests.support.bench import Bench
from tests.support.programs import ROOT
from uactor.core.addresses import split_host_port, to_socket_path
from uactor.runtime import limits
from uactor.runtime.timers import timers
from uactor.v1 import actor_pb2 as pb

SHORT = 0.2
ABSURD = [math.inf, 1e10, 1e300, 10**400, limits.MAX_WAIT_S * 2]
NUMBERS = [1, 2.5, fractions.Fraction(1, 2)]
NOT_NUMBERS = ['1', b'1', True, [], object(), 1j]


class Primitives(Actor):
    _method_to_typeid_ = {
        **{'lock': 'Lock', 'rlock': 'RLock', 'semaphore': 'Semaphore', 'event': 'Event'},
        **{'condition': 'Condition', 'barrier': 'Barrier', 'queue': 'Queue', 'pool': 'Pool'},
        'simple': 'SimpleQueue',
    }

    def __init__(self) -> None:
        import multiprocessing.pool
        import queue

        self._made = {
            'lock': threading.Lock(),
            'rlock': threading.RLock(),
            'semaphore': threading.Semaphore(),
            'event': threading.Event(),
            'condition': threading.Condition(),
            'barrier': threading.Barrier(1),
            'queue': queue.Queue(),
            'simple': queue.SimpleQueue(),
            'pool': multiprocessing.pool.ThreadPool(1),
        }

    def lock(self) -> Any:
        return self._made['lock']

    def rlock(self) -> Any:
        return self._made['rlock']

    def semaphore(self) -> Any:
        return self._made['semaphore']

    def event(self) -> Any:
        return self._made['event']

    def condition(self) -> Any:
        return self._made['condition']

    def barrier(self) -> Any:
        return self._made['barrier']

    def queue(self) -> Any:
        return self._made['queue']

    def simple(self) -> Any:
        return self._made['simple']

    def pool(self) -> Any:
        return self._made['pool']

    def wait(self) -> None:
        while not uactor.current_call().cancelled:
            threading.Event().wait(0.01)


@pytest.fixture(scope='module')
def primitives() -> Iterator[Any]:
    with Primitives() as actor:
        yield actor


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def check_deadlines(bench: Any) -> None:
    """Check that deadlines are kept in both processes."""
    fired = threading.Event()
    timers.at(0.0, fired.set)
    assert fired.wait(10)
    method = getattr(bench, 'until_cancelled', None) or bench.wait
    with pytest.raises(uactor.DeadlineError):
        method.options(timeout=SHORT)()


# --- what a limit is -----------------------------------------------------------------------------


@pytest.mark.parametrize('value', [None, *ABSURD])
def test_any_time_has_several_names(value: Any) -> None:
    assert limits.validate_timeout(value) is None


@pytest.mark.parametrize('value', NUMBERS)
def test_a_limit_is_a_number_of_seconds(value: Any) -> None:
    assert limits.validate_timeout(value) == float(value)


@pytest.mark.parametrize('value', [0, -1, -0.0, -math.inf, -(10**400)])
def test_a_negative_limit_has_passed(value: Any) -> None:
    assert limits.validate_timeout(value) == 0.0


@pytest.mark.parametrize('value', NOT_NUMBERS)
def test_a_limit_that_is_not_a_number_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match='a number of seconds'):
        limits.validate_timeout(value)


def test_nan_is_no_limit() -> None:
    with pytest.raises(ValueError, match='not nan'):
        limits.validate_timeout(math.nan)
    with pytest.raises(ValueError, match='nan'):
        timers.at(math.nan, lambda: None)


# --- where limits enter --------------------------------------------------------------------------


def call_once(method: Any) -> Any:
    return method(5)


def future(method: Any) -> Any:
    return method.future(5).result()


def call_by_map(method: Any) -> Any:
    return next(method.map([5]))


WAYS = [call_once, future, call_by_map]


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('timeout', ABSURD)
def test_an_absurd_timeout_of_a_call_means_any_time(
    bench: Any, way: Callable[..., Any], timeout: Any
) -> None:
    assert way(bench.echo.options(timeout=timeout)) == 5
    assert bench.left.options(timeout=timeout)() is None
    check_deadlines(bench)


@pytest.mark.parametrize('timeout', [*NOT_NUMBERS, math.nan])
def test_a_call_timeout_that_is_not_a_number_is_refused(bench: Any, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match='the timeout of a call is a number'):
        bench.echo.options(timeout=timeout)


@pytest.mark.parametrize('timeout', [*NOT_NUMBERS, math.nan])
def test_a_class_timeout_that_is_not_a_number_is_refused(timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"Odd\._options_\['timeout'\] is a number"):
        type('Odd', (Actor,), {'_options_': {'timeout': timeout}})


@pytest.mark.parametrize('timeout', [math.inf, 1e10])
def test_an_absurd_timeout_of_a_class_means_any_time(timeout: Any) -> None:
    class Patient(Bench):
        _options_ = {'timeout': timeout}

    with Patient() as bench:
        assert bench.left() is None
        check_deadlines(bench)


@pytest.mark.parametrize('option', ['timeout', 'shutdown_timeout'])
@pytest.mark.parametrize('timeout', ['1', math.nan])
def test_a_manager_timeout_that_is_not_a_number_is_refused(option: str, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f'{option} is a number|timeout is a number'):
        uactor.ActorManager(**{option: timeout})


@pytest.mark.parametrize('timeout', [math.inf, 1e10])
def test_a_shutdown_may_take_any_time(timeout: float) -> None:
    class Slow(Bench):
        _options_ = {'shutdown_timeout': timeout}

        def shutdown(self) -> None:
            pass

    owner: Any = Slow()
    with owner:
        process = owner._manager.process
    process.join(timeout)
    assert process.exitcode == 0


@pytest.mark.parametrize('timeout', ['1', math.nan])
def test_a_join_timeout_that_is_not_a_number_is_refused(timeout: Any) -> None:
    owner: Any = Bench()
    with pytest.raises((TypeError, ValueError), match='a number of seconds'):
        owner._manager.join(timeout)
    owner._manager.join(-1)
    owner._manager.join(0)
    assert owner._manager.process.is_alive()


# --- primitives ----------------------------------------------------------------------------------

LONG_WAITS: list[Callable[[Any, Any], Any]] = [
    lambda actor, time: actor.lock().acquire(True, time) and actor.lock().release(),
    lambda actor, time: actor.rlock().acquire(timeout=time) and actor.rlock().release(),
    lambda actor, time: actor.semaphore().acquire(timeout=time) and actor.semaphore().release(),
    lambda actor, time: actor.condition().acquire(True, time) and actor.condition().release(),
    lambda actor, time: actor.event().set() or actor.event().wait(time),
    lambda actor, time: actor.barrier().wait(time),
    lambda actor, time: actor.queue().put(1, True, time) or actor.queue().get(True, time),
    lambda actor, time: actor.queue().put(1, timeout=time) or actor.queue().get(timeout=time),
    lambda actor, time: actor.simple().put(1) or actor.simple().get(True, time),
    lambda actor, time: actor.pool().apply_async(int).get(time),
    lambda actor, time: actor.pool().apply_async(int).wait(time),
    lambda actor, time: actor.condition().wait_for(lambda: True, time),
]


@pytest.mark.parametrize('wait', LONG_WAITS)
@pytest.mark.parametrize('timeout', [math.inf, 1e10, 1e300])
def test_a_primitive_can_be_waited_for_as_long_as_one_likes(
    primitives: Any, wait: Callable[[Any, Any], Any], timeout: float
) -> None:
    wait(primitives, timeout)


@pytest.mark.parametrize('wait', LONG_WAITS)
@pytest.mark.parametrize('timeout', [math.nan, 'soon'])
def test_a_wait_timeout_that_is_not_a_number_harms_no_primitive(
    primitives: Any, wait: Callable[[Any, Any], Any], timeout: Any
) -> None:
    # As without a proxy: some look at it only when they have to wait.
    with contextlib.suppress(TypeError, ValueError):
        wait(primitives, timeout)
    assert primitives.lock().locked() is False
    wait(primitives, 10)


def test_a_wait_with_a_negative_timeout_is_none(primitives: Any) -> None:
    primitives.event().clear()
    assert primitives.event().wait(-1) is False
    assert primitives.event().wait(-math.inf) is False
    check_deadlines(primitives)


# --- over the wire -------------------------------------------------------------------------------

OUT_OF_RANGE = [
    Duration(seconds=315_576_000_001),
    Duration(seconds=2**63 - 1),
    Duration(seconds=-(2**63)),
    Duration(nanos=10**9),
    Duration(nanos=-(10**9)),
    Duration(nanos=2**31 - 1),
    Duration(nanos=-(2**31)),
    Duration(seconds=1, nanos=-1),
]
LONG = [Duration(seconds=315_576_000_000), Duration(seconds=10**10, nanos=999_999_999)]


def ask(bench: Any, timeout: Duration, pipelined: bool, method: str = 'left') -> pb.SessionResponse:
    """Make a call in a session of a client that is written by hand."""
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        call = rpc.call_request(method)
        call.context.timeout.CopyFrom(timeout)
        requests = [
            pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=1, pipelined=pipelined)),
            pb.SessionRequest(id=2, call=call),
            pb.SessionRequest(id=3, call=rpc.call_request('echo', 5)),
        ]
        responses = client.stub.Session(iter(requests), metadata=client.metadata, timeout=20)
        found = {response.id: response for response in flatten(responses)}
    assert found[3].result.int64 == 5, 'the session goes on'
    check_deadlines(bench)
    return found[2]


def flatten(responses: Any) -> Iterator[pb.SessionResponse]:
    for response in responses:
        yield response
        yield from response.more


@pytest.mark.parametrize('pipelined', [False, True])
@pytest.mark.parametrize('timeout', OUT_OF_RANGE, ids=str)
def test_a_duration_that_is_none_is_refused(bench: Any, timeout: Duration, pipelined: bool) -> None:
    failure = ask(bench, timeout, pipelined).failure
    assert (failure.type_name, failure.executed) == ('ValueError', pb.EXECUTED_NO)
    assert 'Duration' in failure.message


@pytest.mark.parametrize('pipelined', [False, True])
@pytest.mark.parametrize('timeout', LONG, ids=str)
def test_the_longest_durations_mean_any_time(
    bench: Any, timeout: Duration, pipelined: bool
) -> None:
    assert rpc.plain(ask(bench, timeout, pipelined).result) is None


@pytest.mark.parametrize('pipelined', [False, True])
@pytest.mark.parametrize('timeout', [Duration(), Duration(seconds=-5), Duration(nanos=-1)], ids=str)
def test_a_call_whose_time_is_up_when_it_comes_does_not_run(
    bench: Any, timeout: Duration, pipelined: bool
) -> None:
    failure = ask(bench, timeout, pipelined).failure
    assert failure.type_name == 'uactor.errors.DeadlineError'
    assert failure.executed == pb.EXECUTED_NO


@pytest.mark.parametrize('lease', LONG, ids=str)
def test_a_lease_may_last_as_long_as_a_duration(bench: Any, lease: Duration) -> None:
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        lasting = client.create('list', [1], lease=lease)
        short = client.create('list', [2], lease=Duration(nanos=1_000_000))
        while short.id in {info.handle.id for info in client.rpc('ListHandles').handles}:
            pass  # the one who ends leases is alive
        assert client.call('__len__', handle=lasting.id) == 1
        client.rpc('ReleaseHandle', handles=[lasting.id])


@pytest.mark.parametrize('lease', [*OUT_OF_RANGE, Duration(), Duration(nanos=-1)], ids=str)
def test_a_lease_that_is_none_is_refused(bench: Any, lease: Duration) -> None:
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        with rpc.failing('INVALID_ARGUMENT') as failure:
            client.create('list', lease=lease)
        assert failure.fields == ['lease']


@pytest.mark.parametrize('timeout', ['99999999H', '99999999S', '99999999M', '9999999999H'])
def test_the_longest_deadlines_of_grpc_harm_nobody(bench: Any, timeout: str) -> None:
    """As another client may send them: that of gRPC for Python can't."""
    headers, body = unary(bench, timeout)
    if headers['grpc-status'] == '0':
        left = rpc.plain(pb.CallResponse.FromString(body).result)
        assert left is None or left > 10**7
    else:
        assert len(timeout) > 9  # no deadline by the definition of gRPC
    check_deadlines(bench)


def unary(bench: Any, timeout: str) -> tuple[dict[str, str], bytes]:
    """Make a call of ``left`` by bare HTTP/2; return all headers and the response."""
    request = rpc.call_request('left').SerializeToString()
    connection = H2Connection()
    with connected(rpc.get_dial_address(bench)) as sock:
        connection.initiate_connection()
        fields = {
            **{':method': 'POST', ':scheme': 'http', ':path': '/uactor.v1.ActorService/Call'},
            **{':authority': 'localhost', 'te': 'trailers', 'grpc-timeout': timeout},
            **{'content-type': 'application/grpc', **dict(rpc.KEYED)},
        }
        connection.send_headers(1, list(fields.items()))
        connection.send_data(1, struct.pack('>?I', False, len(request)) + request, end_stream=True)
        sock.sendall(connection.data_to_send())
        headers, body = dict[str, str](), b''
        while 'grpc-status' not in headers:
            for event in connection.receive_data(sock.recv(1 << 16)):
                for name, value in getattr(event, 'headers', None) or ():
                    headers[text(name)] = text(value)
                body += getattr(event, 'data', b'') if isinstance(event, DataReceived) else b''
            sock.sendall(connection.data_to_send())
    return headers, body[5:]


def text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()


def connected(address: str) -> socket.socket:
    path = to_socket_path(address)
    if path is None:
        return socket.create_connection(split_host_port(address), 20)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    sock.connect(path)
    return sock


# --- in generated clients ------------------------------------------------------------------------


def test_generated_clients_have_the_same_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / 'codegen'))
    client = importlib.import_module('uactor_codegen.runtime.client')
    value: Any
    for value in None, *ABSURD[:3]:
        assert client.time_limit(value) is None
    for value in NUMBERS:
        assert client.time_limit(value) == float(value)
    for value in (*NOT_NUMBERS, math.nan):
        with pytest.raises((TypeError, ValueError), match='a number of seconds'):
            client.time_limit(value)


# --- counts and sizes -------------------------------------------------------------------------


@pytest.mark.parametrize('option', ['max_message_size', 'concurrency'])
@pytest.mark.parametrize('value', ['1', 'abc', 1.5, 1e6, True, float('nan'), [], 0, -2])
def test_a_size_or_concurrency_that_is_no_count_is_refused(option: str, value: Any) -> None:
    class Counted(Actor):
        _options_ = {option: value}

    kind = ValueError if type(value) is int else TypeError
    with pytest.raises(kind, match=f'the {option}'):
        Counted()


@pytest.mark.parametrize(('option', 'most'), [('max_message_size', 63), ('concurrency', 31)])
def test_a_size_or_concurrency_has_a_limit(option: str, most: int) -> None:
    class Counted(Actor):
        _options_ = {option: 1 << most}

    with pytest.raises(ValueError, match=f'the {option}.* is {(1 << most) - 1} at most'):
        Counted()


@pytest.mark.parametrize('value', ['no', 'false', 0, 1, None])
def test_only_a_bool_makes_an_actor_insecure(value: Any) -> None:
    class Open(Actor):
        _options_ = {'insecure': value, 'address': '0.0.0.0:0'}

    with pytest.raises(TypeError, match='insecure is True or False, not'):
        Open()


def test_an_option_that_there_is_not_is_refused_with_the_class() -> None:
    with pytest.raises(TypeError, match=r"Odd\._options_: there is no option 'concurency'; the"):
        type('Odd', (Actor,), {'_options_': {'concurency': 1}})
    with pytest.raises(TypeError, match=r'Odd\._options_ is a mapping of options, not 5'):
        type('Odd', (Actor,), {'_options_': 5})


def test_a_manager_class_may_have_options_of_its_own() -> None:
    class Manager(uactor.ActorManager):
        def __init__(self, *values: Any, label: str = '', **options: Any) -> None:
            super().__init__(*values, **options)
            self.label = label

    class Labelled(Actor):
        manager_class = Manager
        _options_ = {'label': 'own'}

    made: Any = Labelled()
    with made:
        assert made._manager.label == 'own'


def test_a_socket_path_has_no_null_character() -> None:
    with pytest.raises(uactor.AddressError, match='null character'):
        Actor.connect('unix:/tmp/\0x')


def test_a_size_has_to_be_said() -> None:
    class Counted(Actor):
        _options_ = {'max_message_size': None}

    with pytest.raises(TypeError, match='the max_message_size is a whole number, not None'):
        Counted()


@pytest.mark.parametrize('value', ['a', 1.5, True, 0])
def test_a_window_that_is_no_positive_integer_is_refused(value: Any) -> None:
    from uactor.proxies.remote_method import CallOptions

    with pytest.raises((TypeError, ValueError), match='a window of items is'):
        CallOptions(window=value)


def test_a_window_fits_a_message() -> None:
    from uactor.proxies.remote_method import CallOptions

    with pytest.raises(ValueError, match='a window of items is 2147483647 at most'):
        CallOptions(window=1 << 31)
