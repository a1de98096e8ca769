"""What a process has from its very start, and what it could not take over later."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uactor.launch import interpreter

_EARLY = (
    b'PYTHON',  # the interpreter
    b'LD_',  # the loader and the C library
    b'GLIBC_',
    b'MALLOC_',
    b'LANG',
    b'LC_',
    b'TZ',
    b'HOME',  # the site packages of the user
    b'COVERAGE_',  # measurements that begin with the interpreter
    b'OPENSSL_',  # libraries, when they are loaded
    b'GRPC_',
    b'PROTOCOL_BUFFERS_',
)
"""How the names of variables begin that are read once, before an actor could set them."""

_INHERITED = (
    *('Umask', 'Uid', 'Gid', 'Groups', 'NSpgid', 'NSsid', 'SigBlk', 'SigIgn', 'NoNewPrivs'),
    *('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'Seccomp', 'Cpus_allowed', 'Mems_allowed'),
)
"""What a process inherits, as Linux calls it."""


@dataclass(frozen=True)
class Origin:
    """What a process that this one starts at this moment has for good.

    A template that has another one is of no use.

    :ivar command: interpreter and options.
    :ivar path: where its modules come from.
    :ivar variables: of the environment, those that are read early.
    :ivar status: of the calling thread: user, signals that are ignored, and the like.
    :ivar limits: of resources.
    :ivar priority: of the calling thread, as ``nice`` has it.
    """

    command: tuple[str, ...]
    path: tuple[str, ...]
    variables: tuple[tuple[bytes, bytes], ...]
    status: tuple[str, ...]
    limits: str
    priority: int


def origin(path: Sequence[str], environment: Mapping[bytes, bytes]) -> Origin:
    """Return the origin of a process that this thread starts, on Linux.

    :param path: its import path.
    :param environment: its environment.
    """
    with open('/proc/thread-self/status') as status, open('/proc/self/limits') as limits:
        return Origin(
            command=(sys.executable, *interpreter.flags()),
            path=_absolute(path),
            variables=tuple(item for item in sorted(environment.items()) if _is_early(item[0])),
            status=tuple(line for line in status if line.partition(':')[0] in _INHERITED),
            limits=limits.read(),
            priority=os.getpriority(os.PRIO_PROCESS, 0),
        )


def _is_early(name: bytes) -> bool:
    return name.startswith(_EARLY)


def _absolute(path: Sequence[str]) -> tuple[str, ...]:
    """Return an import path with what its relative entries mean at this moment."""
    try:
        directory = os.getcwd()
    except FileNotFoundError:  # it has been removed, with all that was in it
        directory = ''
    return tuple(os.path.join(directory, entry) for entry in path)
