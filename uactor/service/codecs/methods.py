"""Methods of a typed service, which read requests and write responses."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from uactor.service.codecs.base import NO_HANDLES, Handles, mismatch_error
from uactor.service.codecs.fields import NOTHING
from uactor.service.codecs.messages import Layout, refuse_unknown_fields
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.errors import ConversionError, ResultConversionError
from uactor.service.model import Kind

RESULT = 'result'
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

CallArguments = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


@dataclasses.dataclass(eq=False)
class ServiceMethod:
    """An RPC, and the member of the actor class behind it.

    :ivar rpc: the name of the RPC.
    :ivar member: the name of the method or attribute.
    :ivar kind: whether the RPC calls, reads or writes the member.
    :ivar doc: the docstring of the member.
    :ivar signature: the parameters without ``self``, their annotations resolved.
    :ivar request: the plan of the request.
    :ivar response: the plan of the response.
    :ivar stream: the parameter that the client streams.
    :ivar server_streaming: whether the result is an iterator, each item of which is a response.
    :ivar is_async: whether the method takes the client's stream as an asynchronous iterator.
    """

    rpc: str
    member: str
    kind: Kind
    doc: str
    signature: inspect.Signature
    request: MessagePlan
    response: MessagePlan
    stream: Part | None = None
    server_streaming: bool = False
    is_async: bool = False

    def __post_init__(self) -> None:
        head = [part for part in self.request.parts if part is not self.stream]
        self._head = Layout(self.request, head)
        self._response = Layout(self.response)
        self._has_result = bool(self.response.parts)
        kinds = {parameter.kind for parameter in self.signature.parameters.values()}
        self._is_plain = self.kind == 'call' and kinds <= {*_NAMED}

    @property
    def client_streaming(self) -> bool:
        """Whether the client streams a parameter."""
        return self.stream is not None

    @property
    def request_class(self) -> Any:
        """The class of the requests."""
        return self.request.bound

    @property
    def response_class(self) -> Any:
        """The class of the responses."""
        return self.response.bound

    # --- the actor's side ------------------------------------------------------------------------

    def read_request(self, message: Any, handles: Handles = NO_HANDLES) -> CallArguments:
        """Return the arguments that a request carries.

        An argument that is absent and has a default is left out.

        :raises ConversionError: when a parameter is missing, a field unknown, or one stands for no
            value.
        """
        values = self._head.read(message, handles)
        return ((), values) if self._is_plain else self._place_arguments(values)

    def read_request_stream(
        self, first: Any, rest: Any, handles: Handles = NO_HANDLES
    ) -> CallArguments:
        """Return a call's arguments, the client's stream among them as an iterator.

        :param first: the first message, or None when there is none.
        :param rest: an iterator of the other messages, asynchronous or not.
        :raises ConversionError: as in :meth:`read_request`. Errors of later messages come from the
            iterator among the arguments.
        """
        first = self.request_class() if first is None else first
        values = self._head.read(first, handles)
        items = self._read_items(first, rest, handles)
        values[self._stream_part.python] = items
        return self._place_arguments(values)

    def _read_items(self, first: Any, rest: Any, handles: Handles) -> Any:
        if hasattr(rest, '__aiter__'):
            return self._read_items_async(first, rest, handles)
        items = self._read_items_sync(first, rest, handles)
        return _iterate_async(items) if self.is_async else items

    def _read_items_sync(self, first: Any, rest: Iterable[Any], handles: Handles) -> Iterator[Any]:
        part = self._stream_part
        item = part.field.read(part.wire_name, first, handles)
        if item is not NOTHING:
            yield item
        for message in rest:
            yield self._read_later_item(message, handles)

    async def _read_items_async(
        self, first: Any, rest: AsyncIterator[Any], handles: Handles
    ) -> AsyncIterator[Any]:
        for item in self._read_items_sync(first, (), handles):
            yield item
        async for message in rest:
            yield self._read_later_item(message, handles)

    def _read_later_item(self, message: Any, handles: Handles) -> Any:
        part = self._stream_part
        refuse_unknown_fields(message)
        item = part.field.read(part.wire_name, message, handles)
        if item is NOTHING:
            raise ConversionError('missing', part.wire_name)
        own = {plan.name for plan in part.plan_fields()}
        for field, _ in message.ListFields():
            if field.name not in own:
                raise ConversionError('only the first message of a stream carries it', field.name)
        return item

    @property
    def _stream_part(self) -> Part:
        if self.stream is None:
            raise TypeError(f'{self.rpc} has no stream of the client')
        return self.stream

    def _place_arguments(self, values: dict[str, Any]) -> CallArguments:
        """Return ``values`` as arguments, by position only if they must be."""
        if self.kind != 'call':
            return tuple(values.values()), {}
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        parameters = self.signature.parameters.values()
        extra = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        has_extra = bool(extra and values.get(extra))
        pending: list[Any] = []
        for parameter in parameters:
            name, kind = parameter.name, parameter.kind
            if kind is parameter.VAR_POSITIONAL:
                args += [*pending, *values[name]] if has_extra else []
            elif kind is parameter.VAR_KEYWORD:
                self._add_keywords(name, values.get(name, {}), kwargs)
            elif kind is parameter.POSITIONAL_ONLY or (kind is _NAMED[0] and has_extra):
                pending.append(values.get(name, parameter.default))
                if name in values:
                    args, pending = [*args, *pending], []
            elif name in values:
                kwargs[name] = values[name]
        return tuple(args), kwargs

    def _add_keywords(self, name: str, extra: Mapping[str, Any], kwargs: dict[str, Any]) -> None:
        for key, value in extra.items():
            parameter = self.signature.parameters.get(key)
            if parameter is not None and parameter.kind in _NAMED:
                raise ConversionError(f'{key!r} is a parameter of its own', name)
            kwargs[key] = value

    def write_response(self, value: Any, handles: Handles = NO_HANDLES) -> Any:
        """Return the response for a result or an item of a stream.

        :raises ResultConversionError: when the result does not fit its annotation.
        """
        try:
            if self._has_result:
                return self._response.write({RESULT: value}, handles)
            if value is not None:
                raise mismatch_error(value, 'None').under(RESULT)
            return self.response_class()
        except ConversionError as error:
            raise ResultConversionError(error.reason, error.path) from error

    # --- the client's side -----------------------------------------------------------------------

    def write_request(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        handles: Handles = NO_HANDLES,
    ) -> Any:
        """Return the request with these arguments, without items of the client's stream.

        :raises ConversionError: when an argument is missing or does not fit.
        :raises TypeError: when the signature does not take the arguments.
        """
        return self._write_head(self._bind(args, kwargs or {}), handles)

    def write_request_stream(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        handles: Handles = NO_HANDLES,
    ) -> Iterator[Any]:
        """Yield the messages of a client's stream.

        The first message has the other arguments, each later one has an item.

        :raises ConversionError: when an argument or item is missing or does not fit.
        """
        part = self._stream_part
        values = self._bind(args, kwargs or {})
        items = values.get(part.python, ())
        yield self._write_head(values, handles)
        for item in items:
            wire: dict[str, Any] = {}
            part.field.write(part.wire_name, item, wire, handles)
            yield self.request_class(**wire)

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.signature.bind(*args, **kwargs).arguments)

    def _write_head(self, values: dict[str, Any], handles: Handles) -> Any:
        others = {name: value for name, value in values.items() if not self._is_stream_name(name)}
        return self._head.write(others, handles)

    def _is_stream_name(self, name: str) -> bool:
        return self.stream is not None and self.stream.python == name

    def read_response(self, message: Any, handles: Handles = NO_HANDLES) -> Any:
        """Return the result that a response carries.

        :raises ConversionError: when the response stands for no value.
        """
        return self._response.read(message, handles).get(RESULT)


async def _iterate_async(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
