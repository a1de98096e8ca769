"""Rules 5 and 9 under signals that an owner ignores or blocks, and under those of a terminal."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import Actor, eventually, is_running
from tests.support.peers import Peer

BEGIN = """
import signal, subprocess, uactor
from tests.support import Actor, eventually, is_running

class Child(Actor):
    def pid(self):
        return os.getpid()
    def ignored(self):
        return [int(number) for number in (1, 2) if signal.getsignal(number) is signal.SIG_IGN]
    def of_children(self):
        code = 'import signal; print([n for n in (1, 2) if signal.getsignal(n) is signal.SIG_IGN])'
        return subprocess.check_output([sys.executable, '-S', '-c', code], text=True).strip()

class Parent(Child):
    def __init__(self):
        self.child = Child()
    def pids(self):
        return [os.getpid(), self.child.pid()]

"""
FAMILY = (
    BEGIN
    + """
parent = Parent()
say(*parent.pids())
listen()
"""
)


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    """A temporary directory for the processes of a test, with a short path."""
    with tempfile.TemporaryDirectory(prefix='t', dir='/tmp') as path:
        yield pathlib.Path(path)


def owner_of(body: str, directory: pathlib.Path, **options: Any) -> Peer:
    """Start a process with a session of its own, as a terminal gives one to its shell."""
    return Peer(
        body,
        variables={'TMPDIR': str(directory)},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
        **options,
    )


def has_ended(pids: list[int], directory: pathlib.Path) -> None:
    """Assert that neither processes nor files remain of a family of actors."""
    eventually(lambda: not any(map(is_running, pids)))
    eventually(lambda: not list(directory.iterdir()))


IGNORED = {
    'as in a job under nohup': [signal.SIGINT, signal.SIGHUP],
    'more': [signal.SIGINT, signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD],
}


@pytest.mark.usefixtures('launcher')
@pytest.mark.parametrize('ignored', IGNORED)
@pytest.mark.parametrize('end', ['in order', 'killed'])
def test_actors_of_an_owner_that_ignores_signals_end_with_it(
    ignored: str, end: str, directory: pathlib.Path
) -> None:
    with owner_of(FAMILY, directory, ignored=IGNORED[ignored]) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        if end == 'in order':
            assert owner.end() == 0
        else:
            owner.kill()
        has_ended(pids, directory)


@pytest.mark.usefixtures('usual_launcher')
def test_actors_of_an_owner_that_blocks_signals_end_with_it(directory: pathlib.Path) -> None:
    """As a program does that waits for its signals in a thread, by sigwait."""
    body = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP, signal.SIGTERM})
"""
    with owner_of(BEGIN + body + FAMILY, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        assert owner.end() == 0
        has_ended(pids, directory)


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_actors_end_with_an_owner_when_a_signal_comes_to_all_of_them(
    number: signal.Signals, directory: pathlib.Path
) -> None:
    """As from a terminal that closes, or Ctrl-C. None leaves its socket behind."""
    with owner_of(FAMILY, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        os.killpg(owner.pid, number)
        owner.process.wait()
        has_ended(pids, directory)


USE = """
say('unimpressed')
listen()
say(*parent.pids(), *Child().ignored())
"""


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
def test_actors_survive_a_terminal_with_an_owner_that_ignores_its_signals(
    number: signal.Signals, directory: pathlib.Path
) -> None:
    with owner_of(FAMILY + USE, directory, ignored=[number]) as owner:
        pids = owner.read_line()
        os.killpg(owner.pid, number)
        owner.resume()
        assert owner.read_line() == 'unimpressed'
        os.killpg(owner.pid, number)
        owner.resume()
        assert owner.read_line() == f'{pids} {int(number)}'
        assert owner.end() == 0


@pytest.mark.usefixtures('usual_launcher')
def test_actors_survive_a_terminal_with_an_owner_that_handles_its_end(
    directory: pathlib.Path,
) -> None:
    """So does the template: it forks another actor, and knows how that has ended."""
    body = """
    signal.signal(signal.SIGHUP, lambda *_: say('hung up'))
    parent = Parent()
    say(*parent.pids())
    listen()
    another = Child()
    say(*parent.pids())
    process = another._manager.process
    another.shutdown()
    say(process.exitcode)
    """
    with owner_of(BEGIN + textwrap.dedent(body), directory) as owner:
        pids = owner.read_line()
        os.killpg(owner.pid, signal.SIGHUP)
        assert owner.read_line() == 'hung up'
        owner.resume()
        assert owner.read_line() == pids
        assert owner.read_line() == '0'
        assert owner.end() == 0


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('ignored', [[], [signal.SIGHUP, signal.SIGINT]], ids=['none', 'both'])
def test_programs_that_an_actor_runs_ignore_what_its_owner_ignores(
    ignored: list[signal.Signals], directory: pathlib.Path
) -> None:
    body = BEGIN + 'say(Child().of_children())'
    with owner_of(body, directory, ignored=ignored) as owner:
        assert owner.read_line() == str([int(number) for number in ignored])
        assert owner.end() == 0


STATUSES = (
    BEGIN
    + """
child = Child()
process = child._manager.process
os.kill(child.pid(), 9)
process.join()
say(process.exitcode)
"""
)


@pytest.mark.parametrize(
    ('launch', 'ignored', 'expected'),
    [
        ('template', [], -9),
        ('template', [signal.SIGCHLD], -9),
        ('interpreter', [], -9),
        ('interpreter', [signal.SIGCHLD], 255),  # nobody learns of it
    ],
)
def test_the_exit_status_of_an_actor_is_true_or_unknown(
    launch: str,
    ignored: list[signal.Signals],
    expected: int,
    directory: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv('UACTOR_LAUNCH', launch)
    with owner_of(STATUSES, directory, ignored=ignored) as owner:
        assert owner.read_line() == str(expected)
        assert owner.end() == 0


def test_an_owner_that_dies_of_sigpipe_does_not_die_with_its_template(
    directory: pathlib.Path,
) -> None:
    body = """
from uactor.launch.template import templates
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
first = Child()
[template] = templates.pids()
os.kill(template, signal.SIGKILL)
eventually(lambda: not is_running(template))
say(Child().pid() > 0)
first.shutdown()
say('alive')
"""
    with owner_of(BEGIN + body, directory) as owner:
        assert owner.read_line() == 'True'
        assert owner.read_line() == 'alive'
        assert owner.end() == 0


def test_an_actor_goes_on_after_its_own_signal_handler_has_raised() -> None:
    class Alarmed(Actor):
        def __init__(self) -> None:
            self.rang = threading.Event()
            signal.signal(signal.SIGALRM, self._ring)

        def _ring(self, *_: object) -> None:
            self.rang.set()
            raise TimeoutError('on purpose')

        def ring(self) -> bool:
            os.kill(os.getpid(), signal.SIGALRM)
            return self.rang.wait(10)

    with Alarmed() as actor:
        assert actor.ring()
        assert actor.ring()
