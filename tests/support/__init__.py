"""Helpers of all tests: the transport under test, waiting for a state, and processes."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psutil
import pytest

import uactor
from tests.support import brake

if TYPE_CHECKING:
    from uactor.host.process import HostProcess

TRANSPORT = os.environ.get('UACTOR_TEST_TRANSPORT', 'unix')
"""'unix', by the local lane, 'grpc' over Unix sockets, or 'tcp'; in the environment, so that
nested actors follow."""

OPTIONS: dict[str, dict[str, Any]] = {
    'unix': {},
    'grpc': {'transport': 'grpc'},
    'tcp': {'address': ('localhost', 0)},
}
"""The options of an actor for each transport."""

LAUNCHERS = ('template', 'interpreter')
"""How an actor process can be started."""


class Actor(uactor.Actor):
    """Base of the actors under test: listens on the transport under test."""

    _options_: ClassVar[Mapping[str, Any]] = OPTIONS[TRANSPORT]

    if TYPE_CHECKING:  # parts of the proxy that tests look at
        _manager: Any


def eventually(condition: Callable[[], Any], timeout: float = 30.0) -> Any:
    """Call ``condition`` until its result is true, and return that.

    It is for states that no event announces: /proc, the file system, other processes. The timeout
    is for a state that never comes, and longer than a busy machine needs.
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


def count_waiters(primitive: threading.Condition | threading.Event) -> int:
    """Return how many threads of this process wait for a condition or an event."""
    # No event announces that a thread waits, and Python shows it in no other way.
    if isinstance(primitive, threading.Event):
        primitive = primitive._cond  # type: ignore[attr-defined]  # noqa: SLF001
    return len(primitive._waiters)  # type: ignore[union-attr]  # noqa: SLF001


def seed() -> int:
    """Return a random seed for a test, and print it for the case that the test fails.

    With ``UACTOR_TEST_SEED`` in the environment, the test gets that seed again.
    """
    number = int(os.environ.get('UACTOR_TEST_SEED') or secrets.randbits(32))
    print(f'UACTOR_TEST_SEED={number}')
    return number


def get_own_host() -> HostProcess:
    """Return the host of this actor process."""
    from uactor.core import current_host
    from uactor.host.process import HostProcess  # which clients don't load

    assert isinstance(current_host.host, HostProcess)
    return current_host.host


def count_shared_objects() -> int:
    """Return how many objects this actor process shares, the actor itself not counted."""
    return len(get_own_host().table) - 1


def in_full(*values: Any) -> list[Any]:
    """Return values of a parameter that are only for the full run, since others are like them."""
    return [pytest.param(value, marks=pytest.mark.full) for value in values]


def is_running(pid: int) -> bool:
    """Return whether a process runs and is not a zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants(pid: int | None = None) -> Iterator[psutil.Process]:
    """Yield the processes below this one, or below ``pid``, except helpers that stay."""
    for process in _below(pid or os.getpid()):
        if not _is_helper(process) and not is_template(process):
            yield process


_LISTS_CHILDREN = Path(f'/proc/self/task/{os.getpid()}/children').exists()


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
        for thread in Path(f'/proc/{pid}/task').iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                children += map(int, (thread / 'children').read_text().split())
    return children


def is_template(process: psutil.Process) -> bool:
    """Return whether a process is a template."""
    try:
        return bool(process.name() == 'uactor-template')
    except psutil.Error:  # it has ended
        return False


def _is_helper(process: psutil.Process) -> bool:
    """Return whether a process is a helper of multiprocessing, or the brake of the tests."""
    try:
        words = process.cmdline()
        return brake.__file__ in words or any(
            'multiprocessing.resource_tracker' in w for w in words
        )
    except psutil.Error:  # it has ended, or is about to
        return False
