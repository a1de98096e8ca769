"""Writes the tables of generated modules, from which the runtime builds codecs."""

from __future__ import annotations

from collections.abc import Iterable

from uactor.service.codecs.arrays import ArrayCodec
from uactor.service.codecs.base import Codec
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
from uactor.service.codecs.messages import ModelCodec, TupleCodec, WrapperCodec
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.model import EnumPlan
from uactor_codegen.annotations import container_name, parts_of, type_name


def field_table(field: Field) -> str:
    """Return the table of a field."""
    if isinstance(field, OneofField):
        kind = 'optional_oneof' if field.allows_none else 'oneof'
        return f'({kind!r}, {[_label(arm) for arm in field.arms.values()]!r})'
    if isinstance(field, PairsField):
        return f'("pairs", {container_name(field)}, {_label(field.codec)!r})'
    if isinstance(field, MapField):
        key, value = _label(field.key_codec), _label(field.value_codec)
        return f'("map", {container_name(field)}, {key!r}, {value!r})'
    if isinstance(field, RepeatedField):
        return f'("repeated", {container_name(field)}, {_label(field.codec)!r})'
    if isinstance(field, OptionalField):
        return f'("optional", {_label(field.codec)!r})'
    if isinstance(field, SingleField):
        return repr(_label(field.codec))
    raise TypeError(field)


def _label(codec: Codec) -> str:
    if isinstance(codec.proto, (MessagePlan, EnumPlan)):
        return codec.proto.name
    if isinstance(codec, ArrayCodec) and codec.dtype is not None:
        return f'ndarray:{codec.dtype.__name__}'
    return codec.label


def parts_table(parts: Iterable[Part]) -> str:
    """Return the table of the parts of a message."""
    rows = []
    for part in parts:
        default = f', {part.default!r}' if part.default else ''
        rows.append(f'({part.python!r}, {part.wire_name!r}, {field_table(part.field)}{default})')
    return f'[{", ".join(rows)}]'


def codec_table(codec: Codec) -> str:
    """Return the table of a codec whose type the schema defines."""
    label = repr(codec.label)
    if isinstance(codec, LiteralCodec):
        return f'("literal", {label}, {list(codec.members)!r})'
    if isinstance(codec, EnumCodec):
        return f'("enum", {label}, {type_name(codec)})'
    if isinstance(codec, ModelCodec):
        is_dict = codec.maker.class_ is None
        return f'("model", {label}, {type_name(codec)}, {is_dict}, {parts_table(parts_of(codec))})'
    if isinstance(codec, TupleCodec):
        return f'("tuple", {label}, {parts_table(parts_of(codec))})'
    if isinstance(codec, WrapperCodec):
        return f'("wrapper", {label}, {field_table(codec.field)})'
    raise TypeError(codec)
