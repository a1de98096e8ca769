"""Sessions without the client of uactor, for messages that it never sends."""

from __future__ import annotations

import contextlib
import hmac
import queue
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import grpc

from tests.support.rpc import channel_to, get_dial_address
from uactor.transport.lane import lane_path
from uactor.v1 import actor_pb2 as pb

KEY = b'the key of the actor'
NONCE = b'n' * 16
_PASSING, _FIRST_READ = 1 << 31, 8192

STREAM_KINDS = ('lane', 'grpc')


class End(Exception):
    """The host has ended the session."""


class RawStream(Protocol):
    """A stream of messages to the host."""

    def put(self, message: bytes) -> None:
        """Send a message in its wire form."""
        ...

    def get(self) -> bytes:
        """Return the next message in its wire form, or raise :class:`End`."""
        ...

    def close(self) -> None:
        """Break off the stream."""
        ...


def find_lane(actor: Any) -> str:
    """Return the path of an actor's lane."""
    return lane_path(actor.connection_address.removeprefix('unix:'))


class RawLaneStream:
    """The local lane."""

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(path)

    def put(self, message: bytes) -> None:
        """See :class:`RawStream`."""
        self.send_bytes(struct.pack('!I', len(message)) + message)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise End from error

    def send_descriptors(
        self, message: bytes, passed: Sequence[tuple[int, Sequence[int]]], count: int | None = None
    ) -> None:
        """Send a message with descriptors, some for each number.

        :param count: how many numbers are announced; None for as many as there are.
        """
        announced = len(passed) if count is None else count
        head = struct.pack('!II', _PASSING | len(message), announced)
        self.send_bytes(head + message + bytes(max(0, _FIRST_READ - len(message))))
        try:
            for number, descriptors in passed:
                socket.send_fds(self.socket, [struct.pack('!I', number)], list(descriptors))
        except (BrokenPipeError, ConnectionResetError) as error:
            raise End from error

    def get(self) -> bytes:
        """See :class:`RawStream`."""
        (size,) = struct.unpack('!I', self._exactly(4))
        if size & _PASSING:
            size -= _PASSING
            (count,) = struct.unpack('!I', self._exactly(4))
            message = self._exactly(max(size, _FIRST_READ))[:size]
            self._exactly(4 * count)
            return message
        return self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        try:
            data = self.socket.recv(size, socket.MSG_WAITALL) if size else b''
        except ConnectionResetError as error:
            raise End from error
        if len(data) < size:
            raise End
        return data

    def close(self) -> None:
        """See :class:`RawStream`."""
        self.socket.close()


class RawGrpcStream:
    """The RPC ``Session``."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        session: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
            '/uactor.v1.ActorService/Session'
        )
        self.call = session(iter(self._requests.get, None), timeout=60)

    def put(self, message: bytes) -> None:
        """See :class:`RawStream`."""
        self._requests.put(message)

    def get(self) -> bytes:
        """See :class:`RawStream`."""
        try:
            message: bytes = next(self.call)
        except (grpc.RpcError, StopIteration) as error:
            raise End from error
        return message

    def close(self) -> None:
        """See :class:`RawStream`."""
        self.call.cancel()
        self._requests.put(None)


class RawSession:
    """A session on a stream."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self._number = 0

    def enter(self, client_id: str = 'by hand', key: bytes = KEY, **hello: Any) -> RawSession:
        """Go through the handshake."""
        welcome = self.ask(
            hello=pb.Hello(protocol_version=1, client_id=client_id, nonce=NONCE, **hello)
        ).welcome
        proof = hmac.digest(key, b'uactor/1 client' + welcome.nonce + NONCE, 'sha256')
        self.send(proof=pb.Proof(proof=proof))
        return self

    def send(self, **kind: Any) -> int:
        """Send a request and return its number."""
        self._number += 1
        self.stream.put(pb.SessionRequest(id=self._number, **kind).SerializeToString())
        return self._number

    def ask(self, **kind: Any) -> pb.SessionResponse:
        """Send a request and return its response."""
        number = self.send(**kind)
        response = self.receive()
        assert response.id == number
        return response

    def receive(self) -> pb.SessionResponse:
        """Return the next response."""
        return pb.SessionResponse.FromString(self.stream.get())

    def call(self, method: str, *args: pb.Value, handle: str = '') -> pb.Value:
        """Call a method."""
        response = self.ask(call=pb.CallRequest(handle=handle, method=method, args=args))
        assert response.HasField('result'), response
        return response.result

    def create(self, typeid: str) -> str:
        """Make an object and return its handle."""
        request = pb.CreateHandleRequest(typeid=typeid)
        return self.ask(create_handle=request).result.handle.id

    def exists(self, handle: str) -> bool:
        """Return whether there is such an object."""
        response = self.ask(call=pb.CallRequest(handle=handle, method='__str__'))
        return response.HasField('result')

    def leave(self) -> None:
        """Send a goodbye and wait for the end of the session."""
        self.send(goodbye=pb.Goodbye())
        with contextlib.suppress(End):
            while True:
                self.stream.get()
        self.stream.close()


@contextlib.contextmanager
def open_session(actor: Any, stream: str) -> Iterator[RawSession]:
    """Yield a session that has not begun."""
    with contextlib.ExitStack() as stack:
        opened: Any
        if stream == 'lane':
            opened = RawLaneStream(find_lane(actor))
        else:
            opened = RawGrpcStream(stack.enter_context(channel_to(get_dial_address(actor))))
        yield RawSession(stack.enter_context(contextlib.closing(opened)))
