"""Rule 5: actors are forked from a template process, and nobody can tell by them."""

from __future__ import annotations

import atexit
import faulthandler
import gc
import locale
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import random
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

import uactor
from tests.peers import Peer
from tests.programs import printed_by, run_python
from tests.support import Actor, descendants, eventually, is_running, is_template
from uactor.launch.forking import is_possible
from uactor.launch.template import UNKNOWN_STATUS, templates

pytestmark = pytest.mark.skipif(not is_possible(), reason='this system can have no templates')


class Runner(Actor):
    """Runs functions."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def parent_of(actor: Any) -> int:
    """Return the process id of the parent of an actor process, as the kernel has it."""
    parent: int = actor.run(os.getppid)
    return parent


@pytest.fixture
def template() -> Iterator[psutil.Process]:
    """The template that the actors of a test come from, as long as nothing happens to it."""
    with Runner() as actor:
        yield psutil.Process(parent_of(actor))


# --- what it is like -----------------------------------------------------------------------------


def test_actors_are_forked_from_one_template_that_has_a_single_thread(
    template: psutil.Process,
) -> None:
    with Runner() as first, Runner() as second:
        assert parent_of(first) == parent_of(second) == template.pid
        assert is_template(template)
        assert template.num_threads() == 1
        assert template.ppid() == os.getpid()


def test_an_idle_template_does_nothing(template: psutil.Process) -> None:
    def switches() -> int:
        return sum(template.num_ctx_switches())

    eventually(lambda: template.status() == psutil.STATUS_SLEEPING)
    before = switches()
    with Runner() as actor:
        assert switches() > before
        eventually(lambda: template.status() == psutil.STATUS_SLEEPING)
        before = switches()
        assert actor.run(pow, 2, 3) == 8
        assert switches() == before


def test_a_template_keeps_no_file_of_its_owner_open(template: psutil.Process) -> None:
    files = {number.fd: number.path for number in template.open_files()}
    assert files == {}
    targets = [os.readlink(path) for path in pathlib.Path(f'/proc/{template.pid}/fd').iterdir()]
    assert sorted(target.partition(':')[0] for target in targets) == ['/dev/null'] * 3 + ['socket']
    assert template.cwd() == '/'


def test_an_actor_that_has_actors_gets_a_template_of_its_own(template: psutil.Process) -> None:
    def nest() -> tuple[int, int, int]:
        with Runner() as inner:
            parent = parent_of(inner)
            return parent, psutil.Process(parent).ppid(), os.getpid()

    with Runner() as outer:
        parent, grandparent, pid = outer.run(nest)
        assert parent != template.pid
        assert grandparent == pid
    eventually(lambda: not is_running(parent))


# --- nobody can tell -----------------------------------------------------------------------------


def traits() -> dict[str, Any]:
    """Return what could tell a forked process from a fresh interpreter."""
    process = psutil.Process()
    return {
        'streams': [
            (stream.name, stream.encoding, stream.errors, stream.line_buffering)
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        'status': status('Umask', 'Sig', 'Shd', 'Cap', 'Uid', 'Gid', 'Groups', 'NSpgid', 'NSsid'),
        'limits': pathlib.Path('/proc/self/limits').read_text(),
        'priority': (process.nice(), process.cpu_affinity()),
        'name': pathlib.Path('/proc/self/comm').read_text(),
        'handlers': [repr(signal.getsignal(number))[:20] for number in range(1, 32)],
        'environment': dict(os.environ),
        'place': (sys.path, sys.argv, os.getcwd()),
        'flags': (tuple(sys.flags), sys._xoptions, sys.warnoptions, sys.getrecursionlimit()),
        'warnings': [str(entry) for entry in warnings.filters],
        'loggers': [type(handler).__name__ for handler in logging.getLogger().handlers],
        'threads': sorted(thread.name.partition('-')[0] for thread in threading.enumerate()),
        'main thread': (threading.main_thread().native_id == os.getpid(), threading.stack_size()),
        'exit handlers': atexit._ncallbacks(),
        'multiprocessing': (
            multiprocessing.current_process().name,
            bytes(multiprocessing.current_process().authkey),
            multiprocessing.parent_process(),
            multiprocessing.active_children(),
            multiprocessing.get_start_method(),
            multiprocessing.resource_tracker._resource_tracker._fd,  # type: ignore[attr-defined]
        ),
        'collector': (gc.isenabled(), gc.get_threshold()),
        'faults': faulthandler.is_enabled(),
        'locale': (locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding()),
        'temporary': tempfile.tempdir,
    }


def status(*names: str) -> list[str]:
    """Return what the kernel knows of this thread and its process."""
    lines = pathlib.Path('/proc/thread-self/status').read_text().splitlines()
    return [line for line in lines if line.startswith(names)]


def descriptors() -> list[str]:
    """Return what kinds of files this process has open."""
    names = [os.readlink(entry) for entry in os.scandir('/proc/self/fd') if entry.is_symlink()]
    return sorted(name.partition(':')[0] for name in names)


class Described(Actor):
    """Describes its process, as its main thread finds it."""

    def __init__(self) -> None:
        self.traits = traits()

    _exposed_ = ('traits',)


LAUNCHERS = ('template', 'interpreter')


def traits_by(launcher: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the traits of an actor, the choice of the launcher left out."""
    monkeypatch.setenv('UACTOR_LAUNCH', launcher)
    with Described() as actor:
        found: dict[str, Any] = actor.traits
    assert found['environment'].pop('UACTOR_LAUNCH') == launcher
    return found


def test_a_forked_actor_is_like_one_of_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    forked = traits_by('template', monkeypatch)
    fresh = traits_by('interpreter', monkeypatch)
    assert forked == fresh


def test_a_forked_actor_has_no_files_that_one_of_a_fresh_interpreter_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for launcher in LAUNCHERS:
        monkeypatch.setenv('UACTOR_LAUNCH', launcher)
        with Runner() as first, Runner() as second:
            found += [first.run(descriptors), second.run(descriptors)]
    assert all(files == found[0] for files in found)


def test_each_actor_has_randomness_of_its_own() -> None:
    def draw() -> list[Any]:
        return [random.random(), secrets.token_hex(), uuid.uuid4(), os.urandom(8)]

    with Runner() as first, Runner() as second:
        assert not set(first.run(draw)) & set(second.run(draw))


def test_a_start_method_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('UACTOR_LAUNCH', 'magic')
    with pytest.raises(uactor.ActorStartError, match="'magic'"):
        Runner()
