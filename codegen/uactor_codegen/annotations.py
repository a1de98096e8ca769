"""Writes the annotations of generated Python."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable
from typing import Any

from uactor.service.codecs.arrays import ArrayCodec
from uactor.service.codecs.base import Codec
from uactor.service.codecs.containers import CONTAINERS, MAPPINGS
from uactor.service.codecs.enums import EnumCodec, LiteralCodec
from uactor.service.codecs.fields import (
    Field,
    MapField,
    OneofField,
    OptionalField,
    PairsField,
    RepeatedField,
    SingleField,
)
from uactor.service.codecs.json import JsonCodec
from uactor.service.codecs.messages import ModelCodec, TupleCodec, WrapperCodec
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.plan import Plan
from uactor.service.handles import HandleCodec
from uactor.service.model import EnumPlan

RUNTIME = '_runtime'
"""The name that generated modules have for the runtime."""

RUNTIME_FOLDER = 'runtime'
_JSON = {'any': 'typing.Any', 'object': 'dict[str, typing.Any]', 'array': 'list[typing.Any]'}

# --- the codecs of a plan ------------------------------------------------------------------------


def parts_of(codec: Codec) -> list[Part]:
    """Return the parts of the codec's message, if the schema defines it."""
    return codec.proto.parts if isinstance(codec.proto, MessagePlan) else []


def collect_codecs(plan: Plan) -> list[Codec]:
    """Return the codecs of the schema's own messages and enums."""
    found: dict[str, Codec] = {}

    def visit(codecs: Iterable[Codec]) -> None:
        for codec in codecs:
            if isinstance(codec.proto, (MessagePlan, EnumPlan)) and codec.proto.name not in found:
                found[codec.proto.name] = codec
                visit(each for part in parts_of(codec) for each in codecs_in(part.field))

    for method in plan.methods:
        for part in (*method.request.parts, *method.response.parts):
            visit(codecs_in(part.field))
    return list(found.values())


def codecs_in(field: Field) -> list[Codec]:
    """Return the codecs of the values that a field can hold."""
    if isinstance(field, OneofField):
        return list(field.arms.values())
    if isinstance(field, MapField):
        return [field.key_codec, field.value_codec]
    return [field.codec] if isinstance(field, (SingleField, RepeatedField)) else []


# --- names ---------------------------------------------------------------------------------------


def container_name(field: RepeatedField | MapField) -> str:
    """Return the name of the container that annotations have for a field."""
    form = field.kind, field.accepts, field.make
    for origin, known in CONTAINERS.items():
        if known == form:
            return qualified_name(origin)
    accepts = field.accepts[0] if isinstance(field, PairsField) else field.accepts
    form = field.kind, accepts, field.make
    return qualified_name(next(origin for origin, known in MAPPINGS.items() if known == form))


def qualified_name(class_: Any) -> str:
    """Return the name of a standard class, qualified unless it is builtin."""
    module = 'pathlib' if class_.__module__.startswith('pathlib.') else class_.__module__
    return class_.__qualname__ if module == 'builtins' else f'{module}.{class_.__qualname__}'


def private_alias(module: str) -> str:
    """Return the alias of a module whose own name is taken."""
    return f'_{module.replace(".", "_")}'


def type_name(codec: Codec) -> str:
    """Return the name of the generated class for a model or enum."""
    assert isinstance(codec.proto, (MessagePlan, EnumPlan))  # noqa: S101  # of the schema's own
    return codec.proto.name


# --- annotations ---------------------------------------------------------------------------------


class AnnotationWriter:
    """Writes annotations.

    :param taken: the names that mean something else where the annotations stand.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = taken

    def write_field(self, field: Field) -> str:
        """Return the annotation of a field."""
        if isinstance(field, OneofField):
            arms = list(dict.fromkeys(self.write_codec(arm) for arm in field.arms.values()))
            return ' | '.join([*arms, *(['None'] if field.allows_none else [])])
        if isinstance(field, PairsField):
            key, value = (self.write_field(part.field) for part in parts_of(field.codec))
            return self._write_container(field, [key, value])
        if isinstance(field, MapField):
            codecs = field.key_codec, field.value_codec
            return self._write_container(field, [self.write_codec(codec) for codec in codecs])
        if isinstance(field, RepeatedField):
            more = [', ...'] if field.kind == 'tuple_of_any_length' else []
            return self._write_container(field, [''.join([self.write_codec(field.codec), *more])])
        if isinstance(field, SingleField):
            suffix = ' | None' if isinstance(field, OptionalField) else ''
            return self.write_codec(field.codec) + suffix
        raise TypeError(field)

    def _write_container(self, field: RepeatedField | MapField, arguments: list[str]) -> str:
        arguments = arguments[: 1 if field.kind == 'counter' else None]
        return f'{self.write_name(container_name(field))}[{", ".join(arguments)}]'

    def write_codec(self, codec: Codec) -> str:
        """Return the annotation of a single value."""
        if isinstance(codec, LiteralCodec):
            return self.write_name('typing.Literal') + str(list(codec.members))
        if isinstance(codec, (ModelCodec, EnumCodec)):
            return type_name(codec)
        if isinstance(codec, WrapperCodec):
            return self.write_field(codec.field)
        if isinstance(codec, TupleCodec):
            elements = ', '.join(self.write_field(part.field) for part in parts_of(codec))
            return f'{self.write_name("tuple")}[{elements or "()"}]'
        if isinstance(codec, JsonCodec):
            return self._write_json(codec.label)
        if isinstance(codec, HandleCodec):
            return self.write_name(f'{RUNTIME}.Handle')
        if isinstance(codec, ArrayCodec):
            element = 'typing.Any' if codec.dtype is None else f'numpy.{codec.dtype.__name__}'
            return f'{self.write_name("numpy.typing.NDArray")}[{self.write_name(element)}]'
        return self.write_name(qualified_name(codec.hint))

    def _write_json(self, label: str) -> str:
        if label == 'any':
            return self.write_name('typing.Any')
        container, _, rest = _JSON[label].partition('[')
        return (
            f'{self.write_name(container)}[{rest.replace("str", self.write_name("str"))}'.replace(
                'typing.Any', self.write_name('typing.Any')
            )
        )

    def write_name(self, name: str) -> str:
        """Return a name in a form whose first part is not taken."""
        first = name.partition('.')[0]
        if first not in self._taken:
            return name
        if hasattr(builtins, first):
            return f'builtins.{name}'
        module, _, class_name = name.rpartition('.')
        return f'{private_alias(module)}.{class_name}'
