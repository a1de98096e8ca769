"""Sessions: each the conversation of a client thread with the actor, served by one host thread.

The doors, gRPC and the local lane, bring the messages and carry the answers away.
What is answered is in :mod:`uactor.host.answers`; sessions whose calls don't wait for each other,
in :mod:`uactor.host.pipeline`.
"""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, NoReturn, Protocol

import cloudpickle

from uactor import auth, values
from uactor.errors import AuthkeyError, UActorException, VersionError
from uactor.host import answers
from uactor.host.answers import Answers
from uactor.host.clients import Caller
from uactor.host.exchange import PROTOCOL_VERSION
from uactor.host.pipeline import Pipeline, Send
from uactor.host.waiting import Interrupted
from uactor.memory import Carrier
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.host.server import Host


class Door(Protocol):
    """What a session needs of the wire that it is on.

    :ivar authorized: whether the client has shown already that it knows the authkey; otherwise it
        has to prove that before anything that it sends is looked at.
    """

    authorized: bool

    @property
    def memory(self) -> Carrier | None:
        """What it can take large data by, if the client can, too; None when it can't."""
        ...

    @property
    def put(self) -> Send | None:
        """What sends a message in its wire form, from any thread, one at a time.

        None when only the thread of the session can send.
        """
        ...

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
) -> Generator[pb.SessionResponse | bytes, None, None]:
    """Serve a session until its client leaves or goes, upon which ``requests`` end.

    Yields responses, as messages or in their wire form.
    """
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
    by_value = values.travel_by_value(hello.python_version, hello.cloudpickle_version)
    answering = Answers(host, by_value)
    welcome = _welcome(host, hello, nonce)
    welcome.memory = hello.memory and door.memory is not None
    welcome.definitions = hello.definitions and answering.by_value and not hello.pipelined
    yield pb.SessionResponse(id=first.id, welcome=welcome)
    if not door.authorized:
        second = next(requests, None)
        given = second.proof.proof if second is not None else b''
        if not auth.is_proof(given, host.authkey, 'client', nonce, hello.nonce):
            door.refuse(AuthkeyError('wrong or missing authkey'))
        if second is not None:  # what came together with it
            requests = itertools.chain(second.more, requests)
    door.opened()
    client_id = hello.client_id or f'session {id(door)}'
    caller = Caller(client_id, hello.name, checked=True, owns_thread=not hello.pipelined)
    caller.memory = door.memory if welcome.memory else None
    caller.definitions = values.new_definitions() if welcome.definitions else None
    host.clients.joined(caller)
    session: Pipeline | _Session
    if hello.pipelined:
        session = Pipeline(caller, answering, host, door.put)
    else:
        session = _Session(caller, answering, host)
    try:
        door.on_end(caller.interrupt.fire)
        yield from session.serve(requests)
    except Interrupted:
        pass  # the client has gone, or the actor is ending
    finally:
        # Interrupted waits have taken their locks back, on this thread that owns them.
        host.locks.release_thread_owned(caller)
        host.clients.left(caller, session.polite, session.process_ends)


def _welcome(host: Host, hello: pb.Hello, nonce: bytes) -> pb.Welcome:
    return pb.Welcome(
        protocol_version=PROTOCOL_VERSION,
        python_version=platform.python_version(),
        cloudpickle_version=cloudpickle.__version__,
        proof=auth.proof(host.authkey, 'host', hello.nonce, nonce),
        nonce=nonce,
        actor=pb.Handle(id=host.table.actor_id, address=host.target, typeid='actor'),
        serializer=host.exchange.serializer,
        max_message_size=max(0, host.max_message_size),
    )


class _Session:
    """Takes the requests of one session, in order."""

    def __init__(self, caller: Caller, answering: Answers, host: Host) -> None:
        self._caller = caller
        self._answers = answering
        self._table = host.table
        self.polite = False
        self.process_ends = False

    def serve(self, requests: Iterator[pb.SessionRequest]) -> Iterator[pb.SessionResponse]:
        caller, definitions = self._caller, self._caller.definitions
        response = pb.SessionResponse()
        caller.asks()
        for request in requests:
            if request.releases:
                self._table.release(request.releases, caller.client_id)
            kind = request.WhichOneof('kind')
            if kind == 'goodbye':
                self.polite = True
                self.process_ends = request.goodbye.process_ends
                return
            if kind is None or kind == 'proof':
                continue
            if definitions is not None and definitions.unsure:
                definitions.arrived(values.definitions_in(response))
            response = self._answer(request, kind)
            yield response
            caller.asks()  # the next call begins while the client is busy with this answer

    def _answer(self, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        context = answers.context_of(request, kind)
        if context is not None:
            if context.HasField('timeout'):
                return self._limited(request, kind, context)
            answers.asks(self._caller, context)
        return self._answers.answer(self._caller, request, kind)

    def _limited(
        self, request: pb.SessionRequest, kind: str, context: pb.CallContext
    ) -> pb.SessionResponse:
        """Answer a request that its caller does not wait for for ever."""
        caller = self._caller.part()
        answers.asks(caller, context)
        with caller.limited():
            return self._answers.answer(caller, request, kind)
