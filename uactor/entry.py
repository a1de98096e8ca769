"""What an actor process runs: where the rooms are put together."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import logging
import multiprocessing
import os
import pickle
import shutil
import signal
import socket
import sys
import threading
from typing import NoReturn

from uactor import failures, values
from uactor.client.connection import connections
from uactor.handles import socket_path
from uactor.host.server import Host, Settings, Surroundings
from uactor.launch import frames
from uactor.launch.interpreter import FAILED, READY
from uactor.launch.surroundings import apply
from uactor.proxies.base import proxy_for_handle

log = logging.getLogger(__name__)

_EXIT_TIMEOUT = 4.0
"""How long ending may take before the process is cut off, in seconds."""


def make_host(actor_class: type, settings: Settings) -> Host:
    """Make the host of this process."""
    return Host(actor_class, settings, Surroundings(connections.get, proxy_for_handle))


def main(lifeline: socket.socket) -> NoReturn:
    """Be the actor process at the other end of ``lifeline``."""
    lifeline.set_inheritable(False)
    # A Ctrl-C in the terminal is for the owner, which ends its actors in order. Not SIG_IGN,
    # which the actor's own child processes would inherit.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    sys.stdin = open(os.devnull)  # noqa: SIM115  # for the life of the process
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    host = _begin(lifeline)
    if host is not None:
        host.wait_for_stop()
        end(host)
    leave(0 if host is not None else 1)


def _begin(lifeline: socket.socket) -> Host | None:
    """Make the actor and tell the owner; return None when there is no actor."""
    messages = [frames.receive(lifeline) for _ in range(3)]
    try:
        surroundings, settings, actor = messages
        if surroundings is None or settings is None or actor is None:
            return None  # the owner has ended
        apply(pickle.loads(surroundings))
        actor_class, args, kwargs = values.loads(actor)
        multiprocessing.current_process().name = actor_class.__qualname__
        host = make_host(actor_class, Settings(**pickle.loads(settings)))
        signal.signal(signal.SIGTERM, lambda number, frame: host.request_stop())
        _watch(lifeline, host)
        host.start()
        host.construct(args, kwargs)
    except BaseException as error:  # also SystemExit: the owner is waiting
        failure = failures.encode(error)
        with contextlib.suppress(OSError):  # the owner has ended
            frames.send(lifeline, FAILED + failure.SerializeToString())
        return None
    ready = pickle.dumps((host.address, host.table.actor_id))
    frames.send(lifeline, READY + ready)
    return host


def _watch(lifeline: socket.socket, host: Host) -> None:
    """End with the owner: its end of the lifeline closes, however it ends."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while lifeline.recv(1):
                pass
        if host.instance is None:  # a constructor can't be asked to stop
            leave(1)
        host.request_stop()

    threading.Thread(target=wait, name='uactor-lifeline', daemon=True).start()
    if hasattr(os, 'register_at_fork'):  # a forked child would keep it open for the owner to see
        os.register_at_fork(after_in_child=lifeline.close)


def end(host: Host) -> None:
    """End the actor process in order."""
    faulthandler.dump_traceback_later(_EXIT_TIMEOUT, exit=True)  # needs no GIL
    host.stop()
    path = socket_path(host.target)
    if path is not None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        directory = os.path.dirname(path)
        if os.path.basename(directory).startswith('uactor-'):
            shutil.rmtree(directory, ignore_errors=True)


def leave(status: int) -> NoReturn:
    """Run exit handlers, which end this process's own actors too, and exit.

    Without waiting for threads: those of gRPC and of blocked calls may never end.
    """
    try:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)
