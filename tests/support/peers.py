"""Other processes that tests drive: owners of actors, and clients of an actor."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tests.support import brake
from tests.support.programs import ROOT, environment

_OF_JOBS = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD
"""Signals that a process may ignore because the parent of the tests does."""

_BOOT = """
import multiprocessing, os, pickle, signal, sys
for number in {usual}:
    signal.signal(number, signal.SIG_DFL if number != 2 else signal.default_int_handler)
def say(*words): print(*words, flush=True)
def listen(): return sys.stdin.buffer.readline()
multiprocessing.current_process().authkey = pickle.load(sys.stdin.buffer)
given = pickle.load(sys.stdin.buffer)
exec(compile(pickle.load(sys.stdin.buffer), '<peer>', 'exec'))
"""

_IGNORING = """
import os, signal, sys
for number in {ignored}:
    signal.signal(number, signal.SIG_IGN)
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that ignores signals from its beginning."""


class Peer:
    """A Python process that runs ``body`` and exchanges lines with the test.

    The body has three names: ``say(…)`` prints a line for :meth:`read_line`, ``listen()`` waits for
    :meth:`resume`, and ``given`` has copies of the further arguments, which may contain proxies.
    They, the body and the authkey of this process family travel through a pipe.

    :param prefix: a command that runs the interpreter.
    :param options: of the interpreter.
    :param variables: of its environment, beside those of this process.
    :param ignored: signals that it ignores from the beginning, as under nohup. It starts with the
        usual dispositions of all others, whatever those of this process are.
    :param most: how many processes there may be at a time, with those that it starts.
    :param popen: what else :class:`subprocess.Popen` takes.
    """

    def __init__(
        self,
        body: str,
        *given: Any,
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
        variables: Mapping[str, str] | None = None,
        ignored: Sequence[signal.Signals] = (),
        most: int = brake.MOST_OF_A_PROGRAM,
        **popen: Any,
    ) -> None:
        if ignored:
            code = _IGNORING.format(ignored=[int(number) for number in ignored])
            prefix = [*prefix, sys.executable, '-I', '-S', '-c', code]
        usual = [int(number) for number in _OF_JOBS if number not in ignored]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, *options, '-c', _BOOT.format(usual=usual)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment(), **brake.variables(most), **(variables or {})},
            cwd=ROOT,
            **popen,
        )
        authkey = bytes(multiprocessing.current_process().authkey)
        for item in (authkey, given, textwrap.dedent(body)):
            pickle.dump(item, self._stdin)
        self._stdin.flush()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self.process.stdin is not None
        return self.process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_line(self) -> str:
        """Return the next line that the body has printed, without the newline."""
        line = self._stdout.readline()
        if not line:
            brake.check()
        assert line, f'it has ended with exit code {self.process.wait()}'
        return line.decode().rstrip('\n')

    def resume(self) -> None:
        """Let the body go on after ``listen()``."""
        self._stdin.write(b'\n')
        self._stdin.flush()

    def end(self) -> int:
        """Wait for its end, and that of all processes with its output; return its exit code."""
        self._stdin.close()
        self._stdout.read()
        return self.process.wait()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it by a signal and wait for that."""
        self.process.send_signal(number)
        self.process.wait()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        with contextlib.suppress(BrokenPipeError):  # for what it has not read
            self._stdin.close()
        self._stdout.close()
