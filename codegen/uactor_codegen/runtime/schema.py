"""The schema of a service, made of the tables of a generated module."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from uactor.service.codecs.arrays import ArrayCodec
from uactor.service.codecs.base import EXACT, NO_HANDLES, NOT, Codec, Handles, MessageCodec, misfit
from uactor.service.codecs.containers import CONTAINERS, MAPPINGS
from uactor.service.codecs.enums import EnumCodec, LiteralCodec
from uactor.service.codecs.fields import (
    NOTHING,
    Field,
    MapField,
    OneofField,
    OptionalField,
    PairsField,
    RepeatedField,
    SingleField,
)
from uactor.service.codecs.json import JsonCodec
from uactor.service.codecs.messages import Layout, Maker, RecordCodec, TupleCodec, WrappedCodec
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.scalars import (
    BigIntCodec,
    BytesCodec,
    FloatCodec,
    IntCodec,
    ScalarCodec,
    TextCodec,
)
from uactor.service.codecs.wellknown import DurationCodec, ExternalMessages, TimestampCodec, written
from uactor.service.errors import ConversionError
from uactor.service.model import EnumPlan, ValuePlan

DEFAULT: Any = NOTHING
"""Stands for an argument that is left to the actor, which knows its default."""

_RESULT = 'result'
_WIDTHS = ('int32', 'int64', 'uint32', 'uint64')
_FIXED = ('sint32', 'sint64', 'fixed32', 'fixed64', 'sfixed32', 'sfixed64')


@dataclasses.dataclass(frozen=True)
class Handle:
    """Names an object that lives in an actor process; can be given back as an argument.

    :ivar id: names the object and the run of the actor process.
    :ivar address: where the actor process listens, as gRPC dials it.
    :ivar typeid: kind of the object.
    :ivar repr: repr of the object when the handle was made.
    :ivar methods: what may be called.
    :ivar service: full name of the typed service that reaches the object, if there is one.
    """

    id: str
    address: str = ''
    typeid: str = ''
    repr: str = ''
    methods: tuple[str, ...] = ()
    service: str = ''


class _HandleItem(MessageCodec):
    """A handle, as what it is."""

    hint = class_ = Handle
    label = key = 'handle'

    def __init__(self, externals: ExternalMessages) -> None:
        self.proto = externals.get('uactor.v1.Handle', 'uactor/v1/actor.proto')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message."""
        if not isinstance(value, Handle):
            raise misfit(value, 'a Handle')
        return self.make(**dataclasses.asdict(value))

    def unpack(self, wire: Any, handles: Handles) -> Handle:
        """Return the handle."""
        fields = {field.name: getattr(wire, field.name) for field in dataclasses.fields(Handle)}
        return Handle(**{**fields, 'methods': tuple(wire.methods)})

    def match(self, value: Any) -> int:
        """Go by the class."""
        return EXACT if isinstance(value, Handle) else NOT


def _plain_items(externals: ExternalMessages) -> dict[str, Codec]:
    """Return the items that are no types of the schema's own, by label."""
    items: list[Codec] = [
        ScalarCodec(bool, 'bool'),
        FloatCodec(),
        FloatCodec('float'),
        TextCodec(),
        BigIntCodec(),
    ]
    items += [IntCodec(width) for width in (*_WIDTHS, *_FIXED)]
    items += [BytesCodec(class_) for class_ in (bytes, bytearray, memoryview)]
    items += [*written().values(), TimestampCodec(externals), DurationCodec(externals)]
    items += [JsonCodec(externals, form) for form in ('Value', 'Struct', 'ListValue')]
    return {item.label: item for item in [*items, _HandleItem(externals)]}


class Rpc:
    """An RPC: how arguments become requests, and responses results.

    :ivar path: its full name, as gRPC has it.
    :ivar server_streaming: whether the responses are a stream.
    """

    def __init__(
        self,
        path: str,
        request: MessagePlan,
        response: MessagePlan,
        stream: str | None,
        server_streaming: bool,
    ) -> None:
        self.path = path
        self.server_streaming = server_streaming
        sides = (stream is not None, server_streaming)
        self._kind = '_'.join('stream' if streams else 'unary' for streams in sides)
        self._request, self._response = request, Layout(response)
        self._head = Layout(request, [part for part in request.parts if part.python != stream])
        self._streamed = next((part for part in request.parts if part.python == stream), None)

    def request(self, values: Mapping[str, Any]) -> Any:
        """Return the request with these arguments, without those that are left to the actor.

        :raises ConversionError: when one does not fit.
        """
        given = {name: value for name, value in values.items() if value is not DEFAULT}
        return self._head.write(given, NO_HANDLES)

    def item(self, value: Any) -> Any:
        """Return the request that carries one item of the client's stream.

        :raises ConversionError: when it does not fit.
        """
        wire: dict[str, Any] = {}
        part = self._streamed
        if part is not None:
            try:
                part.slot.write(part.wire, value, wire, NO_HANDLES)
            except ConversionError as error:
                raise error.under(part.wire) from None
        return self._request.bound(**wire)

    def result(self, response: Any) -> Any:
        """Return the result that a response carries.

        :raises ConversionError: when it stands for no value, as when the actor has a newer schema.
        """
        return self._response.read(response, NO_HANDLES).get(_RESULT)

    def callable(self, channel: Any) -> Any:
        """Return what makes the call on a channel of either kind."""
        make = getattr(channel, self._kind)
        to_bytes = self._request.bound.SerializeToString
        return make(self.path, to_bytes, self._response.message.bound.FromString)


class Schema:
    """The schema of one service.

    :param package: its package.
    :param service: its name in it.
    :param files: a FileDescriptorSet with its file, and those that this needs.
    :param types: messages and enums by name, as the generator describes them.
    :param rpcs: the RPCs by name: parameters, result, name of the streamed parameter, and
        whether the responses are a stream.
    """

    def __init__(
        self,
        package: str,
        service: str,
        files: bytes,
        types: Mapping[str, tuple[Any, ...]],
        rpcs: Mapping[str, tuple[Any, ...]],
    ) -> None:
        self._package = package
        self._pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(files).file:
            self._pool.Add(file)  # type: ignore[no-untyped-call,unused-ignore]
        self._externals = ExternalMessages()
        self._items = _plain_items(self._externals)
        self._types = types
        for name, spec in types.items():
            self._items[name] = self._declared(name, spec)
        for name, spec in types.items():
            self._complete(name, spec)
        prefix = f'/{package}.{service}/'
        self.rpcs = {name: self._rpc(prefix + name, *spec) for name, spec in rpcs.items()}
        self._bind_externals()

    # --- messages --------------------------------------------------------------------------------

    def _class(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))

    def _message(self, name: str) -> MessagePlan:
        return MessagePlan(name, name, name=name, bound=self._class(f'{self._package}.{name}'))

    def _bind_externals(self) -> None:
        for external in self._externals.all():
            try:
                external.bound = self._class(external.name)
            except KeyError:  # nothing in this schema needs it
                continue

    # --- types -----------------------------------------------------------------------------------

    def _declared(self, name: str, spec: tuple[Any, ...]) -> Codec:
        """Return the item of a type, still without what it is made of."""
        kind, label, *rest = spec
        if kind == 'record':
            record = RecordCodec(rest[0], self._message(name), label, is_generic=False)
            record.maker = Maker(None, dict) if rest[1] else Maker(rest[0], rest[0])
            return record
        if kind == 'enum':
            return EnumCodec(rest[0], label, self._enum(name), list(rest[0]))
        if kind == 'literal':
            return LiteralCodec(label, self._enum(name), rest[0])
        if kind == 'tuple':
            return TupleCodec(self._message(name), label)
        return WrappedCodec(OptionalField(TextCodec()), self._message(name), label)

    def _enum(self, name: str) -> EnumPlan:
        found = self._pool.FindEnumTypeByName(f'{self._package}.{name}')
        values = [ValuePlan(value.name, value.name, value.number) for value in found.values]
        return EnumPlan(name, name, '', values, name)

    def _complete(self, name: str, spec: tuple[Any, ...]) -> None:
        """Say what a message is made of, now that there are all types."""
        item = self._items[name]
        if isinstance(item, (RecordCodec, TupleCodec)) and isinstance(item.proto, MessagePlan):
            item.proto.parts = self._parts(spec[-1])
        elif isinstance(item, WrappedCodec) and isinstance(item.proto, MessagePlan):
            item.slot = self._slot(spec[-1])
            item.proto.parts = [Part(item.slot.inner, item.slot.inner, item.slot)]

    def _parts(self, specs: Iterable[tuple[Any, ...]]) -> list[Part]:
        return [
            Part(python, wire, self._slot(slot), *default) for python, wire, slot, *default in specs
        ]

    def _item(self, label: str) -> Codec:
        if label in self._items:
            return self._items[label]
        _, _, dtype = label.partition(':')  # of an ndarray
        element = getattr(sys.modules['numpy'], dtype) if dtype else None
        self._items[label] = ArrayCodec(self._externals, None, element)
        return self._items[label]

    def _slot(self, spec: str | tuple[Any, ...]) -> Field:
        if isinstance(spec, str):
            return SingleField(self._item(spec))
        kind, *rest = spec
        if kind == 'maybe':
            return OptionalField(self._item(rest[0]))
        if kind == 'many':
            return RepeatedField(self._item(rest[1]), *CONTAINERS[rest[0]])
        if kind == 'map':
            return MapField(self._item(rest[1]), self._item(rest[2]), *MAPPINGS[rest[0]])
        if kind == 'pairs':
            return PairsField(self._item(rest[1]), *MAPPINGS[rest[0]])
        return OneofField(
            [self._item(label) for label in rest[0]], allows_none=kind == 'one_or_none'
        )

    # --- RPCs ------------------------------------------------------------------------------------

    def _rpc(
        self,
        path: str,
        parts: Sequence[tuple[Any, ...]],
        result: str | tuple[Any, ...] | None,
        stream: str | None = None,
        server_streaming: bool = False,
    ) -> Rpc:
        method = self._pool.FindMethodByName(path[1:].replace('/', '.'))
        request = self._message(method.input_type.name)
        response = self._message(method.output_type.name)
        request.parts = self._parts(parts)
        if result is not None:
            response.parts = [Part(_RESULT, _RESULT, self._slot(result))]
        return Rpc(path, request, response, stream, server_streaming)


__all__ = ['DEFAULT', 'ConversionError', 'Handle', 'Rpc', 'Schema']
