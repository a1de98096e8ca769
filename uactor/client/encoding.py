"""Encode calls into requests, by the fast path or by Protobuf's objects.

The fast path saves a third of the time of a small call: :mod:`uactor.codec.fastpath` writes the
request by hand. The wire form is the same, so the host sees no difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from uactor.client.holds import Holds
from uactor.codec import fastpath, transfer, values
from uactor.codec.arguments import encode_arguments, encode_plain_arguments
from uactor.codec.definitions import Numbering
from uactor.core import current_call
from uactor.core.addresses import Token
from uactor.transport.shm_buffers import Lender
from uactor.v1 import actor_pb2 as pb

FastRequest = tuple[bytes, bytes | None]
"""A request without its number: target and arguments, as :func:`fastpath.encode_request` takes
them. It is a plain tuple, because creating any other object costs a few per cent of a call."""


class RequestChannel(Protocol):
    """The session, present or future, for which a request is encoded."""

    @property
    def serializer(self) -> str:
        """The name of the serializer for values."""
        ...

    @property
    def by_value(self) -> bool:
        """Whether classes and functions may travel by value."""
        ...

    @property
    def memory(self) -> Lender | None:
        """The carrier of large data; None if the request contains it."""
        ...

    @property
    def definitions(self) -> Numbering | None:
        """The definitions that the session remembers; None if it remembers none."""
        ...


class Delivery(NamedTuple):
    """The part of a request that does not depend on the method.

    :ivar timeout: how long the caller waits, in seconds; None for any time.
    :ivar outer: the call of an actor that waits for this one; None if there is none.
    :ivar window: how many items of a stream may be on their way; 0 for one result.
    """

    timeout: float | None = None
    outer: current_call.CurrentCall | None = None
    window: int = 0

    def put_context(
        self,
        request: pb.CallRequest
        | pb.GetAttributeRequest
        | pb.SetAttributeRequest
        | pb.CreateHandleRequest,
    ) -> None:
        """Write timeout and outer call into a request."""
        if self.timeout is not None:
            request.context.timeout.FromNanoseconds(round(self.timeout * 1e9))
        if self.outer is not None:
            request.context.path.extend(self.outer.path)


PLAIN = Delivery()
"""The delivery of most requests: no timeout, no outer call, one result."""


def select_delivery(
    timeout: float | None, outer: current_call.CurrentCall | None, window: int = 0
) -> Delivery:
    """Return a delivery, which is :data:`PLAIN` itself for most requests.

    The fast path needs that very object.
    """
    if timeout is None and outer is None and not window:
        return PLAIN
    return Delivery(timeout, outer, window)


class CallEncoder:
    """Encodes the requests of a connection.

    :param address: address of the actor that receives the requests.
    :param holds: queues the releases, which the next request outside the fast path carries.
    """

    def __init__(self, address: str, holds: Holds) -> None:
        self._address = address
        self._releases = holds.pending

    def is_fast(self, serializer: str, delivery: Delivery) -> bool:
        """Return whether a request with suitable arguments may take the fast path."""
        return delivery is PLAIN and not self._releases and serializer != 'native'

    def encode_call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        channel: RequestChannel,
        delivery: Delivery = PLAIN,
    ) -> FastRequest | pb.SessionRequest:
        """Encode the request for a call of a method."""
        is_fast = self.is_fast(channel.serializer, delivery)
        if is_fast and not kwargs:
            arguments = fastpath.encode_scalars(args)
            if arguments is not None:
                return fastpath.encode_target(handle, method), arguments
        is_native = channel.serializer == 'native'
        data = None if is_native else encode_plain_arguments(args, kwargs)
        if data is not None and is_fast:
            return fastpath.encode_target(handle, method), fastpath.encode_pickle(data)
        request = pb.SessionRequest()

        def message() -> pb.CallRequest:
            return request.open_stream.call if delivery.window else request.call

        if data is None:
            data = encode_arguments(
                *(message, args, kwargs, channel.serializer, channel.by_value, self._handle_of),
                channel.memory,
                channel.definitions,
            )
        if data is not None:
            if is_fast:
                return fastpath.encode_target(handle, method), fastpath.encode_pickle(data)
            message().arguments.data = data
        if delivery.window:
            request.open_stream.credit = delivery.window
        call = message()
        call.handle, call.method = handle, method
        call.accept_pickle = not is_native
        delivery.put_context(call)
        return request

    def encode_get(
        self, handle: str, name: str, channel: RequestChannel, delivery: Delivery
    ) -> FastRequest | pb.SessionRequest:
        """Encode the request that reads an attribute."""
        if self.is_fast(channel.serializer, delivery):
            return fastpath.encode_attribute(handle, name), None
        get = pb.GetAttributeRequest(
            handle=handle, name=name, accept_pickle=channel.serializer != 'native'
        )
        delivery.put_context(get)
        return pb.SessionRequest(get_attribute=get)

    def encode_set(
        self, handle: str, name: str, value: Any, channel: RequestChannel, delivery: Delivery
    ) -> pb.SessionRequest:
        """Encode the request that writes an attribute."""
        (encoded,) = self._encode_values([value], channel)
        put = pb.SetAttributeRequest(
            handle=handle, name=name, value=encoded, accept_pickle=channel.serializer != 'native'
        )
        delivery.put_context(put)
        return pb.SessionRequest(set_attribute=put)

    def encode_create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        channel: RequestChannel,
        delivery: Delivery,
    ) -> pb.SessionRequest:
        """Encode the request that creates an object of a typeid."""
        encoded = self._encode_values([*args, *kwargs.values()], channel)
        create = pb.CreateHandleRequest(typeid=typeid, args=encoded[: len(args)])
        for name, value in zip(kwargs, encoded[len(args) :], strict=True):
            create.kwargs[name].CopyFrom(value)
        delivery.put_context(create)
        return pb.SessionRequest(create_handle=create)

    def _encode_values(self, sent: Sequence[Any], channel: RequestChannel) -> list[pb.Value]:
        """Encode values that travel in one message."""
        outer = transfer.current_transfer()
        try:
            with transfer.transfer():
                if channel.serializer == 'native':
                    return [values.encode_native(value, self._handle_of) for value in sent]
                memory, definitions = channel.memory, channel.definitions
                return [
                    values.encode(value, channel.by_value, memory, definitions) for value in sent
                ]
        except BaseException:
            transfer.restore_transfer(outer)
            raise

    def _handle_of(self, value: Any) -> pb.Handle:
        return handle_of(value, self._address)


def handle_of(value: Any, receiver: str) -> pb.Handle:
    """Encode a proxy as a native handle.

    :param receiver: address of the actor that receives it.
    :raises SerializationError: if the value is no proxy.
    """
    token = getattr(value, '_token', None)
    if isinstance(token, Token):
        if token.typeid != 'actor' and token.target != receiver:
            value._lease()  # the receiver may not take a hold before it uses the handle
        return pb.Handle(id=token.id, address=token.target, typeid=token.typeid)
    return values.refuse_to_share(value)
