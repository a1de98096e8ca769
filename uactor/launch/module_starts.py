"""Actors that modules start while they are imported: ``cache = Cache()`` at module level.

An actor process imports the module again, to find the class. It must not start another actor then.
So both sides number the starts that a module makes, in their order. In the actor process such a
start gives a stand-in, and its first use asks the owner for the actor of that number.

At module level a stand-in can't be used. The owner's actor may wait for this very import, and what
the owner has done with it is done. There the import ends instead, as it would be cut short by a
fork, and the module gets what else it has from the owner (:class:`ImportStopped`).
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
    """Where the code of a module is that is being imported.

    :ivar module: its name.
    :ivar line: the line that runs.
    :ivar importers: the modules that wait for it, and itself.
    """

    module: str
    line: int
    importers: tuple[str, ...]


@dataclass(frozen=True)
class StartId:
    """Names a start that a module makes.

    :ivar number: counts the starts of the module, from 0.
    :ivar line: where it is made.
    :ivar actor_class: name of the class that it starts.
    """

    module: str
    number: int
    line: int
    actor_class: str

    def __str__(self) -> str:
        return f'the {self.actor_class} that line {self.line} of module {self.module} starts'


class StartState(enum.Enum):
    """What has become of a start."""

    PENDING = enum.auto()
    STARTED = enum.auto()
    FAILED = enum.auto()


class Start:
    """A start that a module has made in this process.

    :ivar found: returns the manager of the actor, or its stand-in; None when it has gone.
    """

    def __init__(self, ident: StartId) -> None:
        self.ident = ident
        self.state = StartState.PENDING
        self.find_holder: Callable[[], Any] = lambda: None

    def succeed(self, holder: Any) -> None:
        """Note what leads to the actor; it is not kept alive by that."""
        self.find_holder = weakref.ref(holder)
        self.state = StartState.STARTED

    def fail(self) -> None:
        """Note that there is no actor."""
        self.state = StartState.FAILED


class ImportStopped(BaseException):
    """Ends the import of a module that uses a stand-in; see the module's docstring."""


_lock = threading.RLock()
_starts: dict[str, tuple[Any, list[Start]]] = {}
"""Per module, its spec, which is another one when it is imported anew, and what it has started."""

_started_from: frozenset[str] = frozenset()
"""The modules whose imports have led to this actor process."""


def find_current_site() -> Site | None:
    """Return where a module is being imported on this thread, or None."""
    running = list(_walk_module_frames(sys._getframe(1)))
    return Site(*running[0], tuple(name for name, _ in running)) if running else None


def _walk_module_frames(frame: FrameType | None) -> Iterator[tuple[str, int]]:
    """Yield name and line of the modules whose code runs on a stack, the innermost first."""
    while frame is not None:
        if frame.f_code.co_name == '<module>':
            name = frame.f_globals.get('__name__')
            module = sys.modules.get(name) if isinstance(name, str) else None
            if module is not None and name not in _MAINS and vars(module) is frame.f_globals:
                yield module.__name__, frame.f_lineno
        frame = frame.f_back


def is_on_behalf_of_a_start(site: Site) -> bool:
    """Return whether a start there was made by the owner already, if it has the module."""
    if start_guard.get_phase() is Phase.LOADING:
        return True
    return not _started_from.isdisjoint(site.importers)


def register_start(site: Site, actor_class: type) -> Start:
    """Number a start that is about to be made."""
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
    """Return the start of this process that another one's stand-in names."""
    with _lock:
        _, starts = _starts.get(ident.module, (None, []))
    if ident.number >= len(starts):
        return None
    start = starts[ident.number]
    return start if start.ident.actor_class == ident.actor_class else None


def is_being_imported(module: str) -> bool:
    """Return whether the import of a module, or of a package that it is in, has not ended yet.

    To pickle something of it by name would wait for that.
    """
    parts = module.split('.')
    names = ('.'.join(parts[:count]) for count in range(1, len(parts) + 1))
    specs = (getattr(sys.modules.get(name), '__spec__', None) for name in names)
    return any(getattr(spec, '_initializing', False) for spec in specs)


def get_lineage(site: Site | None) -> tuple[str, ...]:
    """Return the modules whose imports lead to a start there."""
    return tuple(_started_from.union(() if site is None else site.importers))


# --- imports that stop ---------------------------------------------------------------------------

Complete = Callable[[ModuleType], None]
"""Gives a module what it lacks since its import has stopped."""


class _Finder:
    """Lets imports of this process stop, as long as they are on behalf of its start."""

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
    del loader.exec_module  # what stands in the place of the class's own
    try:
        loader.exec_module(module)
    except ImportStopped:
        complete(module)


_finder: _Finder | None = None


def begin_loading(complete: Complete) -> None:
    """Have what is imported from now on be imported on behalf of this process's start."""
    global _finder
    start_guard.enter_phase(Phase.LOADING)
    _finder = _Finder(complete)
    sys.meta_path.insert(0, _finder)


def set_lineage(modules: Sequence[str]) -> None:
    """Note the modules whose imports have led to this process."""
    global _started_from
    _started_from = frozenset(modules)


def end_loading() -> None:
    """Have the actor's own code run from now on."""
    global _finder
    start_guard.enter_phase(Phase.RUNNING)
    if not _started_from and _finder is not None:
        sys.meta_path.remove(_finder)
        _finder = None
