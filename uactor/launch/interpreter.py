"""Starting an actor process in a fresh interpreter.

The user's process is never forked, and its main module is never imported again:
the interpreter runs a few lines that take everything else from a socket.
"""

from __future__ import annotations

import marshal
import multiprocessing.util
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence

from uactor.errors import ActorStartError, AddressError
from uactor.handles import MAX_PATH
from uactor.launch.process import ActorProcess, end_all, no_fork

START_CODE = (
    'import sys;sys.path[:]=filter(None,sys.path);'
    'import signal;signal.signal(signal.SIGINT,lambda*a:None);'
    'import socket,marshal,struct;'
    's=socket.socket(fileno={fd});'
    'n=struct.unpack("!Q",s.recv(8,socket.MSG_WAITALL)or sys.exit(1))[0];'
    'sys.path[:]=marshal.loads(s.recv(n,socket.MSG_WAITALL));'
    'from uactor.entry import main;main(s)'
)
"""What the interpreter runs: take the import path first, and then the rest from uactor.

Until then, nothing is imported from the current directory, whatever lies there."""

READY, FAILED = b'R', b'F'
_EXIT_PRIORITY = 20


def private_directory() -> str:
    """Return the path of a directory for the socket of one actor, short enough for that.

    The actor process makes it, and removes it with the socket: also when its owner has been
    killed meanwhile.

    :raises AddressError: when no temporary directory has a short path.
    """
    for parent in dict.fromkeys((tempfile.gettempdir(), '/tmp')):
        if len(os.fsencode(parent)) + len('/uactor-12345678/s') <= MAX_PATH:
            return os.path.join(parent, f'uactor-{secrets.token_hex(4)}')
    raise AddressError(
        f'the path of the temporary directory {tempfile.gettempdir()!r} is too long for a socket; '
        'set TMPDIR to a shorter one'
    )


def start(
    name: str,
    path: list[str],
    messages: Sequence[bytes],
    directory: str | None,
    shutdown_timeout: float,
    decode_failure: Callable[[bytes], BaseException],
) -> tuple[ActorProcess, bytes]:
    """Start an actor process and wait until its actor is constructed.

    :param path: its import path.
    :param messages: pickles of its surroundings, its settings, and its class with arguments.
    :param directory: the private directory that it makes for its socket.
    :param shutdown_timeout: how long it may take to end in order, in seconds.
    :param decode_failure: makes the exception of the constructor.
    :returns: the process, and what it says of itself.
    :raises ActorStartError: when the process ends before its actor is constructed.
    """
    with no_fork:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                popen = _spawn(theirs.fileno())
            process = ActorProcess(popen, ours, name, directory, shutdown_timeout)
        except BaseException:
            ours.close()  # upon which the process ends, if there is one
            raise
    _hook_exit()
    try:
        reply = process.converse([marshal.dumps(path), *messages])
    except BaseException:  # KeyboardInterrupt
        process.kill()
        process.join()
        raise
    if reply is not None and reply[:1] == READY:
        return process, reply[1:]
    process.end()
    if reply is None:
        raise ActorStartError(
            f'the process of {name} ended before its actor was constructed '
            f'(exit code {process.exitcode}); what it said is on its standard error'
        )
    raise decode_failure(reply[1:])


def _spawn(descriptor: int) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise ActorStartError('sys.executable is not set; actors need a Python interpreter')
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    return subprocess.Popen(
        [sys.executable, *flags, '-c', START_CODE.format(fd=descriptor)],
        stdin=subprocess.DEVNULL,
        pass_fds=(descriptor,),
    )


_hooked_pid = 0


def _hook_exit() -> None:
    """End this process's actors when it ends, also in a multiprocessing worker."""
    global _hooked_pid
    if _hooked_pid != os.getpid():
        _hooked_pid = os.getpid()
        multiprocessing.util.Finalize(None, end_all, exitpriority=_EXIT_PRIORITY)
