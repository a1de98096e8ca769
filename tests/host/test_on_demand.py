"""Clients that connect before there is a server are served all the same."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support import TRANSPORT, Actor, eventually, get_own_host
from tests.support.rpc import KEYED, Client, call_request, failing, get_dial_address
from uactor.core.addresses import server_path, to_socket_path
from uactor.host.grpc import on_demand as on_demand_module
from uactor.host.grpc.health import ServerEvent
from uactor.host.grpc.on_demand import OnDemandListener
from uactor.transport.unix_sockets import create_listener
from uactor.v1 import actor_pb2 as pb

pytestmark = [
    pytest.mark.skipif(TRANSPORT != 'unix', reason='a server starts on demand only beside a lane'),
]


class House(Actor):
    """Knows who is in it."""

    def has_server(self) -> bool:
        return get_own_host().grpc_server.server is not None

    def announce_end(self) -> None:
        get_own_host().status.advance(ServerEvent.END)  # as it does when it ends

    def relay_threads(self) -> int:
        """Return how many threads pass on what first connections bring."""
        return sum(thread.name == 'uactor-relay' for thread in threading.enumerate())

    def pid(self) -> int:
        return os.getpid()

    def echo(self, data: bytes) -> bytes:
        return data

    def count(self, end: int) -> Iterator[int]:
        yield from range(end)

    def lack(self, what: str) -> None:
        """Be without some descriptors, or threads; or without nothing."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        enough = len(os.listdir('/proc/self/fd')) + 3 if what == 'descriptors' else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (enough, hard))
        threading.stack_size(1 << 46 if what == 'threads' else 0)  # no thread gets that much

    def fork(self) -> int:
        """Leave a child that has inherited all that is open."""
        pid = os.fork()
        if not pid:
            signal.pause()
        return pid


@pytest.fixture
def house() -> Iterator[Any]:
    with House() as actor:
        yield actor


def path_of(actor: Any) -> str:
    path = to_socket_path(get_dial_address(actor))
    assert path is not None
    return path


@contextlib.contextmanager
def guest(actor: Any) -> Iterator[Client]:
    """A client with a connection of its own."""
    options = [('grpc.use_local_subchannel_pool', 1), ('grpc.max_receive_message_length', -1)]
    with grpc.insecure_channel(get_dial_address(actor), options) as channel:
        yield Client(channel)


def test_there_is_no_server_before_a_client_connects(house: Any) -> None:
    assert not house.has_server()
    with guest(house) as client:
        assert client.call('has_server') is True


def test_the_first_client_is_relayed_and_the_second_is_not(house: Any) -> None:
    with guest(house) as first:
        assert first.call('relay_threads') == 2
        with guest(house) as second:
            assert second.call('relay_threads') == 2
    eventually(lambda: house.relay_threads() == 0)


def test_calls_of_any_size_and_streams_are_relayed(house: Any) -> None:
    data = os.urandom(20_000_000)
    with guest(house) as client:
        assert client.call('echo', data) == data
        request = pb.CallStreamRequest(call=call_request('count', 20_000))
        items = client.stub.CallStream(request, metadata=KEYED, timeout=60)
        assert [response.item.int64 for response in items] == list(range(20_000))


def test_all_who_come_at_once_are_served(house: Any) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(guest(house)) for _ in range(20)]
        futures = [
            client.stub.Call.future(call_request('pid'), metadata=KEYED, timeout=20)
            for client in clients
        ]
        assert {future.result().result.int64 for future in futures} == {house.pid()}


def test_the_library_is_not_relayed(house: Any) -> None:
    connected = House.connect(house.connection_address, transport='grpc')
    assert connected.has_server()
    eventually(lambda: connected.relay_threads() == 0)  # but for a moment, when it has connected


def test_a_client_that_goes_at_once_starts_the_server_and_leaves_nothing(house: Any) -> None:
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(path_of(house))
    eventually(house.has_server)
    eventually(lambda: house.relay_threads() == 0)


def test_an_on_demand_listener_passes_answers_on_before_it_ends(tmp_path: Path) -> None:
    """An answer to Shutdown, say, although the process ends upon it."""
    servers: list[socket.socket] = []

    def serve(path: str) -> bool:
        servers.append(socket.create_server(path, family=socket.AF_UNIX))
        return True

    answer = os.urandom(300_000)  # more than goes out while nobody reads
    path = str(tmp_path / 's')
    listener = OnDemandListener(path, create_listener(path), serve)
    with socket.socket(socket.AF_UNIX) as client, contextlib.ExitStack() as stack:
        client.connect(path)
        listener.receive(stack.enter_context(listener.listener.accept()[0]))
        eventually(lambda: servers)
        server = stack.enter_context(stack.enter_context(servers[0]).accept()[0])
        server.sendall(answer)
        listener.close()
        listener.finish(0.0)
        client.settimeout(20)
        assert b''.join(iter(lambda: client.recv(1 << 16), b'')) == answer


def test_a_client_of_an_actor_that_ends_gets_an_error(house: Any) -> None:
    house.announce_end()
    with guest(house) as client:
        health: Any = health_pb2_grpc.HealthStub(client.channel)
        found = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert found.status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_client_that_was_refused_takes_no_room_for_relays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_demand_module, '_MAX_RELAYS', 2)
    asked: list[str] = []

    def serve(path: str) -> bool:
        asked.append(path)
        return False

    path = str(tmp_path / 's')
    listener = OnDemandListener(path, create_listener(path), serve)
    for number in range(1, 5):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(tmp_path / 's'))
            listener.receive(listener.listener.accept()[0])
            assert client.recv(1) == b''
        assert len(asked) == number
        eventually(
            lambda: not any(thread.name == 'uactor-relay' for thread in threading.enumerate())
        )
    listener.close()


@pytest.mark.parametrize('what', ['descriptors', 'threads'])
def test_a_client_is_refused_without_a_server_and_may_come_again(house: Any, what: str) -> None:
    house.lack(what)
    with guest(house) as client, failing('UNAVAILABLE'):
        client.rpc('Describe')
    assert not house.has_server()
    house.lack('nothing')
    with guest(house) as client:
        assert client.call('has_server') is True


def test_the_end_of_a_killed_actor_is_relayed(house: Any) -> None:
    with guest(house) as client:
        assert client.call('has_server') is True
        pid, child = house.pid(), house.fork()
        try:
            os.kill(pid, signal.SIGKILL)
            with failing('UNAVAILABLE'):
                client.rpc('Describe')
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_socket_that_a_killed_process_left_keeps_no_client_away(house: Any) -> None:
    path = server_path(path_of(house))
    Path(path).parent.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with guest(house) as client:
        assert client.call('has_server') is True


def test_where_the_server_can_not_listen_nobody_is_served_and_the_actor_goes_on(
    house: Any,
) -> None:
    obstacle = Path(server_path(path_of(house))).parent
    obstacle.write_text('a file of somebody')
    with guest(house) as client, failing('UNAVAILABLE'):
        client.rpc('Describe')
    assert house.pid()
    obstacle.unlink()
    with guest(house) as client:
        assert client.call('has_server') is True


@pytest.mark.parametrize('visited', [False, True], ids=['no client', 'a client'])
def test_nothing_is_left_at_the_address(tmp_path: Path, visited: bool) -> None:
    class Placed(House):
        _options_ = {'address': f'unix:{tmp_path}/house'}

    with Placed() as actor:
        if visited:
            with guest(actor) as client:
                client.rpc('Describe')
        assert stat.S_IMODE((tmp_path / 'house').stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == []
