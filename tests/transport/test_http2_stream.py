"""HTTP/2 without sockets: the table of states, frames split anywhere, windows, and violations."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import grpc
import pytest
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from uactor.transport.hpack import encode_headers
from uactor.transport.http2_frames import (
    ACK,
    CONNECTION,
    DEFAULT_MAX_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    LARGEST_MAX_FRAME_BYTES,
    MAX_31_BITS,
    PADDED,
    PREFACE,
    STREAM,
    FrameHead,
    FrameType,
    Setting,
    build_frame,
    build_settings,
    build_window_update,
    read_head,
    read_settings,
    read_window_update,
)
from uactor.transport.http2_stream import (
    MAX_CONTROL_BYTES,
    TRANSITIONS,
    CallEnd,
    CallEnded,
    End,
    Event,
    FramesDue,
    Http2Stream,
    MessageReader,
    MessageReceived,
    SendWindow,
    SettingsReceived,
    Status,
    StreamState,
    Unsent,
    WindowOpened,
    next_state,
    validate_head,
)

pytestmark = pytest.mark.quick

OTHERS: Any = frames
GREETING, OPEN = StreamState.GREETING, StreamState.OPEN
IN_DATA, IN_HEADERS, ENDED = StreamState.IN_DATA, StreamState.IN_HEADERS, StreamState.ENDED
UNKNOWN = 0x77
KINDS = [*FrameType, UNKNOWN]
BEGUN = encode_headers([(':status', '200'), ('content-type', 'application/grpc')])
OK = encode_headers([('grpc-status', '0')])


def add_prefix(message: bytes) -> bytes:
    return b'\0' + struct.pack('!I', len(message)) + message


def data(content: bytes, flags: int = 0) -> bytes:
    return build_frame(FrameType.DATA, flags, STREAM, content)


def headers(block: bytes, flags: int = END_HEADERS) -> bytes:
    return build_frame(FrameType.HEADERS, flags, STREAM, block)


def continuation(block: bytes, flags: int = 0) -> bytes:
    return build_frame(FrameType.CONTINUATION, flags, STREAM, block)


def trailers(**fields: str) -> bytes:
    block = encode_headers([(name.replace('_', '-'), value) for name, value in fields.items()])
    return headers(block, END_HEADERS | END_STREAM)


SETTINGS = build_settings({})
PING = build_frame(FrameType.PING, 0, CONNECTION, b'01234567')
PONG = build_frame(FrameType.PING, ACK, CONNECTION, b'01234567')


def make_greeted(**options: int) -> Http2Stream:
    """A stream to which the peer's settings have come."""
    stream = Http2Stream('/path', 'peer', **options)
    stream.begin()
    assert stream.receive(SETTINGS) == [SettingsReceived({})]
    return stream


def pieces(whole: bytes, size: int) -> Iterable[bytes]:
    return (whole[at : at + size] for at in range(0, len(whole), size))


def receive_all(stream: Http2Stream, parts: Iterable[bytes]) -> list[Event]:
    return [event for part in parts for event in stream.receive(part)]


def messages_of(events: Sequence[Event]) -> list[bytes]:
    return [bytes(event.message) for event in events if isinstance(event, MessageReceived)]


def end_of(events: Sequence[Event]) -> End:
    """The end that the last event reports, and only that one."""
    ends = [event for event in events if isinstance(event, CallEnded)]
    assert [*events[-1:]] == ends
    return ends[0].end


# --- the table of states -------------------------------------------------------------------------

NEXT = {
    (GREETING, FrameType.SETTINGS, 0): OPEN,
    (GREETING, FrameType.SETTINGS, ACK): GREETING,
    (OPEN, FrameType.DATA, 0): IN_DATA,
    (OPEN, FrameType.DATA, END_STREAM): IN_DATA,
    (OPEN, FrameType.DATA, PADDED): OPEN,
    (OPEN, FrameType.DATA, PADDED | END_STREAM): OPEN,
    (OPEN, FrameType.HEADERS, 0): IN_HEADERS,
    (OPEN, FrameType.HEADERS, END_STREAM): IN_HEADERS,
    (OPEN, FrameType.HEADERS, END_HEADERS): OPEN,
    (OPEN, FrameType.HEADERS, END_HEADERS | END_STREAM): OPEN,
    (IN_HEADERS, FrameType.CONTINUATION, 0): IN_HEADERS,
    (IN_HEADERS, FrameType.CONTINUATION, END_HEADERS): OPEN,
    **{
        (OPEN, kind, flags): OPEN
        for kind in KINDS
        for flags in (0, ACK)
        if kind not in (FrameType.DATA, FrameType.HEADERS, FrameType.CONTINUATION)
    },
}
"""What each legal frame leads to. All others are illegal."""

FLAGS = [0, END_STREAM, PADDED, PADDED | END_STREAM, END_HEADERS, END_HEADERS | END_STREAM]


@pytest.mark.parametrize('flags', FLAGS)
@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('state', StreamState)
def test_the_table_of_states_is_complete(state: StreamState, kind: int, flags: int) -> None:
    relevant = flags
    if (state, kind) in TRANSITIONS:
        relevant &= TRANSITIONS[state, kind].flag
    elif state is OPEN:
        relevant = 0
    expected = NEXT.get((state, kind, relevant))
    assert next_state(state, kind, flags) is expected


@pytest.mark.parametrize('state', [IN_DATA, ENDED])
@pytest.mark.parametrize('kind', KINDS)
def test_no_frame_begins_within_data_or_after_the_end(state: StreamState, kind: int) -> None:
    assert next_state(state, kind, 0) is None


@settings(deadline=None)
@given(st.sampled_from(StreamState), st.integers(0, 255), st.integers(0, 255))
def test_each_event_leads_to_a_state_or_is_refused(
    state: StreamState, kind: int, flags: int
) -> None:
    following = next_state(state, kind, flags)
    try:
        found = validate_head(state, (0, kind, flags, STREAM))
    except CallEnd:
        assert following is None
    else:
        assert found is following


@pytest.mark.parametrize(
    'head',
    [
        (0, FrameType.DATA, 0, STREAM),
        (0, FrameType.HEADERS, END_HEADERS, STREAM),
        (8, FrameType.PING, 0, CONNECTION),
        (0, UNKNOWN, 0, CONNECTION),
        (MAX_CONTROL_BYTES + 1, FrameType.SETTINGS, 0, CONNECTION),
        read_head(b'HTTP/1.1 400 Bad Request'),
        read_head(b'SSH-2.0-OpenSSH'),
    ],
    ids=str,
)
def test_a_peer_that_does_not_begin_with_its_settings_speaks_no_http2(head: FrameHead) -> None:
    with pytest.raises(CallEnd, match='speaks no HTTP/2') as caught:
        validate_head(GREETING, head)
    assert caught.value.end.status is None


@pytest.mark.parametrize('stream', [0, 2, 3, MAX_31_BITS])
@pytest.mark.parametrize(
    'kind', [FrameType.DATA, FrameType.HEADERS, FrameType.RST_STREAM, FrameType.CONTINUATION]
)
@pytest.mark.parametrize('state', [OPEN, IN_HEADERS])
def test_frames_of_other_streams_are_refused(state: StreamState, kind: int, stream: int) -> None:
    with pytest.raises(CallEnd, match=f'stream {stream}'):
        validate_head(state, (0, kind, 0, stream))


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind is not FrameType.DATA])
def test_only_data_may_be_long(kind: int) -> None:
    head = (MAX_CONTROL_BYTES + 1, kind, 0, STREAM)
    with pytest.raises(CallEnd, match=f'type {kind} has 65537 bytes') as caught:
        validate_head(OPEN, head)
    assert caught.value.end.status == Status.INTERNAL
    long = (LARGEST_MAX_FRAME_BYTES, FrameType.DATA, 0, STREAM)
    assert validate_head(OPEN, long) is IN_DATA


@pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != FrameType.CONTINUATION])
def test_a_header_block_comes_in_one_piece(kind: int) -> None:
    with pytest.raises(CallEnd, match='in one piece'):
        validate_head(IN_HEADERS, (0, kind, 0, STREAM))


# --- messages ------------------------------------------------------------------------------------

TALK = [b'', b'one', b'', b'another' * 40, b'x', bytes(2000)]


def conversation(messages: Sequence[bytes], frame_size: int, pad: int) -> bytes:
    """What a peer sends that answers with messages, with frames of all kinds in between."""
    sent = [SETTINGS, headers(BEGUN[:3], 0), continuation(BEGUN[3:], END_HEADERS)]
    content = b''.join(map(add_prefix, messages))
    for part in pieces(content, frame_size):
        if pad:
            frame = OTHERS.DataFrame(1, part, flags=['PADDED'], pad_length=pad)
            sent += [frame.serialize(), PING]
        else:
            sent += [data(part), PONG]
        sent.append(build_frame(UNKNOWN, 0xFF, 5, b'unknown'))
        sent.append(OTHERS.PriorityFrame(1, depends_on=0, stream_weight=1).serialize())
        sent.append(build_window_update(STREAM, 5) + build_window_update(7, 5))
    sent += [data(b''), trailers(grpc_status='0')]
    return b''.join(sent)


@pytest.mark.parametrize('pad', [0, 1, 200])
@pytest.mark.parametrize('frame_size', [1, 4, 5, 6, 100, 3000])
@pytest.mark.parametrize('size', [1, 2, 3, 5, 8, 9, 10, 11, 13, 100, 1 << 13, 1 << 20])
def test_frames_may_be_split_anywhere(size: int, frame_size: int, pad: int) -> None:
    messages = TALK[: 3 if size * frame_size < 30 else None]
    whole = conversation(messages, frame_size, pad)
    stream = Http2Stream('/path', 'peer')
    stream.begin()
    events = receive_all(stream, pieces(whole, size))
    assert messages_of(events) == messages
    assert end_of(events) == End(0, '')
    assert stream.state is ENDED


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=6), st.data())
def test_however_frames_are_split_the_events_are_the_same(
    messages: list[bytes], draw: st.DataObject
) -> None:
    frame_size = draw.draw(st.integers(1, 400))
    whole = conversation(messages, frame_size, draw.draw(st.integers(0, 3)))
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=20)))
    parts = [whole[at:to] for at, to in itertools.pairwise([0, *cuts, len(whole)]) if at < to]
    assert receive_all(Http2Stream('/', 'peer'), parts) == receive_all(
        Http2Stream('/', 'peer'), [whole]
    )


@settings(deadline=None)
@given(st.lists(st.binary(max_size=3000), max_size=5), st.integers(1, 2000), st.integers(1, 1000))
def test_bytes_that_are_received_directly_make_the_same_messages(
    messages: list[bytes], frame_size: int, size: int
) -> None:
    """As the socket does it: bytes of a message go where they belong, all others are read."""
    whole = conversation(messages, frame_size, 0)
    stream, events, at = Http2Stream('/', 'peer'), list[Event](), 0
    while at < len(whole):
        count = min(size, stream.direct_bytes)
        partial = stream.messages.partial
        if count and partial is not None:
            partial.add(whole[at : at + count])
            events += stream.receive_direct(count)
        else:
            count = len(part := whole[at : at + 10])
            events += stream.receive(part)
        at += count
    assert messages_of(events) == messages
    assert end_of(events) == End(0, '')
    assert stream.progress == sum(len(message) + 5 for message in messages)


def test_bytes_that_are_received_directly_may_end_the_call() -> None:
    stream = make_greeted()
    assert stream.receive(data(add_prefix(b'long text'), END_STREAM)[:-4]) == []
    assert stream.direct_bytes == 4
    assert stream.messages.partial is not None
    stream.messages.partial.add(b'text')
    *_, message, end = stream.receive_direct(4)
    assert message == MessageReceived(b'long text')
    assert isinstance(end, CallEnded)
    assert 'without a status' in end.end.details


def test_nothing_is_received_directly_outside_of_messages() -> None:
    stream = make_greeted()
    assert stream.direct_bytes == 0
    stream.receive(data(add_prefix(b'one') + b'\0\0'))
    assert stream.direct_bytes == 0
    stream.receive(data(struct.pack('!I', 100)[1:] + b'o'))
    assert stream.messages.partial is not None
    assert stream.direct_bytes == 0  # a head comes first


@pytest.mark.parametrize('size', [0, 1, 4, 5, 100])
def test_messages_up_to_a_limit_are_accepted(size: int) -> None:
    reader, events = MessageReader(), list[Event]()
    reader.max_bytes = 4
    if size <= 4:
        reader.read(add_prefix(bytes(size)), events)
        assert messages_of(events) == [bytes(size)]
        return
    with pytest.raises(CallEnd, match=f'has {size} bytes, not at most 4') as caught:
        reader.read(add_prefix(bytes(size)), events)
    assert caught.value.end.status is None


def test_a_limit_of_zero_accepts_empty_messages_only() -> None:
    reader, events = MessageReader(), list[Event]()
    reader.max_bytes = 0
    reader.read(add_prefix(b''), events)
    assert messages_of(events) == [b'']
    with pytest.raises(CallEnd, match='not at most 0'):
        reader.read(add_prefix(b'x'), events)


def test_a_message_that_is_only_announced_takes_little_memory() -> None:
    reader, events = MessageReader(), list[Event]()
    reader.read(b'\0\xff\xff\xff\xff', events)
    assert events == []
    assert reader.partial is not None
    assert reader.partial.size == 0xFFFFFFFF
    assert len(reader.partial.data) <= 1 << 20


def test_messages_before_a_compressed_one_are_delivered() -> None:
    stream = make_greeted()
    events = stream.receive(data(add_prefix(b'good') + b'\1\0\0\0\1x'))
    assert messages_of(events) == [b'good']
    assert 'compressed' in end_of(events).details


# --- sending -------------------------------------------------------------------------------------


def test_a_call_begins_with_settings_a_window_and_headers() -> None:
    begun = Http2Stream('/path', 'peer', window_bytes=100_000).begin()
    assert begun.startswith(PREFACE)
    rest = begun.removeprefix(PREFACE)
    found = []
    while rest:
        length, kind, flags, number = read_head(rest)
        found.append((kind, flags, number))
        content, rest = rest[HEAD_BYTES:][:length], rest[HEAD_BYTES + length :]
        if kind == FrameType.SETTINGS:
            assert read_settings(content) == {
                Setting.HEADER_TABLE_SIZE: 0,
                Setting.ENABLE_PUSH: 0,
                Setting.INITIAL_WINDOW_SIZE: 100_000,
                Setting.MAX_FRAME_SIZE: LARGEST_MAX_FRAME_BYTES,
            }
        if kind == FrameType.WINDOW_UPDATE:
            assert read_window_update(content) == 100_000 - DEFAULT_WINDOW_BYTES
    assert found == [
        (FrameType.SETTINGS, 0, CONNECTION),
        (FrameType.WINDOW_UPDATE, 0, CONNECTION),
        (FrameType.HEADERS, END_HEADERS, STREAM),
    ]


@pytest.mark.parametrize('size', [0, 1, 100, DEFAULT_MAX_FRAME_BYTES - 5])
def test_a_small_message_is_one_frame(size: int) -> None:
    stream = make_greeted()
    assert stream.send(bytes(size)) == data(add_prefix(bytes(size)))
    assert stream.progress == size + 5


@pytest.mark.parametrize('size', [DEFAULT_MAX_FRAME_BYTES - 4, 70_000, 1_000_000])
def test_a_message_that_does_not_fit_is_not_sent_whole(size: int) -> None:
    stream = make_greeted()
    assert stream.send(bytes(size)) == b''
    assert stream.progress == 0


def send_in_parts(stream: Http2Stream, message: bytes) -> list[bytes]:
    """Send what can be sent of a message."""
    unsent, sent = Unsent(message), []
    while frame := stream.send_part(unsent):
        sent.append(frame)
    return sent


def contents(sent: Iterable[bytes]) -> bytes:
    return b''.join(frame[HEAD_BYTES:] for frame in sent)


@settings(deadline=None)
@given(
    st.binary(max_size=2000),
    st.integers(1, 300),
    st.lists(st.tuples(st.booleans(), st.integers(0, 500)), max_size=20),
)
def test_no_more_is_sent_than_windows_and_frames_allow(
    message: bytes, frame_bytes: int, openings: list[tuple[bool, int]]
) -> None:
    stream = make_greeted()
    stream.apply_settings({Setting.INITIAL_WINDOW_SIZE: 100, Setting.MAX_FRAME_SIZE: frame_bytes})
    unsent, sent = Unsent(message), list[bytes]()
    limits = {CONNECTION: DEFAULT_WINDOW_BYTES, STREAM: 100}
    for is_connection, more in [(False, 0), *openings]:
        number = CONNECTION if is_connection else STREAM
        limits[number] += more
        assert stream.receive(build_window_update(number, more)) == [WindowOpened()]
        while frame := stream.send_part(unsent):
            size = len(frame) - HEAD_BYTES
            assert read_head(frame) == (size, FrameType.DATA, 0, STREAM)
            assert size <= frame_bytes
            sent.append(frame)
        assert len(contents(sent)) == min(len(message) + 5, *limits.values())
    whole = add_prefix(message)
    assert contents(sent) == whole[: len(contents(sent))]
    assert len(unsent) == len(whole) - len(contents(sent))


@pytest.mark.parametrize('size', [0, 1, 5, 6, 100])
@pytest.mark.parametrize('cut', [1, 4, 5, 6, 1000])
def test_a_message_is_cut_into_its_bytes(size: int, cut: int) -> None:
    message = bytes(range(size))
    unsent, parts = Unsent(message), []
    while unsent:
        parts.append(unsent.cut(min(cut, len(unsent))))
    assert b''.join(parts) == add_prefix(message)
    assert all(len(part) == cut for part in parts[:-1])


def test_settings_are_applied_before_they_are_acknowledged() -> None:
    stream = make_greeted()
    settings = {Setting.INITIAL_WINDOW_SIZE: 10, Setting.MAX_FRAME_SIZE: 20_000, 0x99: 7}
    frame = OTHERS.SettingsFrame(settings={int(key): value for key, value in settings.items()})
    assert stream.receive(frame.serialize()) == [SettingsReceived(settings)]
    assert stream.window.room_bytes == DEFAULT_WINDOW_BYTES
    assert stream.apply_settings(settings) == build_frame(FrameType.SETTINGS, ACK, CONNECTION)
    assert stream.window.room_bytes == 10
    assert stream.window.max_frame_bytes == 20_000


def test_a_peer_may_take_back_more_than_there_is() -> None:
    window = SendWindow()
    window.sent_bytes = 1000
    window.apply({Setting.INITIAL_WINDOW_SIZE: 300})
    assert window.room_bytes == -700
    window.apply({})
    assert window.room_bytes == -700
    assert window.open(STREAM, 800)
    assert window.room_bytes == 100
    window.apply({Setting.INITIAL_WINDOW_SIZE: 1 << 20})
    assert window.room_bytes == DEFAULT_WINDOW_BYTES - 1000  # the connection has a window, too


def test_nothing_is_sent_while_the_window_is_closed() -> None:
    stream = make_greeted()
    stream.apply_settings({Setting.INITIAL_WINDOW_SIZE: 0})
    assert stream.send(b'') == b''
    assert send_in_parts(stream, b'x') == []
    stream.apply_settings({Setting.INITIAL_WINDOW_SIZE: 6})
    assert contents(send_in_parts(stream, b'x')) == add_prefix(b'x')


def test_windows_of_other_streams_open_nothing() -> None:
    stream = make_greeted()
    assert stream.receive(build_window_update(3, 1000)) == []
    assert stream.window.room_bytes == DEFAULT_WINDOW_BYTES


def test_a_finished_call_goes_on_receiving() -> None:
    stream = make_greeted()
    assert stream.finish() == data(b'', END_STREAM)
    assert messages_of(stream.receive(data(add_prefix(b'last')))) == [b'last']


# --- what the peer is owed -----------------------------------------------------------------------


def test_a_ping_is_owed_a_reply() -> None:
    stream = make_greeted()
    assert stream.receive(PING) == [FramesDue(PONG)]
    assert stream.receive(PONG) == []


@pytest.mark.parametrize('is_padded', [False, True])
def test_a_window_is_opened_before_it_closes(is_padded: bool) -> None:
    window = 100_000
    stream = make_greeted(window_bytes=window)
    sent = opened = 0
    for _ in range(200):
        if is_padded:
            frame = OTHERS.DataFrame(1, bytes(2000), flags=['PADDED'], pad_length=99).serialize()
        else:
            frame = data(bytes(2100))
        sent += len(frame) - HEAD_BYTES
        assert sent - opened <= window
        for event in stream.receive(frame):
            if isinstance(event, FramesDue):
                more = int.from_bytes(event.frames[HEAD_BYTES:][:4], 'big')
                assert event.frames == build_window_update(CONNECTION, more) + build_window_update(
                    STREAM, more
                )
                opened += more
    assert sent - opened <= window // 2


def test_a_window_is_opened_by_what_has_come_once_half_of_it_has() -> None:
    stream = make_greeted(window_bytes=100_000)
    half, byte = data(bytes(50_000)), data(b'\0')
    opened = b''.join(build_window_update(number, 50_001) for number in (CONNECTION, STREAM))
    for _ in range(2):
        assert not [event for event in stream.receive(half) if isinstance(event, FramesDue)]
        assert FramesDue(opened) in stream.receive(byte)


# --- the end -------------------------------------------------------------------------------------


def test_statuses_have_the_numbers_of_grpc() -> None:
    numbers = {status.name: status.value[0] for status in grpc.StatusCode}
    assert {status.name: status.value for status in Status}.items() <= numbers.items()


NO_GRPC = 'the other end speaks no gRPC (HTTP status {})'
REFUSED = End(Status.UNAVAILABLE, 'the stream was reset with code 7', unread=True)


def reset(code: int) -> bytes:
    return build_frame(FrameType.RST_STREAM, 0, STREAM, struct.pack('!I', code))


def goaway(last: int, code: int, reason: bytes = b'') -> bytes:
    return build_frame(FrameType.GOAWAY, 0, CONNECTION, struct.pack('!II', last, code) + reason)


ENDS = {
    'ok': (trailers(grpc_status='0'), End(0, '')),
    'status': (trailers(grpc_status='16', grpc_message='no key'), End(16, 'no key')),
    'quoted': (trailers(grpc_message='100%25 %E2%82%AC', grpc_status='5'), End(5, '100% €')),
    'no status': (trailers(x='y'), End(2, NO_GRPC.format(None))),
    'bad status': (trailers(grpc_status='bad'), End(2, NO_GRPC.format(None))),
    'endless status': (trailers(grpc_status='1' * 9000), End(2, NO_GRPC.format(None))),
    'http error': (headers(encode_headers([(':status', '503')])), End(2, NO_GRPC.format('503'))),
    'empty http status': (headers(encode_headers([(':status', '')])), End(2, NO_GRPC.format(''))),
    'refused': (reset(7), REFUSED),
    'cancelled': (reset(8), End(1, 'the stream was reset with code 8')),
    'too much': (reset(11), End(8, 'the stream was reset with code 11')),
    'insecure': (reset(12), End(7, 'the stream was reset with code 12')),
    'other code': (reset(0), End(13, 'the stream was reset with code 0')),
    'goes away': (goaway(0, 0), End(14, 'the other end goes away', unread=True)),
    'goes away angrily': (
        goaway(0, 11, b'calm'),
        End(14, 'the other end went away with code 11: calm', unread=True),
    ),
    'closed': (b'', End(None, 'the connection was closed')),
}


@pytest.mark.parametrize('name', ENDS)
@pytest.mark.parametrize('has_talked', [False, True])
def test_a_call_ends(name: str, has_talked: bool) -> None:
    last, end = ENDS[name]
    stream = make_greeted()
    if has_talked:
        events = stream.receive(headers(BEGUN) + data(add_prefix(b'last')))
        assert messages_of(events) == [b'last']
    assert end_of(stream.receive(last)) == end
    assert stream.state is ENDED


@pytest.mark.parametrize('name', [name for name in ENDS if name != 'closed'])
def test_nothing_counts_after_the_end(name: str) -> None:
    last, end = ENDS[name]
    stream = make_greeted()
    more = data(add_prefix(b'more')) + PING + build_window_update(STREAM, 5)
    assert end_of(stream.receive(data(add_prefix(b'last')) + last + more)) == end
    assert stream.receive(more) == []
    assert stream.receive(b'') == []


@pytest.mark.parametrize('status', ['100', '103', '200', '299'])
def test_headers_of_a_success_or_of_less_begin_the_call(status: str) -> None:
    stream = make_greeted()
    assert stream.receive(headers(encode_headers([(':status', status)]))) == []
    assert stream.state is OPEN


def test_a_farewell_is_received_when_the_connection_is_closed() -> None:
    stream = make_greeted()
    assert stream.receive(goaway(1, 0)) == []
    assert messages_of(stream.receive(data(add_prefix(b'still')))) == [b'still']
    assert stream.receive(goaway(MAX_31_BITS, 11, b'too much')) == []
    end = End(None, 'the other end went away with code 11: too much')
    assert end_of(stream.receive(b'')) == end


@pytest.mark.parametrize('said', [b'', b'HTTP/1.1 400 Bad Request', SETTINGS[:5]])
def test_a_call_may_end_before_it_has_begun(said: bytes) -> None:
    stream = Http2Stream('/path', 'peer')
    events = [*stream.receive(said)] if said else []
    assert end_of(events or stream.receive(b'')).status is None


def test_an_acknowledgement_is_no_greeting() -> None:
    stream = Http2Stream('/path', 'peer')
    assert stream.receive(build_frame(FrameType.SETTINGS, ACK, CONNECTION)) == []
    assert stream.state is GREETING


# --- violations ----------------------------------------------------------------------------------

VIOLATIONS = {
    'a compressed message': (data(b'\1\0\0\0\1x'), 'compressed'),
    'data of another stream': (build_frame(FrameType.DATA, 0, 3, b'x'), 'stream 3'),
    'data of no stream': (build_frame(FrameType.DATA, 0, 0, b'x'), 'stream 0'),
    'no status': (data(b'', END_STREAM), 'without a status'),
    'no status behind data': (data(add_prefix(b'x'), END_STREAM), 'without a status'),
    'no status, padded': (data(b'\3xyz', PADDED | END_STREAM), 'without a status'),
    'padding without length': (data(b'', PADDED), 'type 0 is too short'),
    'too much padding': (data(b'\x05some', PADDED), 'type 0 is too short'),
    'headers without padding': (headers(b'', PADDED | END_HEADERS), 'type 1 is too short'),
    'half a window': (build_frame(FrameType.WINDOW_UPDATE, 0, 0, b'\1\2'), 'type 8 is too short'),
    'half a code': (build_frame(FrameType.RST_STREAM, 0, 1, b'\1\2'), 'type 3 is too short'),
    'half a farewell': (build_frame(FrameType.GOAWAY, 0, 0, b'\1\2'), 'type 7 is too short'),
    'frames without bytes': (
        build_settings({Setting.MAX_FRAME_SIZE: 0}),
        'frames of at most 0 bytes',
    ),
    'frames that are too large': (
        build_settings({Setting.MAX_FRAME_SIZE: LARGEST_MAX_FRAME_BYTES + 1}),
        'frames of at most 16777216 bytes',
    ),
    'an initial window that is too large': (
        build_settings({Setting.INITIAL_WINDOW_SIZE: MAX_31_BITS + 1}),
        'larger than HTTP/2 allows',
    ),
    'a window that grows too large': (
        build_window_update(CONNECTION, MAX_31_BITS),
        'larger than HTTP/2 allows',
    ),
    'half a setting': (build_frame(FrameType.SETTINGS, 0, 0, b'\0\1\2'), 'type 4 is too short'),
    'a long farewell': (goaway(1, 0, bytes(70_000)), '70008 bytes'),
    'half a header block': (headers(b'\0\5ab'), 'too soon'),
    'a field that there is not': (headers(b'\xff\1'), 'there is none'),
    'a continuation of nothing': (continuation(b''), 'in one piece'),
    'a ping within headers': (headers(b'', 0) + PING, 'in one piece'),
    'headers within headers': (headers(b'', 0) + headers(b''), 'in one piece'),
    'headers without end': (
        headers(bytes(40_000), 0) + continuation(bytes(40_000)),
        'too long',
    ),
}


@pytest.mark.parametrize('size', [1, 7, 1 << 20])
@pytest.mark.parametrize('name', VIOLATIONS)
def test_a_violation_ends_the_call(name: str, size: int) -> None:
    wrong, why = VIOLATIONS[name]
    stream = make_greeted()
    end = end_of(receive_all(stream, pieces(wrong, size)))
    assert end.status == Status.INTERNAL
    assert why in end.details
    assert not end.unread


@pytest.mark.parametrize('kind', [FrameType.PING, FrameType.HEADERS, FrameType.GOAWAY, UNKNOWN])
def test_a_frame_that_is_too_long_is_refused_before_its_content_comes(kind: int) -> None:
    stream = make_greeted()
    head = build_frame(kind, END_HEADERS, STREAM, bytes(MAX_CONTROL_BYTES + 1))[:HEAD_BYTES]
    assert 'has 65537 bytes' in end_of(stream.receive(head)).details


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=10), st.booleans())
def test_any_bytes_are_read_or_end_the_call(parts: list[bytes], is_greeted: bool) -> None:
    stream = make_greeted() if is_greeted else Http2Stream('/path', 'peer')
    events = receive_all(stream, filter(None, parts))
    ends = [event for event in events if isinstance(event, CallEnded)]
    assert ends == events[-1:] if stream.state is ENDED else not ends


FRAMES = st.builds(
    build_frame,
    st.sampled_from(KINDS),
    st.integers(0, 255),
    st.sampled_from([CONNECTION, STREAM, 3]),
    st.binary(max_size=30) | st.sampled_from([BEGUN, OK, add_prefix(b'text'), bytes(4), bytes(8)]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAMES, max_size=8), st.integers(1, 50))
def test_the_pieces_of_frames_make_no_difference(given_frames: list[bytes], size: int) -> None:
    whole = b''.join(given_frames)
    one, other = make_greeted(), make_greeted()
    assert receive_all(one, pieces(whole, size)) == receive_all(other, [whole] * bool(whole))
    assert one.state is other.state
