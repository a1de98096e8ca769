"""The generic service: ``uactor.v1.ActorService``."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import grpc
from google.protobuf import message_factory
from google.protobuf.message import DecodeError

from uactor.codec.fastpath import NUMBERED
from uactor.codec.messages import list_memories
from uactor.core import auth
from uactor.errors import AuthkeyError, SerializationError, UActorException, find_status
from uactor.host.admission import Admission
from uactor.host.arguments import InvalidArgumentError
from uactor.host.context import HostContext
from uactor.host.grpc import unary
from uactor.host.grpc.executor import is_reserve, retire
from uactor.host.refusal import NO_THREADS, RefusedError
from uactor.host.sessions.serve import read, serve
from uactor.transport.chunks import Chunks
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

log = logging.getLogger('uactor.host')

_WITHOUT_AUTHKEY = (
    '/grpc.health.v1.Health/Check',
    '/grpc.health.v1.Health/List',
    '/grpc.health.v1.Health/Watch',
    '/uactor.v1.ActorService/Session',  # asks for the key itself
)
"""The methods that need no authkey in their metadata."""

_NO_ROOM = 'too many others are about to prove that they know the authkey; try again'


class Authorization(grpc.ServerInterceptor):
    """Refuses RPCs without the authkey, except health checks and session handshakes."""

    def __init__(self, authkey: bytes) -> None:
        self._authkey = authkey

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Return the handler of an RPC, or the handler that refuses it.

        RPCs of methods that do not exist are refused as well.
        """
        details = handler_call_details
        if details.method in _WITHOUT_AUTHKEY or auth.is_authorized(
            details.invocation_metadata, self._authkey
        ):
            return continuation(details)
        return _REFUSAL


def _refuse(_requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "wrong or missing authkey; send the metadata 'authorization: Bearer <base64url key>'",
    )


# On the wire, the refusal of a stream is also that of a unary call.
_REFUSAL: Any = grpc.stream_stream_rpc_method_handler(_refuse)


_SERVICE = pb.DESCRIPTOR.services_by_name['ActorService']


class ActorServicer(actor_pb2_grpc.ActorServiceServicer):
    """Turns RPCs into dispatcher calls."""

    def __init__(self, host: HostContext) -> None:
        self._host = host
        self._rpc = unary.create_rpc_factory(host, _SERVICE.full_name)
        self._admission = Admission()

    def add_to(self, server: grpc.Server) -> None:
        """Add this service to a server.

        This does what the generated function does, but requests outside sessions come as bytes.
        gRPC would answer INTERNAL to each request that it cannot decode.
        """
        handlers = {method.name: self._handler(method) for method in _SERVICE.methods}
        service = grpc.method_handlers_generic_handler(_SERVICE.full_name, handlers)
        server.add_generic_rpc_handlers((service,))
        server.add_registered_method_handlers(_SERVICE.full_name, handlers)

    def _handler(self, method: Any) -> Any:
        run = getattr(self, method.name)
        if method.client_streaming:  # Session, which decodes its messages itself
            return grpc.stream_stream_rpc_method_handler(run)
        request, response = (
            message_factory.GetMessageClass(kind)
            for kind in (method.input_type, method.output_type)
        )

        def decode_and_run(data: bytes, context: grpc.ServicerContext) -> Any:
            try:
                message = request.FromString(data)
            except DecodeError as error:
                with self._rpc(context):
                    raise InvalidArgumentError('', error) from error
            return run(message, context)

        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(
                decode_and_run, response_serializer=response.SerializeToString
            )
        return grpc.unary_unary_rpc_method_handler(
            decode_and_run, response_serializer=response.SerializeToString
        )

    def Describe(
        self, request: pb.DescribeRequest, context: grpc.ServicerContext
    ) -> pb.DescribeResponse:
        with self._rpc(context):
            response = self._host.requests.describe(request.handle)
            if response.handle.id == self._host.table.actor_id:
                self._host.typed_service.describe(response)
            return response

    def Call(self, request: pb.CallRequest, context: grpc.ServicerContext) -> pb.CallResponse:
        with self._rpc(context, request.context.path) as caller:
            response = pb.CallResponse()
            self._host.requests.call(caller, request, response.result)
            return response

    def CallStream(
        self, request: pb.CallStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.CallStreamResponse]:
        requests, call = self._host.requests, request.call
        with self._rpc(context, call.context.path) as caller:
            result, _ = requests.dispatch(caller, call)
            steps = self._host.dispatcher.iterate(caller, call.handle, call.method, result)
            with contextlib.closing(steps) as items:
                for item in items:
                    response = pb.CallStreamResponse()
                    requests.encode(caller, item, call.typeid, call.accept_pickle, response.item)
                    yield response

    def GetAttribute(
        self, request: pb.GetAttributeRequest, context: grpc.ServicerContext
    ) -> pb.GetAttributeResponse:
        with self._rpc(context, request.context.path) as caller:
            response = pb.GetAttributeResponse()
            self._host.requests.get_attribute(caller, request, response.value)
            return response

    def SetAttribute(
        self, request: pb.SetAttributeRequest, context: grpc.ServicerContext
    ) -> pb.SetAttributeResponse:
        with self._rpc(context, request.context.path) as caller:
            self._host.requests.set_attribute(caller, request)
            return pb.SetAttributeResponse()

    def CreateHandle(
        self, request: pb.CreateHandleRequest, context: grpc.ServicerContext
    ) -> pb.CreateHandleResponse:
        with self._rpc(context, request.context.path) as caller:
            return pb.CreateHandleResponse(handle=self._host.requests.create(caller, request))

    def RetainHandle(
        self, request: pb.RetainHandleRequest, context: grpc.ServicerContext
    ) -> pb.RetainHandleResponse:
        with self._rpc(context) as caller:
            return self._host.requests.retain(caller, request)

    def ReleaseHandle(
        self, request: pb.ReleaseHandleRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseHandleResponse:
        with self._rpc(context) as caller:
            for handle in request.handles:
                self._host.table.get(handle)  # raises when it is gone
            self._host.table.release(request.handles, caller.holder)
            return pb.ReleaseHandleResponse()

    def ListHandles(
        self, request: pb.ListHandlesRequest, context: grpc.ServicerContext
    ) -> pb.ListHandlesResponse:
        with self._rpc(context):
            response = pb.ListHandlesResponse()
            for entry, holds, clients in self._host.table.list_holds():
                handle = self._host.requests.handle(entry, detailed=True)
                response.handles.add(handle=handle, holds=holds, clients=clients)
            return response

    def Session(  # type: ignore[override]  # decodes and encodes its messages itself
        self, request_iterator: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        if is_reserve():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_THREADS)
        retire()
        authorized = auth.is_authorized(context.invocation_metadata(), self._host.authkey)
        leave = functools.partial(self._admission.remove, context)
        endpoint = _GrpcEndpoint(context, authorized, self._host.max_message_size, leave)
        if not authorized:

            def end() -> None:
                context.cancel()

            if not self._admission.admit(context, end):
                context.abort(grpc.StatusCode.UNAVAILABLE, _NO_ROOM)
            if not context.add_callback(leave):
                leave()
        requests = endpoint.take_chunks(_until_gone(request_iterator))
        return endpoint.encode(serve(self._host, requests, endpoint))

    def Shutdown(
        self, request: pb.ShutdownRequest, context: grpc.ServicerContext
    ) -> pb.ShutdownResponse:
        # The reply goes out first: a handler that stops the server itself can lose it.
        if not context.add_callback(self._host.request_stop):
            self._host.request_stop()
        with self._rpc(context) as caller:
            self._host.dispatcher.call(caller, '', 'shutdown', (), {})
            return pb.ShutdownResponse()


class _GrpcEndpoint:
    """The stream of a session; a :class:`uactor.host.sessions.endpoint.SessionEndpoint`."""

    put = None

    def __init__(
        self,
        context: grpc.ServicerContext,
        authorized: bool,
        max_message_size: int,
        on_proof: Callable[[], None],
    ) -> None:
        self._context = context
        self._on_proof = on_proof
        self._is_open = False
        self.authorized = authorized
        self.memory = Chunks()
        self.memory.limit = max_message_size

    def take_chunks(self, messages: Iterator[bytes]) -> Iterator[bytes]:
        """Yield requests without the chunks before them, which go to :attr:`memory`."""
        for message in messages:
            if message.startswith(NUMBERED):
                yield message
                continue
            request = read(message, self)
            if not request.HasField('chunk'):
                yield message
            elif not self._is_open:
                self.refuse(AuthkeyError('wrong or missing authkey'))
            else:
                try:
                    self.memory.receive(request.chunk)
                except SerializationError as error:
                    self.refuse(error)

    def has_more(self) -> bool:
        """Return False: gRPC reports a message only to a waiting thread."""
        return False

    def encode(self, responses: Iterator[pb.SessionResponse | bytes]) -> Iterator[bytes]:
        """Yield responses in their wire form, each after its chunks."""
        for response in responses:
            if isinstance(response, bytes):
                yield response
                continue
            if self.memory.outgoing:
                for chunk in self.memory.cut_chunks(list_memories(response)):
                    yield pb.SessionResponse(chunk=chunk).SerializeToString()
            yield response.SerializeToString()

    def refuse(self, error: UActorException) -> NoReturn:
        """Abort the RPC with the status of ``error``."""
        code = getattr(grpc.StatusCode, find_status(error, 'asked'))
        with contextlib.suppress(Exception):  # abort() raises one, for gRPC itself
            self._context.abort(code, str(error))
        raise RefusedError(str(error)) from error

    def admit(self) -> None:
        """Accept chunks, since the client has proved itself."""
        self._is_open = True
        self._on_proof()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the RPC has ended, at once if it has."""
        if not self._context.add_callback(callback):
            callback()


def _until_gone(requests: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the requests of a client until it says goodbye or goes."""
    try:
        yield from requests
    except grpc.RpcError as error:
        log.debug('the client of a session has gone: %s', error)
