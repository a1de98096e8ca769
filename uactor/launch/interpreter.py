"""Starting a fresh interpreter, as an actor process or as the template of some.

The user's process is never forked, and its main module is never imported again:
the interpreter runs a few lines that take everything else from a socket.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

from uactor.errors import ActorStartError
from uactor.launch import start_guard
from uactor.launch.import_path import plan_first_path
from uactor.runtime.system_errors import is_own
from uactor.runtime.weakrefs import descriptors_of

ACTOR, TEMPLATE = 'actor', 'template'
"""What an interpreter can be started as."""

ENTRY_POINTS = {
    ACTOR: 'bootstrap.run_actor_process(s)',
    TEMPLATE: 'bootstrap.run_template(s)',
}
"""What it runs then."""

START_CODE = (
    'import sys;sys.path[:]=[e for e in sys.path if e not in {removed!r}]+{added!r};'
    'import signal;n=signal.SIGINT;'
    'signal.getsignal(n)==signal.SIG_IGN or signal.signal(n,lambda*a:None);'
    'import socket;s=socket.socket(fileno={fd});'
    'from uactor import bootstrap;{run}'
)
"""What the interpreter runs: import uactor by a path of its own, and take all else from a socket.

A Ctrl-C in the terminal is for the owner, which ends its actors in order. It is not ignored, or
the actor's own child processes would inherit that; it stays ignored if the owner ignores it."""

_FIRST_FREE_NUMBER = 3
"""The first file descriptor that is none of a standard stream."""

_FROZEN_WORD = '--uactor-process'
"""The first argument of a frozen program that is run to be an actor process or a template."""


UNKNOWN_STATUS = 255
"""The exit status of a process of which nobody has learned it: it has outlived its template, or
this process ignores SIGCHLD. multiprocessing has it for those that outlive their fork server."""


class Interpreter(subprocess.Popen[bytes]):
    """A fresh interpreter, as a child of this process.

    :ivar descriptor: becomes readable when it has ended; None where the system has no such thing.
    """

    descriptor: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting = threading.Lock()
        super().__init__(*args, **kwargs)

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit status, negative for a signal.

        Where SIGCHLD is ignored nobody learns the status, which Popen takes for a zero.
        """
        with self._waiting:
            if self.returncode is None:
                try:
                    _, status = os.waitpid(self.pid, 0)
                    self.returncode = os.waitstatus_to_exitcode(status)
                except ChildProcessError as error:
                    if not is_own(error):
                        raise
                    self.returncode = UNKNOWN_STATUS
            return self.returncode

    def send_signal(self, sig: int) -> None:
        """Send a signal unless it has ended. Popen would take its status away before."""
        try:
            if self.returncode is None and self.descriptor is not None:
                signal.pidfd_send_signal(self.descriptor, sig)
            elif self.returncode is None:
                os.kill(self.pid, sig)
        except ProcessLookupError as error:
            if not is_own(error):
                raise

    def watch(self) -> None:
        """Get a descriptor, if this system has them."""
        if hasattr(os, 'pidfd_open'):
            with contextlib.suppress(OSError):  # Linux before 5.3, forbidden, or none is left
                self.descriptor = os.pidfd_open(self.pid)
                descriptors_of(self).append(self.descriptor)


def get_flags() -> list[str]:
    """Return the options that this interpreter was started with."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return options


def is_frozen() -> bool:
    """Return whether ``sys.executable`` is the program itself, and no Python interpreter.

    PyInstaller and cx_Freeze set ``sys.frozen``, Nuitka has ``__compiled__`` in its modules.
    """
    main = sys.modules.get('__main__')
    return bool(getattr(sys, 'frozen', False)) or hasattr(main, '__compiled__')


_is_supported = False
"""Whether this program has shown that it can be run for uactor, by :func:`begin_frozen`."""


def _create_command(descriptor: int, kind: str, variables: Mapping[bytes, bytes]) -> list[str]:
    if is_frozen():
        if not _is_supported:
            raise ActorStartError(
                'this is a frozen program, which has to be run once more to start an actor; call '
                'uactor.freeze_support() first in its main module'
            )
        return [sys.executable, _FROZEN_WORD, kind, str(descriptor)]
    removed, added = plan_first_path(variables)
    code = START_CODE.format(removed=removed, added=added, fd=descriptor, run=ENTRY_POINTS[kind])
    return [sys.executable, *get_flags(), '-c', code]


def spawn(
    end: socket.socket,
    kind: str,
    variables: Mapping[bytes, bytes],
    stdout: int | None = None,
    stderr: int | None = None,
) -> Interpreter:
    """Start an interpreter at the other end of a socket pair.

    :param end: what it is given of the pair.
    :param kind: what it is to be, one of :data:`ENTRY_POINTS`.
    :param variables: its environment.
    :param stdout: where standard output goes, unless to that of this process.
    :param stderr: the same for standard error.
    :raises ActorStartError: when it isn't known where the interpreter is, and in a frozen program
        without ``freeze_support()``.
    """
    if not sys.executable:
        raise ActorStartError('sys.executable is not set; actors need a Python interpreter')
    # Not with the number of a standard stream that is closed here.
    given = fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, _FIRST_FREE_NUMBER)
    try:
        interpreter = Interpreter(
            _create_command(given, kind, variables),
            stdin=subprocess.DEVNULL,
            pass_fds=(given,),
            env={**variables, **start_guard.create_variables()},
            stdout=stdout,
            stderr=stderr,
        )
    finally:
        os.close(given)
    interpreter.watch()
    return interpreter


def begin_frozen() -> tuple[str, socket.socket] | None:
    """Do what :data:`START_CODE` does, in a frozen program that is run for that.

    :returns: what it is to be, and the socket that says more; None in any other program.
    """
    global _is_supported
    _is_supported = True
    if len(sys.argv) != 4 or sys.argv[1] != _FROZEN_WORD or sys.argv[2] not in ENTRY_POINTS:
        return None
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    return sys.argv[2], socket.socket(fileno=int(sys.argv[3]))
