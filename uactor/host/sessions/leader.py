"""Leader and followers: which thread of a pipelined session reads.

Problem: the thread that reads also runs the calls, since handing each to another thread would cost
more than a small call. A call that blocks must not keep the session from being read.

Mechanism: the reading thread is the *leader*. It offers the lead for as long as it runs a call, and
takes it back afterwards. When a call does not return soon, another thread is started, a follower,
which takes the lead if it is still on offer. To take it is one atomic operation, so it does not
matter which thread is first: the other one finds nothing, and does not read. For a second after
that, workers run the calls, since more of them may block.

Invariants: one thread at most has the lead. Only the leader reads messages, and draws calls from
those that have come, so their order is kept. The lead is never lost: where no follower can be
started, the offer stands until the call returns.

Offer and return cost two calls of C functions, some 40 ns.
"""

from __future__ import annotations

import collections
import enum
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from uactor.host.execution.watchdog import Watch
from uactor.runtime.threads import start_daemon

_SPREAD_S = 1.0
"""For how long workers run calls after one that did not return soon, in seconds."""


T1 = TypeVar('T1')
T2 = TypeVar('T2')


class LeadState(enum.Enum):
    """Where a lead is. :data:`TRANSITIONS` has the states that may follow."""

    OFFERED = 'offered'
    """No thread reads; the first one that comes may."""
    HELD = 'held'
    """One thread reads, or draws the next call."""
    ENDED = 'ended'
    """The session has nothing more to read."""


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

    :ivar offer: offers the lead, during a call with this number. For the thread that has it.
    :ivar take: takes the lead; raises IndexError when it is not on offer.
    :ivar reader: the thread that had the lead last. Other threads may see that a moment late.
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
        """The state of the lead at this moment."""
        if self._offers:
            return LeadState.OFFERED
        return LeadState.ENDED if self._ended else LeadState.HELD

    @property
    def part(self) -> int:
        """The number with which the lead is on offer, or -1."""
        try:
            return self._offers[0]
        except IndexError:
            return -1

    def follow(self) -> Reader | None:
        """Take the lead for this thread, if it is on offer."""
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
        """End the reading of the session.

        The thread that has the lead calls this.
        """
        self._ended = True
        self._offers.clear()


class LeaderFollowers:
    """Passes the lead of a session to another thread when calls block.

    The thread that has the lead reads the session and runs calls.

    :param read: reads the session, as long as the reader that it gets leads.
    :param hand_over: lets another thread send the responses that there are.
    :ivar watch: the context in which the leader runs calls.
    """

    def __init__(self, read: Callable[[Reader], None], hand_over: Callable[[], None]) -> None:
        self._read = read
        self._hand_over = hand_over
        self.lead = Lead()
        self.watch = Watch(self.promote, hand_over, lambda: self.lead.part)
        self._spread_until = 0.0

    def start_follower(self) -> None:
        """Start a thread that reads if the lead is on offer.

        :raises RuntimeError: when no thread can be started.
        """
        start_daemon('uactor-pipeline', self.follow)

    def follow(self) -> None:
        """Read the session on this thread, if the lead is on offer."""
        reader = self.lead.follow()
        if reader is not None:
            self._read(reader)

    def promote(self) -> None:
        """Start a follower, because the leader's call does not return soon.

        :raises RuntimeError: when no thread can be started; then nothing has changed.
        """
        self._hand_over()
        if self.lead.state is not LeadState.OFFERED:  # the call has returned
            return
        before, self._spread_until = self._spread_until, time.monotonic() + _SPREAD_S
        try:
            self.start_follower()
        except RuntimeError:
            self._spread_until = before
            raise

    def can_run(self) -> bool:
        """Return whether this thread may run a call.

        These conditions must hold:

        * This thread leads.
        * No call is under way.
        * All calls of the last second have returned soon.
        """
        reader = self.lead.reader
        return (
            reader.thread == threading.get_ident()  # as is_of_this_thread(), for each call
            and reader.leads
            and not self.watch.has_job
            and not (self._spread_until and self._spread_until > time.monotonic())
        )

    def run(self, function: Callable[[T1, T2], None], first: T1, second: T2) -> None:
        """Run a function on this thread, and offer its lead meanwhile."""
        lead = self.lead
        reader = lead.reader
        with self.watch:  # until the lead is taken back: no other thread offers it meanwhile
            lead.offer(0)
            function(first, second)
            leads = lead.take_back(reader)
        if not leads:
            self._hand_over()
