"""The board of a lane: memory that both ends have, for messages to whoever is looking for them.

A message on a socket takes a system call to be sent, another to be noticed, and a third to be
received. While both ends of a lane look for messages rather than sleep, they can do without: the
sender writes its message into a place in shared memory, and then its number, for which the
receiver looks.

Each direction has one place, which holds one message at a time. It is used only as long as the
receiver is known to look there before it sleeps; everything else goes by the socket. So nothing
waits for a place, and two rules keep messages in order and have none missed:

- With a message stands how many have gone by the socket before; it is not taken any sooner.
- The receiver says that it will sleep, and then looks once more; the sender puts a message, and
  then looks once more whether the receiver sleeps, and wakes it if so. Either one sees the other's
  doing. That needs a processor on which a memory barrier is at hand in Python, and on which what
  is written in one order is seen in the same.
"""

from __future__ import annotations

import mmap
import platform
import threading

from uactor.transport import segments
from uactor.transport.segments import LARGE

POSSIBLE = segments.POSSIBLE and platform.machine() in ('x86_64', 'AMD64', 'i686')
"""Whether stores are seen in the order in which they are made."""

_PAGE = 1 << 12
_HALF = LARGE + _PAGE
SIZE = 2 * _HALF
"""How large the memory is, in bytes. Pages that no message has reached are not there yet."""
ROOM = _HALF - 128
"""Largest message that finds place, in bytes: any that brings nothing beside itself."""

# Words, by their place in a direction's half. What the receiver writes has a cache line of its own:
# what told of the message that it has taken last, and whether it is awake.
_STATE = 0
_LATEST, _BEFORE, _RESTING = 16, 17, 18
_WORD = 4
_MESSAGE = 20 * _WORD

# What tells of the latest message: its length, whether others have gone by the socket since the one
# before, and above that its number; all of it, and the bit beyond, as far as Python counts fast.
_LENGTH = (1 << 18) - 1
_SOCKET = 1 << 18
_NUMBER = (1 << 29) - 1 & ~(_SOCKET | _LENGTH)
_ONE = _SOCKET << 1
_AWAKE = 1 << 29

WRAP = 1 << 32
"""What messages by the socket are counted up to."""

NOT, DONE, ASLEEP = range(3)
"""What has become of a message: there is no place for it; it is there; it is there, and the other
end has to be woken for it."""


class ShmSlot:
    """One end of a board. One thread puts at a time, and one takes.

    :param mapping: of the memory, shared with the other end.
    :param end: which end this is, 0 or 1.
    """

    def __init__(self, mapping: mmap.mmap, end: int) -> None:
        self._mapping = mapping
        words = memoryview(mapping).cast('I')
        half = _HALF // _WORD
        self._out, self._in = words[end * half :][:half], words[(1 - end) * half :][:half]
        self._out_at, self._in_at = end * _HALF + _MESSAGE, (1 - end) * _HALF + _MESSAGE
        self._put = self._taken = self._before = 0
        self._free = _AWAKE  # the state in which the place is free
        self._awake = 0
        self._barrier = threading.Lock()  # Python's only way to one

    def put(self, message: bytes, before: int) -> int:
        """Put a message where the other end looks for it; tell what has become of it.

        :param before: how many messages have gone by the socket.
        """
        out, size = self._out, len(message)
        if out[_STATE] != self._free or size > ROOM:
            return NOT
        at = self._out_at
        self._mapping[at : at + size] = message
        latest = (self._put + _ONE) & _NUMBER | size
        if before != self._before:
            self._before = out[_BEFORE] = before
            latest |= _SOCKET
        self._put = out[_LATEST] = latest
        self._free = latest | _AWAKE
        self._barrier.acquire(False)  # half the time that a with statement takes
        self._barrier.release()
        return DONE if out[_STATE] & _AWAKE else ASLEEP

    def take(self, before: int, glances: int = 1) -> bytes | None:
        """Return a message that is there, if its turn has come.

        :param before: how many messages have come by the socket.
        :param glances: how often it is looked for.
        """
        come, taken = self._in, self._taken
        for _ in range(glances):
            latest = come[_LATEST]
            if latest != taken:
                break
        else:
            return None
        at, size = self._in_at, latest & (_SOCKET | _LENGTH)
        if size > ROOM:
            if latest & _SOCKET and come[_BEFORE] != before:
                return None
            size = min(latest & _LENGTH, ROOM)
        message = self._mapping[at : at + size]
        self._taken = latest
        come[_STATE] = latest | self._awake
        return message

    @property
    def is_unread(self) -> bool:
        """Whether what was put last has not been taken. It never is when the other end has gone."""
        return self._out[_STATE] & ~_AWAKE != self._put

    def rest(self, resting: bool) -> None:
        """Let the other end know whether there will be no message for a while."""
        self._out[_RESTING] = resting

    @property
    def is_resting(self) -> bool:
        """Whether the other end has said so."""
        return self._in[_RESTING] == 1

    def wake(self) -> None:
        """Let the other end put messages: this one looks for them."""
        if not self._awake:
            self._awake = _AWAKE
            self._in[_STATE] = self._taken | _AWAKE

    def sleep(self) -> None:
        """Have the other end put no more, as far as it has not; it wakes this one from now on."""
        if self._awake:
            self._awake = 0
            self._in[_STATE] = self._taken
            with self._barrier:
                pass


class LeftShmSlot(ShmSlot):
    """Takes the place of a board whose memory this end has let go of.

    A thread may be about to use it: it finds no place, and no message.

    :param is_unread: what the board has said last.
    """

    def __init__(self, is_unread: bool) -> None:
        self._is_unread = is_unread

    def put(self, message: bytes, before: int) -> int:
        """Have no place."""
        return NOT

    def take(self, before: int, glances: int = 1) -> None:
        """Have no message."""
        return None

    @property
    def is_unread(self) -> bool:
        """See :class:`ShmSlot`."""
        return self._is_unread

    def rest(self, resting: bool) -> None:
        """Tell nobody."""

    @property
    def is_resting(self) -> bool:
        """Whether the other end has said so: not any more."""
        return False

    def wake(self) -> None:
        """Tell nobody."""

    def sleep(self) -> None:
        """Tell nobody."""
