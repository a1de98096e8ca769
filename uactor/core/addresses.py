"""Name the objects of actor processes, and the addresses where these listen."""

from __future__ import annotations

import dataclasses
import os
import socket
from typing import Any, Union

from uactor.errors import AddressError
from uactor.runtime.system_errors import is_own

Address = Union[str, 'tuple[str, int]']
"""``'unix:/path'``, ``'host:port'`` or ``('host', port)``, as the user wrote it."""

MAX_PATH = 100
"""Longest path of a Unix socket, in bytes. The kernel refuses 108 and more."""


@dataclasses.dataclass(slots=True)
class Token:
    """Names a shared object, like :class:`multiprocessing.managers.Token`."""

    typeid: str
    address: Address
    id: str

    @property
    def target(self) -> str:
        """The address in the form that gRPC dials."""
        return target(self.address)


def target(address: Address) -> str:
    """Convert an address to the form that gRPC dials.

    :returns: ``'unix:/path'`` or ``'host:port'``.
    :raises AddressError: when it is no address.
    """
    if isinstance(address, tuple):
        return _join_host_port(*_split_host_port(address))
    if not isinstance(address, str) or not address:
        raise AddressError(f'{address!r} is not an address; {_FORMS}')
    if address.startswith('unix:'):
        return 'unix:' + _validate_path(address[len('unix:') :])
    if address.startswith('/'):
        return 'unix:' + _validate_path(address)
    return _join_host_port(*_split_host_port(address))


_FORMS = "give 'unix:/path', 'host:port' or ('host', port)"


def _split_host_port(address: str | tuple[object, ...]) -> tuple[str, int]:
    parts = address.rpartition(':')[::2] if isinstance(address, str) else address
    try:
        host, port = parts
        number = int(port)  # type: ignore[call-overload]  # the user may have given any type
    except (TypeError, ValueError):
        raise AddressError(f'{address!r} is not an address; {_FORMS}') from None
    if not isinstance(host, str) or not host or not 0 <= number < 65536:
        raise AddressError(f'{address!r} is not an address; {_FORMS}')
    return host.strip('[]'), number


def _join_host_port(host: str, port: int) -> str:
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _validate_path(path: str) -> str:
    path = path.removeprefix('//')
    if '\0' in path:
        raise AddressError(f'the socket path {path!r} contains a null character')
    length = len(os.fsencode(path))
    if not path.startswith('/'):
        raise AddressError(f'the socket path {path!r} must be absolute')
    if length > MAX_PATH:
        raise AddressError(
            f'the socket path {path!r} has {length} bytes, and only {MAX_PATH} fit; '
            'choose a shorter one'
        )
    return path


def to_socket_path(address: str) -> str | None:
    """Return the path of a Unix target, or None for TCP."""
    return address[len('unix:') :] if address.startswith('unix:') else None


def server_path(path: str) -> str:
    """Return where the gRPC server that starts on demand for ``path`` listens.

    The path is in a directory of its own. Later the server's socket is renamed to ``path``, but
    ``getpeername()`` continues to return this one.
    """
    return f'{path}g/s'


def split_host_port(address: str) -> tuple[str, int]:
    """Split a TCP target into host and port."""
    return _split_host_port(address)


def resolve_host(address: Address) -> Address:
    """Look up the host name of a TCP address, keeping its form.

    :mod:`multiprocessing.managers` reports this as the address of a listener.
    """
    name = target(address)
    if to_socket_path(name) is not None:
        return name
    host, port = split_host_port(name)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        if not is_own(error, socket.getaddrinfo):
            raise
        raise AddressError(f'cannot look up the host of {address!r}: {error}') from error
    found.sort(key=lambda info: info[0] != socket.AF_INET)
    numeric = str(found[0][4][0])
    return (numeric, port) if isinstance(address, tuple) else _join_host_port(numeric, port)


def peer_names(address: str) -> frozenset[Any]:
    """Return what ``getpeername()`` may return for a socket connected to a target."""
    path = to_socket_path(address)
    if path is not None:
        return frozenset([path, server_path(path)])
    try:
        found = socket.getaddrinfo(*split_host_port(address), type=socket.SOCK_STREAM)
    except OSError as error:  # a client that connects reports it
        if not is_own(error, socket.getaddrinfo):
            raise
        return frozenset()
    return frozenset(info[4][:2] for info in found)


def replace_port(address: Address, port: int) -> Address:
    """Replace the port of a TCP address, keeping its form."""
    host, _ = split_host_port(target(address))
    return (host, port) if isinstance(address, tuple) else _join_host_port(host, port)


def is_loopback(address: str) -> bool:
    """Return whether a resolved target is on this machine."""
    if to_socket_path(address) is not None:
        return True
    host, _ = split_host_port(address)
    return host == 'localhost' or host == '::1' or host.startswith('127.')
