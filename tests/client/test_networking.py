"""Actors that listen on TCP with a key of their own, and connecting to them."""

from __future__ import annotations

import contextlib
import gc
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.client.test_handshake import FalseActor, listening, welcome
from uactor.core.addresses import resolve_host, target
from uactor.core.auth import get_family_key, keyring
from uactor.manager import is_known
from uactor.transport.hpack import encode_headers
from uactor.transport.http2_frames import (
    END_HEADERS,
    END_STREAM,
    STREAM,
    FrameType,
    build_frame,
    build_settings,
)
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]

ROOT = pathlib.Path(__file__).parents[2]
SECRET = b'a key of its own'


class NetworkActor(uactor.Actor):
    _options_ = {'address': ('localhost', 0), 'authkey': b'not this one'}


class KeyedNetworkActor(NetworkActor):
    _options_ = {'authkey': SECRET}
    _exposed_ = ('counts', 'pid', 'stops')
    _method_to_typeid_ = {'counts': 'dict'}

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self.stops = 0

    def counts(self) -> dict[str, int]:
        return self._counts

    def pid(self) -> int:
        return os.getpid()

    def shutdown(self) -> None:
        self.stops += 1


@pytest.fixture(scope='module')
def network_actor() -> Iterator[KeyedNetworkActor]:
    with KeyedNetworkActor() as actor:
        yield actor


def test_options_of_all_base_classes_add_up(network_actor: Any) -> None:
    host, port = network_actor.connection_address
    assert host == '127.0.0.1'  # the base class's address, looked up
    with KeyedNetworkActor.connect((host, port), SECRET) as remote:
        assert remote.pid() == network_actor.pid()


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


def test_an_actor_of_the_family_that_the_user_has_named_stays_known() -> None:
    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        return pb.SessionResponse(welcome=welcome(request, get_family_key()))

    with listening(FalseActor(answers)) as address:
        actor = uactor.Actor.connect(address)
        assert is_known(address)
        del actor
        gc.collect()
        assert keyring.knows(address)


@pytest.mark.parametrize('port', [65536, -1])
def test_a_port_is_a_number_of_two_bytes(port: int) -> None:
    assert target(('localhost', 65535)) == 'localhost:65535'
    with pytest.raises(uactor.AddressError):
        target(('localhost', port))
    with pytest.raises(uactor.AddressError):
        target(f'localhost:{port}')


def test_a_manager_that_is_connected_starts_no_actor(network_actor: Any) -> None:
    manager = KeyedNetworkActor.manager_class(network_actor.connection_address, SECRET)
    manager.connect()
    with pytest.raises(uactor.ProxyError, match='has an actor already'):
        manager.start(KeyedNetworkActor)
    assert manager.actor().pid() == network_actor.pid()


@pytest.mark.parametrize('form', [lambda port: ('localhost', port), 'localhost:{}'.format])
def test_connect_takes_both_forms_of_a_tcp_address(
    network_actor: Any, form: Callable[[int], Any]
) -> None:
    _, port = network_actor.connection_address
    address = form(port)
    remote = KeyedNetworkActor.connect(address, SECRET)
    assert remote.connection_address == remote._token.address == address
    assert remote.pid() == network_actor.pid()


def test_of_the_addresses_of_a_host_one_of_ipv4_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    four = (socket.AF_INET, socket.SOCK_STREAM, 6, '', ('192.0.2.1', 0))
    six = (socket.AF_INET6, socket.SOCK_STREAM, 6, '', ('2001:db8::1', 0, 0, 0))
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: [six, four])
    assert resolve_host(('somewhere', 5)) == ('192.0.2.1', 5)
    assert resolve_host('somewhere:5') == '192.0.2.1:5'
    monkeypatch.setattr(socket, 'getaddrinfo', lambda *_, **__: [six])
    assert resolve_host('somewhere:5') == '[2001:db8::1]:5'


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
    process: Any = actor._manager.process
    KeyedNetworkActor.connect(actor.connection_address, SECRET).shutdown()
    assert not process.is_alive()


def test_another_program_connects_by_address_and_key(network_actor: Any) -> None:
    program = (
        'from tests.client.test_networking import SECRET, KeyedNetworkActor\n'
        f'with KeyedNetworkActor.connect({network_actor.connection_address}, SECRET) as actor:\n'
        '    actor.counts().update(visits=1)\n'
        '    print(actor.pid())\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == network_actor.pid()
    assert network_actor.counts()['visits'] == 1


class PublicActor(KeyedNetworkActor):
    _options_ = {'address': ('0.0.0.0', 0)}


class AcceptedPublicActor(PublicActor):
    _options_ = {'insecure': True}


def test_listening_beyond_this_machine_is_refused_unless_that_is_accepted() -> None:
    with pytest.raises(uactor.AddressError, match='insecure'):
        PublicActor()
    actor: Any = AcceptedPublicActor()
    with actor:
        host, port = actor.connection_address
        assert host == '0.0.0.0'
        assert AcceptedPublicActor.connect(('localhost', port), SECRET).pid() == actor.pid()


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


def test_only_the_manager_of_the_owner_has_a_process(network_actor: Any) -> None:
    remote = KeyedNetworkActor.connect(network_actor.connection_address, SECRET)
    assert remote._manager.process is None
    assert network_actor._manager.process is None  # it was returned by __enter__


def test_a_refusal_that_comes_before_the_first_message_is_understood() -> None:
    fields = [(':status', '200'), ('content-type', 'application/grpc')]
    trailers = encode_headers([*fields, ('grpc-status', '8'), ('grpc-message', 'no more threads')])
    refusal = build_frame(FrameType.HEADERS, END_HEADERS | END_STREAM, STREAM, trailers)
    with socket.create_server(('127.0.0.1', 0)) as server:

        def refuse() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(build_settings({}) + refusal)
                while connection.recv(1 << 16):
                    pass

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(uactor.ActorUnreachableError, match='refuses a session: no more thr'):
            NetworkActor.connect(server.getsockname(), SECRET)
        thread.join()


class Wire:
    """What is between a client and an actor on another machine, and can be cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._ends: list[socket.socket] = []
        self._server = socket.create_server(('127.0.0.1', 0))
        self.address = self._server.getsockname()
        self.passed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it has been closed
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(self._target)
                self._ends += near, far
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # cut
            while data := source.recv(1 << 16):
                sink.sendall(data)
                if b'wait' in data:
                    self.passed.set()

    def cut_once_passed(self, how: str) -> None:
        if self.passed.wait(20):
            self.cut(how)

    def cut(self, how: str) -> None:
        """Have both ends believe that the other one has gone."""
        self._server.close()
        for end in self._ends:
            if how == 'reset':
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                end.shutdown(socket.SHUT_RD)
            else:
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class WaitingActor(NetworkActor):
    _options_ = {'authkey': SECRET}

    def __init__(self) -> None:
        self._freed = threading.Event()

    def wait(self) -> bool:
        return self._freed.wait(20)

    def free(self) -> None:
        self._freed.set()


@pytest.mark.parametrize('how', ['closed', 'reset'])
@pytest.mark.parametrize('form', ['call', 'future'])
def test_where_the_network_is_cut_nothing_is_said_of_the_actor(how: str, form: str) -> None:
    actor: Any = WaitingActor()
    with actor:
        wire = Wire(actor.connection_address)
        remote: Any = WaitingActor.connect(wire.address, SECRET)
        cutting = threading.Thread(target=wire.cut_once_passed, args=(how,))
        cutting.start()
        with pytest.raises(uactor.ConnectionLostError) as lost:
            remote.wait() if form == 'call' else remote.wait.future().result()
        cutting.join()
        assert isinstance(lost.value, uactor.ActorDiedError)
        assert lost.value.executed == 'maybe'
        assert 'was lost' in str(lost.value)
        assert 'has ended (' not in str(lost.value)
        actor.free()
        assert actor.wait()
