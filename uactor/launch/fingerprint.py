"""The traits of a process that are fixed when it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from uactor.launch import interpreter

_EARLY_VARIABLES = (
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
"""Prefixes of variables that are read once, before an actor could set them."""

_INHERITED_FIELDS = (
    *('Umask', 'Uid', 'Gid', 'Groups', 'NSpgid', 'NSsid', 'SigBlk', 'SigIgn', 'NoNewPrivs'),
    *('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'Seccomp', 'Cpus_allowed', 'Mems_allowed'),
)
"""Names that Linux gives to what a process inherits."""


@dataclass(frozen=True)
class Fingerprint:
    """The fixed traits of a process that this one would start now.

    A template with another fingerprint can't be used.

    :ivar command: interpreter and options.
    :ivar variables: the variables of the environment that are read early.
    :ivar status: status of the calling thread: user, ignored signals, and the like.
    :ivar limits: limits of resources.
    :ivar priority: priority of the calling thread, as ``nice`` shows it.
    """

    command: tuple[str, ...]
    variables: tuple[tuple[bytes, bytes], ...]
    status: tuple[str, ...]
    limits: str
    priority: int


def take_fingerprint(environment: Mapping[bytes, bytes]) -> Fingerprint:
    """Return the fingerprint of a process that this thread starts, on Linux.

    :param environment: its environment.
    """
    with open('/proc/thread-self/status') as status, open('/proc/self/limits') as limits:
        return Fingerprint(
            command=(sys.executable, *interpreter.get_flags()),
            variables=tuple(item for item in sorted(environment.items()) if _is_early(item[0])),
            status=tuple(line for line in status if line.partition(':')[0] in _INHERITED_FIELDS),
            limits=limits.read(),
            priority=os.getpriority(os.PRIO_PROCESS, 0),
        )


def _is_early(name: bytes) -> bool:
    return name.startswith(_EARLY_VARIABLES)
