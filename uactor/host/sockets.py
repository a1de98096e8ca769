"""Unix sockets to listen on."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

from uactor.errors import AddressError

_BACKLOG = 1024


def listening(path: str) -> socket.socket:
    """Return a socket that listens at ``path``, for this user alone, and is never waited on.

    :raises AddressError: when it can't be had.
    """
    clear_stale(path)
    sock = socket.socket(socket.AF_UNIX)
    try:
        with private_sockets():
            sock.bind(path)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise AddressError(f'cannot listen at unix:{path}: {error.strerror}') from error
    sock.setblocking(False)
    return sock


def clear_stale(path: str) -> None:
    """Remove the socket of a process that has ended; binding would steal that of a live one.

    :raises AddressError: when there is something else.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise AddressError(f'{path} exists and is no socket')
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise AddressError(f'cannot listen at unix:{path}: another process does')


@contextlib.contextmanager
def private_sockets() -> Iterator[None]:
    """Make sockets that only this user can open meanwhile. Before the actor's own code runs."""
    previous = os.umask(0o177)
    try:
        yield
    finally:
        os.umask(previous)
