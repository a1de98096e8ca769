"""The states of a link, as a table of transitions."""

from __future__ import annotations

import enum
import threading

from uactor.runtime.locks import synchronized


class LinkState(enum.Enum):
    """Whether a link opens sessions, and reopens the last one."""

    OPEN = 'the link opens a session for each thread that calls'
    RETURNING = 'a thread opens a session that shows that this process is alive'
    ENDING = 'this process ends the actor, so the link opens no session only to keep holds'
    LEFT = 'this process has said goodbye, or knows that the actor has ended'
    CLOSED = 'the link opens no session any more'


class LinkEvent(enum.Enum):
    """What happens to a link."""

    RETURN = 'no session is left, and this process still has holds, or releases to send'
    RETURNED = 'the thread has opened the session, or failed to'
    EXPECT_END = 'this process is about to end the actor'
    LEAVE = 'this process says goodbye, or learns that the actor has ended'
    CLOSE = 'this process closes the link'


_LATER = {
    LinkEvent.EXPECT_END: LinkState.ENDING,
    LinkEvent.LEAVE: LinkState.LEFT,
    LinkEvent.CLOSE: LinkState.CLOSED,
}

TRANSITIONS: dict[LinkState, dict[LinkEvent, LinkState]] = {
    LinkState.OPEN: {LinkEvent.RETURN: LinkState.RETURNING, **_LATER},
    LinkState.RETURNING: {LinkEvent.RETURNED: LinkState.OPEN, **_LATER},
    LinkState.ENDING: {
        LinkEvent.LEAVE: LinkState.LEFT,
        LinkEvent.CLOSE: LinkState.CLOSED,
    },
    LinkState.LEFT: {LinkEvent.CLOSE: LinkState.CLOSED},
    LinkState.CLOSED: {},
}
"""The legal transitions: state, event, next state. Any other event of a state changes nothing,
because the link is already past it."""


def next_state(state: LinkState, event: LinkEvent) -> LinkState | None:
    """Return the state that an event leads to; None without a change."""
    return TRANSITIONS[state].get(event)


class LinkLife:
    """The state of a link; any thread and finalizer may change it.

    It has a lock of its own, apart from the link's. A finalizer that needs it never waits for a
    thread that does longer work.

    :ivar state: the present state.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self.state = LinkState.OPEN

    @synchronized
    def advance(self, event: LinkEvent) -> bool:
        """Move to the next state; return whether the event leads to one."""
        while True:
            before = self.state
            after = next_state(before, event)
            if after is None:
                return False
            if self.state is before:  # else a finalizer on this thread has changed it meanwhile
                self.state = after
                return True
