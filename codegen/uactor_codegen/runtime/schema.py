"""Builds a service's schema from the tables of a generated module."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from uactor.service.codecs.arrays import ArrayCodec
from uactor.service.codecs.base import (
    EXACT,
    NO_HANDLES,
    NOT,
    Codec,
    Handles,
    MessageCodec,
    mismatch_error,
)
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
from uactor.service.codecs.messages import Layout, Maker, ModelCodec, TupleCodec, WrapperCodec
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.scalars import (
    BigIntCodec,
    BytesCodec,
    FloatCodec,
    IntCodec,
    ScalarCodec,
    TextCodec,
)
from uactor.service.codecs.wellknown import (
    DurationCodec,
    ExternalMessages,
    TimestampCodec,
    create_string_codecs,
)
from uactor.service.errors import ConversionError
from uactor.service.model import EnumPlan, ValuePlan

DEFAULT: Any = NOTHING
"""Stands for an argument whose default the actor fills in."""

_RESULT = 'result'
_WIDTHS = ('int32', 'int64', 'uint32', 'uint64')
_FIXED = ('sint32', 'sint64', 'fixed32', 'fixed64', 'sfixed32', 'sfixed64')


@dataclasses.dataclass(frozen=True)
class Handle:
    """Names an object in an actor process; usable as an argument.

    :ivar id: the object, and the run of the actor process.
    :ivar address: the address of the actor process, as gRPC dials it.
    :ivar typeid: the kind of the object.
    :ivar repr: the repr of the object when the handle was made.
    :ivar methods: the methods that callers may call.
    :ivar service: the full name of the typed service of the object, if there is one.
    """

    id: str
    address: str = ''
    typeid: str = ''
    repr: str = ''
    methods: tuple[str, ...] = ()
    service: str = ''


class _HandleCodec(MessageCodec):
    """A handle, which stays a handle in the client."""

    hint = class_ = Handle
    label = key = 'handle'

    def __init__(self, externals: ExternalMessages) -> None:
        self.proto = externals.get('uactor.v1.Handle', 'uactor/v1/actor.proto')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message."""
        if not isinstance(value, Handle):
            raise mismatch_error(value, 'a Handle')
        return self.make(**dataclasses.asdict(value))

    def unpack(self, wire: Any, handles: Handles) -> Handle:
        """Return the handle."""
        fields = {field.name: getattr(wire, field.name) for field in dataclasses.fields(Handle)}
        return Handle(**{**fields, 'methods': tuple(wire.methods)})

    def match(self, value: Any) -> int:
        """Return the fit of the class."""
        return EXACT if isinstance(value, Handle) else NOT


def _create_plain_codecs(externals: ExternalMessages) -> dict[str, Codec]:
    """Return the codecs of the types that all schemas share, by label."""
    codecs: list[Codec] = [
        ScalarCodec(bool, 'bool'),
        FloatCodec(),
        FloatCodec('float'),
        TextCodec(),
        BigIntCodec(),
    ]
    codecs += [IntCodec(width) for width in (*_WIDTHS, *_FIXED)]
    codecs += [BytesCodec(class_) for class_ in (bytes, bytearray, memoryview)]
    codecs += [
        *create_string_codecs().values(),
        TimestampCodec(externals),
        DurationCodec(externals),
    ]
    codecs += [JsonCodec(externals, form) for form in ('Value', 'Struct', 'ListValue')]
    return {codec.label: codec for codec in [*codecs, _HandleCodec(externals)]}


class Rpc:
    """An RPC, which writes requests of arguments and reads results from responses.

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
        self._stream_part = next((part for part in request.parts if part.python == stream), None)

    def request(self, values: Mapping[str, Any]) -> Any:
        """Return the request with these arguments, without those that are :data:`DEFAULT`.

        :raises ConversionError: when an argument does not fit.
        """
        arguments = {name: value for name, value in values.items() if value is not DEFAULT}
        return self._head.write(arguments, NO_HANDLES)

    def item(self, value: Any) -> Any:
        """Return the request that carries one item of the client's stream.

        :raises ConversionError: when the item does not fit.
        """
        wire: dict[str, Any] = {}
        part = self._stream_part
        if part is not None:
            try:
                part.field.write(part.wire_name, value, wire, NO_HANDLES)
            except ConversionError as error:
                raise error.under(part.wire_name) from None
        return self._request.bound(**wire)

    def result(self, response: Any) -> Any:
        """Return the result that a response carries.

        :raises ConversionError: when the response stands for no value, as of a newer actor.
        """
        return self._response.read(response, NO_HANDLES).get(_RESULT)

    def bind(self, channel: Any) -> Any:
        """Return the callable that makes the call on a channel.

        The call is blocking or asynchronous, as the channel is.
        """
        make = getattr(channel, self._kind)
        to_bytes = self._request.bound.SerializeToString
        return make(self.path, to_bytes, self._response.message.bound.FromString)


class Schema:
    """The schema of one service.

    :param package: the package of the service.
    :param service: the name of the service in its package.
    :param files: a FileDescriptorSet with the file of the service, after the files that it imports.
    :param types: the tables of messages and enums, by name.
    :param rpcs: the tables of RPCs, by name: parameters, result, name of the streamed parameter,
        and whether the responses are a stream.
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
        self._codecs = _create_plain_codecs(self._externals)
        self._types = types
        for name, table in types.items():
            self._codecs[name] = self._declare_codec(name, table)
        for name, table in types.items():
            self._complete_codec(name, table)
        prefix = f'/{package}.{service}/'
        self.rpcs = {name: self._create_rpc(prefix + name, *table) for name, table in rpcs.items()}
        self._bind_externals()

    # --- messages --------------------------------------------------------------------------------

    def _find_class(self, name: str) -> Any:
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))

    def _plan_message(self, name: str) -> MessagePlan:
        return MessagePlan(name, name, name=name, bound=self._find_class(f'{self._package}.{name}'))

    def _bind_externals(self) -> None:
        for external in self._externals.all():
            try:
                external.bound = self._find_class(external.name)
            except KeyError:  # this schema does not use it
                continue

    # --- types -----------------------------------------------------------------------------------

    def _declare_codec(self, name: str, table: tuple[Any, ...]) -> Codec:
        """Return the codec of a type, without its parts.

        The parts may name types that are declared later.
        """
        kind, label, *rest = table
        if kind == 'model':
            model = ModelCodec(rest[0], self._plan_message(name), label, is_generic=False)
            model.maker = Maker(None, dict) if rest[1] else Maker(rest[0], rest[0])
            return model
        if kind == 'enum':
            return EnumCodec(rest[0], label, self._plan_enum(name), list(rest[0]))
        if kind == 'literal':
            return LiteralCodec(label, self._plan_enum(name), rest[0])
        if kind == 'tuple':
            return TupleCodec(self._plan_message(name), label)
        return WrapperCodec(OptionalField(TextCodec()), self._plan_message(name), label)

    def _plan_enum(self, name: str) -> EnumPlan:
        found = self._pool.FindEnumTypeByName(f'{self._package}.{name}')
        values = [ValuePlan(value.name, value.name, value.number) for value in found.values]
        return EnumPlan(name, name, '', values, name)

    def _complete_codec(self, name: str, table: tuple[Any, ...]) -> None:
        """Add the parts of a message, now that all types have codecs."""
        codec = self._codecs[name]
        if isinstance(codec, (ModelCodec, TupleCodec)):
            codec.message.parts = self._create_parts(table[-1])
        elif isinstance(codec, WrapperCodec):
            field = codec.field = self._create_field(table[-1])
            codec.message.parts = [Part(field.inner_name, field.inner_name, field)]

    def _create_parts(self, tables: Iterable[tuple[Any, ...]]) -> list[Part]:
        return [
            Part(python, wire_name, self._create_field(field), *default)
            for python, wire_name, field, *default in tables
        ]

    def _find_codec(self, label: str) -> Codec:
        if label in self._codecs:
            return self._codecs[label]
        _, _, dtype = label.partition(':')  # of an ndarray
        element = getattr(sys.modules['numpy'], dtype) if dtype else None
        self._codecs[label] = ArrayCodec(self._externals, None, element)
        return self._codecs[label]

    def _create_field(self, table: str | tuple[Any, ...]) -> Field:
        if isinstance(table, str):
            return SingleField(self._find_codec(table))
        kind, *rest = table
        if kind == 'optional':
            return OptionalField(self._find_codec(rest[0]))
        if kind == 'repeated':
            return RepeatedField(self._find_codec(rest[1]), *CONTAINERS[rest[0]])
        if kind == 'map':
            return MapField(
                self._find_codec(rest[1]), self._find_codec(rest[2]), *MAPPINGS[rest[0]]
            )
        if kind == 'pairs':
            return PairsField(self._find_codec(rest[1]), *MAPPINGS[rest[0]])
        return OneofField(
            [self._find_codec(label) for label in rest[0]], allows_none=kind == 'optional_oneof'
        )

    # --- RPCs ------------------------------------------------------------------------------------

    def _create_rpc(
        self,
        path: str,
        parts: Sequence[tuple[Any, ...]],
        result: str | tuple[Any, ...] | None,
        stream: str | None = None,
        server_streaming: bool = False,
    ) -> Rpc:
        method = self._pool.FindMethodByName(path[1:].replace('/', '.'))
        request = self._plan_message(method.input_type.name)
        response = self._plan_message(method.output_type.name)
        request.parts = self._create_parts(parts)
        if result is not None:
            response.parts = [Part(_RESULT, _RESULT, self._create_field(result))]
        return Rpc(path, request, response, stream, server_streaming)


__all__ = ['DEFAULT', 'ConversionError', 'Handle', 'Rpc', 'Schema']
