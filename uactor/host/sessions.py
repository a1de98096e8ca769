"""The sessions of the generic door: one stream of a client thread, served by one host thread."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cloudpickle

from uactor import auth, values
from uactor.host.answers import Answers
from uactor.host.clients import Caller
from uactor.host.exchange import PROTOCOL_VERSION
from uactor.host.pipeline import Pipeline
from uactor.host.threads import NO_THREADS, is_reserve
from uactor.host.waiting import Interrupted
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    import grpc

    from uactor.host.server import Host


def serve(
    host: Host,
    requests: Iterator[pb.SessionRequest],
    context: grpc.ServicerContext,
    authorized: bool,
) -> Iterator[pb.SessionResponse]:
    """Serve a session until its client leaves or goes.

    :param authorized: whether the metadata carries the authkey; otherwise the client has to
        prove that it knows it before anything that it sends is looked at.
    """
    import grpc

    if is_reserve():
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_THREADS)
    first = next(requests, None)
    if first is None or first.WhichOneof('kind') != 'hello':
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, 'a session begins with Hello')
        return
    hello, nonce = first.hello, auth.new_nonce()
    if hello.protocol_version != PROTOCOL_VERSION:
        context.abort(
            grpc.StatusCode.FAILED_PRECONDITION,
            f'this actor speaks protocol {PROTOCOL_VERSION}, not {hello.protocol_version}; '
            'use the same version of uactor on both sides',
        )
    yield pb.SessionResponse(id=first.id, welcome=_welcome(host, hello, nonce))
    if not authorized:
        second = next(requests, None)
        given = second.proof.proof if second is not None else b''
        if not auth.is_proof(given, host.authkey, 'client', nonce, hello.nonce):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, 'wrong or missing authkey')
    caller = Caller(
        hello.client_id or f'session {id(context)}', hello.name, True, not hello.pipelined
    )
    host.clients.joined(caller)
    by_value = values.travel_by_value(hello.python_version, hello.cloudpickle_version)
    kind = Pipeline if hello.pipelined else _Session
    session = kind(caller, Answers(host, by_value), host)
    try:
        if not context.add_callback(caller.interrupt.fire):
            caller.interrupt.fire()
        yield from session.serve(_until_gone(requests))
    except Interrupted:
        pass  # the client has gone, or the actor is ending
    finally:
        # Interrupted waits have taken their locks back, on this thread that owns them.
        host.locks.release_thread_owned(caller)
        host.clients.left(caller, session.polite, session.process_ends)


def _until_gone(requests: Iterator[pb.SessionRequest]) -> Iterator[pb.SessionRequest]:
    """Yield the requests of a client until it has gone."""
    import grpc

    with contextlib.suppress(grpc.RpcError):
        yield from requests


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

    def __init__(self, caller: Caller, answers: Answers, host: Host) -> None:
        self._caller = caller
        self._answers = answers
        self._table = host.table
        self.polite = False
        self.process_ends = False

    def serve(self, requests: Iterator[pb.SessionRequest]) -> Iterator[pb.SessionResponse]:
        for request in requests:
            if request.releases:
                self._table.release(request.releases, self._caller.client_id)
            kind = request.WhichOneof('kind')
            if kind == 'goodbye':
                self.polite = True
                self.process_ends = request.goodbye.process_ends
                return
            if kind == 'call' and request.call.HasField('timeout'):
                yield self._limited(request, kind)
            elif kind is not None and kind != 'proof':
                self._caller.asks(request.call.path if kind == 'call' else ())
                yield self._answers.answer(self._caller, request, kind)

    def _limited(self, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        """Answer a call that its caller does not wait for for ever."""
        caller = self._caller.part()
        caller.asks(request.call.path, request.call.timeout.ToTimedelta().total_seconds())
        with caller.limited():
            return self._answers.answer(caller, request, kind)
