"""Guard against starts that would multiply processes.

Importing a module can start actors, and starting an actor imports modules. Without a guard, the two
multiply processes without end. So a process that is being started starts nothing itself:

1. ``BEGINNING``: an interpreter or a frozen program runs, and uactor is not imported yet. Only a
   ``sitecustomize`` starts actors here, or a program without ``freeze_support()``.
2. ``TEMPLATE``: the process imports what all actor processes need.
3. ``LOADING``: an actor process unpickles its class and arguments. Modules that are imported for
   them get stand-ins for the actors that they start (see :mod:`uactor.launch.module_starts`).
4. ``RUNNING``: the constructor and the methods of an actor may start actors.
5. ``LEAVING``: the process runs its exit handlers.

``ORDINARY`` is any other process. In addition, the environment of each process has the number of
its owners above one another, and programs that it runs inherit that. The number has a limit, which
holds if all else fails.
"""

from __future__ import annotations

import enum
import os
import sys
import threading

from uactor.errors import ActorStartError
from uactor.runtime.weakrefs import WeakBag

MAX_DEPTH = 64
"""How deep actors may start each other: more than any program needs, and few enough to be
harmless."""

DEPTH = b'UACTOR_DEPTH'
"""Variable of the environment with the number of owners above this process."""
BEGINNING = b'UACTOR_BEGINNING'
"""Variable of the environment of a process that uactor has started, until it imports uactor."""


class Phase(enum.Enum):
    """The phase of a process; the docstring of the module describes each."""

    ORDINARY = enum.auto()
    BEGINNING = enum.auto()
    TEMPLATE = enum.auto()
    LOADING = enum.auto()
    RUNNING = enum.auto()
    LEAVING = enum.auto()


_NEXT = {
    Phase.ORDINARY: {Phase.TEMPLATE, Phase.LOADING, Phase.LEAVING},
    Phase.BEGINNING: {Phase.TEMPLATE, Phase.LOADING, Phase.LEAVING},
    Phase.TEMPLATE: {Phase.LOADING, Phase.LEAVING},
    Phase.LOADING: {Phase.RUNNING, Phase.LEAVING},
    Phase.RUNNING: {Phase.LEAVING},
    Phase.LEAVING: set[Phase](),
}

_phase = Phase.ORDINARY
_depth = 0
_import_threads: WeakBag[threading.Thread] = WeakBag()
"""Threads that modules have started during their import for this process's start."""


def get_phase() -> Phase:
    """Return the phase of this process."""
    if _phase is Phase.ORDINARY and BEGINNING in os.environb:
        return Phase.BEGINNING
    return _phase


def enter_phase(following: Phase) -> None:
    """Go on to another phase.

    :raises RuntimeError: if the current phase does not lead there.
    """
    global _phase, _depth
    if following not in _NEXT[get_phase()]:
        raise RuntimeError(f'a process does not go from {get_phase().name} to {following.name}')
    if following is Phase.RUNNING:
        for thread in _list_foreign_threads():
            _import_threads.add(thread)
    _phase, _depth = following, get_depth()
    os.environb.pop(BEGINNING, None)


def _list_foreign_threads() -> list[threading.Thread]:
    return [
        thread
        for thread in threading.enumerate()
        if thread is not threading.main_thread() and not thread.name.startswith('uactor-')
    ]


def get_depth() -> int:
    """Return the number of owners above this process."""
    given = os.environb.get(DEPTH, b'')  # which the program may have cleared
    return max(_depth, int(given) if given.isdigit() else 0)


def create_variables() -> dict[bytes, bytes]:
    """Return the guard's variables for the environment of a new process."""
    return {DEPTH: b'%d' % (get_depth() + 1), BEGINNING: b'1'}


def check_start() -> None:
    """Raise an error if starting an actor would multiply processes.

    :raises ActorStartError: in a process that is being started, on a thread that a module has
        started during its import for that, and at the largest depth.
    """
    now = get_phase()
    if now is Phase.BEGINNING:
        raise ActorStartError(
            f'{sys.executable!r} was run to become an actor process, and starts an actor itself. '
            'If it is a frozen program, call uactor.freeze_support() first in its main module; '
            'sitecustomize and the like cannot start actors'
        )
    if now is Phase.TEMPLATE or now is Phase.LOADING:
        raise ActorStartError(
            'this process is being started for an actor, and cannot start one itself: '
            'a module that it imports has started a thread, or a manager, that starts one'
        )
    if threading.current_thread() in _import_threads:
        raise ActorStartError(
            f'the thread {threading.current_thread().name!r} was started by a module that was '
            'imported to start this actor process, and cannot start actors; in the owner, it can'
        )
    if get_depth() >= MAX_DEPTH:
        raise ActorStartError(
            f'actors have started each other {MAX_DEPTH} levels deep, which is the limit'
        )
