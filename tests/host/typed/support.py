"""A client of typed services: Python values in and out, by the messages of the schema."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.rpc import KEYED, channel_to, get_dial_address
from uactor.service.schema import Schema, schema_of
from uactor.v1 import actor_pb2 as pb


class PlainHandles:
    """Leaves handles what they are."""

    def write_handle(self, value: Any, typeid: str | None) -> pb.Handle:
        assert isinstance(value, pb.Handle)
        return value

    def read_handle(self, handle: pb.Handle, hint: Any) -> pb.Handle:
        return handle


HANDLES = PlainHandles()


class Typed:
    """Calls the typed service of one actor."""

    def __init__(self, channel: Any, schema: Schema) -> None:
        self.channel = channel
        self.schema = schema

    def rpc(self, rpc: str, **raw: Any) -> Any:
        """Return gRPC's callable for an RPC, of whichever kind."""
        method = self.schema.methods[rpc]
        kind = '_'.join(
            'stream' if streams else 'unary'
            for streams in (method.client_streaming, method.server_streaming)
        )
        return getattr(self.channel, kind)(
            f'/{self.schema.service}/{rpc}',
            raw.get('serialize', method.request_class.SerializeToString),
            method.response_class.FromString,
        )

    def call(self, rpc: str, *args: Any, **kwargs: Any) -> Any:
        """Make a unary call."""
        method = self.schema.methods[rpc]
        request = method.write_request(args, kwargs, HANDLES)
        response = self.rpc(rpc)(request, metadata=KEYED, timeout=20)
        return method.read_response(response, HANDLES)

    def send(self, rpc: str, fields: dict[str, Any]) -> Any:
        """Make a unary call with a request of these fields; return the response."""
        request = self.schema.methods[rpc].request_class(**fields)
        return self.rpc(rpc)(request, metadata=KEYED, timeout=20)

    def iterate(self, rpc: str, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Make a call with a stream of responses."""
        method = self.schema.methods[rpc]
        if method.client_streaming:
            request: Any = method.write_request_stream(args, kwargs, HANDLES)
        else:
            request = method.write_request(args, kwargs, HANDLES)
        for response in self.rpc(rpc)(request, metadata=KEYED, timeout=20):
            yield method.read_response(response, HANDLES)

    def stream(self, rpc: str, items: Iterable[Any], **kwargs: Any) -> Any:
        """Make a call with a stream of requests, and one response."""
        method = self.schema.methods[rpc]
        requests = method.write_request_stream((items,), kwargs, HANDLES)
        response = self.rpc(rpc)(requests, metadata=KEYED, timeout=20)
        return method.read_response(response, HANDLES)


@contextmanager
def create_typed_client(actor: Any, actor_class: type) -> Iterator[Typed]:
    with channel_to(get_dial_address(actor)) as channel:
        yield Typed(channel, schema_of(actor_class))
