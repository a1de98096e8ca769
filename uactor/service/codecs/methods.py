"""Methods of a typed service: how calls are read from requests, and results written."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from uactor.service.codecs.base import NO_HANDLES, Handles, misfit
from uactor.service.codecs.fields import NOTHING
from uactor.service.codecs.messages import Layout, check_known
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.errors import ConversionError, ResultConversionError
from uactor.service.model import Kind

RESULT = 'result'
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Positional and keyword arguments."""


@dataclasses.dataclass(eq=False)
class ServiceMethod:
    """An RPC, and the member of the class behind it.

    :ivar rpc: name of the RPC.
    :ivar member: name of the method or attribute.
    :ivar kind: whether the member is called, read, or written.
    :ivar doc: docstring of the member.
    :ivar signature: parameters without ``self``, annotations resolved.
    :ivar request: plan of the request.
    :ivar response: plan of the response.
    :ivar stream: the parameter that is a stream of the client.
    :ivar server_streaming: whether the result is an iterator, and each item a response.
    :ivar is_async: whether what the client streams is an asynchronous iterator.
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
        """Whether the client sends a stream."""
        return self.stream is not None

    @property
    def request_class(self) -> Any:
        """Class of the requests."""
        return self.request.bound

    @property
    def response_class(self) -> Any:
        """Class of the responses."""
        return self.response.bound

    # --- the side of the actor -------------------------------------------------------------------

    def read_request(self, message: Any, handles: Handles = NO_HANDLES) -> Call:
        """Return the arguments that a request carries; those left to their default are left out.

        :raises ConversionError: when one is missing, unknown, or stands for no value.
        """
        values = self._head.read(message, handles)
        return ((), values) if self._is_plain else self._arguments(values)

    def read_request_stream(self, first: Any, rest: Any, handles: Handles = NO_HANDLES) -> Call:
        """Return the arguments of a call whose client streams.

        :param first: the first message, or None when there is none.
        :param rest: the others, as an iterator; asynchronous or not.
        :raises ConversionError: as in :meth:`read_request`; later ones come from the iterator that
            is among the arguments.
        """
        first = self.request_class() if first is None else first
        values = self._head.read(first, handles)
        items = self._items(first, rest, handles)
        values[self._streamed.python] = items
        return self._arguments(values)

    def _items(self, first: Any, rest: Any, handles: Handles) -> Any:
        if hasattr(rest, '__aiter__'):
            return self._async_items(first, rest, handles)
        items = self._sync_items(first, rest, handles)
        return _as_async(items) if self.is_async else items

    def _sync_items(self, first: Any, rest: Iterable[Any], handles: Handles) -> Iterator[Any]:
        part = self._streamed
        item = part.slot.read(part.wire, first, handles)
        if item is not NOTHING:
            yield item
        for message in rest:
            yield self._later_item(message, handles)

    async def _async_items(
        self, first: Any, rest: AsyncIterator[Any], handles: Handles
    ) -> AsyncIterator[Any]:
        for item in self._sync_items(first, (), handles):
            yield item
        async for message in rest:
            yield self._later_item(message, handles)

    def _later_item(self, message: Any, handles: Handles) -> Any:
        part = self._streamed
        check_known(message)
        item = part.slot.read(part.wire, message, handles)
        if item is NOTHING:
            raise ConversionError('missing', part.wire)
        mine = {field.name for field in part.fields()}
        for field, _ in message.ListFields():
            if field.name not in mine:
                raise ConversionError('only the first message of a stream carries it', field.name)
        return item

    @property
    def _streamed(self) -> Part:
        if self.stream is None:
            raise TypeError(f'{self.rpc} has no stream of the client')
        return self.stream

    def _arguments(self, values: dict[str, Any]) -> Call:
        """Return ``values`` as arguments: by position where they must be, else by name."""
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
        """Return the response for a result, or for one item of it when it is a stream.

        :raises ResultConversionError: when it does not fit the annotation.
        """
        try:
            if self._has_result:
                return self._response.write({RESULT: value}, handles)
            if value is not None:
                raise misfit(value, 'None').under(RESULT)
            return self.response_class()
        except ConversionError as error:
            raise ResultConversionError(error.reason, error.path) from error

    # --- the side of the client ------------------------------------------------------------------

    def write_request(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        handles: Handles = NO_HANDLES,
    ) -> Any:
        """Return the request with these arguments; of a stream its first message, without an item.

        :raises ConversionError: when one is missing or does not fit.
        :raises TypeError: when the signature does not take them.
        """
        return self._write(self._bound(args, kwargs or {}), handles)

    def write_request_stream(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        handles: Handles = NO_HANDLES,
    ) -> Iterator[Any]:
        """Yield the messages of a stream: the first has the other arguments, each other an item.

        :raises ConversionError: when one is missing or does not fit.
        """
        part = self._streamed
        values = self._bound(args, kwargs or {})
        items = values.get(part.python, ())
        yield self._write(values, handles)
        for item in items:
            wire: dict[str, Any] = {}
            part.slot.write(part.wire, item, wire, handles)
            yield self.request_class(**wire)

    def _bound(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.signature.bind(*args, **kwargs).arguments)

    def _write(self, values: dict[str, Any], handles: Handles) -> Any:
        others = {name: value for name, value in values.items() if not self._is_stream(name)}
        return self._head.write(others, handles)

    def _is_stream(self, name: str) -> bool:
        return self.stream is not None and self.stream.python == name

    def read_response(self, message: Any, handles: Handles = NO_HANDLES) -> Any:
        """Return the result that a response carries.

        :raises ConversionError: when it stands for no value.
        """
        return self._response.read(message, handles).get(RESULT)


async def _as_async(items: Iterator[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item
