"""The gate through which all calls enter an actor until it ends."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from uactor.errors import ActorDiedError


class Gate(AbstractContextManager[None]):
    """Counts the running calls, and refuses new calls once it is closed.

    As a context it lets one call in, and raises :class:`ActorDiedError` when the actor is ending;
    the call has not run then.

    A call first counts itself, and then looks whether the gate is closed. The ending actor first
    closes the gate, and then looks whether calls are running. So each call is either refused or
    waited for, and needs no lock. The context is not made by contextlib, which sets attributes of
    exceptions that pass: an exception that is a frozen dataclass does not allow that.

    :ivar running: has one item for each call that is running.
    :ivar closed: whether calls are refused.
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
            self.notify_end()

    def notify_end(self) -> None:
        """Wake the thread that waits for calls to end."""
        with self._idle:
            self._idle.notify_all()

    def enter(self) -> Callable[[], None]:
        """Admit a call, and return the function that records its end.

        This is for a call that outlives a context.

        :raises ActorDiedError: when the actor is ending; the call has not run.
        """
        self.__enter__()
        return self.__exit__

    def count(self) -> Callable[[], None]:
        """Count a running call, and return the function that records its end.

        A closed gate does not refuse it.
        """
        self.running.append(None)
        return self.__exit__

    def refusal(self) -> ActorDiedError:
        """Return the error of calls that come too late."""
        return ActorDiedError('the actor is shutting down', 'no')

    def close(self) -> None:
        """Refuse all calls from now on."""
        self.closed = True

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is running; return whether that is so.

        Call :meth:`close` first.

        :param timeout: in seconds.
        """
        with self._idle:
            return self._idle.wait_for(lambda: not self.running, timeout)
