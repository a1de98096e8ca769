"""The import paths of a process that is started: first its own, and then that of its owner.

What uactor needs is imported with nothing of the user's on the path. A file of his that has the
name of a standard module would run before this process can guard itself, and stay in all actors
that a template forks. Once the path is the owner's, such a file takes the place that it has there.
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
"""What templates import beside the standard library."""


@dataclass(frozen=True)
class ImportPath:
    """The import path of an actor process, which has imported modules by another one before.

    :ivar entries: what is in it.
    :ivar replaced: names of those modules that it leads to other files for; None if the process
        has to find out.
    """

    entries: tuple[str, ...]
    replaced: tuple[str, ...] | None = None

    def encode(self) -> bytes:
        """Return it as it is sent."""
        return marshal.dumps((self.entries, self.replaced))

    @classmethod
    def decode(cls, data: bytes) -> ImportPath:
        """Return what :meth:`encode` has sent."""
        return cls(*marshal.loads(data))

    def apply(self) -> None:
        """Give it to this process: what is imported from now on is found by it."""
        sys.path[:] = self.entries
        replaced = self.replaced
        if replaced is None:
            replaced = find_shadowed(list_own_modules(), make_absolute(self.entries))
        for name in replaced:
            for known in [known for known in sys.modules if f'{known}.'.startswith(f'{name}.')]:
                del sys.modules[known]


def find_current_directory() -> str:
    """Return the current directory; '' when it has been removed, with all that was in it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ''


_FIRST_DIRECTORY = find_current_directory()


def copy_own_path() -> list[str]:
    """Return the import path of this process, for one that it starts.

    An empty entry means the current directory. Where that is another one by now, the modules that
    this process has by that entry are found in the directory in which it began.
    """
    entries = [os.fspath(entry) for entry in sys.path]
    if '' in entries and _FIRST_DIRECTORY not in ('', find_current_directory(), *entries):
        entries.insert(entries.index('') + 1, _FIRST_DIRECTORY)
    return entries


def make_absolute(path: Sequence[str]) -> tuple[str, ...]:
    """Return an import path with what its relative entries mean at this moment."""
    directory = find_current_directory()
    return tuple(os.path.join(directory, entry) for entry in path)


def plan_first_path(variables: Mapping[bytes, bytes]) -> tuple[list[str], list[str]]:
    """Return what an interpreter with this environment removes from its import path, and adds.

    What is left is its own path, without what the user adds by ``PYTHONPATH``, or has in the
    current directory. At its end, behind the standard library, are the directories of what uactor
    needs, wherever they are.
    """
    added = os.fsdecode(variables.get(b'PYTHONPATH', b'')).split(os.pathsep)
    removed = {'', *added, *map(os.path.normpath, make_absolute(added))}
    kept = filter(_is_standard, removed)  # the user may name it, too
    return sorted(removed.difference(kept)), list(dict.fromkeys(_find_needed_directories()))


def _is_standard(entry: str) -> bool:
    """Return whether an entry of the import path is of the standard library."""
    library = os.path.dirname(os.__file__)
    return entry.endswith('.zip') or entry in (library, os.path.join(library, 'lib-dynload'))


def _find_needed_directories() -> Iterator[str]:
    for name in _NEEDED_MODULES:
        directory = _find_directory(name)
        if directory is not None:
            yield directory


def _find_directory(name: str) -> str | None:
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
    return os.path.normpath(make_absolute([directory])[0])


def list_own_modules() -> dict[str, str]:
    """Return the files of the modules that this process has imported by their path."""
    found = {}
    for name, module in list(sys.modules.items()):
        spec = getattr(module, '__spec__', None)
        if '.' not in name and name != '__main__' and spec is not None and spec.has_location:
            found[name] = str(spec.origin)
    return found


def find_shadowed(modules: Mapping[str, str], path: Sequence[str]) -> tuple[str, ...]:
    """Return those of ``modules`` that an import path leads to other files for.

    To look up all of them takes longer than to fork a process. So only those are looked up whose
    names stand in directories that the modules do not come from.

    :param modules: the files of modules by their names.
    :param path: absolute.
    """
    found = []
    for name in sorted(_find_candidates(modules, path)):
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is None or spec.origin is None or not spec.has_location:
            continue  # of an import hook, or a namespace
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
        except OSError:  # it is not there
            continue
    return found.intersection(modules)


def _get_entry(origin: str) -> str:
    """Return the directory on the path that a module has been found in."""
    directory, name = os.path.split(origin)
    return os.path.dirname(directory) if name.startswith('__init__.') else directory


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:  # in an archive, or removed meanwhile
        return False
