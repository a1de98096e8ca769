"""Rules 1, 2 and 5: how actor processes begin and end, in order and not, and what they leave."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import logging
import multiprocessing
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

import uactor
from tests.peers import Peer
from tests.programs import printed_by, run_python
from tests.support import TRANSPORT, Actor, descendants, eventually
from uactor.client.connection import Link


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A directory with a short path, in which actors that this process starts listen."""
    with tempfile.TemporaryDirectory(prefix='t', dir='/tmp') as path:
        monkeypatch.setattr(tempfile, 'tempdir', path)
        yield pathlib.Path(path)


# --- calls that race with the end ------------------------------------------------------------------


class Tally(Actor):
    """Outlives others and knows which of their calls have run."""

    _method_to_typeid_ = {'numbers': 'list'}

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def numbers(self) -> list[int]:
        return self._numbers

    def pid(self) -> int:
        return os.getpid()


class Racer(Actor):
    """Notes each call elsewhere before it answers."""

    def __init__(self, numbers: Any) -> None:
        self._numbers = numbers

    def run(self, number: int) -> int:
        self._numbers.append(number)
        return number


@pytest.fixture(scope='module')
def tally() -> Iterator[Any]:
    with Tally() as actor:
        yield actor


def race(racer: Any, numbers: range, started: threading.Semaphore) -> dict[int, str]:
    """Call until the actor has ended; return for each call whether it has been executed."""
    outcomes: dict[int, str] = {}
    for number in numbers:
        try:
            assert racer.run(number) == number
            outcomes[number] = 'yes'
        except uactor.ActorDiedError as error:
            outcomes[number] = error.executed
            if error.executed == 'no':
                break
        started.release()
    return outcomes


@pytest.mark.parametrize('end', [Actor.shutdown, 'terminate', 'kill'], ids=str)
def test_calls_that_race_with_the_end_of_an_actor_end_and_none_runs_twice(
    tally: Any, end: Any
) -> None:
    callers, calls = 8, 1000
    numbers = tally.numbers()
    del numbers[:]
    racer = Racer(numbers)
    started = threading.Semaphore(0)
    with ThreadPoolExecutor(callers) as pool:
        futures = [
            pool.submit(race, racer, range(first, first + calls), started)
            for first in range(0, callers * calls, calls)
        ]
        for _ in range(100):
            started.acquire()
        if isinstance(end, str):
            getattr(racer._manager.process, end)()
        else:
            racer.shutdown()
        outcomes = {key: value for future in futures for key, value in future.result().items()}
    noted = list(numbers)
    assert len(noted) == len(set(noted))
    assert {number for number, executed in outcomes.items() if executed == 'yes'} <= set(noted)
    assert not {number for number, executed in outcomes.items() if executed == 'no'} & set(noted)
    assert list(outcomes.values()).count('no') == callers


def test_a_call_after_the_end_has_certainly_not_run() -> None:
    actor = Tally()
    actor.shutdown()
    with pytest.raises(uactor.ActorDiedError) as caught:
        actor.pid()
    assert caught.value.executed == 'no'


# --- constructors that fail ------------------------------------------------------------------------


class Unlucky(ValueError):
    """An error with a constructor of its own."""

    def __init__(self, number: int, *, reason: str) -> None:
        super().__init__(number, reason)
        self.number, self.reason = number, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _unlucky, (self.number, self.reason)


def _unlucky(number: int, reason: str) -> Unlucky:
    return Unlucky(number, reason=reason)


class Failing(Actor):
    """Does not come to be."""

    def __init__(self, fail: Callable[..., Any], *args: Any) -> None:
        self.inner = Tally()
        fail(*args)


def raise_unlucky() -> None:
    raise Unlucky(13, reason='black cat')


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def descriptors() -> int:
    return int(psutil.Process().num_fds())


FAILURES = [
    (Unlucky, raise_unlucky),
    (SystemExit, sys.exit, 3),
    (KeyboardInterrupt, signal.default_int_handler, 2, None),
    (uactor.ActorStartError, os._exit, 0),
    (uactor.ActorStartError, die, signal.SIGKILL),
    (uactor.ActorStartError, die, signal.SIGTERM),
    (uactor.SerializationError, threading.Lock()),
]


@pytest.mark.parametrize('failure', FAILURES, ids=lambda failure: f'{failure[1]}'.split(' at ')[0])
def test_a_constructor_that_fails_raises_at_the_call_and_leaves_nothing(
    directory: pathlib.Path, failure: tuple[Any, ...]
) -> None:
    with contextlib.suppress(Unlucky):
        Failing(raise_unlucky)  # loads what is loaded once
    expected, *arguments = failure
    before, threads = descriptors(), threading.active_count()
    with pytest.raises(expected):
        Failing(*arguments)
    eventually(lambda: descriptors() <= before)
    eventually(lambda: threading.active_count() <= threads)
    eventually(lambda: not list(directory.iterdir()))
    eventually(lambda: not list(descendants()))


def test_the_error_of_a_constructor_comes_as_it_was_raised() -> None:
    with pytest.raises(Unlucky) as caught:
        Failing(raise_unlucky)
    assert (caught.value.number, caught.value.reason) == (13, 'black cat')
    assert 'in raise_unlucky' in str(caught.value.__cause__)


def test_a_class_that_cannot_be_sent_is_refused_at_the_call() -> None:
    class Local(Actor):
        lock = threading.Lock()

    with pytest.raises(uactor.SerializationError, match='cannot send'):
        Local()


# --- ends that hang --------------------------------------------------------------------------------


class Hanging(Actor):
    """Does not end by itself."""

    _options_ = {'shutdown_timeout': 0.2}

    def __init__(self, *, at_exit: bool = False, stubborn: bool = False) -> None:
        self._hangs = not at_exit
        if at_exit:
            atexit.register(self.hang, stubborn)

    def hang(self, stubborn: bool) -> None:
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    def shutdown(self) -> None:
        if self._hangs:
            time.sleep(60)


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what has been logged of the end of a process, in short."""
    known = ('asking', 'too long', 'SIGTERM', 'SIGKILL', 'signal 15', 'signal 9')
    return [word for message in caplog.messages for word in known if word in message]


def test_an_actor_whose_exit_hangs_is_ended_by_sigterm(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, 'uactor')
    actor = Hanging(at_exit=True)
    actor.shutdown()
    assert actor._manager.process.exitcode == -signal.SIGTERM
    assert steps(caplog) == ['asking', 'SIGTERM', 'signal 15']


def test_an_actor_that_ignores_sigterm_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, 'uactor')
    with Hanging(at_exit=True, stubborn=True) as actor:
        process = actor._manager.parent.process
    assert process.exitcode == -signal.SIGKILL
    assert steps(caplog) == ['asking', 'SIGTERM', 'SIGKILL', 'signal 9']


@pytest.mark.parametrize('leave', ['shutdown', '__exit__'])
def test_an_actor_whose_shutdown_hangs_is_ended(
    leave: str, caplog: pytest.LogCaptureFixture
) -> None:
    actor = Hanging()
    getattr(actor, leave)(*([None] * 3 if leave == '__exit__' else []))
    assert not actor._manager.process.is_alive()
    assert steps(caplog)[0] == 'too long'


def test_an_actor_may_take_the_time_to_end_that_it_has(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Actor):
        _options_ = {'shutdown_timeout': 30}

        def __init__(self, path: pathlib.Path) -> None:
            atexit.register(self.finish, path)

        def finish(self, path: pathlib.Path) -> None:
            time.sleep(2.5)  # longer than an actor may take whose owner has been killed
            path.write_text('finished')

    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, 'result')
        with Slow(path):
            pass
        assert path.read_text() == 'finished'
    assert steps(caplog) == []


# --- cycles ----------------------------------------------------------------------------------------


def usage(directory: pathlib.Path) -> dict[str, int]:
    """Return how much of everything this process has."""
    gc.collect()
    process = psutil.Process()
    return {
        'threads': threading.active_count(),
        'native threads': process.num_threads(),
        'descriptors': process.num_fds(),
        'processes': len(process.children(recursive=True)),
        'files': len(list(directory.iterdir())),
        'links': sum(isinstance(thing, Link) for thing in gc.get_objects()),
    }


def cycle(_: int) -> None:
    with Tally() as actor:
        actor.numbers().append(1)


def leaves_nothing(cycles: int, directory: pathlib.Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cycle, range(4)))
    cycle(0)
    before = usage(directory)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cycle, range(cycles)))
    cycle(0)

    def settled() -> bool:
        after = usage(directory)
        return all(after[name] <= before[name] for name in before)

    try:
        eventually(settled)
    except AssertionError:
        assert usage(directory) == before


def test_starting_and_stopping_actors_leaves_nothing(directory: pathlib.Path) -> None:
    leaves_nothing(8, directory)


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_hundred_cycles_of_start_and_stop_leave_nothing(directory: pathlib.Path) -> None:
    leaves_nothing(100, directory)
