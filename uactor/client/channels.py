"""gRPC under sessions: the channels of a connection, and streams on them.

Signal handlers run on the main thread, between any two steps of its Python code, and
what they raise, KeyboardInterrupt for one, is raised there. Inside gRPC that can leave
a lock taken, upon which all later calls on that channel hang. So the main thread never
enters it: another one reads the streams of its sessions.
"""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from uactor import values
from uactor.chunks import Chunks
from uactor.client.forks import fresh_stacks
from uactor.client.nesting import Inside, free_channel, is_free, serves
from uactor.client.stream import Stream, StreamEnd
from uactor.errors import ActorDiedError, AuthkeyError, SerializationError, VersionError
from uactor.handles import is_loopback, peers, socket_path
from uactor.inherited import disconnect, plain
from uactor.lane import path_of
from uactor.reaper import reaper
from uactor.usual import NUMBERED
from uactor.v1 import actor_pb2 as pb
from uactor.wire import load_grpc

if TYPE_CHECKING:
    import grpc

_KNOCKING = 2.0
"""How long an actor may take to have its gRPC server answer, in seconds; a busy one is connected to
anyhow."""

Stub = Callable[[Callable[[bytes], None]], Any]
"""Returns what opens sessions on a channel, whose messages a function takes."""

_SESSION = '/uactor.v1.ActorService/Session'

_KINDS = {
    'UNAUTHENTICATED': AuthkeyError,
    'FAILED_PRECONDITION': VersionError,
    'RESOURCE_EXHAUSTED': SerializationError,
}
"""What a status that ends a session says. Others say that nobody is there."""


def _options(address: str) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ('grpc.max_send_message_length', -1),
        ('grpc.max_receive_message_length', -1),
        # Shared subchannels would be those of the parent, in a forked child.
        ('grpc.use_local_subchannel_pool', 1),
        ('grpc.max_reconnect_backoff_ms', 1000),
    ]
    if is_loopback(address):
        options.append(('grpc.enable_http_proxy', 0))
    else:  # find out about a peer that vanished without a word
        options += [
            ('grpc.keepalive_time_ms', 20_000),
            ('grpc.keepalive_timeout_ms', 10_000),
            ('grpc.http2.ping_timeout_ms', 10_000),
            ('grpc.http2.max_pings_without_data', 0),
        ]
    if socket_path(address) is not None:
        options.append(('grpc.default_authority', 'localhost'))
    return options


class Channels:
    """Opens streams on gRPC channels, made on first use: not at once in a forked child."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._channels: dict[int, Any] = {}
        self._peers: frozenset[Any] = frozenset()
        self._closed = False

    def open(self, on_end: Callable[[], None], channel: int | None = None) -> Stream:
        """See :class:`uactor.client.stream.Transport`."""
        if not threading.main_thread().is_alive():
            _start_a_thread()
        load_grpc()
        number = free_channel() if channel is None else channel
        on_main = threading.current_thread() is threading.main_thread()
        kind = _Relayed if on_main else _Direct
        with fresh_stacks():
            return kind(functools.partial(self._stub, number), number, on_end)

    def _stub(self, number: int, take: Callable[[bytes], None]) -> Any:
        """Return what opens sessions on a channel.

        :param take: is called with each message as it comes, on a thread of gRPC's own.
        """

        def received(message: bytes) -> bytes:
            serves(number)
            take(message)
            return message

        with Inside(number), self._lock:
            if self._closed:
                raise ActorDiedError(f'the connection to {self._address} has been closed', 'no')
            if number not in self._channels:
                self._peers = peers(self._address)
                _knock(socket_path(self._address))
                options = _options(self._address)
                self._channels[number] = load_grpc().insecure_channel(self._address, options)
            return self._channels[number].stream_stream(_SESSION, response_deserializer=received)

    def close(self) -> None:
        """See :class:`uactor.client.stream.Transport`."""
        with self._lock:
            self._closed = True
            channels, self._channels = self._channels, {}
        for number, channel in channels.items():
            with Inside(number):
                channel.close()

    def inherited(self) -> Channels:
        """See :class:`uactor.client.stream.Transport`."""
        disconnect(lambda sock: plain(sock.getpeername()) in self._peers)
        return Channels(self._address)


def _knock(path: str | None) -> None:
    """Have the actor make its gRPC server, if it waits for somebody to come.

    What comes before there is one gets passed on to it by threads of the actor: see
    :mod:`uactor.host.porch`. Nothing should that stays for long.
    """
    if path is None or not os.path.exists(path_of(path)):
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as visitor:  # gRPC finds out
        visitor.settimeout(_KNOCKING)
        visitor.connect(path)
        visitor.recv(1)  # a server begins every connection


def _start_a_thread() -> None:
    """Find out whether Python still starts threads: 3.12 does not once the main thread has ended.

    gRPC would find out with a call half begun, and wait for its end when the channel is closed
    or forgotten.

    :raises RuntimeError: when it does not.
    """
    threading.Thread(target=lambda: None, daemon=True).start()


class _Call:
    """A stream on a channel, as :class:`uactor.client.stream.Stream`.

    :param channel: number of the channel.
    """

    def __init__(self, stub: Stub, channel: int, on_end: Callable[[], None]) -> None:
        self._stub = stub
        self._channel = channel
        self._on_end = on_end
        self._requests: queue.SimpleQueue[pb.SessionRequest | bytes | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self.ended = False
        self.memory = Chunks()

    def _begin(self) -> Any:
        call = self._stub(self._arrived)(self._outgoing())
        if not call.add_callback(self._end):
            self._end()
        return call

    def _arrived(self, message: bytes) -> None:
        """Take a message, on a thread of gRPC's own."""

    def _outgoing(self) -> Iterator[bytes]:
        """Yield the requests, to a thread of gRPC's own."""
        serves(self._channel)
        while (request := self._requests.get()) is not None:
            if isinstance(request, bytes):
                yield request
                continue
            if self.memory.outgoing:
                for chunk in self.memory.passed(values.memories(request)):
                    yield pb.SessionRequest(chunk=chunk).SerializeToString()
            yield request.SerializeToString()

    def _end(self) -> None:
        self.ended = True
        self._done.set()
        self._requests.put(None)  # ends gRPC's thread that waits for requests
        self.memory.close()
        self._on_end()

    def is_free(self) -> bool:
        """See :class:`uactor.client.stream.Stream`."""
        return is_free(self._channel)

    def is_open(self) -> bool:
        """See :class:`uactor.client.stream.Stream`."""
        return not self.ended

    def send(self, request: pb.SessionRequest | bytes) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self._requests.put(request)

    put = send

    def ask(self, request: pb.SessionRequest | bytes) -> bytes:
        """See :class:`uactor.client.stream.Stream`."""
        self._requests.put(request)
        return self.hear()

    exchange = ask

    def share(self, limit: int) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self.memory.limit = limit or -1

    def hear(self) -> bytes:
        """See :class:`uactor.client.stream.Stream`."""
        import grpc  # loaded with the first channel; this module is not

        try:
            message = self._next()
            while not message.startswith(NUMBERED):
                self.memory.take(self.read(message).chunk)
                message = self._next()
            return message
        except StopIteration as error:
            self.ended = True
            raise StreamEnd('the stream ended') from error
        except grpc.RpcError as error:
            self.ended = True
            raise _stream_end(error) from error

    def read(self, message: bytes) -> pb.SessionResponse:
        """See :class:`uactor.client.stream.Stream`."""
        return pb.SessionResponse.FromString(message)

    def _next(self) -> bytes:
        raise NotImplementedError

    def finish(self) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self._requests.put(None)

    def wait_ended(self, timeout: float) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self._done.wait(timeout)

    def close(self) -> None:
        """See :class:`uactor.client.stream.Stream`."""


def _stream_end(error: grpc.RpcError) -> StreamEnd:
    import grpc

    if not isinstance(error, grpc.Call):
        return StreamEnd('the stream ended')
    return StreamEnd(error.details() or '', _KINDS.get(error.code().name))


class _Direct(_Call):
    """A stream that its own thread reads."""

    def __init__(self, stub: Stub, channel: int, on_end: Callable[[], None]) -> None:
        super().__init__(stub, channel, on_end)
        with Inside(channel):
            self._call = self._begin()

    def _next(self) -> bytes:
        with Inside(self._channel):
            message: bytes = next(self._call)
        return message

    def cancel(self) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self.ended = True
        with Inside(self._channel):
            self._call.cancel()


class _Relayed(_Call):
    """A stream of the main thread, which only touches queues that signals leave in order.

    The thread that reads is inside gRPC only while the main thread waits for a message: not when
    that forks. It need not hand the message on, which the main thread has by then.
    """

    def __init__(self, stub: Stub, channel: int, on_end: Callable[[], None]) -> None:
        super().__init__(stub, channel, on_end)
        self._call: Any = None
        self._cancelled = False
        self._wanted: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._received: queue.SimpleQueue[bytes | BaseException | None]
        self._received = queue.SimpleQueue()
        try:
            threading.Thread(target=self._relay, name='uactor-relay', daemon=True).start()
            self._take()  # its threads have been started then
        except BaseException:
            self.cancel()
            raise

    def _relay(self) -> None:
        serves(self._channel)
        try:
            self._call = call = self._begin()
            if self._cancelled:
                call.cancel()
            if not call.add_callback(self._want):  # the end of the stream
                self._want()
            self._received.put(None)
            while True:
                self._wanted.get()
                next(call)
        except BaseException as error:
            self._received.put(error)

    def _arrived(self, message: bytes) -> None:
        self._received.put(message)

    def _want(self) -> None:
        self._wanted.put(None)

    def _next(self) -> bytes:
        self._want()
        message: bytes = self._take()
        return message

    def _take(self) -> Any:
        taken = self._received.get()
        if isinstance(taken, BaseException):
            raise taken
        return taken

    def cancel(self) -> None:
        """See :class:`uactor.client.stream.Stream`."""
        self._cancelled = self.ended = True
        reaper.put(self._cancel)

    def _cancel(self) -> None:
        if self._call is not None:
            with Inside(self._channel):
                self._call.cancel()
