"""The composition root: what an actor process and a template run."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import multiprocessing
import multiprocessing.context
import os
import pickle
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from uactor.client.registry import connections
from uactor.codec import failures, pickling
from uactor.core import auth
from uactor.host.grpc.reflection import descriptors
from uactor.host.process import HostProcess
from uactor.host.settings import HostDependencies, Settings
from uactor.launch import (
    module_starts,
    socket_pair,
    standard_streams,
    start_guard,
    template_server,
)
from uactor.launch.import_path import ImportPath
from uactor.launch.inherited_state import apply_state
from uactor.launch.lifeline import FAILED, READY, Lifeline, set_current
from uactor.launch.log_channel import channel
from uactor.launch.start_guard import Phase
from uactor.proxies import stand_ins
from uactor.proxies.base import create_handle_proxy
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.grpc_loader import load_grpc_server
from uactor.runtime.system_errors import is_own
from uactor.runtime.threads import start_daemon
from uactor.transport import unix_sockets

log = logging.getLogger('uactor.host')

_ORPHAN_TIMEOUT_S = 1.5
"""How long a process may take to end after the end of its owner. A living owner enforces its own
``shutdown_timeout``."""

_directories: list[str] = []
"""The directories that this process has created for its sockets."""

_changing_files = threading.Lock()
"""Held forever by the thread that ends the process, so that other threads create no more files."""


def create_host(actor_class: type, settings: Settings) -> HostProcess:
    """Create the host of this process."""
    with _changing_files:
        host = HostProcess(
            actor_class, settings, HostDependencies(connections.get, create_handle_proxy)
        )
    return host


def prepare_template() -> None:
    """Do the common work of all actor processes, without starting anything."""
    start_guard.enter_phase(Phase.TEMPLATE)
    load_grpc_server()
    descriptors()
    auth.compute_proof(b'', 'host', b'', b'')  # the digest is looked up at its first use
    enable_line_buffering()


def enable_line_buffering() -> None:
    """Flush standard output after each line. A daemon has no standard output."""
    out: Any = sys.stdout
    if out is not None and not out.line_buffering:
        out.reconfigure(line_buffering=True)


def run_template(sock: socket.socket) -> NoReturn:
    """Run a template, and in its forks an actor process.

    :param sock: leads to the owner.
    """
    prepare_template()
    run_actor_process(template_server.serve(sock))


def run_actor_process(sock: socket.socket) -> NoReturn:
    """Run an actor process.

    :param sock: its end of the lifeline.
    """
    sock.set_inheritable(False)
    standard_streams.reserve_closed()
    lifeline = Lifeline(sock)
    set_current(lifeline)
    enable_line_buffering()
    host = _create_actor(lifeline)
    if host is None:
        exit_process(1)
    _wait_for_stop(host)
    try:
        end_host(host)
    except RuntimeError:  # no threads left
        log.warning('the actor process does not end in order', exc_info=True)
    exit_process(0)


def _wait_for_stop(host: HostProcess) -> None:
    """Wait for a request to end, whatever the actor's signal handlers raise."""
    while True:
        try:
            return host.wait_for_stop()
        except Exception as error:
            if is_own(error, HostProcess.wait_for_stop):  # the actor has closed what is waited on
                log.exception('the actor can wait for no request any more, and ends')
                return None
            log.exception('a signal handler of the actor has failed; the actor goes on')


def _create_actor(lifeline: Lifeline) -> HostProcess | None:
    """Create the actor and answer the owner; return None if that fails."""
    messages = [socket_pair.receive_message(lifeline.socket) for _ in range(4)]
    path, state, settings, actor = messages
    if path is None or state is None or settings is None or actor is None:
        return None  # the owner has ended
    constructed: list[HostProcess] = []
    start_daemon(
        'uactor-lifeline',
        _watch_lifeline,
        lifeline,
        constructed,
        failed=lambda _error: exit_process(1),
    )
    try:
        module_starts.begin_loading(stand_ins.complete_module)
        ImportPath.decode(path).apply()
        taken = pickle.loads(state)
        apply_again = apply_state(taken)
        _prefer_not_to_fork()
        directory, fields, modules = pickle.loads(settings)
        module_starts.set_lineage(modules)
        if directory is not None:
            _make_directory(directory)
        actor_class, args, kwargs = pickling.loads(actor)
        apply_again()
        multiprocessing.current_process().name = actor_class.__qualname__
        _never_fork()
        host = create_host(actor_class, Settings(**fields))
        host.start()
        module_starts.end_loading()
        host.construct(args, kwargs)
        answer = READY, pickle.dumps((host.address, host.table.actor_id))
        constructed.append(host)
        _handle_signals(host)
    except BaseException as error:  # also SystemExit: the owner is waiting
        answer = FAILED, failures.encode(error).SerializeToString()
    with contextlib.suppress(OSError):  # the owner has ended
        lifeline.send(*answer)
    return constructed[0] if constructed else None


def _handle_signals(host: HostProcess) -> None:
    """End in order on SIGTERM, and leave SIGHUP to the owner.

    Handlers that the actor has set stay. A terminal that closes sends SIGHUP to owner and actors,
    and an actor that it killed would leave its socket behind.
    """
    handlers = {
        signal.SIGTERM: lambda _number, _frame: host.request_stop(),
        signal.SIGHUP: lambda _number, _frame: None,
    }
    taken = {number for number in handlers if signal.getsignal(number) is signal.SIG_DFL}
    for number in taken:
        signal.signal(number, handlers[number])
    if taken:
        restore_signals_in_children(dict.fromkeys(taken, signal.SIG_DFL))


def restore_signals_in_children(handlers: Mapping[int, Any]) -> None:
    """Restore the default handlers of signals in forked children.

    Signals are blocked during a fork, since Python loses a signal that reaches a child too early.

    :param handlers: the default handler of each signal.
    """
    masks = threading.local()

    def hold_back() -> None:
        masks.previous = signal.pthread_sigmask(signal.SIG_BLOCK, handlers)

    def let_through() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.previous)

    def let_through_as_usual() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        let_through()

    at_fork(hold_back, let_through, let_through_as_usual)


def _die_on_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _prefer_not_to_fork() -> None:
    """Set another default than fork for multiprocessing, while modules are imported.

    Threads of uactor run already, and a child would keep the lifeline open. A module can still
    choose another method.
    """
    default: Any = multiprocessing.context._default_context
    if multiprocessing.get_start_method(allow_none=True) is None:
        default._default_context = multiprocessing.get_context(_choose_start_method())


def _choose_start_method() -> str:
    return 'forkserver' if 'forkserver' in multiprocessing.get_all_start_methods() else 'spawn'


def _never_fork() -> None:
    """Set another default than fork for multiprocessing in the actor.

    A fork of a process that serves gRPC crashes or hangs the child in a third of all cases. The
    default is the one of Python 3.14. An explicit ``get_context('fork')`` still works.
    """
    if multiprocessing.get_start_method() == 'fork':
        multiprocessing.set_start_method(_choose_start_method(), force=True)


def _watch_lifeline(lifeline: Lifeline, constructed: Sequence[HostProcess]) -> None:
    """End this process when the owner closes its end of the lifeline."""
    with contextlib.suppress(OSError):
        lifeline.deliver_answers()
    if constructed:
        constructed[0].request_stop()
        closed = select.poll()
        closed.register(
            lifeline.socket, 0
        )  # a living owner has shut it down, but not closed it yet
        closed.poll()
    with contextlib.suppress(RuntimeError):  # no threads left
        faulthandler.dump_traceback_later(_ORPHAN_TIMEOUT_S, exit=True, file=2)  # needs no GIL
    if not constructed:  # a constructor can't be asked to stop
        exit_process(1)


def end_host(host: HostProcess) -> None:
    """End the actor process in order."""
    host.stop()
    with _changing_files:
        _remove_files()


def _make_directory(directory: str) -> None:
    with _changing_files:
        os.mkdir(directory, 0o700)
        _directories.append(directory)


def _remove_files() -> None:
    unix_sockets.remove_own()
    for directory in reversed(_directories):
        with contextlib.suppress(OSError):  # it has been removed already
            os.rmdir(directory)
    _directories.clear()


def exit_process(status: int) -> NoReturn:
    """Run exit handlers, which also end this process's own actors, and exit.

    This waits for no thread: threads of gRPC and of blocked calls may never end.
    """
    _changing_files.acquire()  # blocks forever if another thread does this already
    if threading.current_thread() is threading.main_thread():
        _die_on_sigterm()  # from here on it ends the process
    _remove_files()
    start_guard.enter_phase(Phase.LEAVING)
    try:
        atexit._run_exitfuncs()
        channel.finish()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
