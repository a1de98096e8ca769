"""Reads annotations: the field or codec of each supported type."""

from __future__ import annotations

import collections
import collections.abc as abc
import enum
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, get_args, get_origin

from uactor.service.codecs import wellknown
from uactor.service.codecs.arrays import create_array_codec
from uactor.service.codecs.base import Codec
from uactor.service.codecs.containers import CONTAINERS, MAPPINGS
from uactor.service.codecs.enums import EnumCodec, LiteralCodec, plan_enum, validate_values
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
from uactor.service.codecs.part import MessagePlan, Part, validate_names
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
    """Reads the annotations of one schema.

    All uses of a class share one message. A generic class has a message per set of arguments.
    """

    def __init__(self, actor_class: type) -> None:
        self.externals = wellknown.ExternalMessages()
        self._selves: list[Any] = [actor_class]
        self._codecs: dict[Any, Codec] = {}
        self._messages: dict[str, Codec] = {}
        self._aliases: list[Any] = []
        scalars: list[Codec] = [ScalarCodec(bool, 'bool'), IntCodec(), FloatCodec(), TextCodec()]
        scalars += [BytesCodec(class_) for class_ in (bytes, bytearray, memoryview)]
        self._scalars: dict[Any, Codec] = {codec.hint: codec for codec in scalars}
        self._scalars |= wellknown.create_string_codecs()
        for codec in (
            wellknown.TimestampCodec(self.externals),
            wellknown.DurationCodec(self.externals),
        ):
            self._scalars[codec.hint] = codec

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Forget the codecs that a failing block has created.

        They may be incomplete.
        """
        codecs, messages = dict(self._codecs), dict(self._messages)
        try:
            yield
        except Exception:
            self._codecs, self._messages = codecs, messages
            self._aliases.clear()
            del self._selves[1:]
            raise

    # --- fields ----------------------------------------------------------------------------------

    def read_part(self, name: str, hint: Any, where: str, default: Any = ...) -> Part:
        """Return the part of a message for a parameter or field.

        :param where: a prefix for the names of the enums and unions in it.
        :param default: its default; ``...`` if it has none.
        """
        hint, pin, old = hints.split_placement(hint)
        if default is None and not hints.allows_none(hint):
            hint = typing.Optional[hint]  # noqa: UP045  # of a hint that is no type, too
        stem = pascal(old or name)
        field = self.read_field(hint, where + stem)
        has_default = default is not ...
        if has_default and not _implies_default(field, default):
            field = SingleField(self.wrap(field, where + stem))
        if pin is not None and isinstance(field, OneofField):
            raise UnsupportedTypeError('a union has several fields, and so a pin can not number it')
        absent: Any = (
            ('omitted' if default is models.OMITTED else 'default') if has_default else None
        )
        return Part(name, snake(name), field, absent, pin, old and snake(old))

    def ensure_presence(self, field: Field, where: str) -> Field:
        """Return a field that tells each value from none at all."""
        return SingleField(self.wrap(field, where)) if _gives_absence_a_value(field) else field

    def read_field(self, hint: Any, where: str) -> Field:
        """Return the field for an annotation.

        :raises UnsupportedTypeError: when the annotation has no lossless form.
        """
        hint, _, marks = hints.strip_qualifiers(hint)
        if any(isinstance(mark, (Pin, Renamed)) for mark in marks):
            raise UnsupportedTypeError(
                'field() and renamed_from() belong around the whole annotation'
            )
        if hints.is_alias(hint):
            return self._read_alias(hint, where)
        if hasattr(hint, '__supertype__'):
            return self.read_field(hint.__supertype__, where)
        marks = [mark for mark in marks if isinstance(mark, (Width, Digits))]
        if marks:
            return SingleField(_create_number_codec(hint, marks))
        if hints.is_union(hint):
            return self._read_union(hint, where)
        if typing.get_origin(hint) is typing.Literal and None in get_args(hint):
            return self._read_optional_literal(hint, where)
        return self._read_container(hint, where) or SingleField(self._read_single(hint, where))

    def read_codec(self, hint: Any, where: str) -> Codec:
        """Return the codec for an annotation, where only one value is possible."""
        return self._to_codec(self.read_field(hint, where), where)

    def _to_codec(self, field: Field, where: str) -> Codec:
        return field.codec if type(field) is SingleField else self.wrap(field, where)

    def wrap(self, field: Field, where: str) -> Codec:
        """Return a message around a field.

        Equal fields share one message, but each union has its own, since it may get more arms.
        """
        key, wanted = field.key, pascal(field.label)
        if isinstance(field, OneofField):
            key, wanted = f'union {where}', where
        if key not in self._messages:
            label = snake(wanted) if isinstance(field, OneofField) else field.label
            doc = f'Holds {field.key}, where only a message can stand.'
            self._messages[key] = WrapperCodec(field, MessagePlan(key, wanted, doc), label)
        return self._messages[key]

    def _read_alias(self, hint: Any, where: str) -> Field:
        if hint in self._aliases:
            raise UnsupportedTypeError(f'{hint} is made of itself; use a dataclass')
        self._aliases.append(hint)
        name = getattr(get_origin(hint) or hint, '__name__', where)
        target = hints.expand_aliases(hint)
        field = self.read_field(target, pascal(name) if not get_args(hint) else where)
        self._aliases.pop()
        return field

    def _read_optional_literal(self, hint: Any, where: str) -> Field:
        values = tuple(value for value in get_args(hint) if value is not None)
        return OptionalField(self.read_codec(typing.Literal[values], where))

    def _read_union(self, hint: Any, where: str) -> Field:
        arms = hints.union_arms(hint)
        others = [arm for arm in arms if arm is not type(None)]
        if others in ([Any], [object]):
            return self.read_field(others[0], where)  # a Value has a form for None
        if len(others) == 1:
            field = self.read_field(others[0], where)
            return field if field.absent is None else OptionalField(self._to_codec(field, where))
        codecs: dict[str, Codec] = {}
        for arm in others:
            field = self.read_field(arm, where)
            codec = self._to_codec(field, where + pascal(field.label))
            if codec.label in codecs:
                raise UnsupportedTypeError(
                    f'ambiguous: two arms of a union are called {codec.label!r}'
                )
            codecs[codec.label] = codec
        _validate_arms(list(codecs.values()))
        return OneofField(codecs.values(), allows_none=len(others) < len(arms))

    # --- containers ------------------------------------------------------------------------------

    def _read_container(self, hint: Any, where: str) -> Field | None:
        origin, args = get_origin(hint) or hint, get_args(hint)
        if origin is tuple and args and args[-1:] != (...,):
            return None
        if origin is list and not args:
            return SingleField(JsonCodec(self.externals, 'ListValue'))
        if origin is dict and args in ((), (str, Any), (str, object)):
            return SingleField(JsonCodec(self.externals, 'Struct'))
        if origin in CONTAINERS:
            return self._read_elements(origin, args[0] if args else Any, where)
        if origin is collections.Counter:
            return self._read_mapping(origin, (args[0] if args else Any, int), where)
        if origin in MAPPINGS:
            return self._read_mapping(origin, args or (Any, Any), where)
        if origin is collections.defaultdict:
            raise UnsupportedTypeError('the factory of a defaultdict would be lost; use dict')
        return None

    def _read_elements(self, origin: Any, hint: Any, where: str) -> Field:
        kind, accepts, make = CONTAINERS[origin]
        if origin in (set, frozenset, abc.Set, abc.MutableSet):
            _validate_hashable(hint)
        return RepeatedField(self.read_codec(hint, where), kind, accepts, make)

    def _read_mapping(self, origin: Any, args: tuple[Any, ...], where: str) -> Field:
        kind, accepts, make = MAPPINGS[origin]
        key, value = args
        keys = self.read_codec(key, f'{where}Key')
        if (
            keys.proto in _MAP_KEYS
            and isinstance(keys, (IntCodec, ScalarCodec))
            and kind != 'ordered_dict'
        ):
            return MapField(keys, self.read_codec(value, where), kind, accepts, make)
        _validate_hashable(key)
        parts = [
            Part('key', 'key', SingleField(keys)),
            Part('value', 'value', self.read_field(value, where)),
        ]
        label = f'{keys.label}_{parts[1].field.label}_entry'
        return PairsField(self._create_tuple(label, 'entry of a dict', parts), kind, accepts, make)

    def _create_tuple(self, label: str, key: str, parts: list[Part]) -> Codec:
        key = f'{key}: {", ".join(part.field.key for part in parts)}'
        if key not in self._messages:
            doc = f'{key[:1].upper()}{key[1:]}.' if parts else 'The empty tuple.'
            self._messages[key] = TupleCodec(
                MessagePlan(key, pascal(label), doc, parts=parts), label
            )
        return self._messages[key]

    # --- single values ---------------------------------------------------------------------------

    def _read_single(self, hint: Any, where: str) -> Codec:
        origin, args = get_origin(hint) or hint, get_args(hint)
        simple = self._read_simple(hint, origin, args, where)
        if simple is not None:
            return simple
        if isinstance(hint, typing.TypeVar):
            raise UnsupportedTypeError(f'the type variable {hint} stands for no type here')
        model = models.model_of(origin)
        if model is None:
            raise UnsupportedTypeError(f'{_describe_hint(hint)} has no form in Protobuf')
        try:
            return self._read_model(hint, origin, args, model)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f'{origin.__qualname__}: {error}') from error

    def _read_simple(
        self, hint: Any, origin: Any, args: tuple[Any, ...], where: str
    ) -> Codec | None:
        if hint in (Any, object):
            return JsonCodec(self.externals, 'Value')
        if hints.typing_name(hint) == 'Self':
            return self._read_single(self._selves[-1], where)
        if origin is typing.Literal:
            return self._read_literal(args, where)
        if origin is tuple:
            parts = [
                self.read_part(f'item_{index}', arg, where)
                for index, arg in enumerate(() if args == ((),) else args)
            ]
            label = '_'.join([*(part.field.label for part in parts), 'tuple'])
            return self._create_tuple(label, 'tuple', parts)
        if isinstance(origin, type):
            if origin in self._scalars:
                return self._scalars[origin]
            if issubclass(origin, enum.Enum):
                return self._read_enum(origin)
            if hasattr(origin, '_callmethod') or hasattr(origin, 'proxy_class'):
                is_actor = hasattr(origin, 'proxy_class')
                return HandleCodec(self.externals, origin, 'actor' if is_actor else None)
        return create_array_codec(self.externals, hint, args)

    def create_handle_field(self, hint: Any, typeid: str) -> Field:
        """Return the field of a result that stays in the actor."""
        return SingleField(HandleCodec(self.externals, hint, typeid))

    def _read_enum(self, class_: type[enum.Enum]) -> Codec:
        if issubclass(class_, enum.Flag):
            raise UnsupportedTypeError(
                f'{class_.__qualname__}: the values of a Flag combine; use int'
            )
        if class_ not in self._codecs:
            label = snake(class_.__name__)
            names = [member.name for member in class_]
            doc = models.doc_of(class_)
            plan = plan_enum(_class_key(class_), pascal(class_.__name__), doc, names)
            validate_values(plan, self._codecs.values())
            self._codecs[class_] = EnumCodec(class_, label, plan, list(class_))
        return self._codecs[class_]

    def _read_literal(self, values: tuple[Any, ...], where: str) -> Codec:
        if not all(type(value) is str for value in values):
            raise UnsupportedTypeError('a Literal with values that are not strings')
        key = f'literal {where}: {values!r}'
        if key not in self._codecs:
            plan = plan_enum(f'literal {where}', where, '', list(values))
            validate_values(plan, self._codecs.values())
            self._codecs[key] = LiteralCodec(snake(where), plan, values)
        return self._codecs[key]

    def _read_model(
        self, hint: Any, class_: type, args: tuple[Any, ...], model: models.Model
    ) -> Codec:
        if hint in self._codecs:
            return self._codecs[hint]
        parameters = getattr(class_, '__parameters__', ())
        if parameters and not args:
            raise UnsupportedTypeError(f'{class_.__qualname__} is generic: give its type arguments')
        arguments = [self.read_field(arg, '').label for arg in args]
        label = '_'.join([*arguments, snake(class_.__name__)])
        key = _class_key(class_) + (f'[{", ".join(map(_describe_hint, args))}]' if args else '')
        plan = MessagePlan(key, pascal(label) if args else pascal(class_.__name__))
        plan.doc = models.doc_of(class_)
        codec = ModelCodec(hint, plan, label, is_generic=bool(args))
        self._codecs[hint] = codec  # before its fields, one of which may be the class itself
        codec.maker = model.maker
        docs = models.field_docs(class_)
        self._selves.append(hint)
        for name, annotation, default in model.fields(class_, args):
            part = self._read_model_field(name, annotation, plan.wanted, default)
            part.doc = docs.get(name, '')
            plan.parts.append(part)
        self._selves.pop()
        validate_names(plan.parts)
        return codec

    def _read_model_field(self, name: str, hint: Any, where: str, default: Any) -> Part:
        try:
            return self.read_part(name, hint, where, default)
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f'{name}: {error}') from error


def _create_number_codec(hint: Any, marks: list[Any]) -> Codec:
    mark = marks[0]
    if len(marks) > 1:
        raise UnsupportedTypeError('it has two width markers')
    wanted = float if isinstance(mark, Width) and mark.is_float else int
    if hint is not wanted:
        raise UnsupportedTypeError(
            f'{mark} is a width of {wanted.__name__}, not of {_describe_hint(hint)}'
        )
    if isinstance(mark, Digits):
        return BigIntCodec()
    return FloatCodec(mark.type) if mark.is_float else IntCodec(mark.type)


def _validate_arms(codecs: list[Codec]) -> None:
    classes = [codec.class_ for codec in codecs if codec.class_ is not None]
    for class_ in classes:
        if classes.count(class_) > 1:
            raise UnsupportedTypeError(f'ambiguous: two arms of a union are both {class_.__name__}')


def _validate_hashable(hint: Any) -> None:
    origin = get_origin(hint) or hint
    if isinstance(origin, type) and getattr(origin, '__hash__', None) is None:
        raise UnsupportedTypeError(f'{_describe_hint(hint)} is not hashable')


def _implies_default(field: Field, default: Any) -> bool:
    """Return whether the absence of a field can mean the default."""
    if not _gives_absence_a_value(field):
        return True
    if field.absent is None:
        return default is None
    empty = (list, tuple, dict, set, frozenset, collections.deque, collections.OrderedDict)
    if isinstance(default, type):  # a factory
        return default in empty
    return isinstance(default, empty) and not default


def _gives_absence_a_value(field: Field) -> bool:
    """Return whether an absent field means None or an empty container."""
    return field.absent is None or isinstance(field, (RepeatedField, MapField))


def _class_key(class_: type) -> str:
    return f'{class_.__module__}.{class_.__qualname__}'


def _describe_hint(hint: Any) -> str:
    if isinstance(hint, type) and not get_args(hint):
        return hint.__qualname__ if hint.__module__ == 'builtins' else _class_key(hint)
    return str(hint)
