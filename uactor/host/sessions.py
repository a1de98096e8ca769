"""The sessions of the generic door: one stream of a client thread, served by one host thread."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cloudpickle

from uactor import auth, failures, values
from uactor.errors import SerializationError
from uactor.host.arguments import InvalidArgument
from uactor.host.clients import Caller
from uactor.host.exchange import PROTOCOL_VERSION
from uactor.host.threads import is_reserve, retire
from uactor.host.waiting import Interrupted
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    import grpc

    from uactor.host.server import Host


NO_THREADS = 'the actor process can start no more threads'


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
    retire()
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
    caller = Caller(hello.client_id or f'session {id(context)}', in_session=True)
    host.clients.joined(caller)
    session = _Session(
        host, caller, values.travel_by_value(hello.python_version, hello.cloudpickle_version)
    )
    try:
        if not context.add_callback(caller.interrupt.fire):
            caller.interrupt.fire()
        yield from session.serve(requests)
    except (grpc.RpcError, Interrupted):
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
    """Answers the requests of one session, in order."""

    def __init__(self, host: Host, caller: Caller, by_value: bool) -> None:
        self._host = host
        self._caller = caller
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
        response = pb.SessionResponse(id=request.id)
        self._caller.stage = 'asked'
        try:
            with self._host.dispatcher.accepted():
                self._handle(request, kind, response)
                self._check_size(response)
        except Interrupted:
            raise
        except BaseException as error:  # also SystemExit: it is the caller's to see
            response.failure.CopyFrom(self._failure(error, request))
            BaseException.with_traceback(error, None)  # its setter may be a frozen dataclass's
        return response

    def _handle(self, request: pb.SessionRequest, kind: str, response: pb.SessionResponse) -> None:
        exchange, caller = self._host.exchange, self._caller
        if kind == 'call':
            result = exchange.call(caller, request.call, self._by_value)
        elif kind == 'get_attribute':
            result = exchange.get_attribute(caller, request.get_attribute, self._by_value)
        elif kind == 'set_attribute':
            exchange.set_attribute(caller, request.set_attribute)
            result = pb.Value(null=0)  # type: ignore[arg-type]  # enum value as int
        elif kind == 'create_handle':
            result = pb.Value(handle=exchange.create(caller, request.create_handle))
        elif kind == 'retain_handle':
            response.retained.CopyFrom(exchange.retain(caller, request.retain_handle))
            return
        else:
            raise SerializationError(f'a session takes no {kind!r} here')
        response.result.CopyFrom(result)

    def _check_size(self, response: pb.SessionResponse) -> None:
        limit = self._host.max_message_size
        if limit >= 0 and (size := response.ByteSize()) > limit:
            self._host.exchange.take_back(self._caller, response.result)
            raise SerializationError(
                f'the result has {size} bytes, and this actor sends {limit} at most '
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
        failures.shorten(failure, self._host.max_message_size)
        if passage.grants and failure.HasField('pickle'):
            self._host.table.retain(passage.grants, self._caller.client_id)
            failure.pickle.granted.extend(passage.grants)
        return failure


_ACCEPTING = ('call', 'get_attribute', 'set_attribute')
