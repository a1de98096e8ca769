"""The table of the states of a link, without a process."""

from __future__ import annotations

import itertools
import threading

import pytest

from uactor.client import link_state
from uactor.client.link_state import TRANSITIONS, LinkEvent, LinkLife, LinkState, next_state

OPEN, RETURNING, ENDING = LinkState.OPEN, LinkState.RETURNING, LinkState.ENDING
LEFT, CLOSED = LinkState.LEFT, LinkState.CLOSED

EXPECTED = {
    # event:              OPEN       RETURNING  ENDING  LEFT    CLOSED
    LinkEvent.RETURN: (RETURNING, None, None, None, None),
    LinkEvent.RETURNED: (None, OPEN, None, None, None),
    LinkEvent.EXPECT_END: (ENDING, ENDING, None, None, None),
    LinkEvent.LEAVE: (LEFT, LEFT, LEFT, None, None),
    LinkEvent.CLOSE: (CLOSED, CLOSED, CLOSED, CLOSED, None),
}


def test_the_table_has_every_state() -> None:
    assert set(TRANSITIONS) == set(LinkState)
    assert set(EXPECTED) == set(LinkEvent)


@pytest.mark.parametrize('event', LinkEvent)
def test_each_event_leads_where_it_should(event: LinkEvent) -> None:
    assert tuple(next_state(state, event) for state in LinkState) == EXPECTED[event]


def test_a_link_that_is_left_never_comes_back() -> None:
    reached = {LEFT}
    for _ in LinkState:
        reached |= {after for state in reached for after in TRANSITIONS[state].values()}
    assert reached == {LEFT, CLOSED}


@pytest.mark.parametrize('events', list(itertools.permutations(LinkEvent)), ids=str)
def test_a_link_that_is_closed_stays_so(events: tuple[LinkEvent, ...]) -> None:
    life = LinkLife()
    for event in (*events, *events):
        before = life.state
        assert life.advance(event) == (life.state is not before)
    assert life.state is CLOSED


def test_goodbye_is_said_once_whatever_thread_says_it() -> None:
    life, said = LinkLife(), list[bool]()
    barrier = threading.Barrier(8)

    def leave() -> None:
        barrier.wait()
        said.append(life.advance(LinkEvent.LEAVE))

    threads = [threading.Thread(target=leave) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == [False] * 7 + [True]


def test_a_change_by_an_interrupting_finalizer_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    life = LinkLife()
    assert life.advance(LinkEvent.RETURN)

    def interrupted(state: LinkState, event: LinkEvent) -> LinkState | None:
        monkeypatch.undo()
        after = next_state(state, event)
        assert life.advance(LinkEvent.EXPECT_END)
        return after

    monkeypatch.setattr(link_state, 'next_state', interrupted)
    assert not life.advance(LinkEvent.RETURNED)
    assert life.state is ENDING
