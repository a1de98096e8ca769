"""Resolves annotations, splits them, and replaces their type variables."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, Union, get_args, get_origin

from uactor.codec import annotation_names
from uactor.service.errors import UnsupportedTypeError
from uactor.service.mapping.markers import Pin, Renamed

Variables = Mapping[Any, Any]
"""Types by the type variables that they replace."""

_QUALIFIERS = ('Required', 'NotRequired', 'ReadOnly', 'ClassVar', 'Final')


def resolve(owner_or_function: Any, owner: type) -> dict[str, Any]:
    """Return the evaluated annotations of a function or class, by name.

    :param owner: the class that has the annotations. It may define names that its module lacks.
    :raises UnsupportedTypeError: when a name is in neither.
    """
    extra: dict[str, Any] = {owner.__name__: owner}
    while True:
        try:
            return typing.get_type_hints(owner_or_function, localns=extra, include_extras=True)
        except NameError as error:
            name = error.name or ''
            found = _lookup(name, owner, extra)
            if found is None:
                raise UnsupportedTypeError(
                    f'an annotation names {name!r}, which is not known'
                ) from error
            extra[name] = found
        except Exception as error:
            text = f'{type(error).__name__}: {error}'
            raise UnsupportedTypeError(f'an annotation can not be resolved: {text}') from error


def _lookup(name: str, owner: type, known: Mapping[str, Any]) -> Any:
    if name in known:
        return None
    for parameter in getattr(owner, '__type_params__', ()):  # PEP 695
        if parameter.__name__ == name:
            return parameter
    return annotation_names.look_up_name(owner, name) or inspect.getattr_static(owner, name, None)


def attribute_hint(owner: type, name: str) -> tuple[Any, type]:
    """Return an attribute's annotation, and the class whose body has it.

    :raises UnsupportedTypeError: when there is no annotation, or it can't be resolved.
    """
    for base in owner.__mro__:
        if name in inspect.get_annotations(base):
            body = {'__annotations__': {name: base.__annotations__[name]}}
            alone = type(base.__name__, (), {**body, '__module__': base.__module__})
            return resolve(alone, base)[name], base
    raise UnsupportedTypeError(
        'it is neither a method nor a property, and has no annotation in the class'
    )


# --- splitting -----------------------------------------------------------------------------------


def typing_name(hint: Any) -> str:
    """Return the ``typing`` name of the form of ``hint``, or ''."""
    origin = get_origin(hint) or hint
    if getattr(origin, '__module__', '') in ('typing', 'typing_extensions'):
        return str(getattr(origin, '_name', None) or getattr(origin, '__name__', ''))
    return ''


def strip_qualifiers(hint: Any) -> tuple[Any, frozenset[str], list[Any]]:
    """Return the bare type, the names of its qualifiers, and its metadata."""
    qualifiers: set[str] = set()
    metadata: list[Any] = []
    while True:
        if get_origin(hint) is typing.Annotated:
            metadata = [*hint.__metadata__, *metadata]
            hint = hint.__origin__
        elif typing_name(hint) in _QUALIFIERS and get_args(hint):
            qualifiers.add(typing_name(hint))
            hint = get_args(hint)[0]
        else:
            return hint, frozenset(qualifiers), metadata


def split_placement(hint: Any) -> tuple[Any, int | None, str | None]:
    """Split an annotation into the rest, its pin and its earlier name."""
    plain, _, metadata = strip_qualifiers(hint)
    pins = [mark.number for mark in metadata if isinstance(mark, Pin)]
    olds = [mark.old for mark in metadata if isinstance(mark, Renamed)]
    if not pins and not olds:
        return hint, None, None
    if len(pins) > 1 or len(olds) > 1:
        raise UnsupportedTypeError('two pins, or two earlier names')
    rest = tuple(mark for mark in metadata if not isinstance(mark, (Pin, Renamed)))
    bare = annotate(plain, rest)
    return bare, (pins[0] if pins else None), (olds[0] if olds else None)


def annotate(hint: Any, metadata: Sequence[Any]) -> Any:
    """Return ``hint`` with ``metadata``, if there is any."""
    form: Any = typing.Annotated
    arguments = (hint, *metadata)
    return form[arguments] if metadata else hint


def is_union(hint: Any) -> bool:
    """Return whether an annotation is a union, in either notation."""
    return get_origin(hint) in (Union, types.UnionType)


def allows_none(hint: Any) -> bool:
    """Return whether an annotation allows None."""
    hint, _, _ = strip_qualifiers(expand_aliases(hint))
    return hint in (None, type(None), Any, object) or (
        is_union(hint) and any(map(allows_none, get_args(hint)))
    )


def is_alias(hint: Any) -> bool:
    """Return whether ``hint`` is, or subscripts, the alias of a ``type`` statement."""
    return type(get_origin(hint) or hint).__name__ == 'TypeAliasType'


def expand_aliases(hint: Any) -> Any:
    """Return the type behind aliases of ``type`` statements, and behind NewType."""
    while True:
        if is_alias(hint):
            alias = get_origin(hint) or hint
            variables = dict(zip(alias.__type_params__, get_args(hint), strict=False))
            hint = substitute(alias.__value__, variables)
        elif hasattr(hint, '__supertype__'):
            hint = hint.__supertype__
        else:
            return hint


def union_arms(hint: Any) -> list[Any]:
    """Return the arms of a union and of nested unions, each once."""
    arms: list[Any] = []
    for arm in get_args(hint):
        inner = expand_aliases(arm)
        arms.extend(union_arms(inner) if is_union(inner) else [arm])
    return list(dict.fromkeys(arms))


# --- type variables ------------------------------------------------------------------------------


def substitute(hint: Any, variables: Variables) -> Any:
    """Replace the known type variables of an annotation."""
    if isinstance(hint, TypeVar):
        return variables.get(hint, hint)
    parameters = getattr(hint, '__parameters__', ())
    if (isinstance(hint, type) and not get_args(hint)) or not parameters or not variables:
        return hint
    generic: Any = hint
    return generic[tuple(variables.get(parameter, parameter) for parameter in parameters)]


def variables_of(cls: type, args: tuple[Any, ...] = ()) -> dict[type, Variables]:
    """Return what replaces the type variables of a class and its bases."""
    known: dict[type, Variables] = {}

    def visit(cls: type, args: tuple[Any, ...]) -> None:
        parameters = getattr(cls, '__parameters__', ()) or getattr(cls, '__type_params__', ())
        variables = dict(zip(parameters, args, strict=False))
        known.setdefault(cls, variables)
        bases = vars(cls).get('__orig_bases__', cls.__bases__)
        for base in bases:
            origin = get_origin(base) or base
            if isinstance(origin, type) and origin is not typing.Generic:
                visit(origin, tuple(substitute(arg, variables) for arg in get_args(base)))

    visit(cls, args)
    return known


def class_hints(cls: type, args: tuple[Any, ...] = ()) -> dict[str, Any]:
    """Return the annotations of a class and its bases.

    Type variables are replaced by their arguments.

    :raises UnsupportedTypeError: when one can't be resolved.
    """
    hints = resolve(cls, cls)
    owners = variables_of(cls, args)
    for base in reversed(getattr(cls, '__mro__', ())):
        variables = owners.get(base, {})
        for name in inspect.get_annotations(base):
            if name in hints and variables:
                hints[name] = substitute(_own_hint(base, name, hints[name]), variables)
    return hints


def _own_hint(base: type, name: str, merged: Any) -> Any:
    """Return the annotation that ``base`` itself gives to ``name``."""
    return resolve(base, base).get(name, merged)
