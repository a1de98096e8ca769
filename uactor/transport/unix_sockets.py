"""Listen on Unix sockets, and take their names in the file system.

Problem: to take a name is several steps. A process looks whether the name is free, removes the
socket of a killed process, and binds. To remove its own name is several steps, too. Two processes
that do this at the same moment would both succeed.

Mechanism: each process does it alone. It creates a file beside the name, locks it, and removes it
at the end. A killed process leaves a file that is no longer locked. The next process removes that.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
import time
from collections.abc import Callable, Iterator

from uactor.core.addresses import server_path
from uactor.errors import AddressError

log = logging.getLogger('uactor.host')

_BACKLOG = 1024
_LOCK_TIMEOUT_S, _LOCK_TIMEOUT_AT_END_S = 10.0, 0.5
"""How long this process waits for others that have locked a name."""
_LOCK_RETRY_S = 0.005
"""Pause before a lock is tried again: a blocking wait for a lock has no time limit."""
_UNSUPPORTED = errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL
"""Errors of file systems without locks."""

_own: dict[str, tuple[int, int, int]] = {}
"""The names that this process has taken, with the identity of its socket there."""


def create_listener(path: str) -> socket.socket:
    """Create a non-blocking socket that listens at ``path`` for this user alone.

    :raises AddressError: when this process can't listen there.
    """
    with _lock_name(path, _LOCK_TIMEOUT_S):
        clear_stale(path)
        sock = socket.socket(socket.AF_UNIX)
        try:
            with private_sockets():
                sock.bind(path)
            sock.listen(_BACKLOG)
            _own[path] = _identity(path)
        except OSError as error:
            sock.close()
            raise AddressError(f'cannot listen at unix:{path}: {error.strerror}') from error
    sock.setblocking(False)
    return sock


def serve_at(path: str, serve: Callable[[str], bool], *others: str) -> bool:
    """Start the gRPC server at ``path``; return whether it listens.

    The server listens in a private directory beside, and then its socket is renamed to ``path``. So
    gRPC takes no name from another process, and removes none at its end. The actor's own code may
    be running. The mode of files that it creates must not change meanwhile, as the umask would
    change it.

    :param serve: starts the server at a path, and returns whether it listens.
    :param others: names that have to be free, too.
    :raises AddressError: when another process has the name.
    """
    made = server_path(path)
    directory = os.path.dirname(made)
    with _lock_name(path, _LOCK_TIMEOUT_S):
        if not _is_own(path):
            for name in (path, *others):
                clear_stale(name)
        _remove_directory(directory, made)  # a process may have been killed in the middle of this
        os.mkdir(directory, 0o700)
        try:
            if not serve(made):
                return False
            os.chmod(made, 0o600)
            os.rename(made, path)
            _own[path] = _identity(path)
            return True
        finally:
            _remove_directory(directory, made)


def remove_own() -> None:
    """Remove the names that are still this process's own."""
    while _own:
        path, _ = next(reversed(_own.items()))
        try:
            with _lock_name(path, _LOCK_TIMEOUT_AT_END_S):
                if _is_own(path):
                    os.unlink(path)
        except (OSError, AddressError) as error:  # the directory may be gone
            log.debug('%s is left as it is: %s', path, error)
        del _own[path]


def _identity(path: str) -> tuple[int, int, int]:
    """Return what distinguishes a socket from later sockets of its name."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _is_own(path: str) -> bool:
    try:
        return _own.get(path) == _identity(path)
    except OSError:
        return False


@contextlib.contextmanager
def _lock_name(path: str, timeout_s: float) -> Iterator[None]:
    """Exclude other processes from taking or removing the name ``path``.

    :param timeout_s: how long to wait for the others.
    :raises AddressError: when they take longer.
    """
    name = f'{path}.lock'
    try:
        lock = _acquire_lock(name, time.monotonic() + timeout_s)
    except OSError as error:
        raise AddressError(f'cannot listen at unix:{path}: {error.strerror}') from error
    if lock is None:
        raise AddressError(
            f'cannot listen at unix:{path}: another process is about to listen there ({name})'
        )
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the directory may be gone
            os.unlink(name)
        fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may have the descriptor, too
        os.close(lock)


def _acquire_lock(name: str, deadline: float) -> int | None:
    """Lock the file ``name``, and return its descriptor.

    Return None after the deadline.
    """
    while True:
        lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if _try_lock(lock) and _has_name(lock, name):
                found, lock = lock, -1
                return found
        finally:
            if lock >= 0:
                os.close(lock)
        if time.monotonic() > deadline:
            return None
        time.sleep(_LOCK_RETRY_S)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    return True


def _has_name(lock: int, name: str) -> bool:
    """Return whether the locked file still has its name.

    The process that had the lock before has removed the file.
    """
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(name))
    except FileNotFoundError:
        return False


def clear_stale(path: str) -> None:
    """Remove the socket of a process that has ended.

    The socket of a live process stays: to bind in its place would steal the name.

    :raises AddressError: when the name belongs to a live process, or is no socket.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise AddressError(f'{path} exists and is no socket')
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # a live listener with a full backlog would block
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
        except OSError as error:
            raise AddressError(f'cannot listen at unix:{path}: {error.strerror}') from error
    raise AddressError(f'cannot listen at unix:{path}: another process listens there')


def _remove_directory(directory: str, path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.rmdir(directory)


@contextlib.contextmanager
def private_sockets() -> Iterator[None]:
    """Restrict new sockets to this user, within the block.

    Use it only before the actor's own code runs, because the umask belongs to the whole process.
    """
    previous = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(previous)
