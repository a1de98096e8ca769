"""Streams of sessions over the local lane: see :mod:`uactor.transport.lane`."""

from __future__ import annotations

import functools
import logging
import os
import select
import socket
import stat
import threading
from collections.abc import Callable
from socket import SocketType
from typing import NoReturn

from google.protobuf.message import DecodeError

from uactor import errors
from uactor.codec import messages
from uactor.core.addresses import to_socket_path
from uactor.errors import (
    ActorUnreachableError,
    AuthkeyError,
    SerializationError,
    VersionError,
)
from uactor.runtime.fork_sockets import disconnect
from uactor.runtime.system_errors import is_own
from uactor.runtime.weakrefs import WeakBag
from uactor.transport import frames, lane, segments, shm_buffers, shm_slot
from uactor.transport.interfaces import (
    StreamEnd,
    close_with,
    connect_unix,
    make_socket,
    map_connect_error,
    map_decode_error,
)
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.client')


def find_lane(address: str) -> str | None:
    """Return the path of an actor's lane, if this user owns it."""
    path = to_socket_path(address)
    if path is None:
        return None
    path = lane.lane_path(path)
    try:
        found = os.lstat(path)  # a symbolic link could lead to the lane of another actor
    except OSError as error:
        if not is_own(error):
            raise
        return None
    return path if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid() else None


def leads_to(said: str, address: str) -> bool:
    """Return whether a lane leads to the actor at ``address``.

    :param said: the address at which the host behind the lane claims to listen.
    """
    if said == address:
        return True
    paths = to_socket_path(said), to_socket_path(address)
    if None in paths:
        return False
    try:
        return os.path.samefile(*paths)  # type: ignore[arg-type]
    except OSError as error:  # this process can't see one of the paths
        if not is_own(error, os.path.samefile):
            raise
        return False


class LaneTransport:
    """Opens streams on the lane at ``path``: each has its own connection."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._streams: WeakBag[LaneStream] = WeakBag()

    def open(
        self,
        on_end: Callable[[], None],
        pipelined: bool = False,
        seconds: float | None = None,
    ) -> LaneStream:
        """See :class:`uactor.transport.interfaces.Transport`."""
        opened: list[SocketType] = []
        try:
            stream = LaneStream(self._connect(opened, seconds), on_end, calls=not pipelined)
            close_with(stream, opened[-1])
        except BaseException:
            for sock in opened:
                sock.close()
            raise
        self._streams.add(stream)
        return stream

    def _connect(self, opened: list[SocketType], seconds: float | None) -> SocketType:
        try:
            sock = make_socket(socket.AF_UNIX, opened)
            connect_unix(sock, self._path, seconds)
        except OSError as error:
            if not is_own(error, make_socket, connect_unix):
                raise
            raise map_connect_error(error) from error
        return sock

    def reopen_after_fork(self) -> LaneTransport:
        """See :class:`uactor.transport.interfaces.Transport`."""
        disconnect(lambda sock: sock.getpeername() == self._path)  # of threads that were connecting
        for stream in tuple(self._streams):
            stream.close()
        return LaneTransport(self._path)


class LaneStream:
    """A :class:`uactor.transport.interfaces.SessionStream` over a lane.

    :ivar lane: this end of it.
    """

    is_read_ahead = True

    def __init__(self, sock: SocketType, on_end: Callable[[], None], calls: bool) -> None:
        self.lane = lane.Lane(sock, frames.MAX_HANDSHAKE_BYTES, makes_calls=calls)
        self._calls = calls
        self._on_end = on_end
        self._ending = threading.Lock()
        self.ended = False
        self._shares = False
        self.memory: shm_buffers.ShmChannel | None = None
        if segments.POSSIBLE:
            self.memory = shm_buffers.ShmChannel()

    def is_open(self) -> bool:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        return not self.ended and self.lane.frames.is_open()

    def send(self, request: pb.SessionRequest) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._send_with(request.SerializeToString(), self._descriptors_of(request))

    def send_bytes(self, message: bytes) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        try:
            self.lane.send(message)
        except frames.LaneError as error:
            raise StreamEnd(str(error)) from error

    def request(self, request: pb.SessionRequest) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        return self._request_with(request.SerializeToString(), self._descriptors_of(request))

    def request_bytes(self, message: bytes) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        if self.lane.wants_slot:
            return self._request_with(message, [])
        try:
            return self.lane.call(message)  # type: ignore[return-value]  # as in _receive_by()
        except frames.UnsentError as error:
            self._raise_reason(error)
        except frames.LaneError as error:
            self._break_off(error)

    def _request_with(self, message: bytes, passed: list[tuple[int, int]]) -> bytes:
        self.lane.begin_call()
        self._send_with(message, passed)
        return self._receive_by(self.lane.end_call)

    def _descriptors_of(self, request: pb.SessionRequest) -> list[tuple[int, int]]:
        """Return the descriptors that travel with a request, with their numbers."""
        if self.memory is None or not self.memory.outgoing:
            return []
        return self.memory.pop_outgoing(messages.list_memories(request))

    def _send_with(self, message: bytes, passed: list[tuple[int, int]]) -> None:
        segment = self._create_slot() if self.lane.wants_slot else None
        if segment is not None:
            passed.append((shm_buffers.SHARED_SLOT, segment.descriptor))
        try:
            if passed:
                self.lane.frames.send_with(message, passed)
            else:
                self.lane.send(message)
        except frames.UnsentError as error:
            self._raise_reason(error)
        except frames.LaneError as error:
            self._break_off(error)
        if segment is not None:
            self._shares = False
            self.lane.share_slot(segment.mapping, 0)

    def _raise_reason(self, error: frames.LaneError) -> NoReturn:
        """Raise the host's reason for closing the lane, if any.

        The reason has already arrived. This side hangs up first, so that reading it can't block.
        """
        self.lane.hang_up()
        try:
            self.read(self._receive_by(self.lane.receive))
        except StreamEnd as end:
            end.unread = True
            raise
        raise StreamEnd(str(error), unread=True) from error

    def _create_slot(self) -> segments.Segment | None:
        """Allocate memory for a shared slot; return None without memory.

        The host receives the descriptor with the next message.
        """
        self.lane.wants_slot = False
        if self._shares and shm_slot.POSSIBLE:
            try:
                return segments.Segment(shm_slot.MEMORY_BYTES, 'uactor-slot')
            except OSError as error:
                if not is_own(error, segments.Segment.__init__, segments.map_memory):
                    raise
                log.debug('there will be no shared slot: %s', error)
        return None

    def confirm_host(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.lane.frames.limit = -1
        if self.memory is not None:
            self.lane.frames.expect = functools.partial(_expect, self.memory)

    def share(self, limit: int) -> None:  # noqa: ARG002  # named by the protocol
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self._shares = self._calls  # other sessions wait too long between messages to gain by it

    def receive(self) -> bytes:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        return self._receive_by(self.lane.receive)

    def _receive_by(self, receive: Callable[[], bytes | bytearray]) -> bytes:
        try:
            return receive()  # type: ignore[return-value]  # Protobuf takes bytearrays
        except frames.LaneError as error:
            self._break_off(error)

    def _break_off(self, error: frames.LaneError) -> NoReturn:
        self._end()
        raise StreamEnd(str(error), unread=self.lane.is_unread) from error

    def read(self, message: bytes) -> pb.SessionResponse:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        try:
            response = pb.SessionResponse.FromString(message)
        except DecodeError as error:
            self._end()
            raise map_decode_error(error) from error
        if response.id:
            return response
        self._end()
        raise _map_refusal(response.failure)

    def finish(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""

    def wait_for_end(self, timeout: float) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        if not self.ended:
            poll = select.poll()
            poll.register(self.lane.frames.socket, frames.GONE)
            poll.poll(timeout * 1000)
            self.close()  # the stream is finished, so no thread uses it

    def send_last(self, message: bytes) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.lane.frames.send_last(message)

    def cancel(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.lane.hang_up()
        self._end()

    def _end(self) -> None:
        """Record the end of the stream, on the first call only."""
        if self._ending.acquire(blocking=False):
            self.ended = True
            self._close_memory()
            self._on_end()

    def _close_memory(self) -> None:
        self.lane.leave_slot()
        if self.memory is not None:
            self.memory.close()

    def close(self) -> None:
        """See :class:`uactor.transport.interfaces.SessionStream`."""
        self.ended = True
        self._close_memory()
        self.lane.close()


def _expect(channel: shm_buffers.ShmChannel, message: bytearray) -> frames.TakeDescriptor:
    """Return the function that takes the descriptors of a message."""
    try:
        response = pb.SessionResponse.FromString(message)  # type: ignore[arg-type]  # as above
    except DecodeError:  # the thread that reads the message will report it
        response = pb.SessionResponse()
    return channel.expect(messages.list_memories(response))


_KINDS = {
    errors.get_type_name(kind): kind
    for kind in (AuthkeyError, VersionError, SerializationError, ActorUnreachableError)
}
"""Our error for each type name in a refusal.

A refusal is a failure without a number."""


def _map_refusal(failure: pb.Failure) -> StreamEnd:
    return StreamEnd(failure.message, _KINDS.get(failure.type_name, ActorUnreachableError))
