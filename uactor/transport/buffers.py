"""Receive a message of known size into memory that grows with it.

Problem: a peer that announces a message has sent four bytes of it. To fill memory of the announced
size with zeros takes a second for 2 GiB. No other thread of this process runs meanwhile.

Mechanism: the memory grows with the bytes that have arrived. It doubles as long as that takes only
moments. The system moves large blocks without copying them, so receiving takes no longer.
"""

from __future__ import annotations

import functools
from socket import SocketType

_FIRST_BYTES = 1 << 20
"""Size of the memory at the beginning. Most messages fit."""
_MAX_STEP_BYTES = 1 << 24
"""The most memory to add at once: to fill it with zeros takes some milliseconds."""


class Buffer:
    """Receives a message of a known size.

    :ivar data: the bytes that have arrived; the message once the buffer :attr:`is_full`.
    :ivar size: length of the message, in bytes.
    """

    __slots__ = ('_got', 'data', 'size')

    def __init__(self, size: int) -> None:
        self.data = bytearray(min(size, _FIRST_BYTES))
        self.size = size
        self._got = 0

    @property
    def missing(self) -> int:
        """The number of bytes that have not arrived yet."""
        return self.size - self._got

    @property
    def is_full(self) -> bool:
        """Whether the whole message has arrived."""
        return self._got == self.size

    def add(self, data: bytes | memoryview) -> None:
        """Add bytes that have arrived, no more than are missing."""
        end = self._got + len(data)
        while end > len(self.data):
            self._grow()
        self.data[self._got : end] = data
        self._got = end

    def receive_from(self, sock: SocketType, most: int = -1) -> int:
        """Receive more bytes and return their number; 0 at the end.

        :param most: the most bytes to receive; -1 for all that are missing.
        """
        if self._got == len(self.data):
            self._grow()
        end = len(self.data) if most < 0 else min(len(self.data), self._got + most)
        with memoryview(self.data) as view, view[self._got : end] as rest:
            count = sock.recv_into(rest)
        self._got += count
        return count

    def _grow(self) -> None:
        there = len(self.data)
        step = max(_FIRST_BYTES, min(there, _MAX_STEP_BYTES))
        self.data += _get_zeros()[: min(self.size - there, step)]


@functools.cache
def _get_zeros() -> memoryview:
    """Return the zeros that a buffer grows by.

    They take no memory, because their pages are only read. They are created once. Freeing a block
    makes the allocator keep blocks of its size from then on.
    """
    return memoryview(bytes(_MAX_STEP_BYTES))
