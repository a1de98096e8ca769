"""The functions of uactor that pickles name. They never move.

They keep their arguments, too. A pickle names the function that rebuilds a value by module and
name. So another release at the other end of a connection must find each of them here. The standard
library has :mod:`copyreg` for the same reason. The rooms above implement the functions, and
register the implementations.

Beside these, a pickle names public classes only: see ``docs/wire.md``.
"""

from __future__ import annotations

import functools
import importlib
import typing
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from uactor.runtime.weakrefs import WeakKeys

PROTOCOL_VERSION = 1
"""Version of the protocol. Both ends of a session must have the same."""

F = TypeVar('F', bound=Callable[..., Any])

_implementations: dict[Callable[..., Any], Callable[..., Any]] = {}


def implements(wire_function: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that registers the implementation of a wire function."""

    def register(implementation: F) -> F:
        _implementations[wire_function] = implementation
        return implementation

    return register


# --- classes and functions -----------------------------------------------------------------------


def get_definition(number: int) -> Any:
    """Return the class or function that has this number in the session."""
    return _implementations[get_definition](number)


def fill_class(cls: type, state: tuple[Any, ...]) -> None:
    """Set the attributes of a class that was sent by value."""
    _implementations[fill_class](cls, state)


_cached_functions: WeakKeys[Callable[..., Any], weakref.ref[Any]] = WeakKeys()


def make_cached_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Return a function with an empty cache.

    A function that refers to itself gets the same cached function.
    """
    known = _cached_functions.get(function)
    cached = None if known is None else known()
    if cached is None:
        cached = functools.lru_cache(maxsize, typed)(function)
        _cached_functions[function] = weakref.ref(cached)
    return cached


def make_new_type(name: str, supertype: Any, module: str, qualname: str) -> Any:
    """Create a :class:`typing.NewType` of a given module."""
    new_type: Any = typing.NewType(name, supertype)  # type: ignore[misc]  # the name is no literal
    new_type.__module__, new_type.__qualname__ = module, qualname
    return new_type


def look_up(module: str, name: str) -> Any:
    """Return the object that a module has under a dotted name."""
    found: Any = importlib.import_module(module)
    for part in name.split('.'):
        found = getattr(found, part)
    return found


# --- proxies -------------------------------------------------------------------------------------


def rebuild_proxy(*state: Any) -> Any:
    """Rebuild a proxy, which then holds its object."""
    return _implementations[rebuild_proxy](*state)


def rebuild_unreached_proxy(*state: Any) -> Any:
    """Rebuild a proxy of an actor that its sender has not reached."""
    return _implementations[rebuild_unreached_proxy](*state)


def rebuild_remote_method(proxy: Any, name: str, options: tuple[Any, ...] | None) -> Any:
    """Rebuild a method of a proxy, with its options: timeout and window."""
    method = getattr(proxy, name)
    if options is None:
        return method
    timeout, window = options
    return method.options(timeout=timeout, window=window)


def make_remote_member(name: str, member: Any) -> Any:
    """Create a proxy class's member for a method of its actor class."""
    return _implementations[make_remote_member](name, member)


def make_proxy_method(name: str) -> Any:
    """Create a method of a user's proxy class for an object's method."""
    return _implementations[make_proxy_method](name)


def make_remote_attribute(name: str, doc: str | None) -> Any:
    """Create a proxy class's attribute for one of its actor class."""
    return _implementations[make_remote_attribute](name, doc)


# --- what classes declare ------------------------------------------------------------------------


def make_registration(*fields: Any) -> Any:
    """Create the registration of a typeid in a manager class."""
    return _implementations[make_registration](*fields)


def make_marker(kind: str, *values: Any) -> Any:
    """Create a marker for annotations of a typed service."""
    return _implementations[make_marker](kind, *values)
