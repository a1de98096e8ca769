"""Count this machine's cores, and move a thread between them."""

from __future__ import annotations

import logging
import mmap
import os
from collections.abc import Callable
from time import perf_counter

log = logging.getLogger('uactor.transport')

_STATE = '/proc/thread-self/stat'
_LOAD = '/proc/loadavg'
_CORE = 36
"""Index of the core among the fields after the thread's name, which may contain anything."""

_yield: Callable[[], None] = getattr(os, 'sched_yield', lambda: None)


def count_spare_cores() -> int:
    """Return how many further cores this process may use."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0)) - 1
    return (os.cpu_count() or 1) - 1


def yield_core() -> float:
    """Yield the core to another runnable thread; return the seconds that took."""
    before = perf_counter()
    _yield()
    return perf_counter() - before


def move_to_idle_core() -> None:
    """Move this thread to another core, if one is idle.

    This is for a thread that shares its core. The system wakes a thread on the core of its waker.
    Two threads that run alternately stay on one core for a hundred milliseconds.
    """
    if not hasattr(os, 'sched_setaffinity'):
        return
    try:
        if count_runnable_threads() > (os.cpu_count() or 1):
            return  # probably no core is idle
        allowed = os.sched_getaffinity(0)  # of this thread
        others = allowed - {get_current_core()}
        if others:
            os.sched_setaffinity(0, others)  # the system moves the thread at once
            os.sched_setaffinity(0, allowed)
    except (OSError, ValueError, IndexError) as error:  # some systems lack the files, or refuse
        log.debug('the ends of a lane stay on one core: %s', error)


def count_runnable_threads() -> int:
    """Return how many threads of the system are runnable."""
    return int(_read_system_file(_LOAD).split()[3].partition(b'/')[0])


def get_current_core() -> int:
    """Return the core on which this thread runs."""
    return int(_read_system_file(_STATE).rpartition(b')')[2].split()[_CORE])


def _read_system_file(path: str) -> bytes:
    """Read a system file, three times as fast as a file object."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, mmap.PAGESIZE)
    finally:
        os.close(descriptor)
