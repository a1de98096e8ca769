"""Calls by HTTP/2, with the library h2 at the other end. All tests over gRPC have grpcio there."""

from __future__ import annotations

import contextlib
import functools
import select
import socket
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    PingAckReceived,
    RequestReceived,
    SettingsAcknowledged,
    StreamEnded,
)
from h2.settings import SettingCodes, Settings
from hyperframe import frame as frames

from tests.support import eventually
from uactor.client.grpc_transport import GrpcTransport
from uactor.runtime.locks import is_owned
from uactor.transport import http2
from uactor.transport.hpack import encode_headers
from uactor.transport.http2 import Http2Call
from uactor.transport.http2_stream import CallEnd, End, Http2Stream
from uactor.transport.interfaces import StreamEnd

pytestmark = pytest.mark.quick

PATH = '/room.v1.Service/Talk'
OK = [('grpc-status', '0')]
BEGUN = [(':status', '200'), ('content-type', 'application/grpc')]


class Peer:
    """The other end. It takes messages, and does what it is told.

    :param settings: what it says of itself at first.
    :ivar generous: whether it lets more be sent as soon as something has come.
    """

    def __init__(self, settings: Mapping[SettingCodes, int] | None = None) -> None:
        self.socket, self.callers = socket.socketpair()
        self.generous = True
        self.request: dict[str, str] = {}
        self.events: list[Event] = []
        self._data = b''
        self._lock = threading.RLock()
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding='utf-8'))
        self._h2.local_settings = Settings(client=False, initial_values=dict(settings or {}))
        self._h2.max_inbound_frame_size = self._h2.local_settings.max_frame_size
        self._h2.initiate_connection()
        self._flush()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # the test has ended
            while data := self.socket.recv(1 << 16):
                with self._lock:
                    for event in self._h2.receive_data(data):
                        self._take(event)
                    self._flush()

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self.request = dict(event.headers)  # type: ignore[arg-type]  # it decodes them
        elif isinstance(event, DataReceived):
            self._data += event.data
            if self.generous and event.data:
                self._let_send(len(event.data))
        self.events.append(event)

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())

    def do(self, act: Callable[[H2Connection], Any]) -> None:
        with self._lock:
            act(self._h2)
            self._flush()

    def raw(self, *given: frames.Frame) -> None:
        with self._lock:
            self.socket.sendall(b''.join(frame.serialize() for frame in given))

    def _let_send(self, more: int) -> None:
        self._h2.increment_flow_control_window(more)
        self._h2.increment_flow_control_window(more, 1)

    def be_generous(self) -> None:
        eventually(lambda: len(self._data) == 65_535)
        with self._lock:
            self.generous = True
            self.do(lambda h2: self._let_send(len(self._data)))

    def begin(self) -> None:
        eventually(lambda: self.request)
        self.do(lambda h2: h2.send_headers(1, BEGUN))

    def send(self, message: bytes, **options: Any) -> None:
        self.data(b'\0' + struct.pack('!I', len(message)) + message, **options)

    def data(self, data: bytes, piece: int = 1 << 14, **options: Any) -> None:
        def send(h2: H2Connection) -> None:
            for at in range(0, len(data), piece):
                h2.send_data(1, data[at : at + piece], **options)

        self.do(send)

    def may_send(self) -> bool:
        with self._lock:
            return self._h2.local_flow_control_window(1) >= 30_000

    def end(self, fields: list[tuple[str, str]]) -> None:
        self.do(lambda h2: h2.send_headers(1, fields, end_stream=True))

    @property
    def messages(self) -> list[bytes]:
        """All whole messages that have come."""
        data, found = self._data, []
        while len(data) >= 5 and len(data) >= (end := 5 + int.from_bytes(data[1:5], 'big')):
            found.append(data[5:end])
            data = data[end:]
        return found

    def saw(self, kind: type[Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events)

    def leave(self) -> None:
        with contextlib.suppress(OSError):  # it has left
            self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self.socket.close()

    def close(self) -> None:
        self.leave()
        self.callers.close()


def begin(sock: socket.socket, timeout: float = 30, **options: int) -> Http2Call:
    return Http2Call(sock, Http2Stream(PATH, 'somewhere', **options), timeout)


@contextlib.contextmanager
def talking(
    settings: Mapping[SettingCodes, int] | None = None, **options: int
) -> Iterator[tuple[Http2Call, Peer]]:
    """A call that has begun, and its peer."""
    with contextlib.closing(Peer(settings)) as peer:
        call = begin(peer.callers, **options)
        peer.begin()
        yield call, peer


@pytest.fixture
def call_and_peer() -> Iterator[tuple[Http2Call, Peer]]:
    with talking() as both:
        yield both


def end_of(call: Http2Call) -> End:
    with pytest.raises(CallEnd) as caught:
        call.receive()
    return caught.value.end


def sending(call: Http2Call, message: bytes) -> tuple[threading.Thread, list[CallEnd]]:
    """Send on another thread; return it, and the end that it meets."""
    ends = []

    def send() -> None:
        try:
            call.send(message)
        except CallEnd as end:
            ends.append(end)

    thread = threading.Thread(target=send)
    thread.start()
    return thread, ends


# --- messages ------------------------------------------------------------------------------------


def test_a_call_says_what_grpc_wants_to_know(call_and_peer: Any) -> None:
    _, peer = call_and_peer
    assert peer.request == {
        ':method': 'POST',
        ':scheme': 'http',
        ':path': PATH,
        ':authority': 'somewhere',
        'te': 'trailers',
        'content-type': 'application/grpc',
        'user-agent': 'uactor-python',
    }


def has_got(peer: Any, count: int) -> bool:
    return len(peer.messages) == count


@pytest.mark.parametrize('size', [0, 1, 16_379, 16_380, 65_530, 65_531, 3_000_000])
def test_messages_of_any_size_go_both_ways(call_and_peer: Any, size: int) -> None:
    call, peer = call_and_peer
    message = bytes(range(256)) * (size // 256) + b'x' * (size % 256)
    for count in (1, 2):
        call.send(message)
        eventually(functools.partial(has_got, peer, count))
        sender = threading.Thread(target=peer.send, args=(message,))
        sender.start()
        assert bytes(call.receive()) == message
        sender.join()
    assert peer.messages == [message] * 2


@pytest.mark.parametrize('read', [1, 2, 5, 9, 14, 100])
@pytest.mark.parametrize('piece', [1, 3, 5, 7, 1000])
def test_messages_come_in_whatever_pieces(
    monkeypatch: pytest.MonkeyPatch, read: int, piece: int
) -> None:
    monkeypatch.setattr(http2, 'READ_BYTES', read)
    messages = [b'', b'one', b'', b'another' * 40, b'x']
    with talking() as (call, peer):
        for message in messages:
            peer.send(message, piece=piece)
        peer.end(OK)
        assert [bytes(call.receive()) for _ in messages] == messages
        assert end_of(call).status == 0


def test_data_may_be_padded(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.send(b'some text', piece=4, pad_length=200)
    assert call.receive() == b'some text'


@pytest.mark.parametrize('window', [1, 10, 1 << 20])
@pytest.mark.parametrize('frame', [1 << 14, 1 << 20])
def test_no_more_is_sent_than_the_other_end_takes(window: int, frame: int) -> None:
    """Of which h2 makes sure."""
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: frame}
    message = b'much' * (20 if window < 100 else 500_000)
    with talking(settings) as (call, peer):
        call.send(message)
        eventually(lambda: peer.messages == [message])


class Preceded(contextlib.AbstractContextManager[None]):
    """A lock, before which something is done the first so many times."""

    def __init__(self, lock: threading.RLock, *acts: Callable[[], object]) -> None:
        self._lock = lock
        self._acts = [*acts]

    def __enter__(self) -> None:
        if self._acts:
            self._acts.pop(0)()
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _is_owned(self) -> bool:
        return is_owned(self._lock)


@pytest.mark.parametrize('size', [30_000, 200_000])
@pytest.mark.parametrize('times', [1, 2, 3])
@pytest.mark.parametrize(
    ('setting', 'less'),
    [(SettingCodes.INITIAL_WINDOW_SIZE, 1000), (SettingCodes.MAX_FRAME_SIZE, 1 << 14)],
)
def test_no_more_is_sent_than_the_other_end_takes_once_it_takes_less(
    setting: SettingCodes, less: int, times: int, size: int
) -> None:
    """As grpcio does: it opens and closes windows as the traffic goes. h2 makes sure of it."""
    much = {SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20, SettingCodes.MAX_FRAME_SIZE: 1 << 20}
    with talking(much) as (call, peer):
        eventually(lambda: peer.saw(SettingsAcknowledged))  # else that is taken for the next one's

        window = call.stream.window

        def take_less() -> None:
            peer.do(lambda h2: h2.update_settings({setting: less}))
            while less not in (window.initial_bytes, window.max_frame_bytes):
                call.attend(10)

        def nothing() -> None: ...

        between = [nothing] * (times - 1)
        lock: Any = Preceded(call._lock, *between, take_less)  # noqa: SLF001  # where threads meet
        call._lock = lock  # noqa: SLF001
        messages = [bytes(size), bytes(size)]
        for message in messages:
            call.send(message)
        eventually(lambda: peer.messages == messages)


def test_a_sender_without_room_is_woken_by_the_receiving_thread() -> None:
    with talking() as (call, peer):
        peer.generous = False
        heard: list[bytes | bytearray] = []
        receiver = threading.Thread(target=lambda: heard.append(call.receive()))
        receiver.start()
        eventually(lambda: not call.attend())
        thread, ends = sending(call, b'x' * 200_000)
        eventually(lambda: call.is_sender_waiting)
        peer.be_generous()
        thread.join()
        assert not ends
        eventually(lambda: len(peer.messages) == 1)
        peer.send(b'heard')
        receiver.join()
        assert heard == [b'heard']


def test_a_sender_without_room_takes_over_receiving() -> None:
    with talking() as (call, peer):
        peer.generous = False
        receiver = threading.Thread(target=call.receive)
        receiver.start()
        eventually(lambda: not call.attend())
        thread, ends = sending(call, b'x' * 200_000)
        eventually(lambda: call.is_sender_waiting)
        peer.send(b'heard')
        receiver.join()
        peer.be_generous()
        thread.join()
        assert not ends


def test_a_message_received_while_sending_is_blocked_is_not_lost() -> None:
    with talking() as (call, peer):
        peer.generous = False
        thread, _ = sending(call, b'x' * 200_000)
        eventually(lambda: call.is_sender_waiting)
        peer.send(b'heard')
        peer.be_generous()
        thread.join()
        assert call.receive() == b'heard'


def test_the_other_end_may_send_on_and_on() -> None:
    with talking(window_bytes=100_000) as (call, peer):
        for _ in range(20):
            eventually(peer.may_send)
            peer.send(b'x' * 30_000)
            assert len(call.receive()) == 30_000


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('fields', 'end'),
    [
        (OK, End(0, '')),
        ([('grpc-status', '16'), ('grpc-message', 'no key')], End(16, 'no key')),
        ([('grpc-message', '100%25 %E2%82%AC'), ('grpc-status', '5')], End(5, '100% €')),
        ([('x', 'y')], End(2, 'the other end speaks no gRPC (HTTP status None)')),
        ([('grpc-status', 'bad')], End(2, 'the other end speaks no gRPC (HTTP status None)')),
    ],
)
def test_a_call_ends_with_its_status_after_all_messages(
    call_and_peer: Any, fields: list[tuple[str, str]], end: End
) -> None:
    call, peer = call_and_peer
    peer.send(b'last')
    peer.end(fields)
    assert call.receive() == b'last'
    assert end_of(call) == end == end_of(call)
    assert not call.is_open()
    with pytest.raises(CallEnd) as caught:
        call.send(b'too late')
    assert caught.value.end == end._replace(unread=True)


@pytest.mark.parametrize(
    ('fields', 'end'),
    [
        ([*BEGUN, ('grpc-status', '9'), ('grpc-message', 'too old')], End(9, 'too old')),
        ([(':status', '503')], End(2, 'the other end speaks no gRPC (HTTP status 503)')),
    ],
)
def test_a_call_may_end_without_having_begun(fields: list[tuple[str, str]], end: End) -> None:
    with contextlib.closing(Peer()) as peer:
        call = begin(peer.callers)
        eventually(lambda: peer.request)
        peer.end(fields)
        assert end_of(call) == end


def test_an_http_error_with_a_body_ends_the_call() -> None:
    with contextlib.closing(Peer()) as peer:
        call = begin(peer.callers)
        eventually(lambda: peer.request)
        peer.do(lambda h2: h2.send_headers(1, [(':status', '404')]))
        peer.data(b'there is no such page')
        assert end_of(call) == End(2, 'the other end speaks no gRPC (HTTP status 404)')


def test_headers_may_come_in_pieces(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    block = encode_headers([('grpc-status', '3'), ('grpc-message', 'long ' * 10)])
    first = frames.HeadersFrame(1, block[:10], flags=['END_STREAM', 'PADDED', 'PRIORITY'])
    first.pad_length = 7
    last = frames.ContinuationFrame(1, block[20:], flags=['END_HEADERS'])
    peer.raw(first, frames.ContinuationFrame(1, block[10:20]), last)
    assert end_of(call) == End(3, 'long ' * 10)


@pytest.mark.parametrize(
    ('code', 'end'),
    [
        (ErrorCodes.REFUSED_STREAM, End(14, 'the stream was reset with code 7', unread=True)),
        (ErrorCodes.CANCEL, End(1, 'the stream was reset with code 8')),
        (ErrorCodes.ENHANCE_YOUR_CALM, End(8, 'the stream was reset with code 11')),
        (ErrorCodes.INADEQUATE_SECURITY, End(7, 'the stream was reset with code 12')),
        (ErrorCodes.NO_ERROR, End(13, 'the stream was reset with code 0')),
    ],
)
def test_a_stream_that_is_reset_is_the_end(call_and_peer: Any, code: Any, end: End) -> None:
    call, peer = call_and_peer
    peer.do(lambda h2: h2.reset_stream(1, code))
    assert end_of(call) == end


def test_an_end_that_goes_away_has_not_read_what_it_does_not_know(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.raw(frames.GoAwayFrame(0, last_stream_id=0, error_code=0))
    assert end_of(call) == End(14, 'the other end goes away', unread=True)


def test_an_end_that_goes_away_may_end_the_call_first(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.raw(frames.GoAwayFrame(0, last_stream_id=1, error_code=0))
    peer.send(b'still')
    assert call.receive() == b'still'
    reason = frames.GoAwayFrame(0, last_stream_id=1, error_code=11, additional_data=b'too much')
    peer.raw(reason)
    peer.leave()
    assert end_of(call) == End(None, 'the other end went away with code 11: too much')


def test_a_connection_that_is_closed_is_the_end(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    assert call.is_open()
    peer.leave()
    assert not call.is_open()
    assert end_of(call) == End(None, 'the connection was closed')


def test_a_message_that_can_not_be_sent_counts_as_unread(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.leave()
    with pytest.raises(CallEnd) as caught:
        call.send(b'hello')
    assert caught.value.end.unread


@pytest.mark.parametrize('receives', [True, False])
def test_a_sender_without_room_notices_the_end(call_and_peer: Any, receives: bool) -> None:
    call, peer = call_and_peer
    peer.generous = False
    if receives:
        receiver = threading.Thread(target=end_of, args=(call,))
        receiver.start()
        eventually(lambda: not call.attend())
    thread, ends = sending(call, b'x' * 200_000)
    eventually(lambda: call.is_sender_waiting)
    peer.end([('grpc-status', '8'), ('grpc-message', 'too large')])
    thread.join()
    assert [end.end for end in ends] == [End(8, 'too large', unread=True)]
    if receives:
        receiver.join()


def test_hanging_up_ends_the_wait_of_another_thread(call_and_peer: Any) -> None:
    call, _ = call_and_peer
    ends: list[End] = []
    receiver = threading.Thread(target=lambda: ends.append(end_of(call)))
    receiver.start()
    eventually(lambda: not call.attend())
    call.hang_up()
    receiver.join()
    assert ends == [End(None, 'the connection was closed')]
    call.hang_up()


def test_finishing_lets_the_other_end_finish(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    call.send(b'goodbye')
    call.finish()
    eventually(lambda: peer.saw(StreamEnded))
    assert peer.messages == [b'goodbye']
    peer.end(OK)
    assert end_of(call).status == 0


# --- what is not of the call ---------------------------------------------------------------------


def test_pings_are_answered_by_who_receives(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.do(lambda h2: h2.ping(b'are you?'))
    peer.send(b'answer')
    assert call.receive() == b'answer'
    eventually(lambda: peer.saw(PingAckReceived))


def test_pings_are_answered_by_who_attends(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.do(lambda h2: h2.ping(b'are you?'))
    eventually(lambda: call.attend() and peer.saw(PingAckReceived))


def test_frames_of_other_kinds_do_nothing(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    priority = frames.PriorityFrame(1, depends_on=0, stream_weight=1)
    other_window = frames.WindowUpdateFrame(3, window_increment=5)
    peer.raw(frames.AltSvcFrame(0, origin=b'o', field=b'f'), priority, other_window)
    peer.raw(frames.PingFrame(0, b'answered', flags=['ACK']))
    peer.send(b'answer')
    assert call.receive() == b'answer'


# --- what is no call -----------------------------------------------------------------------------


HUGE_SETTINGS = b'\x10\0\0\x04\0\0\0\0\0'


@pytest.mark.parametrize(
    'said', [b'HTTP/1.1 400 Bad Request\r\n\r\n', b'SSH-2.0-OpenSSH_9.2\r\n', HUGE_SETTINGS]
)
def test_a_peer_with_another_protocol_is_refused(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        with pytest.raises(CallEnd, match='speaks no HTTP/2'):
            begin(ours)


@pytest.mark.processes
def test_to_send_to_who_has_gone_is_an_error_also_where_sigpipe_would_kill() -> None:
    code = f"""
        import signal, socket
        from uactor.transport.http2 import Http2Call
        from uactor.transport.http2_stream import CallEnd, Http2Stream
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair()
        theirs.sendall({frames.SettingsFrame().serialize()!r})
        call = Http2Call(ours, Http2Stream({PATH!r}, 'somewhere'), timeout=30)
        theirs.close()
        try:
            call.send(b'x')
        except CallEnd:
            print('gone')
    """
    command = [sys.executable, '-c', textwrap.dedent(code)]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b'gone\n'


def test_the_client_does_not_wait_for_a_silent_peer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(CallEnd, match='timed out'):
        begin(ours, timeout=0.05)


class Padding(frames.DataFrame):
    """Data that says that it is padded, and has no room for how much."""

    def serialize_body(self) -> bytes:
        return b''


class Short(frames.WindowUpdateFrame):
    def serialize_body(self) -> bytes:
        return b'\1\2'


FAULTS = {
    'a compressed message': (frames.DataFrame(1, b'\1\0\0\0\1x'), 'compressed'),
    'data for another stream': (frames.DataFrame(3, b'x'), 'stream 3'),
    'data without a status': (frames.DataFrame(1, b'', flags=['END_STREAM']), 'without a status'),
    'padding without end': (Padding(1, b'', flags=['PADDED']), 'too short'),
    'too short a frame': (Short(0, window_increment=1), 'too short'),
    'a long frame': (frames.GoAwayFrame(0, additional_data=bytes(70_000)), '70008 bytes'),
    'half a header block': (frames.HeadersFrame(1, b'\0\5ab', flags=['END_HEADERS']), 'too soon'),
    'a continuation of nothing': (frames.ContinuationFrame(1, b''), 'in one piece'),
}


@pytest.mark.parametrize('fault', FAULTS)
def test_a_fault_of_the_other_end_is_the_end(call_and_peer: Any, fault: str) -> None:
    call, peer = call_and_peer
    wrong, why = FAULTS[fault]
    peer.raw(wrong)
    end = end_of(call)
    assert end.status == 13
    assert why in end.details


def test_headers_may_not_be_interrupted(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.raw(frames.HeadersFrame(1, b''), frames.PingFrame(0, b'01234567'))
    assert 'in one piece' in end_of(call).details


def test_headers_may_not_go_on_for_ever(call_and_peer: Any) -> None:
    call, peer = call_and_peer
    peer.raw(frames.HeadersFrame(1, bytes(40_000)), frames.ContinuationFrame(1, bytes(40_000)))
    assert 'too long' in end_of(call).details


def test_a_peer_that_resets_a_connection_as_soon_as_it_is_there_is_out_of_reach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(('localhost', 0)) as server:
        streams = GrpcTransport(f'localhost:{server.getsockname()[1]}')
        connected = streams.connect

        def reset(*given: Any) -> socket.SocketType:
            sock = connected(*given)
            peer, _ = server.accept()
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            peer.close()
            poll = select.poll()
            poll.register(sock, 0)
            assert poll.poll(30_000)  # it has come here
            return sock

        monkeypatch.setattr(streams, 'connect', reset)
        with pytest.raises(StreamEnd):
            streams.open(lambda: None)
