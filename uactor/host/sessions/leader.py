"""Leader and followers: which thread of a pipelined session reads.

Problem: the thread that reads also runs the calls, since handing each to another thread would cost
more than a small call. A call that blocks must not keep the session from being read.

Mechanism: the reading thread has the *lead*. It offers the lead for as long as it runs a call, and
takes it back afterwards. When a call does not come back soon, another thread is started, a
follower, which takes the lead if it is still on offer. To take it is one atomic operation, so it
does not matter who comes first: whoever is late finds nothing, and leaves.

Invariants: one thread at most has the lead. Only that one reads messages, and draws calls from
those that have come, so their order is kept. The lead is never lost: where no follower can be
started, the offer stands until the call comes back.

Offer and return cost two calls of C functions, some 40 ns, in place of comparing thread idents.
"""

from __future__ import annotations

import collections
import enum
import threading
from collections.abc import Mapping


class LeadState(enum.Enum):
    """What may happen to a lead next is in :data:`TRANSITIONS`."""

    OFFERED = 'offered'
    """Nobody reads; the thread that comes first may."""
    HELD = 'held'
    """One thread reads, or draws the next call."""
    ENDED = 'ended'
    """There is nothing more to read."""


TRANSITIONS: Mapping[LeadState, frozenset[LeadState]] = {
    LeadState.OFFERED: frozenset([LeadState.HELD]),
    LeadState.HELD: frozenset([LeadState.OFFERED, LeadState.ENDED]),
    LeadState.ENDED: frozenset(),
}


class Reader:
    """A thread that has the lead, or had it.

    :ivar thread: its ident.
    :ivar leads: whether it has the lead, or has it on offer. Only the thread itself changes that:
        the ident of a thread that has ended may be that of another one.
    """

    __slots__ = ('leads', 'thread')

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.leads = True


class Lead:
    """The right to read a session, of one thread at a time.

    :ivar offer: offers the lead, for a call of such a number. For the thread that has it.
    :ivar take: takes the lead; raises IndexError when it is not on offer.
    :ivar reader: which thread had it last. Others may see that a moment late.
    """

    def __init__(self) -> None:
        self._offers = collections.deque([0], maxlen=1)
        # As attributes, without a function of Python around them: there is one of each for a call.
        self.offer = self._offers.append
        self.take = self._offers.pop
        self.reader = Reader(0)
        self.reader.leads = False
        self._ended = False

    @property
    def state(self) -> LeadState:
        """What the lead is at this moment."""
        if self._offers:
            return LeadState.OFFERED
        return LeadState.ENDED if self._ended else LeadState.HELD

    @property
    def part(self) -> int:
        """The number with which the lead is on offer; -1 when it is not."""
        try:
            return self._offers[0]
        except IndexError:
            return -1

    def follow(self) -> Reader | None:
        """Take the lead for this thread; return None when another thread has it."""
        try:
            self.take()
        except IndexError:
            return None
        self.reader = reader = Reader(threading.get_ident())
        return reader

    def take_back(self, reader: Reader) -> bool:
        """Take back what this thread has offered; return whether it still leads."""
        try:
            self.take()
        except IndexError:  # a follower has it
            reader.leads = False
        return reader.leads

    def is_of_this_thread(self) -> bool:
        """Return whether this thread has the lead, or has it on offer."""
        reader = self.reader
        return reader.thread == threading.get_ident() and reader.leads

    def end(self) -> None:
        """Let nobody read any more. For the thread that has the lead."""
        self._ended = True
        self._offers.clear()
