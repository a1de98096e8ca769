"""The names in the annotations of classes that travel by value.

Annotations may be strings, which name things of the module. The receiver of such a class does not
have the module, so the class brings along what its annotations name.
"""

from __future__ import annotations

import ast
import functools
import sys
import types
from collections.abc import Iterator
from typing import Any

from uactor.runtime.weakrefs import WeakKeys

_names: WeakKeys[type, dict[str, Any]] = WeakKeys()


def remember_names(cls: type, names: dict[str, Any]) -> None:
    """Remember what the annotations of a received class name."""
    _names[cls] = names


def look_up_name(cls: type, name: str) -> Any:
    """Return what a received class's annotations mean by a name, or None."""
    found = ((_names.get(base) or {}).get(name) for base in cls.__mro__)
    return next((value for value in found if value is not None), None)


def collect_names(cls: type) -> dict[str, Any]:
    """Return what the string annotations of a class and its methods name."""
    module = getattr(sys.modules.get(cls.__module__), '__dict__', {})
    found: dict[str, Any] = {}
    for annotated in (cls, *map(_unwrap_member, vars(cls).values())):
        known = getattr(annotated, '__globals__', module)
        for annotation in getattr(annotated, '__annotations__', {}).values():
            for text in _walk_texts(annotation):
                found.update((name, known[name]) for name in _parse_names(text) if name in known)
    return found


def _unwrap_member(member: Any) -> Any:
    for name in ('fget', 'func', '__func__'):  # properties, class methods
        member = getattr(member, name, member)
    return member if isinstance(member, types.FunctionType) else None


def _walk_texts(annotation: Any) -> Iterator[str]:
    """Yield the strings in an annotation, at any depth."""
    text = getattr(annotation, '__forward_arg__', annotation)
    if isinstance(text, str):
        yield text
    for argument in getattr(annotation, '__args__', ()):
        yield from _walk_texts(argument)


@functools.lru_cache(maxsize=1024)
def _parse_names(text: str) -> frozenset[str]:
    try:
        tree = ast.parse(text, mode='eval')
    except SyntaxError:  # an annotation may be any text
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= _parse_names(node.value)
    return frozenset(found)
