"""Serve sessions of Python callers on the same machine; see :mod:`uactor.transport.lane`.

Each connection is one session, on a thread of its own. One further thread accepts connections, and
notices by ``epoll`` that a client has gone while the thread of its session is busy.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import mmap
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

from google.protobuf.message import DecodeError

from uactor import errors
from uactor.codec.messages import list_memories
from uactor.errors import (
    ActorUnreachableError,
    AuthkeyError,
    SerializationError,
    UActorException,
)
from uactor.host.admission import Admission
from uactor.host.context import HostContext
from uactor.host.grpc.on_demand import OnDemandListener
from uactor.host.refusal import NO_THREADS, RefusedError
from uactor.host.sessions.serve import serve
from uactor.runtime.threads import OnDemandThread, attempt, start_daemon
from uactor.transport import segments, shm_buffers, shm_slot
from uactor.transport.frames import MAX_HANDSHAKE_BYTES, LaneError, OversizedError, TakeDescriptor
from uactor.transport.lane import Lane
from uactor.transport.unix_sockets import create_listener
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

POSSIBLE = hasattr(select, 'epoll') and hasattr(socket, 'SO_PEERCRED')
"""Whether this system tells the user of a peer, and watches many sockets at no cost for a call."""

_PAUSE_S = 0.01
"""Pause after a failure that is not of one connection: the system reports it again at once."""

_CONNECTION_LOST = errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO, errno.EBADF
"""Errors of accept() for a connection that has gone, or a listener that is closed."""

_NO_FILES = 'the actor process can open no more files (RLIMIT_NOFILE)'

_CREDENTIALS = struct.Struct('3i')  # pid, uid, gid


class LaneListener:
    """Listens at ``path`` for sessions.

    :ivar path: where the socket is.
    """

    def __init__(self, context: HostContext, path: str) -> None:
        self.path = path
        self._context = context
        self._endpoints: dict[int, _LaneEndpoint] = {}  # by descriptor
        self._listener = create_listener(path)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._spare_descriptor = os.open(os.devnull, os.O_RDONLY)
        self._admission = Admission(self._resume_accepting)

    def start(self, on_demand: OnDemandListener | None) -> None:
        """Accept connections.

        :param on_demand: whose connections are accepted, too, so that it needs no thread.
        """
        if on_demand is not None:
            self._epoll.register(on_demand.listener, select.EPOLLIN)
        step = functools.partial(self._handle_events, on_demand)
        OnDemandThread('uactor-lanes', step).ensure_running()

    def close(self) -> None:
        """Accept no more connections. Open ones go on."""
        self._epoll.unregister(self._listener)
        self._listener.close()

    def _resume_accepting(self) -> None:
        """Accept connections again, since there is room for clients without a proof."""
        with contextlib.suppress(OSError, ValueError):  # the listener is closed
            self._epoll.modify(self._listener, select.EPOLLIN)

    def _pause_accepting(self) -> None:
        """Leave further connections with the system until there is room for them."""
        self._epoll.modify(self._listener, 0)
        if self._admission.has_room:  # a client has gone just now
            self._resume_accepting()

    def _handle_events(self, on_demand: OnDemandListener | None) -> bool:
        """Handle what has happened. A step of a thread that never ends."""
        events = self._epoll.poll()
        done = [
            attempt('an event of the lanes', self._handle_event, on_demand, descriptor)
            for descriptor, _ in events
        ]
        if not all(done):
            time.sleep(_PAUSE_S)
        return True

    def _handle_event(self, on_demand: OnDemandListener | None, descriptor: int) -> None:
        endpoint = self._endpoints.get(descriptor)
        if on_demand is not None and descriptor == on_demand.listener.fileno():
            self._accept(on_demand.listener, on_demand.receive)
        elif endpoint is None:
            self._accept(self._listener, self._open)
        elif not endpoint.is_open():  # else the event is of an earlier owner of the descriptor
            self._forget(endpoint)
            endpoint.client_gone()

    def _accept(self, listener: socket.socket, receive: Callable[[socket.socket], None]) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            log.debug('a connection is lost: %s', error)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._reject(listener)
            elif error.errno not in _CONNECTION_LOST:
                time.sleep(_PAUSE_S)  # there is no memory
            return
        try:
            sock.setblocking(True)
            receive(sock)
        except BaseException:
            sock.close()
            raise

    def _open(self, sock: socket.socket) -> None:
        """Serve a client on a thread of its own."""
        endpoint = _LaneEndpoint(sock, self._context.max_message_size)
        if get_peer_user(sock) != os.geteuid():
            endpoint.end(AuthkeyError('the local lane is for processes of the same user'))
            return
        self._endpoints[endpoint.descriptor] = endpoint
        self._epoll.register(sock, select.EPOLLRDHUP)
        endpoint.on_proof = functools.partial(self._admission.remove, endpoint)
        try:
            self._admission.admit(endpoint, endpoint.hang_up)
            if not self._admission.has_room:
                self._pause_accepting()
            start_daemon('uactor-lane', self._serve, endpoint)
        except RuntimeError as error:
            log.warning('a session is refused: %s', error)
            self._forget(endpoint)
            endpoint.end(ActorUnreachableError(NO_THREADS))

    def _reject(self, listener: socket.socket) -> None:
        """Close a connection for which there is no descriptor.

        The system would report it for ever. A spare descriptor is given up to accept it.
        """
        if self._spare_descriptor >= 0:
            os.close(self._spare_descriptor)
            self._spare_descriptor = -1
        with contextlib.suppress(OSError):  # the client has gone
            sock = listener.accept()[0]
            sock.setblocking(False)  # there is room for the refusal
            if listener is self._listener:
                _LaneEndpoint(sock, self._context.max_message_size).end(
                    ActorUnreachableError(_NO_FILES)
                )
            sock.close()
        with contextlib.suppress(OSError):  # another thread has taken it: the next time
            self._spare_descriptor = os.open(os.devnull, os.O_RDONLY)

    def _serve(self, endpoint: _LaneEndpoint) -> None:
        responses = serve(self._context, endpoint.messages(), endpoint)
        try:
            with contextlib.closing(responses):
                for response in responses:
                    endpoint.send(response)
        except (LaneError, RefusedError) as error:
            log.debug('a session has ended: %s', error)
        finally:
            self._forget(endpoint)
            endpoint.close()

    def _forget(self, endpoint: _LaneEndpoint) -> None:
        """Stop watching a connection, before another one gets its descriptor."""
        self._admission.remove(endpoint)
        if self._endpoints.pop(endpoint.descriptor, None) is not None:
            with contextlib.suppress(OSError):  # another thread has closed it
                self._epoll.unregister(endpoint.descriptor)


def get_peer_user(sock: socket.socket) -> int:
    """Return the id of the user whose process is the peer."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user


class _LaneEndpoint:
    """One connection; a :class:`uactor.host.sessions.endpoint.SessionEndpoint`.

    :ivar on_proof: called when the client has proved that it knows the key.
    """

    def __init__(self, sock: socket.socket, max_message_size: int) -> None:
        self.descriptor = sock.fileno()
        self.authorized = False
        self._max_message_size = max_message_size
        self._lane = Lane(sock, MAX_HANDSHAKE_BYTES, may_move=True)
        self.memory = shm_buffers.ShmChannel() if segments.POSSIBLE else None
        self._lock = threading.Lock()  # of the next two
        self._is_gone = False
        self._on_end: Callable[[], None] | None = None
        self.on_proof: Callable[[], None] | None = None

    def messages(self) -> Iterator[bytes]:
        """Yield the messages of the client until it says goodbye or goes."""
        while True:
            try:
                message = self._lane.receive()
            except OversizedError as error:
                self.refuse(SerializationError(str(error)))
            except LaneError as error:
                log.debug('the client of a session has gone: %s', error)
                return
            yield message  # type: ignore[misc]  # Protobuf takes bytearrays, too

    def has_more(self) -> bool:
        """See :class:`uactor.host.sessions.endpoint.SessionEndpoint`."""
        return self._lane.frames.has_more()

    def send(self, response: pb.SessionResponse | bytes) -> None:
        """Send a response.

        :raises LaneError: when the client has gone.
        """
        if isinstance(response, bytes):
            self._lane.send(response)
        elif self.memory is None or not self.memory.outgoing:
            self._lane.send(response.SerializeToString())
        else:
            passed = self.memory.pop_outgoing(list_memories(response))
            self._lane.frames.send_with(response.SerializeToString(), passed)

    def put(self, message: bytes | pb.SessionResponse) -> None:
        """See :class:`uactor.host.sessions.endpoint.SessionEndpoint`."""
        with contextlib.suppress(LaneError):  # the reading thread finds that the client has gone
            self.send(message)

    def refuse(self, error: UActorException) -> NoReturn:
        """Send a failure that belongs to no request, as the last message."""
        name = errors.get_type_name(type(error))
        failure = pb.Failure(type_name=name, message=str(error), executed=pb.EXECUTED_NO)
        with contextlib.suppress(LaneError):  # it has gone before
            self.send(pb.SessionResponse(failure=failure))
        raise RefusedError(str(error))

    def admit(self) -> None:
        """Accept large messages, since the client has proved itself."""
        if self.on_proof is not None:
            self.on_proof()
        self._lane.frames.limit = self._max_message_size
        if self.memory is not None:
            self.memory.limit = self._max_message_size
            self._lane.frames.expect = self._expect

    def _expect(self, message: bytearray) -> TakeDescriptor:
        """Return the function that takes the descriptors of a message."""
        channel: shm_buffers.ShmChannel = self.memory  # type: ignore[assignment]  # or none would come
        try:
            request = pb.SessionRequest.FromString(message)  # type: ignore[arg-type]  # as above
        except DecodeError:  # its reader will refuse it
            request = pb.SessionRequest()
        take = channel.expect(list_memories(request))

        def take_slot(number: int, descriptor: int | None, is_scarce: bool) -> None:
            if number != shm_buffers.SHARED_SLOT or descriptor is None:
                take(number, descriptor, is_scarce)
                return
            try:
                self._share(descriptor)
            finally:
                os.close(descriptor)

        return take_slot

    def _share(self, descriptor: int) -> None:
        """Map the shared slot of the client, unless there is one already."""
        if self._lane.has_slot:
            return
        try:
            self._lane.share_slot(
                shm_buffers.map_foreign(descriptor, shm_slot.MEMORY_BYTES, mmap.MAP_SHARED), 1
            )
        except SerializationError as error:
            log.debug('there will be no shared slot: %s', error)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the client has gone, at once if it has."""
        with self._lock:
            self._on_end, is_gone = callback, self._is_gone
        if is_gone:
            callback()

    def is_open(self) -> bool:
        """Return whether the client is there. For the accepting thread, too."""
        return self._lane.frames.is_open()

    def client_gone(self) -> None:
        """Record that the client has gone, and cancel its calls."""
        with self._lock:
            self._is_gone, callback = True, self._on_end
        if callback is not None:
            callback()

    def hang_up(self) -> None:
        """End the connection, and wake the thread that waits for a message."""
        self._lane.hang_up()

    def end(self, error: UActorException) -> None:
        """Refuse a client, and close its connection."""
        with contextlib.suppress(LaneError, RefusedError):
            self.refuse(error)
        self.close()

    def close(self) -> None:
        """Close the connection, and release the memory that came by it."""
        with self._lock:
            self._on_end = self.on_proof = None
        if self.memory is not None:
            self.memory.close()
        self._lane.close()
