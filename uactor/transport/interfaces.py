"""Define the stream of a session, over gRPC or the local lane."""

from __future__ import annotations

import errno
import functools
import socket
import struct
import time
from collections.abc import Callable
from socket import SocketType
from typing import Protocol

from google.protobuf.message import DecodeError

from uactor.errors import ResourceError, VersionError
from uactor.runtime.deferred import deferred
from uactor.runtime.descriptors import SHORTAGE
from uactor.runtime.system_errors import is_own
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb


class StreamEnd(Exception):  # noqa: N818  # an end is no error, as StopIteration
    """The stream has ended.

    :ivar kind: the error class for what the host has refused; None when it has given no reason.
    :ivar details: the known reason of the end, for people.
    :ivar unread: whether the host has certainly not received the last message.
    :ivar lost: whether the network may have ended the stream, so that the host's state is unknown.
    """

    def __init__(
        self,
        details: str,
        kind: type[Exception] | None = None,
        unread: bool = False,
        lost: bool = False,
    ) -> None:
        super().__init__(details)
        self.details = details
        self.kind = kind
        self.unread = unread
        self.lost = lost


def map_decode_error(error: DecodeError) -> StreamEnd:
    """Convert the error of an undecodable message to the stream's end."""
    return StreamEnd(f'what comes is no message of a session: {error}', VersionError)


def map_connect_error(error: OSError) -> Exception:
    """Convert the error of a failed connect to one of this package.

    A shortage of descriptors or memory in this process says nothing about the actor.
    """
    said = error.strerror or str(error)
    if error.errno in SHORTAGE:
        return ResourceError(f'this process can open no connection ({said}); see RLIMIT_NOFILE')
    return StreamEnd(said)


def make_socket(family: int, into: list[SocketType]) -> SocketType:
    """Create a blocking socket and append it to a list.

    C code alone creates and appends it. So no signal handler can raise in between, and leave a
    socket that no thread closes.
    """
    into.extend(map(SocketType, (family,)))
    into[-1].settimeout(None)  # the program may have called socket.setdefaulttimeout()
    return into[-1]


_sockets: set[SocketType] = set()
"""The sockets of this process's streams. In a forked child, they include its parent's."""


def close_with(stream: object, sock: SocketType) -> None:
    """Close a socket once its stream is garbage.

    Before that, another thread might be using the descriptor.

    :raises ResourceError: when the process can't start the thread that closes it.
    """
    deferred.submit_when_gone(stream, functools.partial(_close, sock))
    _sockets.add(sock)


def _close(sock: SocketType) -> None:
    sock.close()
    _sockets.discard(sock)


def detach_sockets() -> None:
    """Leave the descriptors of all streams to the system, at exit.

    The system closes them when the process ends.
    """
    for sock in tuple(_sockets):
        sock.detach()


_SHORTEST_S = 1e-3
"""The shortest timeout: to the system, 0 means no limit."""

_TIME = struct.Struct('@ll')  # seconds and microseconds


def connect_unix(sock: SocketType, path: str, seconds: float | None) -> None:
    """Connect to a Unix socket, within a time limit.

    The timeout is the system's, not Python's. With Python's, a connect fails at once when the
    listener's backlog is full. Python also takes a connect that a signal interrupts for a success.

    :param seconds: how long to wait at most; None for any time.
    :raises OSError: when no process listens, or the listener does not accept in time.
    """
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        left = 0.0 if end is None else max(_SHORTEST_S, end - time.monotonic())
        limit = _TIME.pack(int(left), int(left % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        sock.connect(path)
        try:
            sock.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN or not is_own(error):
                raise
            continue
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _TIME.pack(0, 0))
        return


class SessionStream(Protocol):
    """One bidirectional stream of messages, used by one session.

    :ivar ended: whether it has ended, as far as this side has noticed.
    :ivar is_read_ahead: whether the host reads all arrived messages before it runs calls.
    """

    ended: bool
    is_read_ahead: bool

    @property
    def memory(self) -> Carrier | None:
        """The carrier of large data; None unless both ends support it."""
        ...

    def confirm_host(self) -> None:
        """Accept messages of any size: the host has proved its authkey."""
        ...

    def share(self, limit: int) -> None:
        """Send large data beside messages from now on.

        :param limit: the largest message that the host accepts, including that data, in bytes; 0
            for any.
        """
        ...

    def is_open(self) -> bool:
        """Return whether the stream is still open. Any thread may call this."""
        ...

    def send(self, request: pb.SessionRequest) -> None:
        """Send a message, and its data beside it.

        One thread at a time may call this.

        :raises StreamEnd: when the host can't be reached any more.
        """
        ...

    def send_bytes(self, message: bytes, /) -> None:
        """Send a message in its wire form. See :meth:`send`.

        Another thread may be receiving meanwhile.
        """
        ...

    def request(self, request: pb.SessionRequest) -> bytes:
        """Send a message, and return the response in its wire form.

        The message's data goes beside it.

        :raises StreamEnd: when the stream has ended.
        """
        ...

    def request_bytes(self, message: bytes, /) -> bytes:
        """Send a message that is in its wire form; see :meth:`request`."""
        ...

    def receive(self) -> bytes:
        """Wait for the next response, and return it in its wire form.

        :raises StreamEnd: when the stream has ended.
        """
        ...

    def read(self, message: bytes) -> pb.SessionResponse:
        """Decode a response.

        :raises StreamEnd: when the response says why the host has ended the stream.
        """
        ...

    def finish(self) -> None:
        """Stop sending, so that the host ends the stream.

        Any thread may call this.
        """
        ...

    def wait_for_end(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds until the host has ended the stream."""
        ...

    def send_last(self, message: bytes, /) -> None:
        """Send a last message before an abort, if that needs no waiting."""
        ...

    def cancel(self) -> None:
        """Abort the stream. Any thread may call this."""
        ...

    def close(self) -> None:
        """Release the resources of an ended stream that no thread uses."""
        ...


class Transport(Protocol):
    """Opens the streams of a connection."""

    def open(
        self,
        on_end: Callable[[], None],
        pipelined: bool = False,
        seconds: float | None = None,
    ) -> SessionStream:
        """Open a stream.

        :param on_end: is called when the stream has ended, on any thread.
        :param pipelined: whether a thread always receives.
        :param seconds: how long the host may take to accept the stream; None for any time.
        :raises StreamEnd: when no host listens.
        """
        ...

    def reopen_after_fork(self) -> Transport:
        """Drop the parent's sockets in a forked child; return its own transport."""
        ...
