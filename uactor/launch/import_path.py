"""The import paths of a new process: its own, then its owner's.

The process imports uactor with no directory of the program on the path. A file of the program with
the name of a standard module would otherwise run before the process can guard itself, and stay in
all actors that a template forks. Under the owner's path, that file takes its usual place.

The process imports uactor, and the modules that uactor needs, from the directories where the owner
has found them, whatever else is installed. The owner's path never replaces them: with a second copy
of uactor, the process would forget that it is being started, and start further processes.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import marshal
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_NEEDED_MODULES = (
    *('uactor', 'cloudpickle', 'grpc', 'google.protobuf', 'google.rpc', 'typing_extensions'),
    *('grpc_health', 'grpc_reflection', 'grpc_status'),
)
"""Modules that templates import, in addition to the standard library."""
_NEVER_REPLACED = frozenset(name.partition('.')[0] for name in _NEEDED_MODULES)
"""The top-level modules that run already when the owner's path comes."""


@dataclass(frozen=True)
class ImportPath:
    """The import path of an actor process that has used another before.

    :ivar entries: the entries of the path.
    :ivar replaced: names of imported modules for which this path leads to other files; None if the
        process has to find them.
    """

    entries: tuple[str, ...]
    replaced: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        """Return the path as bytes."""
        return marshal.dumps((self.entries, self.replaced))

    @classmethod
    def decode(cls, data: bytes) -> ImportPath:
        """Return the path that :meth:`encode` has encoded."""
        return cls(*marshal.loads(data))

    def apply(self) -> None:
        """Set this process's import path, and forget modules that it replaces."""
        sys.path[:] = self.entries
        replaced = self.replaced
        if replaced is None:
            replaced = find_shadowed(list_own_modules(), make_absolute(self.entries))
        for name in replaced:
            for known in [known for known in sys.modules if f'{known}.'.startswith(f'{name}.')]:
                del sys.modules[known]


def find_current_directory() -> str:
    """Return the current directory, or '' if it has been removed."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ''


_FIRST_DIRECTORY = find_current_directory()


def copy_own_path() -> list[str]:
    """Return this process's import path, for a process that it starts.

    An empty entry means the current directory. If this process has changed its directory, the
    path also gets the first one, where modules have been found by the empty entry.
    """
    entries = [os.fspath(entry) for entry in sys.path]
    if '' in entries and _FIRST_DIRECTORY not in ('', find_current_directory(), *entries):
        entries.insert(entries.index('') + 1, _FIRST_DIRECTORY)
    return entries


def make_absolute(path: Sequence[str]) -> tuple[str, ...]:
    """Return an import path with its relative entries made absolute."""
    directory = find_current_directory()
    return tuple(os.path.join(directory, entry) for entry in path)


@dataclass(frozen=True)
class FirstPath:
    """How a new interpreter changes its import path before it imports uactor.

    :ivar removed: the entries that it removes: the current directory and those of ``PYTHONPATH``.
    :ivar standard: the entries of the standard library, which come first.
    :ivar needed: the directories of uactor and of what it needs, which come next. They are in the
        order of this process's path, so that the interpreter finds what this process has found.
    """

    removed: list[str]
    standard: list[str]
    needed: list[str]


def plan_first_path(variables: Mapping[bytes, bytes]) -> FirstPath:
    """Return how an interpreter with this environment changes its path."""
    added = os.fsdecode(variables.get(b'PYTHONPATH', b'')).split(os.pathsep)
    removed = {'', *added, *map(os.path.normpath, make_absolute(added))}
    kept = filter(_is_standard, removed)  # PYTHONPATH may name it, too
    own = [os.path.normpath(entry) for entry in make_absolute(sys.path)]
    needed = sorted(
        dict.fromkeys(_find_needed_directories()),
        key=lambda directory: own.index(directory) if directory in own else len(own),
    )
    standard = [entry for entry in sys.path if _is_standard(entry)]
    return FirstPath(sorted(removed.difference(kept)), standard, needed)


def _is_standard(entry: str) -> bool:
    """Return whether an entry of the path belongs to the standard library."""
    library = os.path.dirname(os.__file__)
    return entry.endswith('.zip') or entry in (library, os.path.join(library, 'lib-dynload'))


def _find_needed_directories() -> Iterator[str]:
    for name in _NEEDED_MODULES:
        directory = _find_directory(name)
        if directory is not None:
            yield directory


def _find_directory(name: str) -> str | None:
    """Return the directory on the path that has a module, or None."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # not installed, or created by code
        return None
    if spec is None or spec.origin is None or not spec.has_location:
        return None
    depth = name.count('.') + (1 if spec.submodule_search_locations is None else 2)
    directory = spec.origin
    for _ in range(depth):
        directory = os.path.dirname(directory)
    return os.path.normpath(make_absolute([directory])[0])


def list_own_modules() -> dict[str, str]:
    """Return the files of the top-level modules that this process has imported."""
    found = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, '__spec__', None)
        if '.' not in name and name != '__main__' and spec is not None and spec.has_location:
            found[name] = str(spec.origin)
    return found


def find_shadowed(modules: Mapping[str, str], path: Sequence[str]) -> tuple[str, ...]:
    """Return the modules for which an import path leads to other files.

    Looking up all modules takes longer than forking a process. So this looks up only the names that
    exist in directories from which none of the modules comes.

    :param modules: the files of modules by their names.
    :param path: absolute.
    """
    found = []
    for name in sorted(_find_candidates(modules, path) - _NEVER_REPLACED):
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or not spec.has_location:
            continue  # found by an import hook, or a namespace package
        if spec.origin != modules[name] and not _is_same(spec.origin, modules[name]):
            found.append(name)
    return tuple(found)


def _find_candidates(modules: Mapping[str, str], path: Sequence[str]) -> set[str]:
    own = {_get_entry(origin) for origin in modules.values()}
    found: set[str] = set()
    for entry in path:
        if entry in own:
            continue
        try:
            found.update(name.partition('.')[0] for name in os.listdir(entry))
        except NotADirectoryError:  # an archive
            return set(modules)
        except OSError:  # it does not exist
            continue
    return found.intersection(modules)


def _get_entry(origin: str) -> str:
    """Return the entry of the path by which a module was found."""
    directory, name = os.path.split(origin)
    return os.path.dirname(directory) if name.startswith('__init__.') else directory


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # in an archive, or removed meanwhile
        return False
