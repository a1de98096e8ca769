"""A session: the conversation of one thread with an actor."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from typing import Any

from uactor.client.handshake import ClientHandshake
from uactor.client.timeouts import HANDSHAKE_S, StreamTimeout, UnansweredError
from uactor.codec import fastpath, messages, pickling, values
from uactor.core import current_host
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    AuthkeyError,
    ConnectionLostError,
    DeadlineError,
    Executed,
    SerializationError,
    UActorException,
    VersionError,
)
from uactor.runtime.locks import synchronized
from uactor.transport.interfaces import SessionStream, StreamEnd
from uactor.v1 import actor_pb2 as pb

_MORE = pb.SessionResponse.MORE_FIELD_NUMBER
_NUMBERS = 127
"""How many request numbers there are. One request is under way at a time, so few suffice."""


_ending_pid = 0


def note_end() -> None:
    """Record that this process is ending, and will end its actors."""
    global _ending_pid
    _ending_pid = os.getpid()


def is_ending() -> bool:
    """Return whether this process is ending."""
    return _ending_pid == os.getpid()


def leave_with_process() -> None:
    """Exit from a daemon thread whose call failed because the process ends.

    The thread would end anyway. It exits silently, because its traceback on standard error would
    report an error where nothing went wrong. In an actor process the thread goes on, and the caller
    of the method gets the error.
    """
    if is_ending() and threading.current_thread().daemon and current_host.host is None:
        sys.exit()


class ClientSession:
    """The conversation over one stream, with the results of its handshake.

    Unless it is pipelined, one thread at a time uses it, for one request at a time.

    :ivar actor: handle of the actor of this session.
    :ivar serializer: name of the serializer for values.
    :ivar by_value: whether classes and functions may travel by value. They may not between
        different Python versions, where cloudpickle's code objects crash the receiver.
    :ivar limit: largest message that the host accepts, in bytes; 0 for any.
    :ivar busy: whether a request is under way.
    :ivar stream: the stream that sends and receives the messages.
    :ivar definitions: the definitions that both sides remember; None if they remember none.
    :ivar memory: carrier of large data beside the messages; None if they contain it.
    """

    def __init__(
        self,
        stream: SessionStream,
        address: str,
        authkey: bytes,
        client_id: str,
        serializer: str = values.DEFAULT_SERIALIZER,
        pipelined: bool = False,
        patience: float | None = HANDSHAKE_S,
    ) -> None:
        """Open a session.

        :param patience: how long the host may take to answer, in seconds; None for any time.
        :raises UnansweredError: if the host takes longer.
        """
        self.stream = stream
        self.busy = False
        self.serializer = serializer
        self._address = address
        self._number = 0
        self.limit = 0
        self._pipelined = pipelined
        self._is_broken_off = False
        self._offering = False
        self._lock = threading.RLock()  # held while a message is offered
        answering = StreamTimeout(stream.cancel, patience)
        try:
            with answering:
                self._shake_hands(ClientHandshake(address, authkey, client_id))
            if answering.expired:
                raise UnansweredError
        except BaseException as error:
            self.abandon()
            stream.close()
            if answering.expired and isinstance(error, UActorException):
                raise UnansweredError from error
            raise

    @property
    def alive(self) -> bool:
        """Whether the stream is open, as far as this side has noticed."""
        return not self.stream.ended

    @property
    def connected(self) -> bool:
        """Whether the stream is open."""
        return self.alive and self.stream.is_open()

    # --- handshake -------------------------------------------------------------------------

    def _shake_hands(self, handshake: ClientHandshake) -> None:
        hello = handshake.hello(self._pipelined, self.stream.memory is not None)
        welcome = self.request(hello, opening=True).welcome
        proof = handshake.proof(welcome)
        self.stream.confirm_host()
        try:
            self.stream.send(proof)
        except StreamEnd as end:
            raise self._map_end(end, opening=True) from end.__cause__
        self.actor = welcome.actor
        self._same_versions = pickling.can_travel_by_value(
            welcome.python_version, welcome.cloudpickle_version
        )
        self.definitions = pickling.create_definitions() if welcome.definitions else None
        self.restrict(welcome.serializer)
        self.limit = welcome.max_message_size
        self.memory = self.stream.memory if welcome.memory else None
        if self.memory is not None:
            self.stream.share(self.limit)

    def restrict(self, serializer: str) -> None:
        """Use ``serializer`` for values from now on, if it is stricter."""
        self.serializer = values.choose_stricter(self.serializer, serializer)
        self.by_value = self._same_versions and self.serializer == 'cloudpickle'
        if not self.by_value:
            self.definitions = None

    # --- requests --------------------------------------------------------------------------

    @synchronized
    def offer(self, request: pb.SessionRequest) -> bool:
        """Send a message without a response, unless a request is under way.

        Any thread may call this.

        :returns: whether the message was sent; also false if the actor has ended.
        """
        # Either the requesting thread sees this flag, or this thread sees that thread's flag.
        self._offering = True
        try:
            if self.busy:
                return False
            self.stream.send(request)
            return True
        except StreamEnd:
            return False
        finally:
            self._offering = False

    @synchronized
    def send(self, message: bytes | pb.SessionRequest) -> None:
        """Send a message of a pipelined session. Any thread may call this.

        If the actor has ended, :meth:`receive` raises the error, and this method does not.

        :param message: serialized, unless it has large data beside it.
        """
        with contextlib.suppress(StreamEnd):
            if isinstance(message, bytes):
                self.stream.send_bytes(message)
            else:
                self.stream.send(message)

    def request(self, request: pb.SessionRequest, opening: bool = False) -> pb.SessionResponse:
        """Send a request and wait for its response.

        :param opening: whether the request opens the session.
        :raises ActorDiedError: if the actor ends meanwhile.
        """
        if self.limit:
            self._check_size(request)
        request.id = self._number = number = self._number % _NUMBERS + 1
        try:
            self.busy = True
            if self._offering:
                self._wait_offered()
            response = self._read(self.stream.request(request), number)
            self.busy = False
        except BaseException as error:
            self._end_after_error(error, opening)
            raise
        return response

    def request_within(
        self, request: pb.SessionRequest, seconds: float | None
    ) -> pb.SessionResponse:
        """Send a request and wait a limited time; see :meth:`request`.

        If no response arrives in time, the session ends.

        :param seconds: how long the host may take; None for any time.
        :raises DeadlineError: if the host takes longer.
        """
        if seconds is None:
            return self.request(request)
        answering = StreamTimeout(self.stream.cancel, seconds)
        try:
            with answering:
                return self.request(request)
        except ActorDiedError as error:
            if not answering.expired:
                raise
            message = f'the actor at {self._address} has not answered within {seconds:g} seconds'
            raise DeadlineError(message, error.executed) from error

    def call(self, part: bytes, arguments: bytes | None) -> pb.SessionResponse | tuple[int, Any]:
        """Send a request by the fast path, and wait for its response.

        See :func:`fastpath.encode_request` for the parameters.

        :returns: number and value, as :func:`fastpath.decode_result` returns them, or the whole
            response if it is not a fast one.
        :raises ActorDiedError: if the actor ends meanwhile.
        """
        self._number = number = self._number % _NUMBERS + 1
        message = fastpath.encode_request(number, part, arguments)
        if self.limit:
            check_size(len(message), self.limit, self._address)
        try:
            self.busy = True
            if self._offering:
                self._wait_offered()
            answer = self.stream.request_bytes(message)
            found = fastpath.decode_result(answer)
            if found is not None and found[0] == number:
                self.busy = False
                return found
            response = self._read(answer, number)
            self.busy = False
        except BaseException as error:
            self._end_after_error(error, False)
            raise
        return response

    def _read(self, message: bytes, number: int) -> pb.SessionResponse:
        response = self.stream.read(message)
        if response.id != number:
            raise VersionError('the actor has answered a different request')
        return response

    @synchronized
    def _wait_offered(self) -> None:
        """Wait until another thread has sent its offered message."""

    def _end_after_error(self, error: BaseException, opening: bool) -> None:
        """End the session after an error, and map a stream end.

        If the session went on, the next request would get the response of the failed one.
        """
        if not isinstance(error, StreamEnd):  # a KeyboardInterrupt, for example
            if not opening:
                self._cancel_request()
            self.abandon()
            return
        executed: Executed = 'no' if error.unread else 'maybe'
        raise self._map_end(error, opening, executed) from error.__cause__

    def _cancel_request(self) -> None:
        """Cancel the request at the host, because this thread drops the answer.

        Otherwise an item or a lock in the answer would be lost with it.
        """
        cancel = pb.SessionRequest(cancel=pb.Cancel(request_id=self._number))
        try:
            self.stream.send_last(cancel.SerializeToString())
        except BaseException:  # another signal handler has raised
            self.abandon()
            raise

    def recall_unsent(self) -> None:
        """Reclaim the large data of a request that a signal handler interrupted."""
        if self.memory is not None:
            self.memory.recall([pb.Memory(slot=slot) for slot in tuple(self.memory.outgoing)])

    def _check_size(self, request: pb.SessionRequest) -> None:
        try:
            check_size(messages.measure_size(request), self.limit, self._address)
        except SerializationError:
            if self.memory is not None:
                self.memory.recall(messages.list_memories(request))
            raise

    def receive(self) -> list[bytes] | pb.SessionResponse:
        """Wait for the next responses of a pipelined session.

        :returns: the serialized responses, or the first response, which contains the others.
        :raises ActorDiedError: if the stream has ended.
        """
        try:
            message = self.stream.receive()
            return fastpath.split_coalesced(message, _MORE) or self.stream.read(message)
        except StreamEnd as end:
            raise self._map_end(end, opening=False) from end.__cause__

    def _map_end(self, end: StreamEnd, opening: bool, executed: Executed = 'maybe') -> Exception:
        """Return our error for the end of the stream."""
        leave_with_process()
        if end.kind is SerializationError and not opening:
            return SerializationError(f'the message is larger than allowed: {end.details}')
        if end.kind is not None or opening:
            return map_opening_end(self._address, end)
        if self._is_broken_off:
            return ConnectionLostError(
                f'the connection to the actor at {self._address} was closed: an exception has '
                'interrupted this process while it was sending; later calls use a new connection',
                executed,
            )
        if end.lost:
            return ConnectionLostError(
                f'the connection to the actor at {self._address} was lost ({end.details}); '
                'whether the actor has ended is not known',
                executed,
            )
        return ActorDiedError(f'the actor at {self._address} has ended ({end.details})', executed)

    # --- ending ----------------------------------------------------------------------------

    def say_goodbye(self, process_ends: bool = False) -> None:
        """Close an idle session without waiting; abandon a busy one."""
        goodbye = pb.SessionRequest(goodbye=pb.Goodbye(process_ends=process_ends))
        if self.alive and self.offer(goodbye):
            self.busy = True
            self.stream.finish()
        else:
            self.abandon()

    def wait_closed(self, timeout: float) -> None:
        """Wait until the host has processed the goodbye."""
        if self.alive:
            self.stream.wait_for_end(timeout)

    def break_off(self) -> None:
        """Abandon a pipelined session that may have sent part of a message."""
        self._is_broken_off = True
        self.abandon()

    def abandon(self) -> None:
        """Break the stream off, which tells the host of this thread's death."""
        self.stream.cancel()


def check_size(size: int, limit: int, address: str) -> None:
    """Validate a message's size: a larger one would break the session.

    :param size: size of the message with its large data, in bytes.
    :param limit: largest message that the host accepts, in bytes; 0 for any.
    :raises SerializationError: if the message is larger.
    """
    if limit and size > limit:
        raise SerializationError(
            f'the message has {size} bytes, and the actor at {address} takes '
            f'{limit} at most (its option max_message_size)'
        )


def map_opening_end(address: str, end: StreamEnd) -> UActorException:
    """Return our error for a session that could not be opened."""
    if end.kind is AuthkeyError:
        return AuthkeyError(f'the actor at {address} has another authkey')
    if end.kind is VersionError:
        return VersionError(end.details)
    if end.kind is not None:
        refusal = ActorUnreachableError(f'{address} refuses a session: {end.details}')
        refusal._refuses = True
        return refusal
    return ActorUnreachableError(
        f'nothing answers at {address} ({end.details}); is the actor running?'
    )
