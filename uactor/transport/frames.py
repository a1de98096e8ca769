"""Messages in frames on a Unix socket, with descriptors on request.

A frame is the length of a message in four bytes, most significant first, and then the message.
A small one takes one system call on either side.

Descriptors follow the message, which the highest bit of the length announces. To receive them
takes another system call than to receive bytes, which would lose them. So such a frame is padded:
it is longer than what is received before its length is known.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from socket import SocketType
from typing import Any

from uactor.runtime.descriptors import reserve
from uactor.runtime.system_errors import is_own
from uactor.transport.buffers import Buffer

_LENGTH = struct.Struct('!I')
_RECV_BYTES = 1 << 13
"""How much is received at first."""
_DESCRIPTORS_FOLLOW = 1 << 31
"""In the length of a message: descriptors come along."""
_MAX_DESCRIPTORS = 256
"""How many descriptors come along with one message at most."""
_MIN_UNCOPIED_BYTES = 1 << 16
"""A smaller message is copied, to be sent in one piece with its length."""

MAX_HANDSHAKE_BYTES = 1 << 16
"""Largest message that is received from a peer that has not proved that it knows the authkey."""

COUNT_LIMIT = 1 << 32
"""Frames are counted modulo this."""

DOORBELL = b''
"""An empty message: wakes the other end, which has to look at the shared slot."""

GONE = getattr(select, 'POLLRDHUP', select.POLLHUP)
"""What :func:`select.poll` reports once the other end has gone."""


class LaneError(Exception):
    """The lane has ended, or what comes is no message."""


class UnsentError(LaneError):
    """The other end has gone before it could get a message."""


class OversizedError(LaneError):
    """The message that comes is larger than allowed."""

    @classmethod
    def of(cls, size: int, limit: int) -> OversizedError:
        """Return the error for a message of ``size`` bytes."""
        return cls(f'the message has {size} bytes, not at most {limit}')


TakeDescriptor = Callable[[int, 'int | None', bool], None]
"""Takes a descriptor by its number, and has to close it; None for one that has been lost.

The flag says that this process may have no more: then it has to be closed at once."""


class FrameSocket:
    """Sends and receives frames.

    One thread sends at a time, and one receives.

    :ivar limit: largest message that is received, in bytes; -1 for any.
    :ivar expect: is called with each message that descriptors come along with, before these are
        received, and returns what takes them. While it is None, descriptors are refused.
    :ivar sent: how many messages have been sent, without doorbells.
    :ivar received: how many have been received.
    :ivar rest: what has been received of frames that have not been taken.
    :ivar poll: waits for bytes, or the end; see :meth:`select.poll.poll`.
    """

    __slots__ = (
        *('_is_mid_frame', 'expect', 'limit'),
        *('poll', 'received', 'rest', 'sent', 'socket'),
    )

    def __init__(self, sock: SocketType, limit: int) -> None:
        self.socket = sock
        self.limit = limit
        self.expect: Callable[[bytearray], TakeDescriptor] | None = None
        self.sent = self.received = 0
        self.rest = b''
        self._is_mid_frame = False  # whether a message has been sent in part
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        self.poll = poll.poll

    # --- the sender --------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises UnsentError: when the other end has gone.
        """
        self.sent = (self.sent + 1) % COUNT_LIMIT
        self._write(message)

    def ring_doorbell(self) -> None:
        """Wake the other end, to look at the shared slot.

        :raises UnsentError: when the other end has gone.
        """
        self._write(DOORBELL)

    def _write(self, message: bytes) -> None:
        length = _LENGTH.pack(len(message))
        self._is_mid_frame = True
        try:
            if len(message) < _MIN_UNCOPIED_BYTES:
                self.socket.sendall(length + message, socket.MSG_NOSIGNAL)
            else:
                self.socket.sendall(length, socket.MSG_NOSIGNAL)
                self.socket.sendall(message, socket.MSG_NOSIGNAL)
        except OSError as error:
            if not is_own(error):
                raise
            raise UnsentError(_describe(error)) from error
        self._is_mid_frame = False

    def send_last(self, message: bytes) -> None:
        """Send a short last message, if that needs no waiting.

        The connection ends after it. After a part of another message nothing is sent: it would be
        taken for the rest of that.
        """
        if self._is_mid_frame:
            return
        frame = _LENGTH.pack(len(message)) + message
        try:
            self.socket.send(frame, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError as error:  # the other end has gone, or has much to read before
            if not is_own(error):
                raise

    def send_with(self, message: bytes, passed: Sequence[tuple[int, int]]) -> None:
        """Send a message along with descriptors, each with a number.

        :raises UnsentError: when the other end has gone.
        """
        head = _LENGTH.pack(_DESCRIPTORS_FOLLOW | len(message)) + _LENGTH.pack(len(passed))
        padding = bytes(max(0, _RECV_BYTES - len(message)))
        self.sent = (self.sent + 1) % COUNT_LIMIT
        self._is_mid_frame = True
        sock: Any = self.socket
        try:
            sock.sendall(head + message + padding, socket.MSG_NOSIGNAL)
            for number, descriptor in passed:
                self._send_descriptor(number, descriptor)
        except OSError as error:
            if not is_own(error, FrameSocket._send_descriptor, socket.send_fds):
                raise
            raise UnsentError(_describe(error)) from error
        self._is_mid_frame = False

    def _send_descriptor(self, number: int, descriptor: int) -> None:
        numbered = _LENGTH.pack(number)
        sock: Any = self.socket
        try:
            socket.send_fds(sock, [numbered], [descriptor], socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS or not is_own(error, socket.send_fds):
                raise
            self.socket.sendall(numbered, socket.MSG_NOSIGNAL)  # the receiver finds it lost

    # --- the receiver ------------------------------------------------------------------------

    def receive(self) -> bytes | bytearray:
        """Wait for the next frame and return its message, or :data:`DOORBELL`.

        :raises LaneError: when the other end has gone, or sends no frame.
        """
        data = self.rest
        while len(data) < _LENGTH.size:
            data += self.receive_some()
        (size,) = _LENGTH.unpack_from(data)
        end = _LENGTH.size + size
        if size:
            self.received = (self.received + 1) % COUNT_LIMIT
        if 0 <= self.limit < size or len(data) < end:
            return self._receive_long(data, size)
        self.rest = data[end:]
        return data[_LENGTH.size : end]

    def _receive_long(self, data: bytes, size: int) -> bytearray:
        """Receive the rest of a frame that has begun with ``data``."""
        descriptors = size & _DESCRIPTORS_FOLLOW if self.expect is not None else 0
        size -= descriptors
        if 0 <= self.limit < size:
            raise OversizedError.of(size, self.limit)
        self.rest = b''
        if not descriptors:
            return self._receive_body(data[_LENGTH.size :], size)
        while len(data) < 2 * _LENGTH.size:
            data += self.receive_some()
        (count,) = _LENGTH.unpack_from(data, _LENGTH.size)
        if count > _MAX_DESCRIPTORS:
            raise LaneError(f'{count} descriptors are announced, and {_MAX_DESCRIPTORS} may come')
        message = self._receive_body(data[2 * _LENGTH.size :], max(size, _RECV_BYTES))
        del message[size:]
        take = self.expect(message) if self.expect is not None else _close
        for _ in range(count):
            self._receive_descriptor(take)
        return message

    def _receive_descriptor(self, take: TakeDescriptor) -> None:
        self.poll()  # other threads may need the reserve: this one must not wait with it
        with reserve.room(self.socket.fileno()) as is_scarce:
            # There is room for one in the control data: the system closes any others.
            flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            sock: Any = self.socket
            try:
                data, found, _, _ = socket.recv_fds(sock, _LENGTH.size, 1, flags)
            except OSError as error:
                if not is_own(error, socket.recv_fds):
                    raise
                raise LaneError(_describe(error)) from error
            if len(data) < _LENGTH.size:
                for descriptor in found:
                    os.close(descriptor)
                raise LaneError('the connection was closed' if not data else 'no number has come')
            (number,) = _LENGTH.unpack(data)
            take(number, found[0] if found else None, is_scarce)

    def _receive_body(self, begun: bytes, size: int) -> bytearray:
        """Receive the rest of ``size`` bytes, of which ``begun`` has come."""
        buffer = Buffer(size)
        buffer.add(begun)
        while not buffer.is_full:
            if not self._fill(buffer):
                raise LaneError('the connection was closed')
        return buffer.data

    def _fill(self, buffer: Buffer) -> int:
        try:
            return buffer.receive_from(self.socket)
        except OSError as error:
            if not is_own(error, Buffer.receive_from):
                raise
            raise LaneError(_describe(error)) from error

    def receive_some(self) -> bytes:
        """Wait for bytes and return some.

        :raises LaneError: when the other end has gone.
        """
        try:
            data = self.socket.recv(_RECV_BYTES)
        except OSError as error:
            if not is_own(error):
                raise
            raise LaneError(_describe(error)) from error
        if not data:
            raise LaneError('the connection was closed')
        return data

    def has_more(self) -> bool:
        """Return whether more has arrived than has been received.

        Only the receiving thread may call this.
        """
        rest = self.rest
        if len(rest) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest)
            if len(rest) - _LENGTH.size >= size:
                return True
        return bool(self.poll(0))

    # --- the end -----------------------------------------------------------------------------

    def is_open(self) -> bool:
        """Return whether the other end is there.

        Any thread may call this, even after :meth:`close`.
        """
        probe, descriptor = select.poll(), self.socket.fileno()
        if descriptor < 0:
            return False
        probe.register(descriptor, GONE)
        return not probe.poll(0)

    def shut_down(self) -> None:
        """End the connection, also for a thread that is receiving."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:  # the other end was faster
            if not is_own(error):
                raise

    def close(self) -> None:
        """Close the socket, when no thread receives."""
        self.expect = None  # which refers to the lane: a cycle would keep its memory
        self.socket.close()


def _close(_number: int, descriptor: int | None, _is_scarce: bool) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _describe(error: OSError) -> str:
    return error.strerror or str(error)
