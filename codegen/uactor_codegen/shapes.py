"""Shapes as Python: the types of annotations, and the tables that the runtime reads."""

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
from uactor.service.codecs.messages import RecordCodec, TupleCodec, WrappedCodec
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.plan import Plan
from uactor.service.handles import HandleCodec
from uactor.service.model import EnumPlan

RUNTIME = '_runtime'
"""Name by which generated modules know the runtime."""

RUNTIME_FOLDER = 'runtime'
_JSON = {'any': 'typing.Any', 'object': 'dict[str, typing.Any]', 'array': 'list[typing.Any]'}


def _origin(slot: RepeatedField | MapField) -> str:
    """Return the class that stands for a container in annotations."""
    form = slot.kind, slot.accepts, slot.make
    for origin, known in CONTAINERS.items():
        if known == form:
            return named(origin)
    form = slot.kind, slot.accepts[0] if isinstance(slot, PairsField) else slot.accepts, slot.make
    return named(next(origin for origin, known in MAPPINGS.items() if known == form))


def named(class_: Any) -> str:
    """Return the name of a class of the standard library, with its module unless it is builtin."""
    module = 'pathlib' if class_.__module__.startswith('pathlib.') else class_.__module__
    return class_.__qualname__ if module == 'builtins' else f'{module}.{class_.__qualname__}'


def parts_of(item: Codec) -> list[Part]:
    """Return the parts of what is a message of the schema's own."""
    return item.proto.parts if isinstance(item.proto, MessagePlan) else []


def items_of(plan: Plan) -> list[Codec]:
    """Return the items that are types of the schema's own, each once."""
    found: dict[str, Codec] = {}

    def visit(items: Iterable[Codec]) -> None:
        for item in items:
            if isinstance(item.proto, (MessagePlan, EnumPlan)) and item.proto.name not in found:
                found[item.proto.name] = item
                visit(each for part in parts_of(item) for each in items_in(part.slot))

    for method in plan.methods:
        for part in (*method.request.parts, *method.response.parts):
            visit(items_in(part.slot))
    return list(found.values())


def items_in(slot: Field) -> list[Codec]:
    """Return the items that a slot can hold."""
    if isinstance(slot, OneofField):
        return list(slot.arms.values())
    if isinstance(slot, MapField):
        return [slot.keys, slot.item]
    return [slot.item] if isinstance(slot, (SingleField, RepeatedField)) else []


class Types:
    """Writes annotations.

    :param taken: names that mean something else where the annotations stand.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = taken

    def slot(self, slot: Field) -> str:
        """Return the annotation of a slot."""
        if isinstance(slot, OneofField):
            arms = list(dict.fromkeys(self.item(arm) for arm in slot.arms.values()))
            return ' | '.join([*arms, *(['None'] if slot.allows_none else [])])
        if isinstance(slot, PairsField):
            key, value = (self.slot(part.slot) for part in parts_of(slot.item))
            return self._container(slot, [key, value])
        if isinstance(slot, MapField):
            return self._container(slot, [self.item(slot.keys), self.item(slot.item)])
        if isinstance(slot, RepeatedField):
            more = [', ...'] if slot.kind == 'tuple_of_any_length' else []
            return self._container(slot, [''.join([self.item(slot.item), *more])])
        if isinstance(slot, SingleField):
            suffix = ' | None' if isinstance(slot, OptionalField) else ''
            return self.item(slot.item) + suffix
        raise TypeError(slot)

    def _container(self, slot: RepeatedField | MapField, arguments: list[str]) -> str:
        arguments = arguments[: 1 if slot.kind == 'counter' else None]
        return f'{self.name(_origin(slot))}[{", ".join(arguments)}]'

    def item(self, item: Codec) -> str:
        """Return the annotation of an item."""
        if isinstance(item, LiteralCodec):
            return self.name('typing.Literal') + str(list(item.members))
        if isinstance(item, (RecordCodec, EnumCodec)):
            return type_name(item)
        if isinstance(item, WrappedCodec):
            return self.slot(item.slot)
        if isinstance(item, TupleCodec):
            inner = ', '.join(self.slot(part.slot) for part in parts_of(item))
            return f'{self.name("tuple")}[{inner or "()"}]'
        if isinstance(item, JsonCodec):
            return self.json(item.label)
        if isinstance(item, HandleCodec):
            return self.name(f'{RUNTIME}.Handle')
        if isinstance(item, ArrayCodec):
            element = 'typing.Any' if item.dtype is None else f'numpy.{item.dtype.__name__}'
            return f'{self.name("numpy.typing.NDArray")}[{self.name(element)}]'
        return self.name(named(item.hint))

    def json(self, label: str) -> str:
        """Return the annotation of what JSON can say."""
        if label == 'any':
            return self.name('typing.Any')
        container, _, rest = _JSON[label].partition('[')
        return f'{self.name(container)}[{rest.replace("str", self.name("str"))}'.replace(
            'typing.Any', self.name('typing.Any')
        )

    def name(self, name: str) -> str:
        """Return a name as it is written where others are taken."""
        first = name.partition('.')[0]
        if first not in self._taken:
            return name
        if hasattr(builtins, first):
            return f'builtins.{name}'
        module, _, class_name = name.rpartition('.')
        return f'{hidden(module)}.{class_name}'


def hidden(module: str) -> str:
    """Return another name for a module, where its own is taken."""
    return f'_{module.replace(".", "_")}'


def type_name(item: Codec) -> str:
    """Return the name of the native type that a record or enum becomes."""
    assert isinstance(item.proto, (MessagePlan, EnumPlan))  # noqa: S101  # of the schema's own
    return item.proto.name


# --- tables --------------------------------------------------------------------------------------


def slot_table(slot: Field) -> str:
    """Return a slot as the runtime reads it."""
    if isinstance(slot, OneofField):
        kind = 'one_or_none' if slot.allows_none else 'one_of'
        return f'({kind!r}, {[_label(arm) for arm in slot.arms.values()]!r})'
    if isinstance(slot, PairsField):
        return f'("pairs", {_origin(slot)}, {_label(slot.item)!r})'
    if isinstance(slot, MapField):
        return f'("map", {_origin(slot)}, {_label(slot.keys)!r}, {_label(slot.item)!r})'
    if isinstance(slot, RepeatedField):
        return f'("many", {_origin(slot)}, {_label(slot.item)!r})'
    if isinstance(slot, OptionalField):
        return f'("maybe", {_label(slot.item)!r})'
    if isinstance(slot, SingleField):
        return repr(_label(slot.item))
    raise TypeError(slot)


def _label(item: Codec) -> str:
    if isinstance(item.proto, (MessagePlan, EnumPlan)):
        return item.proto.name
    if isinstance(item, ArrayCodec) and item.dtype is not None:
        return f'ndarray:{item.dtype.__name__}'
    return item.label


def parts_table(parts: Iterable[Part]) -> str:
    """Return the parts of a message as the runtime reads them."""
    rows = []
    for part in parts:
        default = f', {part.default!r}' if part.default else ''
        rows.append(f'({part.python!r}, {part.wire!r}, {slot_table(part.slot)}{default})')
    return f'[{", ".join(rows)}]'


def item_table(item: Codec) -> str:
    """Return what a type of the schema's own is made of, as the runtime reads it."""
    label = repr(item.label)
    if isinstance(item, LiteralCodec):
        return f'("literal", {label}, {list(item.members)!r})'
    if isinstance(item, EnumCodec):
        return f'("enum", {label}, {type_name(item)})'
    if isinstance(item, RecordCodec):
        is_dict = item.maker.class_ is None
        return f'("record", {label}, {type_name(item)}, {is_dict}, {parts_table(parts_of(item))})'
    if isinstance(item, TupleCodec):
        return f'("tuple", {label}, {parts_table(parts_of(item))})'
    if isinstance(item, WrappedCodec):
        return f'("wrapped", {label}, {slot_table(item.slot)})'
    raise TypeError(item)
