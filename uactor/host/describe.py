"""Describe signatures, types and services as text for callers in a terminal."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from uactor.codec.pickling import find_attribute
from uactor.service.errors import UnsupportedTypeError
from uactor.service.naming import service_of

_MAX_REPR_CHARS = 200


def service_name_of_proxy(proxy: Any) -> str:
    """Return the name of the typed service behind a proxy, or ''.

    The class of a proxy is an attribute of the class of its actor.
    """
    cls = type(proxy)
    path, _, last = cls.__qualname__.rpartition('.')
    found = find_attribute(sys.modules.get(cls.__module__), path)
    return typed_service_name(found) if getattr(found, last, None) is cls else ''


def typed_service_name(actor_class: Any) -> str:
    """Return the full name of an actor class's typed service, or ''."""
    try:
        return '.'.join(service_of(actor_class))
    except UnsupportedTypeError:
        return ''


def format_signature(owner: Any, name: str) -> str:
    """Return the signature of a method as text, or '' without one."""
    try:
        signature = inspect.signature(getattr(owner, name))
    except (TypeError, ValueError):  # implemented in C, without a signature
        return ''
    parameters = [
        parameter.replace(annotation=_unquote(parameter.annotation))
        for parameter in signature.parameters.values()
    ]
    result = _unquote(signature.return_annotation)
    return str(signature.replace(parameters=parameters, return_annotation=result))


def format_annotation(cls: type, name: str, member: Any) -> str:
    """Return the annotation of an attribute as text, or '' without one."""
    function = getattr(member, 'fget', None) or getattr(member, 'func', None)
    holders = [function] if function is not None else list(cls.__mro__)
    key = name if function is None else 'return'
    for holder in holders:
        annotations = inspect.get_annotations(holder)
        if key in annotations:
            return inspect.formatannotation(_unquote(annotations[key]))
    return ''


class _Bare(str):
    """An annotation in a string, whose repr has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _unquote(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def shorten_repr(value: Any) -> str:
    """Return the repr of a value, cut to a line or two."""
    try:
        text = repr(value)
    except Exception as error:  # the user's __repr__
        text = f'<{type(value).__name__}: repr() raised {type(error).__name__}>'
    text = text.encode('utf-8', 'backslashreplace').decode('utf-8')
    return text if len(text) <= _MAX_REPR_CHARS else f'{text[:_MAX_REPR_CHARS]}…'
