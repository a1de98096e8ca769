"""Start an actor process and wait for its actor.

The process is a fork of the template if that is possible, and a fresh interpreter otherwise.
"""

from __future__ import annotations

import logging
import multiprocessing.util
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Sequence

from uactor.core.addresses import MAX_PATH
from uactor.errors import ActorStartError, AddressError
from uactor.launch import interpreter
from uactor.launch.actor_process import (
    ActorProcess,
    ChildProcess,
    abandon_lifeline,
    end_all,
    end_interrupted_start,
    handle_messages,
    handle_requests,
    no_fork,
    open_lifeline,
)
from uactor.launch.import_path import ImportPath
from uactor.launch.lifeline import READY
from uactor.launch.log_targets import ARE_HANDLED, RECORDS, LogTargets
from uactor.launch.template import TemplateDiedError, templates
from uactor.runtime.grpc_loader import copy_environment
from uactor.runtime.locks import run_uninterrupted

log = logging.getLogger('uactor.launch')

_LAUNCHER_VARIABLE = 'UACTOR_LAUNCH'
_EXIT_PRIORITY = 20


def choose_private_directory() -> str:
    """Return a short path for the directory of an actor's socket.

    The actor process creates the directory and removes it with the socket, even if its owner has
    been killed meanwhile.

    :raises AddressError: if no temporary directory has a path that is short enough.
    """
    if tempfile.tempdir is None:
        run_uninterrupted(tempfile.gettempdir)  # it tries directories and hides all errors
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
    log_targets: LogTargets,
) -> tuple[ActorProcess, bytes]:
    """Start an actor process and wait until its actor is constructed.

    :param path: its import path.
    :param messages: pickles of its inherited state, its settings, and its class with arguments.
    :param directory: the private directory that it creates for its socket.
    :param shutdown_timeout: how long it may take to end in order, in seconds; may be infinity.
    :param decode_failure: decodes the exception of the constructor.
    :param log_targets: gets the log records of the process.
    :returns: the process, and the data of its first answer.
    :raises ActorStartError: if the process ends before its actor is constructed.

    An exception of a signal handler may leave a process behind, here or in the caller. The caller
    ends it by :func:`uactor.launch.actor_process.end_interrupted_start`.
    """
    _register_exit()

    def create_process(child: ChildProcess, lifeline: socket.socket) -> ActorProcess:
        return ActorProcess(child, lifeline, name, directory, shutdown_timeout, log_targets)

    launched: list[tuple[ActorProcess, tuple[str, ...] | None]] = []
    # An interrupt in subprocess would lose the process, and the search for modules hides errors of
    # system calls.
    run_uninterrupted(
        lambda: launched.append(_launch(path, create_process)),
        if_left=lambda: end_interrupted_start(log_targets),
    )
    [(process, replaced)] = launched
    answer = process.begin([ImportPath(tuple(path), replaced).encode(), *messages])
    if answer is not None and answer[0] == READY:
        return process, answer[1]
    process.end()
    if answer is None:
        raise ActorStartError(
            f'the process of {name} ended before its actor was constructed '
            f'(exit code {process.exitcode}); its standard error shows why'
        )
    raise decode_failure(answer[1])


ProcessFactory = Callable[[ChildProcess, socket.socket], ActorProcess]


def _launch(
    path: list[str], create_process: ProcessFactory
) -> tuple[ActorProcess, tuple[str, ...] | None]:
    """Start a process by a template, if possible, or by an interpreter.

    :returns: the process, and the names of its modules that ``path`` replaces, if they are known.
    """
    for _ in range(2):
        template = None if _is_template_disabled() else templates.choose()
        if template is None:
            break
        try:
            return _start_with_lifeline(template.fork, create_process), template.find_shadowed(path)
        except TemplateDiedError:  # it may have forked: the next try takes another lifeline
            templates.discard(template)
    return _start_with_lifeline(_spawn, create_process), None


def _is_template_disabled() -> bool:
    choice = os.environ.get(_LAUNCHER_VARIABLE, 'template')
    if choice not in ('template', 'interpreter'):
        raise ActorStartError(
            f"{_LAUNCHER_VARIABLE} is {choice!r}; it can be 'template' or 'interpreter'"
        )
    return choice == 'interpreter'


def _spawn(lifeline: socket.socket) -> ChildProcess:
    with no_fork:  # a child would keep the pipe by which subprocess sees the new program begin
        return interpreter.spawn(lifeline, interpreter.ACTOR, copy_environment())


def _start_with_lifeline(
    launch: Callable[[socket.socket], ChildProcess], create_process: ProcessFactory
) -> ActorProcess:
    with open_lifeline() as (ours, theirs):
        try:
            with theirs:
                child = launch(theirs)
            return create_process(child, ours)
        except BaseException:  # no more threads or descriptors
            abandon_lifeline(ours)
            raise


_hooked_pid = 0


def _register_exit() -> None:
    """End this process's actors when it ends, also in a multiprocessing worker."""
    global _hooked_pid
    if _hooked_pid != os.getpid():
        _hooked_pid = os.getpid()
        multiprocessing.util.Finalize(None, _end_processes, exitpriority=_EXIT_PRIORITY)


def _end_processes() -> None:
    end_all()
    templates.end_all()


def _handle_records(process: ActorProcess, message: bytes) -> None:
    process.log_targets.handle(message)


def _confirm_handling(_process: ActorProcess, _question: bytes) -> bytes:
    return b''


handle_messages(RECORDS, _handle_records)
handle_requests(ARE_HANDLED, _confirm_handling)
