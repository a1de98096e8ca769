"""The mailbox of an actor with a ``concurrency``: so many of its methods at a time, in order.

A call that waits for its turn needs no thread of its own.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from uactor.core.current_call import CurrentCall
from uactor.errors import DeadlockError
from uactor.host.cancellation import CancelToken, Interrupted, Waiter

Go = Callable[[], None]


class Mailbox:
    """Lets calls begin in the order in which they came.

    :param limit: how many may run at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[str, CurrentCall] = {}
        self._waiting: collections.OrderedDict[str, tuple[CurrentCall, Go]] = (
            collections.OrderedDict()
        )

    def enter(self, call: CurrentCall, go: Go) -> bool:
        """Tell whether a call may run now; otherwise call ``go`` when it may.

        :raises DeadlockError: when all that run wait for calls that wait here.
        """
        with self._lock:
            if len(self._running) < self._limit:
                self._running[call.ident] = call
                return True
            self._waiting[call.ident] = call, go
            if self._is_stuck():
                del self._waiting[call.ident]
                raise DeadlockError(_told(call))
        return False

    def _is_stuck(self) -> bool:
        """Tell whether each call that runs waits, by way of others, for one that waits here."""
        awaited = {
            entry.partition(' ')[0] for call, _ in self._waiting.values() for entry in call.waiting
        }
        return self._running.keys() <= awaited

    def withdraw(self, call: CurrentCall) -> bool:
        """Take a call out of those that wait; tell whether it was among them."""
        with self._lock:
            return self._waiting.pop(call.ident, None) is not None

    def leave(self, call: CurrentCall) -> None:
        """Let the next one run."""
        with self._lock:
            del self._running[call.ident]
            if not self._waiting:
                return
            ident, (following, go) = self._waiting.popitem(last=False)
            self._running[ident] = following
        go()

    @contextmanager
    def turn(self, call: CurrentCall, cancel_token: CancelToken) -> Iterator[None]:
        """Wait for the turn of a call, on this thread.

        :raises Interrupted: when nobody waits for the call any more.
        """
        waiter = Waiter()
        if not self.enter(call, waiter.wake):
            with cancel_token.wake_on_cancel(waiter):
                waiter.wait(None)
            if cancel_token.is_cancelled:
                if not self.withdraw(call):
                    self.leave(call)
                raise Interrupted
        try:
            yield
        finally:
            self.leave(call)


def _told(call: CurrentCall) -> str:
    names = [entry.partition(' ')[2] for entry in call.path]
    return f'calls would wait for each other for ever: {" → ".join(names)}'
