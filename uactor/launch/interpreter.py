"""Start a fresh interpreter as an actor process or as a template.

The program's process is never forked, and its main module is never imported again: the interpreter
runs a few lines, which receive everything else through a socket.
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
"""The kinds of processes that an interpreter is started as."""

ENTRY_POINTS = {
    ACTOR: 'bootstrap.run_actor_process(s)',
    TEMPLATE: 'bootstrap.run_template(s)',
}
"""The function that each kind runs."""

START_CODE = (
    'import sys;p=[e for e in sys.path if e not in {path.removed!r}];s={path.standard!r};'
    'sys.path[:]=[e for e in p if e in s]+{path.needed!r}+[e for e in p if e not in s];'
    'import signal;n=signal.SIGINT;'
    'signal.getsignal(n)==signal.SIG_IGN or signal.signal(n,lambda*a:None);'
    'import socket;s=socket.socket(fileno={fd});'
    'from uactor import bootstrap;{run}'
)
"""The code of the interpreter: import uactor by its own path, and read all else from a socket.

A Ctrl-C in the terminal is for the owner, which ends its actors in order. The signal gets a
handler, since child processes of the actor would inherit that it is ignored. It stays ignored if
the owner ignores it."""

_FIRST_FREE_NUMBER = 3
"""The first file descriptor that does not belong to a standard stream."""

_FROZEN_WORD = '--uactor-process'
"""The first argument of a frozen program that is run to be an actor process or a template."""


UNKNOWN_STATUS = 255
"""The exit status of a process whose status is lost, because it has outlived its template, or this
process ignores SIGCHLD. multiprocessing uses it for processes that outlive their fork server."""


class Interpreter(subprocess.Popen[bytes]):
    """A fresh interpreter, as a child of this process.

    :ivar descriptor: becomes readable when the process ends; None if the system has no pidfds.
    """

    descriptor: int | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._waiting = threading.Lock()
        super().__init__(*args, **kwargs)

    def wait(self, timeout: float | None = None) -> int:  # noqa: ARG002  # that of Popen
        """Wait for its end and return its exit status.

        The status is negative if a signal has ended the process.

        The status is lost if SIGCHLD is ignored. Popen would return zero then.
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
        """Send a signal unless the process has ended.

        The method of Popen would collect the exit status first.
        """
        try:
            if self.returncode is None and self.descriptor is not None:
                signal.pidfd_send_signal(self.descriptor, sig)
            elif self.returncode is None:
                os.kill(self.pid, sig)
        except ProcessLookupError as error:
            if not is_own(error):
                raise

    def watch(self) -> None:
        """Open a pidfd of the process, if the system has them."""
        if hasattr(os, 'pidfd_open'):
            with contextlib.suppress(OSError):  # Linux before 5.3, forbidden, or no descriptor left
                self.descriptor = os.pidfd_open(self.pid)
                descriptors_of(self).append(self.descriptor)


def get_flags() -> list[str]:
    """Return the options that this interpreter was started with."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return options


def is_frozen() -> bool:
    """Return whether ``sys.executable`` is the program itself instead of an interpreter.

    PyInstaller and cx_Freeze set ``sys.frozen``, Nuitka has ``__compiled__`` in its modules.
    """
    main = sys.modules.get('__main__')
    return bool(getattr(sys, 'frozen', False)) or hasattr(main, '__compiled__')


_is_supported = False
"""Whether this program has called :func:`begin_frozen`, and so can be run for uactor."""


def _create_command(descriptor: int, kind: str, variables: Mapping[bytes, bytes]) -> list[str]:
    if is_frozen():
        if not _is_supported:
            raise ActorStartError(
                'this is a frozen program, which has to be run once more to start an actor; call '
                'uactor.freeze_support() first in its main module'
            )
        return [sys.executable, _FROZEN_WORD, kind, str(descriptor)]
    path = plan_first_path(variables)
    code = START_CODE.format(path=path, fd=descriptor, run=ENTRY_POINTS[kind])
    return [sys.executable, *get_flags(), '-c', code]


def spawn(
    end: socket.socket,
    kind: str,
    variables: Mapping[bytes, bytes],
    stdout: int | None = None,
    stderr: int | None = None,
) -> Interpreter:
    """Start an interpreter at the other end of a socket pair.

    :param end: the end of the pair that the interpreter gets.
    :param kind: kind of the process, one of :data:`ENTRY_POINTS`.
    :param variables: its environment.
    :param stdout: descriptor of its standard output; None for that of this process.
    :param stderr: the same for standard error.
    :raises ActorStartError: if ``sys.executable`` is not set, or in a frozen program without
        ``freeze_support()``.
    """
    if not sys.executable:
        raise ActorStartError('sys.executable is not set; actors need a Python interpreter')
    # The copy must not have the number of a standard stream that is closed here.
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
    """Begin a process of uactor, as :data:`START_CODE` does, in a frozen program.

    :returns: kind of the process, and the socket that leads to its owner; None if this program is
        not run for uactor.
    """
    global _is_supported
    _is_supported = True
    if len(sys.argv) != 4 or sys.argv[1] != _FROZEN_WORD or sys.argv[2] not in ENTRY_POINTS:
        return None
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
    return sys.argv[2], socket.socket(fileno=int(sys.argv[3]))
