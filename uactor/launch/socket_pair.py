"""Messages of a known number, each behind its length: how a process is told what it is to be.

What owner and actor process say to each other afterwards is in :mod:`uactor.launch.lifeline`.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Sequence

from uactor.runtime.system_errors import is_own

QUIETLY = getattr(socket, 'MSG_NOSIGNAL', 0)
"""A flag for sending: raise BrokenPipeError, also in a process that SIGPIPE would end."""

_LENGTH = struct.Struct('!Q')


def send(sock: socket.socket, data: bytes) -> None:
    """Send one message."""
    sock.sendall(_LENGTH.pack(len(data)), QUIETLY)
    sock.sendall(data, QUIETLY)


def send_descriptors(sock: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send file descriptors and a few bytes, as ``socket.send_fds`` does, which takes no flags."""
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array('i', descriptors))
    sock.sendmsg([data], [rights], QUIETLY)


def receive(sock: socket.socket) -> bytes | None:
    """Receive one message, or None when the other side has ended."""
    header = receive_exactly(sock, _LENGTH.size)
    return None if header is None else receive_exactly(sock, *_LENGTH.unpack(header))


def receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    """Receive so many bytes; None when the peer closes its end before."""
    data = bytearray()
    while len(data) < count:
        try:
            part = sock.recv(min(count - len(data), 1 << 20))
        except ConnectionResetError as error:
            if not is_own(error):
                raise
            return None
        if not part:
            return None
        data += part
    return bytes(data)
