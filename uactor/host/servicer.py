"""The generic door: ``uactor.v1.ActorService``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import grpc

from uactor import auth
from uactor.host import sessions, status
from uactor.host.clients import Caller
from uactor.host.objects import ANONYMOUS
from uactor.host.waiting import Interrupted
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

if TYPE_CHECKING:
    from uactor.host.server import Host

_HEALTH = '/grpc.health.v1.Health/'
_SESSION = '/uactor.v1.ActorService/Session'


class Authorization(grpc.ServerInterceptor):
    """Lets nobody in without the authkey, but for health and the handshake of a session."""

    def __init__(self, authkey: bytes) -> None:
        self._authkey = authkey

    def intercept_service(
        self, continuation: Callable[[Any], Any], handler_call_details: Any
    ) -> Any:
        """Return the handler, or one that refuses."""
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if method.startswith(_HEALTH) or method == _SESSION:
            return handler
        if handler is None or auth.is_authorized(
            handler_call_details.invocation_metadata, self._authkey
        ):
            return handler
        return _refusal(handler)


def _refusal(handler: Any) -> Any:
    """Return a handler of the same arity that refuses."""

    def refuse(request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            "wrong or missing authkey; send the metadata 'authorization: Bearer <base64url key>'",
        )

    def refuse_stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        refuse(request, context)
        yield

    arity = 'stream' if handler.request_streaming else 'unary'
    answer = 'stream' if handler.response_streaming else 'unary'
    make = getattr(grpc, f'{arity}_{answer}_rpc_method_handler')
    return make(
        refuse_stream if handler.response_streaming else refuse,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


class ActorServicer(actor_pb2_grpc.ActorServiceServicer):
    """Turns RPCs into dispatcher calls."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @contextlib.contextmanager
    def _caller(self, context: grpc.ServicerContext) -> Iterator[Caller]:
        """Accept the RPC, and make a status of what it raises."""
        caller = Caller(ANONYMOUS)
        clients = self._host.clients
        clients.unary(caller)
        if not context.add_callback(caller.interrupt.fire):
            caller.interrupt.fire()
        try:
            with self._host.dispatcher.accepted():
                yield caller
        except Interrupted:
            context.abort(grpc.StatusCode.CANCELLED, 'the wait has been interrupted')
        except GeneratorExit:  # the client has left a stream
            raise
        except BaseException as error:
            status.abort(self._host, context, error)
        finally:
            clients.unary_done(caller)

    def Describe(
        self, request: pb.DescribeRequest, context: grpc.ServicerContext
    ) -> pb.DescribeResponse:
        with self._caller(context):
            return self._host.exchange.describe(request.handle)

    def Call(self, request: pb.CallRequest, context: grpc.ServicerContext) -> pb.CallResponse:
        with self._caller(context) as caller:
            return pb.CallResponse(result=self._host.exchange.call(caller, request))

    def CallStream(
        self, request: pb.CallStreamRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.CallStreamResponse]:
        exchange = self._host.exchange
        with self._caller(context) as caller:
            result, _ = exchange.dispatch(caller, request.call)
            items = iter(result)
            try:
                for item in items:
                    if caller.interrupt.fired:
                        return
                    encoded = exchange.encode(caller, item, '', request.call.accept_pickle)
                    yield pb.CallStreamResponse(item=encoded)
            finally:
                close = getattr(items, 'close', None)
                if close is not None:
                    close()

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
                self._host.table.get(handle)  # says so when it is gone
            self._host.table.release(request.handles, caller.client_id)
            return pb.ReleaseHandleResponse()

    def ListHandles(
        self, request: pb.ListHandlesRequest, context: grpc.ServicerContext
    ) -> pb.ListHandlesResponse:
        with self._caller(context):
            response = pb.ListHandlesResponse()
            for entry in self._host.table.all():
                response.handles.add(
                    handle=self._host.exchange.handle(entry, detailed=True),
                    holds=sum(entry.holds.values()),
                    clients=len(entry.holds),
                )
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
