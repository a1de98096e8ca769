"""Send whole messages and file descriptors through a socket pair.

A process that is started learns through it what it is to be. So do a template and its owner, which
know the number of messages in advance. What owner and actor process send one another later is in
:mod:`uactor.launch.lifeline`.
"""

from __future__ import annotations

import socket
import struct
from array import array
from collections.abc import Sequence

from uactor.runtime.system_errors import is_own

NO_SIGPIPE = getattr(socket, 'MSG_NOSIGNAL', 0)
"""A flag for sending: raise BrokenPipeError, also in a process that SIGPIPE would end."""

_LENGTH = struct.Struct('!Q')
_MAX_READ_BYTES = 1 << 20


def send_message(sock: socket.socket, data: bytes) -> None:
    """Send one message, behind its length."""
    sock.sendall(_LENGTH.pack(len(data)), NO_SIGPIPE)
    sock.sendall(data, NO_SIGPIPE)


def send_descriptors(sock: socket.socket, data: bytes, descriptors: Sequence[int]) -> None:
    """Send file descriptors and a few bytes.

    ``socket.send_fds`` does the same, but takes no flags.
    """
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array('i', descriptors))
    sock.sendmsg([data], [rights], NO_SIGPIPE)


def receive_message(sock: socket.socket) -> bytes | None:
    """Receive one message, or None when the peer has closed its end."""
    header = receive_exactly(sock, _LENGTH.size)
    return None if header is None else receive_exactly(sock, *_LENGTH.unpack(header))


def receive_exactly(sock: socket.socket, count: int) -> bytes | None:
    """Receive ``count`` bytes; return None if the peer closes its end before."""
    data = bytearray()
    while len(data) < count:
        try:
            part = sock.recv(min(count - len(data), _MAX_READ_BYTES))
        except ConnectionResetError as error:
            if not is_own(error):
                raise
            return None
        if not part:
            return None
        data += part
    return bytes(data)
