"""Makes Protobuf names of Python names, in the style of ``buf lint``."""

from __future__ import annotations

import re
from typing import Any

from uactor.service.errors import UnsupportedTypeError

# Compiled with the module: once for all actors that one template forks.
_IDENTIFIER = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_SEPARATOR = re.compile(r'[^0-9A-Za-z]+')
_WORD_START = re.compile(r'(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])')
_UNDERSCORES = re.compile(r'_+')
_NEXT_WORD = re.compile(r'_+([^_])')


def words(name: str) -> str:
    """Return ``name`` with single underscores between its words, their case unchanged.

    A word begins where buf sees one: at a capital that follows or precedes a small letter.
    """
    name = _SEPARATOR.sub('_', name).strip('_')
    return _UNDERSCORES.sub('_', _WORD_START.sub('_', name))


def snake(name: str) -> str:
    """Return ``name`` in lower_snake_case.

    :raises UnsupportedTypeError: when Protobuf has no identifier for it.
    """
    return _validate_identifier(words(name).lower(), name)


def pascal(name: str) -> str:
    """Return ``name`` in PascalCase; its capitals stay.

    :raises UnsupportedTypeError: when Protobuf has no identifier for it.
    """
    parts = [part for part in _SEPARATOR.split(name) if part]
    return _validate_identifier(''.join(part[0].upper() + part[1:] for part in parts), name)


def upper(name: str) -> str:
    """Return ``name`` in UPPER_SNAKE_CASE."""
    return words(name).upper()


def camel(name: str) -> str:
    """Return the name that Protobuf's JSON has for a field."""
    return _NEXT_WORD.sub(lambda match: match[1].upper(), name)


def _validate_identifier(name: str, source: str) -> str:
    """Return ``name``, made of ``source``, if Protobuf takes it as an identifier."""
    if not source.isascii() or not _IDENTIFIER.fullmatch(name):
        raise UnsupportedTypeError(f'{source!r} can not be a name in Protobuf')
    return name


def package_of(module: str) -> str:
    """Return the package for the services of a module: ``shop.counters.v1``."""
    if module in ('__main__', '__mp_main__'):
        module = 'main'
    components = [_to_component(part) for part in module.split('.')]
    return '.'.join([*components, 'v1'])


def service_of(actor_class: Any, package: str | None = None) -> tuple[str, str]:
    """Return the package and name of an actor class's typed service.

    :param package: the package, without its version; by default ``_package_`` of the class, or
        its module.
    :raises UnsupportedTypeError: when Protobuf has no identifier for the name of the class.
    """
    configured = package or actor_class._package_ or actor_class.__module__
    return package_of(configured), f'{pascal(actor_class.__name__)}Service'


def _to_component(part: str) -> str:
    name = words(part.encode('ascii', 'ignore').decode()).lower()
    return name if _IDENTIFIER.fullmatch(name) else f'm{name}'


def clients_of(service: str) -> tuple[str, str]:
    """Return the names of a service's generated Python clients."""
    name = service.removesuffix('Service')
    return f'{name}Client', f'Async{name}Client'


def file_of(package: str) -> str:
    """Return the path of the file of a package: ``shop/counters/v1/counters.proto``."""
    *parents, _version = package.split('.')
    return f'{package.replace(".", "/")}/{parents[-1]}.proto'
