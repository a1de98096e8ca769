"""Memory for a message of which only the size is known yet.

Whoever announces a message has sent four bytes of it. Memory of the announced size would have to be
filled with zeros at once: 2 GiB take a second, in which no other thread of this process runs. So
memory grows with what has really come, and is doubled as long as that takes moments. Large blocks
are moved by the system without being copied. Receiving takes as long as it did before.
"""

from __future__ import annotations

import functools
from socket import SocketType

_FIRST_BYTES = 1 << 20
"""What is there at once. Most messages find place in it."""
_MOST_BYTES_AT_ONCE = 1 << 24
"""Filling that with zeros takes some milliseconds."""


class Buffer:
    """Receives a message of a known size.

    :ivar data: what has come; all of it once the buffer :attr:`is_full`.
    :ivar size: how long the message is, in bytes.
    """

    __slots__ = ('_got', 'data', 'size')

    def __init__(self, size: int) -> None:
        self.data = bytearray(min(size, _FIRST_BYTES))
        self.size = size
        self._got = 0

    @property
    def missing(self) -> int:
        """How many bytes have not come yet."""
        return self.size - self._got

    @property
    def is_full(self) -> bool:
        """Whether the whole message has come."""
        return self._got == self.size

    def add(self, data: bytes | memoryview) -> None:
        """Add bytes that have come, no more than are missing."""
        end = self._got + len(data)
        while end > len(self.data):
            self._grow()
        self.data[self._got : end] = data
        self._got = end

    def receive_from(self, sock: SocketType, most: int = -1) -> int:
        """Receive more bytes and return how many, 0 at the end.

        :param most: how many at most; -1 for what is missing.
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
        step = max(_FIRST_BYTES, min(there, _MOST_BYTES_AT_ONCE))
        self.data += _zeros()[: min(self.size - there, step)]


@functools.cache
def _zeros() -> memoryview:
    """Return zeros to grow by: pages that are only read take no memory.

    Made once: what is freed again would have the allocator keep blocks of this size.
    """
    return memoryview(bytes(_MOST_BYTES_AT_ONCE))
