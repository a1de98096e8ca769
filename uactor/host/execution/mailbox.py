"""The mailbox, which limits an actor to ``concurrency`` calls at a time.

Calls begin in the order in which they have come. A call that waits in the mailbox needs no thread
of its own.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from uactor.core.current_call import CurrentCall
from uactor.errors import DeadlockError
from uactor.host.cancellation import CallCancelledError, CancelToken, Waiter

Go = Callable[[], None]
"""Is called when a call may run."""


class Mailbox:
    """Lets calls run in the order in which they have come.

    :param limit: how many calls may run at a time.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._running: dict[str, CurrentCall] = {}
        self._waiting: collections.OrderedDict[str, tuple[CurrentCall, Go]] = (
            collections.OrderedDict()
        )

    def enter(self, call: CurrentCall, go: Go) -> bool:
        """Return whether a call may run now; otherwise call ``go`` later.

        :raises DeadlockError: when all calls that run wait for calls that wait here.
        """
        with self._lock:
            if len(self._running) < self._limit:
                self._running[call.ident] = call
                return True
            self._waiting[call.ident] = call, go
            if self._is_deadlocked():
                del self._waiting[call.ident]
                raise DeadlockError(_deadlock_message(call))
        return False

    def _is_deadlocked(self) -> bool:
        """Return whether each running call waits for a call that waits here.

        It may do so by way of other calls.
        """
        awaited = {
            entry.partition(' ')[0] for call, _ in self._waiting.values() for entry in call.waiting
        }
        return self._running.keys() <= awaited

    def withdraw(self, call: CurrentCall) -> bool:
        """Remove a call that waits; return whether it did."""
        with self._lock:
            return self._waiting.pop(call.ident, None) is not None

    def leave(self, call: CurrentCall) -> None:
        """Let the next call run in place of one that has ended."""
        with self._lock:
            del self._running[call.ident]
            if not self._waiting:
                return
            ident, (following, go) = self._waiting.popitem(last=False)
            self._running[ident] = following
        go()

    @contextmanager
    def hold_place(self, call: CurrentCall, cancel_token: CancelToken) -> Iterator[None]:
        """Block until a call may run, and give up its place afterwards.

        :raises CallCancelledError: when the call has been cancelled.
        """
        waiter = Waiter()
        if not self.enter(call, waiter.wake):
            with cancel_token.wake_on_cancel(waiter):
                waiter.wait(None)
            if cancel_token.is_cancelled:
                if not self.withdraw(call):
                    self.leave(call)
                raise CallCancelledError
        try:
            yield
        finally:
            self.leave(call)


def _deadlock_message(call: CurrentCall) -> str:
    names = [entry.partition(' ')[2] for entry in call.path]
    return f'calls would wait for each other for ever: {" → ".join(names)}'
