"""Fixtures for all tests: each leaves no actor process behind."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from tests.support import LAUNCHERS, brake, descendants, eventually, in_full


def pytest_configure(config: pytest.Config) -> None:
    brake.begin(is_worker=hasattr(config, 'workerinput'))


def pytest_unconfigure() -> None:
    brake.end()


def pytest_collection_finish() -> None:
    """Leave what has been imported to no collection: there is one after each test."""
    gc.collect()
    gc.freeze()


STARTS_A_PROCESS = frozenset(
    ['os.fork', 'os.forkpty', 'os.posix_spawn', 'os.system', 'subprocess.Popen']
)
_is_quick = False


def _refuse_processes(event: str, arguments: tuple[object, ...]) -> None:
    if _is_quick and event in STARTS_A_PROCESS:
        raise RuntimeError(f'a test that is marked quick starts a process ({event})')


def _refuse_start(*arguments: object, **options: object) -> NoReturn:
    raise RuntimeError('a test that is marked quick starts an actor')


sys.addaudithook(_refuse_processes)


@pytest.fixture(autouse=True)
def no_actor_is_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that all processes that it started have ended.

    A quick test can start none.
    """
    global _is_quick
    marks = {mark.name for mark in request.node.iter_markers()}
    _is_quick = 'quick' in marks and 'processes' not in marks
    if _is_quick:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('uactor.manager.start', _refuse_start)
            yield
        _is_quick = False
        return
    before = {process.pid for process in descendants()}
    yield
    brake.check()
    gc.collect()
    eventually(lambda: all(process.pid in before for process in descendants()))


def select_launcher(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Start actors in the way that is the parameter, in programs that a test runs, too."""
    monkeypatch.setenv('UACTOR_LAUNCH', request.param)
    return str(request.param)


launcher = pytest.fixture(params=LAUNCHERS, name='launcher')(select_launcher)
"""Both ways to start an actor, one after the other."""

usual_launcher = pytest.fixture(
    params=['template', *in_full('interpreter')], name='usual_launcher'
)(select_launcher)
"""The usual way to start an actor; the other one in the full run."""


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """The usual dispositions of signals that those ignore who run tests by nohup, or in a job."""
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, usual[number]) for number in usual}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def require_tool(name: str) -> str:
    """Return the path of a command; skip without it, but fail in CI."""
    path = shutil.which(name)
    if path is None:
        if os.environ.get('CI'):
            pytest.fail(f'{name} is not installed, and CI must have it')
        pytest.skip(f'{name} is not installed')
    return path
