"""Streams of sessions over gRPC: each has its own connection.

See :mod:`uactor.transport.http2`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from socket import SocketType
from typing import Any, NoReturn

from google.protobuf.message import DecodeError

from uactor.client.keepalive import idle_streams
from uactor.codec import messages
from uactor.codec.fastpath import NUMBERED
from uactor.core.addresses import server_path, split_host_port, to_socket_path
from uactor.errors import AuthkeyError, SerializationError, VersionError
from uactor.runtime.fork_sockets import disconnect, strip_ipv6_scope
from uactor.runtime.limits import MAX_WAIT_S
from uactor.runtime.locks import Latch
from uactor.runtime.system_errors import is_own
from uactor.runtime.weakrefs import WeakBag
from uactor.transport.chunks import Chunks
from uactor.transport.frames import MAX_HANDSHAKE_BYTES
from uactor.transport.http2 import Http2Call
from uactor.transport.http2_stream import CallEnd, End, Http2Stream, Status
from uactor.transport.interfaces import (
    StreamEnd,
    close_with,
    connect_unix,
    make_socket,
    map_connect_error,
    map_decode_error,
)
from uactor.transport.lane import lane_path
from uactor.v1 import actor_pb2 as pb

_SERVER_START_S = 2.0
"""How long to wait for an actor's gRPC server to start. Then the client connects regardless."""
_MIN_TIMEOUT_S = 1e-3
"""Shortest timeout of a socket: 0 would make it non-blocking."""

_SESSION_METHOD = '/uactor.v1.ActorService/Session'

_ERROR_BY_STATUS: Mapping[int, type[Exception]] = {
    Status.UNAUTHENTICATED: AuthkeyError,
    Status.FAILED_PRECONDITION: VersionError,
    Status.RESOURCE_EXHAUSTED: SerializationError,
}
"""Our error for each status by which a host refuses a session. Any other status means that no host
listens."""

_TCP_OPTIONS = {
    'TCP_NODELAY': (socket.IPPROTO_TCP, 1),
    'SO_KEEPALIVE': (socket.SOL_SOCKET, 1),
    'TCP_KEEPIDLE': (socket.IPPROTO_TCP, 20),
    'TCP_KEEPINTVL': (socket.IPPROTO_TCP, 5),
    'TCP_KEEPCNT': (socket.IPPROTO_TCP, 2),
    'TCP_USER_TIMEOUT': (socket.IPPROTO_TCP, 30_000),
}
"""Options of a TCP connection; a system may lack some. The system sends messages at once, and
notices within half a minute that a peer has vanished."""

_CONNECT_HELPERS = make_socket, connect_unix, socket.getaddrinfo
"""Functions whose system calls can fail during a connect: see :func:`is_own`."""


class GrpcTransport:
    """Opens streams to the gRPC server at an address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._path = to_socket_path(address)
        self._peers: set[Any] = (
            set() if self._path is None else {self._path, server_path(self._path)}
        )
        self._streams: WeakBag[GrpcStream] = WeakBag()
        self._has_woken_server = False

    def open(
        self,
        on_end: Callable[[], None],
        pipelined: bool = False,
        seconds: float | None = None,
    ) -> GrpcStream:
        """See :class:`uactor.transport.interfaces.Transport`."""
        deadline = time.monotonic() + (MAX_WAIT_S if seconds is None else seconds)

        def seconds_left() -> float:
            return max(_MIN_TIMEOUT_S, deadline - time.monotonic())

        opened: list[SocketType] = []
        try:
            sock = self.connect(opened, seconds_left)
            self._note_peer(sock)
            authority = 'localhost' if self._path is not None else self._address
            call = Http2Call(sock, Http2Stream(_SESSION_METHOD, authority), seconds_left())
            stream = GrpcStream(call, on_end, is_remote=self._path is None)
            close_with(stream, sock)
        except BaseException as error:
            for sock in opened:
                sock.close()
            if isinstance(error, CallEnd):
                raise _map_call_end(error.end) from error
            raise
        self._streams.add(stream)
        if not pipelined:  # a pipelined stream always has a thread that receives
            idle_streams.add(stream)
        return stream

    def connect(self, opened: list[SocketType], seconds_left: Callable[[], float]) -> SocketType:
        """Connect to the server, which the first connection wakes.

        :param opened: a list that each new socket is appended to.
        :raises StreamEnd: if the server can't be reached.
        """
        if self._path is not None and not self._has_woken_server:
            self._has_woken_server = True
            _wake_server(self._path, min(_SERVER_START_S, seconds_left()))
        try:
            if self._path is None:
                sock = self._connect_tcp(opened, seconds_left)
            else:
                sock = make_socket(socket.AF_UNIX, opened)
                connect_unix(sock, self._path, seconds_left())
        except OSError as error:
            if not is_own(error, GrpcTransport._connect_tcp, *_CONNECT_HELPERS):
                raise
            raise map_connect_error(error) from error
        return sock

    def _note_peer(self, sock: SocketType) -> None:
        """Store the peer's address, by which a forked child finds this connection."""
        try:
            self._peers.add(strip_ipv6_scope(sock.getpeername()))
        except OSError as error:  # the peer has gone
            if not is_own(error):
                raise
            raise StreamEnd(error.strerror or str(error)) from error

    def _connect_tcp(
        self, opened: list[SocketType], seconds_left: Callable[[], float]
    ) -> SocketType:
        """Connect to the first reachable address of a host.

        :raises OSError: if none can be reached: the error of the last address.
        """
        host, port = split_host_port(self._address)
        # Bytes, because the codec for host names replaces an exception that a signal handler
        # raises in it.
        name = host.encode() if host.isascii() else host
        *others, last = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in (*others, last):
            sock = make_socket(family, opened)
            try:
                sock.settimeout(seconds_left())
                sock.connect(address)
            except OSError as error:
                if address == last[-1] or not is_own(error):
                    raise
                opened.pop().close()
                continue
            for name, (level, value) in _TCP_OPTIONS.items():
                if hasattr(socket, name):
                    sock.setsockopt(level, getattr(socket, name), value)
            return sock
        raise OSError(f'{self._address} has no address')

    def reopen_after_fork(self) -> GrpcTransport:
        """See :class:`uactor.transport.interfaces.Transport`."""
        disconnect(lambda sock: strip_ipv6_scope(sock.getpeername()) in self._peers)
        for stream in tuple(self._streams):
            stream.close()
        return GrpcTransport(self._address)


def _wake_server(path: str, seconds: float) -> None:
    """Start an actor's gRPC server, if it starts on demand.

    Until the server runs, threads of the actor forward connections to it: see
    :mod:`uactor.host.grpc.on_demand`. A connection that stays open should not be forwarded. So the
    client wakes the server by a connection that it drops.
    """
    if not os.path.exists(lane_path(path)):
        return
    opened: list[SocketType] = []
    try:
        sock = make_socket(socket.AF_UNIX, opened)
        sock.settimeout(seconds)
        sock.connect(path)
        sock.recv(1)  # a server sends first
    except OSError as error:  # the next connect will fail in the same way, and report it
        if not is_own(error, make_socket):
            raise
    finally:
        for sock in opened:
            sock.close()


class GrpcStream:
    """A :class:`uactor.transport.interfaces.SessionStream` over a gRPC call."""

    is_read_ahead = False

    def __init__(
        self, call: Http2Call, on_end: Callable[[], None], is_remote: bool = False
    ) -> None:
        self._call = call
        self._is_remote = is_remote
        self._on_end = on_end
        self._first_to_end = threading.Lock()  # never released
        self._end_noted = Latch()
        self.ended = False
        self.memory = Chunks()
        self._call.limit_messages(MAX_HANDSHAKE_BYTES)
        self._is_trusted = False

    def is_open(self) -> bool:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        return not self.ended and self._call.is_open()

    def confirm_host(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._call.limit_messages(-1)
        self._is_trusted = True

    def share(self, limit: int) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.memory.limit = limit or -1

    # --- messages ----------------------------------------------------------------------------

    def send(self, request: pb.SessionRequest) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        if self.memory.outgoing:
            for chunk in self.memory.cut_chunks(messages.list_memories(request)):
                self.send_bytes(pb.SessionRequest(chunk=chunk).SerializeToString())
        self.send_bytes(request.SerializeToString())

    def send_bytes(self, message: bytes) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        try:
            self._call.send(message)
        except CallEnd as call_end:
            self._break_off(call_end)

    def request(self, request: pb.SessionRequest) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.send(request)
        return self.receive()

    def request_bytes(self, message: bytes) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.send_bytes(message)
        return self.receive()

    def receive(self) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        try:
            message = self._call.receive()
            while not message.startswith(NUMBERED):
                if not self._is_trusted:
                    raise CallEnd(End(None, 'the first message has no number'))
                self.memory.receive(self.read(message).chunk)
                message = self._call.receive()
        except CallEnd as call_end:
            self._break_off(call_end)
        return message  # type: ignore[return-value]  # Protobuf takes bytearrays

    def read(self, message: bytes | bytearray) -> pb.SessionResponse:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        try:
            return pb.SessionResponse.FromString(message)  # type: ignore[arg-type]  # as in receive()
        except DecodeError as error:
            self._end()
            raise map_decode_error(error) from error

    # --- ending ------------------------------------------------------------------------------

    def _break_off(self, call_end: CallEnd) -> NoReturn:
        self._end()
        raise _map_call_end(call_end.end, self._is_remote) from call_end

    def finish(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._call.finish()

    def wait_for_end(self, timeout: float) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        deadline = time.monotonic() + timeout
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            if not self.attend(left):
                self._end_noted.wait(left)

    def send_last(self, message: bytes) -> None:
        """Do nothing: a gRPC server drops unread messages of a broken stream."""

    def cancel(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._end()

    def _end(self) -> None:
        """Record the end of the stream, on the first call only."""
        if self._first_to_end.acquire(blocking=False):
            self.ended = True
            self._call.hang_up()
            self.memory.close()
            self._end_noted.set()
            self._on_end()

    def close(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.ended = True
        self.memory.close()
        self._call.close()

    # --- see uactor.client.keepalive -----------------------------------------------------------

    @property
    def progress(self) -> int:
        """The number of bytes that have been sent and received."""
        return self._call.progress

    def fileno(self) -> int:
        """Return the descriptor of the connection; negative if it is closed."""
        return self._call.fileno()

    def attend(self, timeout: float = 0.0) -> bool:
        """See :meth:`uactor.transport.http2.Http2Call.attend`."""
        if not self._call.attend(timeout):
            return False
        if self._call.end is not None:
            self._end()
        return True


def _map_call_end(end: End, is_remote: bool = False) -> StreamEnd:
    """Return the stream end for the end of a gRPC call.

    A local connection ends without a status when the host process ends. A remote connection may
    also end because of the network.
    """
    kind = None if end.status is None else _ERROR_BY_STATUS.get(end.status)
    lost = is_remote and end.status is None
    return StreamEnd(end.details or 'the stream ended', kind, end.unread, lost)
