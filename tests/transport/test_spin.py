"""When receivers spin: a table of states and events, without sockets or sleeps."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from uactor.runtime import cpu
from uactor.transport import spin
from uactor.transport.spin import (
    BACKING_OFF,
    BROKEN_OFF,
    COLD,
    FOUND,
    FOUND_LATE,
    HOPEFUL,
    MAX_SCORE,
    MISSED,
    SLEPT,
    SLOT_SHARED,
    SPIN_FIRST,
    SPINNING,
    TRANSITIONS,
    UNTRIED,
    WOKEN_FAST,
    WOKEN_LATE,
    SpinEvent,
    Spinners,
    SpinPolicy,
    SpinRecord,
    SpinState,
    next_state,
)

ASLEEP = (SLEPT, WOKEN_FAST, WOKEN_LATE, SLOT_SHARED)
AWAKE = (FOUND, FOUND_LATE, MISSED, BROKEN_OFF, SLEPT, SLOT_SHARED)
POSSIBLE = {
    COLD: ASLEEP,
    BACKING_OFF: ASLEEP,
    SPINNING: (*AWAKE, WOKEN_FAST, WOKEN_LATE),
    SPIN_FIRST: AWAKE,
}
"""What can happen in each state. Who spins before it sleeps is in SPINNING when it is woken."""


def walk(record: SpinRecord, events: Iterable[SpinEvent], first: bool = True) -> SpinRecord:
    for event in events:
        record = next_state(record, event, first)
    return record


FULL = SpinRecord(SPINNING, MAX_SCORE)
FIRST = SpinRecord(SPIN_FIRST, MAX_SCORE)

TABLE = [
    # who has never spun
    (UNTRIED, [SLEPT], UNTRIED),
    (UNTRIED, [WOKEN_LATE], UNTRIED),
    (UNTRIED, [WOKEN_FAST], HOPEFUL),
    (UNTRIED, [SLOT_SHARED], FULL),
    # the score
    (HOPEFUL, [FOUND], SpinRecord(SPINNING, 2)),
    (HOPEFUL, [FOUND] * (MAX_SCORE - 2), SpinRecord(SPINNING, MAX_SCORE - 1)),
    (HOPEFUL, [FOUND] * (MAX_SCORE - 1), FIRST),
    (HOPEFUL, [FOUND] * 50, FIRST),
    (HOPEFUL, [FOUND_LATE], SpinRecord(SPINNING, 1, missed=True)),
    (FULL, [FOUND_LATE] * 2, SpinRecord(SPINNING, MAX_SCORE - 2, missed=True)),
    (FULL, [FOUND_LATE, FOUND, FOUND_LATE], SpinRecord(SPIN_FIRST, MAX_SCORE, missed=True)),
    (FULL, [FOUND_LATE, BROKEN_OFF, FOUND_LATE], SpinRecord(SPIN_FIRST, MAX_SCORE, missed=True)),
    (FULL, [FOUND_LATE, SLEPT, WOKEN_LATE, FOUND_LATE], FIRST._replace(missed=True)),
    (FULL, [MISSED], SpinRecord(SPINNING, MAX_SCORE - 2, missed=True)),
    # polling first
    (FIRST, [FOUND], FIRST),
    (FIRST, [SLEPT], FULL),
    (FIRST, [MISSED, SLEPT], SpinRecord(SPINNING, MAX_SCORE - 2, missed=True)),
    (FIRST, [MISSED, SLEPT, WOKEN_FAST], HOPEFUL),
    # backing off
    (HOPEFUL, [MISSED], SpinRecord(BACKING_OFF, -1, missed=True, backoff=2)),
    (HOPEFUL, [MISSED, SLEPT, WOKEN_FAST], SpinRecord(BACKING_OFF, -1, 1, backoff=2)),
    (HOPEFUL, [MISSED, WOKEN_FAST, WOKEN_FAST], SpinRecord(SPINNING, 1, backoff=2)),
    (HOPEFUL, [MISSED, WOKEN_FAST, WOKEN_LATE], SpinRecord(BACKING_OFF, -1, backoff=2)),
    (HOPEFUL, [MISSED, WOKEN_FAST, WOKEN_FAST, MISSED], SpinRecord(BACKING_OFF, -1, 0, True, 4)),
    (SpinRecord(SPINNING, 1, backoff=16), [MISSED], SpinRecord(BACKING_OFF, -1, 0, True, 16)),
    (
        SpinRecord(BACKING_OFF, -1, 3, backoff=4),
        [WOKEN_LATE],
        SpinRecord(BACKING_OFF, -1, 1, False, 4),
    ),
    (
        SpinRecord(BACKING_OFF, -1, backoff=16),
        [SLOT_SHARED],
        SpinRecord(SPINNING, MAX_SCORE, backoff=1)._replace(score=MAX_SCORE),
    ),
    (
        SpinRecord(BACKING_OFF, -1, 4, backoff=8),
        [WOKEN_LATE],
        SpinRecord(BACKING_OFF, -1, 2, False, 8),
    ),
    (SpinRecord(SPINNING, MAX_SCORE - 1, backoff=8), [FOUND], FIRST),
]


@pytest.mark.parametrize(('record', 'events', 'after'), TABLE)
def test_events_lead_to_the_record_of_the_table(
    record: SpinRecord, events: list[SpinEvent], after: SpinRecord
) -> None:
    assert walk(record, events) == after


def reachable() -> dict[SpinRecord, set[SpinState]]:
    """Return all records that there can be, and the states that may follow each."""
    found: dict[SpinRecord, set[SpinState]] = {}
    todo = [UNTRIED, HOPEFUL]
    while todo:
        record = todo.pop()
        if record not in found:
            after = {
                next_state(record, event, first)
                for event in POSSIBLE[record.state]
                for first in (False, True)
            }
            found[record] = {following.state for following in after}
            todo.extend(after)
    return found


def test_no_events_lead_to_a_transition_that_is_not_in_the_table() -> None:
    found = reachable()
    seen: dict[SpinState, set[SpinState]] = {state: set() for state in SpinState}
    for record, states in found.items():
        seen[record.state] |= states - {record.state}
    assert seen == {state: set(after) for state, after in TRANSITIONS.items()}


def test_each_record_is_consistent() -> None:
    records = reachable()
    assert len(records) < 1000  # next_state() remembers them
    for state, score, fast_wakeups, _, backoff in records:
        assert (score > 0) == (state >= SPINNING)
        assert score <= MAX_SCORE
        assert backoff in (1, 2, 4, 8, 16)
        assert fast_wakeups < 16
        assert (state is BACKING_OFF) == (score <= 0 and backoff > 1)
        assert state is not SPIN_FIRST or score == MAX_SCORE


def test_no_receiver_polls_first_that_may_not() -> None:
    assert walk(HOPEFUL, [FOUND] * 50, first=False) == FULL
    assert next_state(FULL, FOUND) == FULL  # unless it is said to be allowed
    policy = SpinPolicy(makes_calls=True, may_move=False)
    for _ in range(50):
        policy.apply(FOUND)
    assert policy.record == FULL


@pytest.mark.parametrize(('makes_calls', 'record'), [(True, HOPEFUL), (False, UNTRIED)])
def test_a_caller_spins_from_its_first_message_on(makes_calls: bool, record: SpinRecord) -> None:
    policy = SpinPolicy(makes_calls, may_move=False)
    assert policy.record == record
    assert policy.state is record.state
    assert not policy.core_shared


# --- cores ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('seconds', 'shared'),
    [(1e-6, False), (20e-6, True), (1e-2, True)],
    ids=['idle', 'peer', 'other'],
)
def test_a_yield_that_takes_long_tells_of_a_shared_core(
    monkeypatch: pytest.MonkeyPatch, seconds: float, shared: bool
) -> None:
    monkeypatch.setattr(cpu, 'yield_core', lambda: seconds)
    policy = SpinPolicy(makes_calls=False, may_move=False)
    policy.yield_core()
    assert policy.core_shared is shared


@pytest.mark.parametrize('may_move', [True, False])
def test_an_end_that_may_move_leaves_a_shared_core_repeatedly(
    monkeypatch: pytest.MonkeyPatch, may_move: bool
) -> None:
    moves: list[int] = []
    policy = SpinPolicy(makes_calls=False, may_move=may_move)
    monkeypatch.setattr(cpu, 'yield_core', lambda: 20e-6)
    for number in range(1, 20):
        monkeypatch.setattr(cpu, 'move_to_idle_core', lambda at=number: moves.append(at))
        policy.yield_core()
    assert moves == ([2, 10, 18] if may_move else [])


def test_a_yield_to_another_program_begins_the_count_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moves: list[float] = []
    monkeypatch.setattr(cpu, 'move_to_idle_core', lambda: moves.append(1))
    policy = SpinPolicy(makes_calls=False, may_move=True)
    for seconds in (20e-6, 1e-2, 20e-6, 1e-6, 20e-6):
        monkeypatch.setattr(cpu, 'yield_core', lambda taken=seconds: taken)
        policy.yield_core()
    assert not moves
    policy.yield_core()
    assert len(moves) == 1


def test_none_spins_for_a_moment_once_another_one_receives() -> None:
    spinning, one, other = Spinners(), SpinPolicy(False, False), SpinPolicy(False, False)
    assert not spinning.is_uncrowded(one, 1.0)
    assert not spinning.is_uncrowded(one, 1.0 + spin.CROWDED_S / 2)
    assert spinning.is_uncrowded(one, 1.0 + 2 * spin.CROWDED_S)
    assert spinning.is_uncrowded(one, 1.0)
    assert not spinning.is_uncrowded(other, 2.0)
    assert not spinning.is_uncrowded(one, 3.0)
