"""Writes native types of generated modules: dataclasses, named tuples, dicts and enums."""

from __future__ import annotations

import dataclasses
import enum
import keyword
import math
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from uactor.service.codecs.enums import EnumCodec, LiteralCodec
from uactor.service.codecs.fields import MapField, RepeatedField
from uactor.service.codecs.messages import ModelCodec
from uactor.service.codecs.part import Part
from uactor.service.mapping.models import doc_of, model_of
from uactor_codegen.annotations import (
    RUNTIME,
    AnnotationWriter,
    parts_of,
    qualified_name,
    type_name,
)
from uactor_codegen.errors import CodegenError

_PLAIN = (bool, int, float, str, bytes)
_ACTORS_DEFAULT = f'{RUNTIME}.DEFAULT'
"""Stands for a default that only the actor can compute."""


def write_docstring(text: str, fallback: str = '') -> list[str]:
    """Return the lines of a docstring."""
    text = (text or fallback).replace('\\', '\\\\').replace('"""', '\\"\\"\\"')
    if text.endswith('"'):
        text = text[:-1] + '\\"'
    lines = text.splitlines()
    if len(lines) == 1:
        return [f'"""{lines[0]}"""']
    return [f'"""{lines[0]}', *lines[1:], '"""']


def indent(lines: list[str]) -> list[str]:
    """Return lines as the body of a class or function."""
    return [f'    {line}' if line else '' for line in lines]


# --- enums ---------------------------------------------------------------------------------------


def write_enum_class(codec: EnumCodec) -> list[str]:
    """Return the class of an enum."""
    class_: Any = codec.hint
    doc = doc_of(class_)
    lines = write_docstring(doc, f'A {type_name(codec)} of the actor.')
    for name, member in class_.__members__.items():
        value = member.value if _is_literal(member.value) else member.name
        lines.append(f'{name} = {value!r}')
    return [f'class {type_name(codec)}({_enum_base(class_)}):', *indent(lines)]


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


# --- classes with named fields -------------------------------------------------------------------


def write_model_class(codec: ModelCodec) -> list[str]:
    """Return the class for a class with named fields."""
    class_ = get_origin(codec.hint) or codec.hint
    if codec.maker.class_ is None:
        return _write_typed_dict(codec, class_)
    fields = {name: default for name, _, default in _model_fields(class_, get_args(codec.hint))}
    types = AnnotationWriter({part.python for part in parts_of(codec)})
    lines = write_docstring(doc_of(class_), f'A {type_name(codec)} of the actor.')
    defaults: list[str] = []
    for part in parts_of(codec):
        _validate_name(part, codec)
        defaults.append(_write_default(part, fields.get(part.python, ...), class_, types))
        lines.append(f'{part.python}: {types.write_field(part.field)}{defaults[-1]}')
    if issubclass(class_, tuple):
        return [f'class {type_name(codec)}(typing.NamedTuple):', *indent(lines)]
    return [_write_decorator(class_, defaults), f'class {type_name(codec)}:', *indent(lines)]


def _model_fields(class_: Any, args: tuple[Any, ...]) -> Any:
    model = model_of(class_)
    if model is None:
        raise CodegenError(f'{class_} has no fields')
    return model.fields(class_, args)


def _validate_name(part: Part, codec: ModelCodec) -> None:
    if not part.python.isidentifier() or keyword.iskeyword(part.python):
        raise CodegenError(f'{part.python!r} of {type_name(codec)} can not be an attribute')


def _write_decorator(class_: Any, defaults: list[str]) -> str:
    """Return the decorator of a dataclass that behaves as the class does."""
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


def _write_default(part: Part, default: Any, class_: Any, types: AnnotationWriter) -> str:
    """Return the default of a field, if source can express it."""
    if default is ...:
        return ''
    if isinstance(default, enum.Enum):
        return f' = {_enum_member(part, default) or _ACTORS_DEFAULT}'
    if default == () or _is_literal(default):
        return f' = {default!r}'
    if isinstance(part.field, (RepeatedField, MapField)):
        return _write_empty(part.field, types, is_shared=issubclass(class_, tuple))
    return f' = {_ACTORS_DEFAULT}'


def _write_empty(field: RepeatedField | MapField, types: AnnotationWriter, is_shared: bool) -> str:
    """Return an empty container as the text of a default.

    A message without the field stands for an empty container.

    :param is_shared: whether all instances share the default.
    """
    plain: Mapping[Any, str] = {list: '[]', dict: '{}'}
    text = plain.get(field.make) or f'{types.write_name(qualified_name(field.make))}()'
    if is_shared or field.make in (tuple, frozenset):
        return f' = {text}'
    return f' = dataclasses.field(default_factory=lambda: {text})'


def _enum_member(part: Part, default: enum.Enum) -> str | None:
    """Return a member of a generated enum, None for another enum."""
    codec = getattr(part.field, 'codec', None)
    if isinstance(codec, EnumCodec) and not isinstance(codec, LiteralCodec):
        return f'{type_name(codec)}.{default.name}'
    return None


def _write_typed_dict(codec: ModelCodec, class_: Any) -> list[str]:
    types, name = AnnotationWriter(), type_name(codec)
    rows = []
    for part in parts_of(codec):
        annotation = types.write_field(part.field)
        if part.default:
            annotation = f'typing_extensions.NotRequired[{annotation}]'
        rows.append((part.python, annotation))
    doc = write_docstring(doc_of(class_), f'A {name} of the actor.')
    if all(key.isidentifier() and not keyword.iskeyword(key) for key, _ in rows):
        types_lines = [f'{key}: {annotation}' for key, annotation in rows]
        return [f'class {name}(typing.TypedDict):', *indent([*doc, *types_lines])]
    cells = ', '.join(f'{key!r}: {annotation!r}' for key, annotation in rows)
    return [f'{name} = typing.TypedDict({name!r}, {{{cells}}})', *doc]
