"""One bidirectional gRPC call on a connection of its own: HTTP/2 (RFC 9113) on a blocking socket.

It sends and receives on the caller's thread, where grpcio has threads of its own in between: they
take more time than all the rest of a small call, and neither forks nor signal handlers may meet
their locks. Nothing else travels on the connection, so there are no streams to tell apart; what
gRPC makes of HTTP/2 is in its document "gRPC over HTTP2".
"""

from __future__ import annotations

import collections
import contextlib
import queue
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from socket import SocketType
from typing import NamedTuple
from urllib.parse import unquote

from uactor.runtime.locks import is_owned, release_fully
from uactor.runtime.system_errors import is_own
from uactor.transport.buffers import Buffer
from uactor.transport.hpack import HeaderError, decode, encode
from uactor.transport.lane import GONE

_PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'

_DATA, _HEADERS, _RST_STREAM, _SETTINGS = 0, 1, 3, 4
_PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 6, 7, 8, 9
"""Types of frames."""

_END_STREAM = _ACK = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20
"""Flags of frames."""

_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 4, 5
"""Settings."""

_CONNECTION, _STREAM = 0, 1
"""Numbers of streams."""

_HEAD = struct.Struct('!HBBBI')
"""Of a frame: its length, of which the last byte is apart, type, flags, and stream."""
_HEAD_SIZE = _HEAD.size
_PREFIX = struct.Struct('!BI')
"""Of a message: whether it is compressed, and its length."""
_SETTING = struct.Struct('!HI')
_NUMBER = struct.Struct('!I')
_NUMBERS = struct.Struct('!II')
_MOST = 0x7FFFFFFF
"""The largest number of 31 bits, which windows and streams have."""

_QUIETLY = getattr(socket, 'MSG_NOSIGNAL', 0)
"""Sending to somebody who has gone shall be an error, whatever SIGPIPE does in this process."""

_WINDOW = _MOST
"""How much may come beyond what has been received, in bytes. It is the socket that holds it up."""

_FIRST_WINDOW = 65_535
_FIRST_FRAME = 16_384
_LARGEST_FRAME = 0xFFFFFF
"""Sizes in bytes, as they are unless the other end says otherwise, and at most."""

_MOST_HEADERS = 1 << 16
"""The largest header block that is received, in bytes."""
_READ = 1 << 13
"""How much is received at a time, but for long messages, in bytes."""

_CANCELLED, _UNKNOWN, _PERMISSION_DENIED = 1, 2, 7
_EXHAUSTED, _INTERNAL, _UNAVAILABLE = 8, 13, 14
"""Statuses of gRPC."""

_REFUSED = 7
_BY_CODE = {_REFUSED: _UNAVAILABLE, 8: _CANCELLED, 11: _EXHAUSTED, 12: _PERMISSION_DENIED}
"""What it means that a stream is reset with such a code. Others are INTERNAL."""


class End(NamedTuple):
    """Why a call has ended.

    :ivar status: gRPC's number for that; None when the connection has ended without a word.
    :ivar details: what is known of it, for people.
    :ivar unread: whether the other end has surely not got the message that was being sent.
    """

    status: int | None
    details: str
    unread: bool = False


class CallEnd(Exception):
    """The call has ended."""

    def __init__(self, end: End) -> None:
        super().__init__(end.details)
        self.end = end


class Http2Call:
    """A call. One thread sends at a time; any number may receive.

    :param sock: a connection that nothing has been sent by.
    :param path: of the method.
    :param authority: what the other end is called.
    :param timeout: how long it may take to show that it speaks HTTP/2, in seconds.
    :raises CallEnd: when it does not.
    :ivar limit: largest message that is received, in bytes; -1 for any.
    :ivar end: why the call has ended; None before, as far as this side has noticed.
    """

    def __init__(self, sock: SocketType, path: str, authority: str, timeout: float) -> None:
        self._socket = sock
        self.end: End | None = None
        self.limit = -1
        self._sending = threading.RLock()
        self._receiving = threading.RLock()  # no thread acquires them twice: see locks.free()
        self._sent = 0  # bytes in all, as windows count them
        self._windows = [_FIRST_WINDOW, _FIRST_WINDOW]  # how many may be, by stream
        self._first_window = _FIRST_WINDOW
        self._largest_frame = _FIRST_FRAME
        self._is_stuck = False  # whether a thread waits until more may be sent
        self._unstuck: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._rest = b''  # what has been received of a frame
        self._data_left = 0  # of a frame of data, that has begun
        self._data_ends = False  # whether that is the last one
        self._received = self._consumed = 0  # bytes in all, and those since windows were opened
        self._prefix = b''  # of a message
        self._message: Buffer | None = None  # that has begun
        self._messages: collections.deque[bytes | bytearray] = collections.deque()
        self._block: bytearray | None = None  # of headers, that has begun
        self._block_ends = False  # whether the stream ends with it
        self._greeted = False  # whether the settings of the other end have come
        self._said = ''  # why it goes away
        self._begin(path, authority, timeout)

    def _begin(self, path: str, authority: str, timeout: float) -> None:
        settings = [
            (_HEADER_TABLE_SIZE, 0),
            (_ENABLE_PUSH, 0),
            (_INITIAL_WINDOW_SIZE, _WINDOW),
            (_MAX_FRAME_SIZE, _LARGEST_FRAME),
        ]
        fields = [
            (':method', 'POST'),
            (':scheme', 'http'),
            (':path', path),
            (':authority', authority),
            ('te', 'trailers'),
            ('content-type', 'application/grpc'),
            ('user-agent', 'uactor-python'),
        ]
        self._socket.settimeout(timeout)
        self._write(
            _PREFACE
            + _frame(
                _SETTINGS, 0, _CONNECTION, b''.join(_SETTING.pack(*setting) for setting in settings)
            )
            + _opened(_CONNECTION, _WINDOW - _FIRST_WINDOW)
            + _frame(_HEADERS, _END_HEADERS, _STREAM, encode(fields))
        )
        while not self._greeted and self.end is None:
            self._take_in()
        if self.end is not None:
            raise CallEnd(self.end)
        self._socket.settimeout(None)

    # --- sending -----------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises CallEnd: when the call has ended.
        """
        if self.end is not None:
            raise CallEnd(self.end._replace(unread=True))
        size = len(message) + _PREFIX.size
        outer = is_owned(self._sending)
        try:
            with self._sending:
                if size <= min(self._largest_frame, self._room):
                    self._sent += size
                    head = _head(size, _DATA, 0, _STREAM)
                    self._put(head + _PREFIX.pack(0, len(message)) + message)
                    return
            self._send_long(message)
        except BaseException:
            if not outer:
                release_fully(self._sending)
            raise

    def _send_long(self, message: bytes) -> None:
        prefix, data = _PREFIX.pack(0, len(message)), memoryview(message)
        while prefix or data:
            self._wait_for_room()
            with self._sending:
                size = min(len(prefix) + len(data), self._largest_frame, self._room)
                if size > 0:  # else the room has been taken back by now
                    self._sent += size
                    begun, prefix = prefix[:size], prefix[size:]
                    part = data[: size - len(begun)]
                    data = data[len(part) :]
                    self._put(b''.join([_head(size, _DATA, 0, _STREAM), begun, part]))

    @property
    def _room(self) -> int:
        """How much may be sent, in bytes, as long as the lock for sending is held.

        The other end may take some of it back. It counts on that from when it is told that this
        end knows.
        """
        return min(self._windows) - self._sent

    def _wait_for_room(self) -> None:
        """Wait until more may be sent."""
        while self._room <= 0:
            if self.end is not None:
                raise CallEnd(self.end._replace(unread=True))
            # Whoever is receiving now, and opens a window or stops, sees that somebody waits.
            self._is_stuck = True
            try:
                if self._receiving.acquire(blocking=False):
                    if self._room <= 0 and self.end is None:
                        self._take_in()
                    self._receiving.release()
                else:
                    self._unstuck.get()
            except BaseException:
                release_fully(self._receiving)
                raise
        self._is_stuck = False

    def _put(self, data: bytes) -> None:
        try:
            self._socket.sendall(data, _QUIETLY)
        except OSError as error:
            if not is_own(error):
                raise
            raise CallEnd(End(None, error.strerror or str(error), unread=True)) from error

    def _write(self, data: bytes) -> None:
        with self._sending:
            self._put(data)

    def _reply(self, frame: bytes) -> None:
        """Send what is not of the call. That the other end has gone will be received."""
        try:
            self._write(frame)
        except CallEnd:
            return

    def finish(self) -> None:
        """Send no more. The other end ends the call."""
        self._reply(_frame(_DATA, _END_STREAM, _STREAM, b''))

    def hang_up(self) -> None:
        """End the connection, also for a thread that is receiving. Any thread may."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:  # the other end was faster
            if not is_own(error):
                raise

    # --- receiving ---------------------------------------------------------------------------

    def receive(self) -> bytes | bytearray:
        """Wait for the next message.

        :raises CallEnd: when there is none, since the call has ended.
        """
        try:
            with self._receiving:
                while not self._messages:
                    if self.end is not None:
                        raise CallEnd(self.end)
                    self._take_in()
                return self._messages.popleft()
        except BaseException:
            release_fully(self._receiving)
            raise
        finally:
            self._note_free()

    def attend(self, timeout: float = 0.0) -> bool:
        """Act upon what has come, unless a thread is receiving; tell whether none was.

        :param timeout: how long is waited for something, in seconds.
        """
        try:
            if not self._receiving.acquire(blocking=False):
                return False
            if self.end is None and self._has_come(timeout):
                self._take_in()
            self._receiving.release()
        except BaseException:
            release_fully(self._receiving)
            raise
        finally:
            self._note_free()
        return True

    @property
    def progress(self) -> int:
        """How much has been sent and received, in bytes."""
        return self._sent + self._received

    def is_open(self) -> bool:
        """Tell whether the other end is there. Any thread may ask, also once this is closed."""
        return self.end is None and self.fileno() >= 0 and not self._polled(GONE, 0.0)

    def fileno(self) -> int:
        """Return the descriptor of the connection; negative when it is closed."""
        return self._socket.fileno()

    def close(self) -> None:
        """Give the descriptor back, when no thread sends or receives."""
        self._socket.close()

    def _has_come(self, timeout: float) -> bool:
        return self._polled(select.POLLIN, timeout)

    def _polled(self, events: int, timeout: float) -> bool:
        poll, descriptor = select.poll(), self.fileno()
        if descriptor >= 0:
            poll.register(descriptor, events)
        return bool(poll.poll(timeout * 1000))

    def _note_free(self) -> None:
        """Know that another thread may receive now."""
        if self._is_stuck:
            self._unstuck.put(None)

    def _take_in(self) -> None:
        """Receive once, and act upon what is complete."""
        try:
            if self._message is not None and self._data_left > _READ:
                self._take_long(self._message)
                return
            data = self._socket.recv(_READ)
            if not data:
                raise CallEnd(End(None, self._said or 'the connection was closed'))
            self._rest = self._act_upon(self._rest + data)
        except OSError as error:
            if not is_own(error, Http2Call._take_long, Buffer.receive_from):
                raise
            self.end = End(None, error.strerror or str(error))
        except HeaderError as error:
            self.end = End(_INTERNAL, str(error))
        except CallEnd as call_end:
            self.end = call_end.end

    def _act_upon(self, data: bytes) -> bytes:
        """Act upon frames; return what is left, of one that is not complete."""
        at = 0
        while True:
            if self._data_left:
                part = data[at : at + self._data_left]
                at += len(part)
                self._take_data(part)
                self._data_left -= len(part)
            if not self._data_left and self._data_ends:
                raise CallEnd(End(_INTERNAL, 'the stream ended without a status'))
            if len(data) - at < _HEAD_SIZE:
                return data[at:]
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            length = high << 8 | low
            self._check_frame(kind, length, stream & _MOST)
            if kind == _DATA and not flags & _PADDED:  # it can be used as it comes
                at += _HEAD_SIZE
                self._data_left, self._data_ends = length, bool(flags & _END_STREAM)
                continue
            end = at + _HEAD_SIZE + length
            if len(data) < end:
                return data[at:]
            self._act_upon_frame(kind, flags, stream & _MOST, data[at + _HEAD_SIZE : end])
            at = end

    def _check_frame(self, kind: int, length: int, stream: int) -> None:
        """Refuse a frame that can't be for this end, before its content has come."""
        if not self._greeted and (kind != _SETTINGS or length > _MOST_HEADERS):
            raise CallEnd(End(None, 'who answers speaks no HTTP/2'))
        if kind in (_DATA, _HEADERS, _CONTINUATION, _RST_STREAM) and stream != _STREAM:
            raise CallEnd(End(_INTERNAL, f'a frame came for stream {stream}, which there is not'))
        if kind != _DATA and length > _MOST_HEADERS:
            raise CallEnd(End(_INTERNAL, f'a frame of type {kind} has {length} bytes'))
        if (kind == _CONTINUATION) != (self._block is not None):
            raise CallEnd(End(_INTERNAL, 'a header block does not come in one piece'))

    def _act_upon_frame(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        try:
            act = _ACTS.get(kind)
            if act is not None:
                act(self, flags, stream, content)
        except (struct.error, IndexError) as error:
            raise CallEnd(End(_INTERNAL, f'a frame of type {kind} is too short')) from error

    # --- messages ----------------------------------------------------------------------------

    def _take_padded(self, flags: int, stream: int, content: bytes) -> None:
        self._count(len(content))
        self._add(_unpadded(flags, content))
        self._data_ends = bool(flags & _END_STREAM)

    def _take_data(self, data: bytes) -> None:
        self._count(len(data))
        self._add(data)

    def _add(self, data: bytes) -> None:
        """Add data to the message that has begun, and to those that follow."""
        at = 0
        while at < len(data):
            if self._message is not None:
                at += self._fill(self._message, data[at:])
                continue
            prefix = self._prefix + data[at : at + _PREFIX.size - len(self._prefix)]
            at += len(prefix) - len(self._prefix)
            self._prefix = prefix
            if len(prefix) < _PREFIX.size:
                return
            self._prefix = b''
            is_compressed, size = _PREFIX.unpack(prefix)
            if is_compressed:
                raise CallEnd(End(_INTERNAL, 'a message is compressed, which was not asked for'))
            if 0 <= self.limit < size:
                raise CallEnd(End(None, f'a message has {size} bytes, not at most {self.limit}'))
            if len(data) - at >= size:
                self._messages.append(data[at : at + size])
                at += size
            else:
                self._message = Buffer(size)

    def _fill(self, message: Buffer, data: bytes) -> int:
        """Add data to a message; return how much of it."""
        part = data[: message.missing]
        message.add(part)
        self._note_got(message)
        return len(part)

    def _take_long(self, message: Buffer) -> None:
        """Receive more of a long message to where it belongs."""
        count = message.receive_from(self._socket, self._data_left)
        if not count:
            raise CallEnd(End(None, self._said or 'the connection was closed'))
        self._data_left -= count
        self._count(count)
        self._note_got(message)

    def _note_got(self, message: Buffer) -> None:
        if message.is_full:
            self._messages.append(message.data)
            self._message = None

    def _count(self, size: int) -> None:
        """Note how much data has come, and let the other end send more in time."""
        self._received += size
        self._consumed += size
        if self._consumed > _WINDOW // 2:
            more, self._consumed = self._consumed, 0
            self._reply(_opened(_CONNECTION, more) + _opened(_STREAM, more))

    # --- other frames ------------------------------------------------------------------------

    def _take_headers(self, flags: int, stream: int, content: bytes) -> None:
        self._block_ends = bool(flags & _END_STREAM)
        begun = _unpadded(flags, content)[5 if flags & _PRIORITY else 0 :]
        self._block = bytearray()
        self._take_more_headers(flags, stream, begun)

    def _take_more_headers(self, flags: int, stream: int, content: bytes) -> None:
        block = self._block
        if block is None or len(block) + len(content) > _MOST_HEADERS:
            raise CallEnd(End(_INTERNAL, 'a header block is too long'))
        block += content
        if flags & _END_HEADERS:
            self._block = None
            fields = decode(bytes(block))
            if self._block_ends or fields.get(':status', '200')[0] not in '12':
                raise CallEnd(_end_of(fields))

    def _take_reset(self, flags: int, stream: int, content: bytes) -> None:
        (code,) = _NUMBER.unpack(content)
        status = _BY_CODE.get(code, _INTERNAL)
        raise CallEnd(
            End(status, f'the stream was reset with code {code}', unread=code == _REFUSED)
        )

    def _take_settings(self, flags: int, stream: int, content: bytes) -> None:
        if flags & _ACK:
            return
        settings = dict(_SETTING.iter_unpack(content))
        with self._sending:  # what is sent after the answer has to be as it says
            self._largest_frame = settings.get(_MAX_FRAME_SIZE, self._largest_frame)
            window = settings.get(_INITIAL_WINDOW_SIZE, self._first_window)
            self._open_window(_STREAM, window - self._first_window)
            self._first_window = window
            self._greeted = True
            with contextlib.suppress(CallEnd):  # as in _reply()
                self._put(_frame(_SETTINGS, _ACK, _CONNECTION, b''))

    def _take_ping(self, flags: int, stream: int, content: bytes) -> None:
        if not flags & _ACK:
            self._reply(_frame(_PING, _ACK, _CONNECTION, content))

    def _take_window(self, flags: int, stream: int, content: bytes) -> None:
        (more,) = _NUMBER.unpack(content)
        if stream in (_CONNECTION, _STREAM):
            self._open_window(stream, more & _MOST)

    def _open_window(self, stream: int, more: int) -> None:
        self._windows[stream] += more
        self._note_free()

    def _take_farewell(self, flags: int, stream: int, content: bytes) -> None:
        last, code = _NUMBERS.unpack_from(content)
        said = content[_NUMBERS.size :].decode(errors='replace')
        if code:
            self._said = f'the other end went away with code {code}: {said}'
        if last & _MOST < _STREAM:
            raise CallEnd(End(_UNAVAILABLE, self._said or 'the other end goes away', unread=True))


_ACTS: dict[int, Callable[[Http2Call, int, int, bytes], None]] = {
    _DATA: Http2Call._take_padded,
    _HEADERS: Http2Call._take_headers,
    _RST_STREAM: Http2Call._take_reset,
    _SETTINGS: Http2Call._take_settings,
    _PING: Http2Call._take_ping,
    _GOAWAY: Http2Call._take_farewell,
    _WINDOW_UPDATE: Http2Call._take_window,
    _CONTINUATION: Http2Call._take_more_headers,
}
"""What frames do. Others do nothing."""


def _head(length: int, kind: int, flags: int, stream: int) -> bytes:
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return _head(len(content), kind, flags, stream) + content


def _opened(stream: int, more: int) -> bytes:
    """Return the frame by which the other end may send more."""
    return _frame(_WINDOW_UPDATE, 0, stream, _NUMBER.pack(more))


def _unpadded(flags: int, content: bytes) -> bytes:
    if not flags & _PADDED:
        return content
    return content[1 : len(content) - content[0]]


def _end_of(fields: Mapping[str, str]) -> End:
    """Return the end of a call that the last headers tell of."""
    status = fields.get('grpc-status', '')
    if status.isdecimal():
        return End(int(status), unquote(fields.get('grpc-message', '')))
    return End(_UNKNOWN, f'who answers speaks no gRPC (HTTP status {fields.get(":status")})')
