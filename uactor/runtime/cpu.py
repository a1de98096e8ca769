"""The cores of this machine: how many this process may use, and on which of them a thread runs."""

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
"""Place of the core in the state of a thread, after its name, which may contain anything."""

_yield: Callable[[], None] = getattr(os, 'sched_yield', lambda: None)


def count_spare_cores() -> int:
    """Return how many cores this process may use beside the one that it runs on."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0)) - 1
    return (os.cpu_count() or 1) - 1


def yield_core() -> float:
    """Let another thread run on this core, if one wants to; return how long, in seconds."""
    before = perf_counter()
    _yield()
    return perf_counter() - before


def move_to_idle_core() -> None:
    """Go to another core, if one is idle: for a thread that is not the only one on its core.

    A system leaves two threads on one core for a hundred milliseconds when either of them wants to
    run only while the other does not, and has one that is woken run where the other one is.
    """
    if not hasattr(os, 'sched_setaffinity'):
        return
    try:
        if _count_runnable_threads() > (os.cpu_count() or 1):
            return  # no core is idle, for all that is known
        allowed = os.sched_getaffinity(0)  # of this thread
        others = allowed - {_current_core()}
        if others:
            os.sched_setaffinity(0, others)  # it goes at once
            os.sched_setaffinity(0, allowed)
    except (OSError, ValueError, IndexError) as error:  # not every system tells, or lets it
        log.debug('the ends of a lane stay on one core: %s', error)


def _count_runnable_threads() -> int:
    """Return how many threads of the system run or want to."""
    return int(_read_system_file(_LOAD).split()[3].partition(b'/')[0])


def _current_core() -> int:
    return int(_read_system_file(_STATE).rpartition(b')')[2].split()[_CORE])


def _read_system_file(path: str) -> bytes:
    """Return what the system tells there, in a third of the time that a file object takes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, mmap.PAGESIZE)
    finally:
        os.close(descriptor)
