"""The import path of a process that is about to be started.

An actor process has that of its owner. A template has its own, with nothing of the user's: what it
imports would be run before anything is known of it, and stays in all actors that it forks.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_NEEDED = (
    *('uactor', 'cloudpickle', 'grpc', 'google.protobuf', 'google.rpc', 'typing_extensions'),
    *('grpc_health', 'grpc_reflection', 'grpc_status'),
)
"""What templates import beside the standard library."""


@dataclass(frozen=True)
class ImportPath:
    """How an interpreter gets its import path.

    :ivar entries: what is in it, behind its own if it keeps that.
    :ivar removed: what it removes of its own; None when it keeps nothing.
    """

    entries: tuple[str, ...]
    removed: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        """Return it as it is sent; ``interpreter.START_CODE`` reads it too."""
        removed = None if self.removed is None else list(self.removed)
        return marshal.dumps((list(self.entries), removed))

    @classmethod
    def decode(cls, data: bytes) -> ImportPath:
        """Return what :meth:`encode` has sent."""
        entries, removed = marshal.loads(data)
        return cls(tuple(entries), None if removed is None else tuple(removed))

    def apply(self) -> None:
        """Give it to this process."""
        own = () if self.removed is None else (e for e in sys.path if e not in self.removed)
        sys.path[:] = [*own, *self.entries]


def absolute(path: Sequence[str]) -> tuple[str, ...]:
    """Return an import path with what its relative entries mean at this moment."""
    try:
        directory = os.getcwd()
    except FileNotFoundError:  # it has been removed, with all that was in it
        directory = ''
    return tuple(os.path.join(directory, entry) for entry in path)


def path_of_template(variables: Mapping[bytes, bytes]) -> ImportPath:
    """Return the import path of a template that has this environment.

    It is that of the interpreter, without what the user adds by ``PYTHONPATH``. At its end, behind
    the standard library, are the directories of what uactor needs, wherever they are.
    """
    added = os.fsdecode(variables.get(b'PYTHONPATH', b'')).split(os.pathsep)
    removed = {*added, *map(os.path.abspath, added)}
    return ImportPath(tuple(dict.fromkeys(_needed_directories())), tuple(sorted(removed)))


def _needed_directories() -> Iterator[str]:
    for name in _NEEDED:
        directory = _directory_of(name)
        if directory is not None:
            yield directory


def _directory_of(name: str) -> str | None:
    """Return the directory on the path that a module is in; None for none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # not installed, or made by hand
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    depth = name.count('.') + (1 if spec.submodule_search_locations is None else 2)
    directory = spec.origin
    for _ in range(depth):
        directory = os.path.dirname(directory)
    return os.path.abspath(directory)


def own_modules() -> dict[str, str]:
    """Return the files of the modules that this process has imported by their path."""
    found = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, '__spec__', None)
        if '.' not in name and name != '__main__' and spec is not None and spec.has_location:
            found[name] = str(spec.origin)
    return found


def shadowed(modules: Mapping[str, str], path: Sequence[str]) -> str | None:
    """Return the file that takes the place of one of ``modules`` on an import path, or None.

    :param modules: the files of modules by their names.
    :param path: absolute.
    """
    for name, origin in modules.items():
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or not spec.has_location:
            continue  # of an import hook, or a namespace
        if spec.origin != origin and not _is_same(spec.origin, origin):
            return spec.origin
    return None


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # in an archive, or removed meanwhile
        return False
