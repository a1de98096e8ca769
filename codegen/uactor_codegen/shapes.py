"""Shapes as Python: the types of annotations, and the tables that the runtime reads."""

from __future__ import annotations

import builtins
from collections.abc import Collection, Iterable
from typing import Any

from uactor.service.codecs.arrays import Array
from uactor.service.codecs.base import Item
from uactor.service.codecs.containers import CONTAINERS, MAPPINGS
from uactor.service.codecs.enums import EnumItem, LiteralItem
from uactor.service.codecs.fields import Choice, Many, Map, Maybe, One, Pairs, Slot
from uactor.service.codecs.json import Json
from uactor.service.codecs.messages import Record, Tuple, Wrapped
from uactor.service.handles import Shared
from uactor.service.model import EnumPlan, MessagePlan, Part, Plan

RUNTIME = '_runtime'
"""Name by which generated modules know the runtime."""

RUNTIME_FOLDER = 'runtime'
_JSON = {'any': 'typing.Any', 'object': 'dict[str, typing.Any]', 'array': 'list[typing.Any]'}


def _origin(slot: Many | Map) -> str:
    """Return the class that stands for a container in annotations."""
    form = slot.kind, slot.accepts, slot.make
    for origin, known in CONTAINERS.items():
        if known == form:
            return named(origin)
    form = slot.kind, slot.accepts[0] if isinstance(slot, Pairs) else slot.accepts, slot.make
    return named(next(origin for origin, known in MAPPINGS.items() if known == form))


def named(class_: Any) -> str:
    """Return the name of a class of the standard library, with its module unless it is builtin."""
    module = 'pathlib' if class_.__module__.startswith('pathlib.') else class_.__module__
    return class_.__qualname__ if module == 'builtins' else f'{module}.{class_.__qualname__}'


def parts_of(item: Item) -> list[Part]:
    """Return the parts of what is a message of the schema's own."""
    return item.proto.parts if isinstance(item.proto, MessagePlan) else []


def items_of(plan: Plan) -> list[Item]:
    """Return the items that are types of the schema's own, each once."""
    found: dict[str, Item] = {}

    def visit(items: Iterable[Item]) -> None:
        for item in items:
            if isinstance(item.proto, (MessagePlan, EnumPlan)) and item.proto.name not in found:
                found[item.proto.name] = item
                visit(each for part in parts_of(item) for each in items_in(part.slot))

    for method in plan.methods:
        for part in (*method.request.parts, *method.response.parts):
            visit(items_in(part.slot))
    return list(found.values())


def items_in(slot: Slot) -> list[Item]:
    """Return the items that a slot can hold."""
    if isinstance(slot, Choice):
        return list(slot.arms.values())
    if isinstance(slot, Map):
        return [slot.keys, slot.item]
    return [slot.item] if isinstance(slot, (One, Many)) else []


class Types:
    """Writes annotations.

    :param taken: names that mean something else where the annotations stand.
    """

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = taken

    def slot(self, slot: Slot) -> str:
        """Return the annotation of a slot."""
        if isinstance(slot, Choice):
            arms = list(dict.fromkeys(self.item(arm) for arm in slot.arms.values()))
            return ' | '.join([*arms, *(['None'] if slot.allows_none else [])])
        if isinstance(slot, Pairs):
            key, value = (self.slot(part.slot) for part in parts_of(slot.item))
            return self._container(slot, [key, value])
        if isinstance(slot, Map):
            return self._container(slot, [self.item(slot.keys), self.item(slot.item)])
        if isinstance(slot, Many):
            more = [', ...'] if slot.kind == 'tuple_of_any_length' else []
            return self._container(slot, [''.join([self.item(slot.item), *more])])
        if isinstance(slot, One):
            suffix = ' | None' if isinstance(slot, Maybe) else ''
            return self.item(slot.item) + suffix
        raise TypeError(slot)

    def _container(self, slot: Many | Map, arguments: list[str]) -> str:
        arguments = arguments[: 1 if slot.kind == 'counter' else None]
        return f'{self.name(_origin(slot))}[{", ".join(arguments)}]'

    def item(self, item: Item) -> str:
        """Return the annotation of an item."""
        if isinstance(item, LiteralItem):
            return self.name('typing.Literal') + str(list(item.members))
        if isinstance(item, (Record, EnumItem)):
            return type_name(item)
        if isinstance(item, Wrapped):
            return self.slot(item.slot)
        if isinstance(item, Tuple):
            inner = ', '.join(self.slot(part.slot) for part in parts_of(item))
            return f'{self.name("tuple")}[{inner or "()"}]'
        if isinstance(item, Json):
            return self.json(item.label)
        if isinstance(item, Shared):
            return self.name(f'{RUNTIME}.Handle')
        if isinstance(item, Array):
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


def type_name(item: Item) -> str:
    """Return the name of the native type that a record or enum becomes."""
    assert isinstance(item.proto, (MessagePlan, EnumPlan))  # noqa: S101  # of the schema's own
    return item.proto.name


# --- tables --------------------------------------------------------------------------------------


def slot_table(slot: Slot) -> str:
    """Return a slot as the runtime reads it."""
    if isinstance(slot, Choice):
        kind = 'one_or_none' if slot.allows_none else 'one_of'
        return f'({kind!r}, {[_label(arm) for arm in slot.arms.values()]!r})'
    if isinstance(slot, Pairs):
        return f'("pairs", {_origin(slot)}, {_label(slot.item)!r})'
    if isinstance(slot, Map):
        return f'("map", {_origin(slot)}, {_label(slot.keys)!r}, {_label(slot.item)!r})'
    if isinstance(slot, Many):
        return f'("many", {_origin(slot)}, {_label(slot.item)!r})'
    if isinstance(slot, Maybe):
        return f'("maybe", {_label(slot.item)!r})'
    if isinstance(slot, One):
        return repr(_label(slot.item))
    raise TypeError(slot)


def _label(item: Item) -> str:
    if isinstance(item.proto, (MessagePlan, EnumPlan)):
        return item.proto.name
    if isinstance(item, Array) and item.dtype is not None:
        return f'ndarray:{item.dtype.__name__}'
    return item.label


def parts_table(parts: Iterable[Part]) -> str:
    """Return the parts of a message as the runtime reads them."""
    rows = []
    for part in parts:
        default = f', {part.default!r}' if part.default else ''
        rows.append(f'({part.python!r}, {part.wire!r}, {slot_table(part.slot)}{default})')
    return f'[{", ".join(rows)}]'


def item_table(item: Item) -> str:
    """Return what a type of the schema's own is made of, as the runtime reads it."""
    label = repr(item.label)
    if isinstance(item, LiteralItem):
        return f'("literal", {label}, {list(item.members)!r})'
    if isinstance(item, EnumItem):
        return f'("enum", {label}, {type_name(item)})'
    if isinstance(item, Record):
        is_dict = item.maker.class_ is None
        return f'("record", {label}, {type_name(item)}, {is_dict}, {parts_table(parts_of(item))})'
    if isinstance(item, Tuple):
        return f'("tuple", {label}, {parts_table(parts_of(item))})'
    if isinstance(item, Wrapped):
        return f'("wrapped", {label}, {slot_table(item.slot)})'
    raise TypeError(item)
