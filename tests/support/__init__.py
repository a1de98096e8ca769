"""What the tests share: the transport under test, and waiting for things that come about."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

import uactor
from tests.support import brake

TRANSPORT = os.environ.get('UACTOR_TEST_TRANSPORT', 'unix')
"""'unix', by the local lane, 'grpc' over Unix sockets, or 'tcp'; in the environment, so that
nested actors follow."""

_OPTIONS: dict[str, dict[str, Any]] = {
    'unix': {},
    'grpc': {'transport': 'grpc'},
    'tcp': {'address': ('localhost', 0)},
}

LAUNCHERS = ('template', 'interpreter')
"""How an actor process can be started."""


class Actor(uactor.Actor):
    """Base of the actors under test: listens on the transport under test."""

    _options_ = _OPTIONS[TRANSPORT]


def eventually(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Return what ``condition`` returns once it is true; for what nothing announces.

    For states of other processes, which can't be awaited: /proc, the file system. The timeout is
    a brake for what never comes, and not for a machine that is busy.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not (result := condition()):
        brake.check()
        if time.monotonic() > deadline:
            raise AssertionError(f'not within {timeout} seconds: {condition}')
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return result


def seed() -> int:
    """Return a seed for what a test leaves to chance, and print it for when that test fails.

    ``UACTOR_TEST_SEED`` gives the same one again.
    """
    number = int(os.environ.get('UACTOR_TEST_SEED') or secrets.randbits(32))
    print(f'UACTOR_TEST_SEED={number}')
    return number


def is_running(pid: int) -> bool:
    """Tell whether a process runs, zombies not counted."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int | None = None) -> Iterator[psutil.Process]:
    """Yield the processes below this one, or below ``pid``, but not its helpers, which stay."""
    for process in _below(pid or os.getpid()):
        if not _is_helper(process) and not is_template(process):
            yield process


_LISTS_CHILDREN = os.path.exists(f'/proc/self/task/{os.getpid()}/children')


def _below(pid: int) -> list[psutil.Process]:
    """Return the processes below ``pid``.

    By psutil, which reads of all processes of the machine, this took half the time of tests that
    start none.
    """
    if not _LISTS_CHILDREN:
        return psutil.Process(pid).children(recursive=True)
    found = []
    for child in _children(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [psutil.Process(child), *_below(child)]
    return found


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended
        for thread in os.listdir(f'/proc/{pid}/task'):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f'/proc/{pid}/task/{thread}/children') as file,
            ):
                children += map(int, file.read().split())
    return children


def is_template(process: psutil.Process) -> bool:
    """Tell whether actor processes are forked from it."""
    try:
        return bool(process.name() == 'uactor-template')
    except psutil.Error:  # it has ended
        return False


def _is_helper(process: psutil.Process) -> bool:
    """Tell whether multiprocessing keeps it beside a process, or the tests do: their brake."""
    try:
        words = process.cmdline()
        return brake.__file__ in words or any(
            'multiprocessing.resource_tracker' in w for w in words
        )
    except psutil.Error:  # it has ended, or is about to
        return False
