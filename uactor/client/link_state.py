"""The life of a link, as a table of states."""

from __future__ import annotations

import enum
import threading

from uactor.runtime.locks import locked


class LinkState(enum.Enum):
    """Whether a link opens sessions, and comes back by itself when the last one has ended."""

    OPEN = 'sessions are opened as threads need them'
    RETURNING = 'a thread opens a session that shows that this process is alive'
    ENDING = 'this process ends the actor: no session is opened only to stay'
    LEFT = 'this process has said goodbye, or knows that the actor has ended'
    CLOSED = 'no session is opened any more'


class LinkEvent(enum.Enum):
    """What happens to a link."""

    RETURN = 'no session is left, and this process still holds something, or has releases to send'
    RETURNED = 'the session for that has been opened, or could not be'
    EXPECT_END = 'this process is about to end the actor'
    LEAVE = 'goodbye is said, or the actor is known to have ended'
    CLOSE = 'the link is closed'


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
"""The states that follow each other, by what leads from one to the other. Any other event of a
state changes nothing: its time has passed."""


def next_state(state: LinkState, event: LinkEvent) -> LinkState | None:
    """Return the state that an event leads to; None when it changes nothing."""
    return TRANSITIONS[state].get(event)


class LinkLife:
    """The state of a link, which any thread and any finalizer may change.

    Its lock is not the link's: a finalizer that needs it waits for no thread that does more.

    :ivar state: the present one.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt its owner
        self.state = LinkState.OPEN

    @locked
    def advance(self, event: LinkEvent) -> bool:
        """Change to the state that an event leads to; return whether there is one."""
        while True:
            before = self.state
            after = next_state(before, event)
            if after is None:
                return False
            if self.state is before:  # else a finalizer on this thread has changed it meanwhile
                self.state = after
                return True
