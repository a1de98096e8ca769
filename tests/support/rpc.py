"""A gRPC client without uactor: generated stubs, metadata, and native values."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

import uactor
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

KEY = bytes(multiprocessing.current_process().authkey)
KEYED = uactor.call_metadata(KEY)


def get_dial_address(actor: Any) -> str:
    """Return the address of an actor in the form that gRPC dials."""
    address = actor.connection_address
    return address if isinstance(address, str) else '{}:{}'.format(*address)


@contextmanager
def channel_to(address: str) -> Iterator[grpc.Channel]:
    options = [('grpc.enable_http_proxy', 0), ('grpc.max_receive_message_length', -1)]
    with grpc.insecure_channel(address, options) as channel:
        yield channel


@contextmanager
def client_of(address: str, metadata: Any = KEYED) -> Iterator[Client]:
    with channel_to(address) as channel:
        yield Client(channel, metadata)


class Client:
    """Calls one actor, or an object in it, with plain Python values in and out."""

    def __init__(self, channel: grpc.Channel, metadata: Any = KEYED) -> None:
        self.channel = channel
        self.stub = actor_pb2_grpc.ActorServiceStub(channel)
        self.metadata = metadata

    def rpc(self, rpc: str, request: Any = None, /, **fields: Any) -> Any:
        """Make a unary RPC; by default the request is made of ``fields``."""
        request = getattr(pb, f'{rpc}Request')(**fields) if request is None else request
        return getattr(self.stub, rpc)(request, metadata=self.metadata, timeout=20)

    def call(
        self, method: str, *args: Any, handle: str = '', typeid: str = '', **kwargs: Any
    ) -> Any:
        return plain(
            self.rpc(
                'Call', call_request(method, *args, handle=handle, typeid=typeid, **kwargs)
            ).result
        )

    def stream(self, method: str, *args: Any, **kwargs: Any) -> Any:
        request = pb.CallStreamRequest(call=call_request(method, *args, **kwargs))
        return self.stub.CallStream(request, metadata=self.metadata, timeout=20)

    def get(self, name: str, handle: str = '') -> Any:
        return plain(self.rpc('GetAttribute', handle=handle, name=name).value)

    def set(self, name: str, value: Any, handle: str = '') -> None:
        self.rpc('SetAttribute', handle=handle, name=name, value=native(value))

    def create(self, typeid: str, *args: Any, **kwargs: Any) -> pb.Handle:
        response: pb.CreateHandleResponse = self.rpc(
            'CreateHandle', typeid=typeid, args=map(native, args), **kwargs
        )
        return response.handle


def call_request(
    method: str, *args: Any, handle: str = '', typeid: str = '', **kwargs: Any
) -> pb.CallRequest:
    return pb.CallRequest(
        handle=handle,
        method=method,
        args=map(native, args),
        kwargs={name: native(value) for name, value in kwargs.items()},
        typeid=typeid,
    )


def native(value: Any) -> pb.Value:
    """Return ``value`` in its native form."""
    if value is None:
        return pb.Value(null=0)  # type: ignore[arg-type]
    if isinstance(value, pb.Value):
        return value
    if isinstance(value, pb.Handle):
        return pb.Value(handle=value)
    if isinstance(value, list):
        return pb.Value(list=pb.ListValue(items=map(native, value)))
    if isinstance(value, dict):
        entries = [pb.MapEntry(key=native(k), value=native(v)) for k, v in value.items()]
        return pb.Value(map=pb.MapValue(entries=entries))
    kind = {bool: 'bool', int: 'int64', float: 'double', str: 'string', bytes: 'bytes'}
    return pb.Value(**{kind[type(value)]: value})


def plain(value: pb.Value) -> Any:
    """Return the plain value of a native form; handles and pickles stay as they are."""
    kind = value.WhichOneof('kind')
    assert kind is not None, value
    if kind == 'list':
        return [plain(item) for item in value.list.items]
    if kind == 'map':
        return [(plain(entry.key), plain(entry.value)) for entry in value.map.entries]
    return None if kind == 'null' else getattr(value, kind)


# --- failures ------------------------------------------------------------------------------------


@contextmanager
def failing(code: str) -> Iterator[SimpleNamespace]:
    """Expect the RPC to fail with ``code``, and yield an object that gets its status."""
    failure = SimpleNamespace()
    with pytest.raises(grpc.RpcError) as caught:
        yield failure
    error = caught.value
    assert error.code().name == code, error
    failure.text = error.details()
    trailers: Any = error.trailing_metadata() or ()
    failure.trailers = dict(trailers)
    failure.details = _details(failure.trailers.get('grpc-status-details-bin', b''))
    failure.info = failure.details.get('ErrorInfo')
    failure.executed = failure.info and failure.info.metadata['executed']
    failure.fields = [
        violation.field
        for violation in getattr(failure.details.get('BadRequest'), 'field_violations', ())
    ]


def _details(data: bytes) -> dict[str, Any]:
    """Return the details of a ``google.rpc.Status`` by the names of their types."""
    found = {}
    for packed in status_pb2.Status.FromString(data).details:
        name = packed.type_url.rpartition('.')[2]
        found[name] = getattr(error_details_pb2, name)()
        assert packed.Unpack(found[name])
    return found
