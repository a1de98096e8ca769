"""Route RPCs to the typed service, which the first RPC creates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import grpc

from uactor.host.context import HostContext

if TYPE_CHECKING:  # it imports what few actors need
    from uactor.host.grpc.typed_calls import Handlers


class TypedHandler(grpc.GenericRpcHandler):
    """Finds the handlers of the typed service."""

    def __init__(self, host: HostContext) -> None:
        self._host = host
        self._prefix = f'/{host.typed_service.name}/'
        self._handlers: Handlers | None = None

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of an RPC of the typed service, or None.

        gRPC calls this on the one thread on which all RPCs arrive. The handlers are created on the
        thread of the first RPC instead: annotations are the user's code.
        """
        path: str = handler_call_details.method
        if not path.startswith(self._prefix) or not self._host.typed_service.name:
            return None
        rpc = path[len(self._prefix) :]
        if self._handlers is not None:
            return self._handlers.get(rpc)

        def create_and_run(
            requests: Iterator[bytes], context: grpc.ServicerContext
        ) -> Iterator[bytes]:
            handler = self._create_handlers(context).get(rpc)
            if handler is None:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, 'Method not found!')
            elif handler.unary_unary is not None:
                yield from (handler.unary_unary(request, context) for request in requests)
            else:
                yield from handler.stream_stream(requests, context)

        return grpc.stream_stream_rpc_method_handler(create_and_run)

    def _create_handlers(self, context: grpc.ServicerContext) -> Handlers:
        schema = self._host.typed_service.schema()
        if schema is None:
            context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'the typed service is not served: {self._host.typed_service.error}'[:1024],
            )
            raise AssertionError  # never reached: abort raises
        from uactor.host.grpc.typed_calls import create_handlers

        self._handlers = create_handlers(self._host, schema)
        return self._handlers
