"""Disconnect sockets that a forked child inherits.

While the child keeps one open, neither end of the connection learns that its process has ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

_DESCRIPTORS = '/dev/fd'


def disconnect(chosen: Callable[[socket.socket], bool]) -> None:
    """Replace the chosen sockets of this process by /dev/null.

    Their numbers stay taken: gRPC's objects refer to them, and a forked child inherits those too.

    :param chosen: returns whether to replace a socket.
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
    """Return a name from ``getsockname()`` or ``getpeername()`` without its IPv6 scope."""
    return name[:2] if isinstance(name, tuple) else name
