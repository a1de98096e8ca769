"""Other processes that tests drive: owners of actors, and clients of an actor."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import uactor
from tests.programs import ROOT, environment

_BOOT = """
import multiprocessing, os, pickle, sys
def say(*words): print(*words, flush=True)
def listen(): return sys.stdin.buffer.readline()
multiprocessing.current_process().authkey = pickle.load(sys.stdin.buffer)
given = pickle.load(sys.stdin.buffer)
exec(compile(pickle.load(sys.stdin.buffer), '<peer>', 'exec'))
"""


class Peer:
    """A Python process that runs ``body`` and is talked with line by line.

    The body has ``say(…)``, which prints a line for :meth:`hear`; ``listen()``, which waits for
    :meth:`tell`, or for the end of this process; and ``given``, copies of the further arguments.
    The authkey of this process family goes over a pipe.
    """

    def __init__(self, body: str, *given: Any, options: Sequence[str] = (), **popen: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *options, '-c', _BOOT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **{'env': environment(), 'cwd': ROOT, **popen},
        )
        authkey = bytes(multiprocessing.current_process().authkey)
        for item in (authkey, given, textwrap.dedent(body)):
            pickle.dump(item, self._stdin)
        self._stdin.flush()

    @property
    def _stdin(self) -> Any:
        return self.process.stdin

    @property
    def pid(self) -> int:
        return self.process.pid

    def hear(self) -> str:
        """Return the next line that it says, without the newline."""
        assert self.process.stdout is not None
        line: bytes = self.process.stdout.readline()
        assert line, f'it has ended with exit code {self.process.wait()}'
        return line.decode().rstrip('\n')

    def tell(self) -> None:
        """Let it go on after ``listen()``."""
        self._stdin.write(b'\n')
        self._stdin.flush()

    def end(self) -> int:
        """Let it run to its end and return its exit code."""
        self._stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.read()
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
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextlib.contextmanager
def client(actor: uactor.Actor, body: str, *given: Any) -> Iterator[Peer]:
    """Run a process that connects to ``actor`` by its address, as ``actor`` in ``body``.

    ``given`` is pickled here and may hold proxies.
    """
    connect = 'from {module} import {name}; actor = {name}.connect(given[0]); given = given[1:]\n'
    cls = type(actor)
    heading = connect.format(module=cls.__module__, name=cls.__qualname__.partition('.')[0])
    with Peer(heading + textwrap.dedent(body), actor.connection_address, *given) as peer:
        yield peer
