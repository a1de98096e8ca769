"""Annotation → shape: the mapping table of the typed service."""

from __future__ import annotations

import collections
import collections.abc as abc
import enum
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_origin

from uactor.service.codecs import arrays, wellknown
from uactor.service.codecs.base import Codec
from uactor.service.codecs.containers import CONTAINERS, MAPPINGS
from uactor.service.codecs.enums import EnumCodec, LiteralCodec, check_values, enum_plan
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
from uactor.service.codecs.part import MessagePlan, Part, check_names
from uactor.service.codecs.scalars import (
    BigIntCodec,
    BytesCodec,
    FloatCodec,
    IntCodec,
    ScalarCodec,
    TextCodec,
)
from uactor.service.errors import UnsupportedTypeError
from uactor.service.handles import HandleCodec
from uactor.service.mapping import hints, models
from uactor.service.mapping.markers import Digits, Pin, Renamed, Width
from uactor.service.naming import pascal, snake

_MAP_KEYS = (
    'bool',
    'string',
    *('int32', 'int64', 'uint32', 'uint64', 'sint32', 'sint64'),
    *('fixed32', 'fixed64', 'sfixed32', 'sfixed64'),
)


class TypeReader:
    """Makes shapes of annotations, for one schema: a class becomes the same message each time."""

    def __init__(self, actor_class: type) -> None:
        self.externals = wellknown.ExternalMessages()
        self._selves: list[Any] = [actor_class]
        self._items: dict[Any, Codec] = {}
        self._messages: dict[str, Codec] = {}
        self._aliases: list[Any] = []
        scalars: list[Codec] = [ScalarCodec(bool, 'bool'), IntCodec(), FloatCodec(), TextCodec()]
        scalars += [BytesCodec(class_) for class_ in (bytes, bytearray, memoryview)]
        self._scalars: dict[Any, Codec] = {item.hint: item for item in scalars}
        self._scalars |= wellknown.written()
        for item in (
            wellknown.TimestampCodec(self.externals),
            wellknown.DurationCodec(self.externals),
        ):
            self._scalars[item.hint] = item

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Forget what was made meanwhile, if it fails: it may be half done."""
        items, messages = dict(self._items), dict(self._messages)
        try:
            yield
        except Exception:
            self._items, self._messages = items, messages
            self._aliases.clear()
            del self._selves[1:]
            raise

    # --- slots -----------------------------------------------------------------------------------

    def part(self, name: str, hint: Any, where: str, default: Any = ...) -> Part:
        """Return the part of a message that a parameter or field is.

        :param where: what names of enums and unions in it begin with.
        :param default: its default, ``...`` for none, None too where it is not known.
        """
        hint, pin, old = hints.placement(hint)
        if default is None and not hints.allows_none(hint):
            hint = typing.Optional[hint]  # noqa: UP045  # of a hint that is no type, too
        stem = pascal(old or name)
        slot = self.slot(hint, where + stem)
        has_default = default is not ...
        if has_default and not _says_default(slot, default):
            slot = SingleField(self.wrapped(slot, where + stem))
        if pin is not None and isinstance(slot, OneofField):
            raise UnsupportedTypeError('a union has several fields, and so a pin can not number it')
        absent: Any = (
            ('omitted' if default is models.OMITTED else 'default') if has_default else None
        )
        return Part(name, snake(name), slot, absent, pin, old and snake(old))

    def presence(self, slot: Field, where: str) -> Field:
        """Return a slot that can tell its value from none at all."""
        return slot if not _tells_absence(slot) else SingleField(self.wrapped(slot, where))

    def slot(self, hint: Any, where: str) -> Field:
        """Return the shape of an annotation.

        :raises UnsupportedTypeError: when there is none that loses nothing.
        """
        hint, _, marks = hints.without_qualifiers(hint)
        if any(isinstance(mark, (Pin, Renamed)) for mark in marks):
            raise UnsupportedTypeError(
                'field() and renamed_from() belong around the whole annotation'
            )
        if hints.is_alias(hint):
            return self._alias(hint, where)
        if hasattr(hint, '__supertype__'):
            return self.slot(hint.__supertype__, where)
        marks = [mark for mark in marks if isinstance(mark, (Width, Digits))]
        if marks:
            return SingleField(_number(hint, marks))
        if hints.is_union(hint):
            return self._union(hint, where)
        if typing.get_origin(hint) is typing.Literal and None in get_args(hint):
            return self._optional_literal(hint, where)
        return self._container(hint, where) or SingleField(self._item(hint, where))

    def item(self, hint: Any, where: str) -> Codec:
        """Return the shape of an annotation where only an item can stand."""
        slot = self.slot(hint, where)
        return slot.item if type(slot) is SingleField else self.wrapped(slot, where)

    def wrapped(self, slot: Field, where: str) -> Codec:
        """Return a message around a slot; one for all uses, but of a union, which may grow."""
        key, wanted = slot.key, pascal(slot.label)
        if isinstance(slot, OneofField):
            key, wanted = f'union {where}', where
        if key not in self._messages:
            label = snake(wanted) if isinstance(slot, OneofField) else slot.label
            doc = f'Holds {slot.key}, where only a message can stand.'
            self._messages[key] = WrappedCodec(slot, MessagePlan(key, wanted, doc), label)
        return self._messages[key]

    def _alias(self, hint: Any, where: str) -> Field:
        if hint in self._aliases:
            raise UnsupportedTypeError(f'{hint} is made of itself; use a dataclass')
        self._aliases.append(hint)
        name = getattr(get_origin(hint) or hint, '__name__', where)
        slot = self.slot(hints.unaliased(hint), pascal(name) if not get_args(hint) else where)
        self._aliases.pop()
        return slot

    def _optional_literal(self, hint: Any, where: str) -> Field:
        values = tuple(value for value in get_args(hint) if value is not None)
        return OptionalField(self.item(typing.Literal[values], where))

    def _union(self, hint: Any, where: str) -> Field:
        arms = hints.union_arms(hint)
        others = [arm for arm in arms if arm is not type(None)]
        if others in ([Any], [object]):
            return self.slot(others[0], where)  # a Value has a form for None
        if len(others) == 1:
            slot = self.slot(others[0], where)
            return slot if slot.absent is None else OptionalField(self._as_item(slot, where))
        items: dict[str, Codec] = {}
        for arm in others:
            slot = self.slot(arm, where)
            item = self._as_item(slot, where + pascal(slot.label))
            if item.label in items:
                raise UnsupportedTypeError(
                    f'ambiguous: two arms of a union are called {item.label!r}'
                )
            items[item.label] = item
        _check_arms(list(items.values()))
        return OneofField(items.values(), allows_none=len(others) < len(arms))

    def _as_item(self, slot: Field, where: str) -> Codec:
        return slot.item if type(slot) is SingleField else self.wrapped(slot, where)

    # --- containers ------------------------------------------------------------------------------

    def _container(self, hint: Any, where: str) -> Field | None:
        origin, args = get_origin(hint) or hint, get_args(hint)
        if origin is tuple and args and args[-1:] != (...,):
            return None
        if origin is list and not args:
            return SingleField(JsonCodec(self.externals, 'ListValue'))
        if origin is dict and args in ((), (str, Any), (str, object)):
            return SingleField(JsonCodec(self.externals, 'Struct'))
        if origin in CONTAINERS:
            return self._many(origin, args[0] if args else Any, where)
        if origin is collections.Counter:
            return self._counter(args[0] if args else Any, where)
        if origin in MAPPINGS:
            return self._mapping(origin, args or (Any, Any), where)
        if origin is collections.defaultdict:
            raise UnsupportedTypeError('the factory of a defaultdict would be lost; use dict')
        return None

    def _many(self, origin: Any, hint: Any, where: str) -> Field:
        kind, accepts, make = CONTAINERS[origin]
        if origin in (set, frozenset, abc.Set, abc.MutableSet):
            _check_hashable(hint)
        return RepeatedField(self.item(hint, where), kind, accepts, make)

    def _counter(self, hint: Any, where: str) -> Field:
        return self._dict(MAPPINGS[collections.Counter], hint, int, where)

    def _mapping(self, origin: Any, args: tuple[Any, ...], where: str) -> Field:
        return self._dict(MAPPINGS[origin], args[0], args[1], where)

    def _dict(self, form: tuple[str, type, Any], key: Any, item: Any, where: str) -> Field:
        kind, accepts, make = form
        keys = self.item(key, f'{where}Key')
        if (
            keys.proto in _MAP_KEYS
            and isinstance(keys, (IntCodec, ScalarCodec))
            and kind != 'ordered_dict'
        ):
            return MapField(keys, self.item(item, where), kind, accepts, make)
        _check_hashable(key)
        parts = [
            Part('key', 'key', SingleField(keys)),
            Part('value', 'value', self.slot(item, where)),
        ]
        label = f'{keys.label}_{parts[1].slot.label}_entry'
        return PairsField(self._tuple(label, 'entry of a dict', parts), kind, accepts, make)

    def _tuple(self, label: str, key: str, parts: list[Part]) -> Codec:
        key = f'{key}: {", ".join(part.slot.key for part in parts)}'
        if key not in self._messages:
            doc = f'{key[:1].upper()}{key[1:]}.' if parts else 'The empty tuple.'
            self._messages[key] = TupleCodec(
                MessagePlan(key, pascal(label), doc, parts=parts), label
            )
        return self._messages[key]

    # --- items -----------------------------------------------------------------------------------

    def _item(self, hint: Any, where: str) -> Codec:
        origin, args = get_origin(hint) or hint, get_args(hint)
        simple = self._simple(hint, origin, args, where)
        if simple is not None:
            return simple
        if isinstance(hint, typing.TypeVar):
            raise UnsupportedTypeError(f'the type variable {hint} stands for no type here')
        model = models.model_of(origin)
        if model is None:
            raise UnsupportedTypeError(f'{_shown(hint)} has no form in Protobuf')
        try:
            return self._record(hint, origin, args, model)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f'{origin.__qualname__}: {error}') from error

    def _simple(self, hint: Any, origin: Any, args: tuple[Any, ...], where: str) -> Codec | None:
        if hint in (Any, object):
            return JsonCodec(self.externals, 'Value')
        if hints.special(hint) == 'Self':
            return self._item(self._selves[-1], where)
        if origin is typing.Literal:
            return self._literal(args, where)
        if origin is tuple:
            parts = [
                self.part(f'item_{index}', arg, where)
                for index, arg in enumerate(() if args == ((),) else args)
            ]
            label = '_'.join([*(part.slot.label for part in parts), 'tuple'])
            return self._tuple(label, 'tuple', parts)
        if isinstance(origin, type):
            if origin in self._scalars:
                return self._scalars[origin]
            if issubclass(origin, enum.Enum):
                return self._enum(origin)
            if hasattr(origin, '_callmethod') or hasattr(origin, 'proxy_class'):
                is_actor = hasattr(origin, 'proxy_class')
                return HandleCodec(self.externals, origin, 'actor' if is_actor else None)
        return arrays.array(self.externals, hint, args)

    def shared(self, hint: Any, typeid: str) -> Field:
        """Return the shape of a result that stays in the actor."""
        return SingleField(HandleCodec(self.externals, hint, typeid))

    def _enum(self, class_: type[enum.Enum]) -> Codec:
        if issubclass(class_, enum.Flag):
            raise UnsupportedTypeError(
                f'{class_.__qualname__}: the values of a Flag combine; use int'
            )
        if class_ not in self._items:
            label = snake(class_.__name__)
            names = [member.name for member in class_]
            doc = models.doc_of(class_)
            plan = enum_plan(_key(class_), pascal(class_.__name__), doc, names)
            check_values(plan, self._items.values())
            self._items[class_] = EnumCodec(class_, label, plan, list(class_))
        return self._items[class_]

    def _literal(self, values: tuple[Any, ...], where: str) -> Codec:
        if not all(type(value) is str for value in values):
            raise UnsupportedTypeError('a Literal of something else than strings')
        key = f'literal {where}: {values!r}'
        if key not in self._items:
            plan = enum_plan(f'literal {where}', where, '', list(values))
            check_values(plan, self._items.values())
            self._items[key] = LiteralCodec(snake(where), plan, values)
        return self._items[key]

    def _record(self, hint: Any, class_: type, args: tuple[Any, ...], model: models.Model) -> Codec:
        if hint in self._items:
            return self._items[hint]
        parameters = getattr(class_, '__parameters__', ())
        if parameters and not args:
            raise UnsupportedTypeError(f'{class_.__qualname__} is generic: say of what')
        arguments = [self.slot(arg, '').label for arg in args]
        label = '_'.join([*arguments, snake(class_.__name__)])
        key = _key(class_) + (f'[{", ".join(map(_shown, args))}]' if args else '')
        plan = MessagePlan(key, pascal(label) if args else pascal(class_.__name__))
        plan.doc = models.doc_of(class_)
        record = RecordCodec(hint, plan, label, is_generic=bool(args))
        self._items[hint] = record  # before its fields, one of which may be the class itself
        record.maker = model.maker
        docs = models.field_docs(class_)
        self._selves.append(hint)
        for name, annotation, default in model.fields(class_, args):
            part = self._field(name, annotation, plan.wanted, default)
            part.doc = docs.get(name, '')
            plan.parts.append(part)
        self._selves.pop()
        check_names(plan.parts)
        return record

    def _field(self, name: str, hint: Any, where: str, default: Any) -> Part:
        try:
            return self.part(name, hint, where, default)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f'{name}: {error}') from error


def _number(hint: Any, marks: list[Any]) -> Codec:
    mark = marks[0]
    if len(marks) > 1:
        raise UnsupportedTypeError('two widths')
    wanted = float if isinstance(mark, Width) and mark.is_float else int
    if hint is not wanted:
        raise UnsupportedTypeError(f'{mark} is a width of {wanted.__name__}, not of {_shown(hint)}')
    if isinstance(mark, Digits):
        return BigIntCodec()
    return FloatCodec(mark.type) if mark.is_float else IntCodec(mark.type)


def _check_arms(items: list[Codec]) -> None:
    classes = [item.class_ for item in items if item.class_ is not None]
    for class_ in classes:
        if classes.count(class_) > 1:
            raise UnsupportedTypeError(f'ambiguous: two arms of a union are both {class_.__name__}')


def _check_hashable(hint: Any) -> None:
    origin = get_origin(hint) or hint
    if isinstance(origin, type) and getattr(origin, '__hash__', None) is None:
        raise UnsupportedTypeError(f'{_shown(hint)} is not hashable')


def _says_default(slot: Field, default: Any) -> bool:
    """Tell whether the absence of a slot can mean the default."""
    if not _tells_absence(slot):
        return True
    if slot.absent is None:
        return default is None
    empty = (list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict)
    if isinstance(default, type):  # a factory
        return default in empty
    return isinstance(default, empty) and not default


def _tells_absence(slot: Field) -> bool:
    """Tell whether the absence of a slot stands for a value already."""
    return slot.absent is None or isinstance(slot, (RepeatedField, MapField))


def _key(class_: type) -> str:
    return f'{class_.__module__}.{class_.__qualname__}'


def _shown(hint: Any) -> str:
    if isinstance(hint, type) and not get_args(hint):
        return hint.__qualname__ if hint.__module__ == 'builtins' else _key(hint)
    return str(hint)
