"""A session: the conversation of one thread of this process with an actor."""

from __future__ import annotations

import multiprocessing
import os
import platform
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import cloudpickle

from uactor import auth, local, values
from uactor.client.forks import fresh_stacks
from uactor.client.nesting import serves
from uactor.client.stream import begun
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    AuthkeyError,
    SerializationError,
    VersionError,
)
from uactor.v1 import actor_pb2 as pb
from uactor.wire import load_grpc, together

if TYPE_CHECKING:
    import grpc

PROTOCOL_VERSION = 1

Stub = Callable[[Iterator[pb.SessionRequest]], Any]
"""Opens the bidirectional stream ``ActorService.Session``."""


_ending_pid = 0


def note_end() -> None:
    """Note that this process ends, and is about to end its actors."""
    global _ending_pid
    _ending_pid = os.getpid()


def is_ending() -> bool:
    """Tell whether this process ends."""
    return _ending_pid == os.getpid()


def leave_with_process() -> None:
    """End a daemon thread whose call has ended because the process ends, as it would anyway.

    Without a word: its traceback on standard error would tell of nothing that went wrong. In an
    actor process the caller of the method is told.
    """
    if is_ending() and threading.current_thread().daemon and local.host is None:
        sys.exit()


class Session:
    """One bidirectional stream. Used by one thread at a time, one request at a time.

    :ivar actor: handle of the actor at the other end.
    :ivar serializer: how values travel.
    :ivar by_value: whether classes and functions may travel by value: not between
        different Python versions, where cloudpickle's code objects crash the receiver.
    :ivar limit: largest message that the host takes, in bytes; 0 for any.
    :ivar sent: number of the last request that has left; later ones certainly have not run.
    :ivar busy: whether a request is under way.
    :ivar channel: number of the channel that it is on.
    """

    def __init__(
        self,
        stub: Callable[[], Stub],
        channel: int,
        address: str,
        authkey: bytes,
        client_id: str,
        on_end: Callable[[], None] = lambda: None,
        pipelined: bool = False,
    ) -> None:
        self._pipelined = pipelined
        self._address = address
        self._on_end = on_end
        self._requests: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._done = threading.Event()
        self._broken = False
        self._number = 0
        self.limit = 0
        self.sent = 0
        self.busy = False
        self.channel = channel
        load_grpc()
        with fresh_stacks():
            self._stream = begun(lambda: self._called(stub()), channel)
            try:
                self._open(authkey, client_id)
            except BaseException:
                self.abandon()
                raise

    def _called(self, stub: Stub) -> Any:
        call = stub(self._outgoing())
        if not call.add_callback(self._ended):
            self._ended()
        return call

    def _outgoing(self) -> Iterator[pb.SessionRequest]:
        """Yield the requests, to a thread of gRPC's own."""
        serves(self.channel)
        for request in iter(self._requests.get, None):
            yield request
            if self._pipelined and request.HasField('proof'):
                break
        else:
            return
        for request in together(self._requests, self.limit or -1):
            numbers = (one.id for one in (request, *request.more))
            self.sent = max(self.sent, *numbers)
            yield request

    @property
    def alive(self) -> bool:
        """Whether the stream is open, as far as this side knows."""
        return not self._broken and not self._done.is_set()

    def _ended(self) -> None:
        self._done.set()
        self._requests.put(None)  # ends gRPC's thread that waits for requests
        self._on_end()

    # --- handshake -------------------------------------------------------------------------

    def _open(self, authkey: bytes, client_id: str) -> None:
        nonce = auth.new_nonce()
        hello = pb.Hello(
            protocol_version=PROTOCOL_VERSION,
            python_version=platform.python_version(),
            cloudpickle_version=cloudpickle.__version__,
            client_id=client_id,
            nonce=nonce,
            pipelined=self._pipelined,
            name=f'{multiprocessing.current_process().name} ({os.getpid()})',
        )
        welcome = self._exchange(pb.SessionRequest(hello=hello), opening=True).welcome
        if not auth.is_proof(welcome.proof, authkey, 'host', nonce, welcome.nonce):
            raise AuthkeyError(f'the actor at {self._address} has another authkey')
        if welcome.protocol_version != PROTOCOL_VERSION:
            raise VersionError(
                f'the actor at {self._address} speaks protocol {welcome.protocol_version}, '
                f'this process {PROTOCOL_VERSION}; use the same version of uactor on both sides'
            )
        self.actor = welcome.actor
        self.serializer = welcome.serializer
        self.limit = welcome.max_message_size
        proof = auth.proof(authkey, 'client', welcome.nonce, nonce)
        self.send(pb.SessionRequest(proof=pb.Proof(proof=proof)))
        self.by_value = self.serializer == 'cloudpickle' and values.travel_by_value(
            welcome.python_version, welcome.cloudpickle_version
        )

    # --- requests --------------------------------------------------------------------------

    def send(self, request: pb.SessionRequest) -> None:
        """Send a message that gets no response. Any thread may."""
        self._requests.put(request)

    def ask(self, request: pb.SessionRequest) -> pb.SessionResponse:
        """Send a request and wait for its response.

        :raises ActorDiedError: when the actor ends meanwhile.
        """
        return self._exchange(request)

    def _exchange(self, request: pb.SessionRequest, opening: bool = False) -> pb.SessionResponse:
        import grpc  # loaded with the session; this module is not

        check_size(request, self.limit, self._address)
        self._number += 1
        request.id = self._number
        self.busy = True
        try:
            self._requests.put(request)
            response = self._stream.receive()
            if response.id != request.id:
                raise VersionError('the actor answered another request than the one asked')
            self.busy = False
        except (grpc.RpcError, StopIteration) as error:
            self._broken = True
            leave_with_process()
            raise self._translated(error, opening) from error
        except BaseException:  # KeyboardInterrupt: the response would meet the next request
            self.abandon()
            raise
        return response

    def receive(self) -> pb.SessionResponse:
        """Wait for a response of a pipelined session.

        :raises ActorDiedError: when there are no more.
        """
        import grpc

        try:
            return self._stream.receive()
        except (grpc.RpcError, StopIteration) as error:
            self._broken = True
            raise self._translated(error, opening=False) from error

    def _translated(self, error: grpc.RpcError | StopIteration, opening: bool) -> Exception:
        """Return our error for one of gRPC's. The table of error and status."""
        import grpc

        code = error.code() if isinstance(error, grpc.Call) else None
        details = error.details() if isinstance(error, grpc.Call) else 'the stream ended'
        if code is grpc.StatusCode.UNAUTHENTICATED:
            return AuthkeyError(f'the actor at {self._address} has another authkey')
        if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            if opening:
                return ActorUnreachableError(f'{self._address} refuses a session: {details}')
            return SerializationError(f'the message is larger than allowed: {details}')
        if code is grpc.StatusCode.FAILED_PRECONDITION:
            return VersionError(details)
        if opening:
            return ActorUnreachableError(
                f'nothing answers at {self._address} ({details}); is the actor running?'
            )
        return ActorDiedError(f'the actor at {self._address} has ended ({details})')

    # --- ending ----------------------------------------------------------------------------

    def say_goodbye(self, process_ends: bool = False) -> None:
        """Close the session, without waiting for that; abandon a busy one."""
        if self.busy or not self.alive:
            self.abandon()
            return
        self.busy = True
        self.send(pb.SessionRequest(goodbye=pb.Goodbye(process_ends=process_ends)))
        self._requests.put(None)

    def wait_closed(self, timeout: float) -> None:
        """Wait until the host has taken note of the goodbye."""
        if not self._broken:
            self._done.wait(timeout)

    def abandon(self) -> None:
        """Break the stream off; the host takes it for the death of this thread."""
        self._broken = True
        self._stream.cancel()


def check_size(request: pb.SessionRequest, limit: int, address: str) -> None:
    """Refuse a message that the host does not take: it would break the session.

    :param limit: largest one that it takes, in bytes; 0 for any.
    :raises SerializationError: when it is larger.
    """
    if limit and (size := request.ByteSize()) > limit:
        raise SerializationError(
            f'the message has {size} bytes, and the actor at {address} takes '
            f'{limit} at most (its option max_message_size)'
        )
