"""End programs that multiply their processes, whatever the tests start.

A program that starts an actor whenever it is imported can multiply without end, and goes on after
the test that ran it has failed. A limit of processes per user doesn't hold root, and one of a
control group counts threads as well. So a process beside pytest counts what each test has started:

* An environment variable names a group and its limit. All descendants inherit it, those that
  outlive their parent too; a process that has dropped it belongs to the group of its parent.
* The guard looks through ``/proc`` five times a second. It stops and kills a group that has grown
  past its limit, and leaves a report, with which :func:`check` fails the test.
* When pytest ends, however it ends, the guard kills what is left of all groups, and ends.

This module imports the standard library alone: the guard runs it as a script.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VARIABLE = 'UACTOR_TEST_BRAKE'
MOST = 100
"""How many processes the tests of a pytest process may have at a time, apart from programs."""
MOST_OF_A_PROGRAM = 20
GRACE_S = 10.0

PERIOD_S = 0.2
_LOOKS = 3
"""How often a process is read. Its variables change once more if it runs another program."""

_numbers = itertools.count(1)
_guards: list[subprocess.Popen[bytes]] = []


@dataclasses.dataclass(frozen=True)
class Group:
    """Processes that are started together, and their limit.

    :ivar directory: directory of the guard's reports.
    """

    directory: str
    name: str
    most: int

    @property
    def report(self) -> pathlib.Path:
        return pathlib.Path(self.directory, self.name)

    def __str__(self) -> str:
        return f'{self.directory}:{self.name}:{self.most}'

    @classmethod
    def parse(cls, text: str) -> Group:
        directory, name, most = text.rsplit(':', 2)
        return cls(directory, name, int(most))


# --- in pytest -----------------------------------------------------------------------------------


def begin(*, is_worker: bool, grace: float = GRACE_S) -> None:
    """Start the guard, unless this is a worker of pytest-xdist, and put this process behind it.

    :param grace: how many seconds actors may take to end after this process has ended.
    """
    if not Path('/proc/self').is_dir():
        return  # the brake needs Linux
    if is_worker:
        directory = Group.parse(os.environ[VARIABLE]).directory
    else:
        directory = tempfile.mkdtemp(prefix='brake')
        _guards.append(
            subprocess.Popen(
                [sys.executable, '-I', '-S', __file__, directory, str(grace)],
                stdin=subprocess.PIPE,  # it ends with pytest, however that ends
                start_new_session=True,
            )
        )
    os.environ[VARIABLE] = str(Group(directory, str(os.getpid()), MOST))


def end() -> None:
    """Let the guard end after this process, whose exit handlers end its own processes."""
    while _guards:
        guard = _guards.pop()
        if guard.stdin is not None:
            guard.stdin.close()
        guard.returncode = 0  # Popen must not warn that it still runs


def variables(most: int = MOST_OF_A_PROGRAM) -> dict[str, str]:
    """Return the variables that put a program into a group of its own."""
    if VARIABLE not in os.environ:
        return {}
    directory = Group.parse(os.environ[VARIABLE]).directory
    return {VARIABLE: str(Group(directory, f'{os.getpid()}.{next(_numbers)}', most))}


def check() -> None:
    """Raise AssertionError if the guard has ended processes of this one."""
    if VARIABLE not in os.environ:
        return
    directory = pathlib.Path(Group.parse(os.environ[VARIABLE]).directory)
    mine = str(os.getpid())
    reports = [path for path in directory.iterdir() if path.name.partition('.')[0] == mine]
    texts = [path.read_text() for path in reports]
    for path in reports:
        path.unlink()
    assert not texts, '\n'.join(texts)


# --- in the guard --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Process:
    """A process as ``/proc`` has it."""

    pid: int
    began: int
    parent: int
    name: str
    group: Group | None

    @classmethod
    def read(cls, pid: int, directory: str) -> Process | None:
        """Return a process, or None for a zombie."""
        stat = Path(f'/proc/{pid}/stat').read_text()
        name, _, rest = stat.partition('(')[2].rpartition(')')
        lines = Path(f'/proc/{pid}/environ').read_bytes().split(b'\0')
        state, parent, *fields = rest.split()
        if state == 'Z':
            return None
        start = f'{VARIABLE}={directory}:'.encode()
        values = [line.partition(b'=')[2].decode() for line in lines if line.startswith(start)]
        group = Group.parse(values[0]) if values else None
        return cls(pid, int(fields[17]), int(parent), name, group)

    @property
    def key(self) -> tuple[int, int]:
        """A key that no other process ever has."""
        return self.pid, self.began


class Guard:
    """Ends groups that have grown past their limits.

    :param directory: where it reports, which its groups name.
    :param grace: see :func:`begin`.
    """

    def __init__(self, directory: str, grace: float) -> None:
        self._directory, self._grace = directory, grace
        self._known: dict[tuple[int, int], Group] = {}
        self._looked_at: dict[int, tuple[int, Process | None]] = {}

    def run(self) -> None:
        """Watch until pytest has ended, then end the processes that it has left."""
        for number in signal.SIGINT, signal.SIGHUP, signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)  # of the terminal, or meant for pytest
        with contextlib.suppress(PermissionError):  # what multiplies takes all processors
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        parent = os.getppid()
        try:
            while os.getppid() == parent and not select.select([0], [], [], PERIOD_S)[0]:
                if any(len(members) > group.most for group, members in self._groups().items()):
                    self._end_what_multiplies()
            deadline = time.monotonic() + self._grace
            while (left := self._groups(afresh=True)) and time.monotonic() < deadline:
                time.sleep(PERIOD_S)
            for group, members in left.items():
                self._end(group, members)
        finally:
            shutil.rmtree(self._directory)

    def _end_what_multiplies(self) -> None:
        for group, members in self._groups(afresh=True).items():
            if len(members) > group.most:
                self._end(group, members)

    def _processes(self) -> dict[int, Process]:
        """Return all processes, each read :data:`_LOOKS` times at most."""
        looked_at = {}
        for pid in map(int, filter(str.isdecimal, os.listdir('/proc'))):
            looks, process = self._looked_at.get(pid, (0, None))
            if looks < _LOOKS and pid != os.getpid():
                try:
                    process = Process.read(pid, self._directory)
                except OSError:  # it has ended, or is another user's
                    continue
            looked_at[pid] = looks + 1, process
        self._looked_at = looked_at
        return {pid: process for pid, (_, process) in looked_at.items() if process is not None}

    def _groups(self, afresh: bool = False) -> dict[Group, list[Process]]:
        """Return the processes of each group. If they are read afresh, without zombies."""
        if afresh:
            self._looked_at.clear()
        found = self._processes()
        known: dict[tuple[int, int], Group] = {}
        groups: dict[Group, list[Process]] = {}
        for process in found.values():
            group = self._group_of(process, found)
            if group is not None:
                known[process.key] = group
                groups.setdefault(group, []).append(process)
        self._known = known
        return groups

    def _group_of(self, process: Process | None, found: dict[int, Process]) -> Group | None:
        """Return the group that a process names, or has been in, or that its parent has."""
        while process is not None:
            group = process.group or self._known.get(process.key)
            if group is not None:
                return group
            process = found.get(process.parent)
        return None

    def _end(self, group: Group, members: list[Process]) -> None:
        """Report a group and kill it."""
        names = ', '.join(f'{process.pid} {process.name}' for process in members)
        text = f'{len(members)} processes of the group {group.name}, which may have {group.most}: '
        temporary = group.report.with_name('report')
        temporary.write_text(f'{text}{names}')
        temporary.rename(group.report)
        # All are stopped before one is killed: their children lose neither parent nor group.
        stopped: set[tuple[int, int]] = set()
        quiet = 0
        while quiet < 2:
            new = [process for process in members if process.key not in stopped]
            quiet = 0 if new else quiet + 1
            _send(signal.SIGSTOP, new)
            stopped.update(process.key for process in new)
            members = self._groups(afresh=True).get(group, [])
        _send(signal.SIGKILL, members)


def _send(number: signal.Signals, members: list[Process]) -> None:
    for process in members:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


if __name__ == '__main__':
    Guard(sys.argv[1], float(sys.argv[2])).run()
