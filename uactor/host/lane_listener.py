"""The door for Python callers on the same host: see :mod:`uactor.transport.lane`.

One thread accepts, and sees clients go while their own threads are busy. Each
connection is a session, and has a thread.
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
from uactor.codec.messages import memories
from uactor.errors import (
    ActorUnreachableError,
    AuthkeyError,
    SerializationError,
    UActorException,
)
from uactor.host.admission import Strangers
from uactor.host.context import HostContext
from uactor.host.grpc.on_demand import OnDemandListener
from uactor.host.refusal import NO_THREADS, Refused
from uactor.host.sessions.serve import serve
from uactor.runtime.threads import OnDemandThread, attempt, start_daemon
from uactor.transport import segments, shm_buffers, shm_slot
from uactor.transport.lane import HANDSHAKE_LIMIT, Lane, LaneError, OversizedError, Take
from uactor.transport.unix_sockets import listening
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

POSSIBLE = hasattr(select, 'epoll') and hasattr(socket, 'SO_PEERCRED')
"""Whether this system can tell who connects, and many sockets' ends at no cost for each call."""

_PAUSE = 0.01
"""How long no connection is accepted after a failure that is not of one, in seconds."""

_LOST = errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO, errno.EBADF
"""What accepting a connection fails with that is no more, or that a stopped listener had."""

_NO_FILES = 'the actor process can open no more files (RLIMIT_NOFILE)'

_CREDENTIALS = struct.Struct('3i')  # pid, uid, gid


class LaneListener:
    """Listens at ``path`` for sessions.

    :ivar path: of the socket.
    """

    def __init__(self, context: HostContext, path: str) -> None:
        self.path = path
        self._context = context
        self._doors: dict[int, _LaneEndpoint] = {}
        self._listener = listening(path)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)
        self._reserve = os.open(os.devnull, os.O_RDONLY)
        self._strangers = Strangers(self._go_on_accepting)

    def start(self, porch: OnDemandListener | None) -> None:
        """Accept connections, also those that come to a porch."""
        if porch is not None:
            self._epoll.register(porch.listener, select.EPOLLIN)
        OnDemandThread('uactor-lanes', functools.partial(self._watch, porch)).ensure_running()

    def close(self) -> None:
        """Accept no more connections; those that there are go on."""
        self._epoll.unregister(self._listener)
        self._listener.close()

    def _go_on_accepting(self) -> None:
        """Accept connections again, which have waited for strangers to leave."""
        with contextlib.suppress(OSError, ValueError):  # there will be no more of them
            self._epoll.modify(self._listener, select.EPOLLIN)

    def _let_wait(self) -> None:
        """Leave further connections with the system until there is room for their strangers."""
        self._epoll.modify(self._listener, 0)
        if self._strangers.has_room:  # the last one has left just now
            self._go_on_accepting()

    def _watch(self, porch: OnDemandListener | None) -> bool:
        """Accept connections, and note the end of clients. A step of a thread that never ends."""
        events = self._epoll.poll()
        done = [attempt('an event of the lanes', self._note, porch, found) for found, _ in events]
        if not all(done):
            time.sleep(_PAUSE)  # it may be offered again at once
        return True

    def _note(self, porch: OnDemandListener | None, descriptor: int) -> None:
        door = self._doors.get(descriptor)
        if porch is not None and descriptor == porch.listener.fileno():
            self._accept(porch.listener, porch.receive)
        elif door is None:
            self._accept(self._listener, self._open)
        elif not door.is_open():  # else the event was of one that had its number before
            self._leave(door)
            door.client_gone()

    def _accept(self, listener: socket.socket, receive: Callable[[socket.socket], None]) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            log.debug('a connection is lost: %s', error)
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away(listener)
            elif error.errno not in _LOST:
                time.sleep(_PAUSE)  # no memory: the connection is offered again at once
            return
        try:
            sock.setblocking(True)
            receive(sock)
        except BaseException:
            sock.close()
            raise

    def _open(self, sock: socket.socket) -> None:
        """Have a thread of its own serve a client."""
        door = _LaneEndpoint(sock, self._context.max_message_size)
        if _user_of(sock) != os.geteuid():
            door.end(AuthkeyError('the lane is for processes of one user'))
            return
        self._doors[door.descriptor] = door
        self._epoll.register(sock, select.EPOLLRDHUP)
        door.on_proof = functools.partial(self._strangers.leave, door)
        try:
            self._strangers.enter(door, door.hang_up)
            if not self._strangers.has_room:
                self._let_wait()
            start_daemon('uactor-lane', self._serve, door)
        except RuntimeError as error:
            log.warning('a session is refused: %s', error)
            self._leave(door)
            door.end(ActorUnreachableError(NO_THREADS))

    def _turn_away(self, listener: socket.socket) -> None:
        """Close a connection for which there is no descriptor; it would be offered for ever."""
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
        with contextlib.suppress(OSError):  # it has gone by itself
            sock = listener.accept()[0]
            sock.setblocking(False)  # what it is told finds room
            if listener is self._listener:
                _LaneEndpoint(sock, self._context.max_message_size).end(
                    ActorUnreachableError(_NO_FILES)
                )
            sock.close()
        with contextlib.suppress(OSError):  # another thread was faster: the next time
            self._reserve = os.open(os.devnull, os.O_RDONLY)

    def _serve(self, door: _LaneEndpoint) -> None:
        try:
            with contextlib.closing(serve(self._context, door.messages(), door)) as responses:
                for response in responses:
                    door.send(response)
        except (LaneError, Refused) as error:
            log.debug('a session has ended: %s', error)
        finally:
            self._leave(door)
            door.close()

    def _leave(self, door: _LaneEndpoint) -> None:
        """Watch a connection no longer: the number of its descriptor will be another one's."""
        self._strangers.leave(door)
        if self._doors.pop(door.descriptor, None) is not None:
            with contextlib.suppress(OSError):  # closed, if another thread was faster
                self._epoll.unregister(door.descriptor)


def _user_of(sock: socket.socket) -> int:
    """Return the id of the user at the other end of a connection."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    user: int = _CREDENTIALS.unpack(credentials)[1]
    return user


class _LaneEndpoint:
    """A connection, as :class:`uactor.host.sessions.door.SessionEndpoint`."""

    def __init__(self, sock: socket.socket, max_message_size: int) -> None:
        self.descriptor = sock.fileno()
        self.authorized = False
        self._max_message_size = max_message_size
        self._lane = Lane(sock, HANDSHAKE_LIMIT, moves=True)
        self.memory = shm_buffers.ShmChannel() if segments.POSSIBLE else None
        self._guard = threading.Lock()
        self._gone = False
        self._on_end: Callable[[], None] | None = None
        self.on_proof: Callable[[], None] | None = None

    def messages(self) -> Iterator[bytes]:
        """Yield what the client sends until it leaves or goes."""
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
        """See :class:`uactor.host.sessions.door.SessionEndpoint`."""
        return self._lane.has_more()

    def send(self, response: pb.SessionResponse | bytes) -> None:
        """Send a response.

        :raises LaneError: when the client has gone.
        """
        if isinstance(response, bytes):
            self._lane.send(response)
        elif self.memory is None or not self.memory.outgoing:
            self._lane.send(response.SerializeToString())
        else:
            passed = self.memory.passed(memories(response))
            self._lane.send_with(response.SerializeToString(), passed)

    def put(self, message: bytes | pb.SessionResponse) -> None:
        """See :class:`uactor.host.sessions.door.SessionEndpoint`."""
        with contextlib.suppress(LaneError):  # the thread that reads finds that the client has gone
            self.send(message)

    def refuse(self, error: UActorException) -> NoReturn:
        """Send a failure that answers no request; it is the last message."""
        name = errors.get_type_name(type(error))
        failure = pb.Failure(type_name=name, message=str(error), executed=pb.EXECUTED_NO)
        with contextlib.suppress(LaneError):  # it has gone before
            self.send(pb.SessionResponse(failure=failure))
        raise Refused(str(error))

    def opened(self) -> None:
        """Receive what the actor takes, instead of what is enough for strangers."""
        if self.on_proof is not None:
            self.on_proof()
        self._lane.limit = self._max_message_size
        if self.memory is not None:
            self.memory.limit = self._max_message_size
            self._lane.expect = self._expect

    def _expect(self, message: bytearray) -> Take:
        """Return what takes the descriptors that come along with a message."""
        channel: shm_buffers.ShmChannel = self.memory  # type: ignore[assignment]  # or none would come
        try:
            request = pb.SessionRequest.FromString(message)  # type: ignore[arg-type]  # as above
        except DecodeError:  # whoever reads it will refuse it
            request = pb.SessionRequest()
        take = channel.expect(memories(request))

        def take_board(number: int, descriptor: int | None, is_scarce: bool) -> None:
            if number != shm_buffers.BOARD_SLOT or descriptor is None:
                take(number, descriptor, is_scarce)
                return
            try:
                self._share(descriptor)
            finally:
                os.close(descriptor)

        return take_board

    def _share(self, descriptor: int) -> None:
        """Have a board, unless there is one already."""
        if self._lane.has_board:
            return
        try:
            self._lane.share(shm_buffers.foreign(descriptor, shm_slot.SIZE, mmap.MAP_SHARED), 1)
        except SerializationError as error:
            log.debug('there will be no board: %s', error)

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the client has gone."""
        with self._guard:
            self._on_end, gone = callback, self._gone
        if gone:
            callback()

    def is_open(self) -> bool:
        """Tell whether the client is there. The thread that accepts may ask."""
        return self._lane.is_open()

    def client_gone(self) -> None:
        """Note that the client has gone."""
        with self._guard:
            self._gone, callback = True, self._on_end
        if callback is not None:
            callback()

    def hang_up(self) -> None:
        """End the connection, also for the thread that waits for a message."""
        self._lane.hang_up()

    def end(self, error: UActorException) -> None:
        """Refuse a client that gets no session."""
        with contextlib.suppress(LaneError, Refused):
            self.refuse(error)
        self.close()

    def close(self) -> None:
        """Close the connection, and all that has come by it."""
        with self._guard:
            self._on_end = self.on_proof = None
        if self.memory is not None:
            self.memory.close()
        self._lane.close()
