"""gRPC under sessions, each on a connection of its own: see :mod:`uactor.transport.http2`."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
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
from uactor.transport.http2 import Http2Call
from uactor.transport.http2_stream import CallEnd, End, Http2Stream
from uactor.transport.interfaces import (
    StreamEnd,
    close_with,
    connect_unix,
    make_socket,
    no_message,
    unopened,
)
from uactor.transport.lane import HANDSHAKE_LIMIT, path_of
from uactor.v1 import actor_pb2 as pb

_KNOCKING = 2.0
"""How long an actor may take to have its gRPC server answer, in seconds; a busy one is connected to
anyhow."""
_SHORTEST = 1e-3
"""A timeout of nothing would mean not to wait, in seconds."""

_SESSION = '/uactor.v1.ActorService/Session'

_KINDS = {16: AuthkeyError, 9: VersionError, 8: SerializationError}
"""What a status that ends a session says: UNAUTHENTICATED, FAILED_PRECONDITION and
RESOURCE_EXHAUSTED. Others say that nobody is there."""

_OVER_TCP = {
    'TCP_NODELAY': (socket.IPPROTO_TCP, 1),
    'SO_KEEPALIVE': (socket.SOL_SOCKET, 1),
    'TCP_KEEPIDLE': (socket.IPPROTO_TCP, 20),
    'TCP_KEEPINTVL': (socket.IPPROTO_TCP, 5),
    'TCP_KEEPCNT': (socket.IPPROTO_TCP, 2),
    'TCP_USER_TIMEOUT': (socket.IPPROTO_TCP, 30_000),
}
"""Options, those that the system has: messages leave at once, and within half a minute it finds out
about a peer that has vanished without a word."""


_CONNECTING = make_socket, connect_unix, socket.getaddrinfo
"""What stands between a connection and the system calls that open it."""


class GrpcTransport:
    """Opens streams to the gRPC server at an address."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._path = to_socket_path(address)
        self._peers: set[Any] = (
            set() if self._path is None else {self._path, server_path(self._path)}
        )
        self._streams: WeakBag[GrpcStream] = WeakBag()
        self._has_knocked = False

    def open(
        self,
        on_end: Callable[[], None],
        pipelined: bool = False,
        seconds: float | None = None,
    ) -> GrpcStream:
        """See :class:`uactor.transport.interfaces.Transport`."""
        end = time.monotonic() + (MAX_WAIT_S if seconds is None else seconds)

        def left() -> float:
            return max(_SHORTEST, end - time.monotonic())

        made: list[SocketType] = []
        try:
            sock = self._connected(made, left)
            self._note_peer(sock)
            authority = 'localhost' if self._path is not None else self._address
            call = Http2Call(sock, Http2Stream(_SESSION, authority), left())
            stream = GrpcStream(call, on_end, is_remote=self._path is None)
            close_with(stream, sock)
        except BaseException as error:
            for sock in made:
                sock.close()
            if isinstance(error, CallEnd):
                raise _stream_end(error.end) from error
            raise
        self._streams.add(stream)
        if not pipelined:  # else there is always a thread that receives
            idle_streams.add(stream)
        return stream

    def _connected(self, made: list[SocketType], left: Callable[[], float]) -> SocketType:
        if self._path is not None and not self._has_knocked:
            self._has_knocked = True
            _knock(self._path, min(_KNOCKING, left()))
        try:
            if self._path is None:
                sock = self._connected_over_tcp(made, left)
            else:
                sock = make_socket(socket.AF_UNIX, made)
                connect_unix(sock, self._path, left())
        except OSError as error:
            if not is_own(error, GrpcTransport._connected_over_tcp, *_CONNECTING):
                raise
            raise unopened(error) from error
        return sock

    def _note_peer(self, sock: SocketType) -> None:
        try:
            self._peers.add(strip_ipv6_scope(sock.getpeername()))
        except OSError as error:  # it has gone by now
            if not is_own(error):
                raise
            raise StreamEnd(error.strerror or str(error)) from error

    def _connected_over_tcp(self, made: list[SocketType], left: Callable[[], float]) -> SocketType:
        """Connect to the first address of a host that answers.

        :raises OSError: why the last one doesn't.
        """
        host, port = split_host_port(self._address)
        # Bytes: the codec for names replaces what a signal handler raises in it.
        name = host.encode() if host.isascii() else host
        *others, last = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
        for family, _, _, _, address in (*others, last):
            sock = make_socket(family, made)
            try:
                sock.settimeout(left())
                sock.connect(address)
            except OSError as error:
                if address == last[-1] or not is_own(error):
                    raise
                made.pop().close()
                continue
            for name, (level, value) in _OVER_TCP.items():
                if hasattr(socket, name):
                    sock.setsockopt(level, getattr(socket, name), value)
            return sock
        raise OSError(f'{self._address} has no address')

    def inherited(self) -> GrpcTransport:
        """See :class:`uactor.transport.interfaces.Transport`."""
        disconnect(lambda sock: strip_ipv6_scope(sock.getpeername()) in self._peers)
        for stream in tuple(self._streams):
            stream.close()
        return GrpcTransport(self._address)


def _knock(path: str, seconds: float) -> None:
    """Have the actor make its gRPC server, if it waits for somebody to come.

    What comes before there is one gets passed on to it by threads of the actor: see
    :mod:`uactor.host.grpc.on_demand`. Nothing should that stays for long.
    """
    if not os.path.exists(path_of(path)):
        return
    made: list[SocketType] = []
    try:
        visitor = make_socket(socket.AF_UNIX, made)
        visitor.settimeout(seconds)
        visitor.connect(path)
        visitor.recv(1)  # a server begins every connection
    except OSError as error:  # found out later
        if not is_own(error, make_socket):
            raise
    finally:
        for visitor in made:
            visitor.close()


class GrpcStream:
    """A call, as :class:`uactor.transport.interfaces.SessionStream`."""

    is_read_ahead = False

    def __init__(
        self, call: Http2Call, on_end: Callable[[], None], is_remote: bool = False
    ) -> None:
        self._call = call
        self._is_remote = is_remote
        self._on_end = on_end
        self._ending = threading.Lock()
        self._done = Latch()
        self.ended = False
        self.memory = Chunks()
        self._call.limit_messages(HANDSHAKE_LIMIT)
        self._is_trusted = False

    def is_open(self) -> bool:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        return not self.ended and self._call.is_open()

    def proved(self) -> None:
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
            for chunk in self.memory.passed(messages.memories(request)):
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
                    raise CallEnd(End(None, 'no number comes with the first message'))
                self.memory.take(self.read(message).chunk)
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
            raise no_message(error) from error

    # --- ending ------------------------------------------------------------------------------

    def _break_off(self, call_end: CallEnd) -> NoReturn:
        self._end()
        raise _stream_end(call_end.end, self._is_remote) from call_end

    def finish(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._call.finish()

    def wait_ended(self, timeout: float) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        deadline = time.monotonic() + timeout
        while not self.ended and (left := deadline - time.monotonic()) > 0:
            if not self.attend(left):
                self._done.wait(left)

    def send_last(self, message: bytes) -> None:
        """Do nothing: what a gRPC server has not read when a stream is broken off, it drops."""

    def cancel(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._end()

    def _end(self) -> None:
        """Note the end, once."""
        if self._ending.acquire(blocking=False):
            self.ended = True
            self._call.hang_up()
            self.memory.close()
            self._done.set()
            self._on_end()

    def close(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.ended = True
        self.memory.close()
        self._call.close()

    # --- see uactor.client.keepalive -----------------------------------------------------------

    @property
    def progress(self) -> int:
        """How much has been sent and received, in bytes."""
        return self._call.progress

    def fileno(self) -> int:
        """Return the descriptor of the connection; negative when it is closed."""
        return self._call.fileno()

    def attend(self, timeout: float = 0.0) -> bool:
        """Act upon what has come, unless a thread is receiving; tell whether none was.

        :param timeout: how long is waited for something, in seconds.
        """
        if not self._call.attend(timeout):
            return False
        if self._call.end is not None:
            self._end()
        return True


def _stream_end(end: End, is_remote: bool = False) -> StreamEnd:
    """Return the end of a stream for that of a call.

    A local connection ends without a word when the process at its other end does. One over a
    network may also end for what is between.
    """
    kind = None if end.status is None else _KINDS.get(end.status)
    lost = is_remote and end.status is None
    return StreamEnd(end.details or 'the stream ended', kind, end.unread, lost)
