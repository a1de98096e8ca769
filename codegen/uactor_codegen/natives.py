"""Records and enums as classes of the generated module: dataclasses, named tuples, dicts, enums."""

from __future__ import annotations

import dataclasses
import enum
import keyword
import math
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from uactor.service.codecs.enums import EnumCodec, LiteralCodec
from uactor.service.codecs.fields import MapField, RepeatedField
from uactor.service.codecs.messages import RecordCodec
from uactor.service.codecs.part import Part
from uactor.service.mapping.models import doc_of, model_of
from uactor_codegen.errors import CodegenError
from uactor_codegen.shapes import RUNTIME, Types, named, parts_of, type_name

_PLAIN = (bool, int, float, str, bytes)
_LEFT = f'{RUNTIME}.DEFAULT'
"""Default of fields whose default only the actor can tell."""


def docstring(text: str, fallback: str = '') -> list[str]:
    """Return the lines of a docstring."""
    text = (text or fallback).replace('\\', '\\\\').replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text = text[:-1] + '\\"'
    lines = text.splitlines()
    if len(lines) == 1:
        return [f'"""{lines[0]}"""']
    return [f'"""{lines[0]}', *lines[1:], '"""']


def indented(lines: list[str]) -> list[str]:
    """Return lines as the body of something."""
    return [f'    {line}' if line else '' for line in lines]


# --- enums ---------------------------------------------------------------------------------------


def enum_class(item: EnumCodec) -> list[str]:
    """Return the class of an enum."""
    class_: Any = item.hint
    doc = doc_of(class_)
    lines = docstring(doc, f'A {type_name(item)} of the actor.')
    for name, member in class_.__members__.items():
        value = member.value if _is_literal(member.value) else member.name
        lines.append(f'{name} = {value!r}')
    return [f'class {type_name(item)}({_enum_base(class_)}):', *indented(lines)]


def _enum_base(class_: type[enum.Enum]) -> str:
    if issubclass(class_, enum.IntEnum):
        return 'enum.IntEnum'
    mixin = next((base for base in _PLAIN if issubclass(class_, base)), None)
    return f'{mixin.__name__}, enum.Enum' if mixin else 'enum.Enum'


def _is_literal(value: Any) -> bool:
    if type(value) is tuple:
        return all(map(_is_literal, value))
    return value is None or (type(value) in _PLAIN and _is_finite(value))


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)


# --- records -------------------------------------------------------------------------------------


def record_class(item: RecordCodec) -> list[str]:
    """Return the class of a record."""
    class_ = get_origin(item.hint) or item.hint
    if item.maker.class_ is None:
        return _typed_dict(item, class_)
    fields = {name: default for name, _, default in _fields(class_, get_args(item.hint))}
    types = Types({part.python for part in parts_of(item)})
    lines = docstring(doc_of(class_), f'A {type_name(item)} of the actor.')
    defaults: list[str] = []
    for part in parts_of(item):
        _check_name(part, item)
        defaults.append(_default(part, fields.get(part.python, ...), class_, types))
        lines.append(f'{part.python}: {types.slot(part.slot)}{defaults[-1]}')
    if issubclass(class_, tuple):
        return [f'class {type_name(item)}(typing.NamedTuple):', *indented(lines)]
    return [_decorator(class_, defaults), f'class {type_name(item)}:', *indented(lines)]


def _fields(class_: Any, args: tuple[Any, ...]) -> Any:
    model = model_of(class_)
    if model is None:
        raise CodegenError(f'{class_} has no fields')
    return model.fields(class_, args)


def _check_name(part: Part, item: RecordCodec) -> None:
    if not part.python.isidentifier() or keyword.iskeyword(part.python):
        raise CodegenError(f'{part.python!r} of {type_name(item)} can not be an attribute')


def _decorator(class_: Any, defaults: list[str]) -> str:
    """Return the decorator that makes a dataclass behave as the class does."""
    has_default = list(map(bool, defaults))
    options: Mapping[str, bool] = {
        'frozen': class_.__hash__ not in (None, object.__hash__),
        'order': '__lt__' in vars(class_),
        'kw_only': _is_keyword_only(class_) or has_default != sorted(has_default),
    }
    chosen = ', '.join(f'{name}=True' for name, is_so in options.items() if is_so)
    return f'@dataclasses.dataclass({chosen})' if chosen else '@dataclasses.dataclass'


def _is_keyword_only(class_: Any) -> bool:
    if dataclasses.is_dataclass(class_):
        return any(field.kw_only for field in dataclasses.fields(class_))
    return hasattr(class_, 'model_fields')  # pydantic


def _default(part: Part, default: Any, class_: Any, types: Types) -> str:
    """Return the default of a field, as far as it can be told in source."""
    if default is ...:
        return ''
    if isinstance(default, enum.Enum):
        return f' = {_LEFT}' if _member(part, default) is None else f' = {_member(part, default)}'
    if default == () or _is_literal(default):
        return f' = {default!r}'
    if isinstance(part.slot, (RepeatedField, MapField)):
        return _empty(part.slot, types, is_shared=issubclass(class_, tuple))
    return f' = {_LEFT}'


def _empty(slot: RepeatedField | MapField, types: Types, is_shared: bool) -> str:
    """Return the default of a container: an empty one, as its absence in a message means.

    :param is_shared: whether all instances have the same one.
    """
    plain: Mapping[Any, str] = {list: '[]', dict: '{}'}
    text = plain.get(slot.make) or f'{types.name(named(slot.make))}()'
    if is_shared or slot.make in (tuple, frozenset):
        return f' = {text}'
    return f' = dataclasses.field(default_factory=lambda: {text})'


def _member(part: Part, default: enum.Enum) -> str | None:
    """Return a member of an enum that the generated module has."""
    item = getattr(part.slot, 'item', None)
    if isinstance(item, EnumCodec) and not isinstance(item, LiteralCodec):
        return f'{type_name(item)}.{default.name}'
    return None


def _typed_dict(item: RecordCodec, class_: Any) -> list[str]:
    types, name = Types(), type_name(item)
    rows = []
    for part in parts_of(item):
        annotation = types.slot(part.slot)
        if part.default:
            annotation = f'typing_extensions.NotRequired[{annotation}]'
        rows.append((part.python, annotation))
    doc = docstring(doc_of(class_), f'A {name} of the actor.')
    if all(key.isidentifier() and not keyword.iskeyword(key) for key, _ in rows):
        types_lines = [f'{key}: {annotation}' for key, annotation in rows]
        return [f'class {name}(typing.TypedDict):', *indented([*doc, *types_lines])]
    cells = ', '.join(f'{key!r}: {annotation!r}' for key, annotation in rows)
    return [f'{name} = typing.TypedDict({name!r}, {{{cells}}})', *doc]
