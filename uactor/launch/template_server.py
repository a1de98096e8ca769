"""The template process, which forks actor processes and reports their exit statuses."""

from __future__ import annotations

import contextlib
import functools
import gc
import marshal
import os
import signal
import socket
import struct
import sys
import threading
import traceback
from collections.abc import Mapping

from uactor.launch import socket_pair, standard_streams
from uactor.launch.import_path import list_own_modules
from uactor.runtime import fork_hooks

FORK, REAP = b'F', b'R'
"""Kinds of requests to a template."""

READY, UNFIT = b'R', b'U'
"""Kinds of the first message of a template: it has the files of its modules, or the reason why the
template can't be forked."""

PID = struct.Struct('!q')
"""A process id, or a negated error number."""

_NAME = b'uactor-template'
_COMM = '/proc/self/comm'
_MAX_NAME_BYTES = 64
_MAX_DESCRIPTORS = 4

_SMALL_SIZES_BYTES = range(16, 513, 16)
"""The sizes of small objects in bytes, as CPython rounds them up."""

_EMPTY_BYTES_SIZE = sys.getsizeof(b'')
_IN_ORDER_BYTES = 8 << 10
"""How many bytes of adjacent objects show that there are no gaps left."""

_MAX_FILL_BYTES = 256 << 10
"""How many bytes are allocated for each size at most, if objects never become adjacent."""

_filling: list[object] = []


@functools.cache
def is_possible() -> bool:
    """Return whether this system can have templates.

    They need pidfds, by which a process can wait for another one that is not its child, and signal
    it.
    """
    if not hasattr(os, 'pidfd_open') or not hasattr(signal, 'pidfd_send_signal'):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # Linux before 5.3, or forbidden
        return False
    return os.path.isdir('/proc/thread-self')


def serve(control: socket.socket) -> socket.socket:
    """Serve the peer of ``control`` as its template, and end with it.

    :returns: the lifeline, in each process that this one forks. It never returns in this one.
    """
    control.set_inheritable(False)
    obstacle = _find_obstacle(control)
    if obstacle:
        _tell_owner(control, UNFIT + obstacle.encode())
        os._exit(1)
    usual_name = _rename_process(_NAME)
    statuses: dict[int, int] = {}
    # The owner never requests the status of a child whose start was interrupted, so SIGCHLD
    # collects all. It is blocked except while this process waits for requests. If it is ignored,
    # there are no statuses.
    usual_mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
    usual_handlers = {
        signal.SIGCHLD: signal.signal(signal.SIGCHLD, lambda *_: _collect_statuses(statuses))
    }
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # like a Ctrl-C, it is for the owner
        usual_handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: None)
    modules = marshal.dumps(list_own_modules())
    sys.path_importer_cache.clear()  # it would be out of date in actors
    gc.collect()
    _fill_gaps()
    gc.freeze()  # so collections in children write to no shared page
    _tell_owner(control, READY + modules)
    _release_files()
    fork_hooks.is_blank = True
    lifeline = None
    while lifeline is None:
        with _accept(control) as connection:
            lifeline = _handle_request(connection, statuses)
    control.close()
    for number, handler in usual_handlers.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, usual_mask)
    _rename_process(usual_name)
    return lifeline


def _tell_owner(control: socket.socket, message: bytes) -> None:
    """Send the first message, or end with the owner."""
    try:
        socket_pair.send_message(control, message)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(1)


def _fill_gaps() -> None:
    """Allocate small objects in the gaps that freed objects have left.

    A child would put its own objects into these gaps, some into each page, and each page that it
    writes to takes memory of its own. With the gaps filled, the objects of a child lie together.
    """
    for size in _SMALL_SIZES_BYTES:
        in_order, made = 0, [_create_object(size)]
        while in_order * size < _IN_ORDER_BYTES and len(made) * size < _MAX_FILL_BYTES:
            made.append(_create_object(size))
            in_order = in_order + 1 if id(made[-1]) - id(made[-2]) == size else 0
        _filling.extend(made)


def _create_object(size: int) -> object:
    if size <= 32:
        return object() if size == 16 else float(size)
    return bytes(max(0, size - _EMPTY_BYTES_SIZE))


def _find_obstacle(control: socket.socket) -> str:
    """Return the reason not to fork this process, or ''."""
    threads = len(os.listdir('/proc/self/task'))
    if threads != 1:
        return f'{threads} threads begin with the interpreter'
    opened = filter(
        standard_streams.is_open, map(int, os.listdir('/proc/self/fd'))
    )  # but that of the list itself
    if set(opened) != {0, 1, 2, control.fileno()}:
        return 'files are opened with the interpreter'
    return ''


def _release_files() -> None:
    """Leave the current directory, and close the standard error of the owner."""
    os.chdir('/')
    sys.stderr.flush()
    os.dup2(1, 2)  # which is /dev/null


def _accept(control: socket.socket) -> socket.socket:
    while True:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        mark, descriptors, *_ = socket.recv_fds(control, 1, 1, socket.MSG_CMSG_CLOEXEC)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        if descriptors:
            return socket.socket(fileno=descriptors[0])
        if not mark:  # the owner has ended
            os._exit(0)


def _handle_request(connection: socket.socket, statuses: dict[int, int]) -> socket.socket | None:
    """Handle a request; return the lifeline in the child of a fork."""
    flags = socket.MSG_CMSG_CLOEXEC
    kind, descriptors, *_ = socket.recv_fds(connection, 1, _MAX_DESCRIPTORS, flags)
    try:
        request = socket_pair.receive_message(connection)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the owner has gone
            if kind == REAP and request is not None:
                _collect_statuses(statuses)
                [pid] = PID.unpack(request)
                socket_pair.send_message(connection, marshal.dumps(statuses.pop(pid, None)))
            elif kind == FORK and request is not None and _fork(connection, statuses):
                return _become_actor_process(descriptors, *marshal.loads(request))
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return None


def _collect_statuses(statuses: dict[int, int]) -> None:
    """Collect the statuses of children that have ended."""
    with contextlib.suppress(ChildProcessError):  # there are no children
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            statuses[ended[0]] = os.waitstatus_to_exitcode(ended[1])


def _fork(connection: socket.socket, statuses: dict[int, int]) -> bool:
    """Fork and send the process id to the owner.

    Return whether this is the child.
    """
    try:
        pid = os.fork()
    except OSError as error:
        connection.sendall(PID.pack(-(error.errno or 1)))
        return False
    if not pid:
        return True
    statuses.pop(pid, None)  # of an earlier process with this id
    descriptor = os.pidfd_open(pid)
    try:
        socket.send_fds(connection, [PID.pack(pid)], [descriptor])
    finally:
        os.close(descriptor)
    return False


def _become_actor_process(
    descriptors: list[int], gone: list[bytes], new: dict[bytes, bytes], streams: list[int]
) -> socket.socket:
    """Give this forked process a fresh interpreter's state; return its lifeline."""
    fork_hooks.is_blank = False
    try:
        lifeline, directory, *targets = descriptors
        os.fchdir(directory)
        _connect_streams(dict(zip(streams, targets, strict=True)))
        _change_environment(gone, new)
        threading.main_thread()._set_native_id()  # type: ignore[attr-defined]
        return socket.socket(fileno=os.dup(lifeline))
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _connect_streams(streams: Mapping[int, int]) -> None:
    """Connect standard output and error to the owner's, where these are open."""
    for number, name in (1, 'stdout'), (2, 'stderr'):
        if number in streams:
            os.dup2(streams[number], number)
        else:  # the program finds it closed, but nothing else takes its number
            standard_streams.reserve([number])
            setattr(sys, name, None)
            setattr(sys, f'__{name}__', None)


def _change_environment(gone: list[bytes], new: Mapping[bytes, bytes]) -> None:
    for name in gone:
        os.environb.pop(name, None)
    for name, value in new.items():
        os.environb[name] = value


def _rename_process(name: bytes) -> bytes:
    """Rename this process in lists of processes and return its earlier name."""
    comm = os.open(_COMM, os.O_RDWR)
    try:
        usual = os.read(comm, _MAX_NAME_BYTES)
        os.write(comm, name)
    finally:
        os.close(comm)
    return usual.rstrip(b'\n')
