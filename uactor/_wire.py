"""The names of uactor that pickles contain. They never move, and keep their arguments.

A pickle names the function that rebuilds a value by module and name, so another release at the
other end of a connection must find each of them here. The standard library has :mod:`copyreg` for
the same reason. What the functions do is implemented in the rooms above, which register it.

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
"""Version of the protocol, which both ends of a session must have."""

F = TypeVar('F', bound=Callable[..., Any])

_implementations: dict[Callable[..., Any], Callable[..., Any]] = {}


def implements(wire_function: Callable[..., Any]) -> Callable[[F], F]:
    """Return a decorator that registers what a function of this module does."""

    def register(implementation: F) -> F:
        _implementations[wire_function] = implementation
        return implementation

    return register


# --- classes and functions -----------------------------------------------------------------------


def get_definition(number: int) -> Any:
    """Return the class or function that has this number in the session."""
    return _implementations[get_definition](number)


def fill_class(cls: type, state: tuple[Any, ...]) -> None:
    """Give a class that came by value its attributes."""
    _implementations[fill_class](cls, state)


_cached_functions: WeakKeys[Callable[..., Any], weakref.ref[Any]] = WeakKeys()


def make_cached_function(function: Callable[..., Any], maxsize: int | None, typed: bool) -> Any:
    """Return a function with an empty cache: the same one where it refers to itself."""
    known = _cached_functions.get(function)
    cached = None if known is None else known()
    if cached is None:
        cached = functools.lru_cache(maxsize, typed)(function)
        _cached_functions[function] = weakref.ref(cached)
    return cached


def make_new_type(name: str, supertype: Any, module: str, qualname: str) -> Any:
    """Return a :class:`typing.NewType` of some module."""
    new_type: Any = typing.NewType(name, supertype)  # type: ignore[misc]  # the name is no literal
    new_type.__module__, new_type.__qualname__ = module, qualname
    return new_type


def look_up(module: str, name: str) -> Any:
    """Return what a module has under a dotted name."""
    found: Any = importlib.import_module(module)
    for part in name.split('.'):
        found = getattr(found, part)
    return found


# --- proxies -------------------------------------------------------------------------------------


def rebuild_proxy(*state: Any) -> Any:
    """Return a proxy, which holds its object."""
    return _implementations[rebuild_proxy](*state)


def rebuild_unreached_proxy(*state: Any) -> Any:
    """Return a proxy of an actor that its sender has not reached."""
    return _implementations[rebuild_unreached_proxy](*state)


def rebuild_remote_method(proxy: Any, name: str, options: tuple[Any, ...] | None) -> Any:
    """Return a method of a proxy, with the options of its calls: timeout and window."""
    method = getattr(proxy, name)
    if options is None:
        return method
    timeout, window = options
    return method.options(timeout=timeout, window=window)


def make_remote_member(name: str, member: Any) -> Any:
    """Return what a proxy class has for a method of its actor class."""
    return _implementations[make_remote_member](name, member)


def make_proxy_method(name: str) -> Any:
    """Return what a proxy class of the user's own has for a method of its object."""
    return _implementations[make_proxy_method](name)


def make_remote_attribute(name: str, doc: str | None) -> Any:
    """Return what a proxy class has for an attribute of its actor class."""
    return _implementations[make_remote_attribute](name, doc)


# --- what classes declare ------------------------------------------------------------------------


def make_registration(*fields: Any) -> Any:
    """Return what a manager class knows of a typeid."""
    return _implementations[make_registration](*fields)


def make_marker(kind: str, *values: Any) -> Any:
    """Return a marker that annotations of a typed service have."""
    return _implementations[make_marker](kind, *values)
