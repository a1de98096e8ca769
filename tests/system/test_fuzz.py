"""Whatever a peer sends: the actor goes on, says nothing, and keeps nothing."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

import uactor
from tests.support import eventually
from tests.support.peers import Peer
from tests.support.raw_session import (
    KEY,
    NONCE,
    STREAM_KINDS,
    End,
    RawGrpcStream,
    RawLaneStream,
    RawSession,
    find_lane,
)
from tests.support.rpc import channel_to, get_dial_address
from uactor.host import admission
from uactor.v1 import actor_pb2 as pb

_SPARE = 40
"""How many threads and descriptors more an actor may have: those of gRPC come and go."""


_PICKLES = b'', b'\x80\x05K\x01.', b'garbage', b'\x80\x05).'


class Target(uactor.Actor):
    """Does next to nothing."""

    _options_ = {'authkey': KEY}

    def pid(self) -> int:
        return os.getpid()

    def take(self, *values: Any) -> int:
        return len(values)

    def count(self, end: int) -> Iterator[int]:
        yield from range(end)


class Watched:
    """An actor whose standard error is a file."""

    def __init__(self, address: str, errors: Path) -> None:
        self.connection_address = address
        self._errors = errors
        self.proxy: Any = Target.connect(address, KEY)
        with self.stream('grpc') as stream:  # what is made for the first one
            RawSession(stream).enter().leave()
        self.process = psutil.Process(self.proxy.pid())

    @contextlib.contextmanager
    def stream(self, kind: str) -> Iterator[Any]:
        with contextlib.ExitStack() as stack:
            opened: Any
            if kind == 'lane':
                opened = RawLaneStream(find_lane(self))
            else:
                opened = RawGrpcStream(stack.enter_context(channel_to(self.connection_address)))
            yield stack.enter_context(contextlib.closing(opened))

    def used(self) -> tuple[int, int]:
        return self.process.num_fds(), self.process.num_threads()

    def check(self, before: tuple[int, int]) -> None:
        """Check that it is as it was."""
        assert self.proxy.take(1, 2) == 2
        for kind in STREAM_KINDS:
            with self.stream(kind) as stream:
                session = RawSession(stream).enter()
                assert session.call('take', pb.Value(int64=1)).int64 == 1
                session.leave()
        limits = [count + _SPARE for count in before]
        eventually(lambda: all(map(int.__le__, self.used(), limits)), timeout=20)
        assert self._errors.read_text() == ''


BODY = """
    from tests.system.test_fuzz import Target

    actor = Target()
    say(actor.connection_address)
    listen()
"""


@pytest.fixture(scope='module')
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    path = tmp_path_factory.mktemp('errors') / 'stderr'
    with path.open('wb') as errors, Peer(BODY, stderr=errors) as owner:
        yield Watched(owner.read_line(), path)


# --- what is sent ------------------------------------------------------------------------------


class Liar:
    """Makes requests that are right, or not quite.

    Seeded: what it has done once it does again.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kinds = [
            *[self.fill_call] * 3,  # the kind with the most to get wrong
            self.fill_open_stream,
            self.fill_cancel,
            self.fill_credit,
            self.fill_call_all,
            self.fill_get_attribute,
            self.fill_set_attribute,
            self.fill_create_handle,
            self.fill_retain_handle,
            self.fill_releases,
            self.fill_chunk,
            self.fill_hello,
        ]

    def number(self) -> int:
        return self.random.choice([0, 0, 1, 2, 3, 127, 128, (1 << 31) - 1, (1 << 32) - 1])

    def text(self) -> str:
        return self.random.choice(['', 'take', 'count', 'shut', '__str__', 'ü' * 9, 'lease', '.'])

    def pickle(self) -> pb.Pickle:
        made = pb.Pickle(
            data=self.random.choice([b'', b'\x80\x05K\x01.', b'garbage', b'\x80\x05).'])
        )
        if self.random.random() < 0.3:
            made.memory.slot = self.number()
            made.memory.sizes.extend([self.number(), self.number()])
        if self.random.random() < 0.2:
            made.definitions.add(number=self.number(), data=b'garbage')
        return made

    def value(self) -> pb.Value:
        return self.random.choice(
            [
                pb.Value(),
                pb.Value(int64=1),
                pb.Value(pickle=self.pickle()),
                pb.Value(handle=pb.Handle(id='no.1', address='', typeid='list')),
                pb.Value(list=pb.ListValue(items=[pb.Value(), pb.Value(bool=True)])),
                pb.Value(map=pb.MapValue(entries=[pb.MapEntry()])),
                pb.Value(slice=pb.Slice(start=1)),
            ]
        )

    def call(self) -> pb.CallRequest:
        made = pb.CallRequest(
            handle=self.random.choice(['', '', 'x', '1.2']),
            method=self.text(),
            args=[self.value() for _ in range(self.random.choice([0, 0, 1, 3]))],
            accept_pickle=self.random.random() < 0.5,
        )
        if self.random.random() < 0.2:
            made.arguments.CopyFrom(self.pickle())
        if self.random.random() < 0.2:
            made.context.timeout.seconds = self.random.choice([-1, 0, 1, 10**10])
            made.context.path.append(self.text())
        return made

    def request(self, depth: int = 0) -> pb.SessionRequest:
        """Return a request of any kind."""
        made = pb.SessionRequest(id=self.number())
        self.random.choice(self.kinds)(made)
        if depth < 2 and self.random.random() < 0.2:
            made.more.extend(self.request(depth + 1) for _ in range(2))
        return made

    def fill_call(self, made: pb.SessionRequest) -> None:
        made.call.CopyFrom(self.call())

    def fill_open_stream(self, made: pb.SessionRequest) -> None:
        made.open_stream.call.CopyFrom(self.call())
        made.open_stream.credit = self.number()

    def fill_cancel(self, made: pb.SessionRequest) -> None:
        made.cancel.request_id = self.number()

    def fill_credit(self, made: pb.SessionRequest) -> None:
        made.credit.request_id, made.credit.items = self.number(), self.number()

    def fill_call_all(self, made: pb.SessionRequest) -> None:
        made.call_all.count = self.number()
        made.call_all.method = self.text()
        made.call_all.arguments.data = self.pickle().data

    def fill_get_attribute(self, made: pb.SessionRequest) -> None:
        made.get_attribute.name = self.text()

    def fill_set_attribute(self, made: pb.SessionRequest) -> None:
        made.set_attribute.name = self.text()
        made.set_attribute.value.CopyFrom(self.value())

    def fill_create_handle(self, made: pb.SessionRequest) -> None:
        made.create_handle.typeid = self.random.choice(['list', 'none', ''])
        made.create_handle.args.append(self.value())

    def fill_retain_handle(self, made: pb.SessionRequest) -> None:
        made.retain_handle.handles.append(self.text())
        made.retain_handle.lease_id = self.text()
        made.retain_handle.as_lease = self.random.random() < 0.5

    def fill_releases(self, made: pb.SessionRequest) -> None:
        made.releases.extend([self.text(), self.text()])

    def fill_chunk(self, made: pb.SessionRequest) -> None:
        made.chunk.slot, made.chunk.data = self.number(), b'x' * self.random.randrange(9)
        made.chunk.sizes.extend([self.number()] * self.random.randrange(3))
        made.id = self.random.choice([0, made.id])

    def fill_hello(self, made: pb.SessionRequest) -> None:
        made.hello.protocol_version = 1

    def message(self) -> bytes:
        """Return a request in its wire form, or what was one."""
        data = bytearray(self.request().SerializeToString())
        if self.random.random() < 0.15:
            for _ in range(self.random.randrange(1, 4)):
                data.insert(self.random.randrange(len(data) + 1), self.random.randrange(256))
        if self.random.random() < 0.05:
            del data[self.random.randrange(len(data) + 1) :]
        return bytes(data)


def lie(watched: Watched, kind: str, seed: int) -> None:
    """Lead a session in which anything may come, and leave it in any way."""
    liar = Liar(seed)
    hello = pb.Hello(protocol_version=1, client_id=liar.text(), nonce=NONCE)
    hello.pipelined, hello.memory = seed % 2 == 0, seed % 3 == 0
    with contextlib.suppress(End, TimeoutError), watched.stream(kind) as stream:
        session = RawSession(stream)
        reader = threading.Thread(target=hear_out, args=(stream,), daemon=True)
        if seed % 5:
            session.enter(hello.client_id, pipelined=hello.pipelined, memory=hello.memory)
        elif seed % 2:
            stream.put(pb.SessionRequest(hello=hello).SerializeToString())
            stream.put(pb.SessionRequest(proof=pb.Proof(proof=b'guessed')).SerializeToString())
        reader.start()
        for _ in range(liar.random.randrange(30)):
            stream.put(liar.message())
        if kind == 'lane' and seed % 3 == 0:
            size = liar.random.choice([0, 5, 1 << 20, 1 << 31, (1 << 32) - 1])
            stream.send_bytes(struct.pack('!I', size) + liar.random.randbytes(50))
        if kind == 'lane':
            stream.socket.shutdown(socket.SHUT_RDWR)
        else:
            stream.close()
        reader.join(20)


def hear_out(stream: Any) -> None:
    with contextlib.suppress(End, TimeoutError, OSError, grpc.RpcError, struct.error):
        while True:
            stream.get()


@pytest.mark.parametrize('kind', STREAM_KINDS)
def test_nothing_that_a_session_sends_harms_the_actor(watched: Watched, kind: str) -> None:
    before = watched.used()
    for seed in range(300):
        lie(watched, kind, seed)
    watched.check(before)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize('kind', STREAM_KINDS)
def test_nothing_that_sessions_send_for_long_harms_the_actor(watched: Watched, kind: str) -> None:
    before, end, seed = watched.used(), time.monotonic() + 120, 1000
    memory = 0
    while time.monotonic() < end:
        lie(watched, kind, seed)
        seed += 1
        if seed == 1500:
            memory = watched.process.memory_info().rss
    watched.check(before)
    assert not memory or watched.process.memory_info().rss < memory + 50_000_000


# --- strangers ---------------------------------------------------------------------------------


def silence(stream: socket.socket) -> None: ...


def half_a_hello(stream: socket.socket) -> None:
    hello = pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=1, nonce=NONCE))
    message = hello.SerializeToString()
    stream.sendall(struct.pack('!I', len(message)) + message[:5])


def a_hello(stream: socket.socket) -> None:
    hello = pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=1, nonce=NONCE))
    message = hello.SerializeToString()
    stream.sendall(struct.pack('!I', len(message)) + message)


def test_strangers_take_a_bounded_part_of_the_actor_for_a_while(watched: Watched) -> None:
    say: Sequence[Callable[[socket.socket], None]] = (silence, half_a_hello, a_hello)
    before = watched.used()
    with contextlib.ExitStack() as stack:
        for number in range(2 * admission.MAX_UNPROVEN):
            stream = stack.enter_context(socket.socket(socket.AF_UNIX))
            stream.connect(find_lane(watched))
            say[number % 3](stream)
        eventually(lambda: watched.used()[0] > before[0] + admission.MAX_UNPROVEN // 2)
        most = [count + admission.MAX_UNPROVEN + _SPARE for count in before]
        assert all(map(int.__le__, watched.used(), most))
        with watched.stream('lane') as waiting:  # its turn comes
            session = RawSession(waiting).enter()
            assert session.call('take', pb.Value(int64=1)).int64 == 1
            session.leave()
        limits = [count + _SPARE for count in before]
        eventually(lambda: all(map(int.__le__, watched.used(), limits)), timeout=30)
    watched.check(before)


def test_a_session_over_grpc_that_says_nothing_ends(watched: Watched) -> None:
    with watched.stream('grpc') as stream, pytest.raises(End):
        stream.get()  # with a time limit of its own
    assert stream.call.code() is grpc.StatusCode.CANCELLED


def test_silent_clients_that_come_before_the_server_do_not_stay() -> None:
    with Target() as actor, contextlib.ExitStack() as stack:
        path = get_dial_address(actor).removeprefix('unix:')
        before = psutil.Process(actor.pid()).num_threads()
        doors = []
        for _ in range(300):
            stream = stack.enter_context(socket.socket(socket.AF_UNIX))
            stream.settimeout(40)
            stream.connect(path)
            doors.append(stream)
        for stream in doors:  # the server begins with its settings, and then loses patience
            with contextlib.suppress(ConnectionResetError):
                while stream.recv(1000):
                    pass
        assert actor.take() == 0
        eventually(lambda: psutil.Process(actor.pid()).num_threads() < before + _SPARE)
