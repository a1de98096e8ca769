"""Streams that nobody receives from are attended to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from h2.events import PingAckReceived

from tests.support import eventually
from tests.transport.test_http2 import OK, Peer, talking
from uactor.client import keepalive
from uactor.client.grpc_transport import GrpcStream
from uactor.client.keepalive import IdleStreams

pytestmark = pytest.mark.quick


class Told:
    """Counts how often it is told of an end."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> IdleStreams:
    monkeypatch.setattr(keepalive, '_PERIOD_S', 0.02)
    return IdleStreams()


@pytest.fixture
def parts(watch: IdleStreams) -> Iterator[tuple[GrpcStream, Peer, Told]]:
    with talking() as (call, peer):
        told = Told()
        stream = GrpcStream(call, told)
        watch.add(stream)
        eventually(lambda: stream in watch.idle)
        yield stream, peer, told
        stream.cancel()
        eventually(lambda: not watch.idle and not watch.moving)


def test_pings_of_an_idle_stream_are_answered(parts: Any) -> None:
    _, peer, _ = parts
    peer.do(lambda h2: h2.ping(b'are you?'))
    eventually(lambda: peer.saw(PingAckReceived))


def test_the_end_of_an_idle_stream_is_noticed(parts: Any) -> None:
    stream, peer, told = parts
    peer.end(OK)
    eventually(lambda: stream.ended)
    eventually(lambda: told.count)
    stream.cancel()
    assert told.count == 1


def test_the_end_of_an_idle_connection_is_noticed(parts: Any) -> None:
    stream, peer, told = parts
    peer.leave()
    eventually(lambda: stream.ended)
    eventually(lambda: told.count)


def test_an_idle_stream_can_be_used_again(watch: IdleStreams, parts: Any) -> None:
    stream, peer, _ = parts
    for _ in range(20):
        eventually(lambda: stream in watch.idle)
        message = bytes([8, 1])  # what every message of a host begins like
        threading.Timer(0.01, peer.send, (message,)).start()
        assert stream.request_bytes(b'ask') == message
    assert peer.messages == [b'ask'] * 20


def test_a_stream_that_is_finished_is_attended_to_until_its_end(parts: Any) -> None:
    stream, peer, _ = parts
    stream.finish()
    peer.do(lambda h2: h2.ping(b'are you?'))
    eventually(lambda: peer.saw(PingAckReceived))
    peer.end(OK)
    stream.wait_for_end(30)
    assert stream.ended


def test_there_is_a_thread_only_while_there_are_streams(watch: IdleStreams) -> None:
    def idle() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == 'uactor-idle'}

    def threads() -> set[threading.Thread]:
        return idle() - others

    others = idle()  # of the process itself

    for _ in range(2):
        assert not threads()
        with talking() as (call, _):
            stream = GrpcStream(call, Told())
            watch.add(stream)
            assert len(threads()) == 1
            stream.cancel()
            eventually(lambda: not threads())


def test_a_stream_that_a_thread_receives_from_is_not_idle(watch: IdleStreams) -> None:
    with talking() as (call, peer):
        stream = GrpcStream(call, Told())
        receiver = threading.Thread(target=stream.receive)
        receiver.start()
        eventually(lambda: not call.attend())
        watch.add(stream)
        eventually(lambda: watch.moving.get(stream) == stream.progress)
        assert stream not in watch.idle
        peer.send(bytes([8, 1]))
        receiver.join()
        eventually(lambda: stream in watch.idle)
        stream.cancel()
