"""A turn in the mailbox, held while a method runs."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from uactor.errors import ActorDiedError


class Gate(AbstractContextManager[None]):
    """Where calls begin: counts those that are running, and refuses them once it is closed.

    A context for a call, which raises :class:`ActorDiedError` when the actor is ending; the call
    has not run then. It first counts itself and then looks whether the gate is closed, and closing
    it comes before looking whether calls are running: so either the call is refused or it is
    waited for, without a lock for each. Not made by contextlib, which sets attributes of the
    exceptions that pass: one that is a frozen dataclass does not let it.

    :ivar running: has one item for each call that is running.
    :ivar closed: whether it is.
    """

    def __init__(self) -> None:
        self.running: collections.deque[None] = collections.deque()
        self._idle = threading.Condition(threading.Lock())
        self.closed = False

    def __enter__(self) -> None:
        self.running.append(None)
        if self.closed:
            self.__exit__()
            raise self.refusal()

    def __exit__(self, *exception: object) -> None:
        self.running.pop()
        if self.closed:
            self.note_end()

    def note_end(self) -> None:
        """Let who waits know that a call has ended."""
        with self._idle:
            self._idle.notify_all()

    def enter(self) -> Callable[[], None]:
        """Let in a call that is not bound to a context; return what notes its end.

        :raises ActorDiedError: when the actor is ending; the call has not run.
        """
        self.__enter__()
        return self.__exit__

    def count(self) -> Callable[[], None]:
        """Count what goes on even if the gate is closed by now; return what notes its end."""
        self.running.append(None)
        return self.__exit__

    def refusal(self) -> ActorDiedError:
        """Return the error of calls that come too late."""
        return ActorDiedError('the actor is shutting down', 'no')

    def close(self) -> None:
        """Let no more calls in."""
        self.closed = True

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is running, after :meth:`close`; tell whether it came to that.

        :param timeout: in seconds.
        """
        with self._idle:
            return self._idle.wait_for(lambda: not self.running, timeout)


NO_TURN = nullcontext()
