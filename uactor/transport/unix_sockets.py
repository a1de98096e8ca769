"""Unix sockets to listen on, and the names that they have in the file system.

To look whether a name is free, to remove what a killed process has left there, and to take the name
are several steps, and so is to remove one's own. Of two processes that take them at the same moment
both would succeed. So each does them alone: it locks a file beside, which is there meanwhile. One
that a killed process leaves is no longer locked, and goes with the next.
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
"""How long others may take that are alone with a name."""
_LOCK_RETRY_S = 0.005
"""How long is waited before a lock is tried again: one that is waited for has no time limit."""
_UNSUPPORTED = errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL
"""What file systems without locks say."""

_own: dict[str, tuple[int, int, int]] = {}
"""The names that this process has taken, and what it has put there."""


def create_listener(path: str) -> socket.socket:
    """Return a socket that listens at ``path``, for this user alone, and is never waited on.

    :raises AddressError: when it can't be had.
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
    """Have gRPC listen at ``path``; return whether it does.

    It listens in a private directory beside, and then its socket is given the name. So it takes no
    name from another process, and at its end removes none. The actor's own code may be running:
    what files that makes is not to depend on this, as it would on the umask.

    :param serve: has it listen at a path, and returns whether it does.
    :param others: names that have to be free, too.
    :raises AddressError: when another process has the name.
    """
    made = server_path(path)
    directory = os.path.dirname(made)
    with _lock_name(path, _LOCK_TIMEOUT_S):
        if not _is_own(path):
            for name in (path, *others):
                clear_stale(name)
        _remove_directory(directory, made)  # of a process that was killed in the middle of this
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
    """Remove the names that this process has taken, and that are still its own."""
    while _own:
        path, _ = next(reversed(_own.items()))
        try:
            with _lock_name(path, _LOCK_TIMEOUT_AT_END_S):
                if _is_own(path):
                    os.unlink(path)
        except (OSError, AddressError) as error:  # the directory may have been removed
            log.debug('%s is left as it is: %s', path, error)
        del _own[path]


def _identity(path: str) -> tuple[int, int, int]:
    """Return what tells a socket from another one of the same name, later."""
    found = os.lstat(path)
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _is_own(path: str) -> bool:
    try:
        return _own.get(path) == _identity(path)
    except OSError:
        return False


@contextlib.contextmanager
def _lock_name(path: str, patience: float) -> Iterator[None]:
    """Be the only process that takes or removes the name ``path``.

    :param patience: how long others may take, in seconds.
    :raises AddressError: when they take longer.
    """
    name = f'{path}.lock'
    try:
        lock = _acquire_lock(name, time.monotonic() + patience)
    except OSError as error:
        raise AddressError(f'cannot listen at unix:{path}: {error.strerror}') from error
    if lock is None:
        raise AddressError(f'cannot listen at unix:{path}: another process is about to ({name})')
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the directory has been removed
            os.unlink(name)
        fcntl.flock(lock, fcntl.LOCK_UN)  # a forked child may have it, too
        os.close(lock)


def _acquire_lock(name: str, deadline: float) -> int | None:
    """Return a descriptor of the file ``name``, locked; None when that is not to be had in time."""
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
    """Return whether the file has its name still: who had it locked has removed it."""
    try:
        return os.path.samestat(os.fstat(lock), os.lstat(name))
    except FileNotFoundError:
        return False


def clear_stale(path: str) -> None:
    """Remove the socket of a process that has ended; binding would steal that of a live one.

    :raises AddressError: when there is something else.
    """
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise AddressError(f'{path} exists and is no socket')
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # one whose backlog is full is there
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
    raise AddressError(f'cannot listen at unix:{path}: another process does')


def _remove_directory(directory: str, path: str) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.rmdir(directory)


@contextlib.contextmanager
def private_sockets() -> Iterator[None]:
    """Make sockets that only this user can open meanwhile. Before the actor's own code runs."""
    previous = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(previous)
