"""Serve sessions, each on a host thread of its own.

A session is the conversation of one client thread with the actor. The transports, gRPC and the
local lane, bring the messages and carry the responses away. :mod:`uactor.host.sessions.responder`
makes the responses. Sessions whose calls don't wait for each other are in
:mod:`uactor.host.sessions.pipeline`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Generator, Iterator

import cloudpickle
from google.protobuf.message import DecodeError

from uactor._wire import PROTOCOL_VERSION
from uactor.codec import pickling
from uactor.codec.messages import list_definitions
from uactor.core import auth
from uactor.core.current_call import current, running
from uactor.errors import AuthkeyError, VersionError
from uactor.host import holders
from uactor.host.arguments import InvalidArgumentError
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError
from uactor.host.context import HostContext
from uactor.host.sessions.endpoint import SessionEndpoint
from uactor.host.sessions.pipeline import HostPipeline, Read
from uactor.host.sessions.responder import Responder, begin_in_context, context_of
from uactor.v1 import actor_pb2 as pb

_MAX_KEPT_BYTES = 1 << 20
"""How large an item of a queue is kept until its receiver surely has it, in bytes, at most."""


def read(message: bytes, endpoint: SessionEndpoint) -> pb.SessionRequest:
    """Parse a request; refuse the session when it is none."""
    try:
        return pb.SessionRequest.FromString(message)
    except DecodeError as error:
        endpoint.refuse(VersionError(f'this is no message of a session: {error}'))


def serve(
    host: HostContext, messages: Iterator[bytes], endpoint: SessionEndpoint
) -> Generator[pb.SessionResponse | bytes, None, None]:
    """Serve a session until its client leaves or goes.

    The ``messages`` end then. Yields responses, as messages or in their wire form.
    """
    message = next(messages, None)
    if message is None:
        return
    first = read(message, endpoint)
    hello = _receive_hello(first, endpoint)
    nonce = auth.create_nonce()
    by_value = pickling.can_travel_by_value(hello.python_version, hello.cloudpickle_version)
    responder = Responder(host, by_value)
    welcome = _create_welcome(host, hello, nonce)
    welcome.memory = hello.memory and endpoint.memory is not None
    welcome.definitions = hello.definitions and responder.by_value
    yield pb.SessionResponse(id=first.id, welcome=welcome)
    if not endpoint.authorized:
        message = next(messages, None)
        second = read(message, endpoint) if message is not None else pb.SessionRequest()
        if not auth.is_valid_proof(second.proof.proof, host.authkey, 'client', nonce, hello.nonce):
            endpoint.refuse(AuthkeyError('wrong or missing authkey'))
        more = [request.SerializeToString() for request in second.more]  # has come with it
        messages = itertools.chain(more, messages)
    endpoint.admit()
    holder = holders.of_client(hello.client_id)
    caller = Caller(holder, hello.name, validated=True, owns_thread=not hello.pipelined)
    caller.memory = endpoint.memory if welcome.memory else None
    caller.definitions = pickling.create_definitions() if welcome.definitions else None
    host.callers.add_session(caller)
    parse = functools.partial(read, endpoint=endpoint)
    session: HostPipeline | _HostSession
    if hello.pipelined:
        session = HostPipeline(caller, responder, host, parse, endpoint.put, endpoint.has_more)
    else:
        session = _HostSession(caller, responder, host, parse)
    try:
        endpoint.on_end(caller.cancel_token.cancel)
        yield from session.serve(messages)
    except CallCancelledError:
        pass  # the client has gone, or the actor is ending
    finally:
        # Interrupted waits have taken their locks back, on this thread, which owns them.
        host.locks.release_thread_owned(caller)
        host.callers.remove_session(caller, session.has_said_goodbye, session.process_ends)


def _receive_hello(first: pb.SessionRequest, endpoint: SessionEndpoint) -> pb.Hello:
    """Return the Hello of a session, or refuse the session.

    A session must begin with a Hello for the protocol of this host.
    """
    if first.WhichOneof('kind') != 'hello':
        endpoint.refuse(VersionError('a session begins with Hello'))
    if first.hello.protocol_version != PROTOCOL_VERSION:
        endpoint.refuse(
            VersionError(
                f'this actor speaks protocol {PROTOCOL_VERSION}, not '
                f'{first.hello.protocol_version}; use the same version of uactor on both sides'
            )
        )
    return first.hello


def _create_welcome(host: HostContext, hello: pb.Hello, nonce: bytes) -> pb.Welcome:
    return pb.Welcome(
        protocol_version=PROTOCOL_VERSION,
        python_version=pickling.PYTHON_VERSION,
        cloudpickle_version=cloudpickle.__version__,
        proof=auth.compute_proof(host.authkey, 'host', hello.nonce, nonce),
        nonce=nonce,
        actor=pb.Handle(id=host.table.actor_id, address=host.target, typeid='actor'),
        serializer=host.requests.serializer,
        max_message_size=max(0, host.max_message_size),
    )


class _HostSession:
    """Handles each request of a session before it reads the next."""

    def __init__(self, caller: Caller, responder: Responder, host: HostContext, read: Read) -> None:
        self._caller = caller
        self._responder = responder
        self._table = host.table
        self._read = read
        self._unsure: pb.SessionResponse | None = None  # may not have arrived
        self.has_said_goodbye = False
        self.process_ends = False

    def serve(self, messages: Iterator[bytes]) -> Iterator[pb.SessionResponse | bytes]:
        caller, responder = self._caller, self._responder
        caller.begin_call()
        running.set(caller.call)
        number = 0
        try:
            for message in messages:
                call = responder.read_call(message)
                if call is not None:
                    caller.last_undo = None
                    if self._unsure is not None:
                        self._record_arrival()
                    number, handle, method, arguments = call  # faster than with a star
                    response = responder.run_call(caller, number, handle, method, arguments)
                elif (attribute := responder.read_attribute(message)) is not None:
                    self._begin_response()
                    response = responder.get_attribute(caller, *attribute)
                else:
                    request = self._read(message)
                    kind = self._receive(request)
                    if self._is_last(request, kind, number):
                        return
                    if kind is None or kind == 'proof':
                        continue
                    self._begin_response()
                    number = request.id
                    response = self._answer(request, kind)
                yield response
                # The next call begins while the client is busy with this response.
                if not isinstance(response, bytes):
                    self._record_sent(response)
                caller.begin_call()
                running.set(caller.call)
        except (GeneratorExit, CallCancelledError):  # the response has not reached the client
            caller.undo_last_call()
            raise
        finally:
            if current() is caller.call:  # else this is not the thread that has served it
                running.set(None)

    def _begin_response(self) -> None:
        """Forget how to undo the last call, since its response has arrived."""
        self._caller.last_undo = None
        if self._unsure is not None:
            self._record_arrival()

    def _is_last(self, request: pb.SessionRequest, kind: str | None, number: int) -> bool:
        """Return whether a request ends the session.

        :param number: that of the last call, which a cancellation undoes.
        """
        if kind == 'cancel' and request.cancel.request_id == number:
            self._caller.undo_last_call()
            return True
        self._caller.last_undo = None
        return kind == 'goodbye'

    def _record_sent(self, response: pb.SessionResponse) -> None:
        """Keep a response with definitions until it has surely arrived."""
        definitions = self._caller.definitions
        if definitions is not None and definitions.unsure:
            self._unsure = response
        if self._caller.last_undo is not None and response.ByteSize() > _MAX_KEPT_BYTES:
            self._caller.last_undo = None

    def _record_arrival(self) -> None:
        """Record that the last response has arrived.

        The client has sent another request since.
        """
        definitions, unsure, self._unsure = self._caller.definitions, self._unsure, None
        if definitions is not None and unsure is not None:
            definitions.confirm(list_definitions(unsure))

    def _receive(self, request: pb.SessionRequest) -> str | None:
        """Handle releases and a goodbye in a request; return its kind."""
        if request.releases:
            self._table.release(request.releases, self._caller.holder)
        kind = request.WhichOneof('kind')
        if kind == 'goodbye':
            self.has_said_goodbye, self.process_ends = True, request.goodbye.process_ends
        return kind

    def _answer(self, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        context = context_of(request, kind)
        if context is not None:
            if context.HasField('timeout'):
                return self._answer_in_time(request, kind, context)
            begin_in_context(self._caller, context)
        return self._responder.answer(self._caller, request, kind)

    def _answer_in_time(
        self, request: pb.SessionRequest, kind: str, context: pb.CallContext
    ) -> pb.SessionResponse:
        """Answer a request whose caller waits for a limited time."""
        caller = self._caller.derive()
        try:
            begin_in_context(caller, context)
        except InvalidArgumentError as error:
            return self._responder.respond_error(caller, request, error)
        with caller.enforce_deadline():
            return self._responder.answer(caller, request, kind)
