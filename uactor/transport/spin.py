"""When a receiver spins for a message before it sleeps.

Problem: to sleep and be woken up costs more than a small call, and to spin in vain costs a core.

Mechanism: each lane keeps a score. Messages that come soon raise it, spinning in vain lowers it:

    COLD ---------> SPINNING <-------> SPIN_FIRST
      fast wake-ups   ^  |               full score, and the core is not shared
                      |  v
                 BACKING_OFF             score used up: more fast wake-ups than before are needed

Invariants: :func:`next_state` is the only code that changes a record, and is pure. Among the lanes
of a process that make no calls, only the one that received last spins, and none for a moment after
that has changed: their threads would keep each other from running.

Gain: with both ends spinning a small call takes 7 us on two cores; to sleep and wake up takes 100.
"""

from __future__ import annotations

import enum
import functools
from typing import NamedTuple

from uactor.runtime import cpu

SPIN_BUDGET_S = 100e-6
"""How long spinning pays: to sleep and wake up takes as long."""
MAX_SPIN_S = 3 * SPIN_BUDGET_S
"""How long a receiver spins. The other end may have to wake up first, or be moving to a core."""
FAST_WAKEUP_S = 2 * SPIN_BUDGET_S
"""A message that comes this soon after its receiver has gone to sleep might have been spun for."""
POLLS_BEFORE_YIELD = 200
"""How often the slot is polled before the socket is. A small call takes as long."""
POLLS_BETWEEN_YIELDS = 48
"""The same, afterwards. To poll the socket lets other threads run."""

MAX_SCORE = 8
"""From this score on, the slot is polled first, and a lane without a slot wants one."""
_LOSS = 2
"""What spinning in vain costs, in messages that were found."""
_MAX_BACKOFF = 16

CROWDED_S = 200e-6
"""How long no lane spins after another one has begun to receive."""

_CORE_SHARED_S = 8e-6
"""A yield of the core that takes this long has let another thread run there."""
_PEER_RUNS_MAX_S = 1e-3
"""A yield that takes longer was not for the other end, which spins again by then."""
_FIRST_MOVE, _MOVE_EVERY = 2, 8
"""After how many yields in a row to the other end this end moves to another core, and after how
many more again: the first move need not have helped."""


class SpinState(enum.IntEnum):
    """How a receiver waits. From SPINNING on, it spins."""

    COLD = 0
    """Sleeps at once; has not spun yet."""
    BACKING_OFF = 1
    """Sleeps at once, since spinning has not paid."""
    SPINNING = 2
    """Spins before it sleeps."""
    SPIN_FIRST = 3
    """Polls the slot before anything else: messages come so soon that this mostly finds one."""


COLD, BACKING_OFF, SPINNING, SPIN_FIRST = SpinState

TRANSITIONS = {
    COLD: frozenset([SPINNING]),
    BACKING_OFF: frozenset([SPINNING]),
    SPINNING: frozenset([SPIN_FIRST, BACKING_OFF]),
    SPIN_FIRST: frozenset([SPINNING]),
}
"""Which states may follow each state, beside itself."""


class SpinEvent(enum.IntEnum):
    """What a receiver finds out while it waits."""

    FOUND = 0
    """A message came within the budget."""
    FOUND_LATE = 1
    """A message came after the budget."""
    MISSED = 2
    """No message came for longer than the budget."""
    BROKEN_OFF = 3
    """Spinning ended sooner, without a message."""
    SLEPT = 4
    """The receiver goes to sleep."""
    WOKEN_FAST = 5
    """A message woke it so soon that spinning might have found it."""
    WOKEN_LATE = 6
    """A message woke it later than that."""
    SLOT_SHARED = 7
    """The ends have a slot from now on: spinning has paid for the caller, which made it."""


# Names of the module, since to look a member up in its class takes three times as long.
FOUND, FOUND_LATE, MISSED, BROKEN_OFF, SLEPT, WOKEN_FAST, WOKEN_LATE, SLOT_SHARED = SpinEvent


class SpinRecord(NamedTuple):
    """What a receiver has learnt.

    :ivar score: what spinning is worth, 0 or less for nothing.
    :ivar fast_wakeups: how many there were, less half of them at each late one.
    :ivar missed: whether the latest message that was spun for was late.
    :ivar backoff: how many fast wake-ups it takes to spin again.
    """

    state: SpinState
    score: int
    fast_wakeups: int = 0
    missed: bool = False
    backoff: int = 1


UNTRIED = SpinRecord(COLD, 0)
HOPEFUL = SpinRecord(SPINNING, 1)
"""Of a caller: it sends a request, and so a message is about to come."""


@functools.cache  # there are some hundred records; a look-up takes a tenth of the time
def next_state(record: SpinRecord, event: SpinEvent, may_spin_first: bool = False) -> SpinRecord:
    """Return the record after an event.

    :param may_spin_first: whether the slot can be polled first if the score is full.
    """
    state, score, fast_wakeups, missed, backoff = record
    if event is SLEPT:
        return record._replace(state=min(state, SPINNING))
    if event is SLOT_SHARED:
        return record._replace(state=SPINNING, score=MAX_SCORE, backoff=1)
    if event is BROKEN_OFF:
        return record._replace(missed=False)
    if event is WOKEN_LATE:  # one late message is no reason to begin again
        return record._replace(missed=False, fast_wakeups=fast_wakeups // 2)
    if event is WOKEN_FAST:
        if fast_wakeups + 1 >= backoff:
            return SpinRecord(SPINNING, 1, 0, False, backoff)
        return record._replace(missed=False, fast_wakeups=fast_wakeups + 1)
    if event is FOUND:
        score = min(score + 1, MAX_SCORE)
        backoff = 1 if score == MAX_SCORE else backoff
    elif missed or event is MISSED:  # one late message is no loss
        score -= _LOSS
    if score <= 0:  # the other end may be on this very core
        state, backoff = BACKING_OFF, min(2 * backoff, _MAX_BACKOFF)
    else:
        state = SPIN_FIRST if may_spin_first and score == MAX_SCORE else SPINNING
    return SpinRecord(state, score, fast_wakeups, event is not FOUND, backoff)


class SpinPolicy:
    """The state of a receiver, and whether it shares its core.

    :param makes_calls: whether the receiver is a caller.
    :param may_move: whether it is this end that moves to another core when both share one.
    :ivar state: that of the record; an attribute, since each message needs it.
    :ivar core_shared: whether another thread ran on this core at the latest yield.
    """

    __slots__ = ('_may_move', '_shared_in_a_row', 'core_shared', 'record', 'spare_cores', 'state')

    def __init__(self, makes_calls: bool, may_move: bool) -> None:
        self.record = HOPEFUL if makes_calls else UNTRIED
        self.state = self.record.state
        self.spare_cores = cpu.count_spare_cores()
        self.core_shared = False
        self._may_move = may_move
        self._shared_in_a_row = 0

    def apply(self, event: SpinEvent, may_spin_first: bool = False) -> None:
        """Change the record by an event; see :func:`next_state`."""
        self.record = record = next_state(self.record, event, may_spin_first)
        self.state = record.state

    def yield_core(self) -> None:
        """Let other threads run on this core.

        This end moves to another core if the other end seems to run on this core.
        """
        seconds = cpu.yield_core()
        self.core_shared = seconds > _CORE_SHARED_S
        if not _CORE_SHARED_S < seconds < _PEER_RUNS_MAX_S:
            self._shared_in_a_row = 0
            return
        self._shared_in_a_row += 1
        if self._may_move and self._shared_in_a_row % _MOVE_EVERY == _FIRST_MOVE:
            cpu.move_to_idle_core()


class Spinners:
    """The receivers of this process that spin, or might.

    :ivar active: those that spin now.
    :ivar latest: the one that has received last, among those that make no calls.
    :ivar crowded_until: until when none of those spins; 0 if they may.
    """

    __slots__ = ('active', 'crowded_until', 'latest')

    def __init__(self) -> None:
        self.active: set[SpinPolicy] = set()
        self.latest: SpinPolicy | None = None
        self.crowded_until = 0.0

    def is_uncrowded(self, spin: SpinPolicy, now: float) -> bool:
        """Return whether no other receiver has received lately.

        This receiver is the latest from now on.
        """
        if self.latest is not spin:
            self.latest, self.crowded_until = spin, now + CROWDED_S
        elif self.crowded_until and now > self.crowded_until:
            self.crowded_until = 0.0
        return not self.crowded_until


spinners = Spinners()
"""The receivers of this process."""
