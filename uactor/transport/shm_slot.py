"""A slot in shared memory for messages to a spinning receiver.

Problem: a message on a socket takes a system call to be sent, another to be noticed, and a third
to be received. While both ends of a lane spin rather than sleep, they can do without.

Mechanism: each direction has one slot for one message. The sender writes its message there and
then a word with its number, which the receiver polls. A slot that is taken, or whose receiver may
be asleep, is not used: the message goes by the socket. So no sender waits for a slot.

Invariants:

- Order: with a message stands how many went by the socket before; it is not taken any sooner.
- No message is missed: a receiver says that it needs a wake-up, and then polls once more. A sender
  puts its message, and then looks whether the receiver needs a wake-up. So one of them sees the
  other. That needs a memory barrier between the two steps, which Python has in its locks, and a
  processor that shows stores in the order in which they are made. ``tests/transport/test_shm_slot``
  runs both ends in all orders, with store buffers as such a processor has them.

Gain: the three system calls take 3 us of a small call, and half of its time on one side.
"""

from __future__ import annotations

import mmap
import platform
import threading

from uactor.transport import segments
from uactor.transport.segments import MIN_SEGMENT_BYTES

POSSIBLE = segments.POSSIBLE and platform.machine() in ('x86_64', 'AMD64', 'i686')
"""Whether other processors see stores in the order in which they are made."""

_PAGE_BYTES = 1 << 12
_HALF_BYTES = MIN_SEGMENT_BYTES + _PAGE_BYTES
MEMORY_BYTES = 2 * _HALF_BYTES
"""How large the memory is. The system adds a page only when a message reaches it."""
MAX_SLOT_BYTES = _HALF_BYTES - 128
"""Largest message that fits: any that brings no large data beside itself."""

# Words, by their place in a direction's half. What the receiver writes, STATE, has a cache line of
# its own: the header of the message that it has taken last, and whether it is awake.
STATE = 0
HEADER, _SOCKET_COUNT, _PAUSED = 16, 17, 18
_WORD_BYTES = 4
_MESSAGE_AT = 20 * _WORD_BYTES

# The header of a message: its length, whether others went by the socket since the one before, and
# above that its number. All of it, and the bit beyond, are integers with which Python is fast.
LENGTH = (1 << 18) - 1
_AFTER_SOCKET = 1 << 18
_NUMBER = (1 << 29) - 1 & ~(_AFTER_SOCKET | LENGTH)
_ONE = _AFTER_SOCKET << 1
AWAKE = 1 << 29

REFUSED, DELIVERED, NEED_WAKEUP = range(3)
"""Results of :meth:`ShmSlot.put`: the slot can't take the message; the message is there; it is
there, and the receiver has to be woken for it. Not an enum: each message is compared with them."""


class ShmSlot:
    """One end of the slots of a lane.

    One thread puts at a time, and one takes.

    :param mapping: the memory, shared with the other end.
    :param end: which end this is, 0 or 1.
    :ivar outgoing: the words of the direction in which this end puts messages.
    :ivar incoming: the words of the direction from which it takes messages.
    :ivar barrier: a lock, Python's only memory barrier.
    """

    def __init__(self, mapping: mmap.mmap, end: int) -> None:
        self.mapping = mapping
        words = memoryview(mapping).cast('I')
        half = _HALF_BYTES // _WORD_BYTES
        self.outgoing, self.incoming = words[end * half :][:half], words[(1 - end) * half :][:half]
        self._out_at = end * _HALF_BYTES + _MESSAGE_AT
        self._in_at = (1 - end) * _HALF_BYTES + _MESSAGE_AT
        self._put = self._taken = self._socket_count = 0
        self._free = AWAKE  # the state in which the slot is free
        self._awake = 0
        self.barrier = threading.Lock()

    def put(self, message: bytes, socket_count: int) -> int:
        """Put a message where the receiver polls, and return the result.

        The result is REFUSED, DELIVERED or NEED_WAKEUP.

        :param socket_count: how many messages have been sent by the socket.
        """
        out, size = self.outgoing, len(message)
        if out[STATE] != self._free or size > MAX_SLOT_BYTES:
            return REFUSED
        at = self._out_at
        self.mapping[at : at + size] = message
        header = (self._put + _ONE) & _NUMBER | size
        if socket_count != self._socket_count:
            self._socket_count = out[_SOCKET_COUNT] = socket_count
            header |= _AFTER_SOCKET
        self._put = out[HEADER] = header
        self._free = header | AWAKE
        self.barrier.acquire(False)  # half the time that a with statement takes
        self.barrier.release()
        return DELIVERED if out[STATE] & AWAKE else NEED_WAKEUP

    def take(self, socket_count: int, polls: int = 1) -> bytes | None:
        """Return the message in the slot, or None if none is due.

        :param socket_count: how many messages have been received by the socket.
        :param polls: how often to look for it.
        """
        come, taken = self.incoming, self._taken
        for _ in range(polls):
            header = come[HEADER]
            if header != taken:
                break
        else:
            return None
        at, size = self._in_at, header & (_AFTER_SOCKET | LENGTH)
        if size > MAX_SLOT_BYTES:
            if header & _AFTER_SOCKET and come[_SOCKET_COUNT] != socket_count:
                return None
            size = min(header & LENGTH, MAX_SLOT_BYTES)
        message = self.mapping[at : at + size]
        self._taken = header
        come[STATE] = header | self._awake
        return message

    @property
    def is_unread(self) -> bool:
        """Whether the receiver has not taken the last message.

        That is final once the other end has gone.
        """
        return self.outgoing[STATE] & ~AWAKE != self._put

    def set_paused(self, is_paused: bool) -> None:
        """Tell the other end whether messages pause for a while."""
        self.outgoing[_PAUSED] = is_paused

    @property
    def is_peer_paused(self) -> bool:
        """Whether the other end has said that messages pause for a while."""
        return self.incoming[_PAUSED] == 1

    def clear_need_wakeup(self) -> None:
        """Let the other end put messages: this end polls."""
        if not self._awake:
            self._awake = AWAKE
            self.incoming[STATE] = self._taken | AWAKE

    def set_need_wakeup(self) -> None:
        """Tell the other end that this end needs a wake-up.

        This end has to take once more before it sleeps.
        """
        if self._awake:
            self._awake = 0
            self.incoming[STATE] = self._taken
            with self.barrier:
                pass


class LeftShmSlot(ShmSlot):
    """Takes the place of a slot whose memory this end has released.

    Another thread may be about to use the slot: it finds no room, and no message.

    :param is_unread: what the slot has said last.
    """

    def __init__(self, is_unread: bool) -> None:
        self._is_unread = is_unread

    def put(self, message: bytes, socket_count: int) -> int:  # noqa: ARG002  # of the base class
        """Refuse the message."""
        return REFUSED

    def take(self, socket_count: int, polls: int = 1) -> None:  # noqa: ARG002  # of the base class
        """Return no message."""
        return None

    @property
    def is_unread(self) -> bool:
        """See :class:`ShmSlot`."""
        return self._is_unread

    def set_paused(self, is_paused: bool) -> None:
        """Do nothing."""

    @property
    def is_peer_paused(self) -> bool:
        """Whether the other end has said so: not any more."""
        return False

    def clear_need_wakeup(self) -> None:
        """Do nothing."""

    def set_need_wakeup(self) -> None:
        """Do nothing."""
