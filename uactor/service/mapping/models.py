"""Classes with named fields: dataclasses, TypedDict, NamedTuple, attrs, pydantic."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from uactor.service.codecs.messages import Maker
from uactor.service.errors import UnsupportedTypeError
from uactor.service.mapping import docstrings, hints

UNKNOWN_DEFAULT = object()
"""Stands for a default that Python computes for each instance."""

OMITTED = object()
"""Stands for the default of a key that a dict may lack."""

Fields = Iterator[tuple[str, Any, Any]]
"""Name, annotation and default of each field; ``...`` is no default."""


@dataclasses.dataclass
class Model:
    """Creates the instances of a class, and reads its fields."""

    maker: Maker
    fields: Callable[[type, tuple[Any, ...]], Fields]


def model_of(class_: Any) -> Model | None:
    """Return the model of a class with named fields, otherwise None."""
    if not isinstance(class_, type):
        return None
    if hasattr(class_, 'model_fields') and hasattr(class_, 'model_validate'):
        return Model(Maker(class_, _PydanticFactory(class_)), _read_pydantic)
    if dataclasses.is_dataclass(class_):
        later = {field.name for field in dataclasses.fields(class_) if not field.init}
        return Model(Maker(class_, class_, frozenset(later)), _read_dataclass)
    if hasattr(class_, '__attrs_attrs__'):
        attributes: Any = class_.__attrs_attrs__
        return Model(
            Maker(class_, _AttrsFactory(class_), _fields_set_later(attributes)), _read_attrs
        )
    if hasattr(class_, '__total__') and issubclass(class_, dict):
        return Model(Maker(None, dict), _read_typed_dict)
    if issubclass(class_, tuple) and hasattr(class_, '_fields'):
        return Model(Maker(class_, class_), _read_named_tuple)
    return None


# --- dataclasses ---------------------------------------------------------------------------------


def _read_dataclass(class_: Any, args: tuple[Any, ...]) -> Fields:
    types = hints.class_hints(class_, args)
    for name, field in class_.__dataclass_fields__.items():
        is_init_var = field._field_type is dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]
        if is_init_var and field.default is dataclasses.MISSING:
            raise UnsupportedTypeError(f'{name} is an InitVar, which instances do not keep')
    for field in dataclasses.fields(class_):
        yield field.name, types[field.name], _dataclass_default(field)


def _dataclass_default(field: dataclasses.Field[Any]) -> Any:
    if not field.init:  # __post_init__ computes it
        return UNKNOWN_DEFAULT
    if field.default_factory is not dataclasses.MISSING:
        return _factory_default(field.default_factory)
    return ... if field.default is dataclasses.MISSING else field.default


def _factory_default(factory: Any) -> Any:
    return factory if isinstance(factory, type) else UNKNOWN_DEFAULT


# --- attrs ---------------------------------------------------------------------------------------


@dataclasses.dataclass
class _AttrsFactory:
    """Creates instances of an attrs class by the names of its fields.

    The constructor takes the aliases of the fields.
    """

    class_: Any

    def __call__(self, **values: Any) -> Any:
        aliases = {field.name: field.alias for field in self.class_.__attrs_attrs__}
        return self.class_(**{aliases[name]: value for name, value in values.items()})


def _fields_set_later(attributes: Any) -> frozenset[str]:
    return frozenset(field.name for field in attributes if not field.init)


def _read_attrs(class_: Any, args: tuple[Any, ...]) -> Fields:
    attrs = sys.modules['attr']
    types = hints.class_hints(class_, args)
    for field in class_.__attrs_attrs__:
        default = field.default
        if not field.init:
            default = UNKNOWN_DEFAULT
        elif default is attrs.NOTHING:
            default = ...
        elif hasattr(default, 'takes_self'):
            default = UNKNOWN_DEFAULT if default.takes_self else _factory_default(default.factory)
        if field.name not in types:
            raise UnsupportedTypeError(f'{field.name} has no annotation')
        yield field.name, types[field.name], default


# --- pydantic ------------------------------------------------------------------------------------


@dataclasses.dataclass
class _PydanticFactory:
    """Creates instances of a pydantic model, which validates them."""

    class_: Any

    def __call__(self, **values: Any) -> Any:
        fields = self.class_.model_fields
        return self.class_.model_validate(
            {_validation_alias(fields[name], name): value for name, value in values.items()}
        )


def _validation_alias(field: Any, name: str) -> str:
    alias = field.validation_alias if field.validation_alias is not None else field.alias
    if alias is not None and not isinstance(alias, str):
        raise UnsupportedTypeError(f'{name} has an alias that is not a name')
    return alias or name


def _read_pydantic(class_: Any, _args: tuple[Any, ...]) -> Fields:
    for name, field in class_.model_fields.items():
        _validation_alias(field, name)
        hint = hints.annotate(field.annotation, field.metadata)
        default = field.default
        if field.default_factory is not None:
            default = _factory_default(field.default_factory)
        elif field.is_required():
            default = ...
        yield name, hint, default


# --- TypedDict and NamedTuple --------------------------------------------------------------------


def _read_typed_dict(class_: Any, args: tuple[Any, ...]) -> Fields:
    for name, hint in hints.class_hints(class_, args).items():
        _, qualifiers, _ = hints.strip_qualifiers(hint)
        required = name in class_.__required_keys__
        if 'NotRequired' in qualifiers:
            required = False
        elif 'Required' in qualifiers:
            required = True
        yield name, hint, ... if required else OMITTED


def _read_named_tuple(class_: Any, args: tuple[Any, ...]) -> Fields:
    types = hints.class_hints(class_, args)
    for name in class_._fields:
        if name not in types:
            raise UnsupportedTypeError(f'{name} has no annotation')
        yield name, types[name], class_._field_defaults.get(name, ...)


# --- docstrings ----------------------------------------------------------------------------------

_GENERATED = ('An enumeration.', 'dict(', 'Method generated by attrs')


def doc_of(class_: type) -> str:
    """Return the docstring of a class, or '' if Python generated it."""
    doc = inspect.cleandoc(vars(class_).get('__doc__') or '')
    generated = (f'{class_.__name__}(', *_GENERATED)
    return '' if doc.startswith(generated) else doc


def field_docs(class_: type) -> dict[str, str]:
    """Return the descriptions of fields in the docstring of a class."""
    return docstrings.parse_fields(doc_of(class_))
