"""The generic door: ``uactor.v1.ActorService``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from uactor import auth
from uactor.host import sessions, status
from uactor.host.clients import Caller
from uactor.host.objects import ANONYMOUS
from uactor.host.threads import NO_THREADS, is_reserve
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

if TYPE_CHECKING:
    from uactor.host.server import Host

_OPEN = (
    '/grpc.health.v1.Health/Check',
    '/grpc.health.v1.Health/List',
    '/grpc.health.v1.Health/Watch',
    '/uactor.v1.ActorService/Session',  # asks for the key itself
)
"""What needs no authkey in its metadata."""


_EVER = threading.TIMEOUT_MAX
"""What gRPC tells of a call without a deadline is more, in seconds."""


class Authorization(grpc.ServerInterceptor):
    """Lets nobody in without the authkey, but for health and the handshake of a session."""

    def __init__(self, authkey: bytes) -> None:
        self._authkey = authkey

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Return the handler, or one that refuses: also for what does not exist."""
        details = handler_call_details
        if details.method in _OPEN or auth.is_authorized(
            details.invocation_metadata, self._authkey
        ):
            return continuation(details)
        return _REFUSAL


def _refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "wrong or missing authkey; send the metadata 'authorization: Bearer <base64url key>'",
    )


# On the wire, the refusal of a stream is also that of a unary call.
_REFUSAL: Any = grpc.stream_stream_rpc_method_handler(_refuse)


class ActorServicer(actor_pb2_grpc.ActorServiceServicer):
    """Turns RPCs into dispatcher calls."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextlib.contextmanager
    def _caller(self, context: grpc.ServicerContext, path: Sequence[str] = ()) -> Iterator[Caller]:
        """Accept the RPC, and make a status of what it raises.

        :param path: the calls of actors that wait for it.
        """
        if is_reserve():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_THREADS)
        caller = Caller(ANONYMOUS, context.peer())
        left = context.time_remaining()
        caller.asks(path, left if left is not None and left < _EVER else None)
        clients = self._host.clients
        clients.unary(caller)
        if not context.add_callback(caller.interrupt.fire):
            caller.interrupt.fire()
        try:
            with self._host.dispatcher.accepted():
                yield caller
        except BaseException as error:
            if isinstance(error, GeneratorExit) and not context.is_active():
                raise  # the client has left a stream
            status.abort(context, error, caller, tracebacks=self._host.is_local)
        finally:
            clients.unary_done(caller)

    def Describe(
        self, request: pb.DescribeRequest, context: grpc.ServicerContext
    ) -> pb.DescribeResponse:
        with self._caller(context):
            return self._host.exchange.describe(request.handle)

    def Call(self, request: pb.CallRequest, context: grpc.ServicerContext) -> pb.CallResponse:
        with self._caller(context, request.path) as caller:
            return pb.CallResponse(result=self._host.exchange.call(caller, request))

    def CallStream(
        self, request: pb.CallStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.CallStreamResponse]:
        exchange, call = self._host.exchange, request.call
        with self._caller(context, call.path) as caller:
            result, _ = exchange.dispatch(caller, call)
            steps = self._host.dispatcher.steps(caller, call.handle, call.method, result)
            with contextlib.closing(steps) as items:
                for item in items:
                    encoded = exchange.encode(caller, item, call.typeid, call.accept_pickle)
                    yield pb.CallStreamResponse(item=encoded)

    def GetAttribute(
        self, request: pb.GetAttributeRequest, context: grpc.ServicerContext
    ) -> pb.GetAttributeResponse:
        with self._caller(context) as caller:
            return pb.GetAttributeResponse(value=self._host.exchange.get_attribute(caller, request))

    def SetAttribute(
        self, request: pb.SetAttributeRequest, context: grpc.ServicerContext
    ) -> pb.SetAttributeResponse:
        with self._caller(context) as caller:
            self._host.exchange.set_attribute(caller, request)
            return pb.SetAttributeResponse()

    def CreateHandle(
        self, request: pb.CreateHandleRequest, context: grpc.ServicerContext
    ) -> pb.CreateHandleResponse:
        with self._caller(context) as caller:
            return pb.CreateHandleResponse(handle=self._host.exchange.create(caller, request))

    def RetainHandle(
        self, request: pb.RetainHandleRequest, context: grpc.ServicerContext
    ) -> pb.RetainHandleResponse:
        with self._caller(context) as caller:
            return self._host.exchange.retain(caller, request)

    def ReleaseHandle(
        self, request: pb.ReleaseHandleRequest, context: grpc.ServicerContext
    ) -> pb.ReleaseHandleResponse:
        with self._caller(context) as caller:
            for handle in request.handles:
                self._host.table.get(handle)  # raises when it is gone
            self._host.table.release(request.handles, caller.client_id)
            return pb.ReleaseHandleResponse()

    def ListHandles(
        self, request: pb.ListHandlesRequest, context: grpc.ServicerContext
    ) -> pb.ListHandlesResponse:
        with self._caller(context):
            response = pb.ListHandlesResponse()
            for entry, holds, clients in self._host.table.held():
                handle = self._host.exchange.handle(entry, detailed=True)
                response.handles.add(handle=handle, holds=holds, clients=clients)
            return response

    def Session(
        self, request_iterator: Iterator[pb.SessionRequest], context: grpc.ServicerContext
    ) -> Iterator[pb.SessionResponse]:
        authorized = auth.is_authorized(context.invocation_metadata(), self._host.authkey)
        return sessions.serve(self._host, request_iterator, context, authorized)

    def Shutdown(
        self, request: pb.ShutdownRequest, context: grpc.ServicerContext
    ) -> pb.ShutdownResponse:
        # The reply goes out first: a handler that stops the server itself can lose it.
        if not context.add_callback(self._host.request_stop):
            self._host.request_stop()
        with self._caller(context) as caller:
            self._host.dispatcher.call(caller, '', 'shutdown', (), {})
            return pb.ShutdownResponse()
