"""Sockets that a forked child inherits and must not keep open.

While it does, neither side learns of the end of the process that they belong to.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

_DESCRIPTORS = '/dev/fd'


def disconnect(chosen: Callable[[socket.socket], bool]) -> None:
    """Put /dev/null in the place of those sockets of this process that are chosen.

    Their numbers stay taken: gRPC's objects, which a forked child inherits too, know them.
    """
    if not os.path.isdir(_DESCRIPTORS):
        return
    null = os.open(os.devnull, os.O_RDWR)
    for entry in os.listdir(_DESCRIPTORS):
        with contextlib.suppress(OSError):  # no socket, not connected, or closed by now
            if _is_chosen(int(entry), chosen):
                os.dup2(null, int(entry), inheritable=False)
    os.close(null)


def _is_chosen(descriptor: int, chosen: Callable[[socket.socket], bool]) -> bool:
    with socket.socket(fileno=os.dup(descriptor)) as probe:
        return chosen(probe)


def strip_ipv6_scope(name: Any) -> Any:
    """Return what ``getsockname()`` or ``getpeername()`` says without the scope of IPv6."""
    return name[:2] if isinstance(name, tuple) else name
