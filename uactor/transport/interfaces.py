"""What a session sends and receives by, whatever the wire: gRPC, or the local lane."""

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


class StreamEnd(Exception):
    """The stream has ended.

    :ivar kind: what the host refuses, as the class of our error; None when it has said nothing.
    :ivar details: what is known of the end, for people.
    :ivar unread: whether the host has surely not got the last message.
    :ivar lost: whether the network may have ended it, and nothing is known of the host.
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
    """Return the end of a stream on which something else has come than a message."""
    return StreamEnd(f'what comes is no message of a session: {error}', VersionError)


def map_connect_error(error: OSError) -> Exception:
    """Return what it means that a connection could not be opened.

    That this process lacks what it takes says nothing about the actor.
    """
    said = error.strerror or str(error)
    if error.errno in SHORTAGE:
        return ResourceError(f'this process can open no connection ({said}); see RLIMIT_NOFILE')
    return StreamEnd(said)


def make_socket(family: int, into: list[SocketType]) -> SocketType:
    """Make a blocking socket and append it to a list, from which an exception can't part it.

    C code alone makes and appends it. So no signal handler comes between, whose exception would
    leave a socket that nobody closes.
    """
    into.extend(map(SocketType, (family,)))
    into[-1].settimeout(None)  # whatever socket.setdefaulttimeout() says
    return into[-1]


_sockets: set[SocketType] = set()
"""The sockets of the streams of this process, and in a forked child those of its parent."""


def close_with(stream: object, sock: SocketType) -> None:
    """Close a socket once nobody has its stream any more.

    Sooner, another thread might be using the descriptor.

    :raises ResourceError: when there is no thread to be had that closes it.
    """
    deferred.submit_when_gone(stream, functools.partial(_close, sock))
    _sockets.add(sock)


def _close(sock: SocketType) -> None:
    sock.close()
    _sockets.discard(sock)


def detach_sockets() -> None:
    """Leave the descriptors of all streams to the system, which closes them: the process ends."""
    for sock in tuple(_sockets):
        sock.detach()


_SHORTEST_S = 1e-3
"""No time at all would mean any time to the system."""

_TIME = struct.Struct('@ll')  # seconds and microseconds


def connect_unix(sock: SocketType, path: str, seconds: float | None) -> None:
    """Connect to a Unix socket, for so many seconds at most.

    A socket with a timeout of Python's fails at once when the listener has its backlog full. And
    what a signal interrupts there is taken for connected.

    :raises OSError: when nobody listens, or nobody accepts in time.
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
    :ivar is_read_ahead: whether the host takes in what has arrived before it runs calls.
    """

    ended: bool
    is_read_ahead: bool

    @property
    def memory(self) -> Carrier | None:
        """What it can take large data by, if the host can, too; None when it can't."""
        ...

    def confirm_host(self) -> None:
        """Know that the host has proved that it knows the authkey: take messages of any size."""
        ...

    def share(self, limit: int) -> None:
        """Know that large data goes beside messages.

        :param limit: largest message that the host takes, along with that, in bytes; 0 for any.
        """
        ...

    def is_open(self) -> bool:
        """Find out whether it is open still. Any thread may."""
        ...

    def send(self, request: pb.SessionRequest) -> None:
        """Send a message, and what goes beside it. One thread at a time.

        :raises StreamEnd: when it can't reach the host any more.
        """
        ...

    def send_bytes(self, message: bytes, /) -> None:
        """Send a message in its wire form; another thread may be receiving. See :meth:`send`."""
        ...

    def request(self, request: pb.SessionRequest) -> bytes:
        """Send a message, and what goes beside it, and return the response in its wire form.

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
        """Return the response that a message is.

        :raises StreamEnd: when it says why the host has ended the stream.
        """
        ...

    def finish(self) -> None:
        """Send no more; the host ends the stream. Any thread may."""
        ...

    def wait_for_end(self, timeout: float) -> None:
        """Wait until the host has ended the stream, for so many seconds at most."""
        ...

    def send_last(self, message: bytes, /) -> None:
        """Send a last message before the stream is broken off, as far as that can be at once."""
        ...

    def cancel(self) -> None:
        """Break the stream off. Any thread may."""
        ...

    def close(self) -> None:
        """Give back what a stream has that has ended, and that no thread uses."""
        ...


class Transport(Protocol):
    """Opens the streams of a connection."""

    def open(
        self,
        on_end: Callable[[], None],
        pipelined: bool = False,
        seconds: float | None = None,
    ) -> SessionStream:
        """Return a new stream.

        :param on_end: is called when it has ended, on any thread.
        :param pipelined: whether there is always a thread that receives.
        :param seconds: how long the other end may take to let it in; None for any time.
        :raises StreamEnd: when there is nobody.
        """
        ...

    def reopen_after_fork(self) -> Transport:
        """Let go of the parent's sockets, in a forked child, and return a transport for it."""
        ...
