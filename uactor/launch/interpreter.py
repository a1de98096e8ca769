"""Starting a fresh interpreter, as an actor process or as the template of some.

The user's process is never forked, and its main module is never imported again:
the interpreter runs a few lines that take everything else from a socket.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping

from uactor.errors import ActorStartError

START_CODE = (
    'import sys;sys.path[:]=filter(None,sys.path);'
    'import signal;signal.signal(signal.SIGINT,lambda*a:None);'
    'import socket,marshal,struct;'
    's=socket.socket(fileno={fd});'
    'n=struct.unpack("!Q",s.recv(8,socket.MSG_WAITALL)or sys.exit(1))[0];'
    'sys.path[:]=marshal.loads(s.recv(n,socket.MSG_WAITALL));'
    'from uactor import entry;{run}'
)
"""What the interpreter runs: take the import path first, and then the rest from uactor.

A Ctrl-C in the terminal is for the owner, which ends its actors in order. It is not ignored, or
the actor's own child processes would inherit that.

Until then, nothing is imported from the current directory, whatever lies there."""

ACTOR = 'entry.main(s)'
"""Be an actor process."""


class Interpreter(subprocess.Popen[bytes]):
    """A fresh interpreter, as a child of this process.

    :ivar descriptor: becomes readable when it has ended; None where the system has no such thing.
    """

    descriptor: int | None = None

    def watch(self) -> None:
        """Get a descriptor, if this system has them."""
        if hasattr(os, 'pidfd_open'):
            with contextlib.suppress(OSError):  # Linux before 5.3, forbidden, or none is left
                self.descriptor = os.pidfd_open(self.pid)
                close = weakref.finalize(self, os.close, self.descriptor)
                close.atexit = False


def flags() -> list[str]:
    """Return the options that this interpreter was started with."""
    options: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return options


def spawn(
    end: socket.socket,
    run: str,
    variables: Mapping[bytes, bytes],
    stdout: int | None = None,
    stderr: int | None = None,
) -> Interpreter:
    """Start an interpreter at the other end of a socket pair.

    :param end: what it is given of the pair; first of all it reads its import path there.
    :param run: what it does then.
    :param variables: its environment.
    :param stdout: where standard output goes, unless to that of this process.
    :param stderr: the same for standard error.
    :raises ActorStartError: when it isn't known where the interpreter is.
    """
    if not sys.executable:
        raise ActorStartError('sys.executable is not set; actors need a Python interpreter')
    interpreter = Interpreter(
        [sys.executable, *flags(), '-c', START_CODE.format(fd=end.fileno(), run=run)],
        stdin=subprocess.DEVNULL,
        pass_fds=(end.fileno(),),
        env=variables,
        stdout=stdout,
        stderr=stderr,
    )
    interpreter.watch()
    return interpreter
