"""The callers of this actor process: client processes and their sessions."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

from uactor.codec.definitions import Definitions
from uactor.core.current_call import CurrentCall
from uactor.errors import DeadlineError, Executed, Stage
from uactor.host.cancellation import CallCancelledError, CancelToken
from uactor.host.holders import ANONYMOUS, Holder
from uactor.runtime.threads import start_daemon
from uactor.runtime.timers import timers
from uactor.transport.shm_buffers import Carrier

log = logging.getLogger('uactor.host')

GRACE_S = 1.0
"""How long a client process may be without a session before it counts as dead, in seconds.

A broken connection may come back.
"""

_NOTHING = contextlib.nullcontext()


class Caller:
    """The identity and state of a caller: its session and call.

    :ivar holder: the client process, which has the holds.
    :ivar name: name of the client process, as methods see it.
    :ivar validated: whether arguments need no check against the signature: they fit it, or Python
        raises when they do not.
    :ivar owns_thread: whether all calls of the session run on one thread.
    :ivar owner: the caller of the session, which owns the locks that its calls acquire.
    :ivar cancel_token: ends the waits of the call.
    :ivar undo: puts back what the running call has taken.
    :ivar last_undo: puts back what the last call of the session has taken, until the next call.
    :ivar unconfirmed: puts back what a call of a pipelined session has taken, until its response is
        sent.
    :ivar memory: carries large data beside the messages; None when the messages contain it.
    :ivar definitions: the definitions that the session remembers; None when it remembers none.
    :ivar stage: how far the call has come.
    :ivar call: what the method can know about the call.
    """

    # Class attributes: most callers never set them.
    undo: Callable[[], None] | None = None
    last_undo: Callable[[], None] | None = None
    unconfirmed: Callable[[], None] | None = None
    memory: Carrier | None = None
    definitions: Definitions | None = None
    stage: Stage = 'asked'
    call: CurrentCall | None = None

    def __init__(
        self,
        holder: Holder = ANONYMOUS,
        name: str = '',
        validated: bool = False,
        owns_thread: bool = False,
    ) -> None:
        self.holder = holder
        self.name = name
        self.validated = validated
        self.owns_thread = owns_thread
        self.owner = self
        self.cancel_token = CancelToken()

    def begin_call(self, path: Sequence[str] = (), timeout: float | None = None) -> None:
        """Begin another call.

        :param path: the calls of other actors that wait for this one.
        :param timeout: how long the caller waits, in seconds.
        """
        expires = None
        if timeout is not None:
            expires = time.monotonic() + timeout
            if timeout <= 0:
                self.cancel_token.cancel('deadline')
        self.stage = 'asked'
        self.call = CurrentCall(self.name, self.cancel_token, tuple(path) if path else (), expires)

    def derive(self) -> Caller:
        """Return a caller for one call of the session.

        The call can be cancelled by itself.
        """
        derived = Caller(self.holder, self.name, self.validated, self.owns_thread)
        derived.owner = self
        derived.memory, derived.definitions = self.memory, self.definitions
        return derived

    @contextlib.contextmanager
    def enforce_deadline(self) -> Iterator[None]:
        """Cancel the call at its deadline, or together with its session."""
        expires = self.call.expires if self.call is not None else None
        with (
            self.owner.cancel_token.wake_on_cancel(self.cancel_token)
            if self.owner is not self
            else _NOTHING
        ):
            if expires is None:
                yield
                return
            timer = timers.at(expires, lambda: self.cancel_token.cancel('deadline'))
            try:
                yield
            finally:
                timer.cancel()

    @property
    def executed(self) -> Executed:
        """Whether the actor's own code has run for the call."""
        return 'no' if self.stage == 'asked' else 'yes'

    @property
    def is_waiting(self) -> bool:
        """Whether the caller waits and the call has nothing to put back."""
        return self.undo is None and not self.cancel_token.is_cancelled

    def cancel_error(self) -> BaseException:
        """Return the error that says why the call has been cancelled.

        :raises CallCancelledError: when the client has gone, and no error can reach it.
        """
        if self.cancel_token.reason == 'deadline':
            name = self.call.name if self.call is not None else ''
            message = f'{name or "the call"} has not ended by its deadline'
            return DeadlineError(message, self.executed)
        if self.cancel_token.reason == 'cancelled':
            return CancelledError()
        raise CallCancelledError

    def confirm(self) -> None:
        """Put back what a cancelled call has taken out of a queue.

        :raises CallCancelledError: when the call has been cancelled.
        """
        undo, self.undo = self.undo, None
        if self.cancel_token.is_cancelled:
            if undo is not None:
                undo()
            raise CallCancelledError
        if undo is not None:
            self.record_undo(undo)

    def record_undo(self, undo: Callable[[], None]) -> None:
        """Record how to put back what the call has taken.

        It is put back if the response of the call is lost.
        """
        if self.owns_thread:
            self.owner.last_undo = undo
        else:  # the next call does not show that this response has arrived
            self.unconfirmed = undo

    def undo_last_call(self) -> None:
        """Put back what the last call took, since its response is lost."""
        undo, self.last_undo = self.last_undo, None
        if undo is not None:
            undo()


class ClientRegistry:
    """The client processes with their sessions.

    :param forget: drops what a client process holds, once it has ended.
    """

    def __init__(self, forget: Callable[[Holder], None]) -> None:
        self._forget = forget
        self._lock = threading.Lock()
        self._sessions: dict[Holder, set[Caller]] = {}
        self._unary: set[Caller] = set()
        self._arrivals = itertools.count()
        self._last_arrival: dict[Holder, int] = {}
        self._last_loss: dict[Holder, float] = {}  # when it lost a session, by time.monotonic()

    def add_session(self, caller: Caller) -> None:
        """Record a new session."""
        with self._lock:
            self._sessions.setdefault(caller.holder, set()).add(caller)
            self._last_arrival[caller.holder] = next(self._arrivals)

    def remove_session(self, caller: Caller, has_said_goodbye: bool, process_ends: bool) -> None:
        """Record the end of a session, and forget a client without sessions.

        A client that may come back is forgotten :data:`GRACE_S` later, unless it has come back.

        :param has_said_goodbye: whether the client has said goodbye.
        :param process_ends: whether the client process has said that it ends.
        """
        holder = caller.holder
        with self._lock:
            sessions = self._sessions.get(holder, set())
            sessions.discard(caller)
            is_last = not sessions
            now = time.monotonic()
            if not has_said_goodbye:
                self._last_loss[holder] = now
            # A thread that lost its session, to a signal handler for example, is about to return.
            leaves = has_said_goodbye and now - self._last_loss.get(holder, -GRACE_S) >= GRACE_S
            leaves = leaves or process_ends
            if is_last and leaves:
                self._drop(holder)
            arrival = self._last_arrival.get(holder)
        if is_last and leaves:
            self._forget(holder)
        elif is_last:
            give_up = functools.partial(self._give_up, holder, arrival)
            try:
                timers.at(time.monotonic() + GRACE_S, functools.partial(_start_drop, give_up))
            except RuntimeError as error:
                log.warning('the holds of a client process are dropped without a delay: %s', error)
                give_up()

    def _give_up(self, holder: Holder, arrival: int | None) -> None:
        with self._lock:
            if self._sessions.get(holder) or self._last_arrival.get(holder) != arrival:
                return  # it has come back
            self._drop(holder)
        log.info('a client process has vanished; dropping its holds and locks')
        self._forget(holder)

    def _drop(self, holder: Holder) -> None:
        self._sessions.pop(holder, None)
        self._last_arrival.pop(holder, None)
        self._last_loss.pop(holder, None)

    def cancel_all(self) -> None:
        """Cancel all calls."""
        with self._lock:
            callers = [caller for sessions in self._sessions.values() for caller in sessions]
            callers += self._unary
        for caller in callers:
            caller.cancel_token.cancel()

    def add_unary(self, caller: Caller) -> None:
        """Record a call outside sessions."""
        with self._lock:
            self._unary.add(caller)

    def remove_unary(self, caller: Caller) -> None:
        """Record the end of a call outside sessions."""
        with self._lock:
            self._unary.discard(caller)


def _start_drop(drop: Callable[[], None]) -> None:
    """Drop what a client has held, on a thread of its own.

    Finalizers may be the user's, and block the thread that keeps deadlines. When no thread can be
    started, the drop runs here.
    """
    try:
        start_daemon('uactor-vanished', drop)
    except RuntimeError as error:
        log.warning('deadlines are late while the holds of a client process are dropped: %s', error)
        drop()
