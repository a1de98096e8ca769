"""Run the RPCs of the typed service as calls of the dispatcher.

Nothing here unpickles anything.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from uactor.core.addresses import Token
from uactor.host.arguments import InvalidArgumentError
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError
from uactor.host.context import HostContext
from uactor.host.grpc.unary import create_rpc_factory
from uactor.host.requests import RequestHandler
from uactor.service.codecs.methods import CallArguments, ServiceMethod
from uactor.service.errors import ConversionError
from uactor.service.schema import Schema
from uactor.v1 import actor_pb2 as pb

Handlers = Mapping[str, Any]
"""gRPC's handlers by the names of RPCs."""

_GONE_DELAY_S = 0.01
"""How long after the end of a client's stream gRPC may report that the client has gone.

Until then the end of its stream looks like that of a client that has sent all.
"""


def create_handlers(host: HostContext, schema: Schema) -> Handlers:
    """Return gRPC's handlers for the methods of a schema, by RPC name.

    They take and return bytes: gRPC has one status for each message that it cannot decode.
    """
    calls = _Calls(host, schema.service)
    created: dict[str, Any] = {}
    for rpc, method in schema.methods.items():
        if method.client_streaming or method.server_streaming:
            created[rpc] = grpc.stream_stream_rpc_method_handler(
                functools.partial(calls.streaming, method)
            )
        else:
            created[rpc] = grpc.unary_unary_rpc_method_handler(
                functools.partial(calls.unary, method)
            )
    return created


class _Handles:
    """Creates and resolves the handles of one call."""

    def __init__(self, requests: RequestHandler, caller: Caller) -> None:
        self._requests = requests
        self._caller = caller

    def write_handle(self, value: object, typeid: str | None) -> pb.Handle:
        """Return a handle that the caller holds, as the generic service does."""
        if isinstance(getattr(value, '_token', None), Token):
            return self._requests.handle_of(self._caller, value)
        if typeid is None:
            raise ConversionError(
                f'a {type(value).__qualname__} is no proxy; make one with uactor.proxy()'
            )
        return self._requests.share(self._caller, value, typeid, detailed=True)

    def read_handle(self, handle: pb.Handle, hint: Any) -> object:
        """Return the proxy for ``handle``, of the class in ``hint``.

        The hint is an actor class or a proxy class.
        """
        manager_class = getattr(hint, 'manager_class', None)
        if manager_class is None:
            found, wanted = self._requests.resolve(handle), hint
        else:
            found, wanted = self._requests.resolve(handle, manager_class), hint.proxy_class
        if isinstance(found, wanted):
            return found
        raise ConversionError(
            f'a handle to a {type(found).__qualname__}, not to a {hint.__qualname__}'
        )


class _Calls:
    """Runs the RPCs of the typed service."""

    def __init__(self, host: HostContext, service: str) -> None:
        self._requests = host.requests
        self._dispatcher = host.dispatcher
        self._rpc = create_rpc_factory(host, service, validated=True)

    def unary(self, method: ServiceMethod, data: bytes, context: grpc.ServicerContext) -> bytes:
        """Run an RPC without streams."""
        with self._rpc(context) as caller:
            handles = _Handles(self._requests, caller)
            try:
                call = method.read_request(_parse(method, data), handles)
            except ConversionError as error:
                raise InvalidArgumentError(error.path, error, error.reason) from error
            return _encode_response(method, self._result(caller, method, call), caller, handles)

    def streaming(
        self, method: ServiceMethod, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Run an RPC in which the client, the actor or both stream."""
        with self._rpc(context) as caller:
            handles = _Handles(self._requests, caller)
            try:
                call = _read_stream(method, _until_gone(requests, context), handles)
                result = self._result(caller, method, call)
                if not method.server_streaming:
                    yield _encode_response(method, result, caller, handles)
                    return
                found = self._dispatcher.iterate(caller, '', method.member, result)
                with contextlib.closing(found):
                    for item in found:
                        yield _encode_response(method, item, caller, handles)
            except ConversionError as error:  # also of a later item, by way of the user's method
                raise InvalidArgumentError(error.path, error, error.reason) from error

    def _result(self, caller: Caller, method: ServiceMethod, call: CallArguments) -> Any:
        args, kwargs = call
        if method.kind == 'call':
            result, _ = self._dispatcher.call(caller, '', method.member, args, kwargs)
        elif method.kind == 'get':
            result, _ = self._dispatcher.get_attribute(caller, '', method.member)
        else:
            self._dispatcher.set_attribute(caller, '', method.member, *args)
            return None
        return result


def _parse(method: ServiceMethod, data: bytes) -> Any:
    try:
        return method.request_class.FromString(data)
    except DecodeError as error:
        raise ConversionError(f'not a valid {method.request_class.DESCRIPTOR.full_name}') from error


def _read_stream(
    method: ServiceMethod, requests: Iterator[bytes], handles: _Handles
) -> CallArguments:
    messages = _messages(method, requests)
    first = next(messages, None)
    if method.client_streaming:
        return method.read_request_stream(first, messages, handles)
    if first is None:
        raise ConversionError('there is no request')
    return method.read_request(first, handles)


def _messages(method: ServiceMethod, requests: Iterator[bytes]) -> Iterator[Any]:
    """Yield the messages of a client as the method asks for them."""
    return (_parse(method, data) for data in requests)


def _until_gone(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    """Yield the messages of a client, undecoded.

    :raises CallCancelledError: when the client goes before its stream has ended. A method that took
        the messages so far for all of them would do half of its work.
    """
    is_gone = threading.Event()
    if not context.add_callback(is_gone.set):
        is_gone.set()
    try:
        yield from requests
    except grpc.RpcError as error:
        raise CallCancelledError from error
    if is_gone.wait(_GONE_DELAY_S):
        raise CallCancelledError


def _encode_response(
    method: ServiceMethod, result: Any, caller: Caller, handles: _Handles
) -> bytes:
    caller.confirm()
    data: bytes = method.write_response(result, handles).SerializeToString()
    return data
