"""Sessions: each the conversation of a client thread with the actor, served by one host thread.

The doors, gRPC and the local lane, bring the messages and carry the answers away.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

import cloudpickle

from uactor import auth, failures, values
from uactor.errors import AuthkeyError, SerializationError, UActorException, VersionError
from uactor.host.arguments import InvalidArgument
from uactor.host.clients import Caller
from uactor.host.exchange import PROTOCOL_VERSION
from uactor.host.waiting import Interrupted
from uactor.memory import Channel
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.host.server import Host


NO_THREADS = 'the actor process can start no more threads'


class Door(Protocol):
    """What a session needs of the wire that it is on.

    :ivar authorized: whether the client has shown already that it knows the authkey; otherwise it
        has to prove that before anything that it sends is looked at.
    :ivar memory: what it can share memory by, if the client can, too; None when it can't.
    """

    authorized: bool
    memory: Channel | None

    def refuse(self, error: UActorException) -> NoReturn:
        """End the session and tell the client why. Called on the session's thread."""
        ...

    def opened(self) -> None:
        """Know that the client has been let in."""
        ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the client has gone, on any thread; at once if it has."""
        ...


def serve(
    host: Host, requests: Iterator[pb.SessionRequest], door: Door
) -> Generator[pb.SessionResponse, None, None]:
    """Serve a session until its client leaves or goes, upon which ``requests`` end."""
    first = next(requests, None)
    if first is None:
        return
    if first.WhichOneof('kind') != 'hello':
        door.refuse(VersionError('a session begins with Hello'))
    hello, nonce = first.hello, auth.new_nonce()
    if hello.protocol_version != PROTOCOL_VERSION:
        door.refuse(
            VersionError(
                f'this actor speaks protocol {PROTOCOL_VERSION}, not {hello.protocol_version}; '
                'use the same version of uactor on both sides'
            )
        )
    memory = door.memory if hello.memory else None
    yield pb.SessionResponse(id=first.id, welcome=_welcome(host, hello, nonce, memory is not None))
    if not door.authorized:
        second = next(requests, None)
        given = second.proof.proof if second is not None else b''
        if not auth.is_proof(given, host.authkey, 'client', nonce, hello.nonce):
            door.refuse(AuthkeyError('wrong or missing authkey'))
    door.opened()
    caller = Caller(hello.client_id or f'session {id(door)}', in_session=True)
    caller.memory = memory
    host.clients.joined(caller)
    session = _Session(
        host, caller, values.travel_by_value(hello.python_version, hello.cloudpickle_version)
    )
    try:
        door.on_end(caller.interrupt.fire)
        yield from session.serve(requests)
    except Interrupted:
        pass  # the client has gone, or the actor is ending
    finally:
        # Interrupted waits have taken their locks back, on this thread that owns them.
        host.locks.release_thread_owned(caller)
        host.clients.left(caller, session.polite, session.process_ends)


def _welcome(host: Host, hello: pb.Hello, nonce: bytes, memory: bool) -> pb.Welcome:
    return pb.Welcome(
        protocol_version=PROTOCOL_VERSION,
        python_version=platform.python_version(),
        cloudpickle_version=cloudpickle.__version__,
        proof=auth.proof(host.authkey, 'host', hello.nonce, nonce),
        nonce=nonce,
        actor=pb.Handle(id=host.table.actor_id, address=host.target, typeid='actor'),
        serializer=host.exchange.serializer,
        max_message_size=max(0, host.max_message_size),
        memory=memory,
    )


class _Session:
    """Answers the requests of one session, in order."""

    def __init__(self, host: Host, caller: Caller, by_value: bool) -> None:
        self._host = host
        self._caller = caller
        self._limit = host.max_message_size
        self._by_value = by_value and host.exchange.serializer == 'cloudpickle'
        self.polite = False
        self.process_ends = False

    def serve(self, requests: Iterator[pb.SessionRequest]) -> Iterator[pb.SessionResponse]:
        for request in requests:
            if request.releases:
                self._host.table.release(request.releases, self._caller.client_id)
            kind = request.WhichOneof('kind')
            if kind == 'goodbye':
                self.polite = True
                self.process_ends = request.goodbye.process_ends
                return
            if kind is not None and kind != 'proof':
                yield self._answer(request, kind)

    def _answer(self, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        response = pb.SessionResponse()
        response.id = request.id
        self._caller.stage = 'asked'
        try:
            with self._host.dispatcher.accepted():
                self._handle(request, kind, response)
                if self._limit >= 0:
                    self._check_size(response)
        except Interrupted:
            raise
        except BaseException as error:  # also SystemExit: it is the caller's to see
            if self._caller.memory is not None:
                self._caller.memory.ignore(values.memories(request))
            response.failure.CopyFrom(self._failure(error, request))
            BaseException.with_traceback(error, None)  # its setter may be a frozen dataclass's
        return response

    def _handle(self, request: pb.SessionRequest, kind: str, response: pb.SessionResponse) -> None:
        exchange, caller = self._host.exchange, self._caller
        if kind == 'call':
            exchange.call(caller, request.call, response.result, self._by_value)
        elif kind == 'get_attribute':
            get = request.get_attribute
            exchange.get_attribute(caller, get, response.result, self._by_value)
        elif kind == 'set_attribute':
            exchange.set_attribute(caller, request.set_attribute)
            response.result.null = 0  # type: ignore[assignment]  # enum value as int
        elif kind == 'create_handle':
            response.result.handle.CopyFrom(exchange.create(caller, request.create_handle))
        elif kind == 'retain_handle':
            response.retained.CopyFrom(exchange.retain(caller, request.retain_handle))
        else:
            raise SerializationError(f'a session takes no {kind!r} here')

    def _check_size(self, response: pb.SessionResponse) -> None:
        if (size := values.size_of(response)) > self._limit:
            self._host.exchange.take_back(self._caller, response)
            raise SerializationError(
                f'the result has {size} bytes, and this actor sends {self._limit} at most '
                '(its option max_message_size)'
            )

    def _failure(self, error: BaseException, request: pb.SessionRequest) -> pb.Failure:
        if isinstance(error, InvalidArgument):
            error = error.reason
        kind = request.WhichOneof('kind')
        wants = getattr(request, kind).accept_pickle if kind in _ACCEPTING else True
        pickles = wants and self._host.exchange.pickles
        with values.passage(granting=True) as passage:
            failure = failures.encode(error, self._caller.executed, pickles, self._by_value)
        failures.shorten(failure, self._limit)
        if passage.grants and failure.HasField('pickle'):
            self._host.table.retain(passage.grants, self._caller.client_id)
            failure.pickle.granted.extend(passage.grants)
        return failure


_ACCEPTING = ('call', 'get_attribute', 'set_attribute')
