"""The protocol of a bidirectional gRPC call, without a socket.

The call is the only stream of its HTTP/2 connection. :class:`Http2Stream` takes the bytes that the
peer sends, and returns events. It builds the bytes that go to the peer. Socket, clock, threads and
locks are the business of :mod:`.http2`.

It has two halves. One thread at a time may use each of them::

    receiver   receive(), receive_direct()
    sender     begin(), send(), send_part(), apply_settings(), finish()

They share the windows alone. The receiver opens them. Settings of the peer may also close them, and
so the sender's half applies those.

What gRPC makes of HTTP/2 is in its document "gRPC over HTTP2".
"""

from __future__ import annotations

import dataclasses
import enum
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from uactor.transport.buffers import Buffer
from uactor.transport.hpack import HeaderError, decode_headers, encode_headers
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
    ErrorCode,
    FrameError,
    FrameHead,
    FrameType,
    Setting,
    build_frame,
    build_head,
    build_settings,
    build_window_update,
    read_goaway,
    read_head,
    read_header_fragment,
    read_number,
    read_settings,
    read_window_update,
    strip_padding,
)

WINDOW_BYTES = MAX_31_BITS
"""How much the peer may send ahead of this side: anything, since the socket holds it up."""

MAX_CONTROL_BYTES = 1 << 16
"""The longest header block, and the longest frame other than DATA, that is received."""

_MAX_STATUS_DIGITS = 9
"""Python refuses to convert thousands of them."""

_PREFIX = struct.Struct('!BI')
"""What stands before a message: whether it is compressed, and its length."""


class Status(enum.IntEnum):
    """The statuses of gRPC that mean something here.

    A session distinguishes them, or this side ends a call with them.
    """

    CANCELLED = 1
    UNKNOWN = 2
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


_STATUS_BY_CODE: Mapping[int, Status] = {
    ErrorCode.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCode.CANCEL: Status.CANCELLED,
    ErrorCode.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCode.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}
"""What a reset with an error code means. Other codes mean INTERNAL."""


class End(NamedTuple):
    """Why a call has ended.

    :ivar status: gRPC's status; None if the connection has ended without one.
    :ivar details: what is known of the reason, for people.
    :ivar unread: whether the peer has surely not read the message that was being sent.
    """

    status: int | None
    details: str
    unread: bool = False


class CallEnd(Exception):  # noqa: N818  # an end is no error, as StopIteration
    """The call has ended."""

    def __init__(self, end: End) -> None:
        super().__init__(end.details)
        self.end = end


# --- events --------------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)  # a frozen one takes three times as long to make
class MessageReceived:
    """A message is complete."""

    message: bytes | bytearray


@dataclasses.dataclass(frozen=True, slots=True)
class FramesDue:
    """The peer is owed frames, such as the reply to a ping."""

    frames: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsReceived:
    """The peer's settings have come: see :meth:`Http2Stream.apply_settings`."""

    settings: Mapping[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class WindowOpened:
    """More may be sent."""


@dataclasses.dataclass(frozen=True, slots=True)
class CallEnded:
    """The call has ended. No event follows."""

    end: End


_WINDOW_OPENED = WindowOpened()

Event = MessageReceived | FramesDue | SettingsReceived | WindowOpened | CallEnded


# --- states --------------------------------------------------------------------------------------


class StreamState(enum.Enum):
    """What may come next from the peer."""

    GREETING = 'its settings, before all else'
    OPEN = 'any frame but a CONTINUATION'
    IN_DATA = 'the content of a DATA frame'
    IN_HEADERS = 'a CONTINUATION'
    ENDED = 'nothing that matters'

    __hash__ = object.__hash__  # that of Enum is in Python, and the table is used for each frame


class Transition(NamedTuple):
    """To which states a frame leads, with a certain flag and without."""

    flag: int
    with_flag: StreamState
    without_flag: StreamState


_S = StreamState
# What each frame is compared with: a member of an enum takes five times as long to look up.
_OPEN, _IN_DATA, _ENDED = _S.OPEN, _S.IN_DATA, _S.ENDED
_CONTINUATION = FrameType.CONTINUATION.value

TRANSITIONS: Mapping[tuple[StreamState, int], Transition] = {
    (_S.GREETING, FrameType.SETTINGS): Transition(ACK, _S.GREETING, _S.OPEN),
    # Padding stands behind the data: such a frame is read as a whole.
    (_S.OPEN, FrameType.DATA): Transition(PADDED, _S.OPEN, _S.IN_DATA),
    (_S.OPEN, FrameType.HEADERS): Transition(END_HEADERS, _S.OPEN, _S.IN_HEADERS),
    (_S.IN_HEADERS, FrameType.CONTINUATION): Transition(END_HEADERS, _S.OPEN, _S.IN_HEADERS),
}
"""Frames that change the state, or are legal in one state only.

Two changes have no frame of their own: IN_DATA becomes OPEN once the content is complete, and every
state becomes ENDED at the end of the call.
"""


def next_state(state: StreamState, kind: int, flags: int) -> StreamState | None:
    """Return the state after a frame's head.

    Return None for an illegal frame.
    """
    transition = TRANSITIONS.get((state, kind))
    if transition is not None:
        return transition.with_flag if flags & transition.flag else transition.without_flag
    return state if state is _OPEN and kind != _CONTINUATION else None


_OF_A_STREAM = frozenset(
    (FrameType.DATA, FrameType.HEADERS, FrameType.RST_STREAM, FrameType.CONTINUATION)
)


def validate_head(state: StreamState, head: FrameHead) -> StreamState:
    """Validate a frame's head, and return the state after it.

    :raises CallEnd: if the frame is illegal, too long, or of another stream.
    """
    length, kind, flags, stream = head
    following = next_state(state, kind, flags)
    is_misdirected = stream != STREAM and kind in _OF_A_STREAM
    if following is not None and length <= MAX_CONTROL_BYTES and not is_misdirected:
        return following  # nearly always
    is_too_long = length > MAX_CONTROL_BYTES and kind != FrameType.DATA
    if state is StreamState.GREETING and (following is None or is_too_long):
        raise CallEnd(End(None, 'the other end speaks no HTTP/2'))
    if is_misdirected:
        raise _violation(f'a frame came for stream {stream}, which there is not')
    if is_too_long:
        raise _violation(f'a frame of type {kind} has {length} bytes')
    if following is None:
        raise _violation('a header block does not come in one piece')
    return following


def _violation(details: str) -> CallEnd:
    """Return the end of a call whose peer violates the protocol."""
    return CallEnd(End(Status.INTERNAL, details))


def _validate_settings(settings: Mapping[int, int]) -> None:
    """Raise an error for values that RFC 9113, section 6.5.2, forbids.

    :raises CallEnd: if there is one. A frame that may have no bytes would be sent for ever.
    """
    frame_bytes = settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_MAX_FRAME_BYTES)
    if not DEFAULT_MAX_FRAME_BYTES <= frame_bytes <= LARGEST_MAX_FRAME_BYTES:
        raise _violation(f'the peer wants frames of at most {frame_bytes} bytes')
    if settings.get(Setting.INITIAL_WINDOW_SIZE, 0) > MAX_31_BITS:
        raise _violation('a window is larger than HTTP/2 allows')


# --- messages and windows ------------------------------------------------------------------------


class MessageReader:
    """Puts together the messages that follow each other in a stream.

    :ivar max_bytes: the largest message that is accepted; -1 for any.
    :ivar partial: the message that has begun, and is not complete.
    """

    def __init__(self) -> None:
        self.max_bytes = -1
        self.partial: Buffer | None = None
        self._prefix = b''

    def read(self, data: bytes, events: list[Event]) -> None:
        """Add data, and report the messages that it completes.

        :raises CallEnd: if a message is compressed or too large.
        """
        at = 0
        while at < len(data):
            if self.partial is not None:
                part = data[at : at + self.partial.missing]
                at += len(part)
                self.partial.add(part)
                self.report_complete(events)
                continue
            added = data[at : at + _PREFIX.size - len(self._prefix)]
            at += len(added)
            self._prefix += added
            if len(self._prefix) < _PREFIX.size:
                return
            size = self._read_prefix()
            if len(data) - at >= size:
                events.append(MessageReceived(data[at : at + size]))
                at += size
            else:
                self.partial = Buffer(size)

    def report_complete(self, events: list[Event]) -> None:
        """Report the partial message if it is complete by now."""
        message = self.partial
        if message is not None and message.is_full:
            self.partial = None
            events.append(MessageReceived(message.data))

    def _read_prefix(self) -> int:
        is_compressed, size = _PREFIX.unpack(self._prefix)
        self._prefix = b''
        if is_compressed:
            raise _violation('a message is compressed, which was not asked for')
        if 0 <= self.max_bytes < size:
            details = f'a message has {size} bytes, not at most {self.max_bytes}'
            raise CallEnd(End(None, details))
        return int(size)


class Unsent:
    """What is left of a message that is sent in several frames."""

    def __init__(self, message: bytes) -> None:
        self._prefix = _PREFIX.pack(0, len(message))
        self._data = memoryview(message)

    def __len__(self) -> int:
        return len(self._prefix) + len(self._data)

    def cut(self, size: int) -> bytes:
        """Remove the first bytes, and return them."""
        prefix, self._prefix = self._prefix[:size], self._prefix[size:]
        rest = size - len(prefix)
        part, self._data = self._data[:rest], self._data[rest:]
        return b''.join((prefix, part))


class SendWindow:
    """How much the peer lets this side send.

    :ivar sent_bytes: how much data has been sent, which is what windows count.
    :ivar max_frame_bytes: how long the content of a frame may be.
    :ivar initial_bytes: the window with which the peer lets streams begin.
    """

    def __init__(self) -> None:
        self.sent_bytes = 0
        self.max_frame_bytes = DEFAULT_MAX_FRAME_BYTES
        self.initial_bytes = DEFAULT_WINDOW_BYTES
        self._limits = {CONNECTION: DEFAULT_WINDOW_BYTES, STREAM: DEFAULT_WINDOW_BYTES}

    @property
    def room_bytes(self) -> int:
        """How much may be sent now.

        It is negative if the peer has taken some of it back.
        """
        return min(self._limits[CONNECTION], self._limits[STREAM]) - self.sent_bytes

    @property
    def frame_bytes(self) -> int:
        """How much may be sent in one frame now."""
        return min(self.max_frame_bytes, self.room_bytes)

    def open(self, stream: int, more_bytes: int) -> bool:
        """Let more be sent; return whether the stream is one that counts."""
        if stream not in self._limits:
            return False
        self._widen(stream, more_bytes)
        return True

    def apply(self, settings: Mapping[int, int]) -> None:
        """Apply the peer's settings.

        A smaller initial window closes that of the stream by the difference.
        """
        self.max_frame_bytes = settings.get(Setting.MAX_FRAME_SIZE, self.max_frame_bytes)
        initial = settings.get(Setting.INITIAL_WINDOW_SIZE, self.initial_bytes)
        self._widen(STREAM, initial - self.initial_bytes)
        self.initial_bytes = initial

    def _widen(self, stream: int, more_bytes: int) -> None:
        """Widen a window; a negative number narrows it.

        :raises CallEnd: if it exceeds what HTTP/2 allows.
        """
        self._limits[stream] += more_bytes
        if self._limits[stream] - self.sent_bytes > MAX_31_BITS:
            raise _violation('a window is larger than HTTP/2 allows')


# --- the stream ----------------------------------------------------------------------------------


class Http2Stream:
    """A call, as the client sees it.

    See the head of this module.

    :param path: of the method.
    :param authority: what the peer is called.
    :param window_bytes: how much the peer may send ahead of this side.
    :ivar state: what may come next from the peer.
    :ivar window: how much may be sent.
    :ivar messages: has the message that is being received, and the largest that may come.
    """

    def __init__(self, path: str, authority: str, window_bytes: int = WINDOW_BYTES) -> None:
        self.state = StreamState.GREETING
        self.window = SendWindow()
        self.messages = MessageReader()
        self._path = path
        self._authority = authority
        self._window_bytes = window_bytes
        self._received_bytes = 0
        self._unreported_bytes = 0  # received since the peer's window was opened
        self._rest = b''  # of what was received: the beginning of a frame
        self._data_left = 0  # of the DATA frame that has begun, in bytes
        self._ends_stream = False  # whether the DATA frame or header block is the last
        self._block = bytearray()  # the header block that has begun
        self._farewell = ''  # why the peer goes away

    @property
    def progress(self) -> int:
        """How much data has been sent and received, in bytes."""
        return self.window.sent_bytes + self._received_bytes

    # --- the sender's half -----------------------------------------------------------------------

    def begin(self) -> bytes:
        """Build what begins the connection and the call."""
        settings = {
            Setting.HEADER_TABLE_SIZE: 0,
            Setting.ENABLE_PUSH: 0,
            Setting.INITIAL_WINDOW_SIZE: self._window_bytes,
            Setting.MAX_FRAME_SIZE: LARGEST_MAX_FRAME_BYTES,
        }
        fields = [
            (':method', 'POST'),
            (':scheme', 'http'),
            (':path', self._path),
            (':authority', self._authority),
            ('te', 'trailers'),
            ('content-type', 'application/grpc'),
            ('user-agent', 'uactor-python'),
        ]
        more_bytes = self._window_bytes - DEFAULT_WINDOW_BYTES
        return (
            PREFACE
            + build_settings(settings)
            + build_window_update(CONNECTION, more_bytes)
            + build_frame(FrameType.HEADERS, END_HEADERS, STREAM, encode_headers(fields))
        )

    def send(self, message: bytes) -> bytes:
        """Build the frame of a message.

        Return b'' if a single frame may not hold all of it now.
        """
        size = _PREFIX.size + len(message)
        window = self.window
        if size > window.frame_bytes:
            return b''
        window.sent_bytes += size
        head = build_head(size, FrameType.DATA, 0, STREAM)
        return head + _PREFIX.pack(0, len(message)) + message

    def send_part(self, unsent: Unsent) -> bytes:
        """Build a frame with the next part of a message.

        Return b'' if the window is closed.
        """
        size = min(len(unsent), self.window.frame_bytes)
        if size <= 0:
            return b''
        self.window.sent_bytes += size
        return build_frame(FrameType.DATA, 0, STREAM, unsent.cut(size))

    def apply_settings(self, settings: Mapping[int, int]) -> bytes:
        """Apply the peer's settings, and build the frame that acknowledges them.

        Whatever is sent behind that frame has to obey the settings.
        """
        self.window.apply(settings)
        return build_frame(FrameType.SETTINGS, ACK, CONNECTION)

    def finish(self) -> bytes:
        """Build the frame that says that no message follows."""
        return build_frame(FrameType.DATA, END_STREAM, STREAM)

    # --- the receiver's half ---------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Read bytes from the peer, split anywhere, and return what they bring.

        :param data: b'' if the peer has closed the connection.
        """
        events: list[Event] = []
        if self.state is _ENDED:
            return events
        try:
            if not data:
                raise CallEnd(End(None, self._farewell or 'the connection was closed'))
            self._rest = self._read_frames(self._rest + data, events)
        except CallEnd as call_end:
            self._end(call_end.end, events)
        except HeaderError as error:
            self._end(End(Status.INTERNAL, str(error)), events)
        return events

    @property
    def direct_bytes(self) -> int:
        """How many of the next bytes belong to the partial message alone."""
        partial = self.messages.partial
        return 0 if partial is None else min(self._data_left, partial.missing)

    def receive_direct(self, count: int) -> list[Event]:
        """Do what :meth:`receive` does with bytes already in the partial message.

        So a long message is not copied: a megabyte in one frame takes 0.13 ms instead of 0.51.

        :param count: how many, at least one, and at most :attr:`direct_bytes`.
        """
        events: list[Event] = []
        try:
            self._count(count, events)
            self.messages.report_complete(events)
            self._note_data(count)
        except CallEnd as call_end:
            self._end(call_end.end, events)
        return events

    def _end(self, end: End, events: list[Event]) -> None:
        self.state = StreamState.ENDED
        self._rest = b''
        events.append(CallEnded(end))

    def _read_frames(self, data: bytes, events: list[Event]) -> bytes:
        """Read frames; return the beginning of one that is not complete."""
        at = 0
        while True:
            if self.state is _IN_DATA:
                part = data[at : at + self._data_left]
                at += len(part)
                self._count(len(part), events)
                self.messages.read(part, events)
                self._note_data(len(part))
            start = at + HEAD_BYTES
            if len(data) < start:
                return data[at:]
            head = read_head(data, at)
            length, kind, flags, stream = head
            following = validate_head(self.state, head)
            if following is _IN_DATA:
                self._data_left = length
                self._ends_stream = bool(flags & END_STREAM)
                self.state = following
                at = start
                continue
            end = start + length
            if len(data) < end:
                return data[at:]
            self.state = following
            read = _READERS.get(kind)
            if read is not None:  # frames of unknown types are skipped
                try:
                    read(self, flags, stream, data[start:end], events)
                except FrameError as error:
                    raise _violation(f'a frame of type {kind} is too short') from error
            at = end

    # --- data ------------------------------------------------------------------------------------

    def _note_data(self, size: int) -> None:
        """Note that data of the frame that has begun has been read."""
        self._data_left -= size
        if not self._data_left:
            self.state = _OPEN
            self._check_end_of_stream()

    def _read_padded_data(
        self, flags: int, _stream: int, content: bytes, events: list[Event]
    ) -> None:
        self._ends_stream = bool(flags & END_STREAM)
        self._count(len(content), events)
        self.messages.read(strip_padding(flags, content), events)
        self._check_end_of_stream()

    def _check_end_of_stream(self) -> None:
        if self._ends_stream:
            raise _violation('the stream ended without a status')

    def _count(self, size: int, events: list[Event]) -> None:
        """Count received data, and open the peer's window before it closes."""
        self._received_bytes += size
        self._unreported_bytes += size
        if self._unreported_bytes > self._window_bytes // 2:
            more_bytes, self._unreported_bytes = self._unreported_bytes, 0
            updates = (build_window_update(stream, more_bytes) for stream in (CONNECTION, STREAM))
            events.append(FramesDue(b''.join(updates)))

    # --- other frames ----------------------------------------------------------------------------

    def _read_headers(self, flags: int, _stream: int, content: bytes, _events: list[Event]) -> None:
        self._ends_stream = bool(flags & END_STREAM)
        self._block = bytearray()
        self._add_to_block(flags, read_header_fragment(flags, content))

    def _read_continuation(
        self, flags: int, _stream: int, content: bytes, _events: list[Event]
    ) -> None:
        self._add_to_block(flags, content)

    def _add_to_block(self, flags: int, fragment: bytes) -> None:
        if len(self._block) + len(fragment) > MAX_CONTROL_BYTES:
            raise _violation('a header block is too long')
        self._block += fragment
        if flags & END_HEADERS:
            fields = decode_headers(bytes(self._block))
            if self._ends_stream or not fields.get(':status', '200').startswith(('1', '2')):
                raise CallEnd(_end_from(fields))

    def _read_reset(self, _flags: int, _stream: int, content: bytes, _events: list[Event]) -> None:
        code = read_number(content)
        status = _STATUS_BY_CODE.get(code, Status.INTERNAL)
        is_unread = code == ErrorCode.REFUSED_STREAM
        raise CallEnd(End(status, f'the stream was reset with code {code}', is_unread))

    def _read_settings(self, flags: int, _stream: int, content: bytes, events: list[Event]) -> None:
        if not flags & ACK:
            settings = read_settings(content)
            _validate_settings(settings)
            events.append(SettingsReceived(settings))

    def _read_ping(self, flags: int, _stream: int, content: bytes, events: list[Event]) -> None:
        if not flags & ACK:
            events.append(FramesDue(build_frame(FrameType.PING, ACK, CONNECTION, content)))

    def _read_goaway(self, _flags: int, _stream: int, content: bytes, _events: list[Event]) -> None:
        last_stream, code, reason = read_goaway(content)
        if code:
            self._farewell = f'the other end went away with code {code}: {reason}'
        if last_stream < STREAM:
            details = self._farewell or 'the other end goes away'
            raise CallEnd(End(Status.UNAVAILABLE, details, unread=True))

    def _read_window_update(
        self, _flags: int, stream: int, content: bytes, events: list[Event]
    ) -> None:
        if self.window.open(stream, read_window_update(content)):
            events.append(_WINDOW_OPENED)


_READERS: Mapping[int, Callable[[Http2Stream, int, int, bytes, list[Event]], None]] = {
    FrameType.DATA: Http2Stream._read_padded_data,  # other data is read as it comes
    FrameType.HEADERS: Http2Stream._read_headers,
    FrameType.RST_STREAM: Http2Stream._read_reset,
    FrameType.SETTINGS: Http2Stream._read_settings,
    FrameType.PING: Http2Stream._read_ping,
    FrameType.GOAWAY: Http2Stream._read_goaway,
    FrameType.WINDOW_UPDATE: Http2Stream._read_window_update,
    FrameType.CONTINUATION: Http2Stream._read_continuation,
}


def _end_from(fields: Mapping[str, str]) -> End:
    """Return the end of a call that the last header block describes."""
    status = fields.get('grpc-status', '')
    if status.isdecimal() and len(status) <= _MAX_STATUS_DIGITS:
        return End(int(status), unquote(fields.get('grpc-message', '')))
    details = f'the other end speaks no gRPC (HTTP status {fields.get(":status")})'
    return End(Status.UNKNOWN, details)
