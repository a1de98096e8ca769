"""What the annotations of a class name, for classes that travel by value."""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from uactor.runtime.weakrefs import WeakKeys

# --- what annotations name ----------------------------------------------------------------

_names: WeakKeys[type, dict[str, Any]] = WeakKeys()


def remember_names(cls: type, names: dict[str, Any]) -> None:
    """Remember what the annotations of a class that came here by value name."""
    _names[cls] = names


def look_up_name(cls: type, name: str) -> Any:
    """Return what ``name`` stands for in annotations of a class that came here by value, or None.

    Its module is not here, and annotations that are strings name what is in it.
    """
    found = ((_names.get(base) or {}).get(name) for base in cls.__mro__)
    return next((value for value in found if value is not None), None)


def collect_names(cls: type) -> dict[str, Any]:
    """Return what the annotations of a class and its methods name, as far as they are strings."""
    module = getattr(sys.modules.get(cls.__module__), '__dict__', {})
    found: dict[str, Any] = {}
    for annotated in (cls, *map(_function_of, vars(cls).values())):
        known = getattr(annotated, '__globals__', module)
        for annotation in getattr(annotated, '__annotations__', {}).values():
            for text in _texts(annotation):
                found.update((name, known[name]) for name in _names_in(text) if name in known)
    return found


def _function_of(member: Any) -> Any:
    for name in ('fget', 'func', '__func__'):  # properties, class methods
        member = getattr(member, name, member)
    return member if isinstance(member, types.FunctionType) else None


def _texts(annotation: Any) -> Iterator[str]:
    """Yield the strings that an annotation is, or has somewhere in it."""
    text = getattr(annotation, '__forward_arg__', annotation)
    if isinstance(text, str):
        yield text
    for argument in getattr(annotation, '__args__', ()):
        yield from _texts(argument)


@functools.lru_cache(maxsize=1024)
def _names_in(text: str) -> frozenset[str]:
    try:
        tree = ast.parse(text, mode='eval')
    except SyntaxError:  # an annotation need not mean anything
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= _names_in(node.value)
    return frozenset(found)
