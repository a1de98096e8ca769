"""Actors that modules start while they are imported.

An example is ``cache = Cache()`` at module level.

An actor process imports the module again to find the class, and must not start another actor. So
owner and actor process number the starts of a module in their order. In the actor process a start
returns a stand-in. Its first use requests the actor of that number from the owner.

A stand-in can't be used at module level. The owner's actor may wait for this very import, and the
owner has already run the code of the module. So the import ends where the module uses a stand-in
(:class:`ImportStopped`), and the module gets its other names from the owner.
"""

from __future__ import annotations

import enum
import functools
import importlib.machinery
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType, ModuleType
from typing import Any

from uactor.launch import start_guard
from uactor.launch.start_guard import Phase

_MAINS = '__main__', '__mp_main__'


@dataclass(frozen=True)
class Site:
    """A place in a module that is being imported.

    :ivar module: name of the module.
    :ivar line: the line that runs.
    :ivar importers: the module, and the modules that wait for its import.
    """

    module: str
    line: int
    importers: tuple[str, ...]


@dataclass(frozen=True)
class StartId:
    """The identity of a start that a module makes.

    :ivar number: number of the start in its module, from 0.
    :ivar line: line of the start.
    :ivar actor_class: name of the actor class.
    """

    module: str
    number: int
    line: int
    actor_class: str

    def __str__(self) -> str:
        return f'the {self.actor_class} that line {self.line} of module {self.module} starts'


class StartState(enum.Enum):
    """The state of a start."""

    PENDING = enum.auto()
    STARTED = enum.auto()
    FAILED = enum.auto()


class Start:
    """A start that a module has made in this process.

    :ivar find_holder: returns the manager of the actor, or its stand-in, or None if it has gone.
    """

    def __init__(self, ident: StartId) -> None:
        self.ident = ident
        self.state = StartState.PENDING
        self.find_holder: Callable[[], Any] = lambda: None

    def succeed(self, holder: Any) -> None:
        """Record the manager or stand-in of the actor, without keeping it alive."""
        self.find_holder = weakref.ref(holder)
        self.state = StartState.STARTED

    def fail(self) -> None:
        """Record that there is no actor."""
        self.state = StartState.FAILED


class ImportStopped(BaseException):
    """Ends the import of a module that uses a stand-in."""


_lock = threading.RLock()
_starts: dict[str, tuple[Any, list[Start]]] = {}
"""Per module, its spec and its starts. A module that is imported again has another spec."""

_started_from: frozenset[str] = frozenset()
"""The modules whose imports have led to this actor process."""


def find_current_site() -> Site | None:
    """Return the place where this thread imports a module, or None."""
    running = list(_walk_module_frames(sys._getframe(1)))
    return Site(*running[0], tuple(name for name, _ in running)) if running else None


def _walk_module_frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    """Yield name and line of the modules on a stack, innermost first."""
    while frame is not None:
        if frame.f_code.co_name == '<module>':
            name = frame.f_globals.get('__name__')
            module = sys.modules.get(name) if isinstance(name, str) else None
            if module is not None and name not in _MAINS and vars(module) is frame.f_globals:
                yield module.__name__, frame.f_lineno
        frame = frame.f_back


def is_on_behalf_of_a_start(site: Site) -> bool:
    """Return whether the import at this place serves this process's start.

    The owner has made a start at this place already, if it has the module.
    """
    if start_guard.get_phase() is Phase.LOADING:
        return True
    return not _started_from.isdisjoint(site.importers)


def register_start(site: Site, actor_class: type) -> Start:
    """Register a start that follows, under the next number of its module."""
    spec = getattr(sys.modules.get(site.module), '__spec__', None)
    with _lock:
        known, starts = _starts.get(site.module, (None, []))
        if known is not spec or site.module not in _starts:
            starts = []
            _starts[site.module] = spec, starts
        name = f'{actor_class.__module__}.{actor_class.__qualname__}'
        start = Start(StartId(site.module, len(starts), site.line, name))
        starts.append(start)
        return start


def find_start(ident: StartId) -> Start | None:
    """Return the start that another process's stand-in names, or None."""
    with _lock:
        _, starts = _starts.get(ident.module, (None, []))
    if ident.number >= len(starts):
        return None
    start = starts[ident.number]
    return start if start.ident.actor_class == ident.actor_class else None


def is_being_imported(module: str) -> bool:
    """Return whether a module or a package around it is being imported.

    Pickling a value of the module by name would wait for that import.
    """
    parts = module.split('.')
    names = ('.'.join(parts[:count]) for count in range(1, len(parts) + 1))
    specs = (getattr(sys.modules.get(name), '__spec__', None) for name in names)
    return any(getattr(spec, '_initializing', False) for spec in specs)


def get_lineage(site: Site | None) -> tuple[str, ...]:
    """Return the modules whose imports lead to a start at this place."""
    return tuple(_started_from.union(() if site is None else site.importers))


# --- imports that stop ---------------------------------------------------------------------------

Complete = Callable[[ModuleType], None]
"""Completes a module whose import has stopped."""


class _Finder:
    """A finder whose modules can stop their import.

    It finds modules only while imports serve this process's start.
    """

    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See :class:`importlib.abc.MetaPathFinder`."""
        if start_guard.get_phase() is not Phase.LOADING and name not in _started_from:
            return None
        spec = self._find_by_others(name, path, target)
        loader = None if spec is None else spec.loader
        if isinstance(
            loader,
            (importlib.machinery.SourceFileLoader, importlib.machinery.SourcelessFileLoader),
        ):
            execute: Any = functools.partial(_execute, loader, self._complete)
            loader.exec_module = execute  # type: ignore[method-assign]  # of this one alone
        return spec

    def _find_by_others(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> importlib.machinery.ModuleSpec | None:
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, 'find_spec'):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


def _execute(loader: Any, complete: Complete, module: ModuleType) -> None:
    del loader.exec_module  # the override, for the method of the class
    try:
        loader.exec_module(module)
    except ImportStopped:
        complete(module)


_finder: _Finder | None = None


def begin_loading(complete: Complete) -> None:
    """Begin the phase in which imports serve the start of this process."""
    global _finder
    start_guard.enter_phase(Phase.LOADING)
    _finder = _Finder(complete)
    sys.meta_path.insert(0, _finder)


def set_lineage(modules: Sequence[str]) -> None:
    """Record the modules whose imports have led to this process."""
    global _started_from
    _started_from = frozenset(modules)


def end_loading() -> None:
    """End the phase of loading, before the code of the actor runs."""
    global _finder
    start_guard.enter_phase(Phase.RUNNING)
    if not _started_from and _finder is not None:
        sys.meta_path.remove(_finder)
        _finder = None
