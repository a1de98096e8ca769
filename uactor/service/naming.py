"""Names of Protobuf made of names of Python, as ``buf lint`` wants them."""

from __future__ import annotations

import re
from typing import Any

from uactor.service.errors import UnsupportedTypeError

# Compiled with the module, and so once for all actors that a template forks.
_IDENTIFIER = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_SEPARATOR = re.compile(r'[^0-9A-Za-z]+')
_BEGINNING = re.compile(r'(?<=[a-z])(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])')
_UNDERSCORES = re.compile(r'_+')
_NEXT_WORD = re.compile(r'_+([^_])')


def words(name: str) -> str:
    """Return ``name`` with its words set apart by single underscores, their case unchanged.

    Words begin where buf sees them begin: at capitals that follow or precede a small letter.
    """
    name = _SEPARATOR.sub('_', name).strip('_')
    return _UNDERSCORES.sub('_', _BEGINNING.sub('_', name))


def snake(name: str) -> str:
    """Return ``name`` in lower_snake_case.

    :raises UnsupportedTypeError: when no identifier of Protobuf can be made of it.
    """
    return _checked(name, words(name).lower())


def pascal(name: str) -> str:
    """Return ``name`` in PascalCase; capitals in it stay.

    :raises UnsupportedTypeError: when no identifier of Protobuf can be made of it.
    """
    parts = [part for part in _SEPARATOR.split(name) if part]
    return _checked(name, ''.join(part[0].upper() + part[1:] for part in parts))


def upper(name: str) -> str:
    """Return ``name`` in UPPER_SNAKE_CASE."""
    return words(name).upper()


def camel(name: str) -> str:
    """Return the name that Protobuf's JSON has for a field."""
    return _NEXT_WORD.sub(lambda match: match[1].upper(), name)


def _checked(origin: str, name: str) -> str:
    if not origin.isascii() or not _IDENTIFIER.fullmatch(name):
        raise UnsupportedTypeError(f'{origin!r} can not be a name in Protobuf')
    return name


def package_of(module: str) -> str:
    """Return the package for the services of a module: ``shop.counters.v1``."""
    if module in ('__main__', '__mp_main__'):
        module = 'main'
    parts = [_component(part) for part in module.split('.')]
    return '.'.join([*parts, 'v1'])


def service_of(actor_class: Any, package: str | None = None) -> tuple[str, str]:
    """Return the package and the name of the typed service of an actor class.

    :param package: the package, without its version; by default ``_package_`` of the class, or
        its module.
    :raises UnsupportedTypeError: when no name can be made of that of the class.
    """
    configured = package or actor_class._package_ or actor_class.__module__
    return package_of(configured), f'{pascal(actor_class.__name__)}Service'


def _component(part: str) -> str:
    name = words(part.encode('ascii', 'ignore').decode()).lower()
    return name if _IDENTIFIER.fullmatch(name) else f'm{name}'


def file_of(package: str) -> str:
    """Return the path of the file of a package: ``shop/counters/v1/counters.proto``."""
    *parents, _version = package.split('.')
    return f'{package.replace(".", "/")}/{parents[-1]}.proto'
