"""Who talks to this actor process: client processes and their sessions."""

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
from uactor.host.cancellation import CancelToken, Interrupted
from uactor.host.holders import ANONYMOUS, Holder
from uactor.runtime.threads import start_daemon
from uactor.runtime.timers import timers
from uactor.transport.shm_buffers import Carrier

log = logging.getLogger('uactor.host')

GRACE = 1.0
"""How long a client process may be without any session before it is taken for dead,
in seconds: a broken channel may come back."""

_NOTHING = contextlib.nullcontext()


class Caller:
    """On whose behalf a call runs: a session, and in it a call.

    :ivar holder: its client process; has its holds.
    :ivar name: of the client process, for whoever asks who calls.
    :ivar checked: whether its arguments fit the signature of what it calls, or Python says so
        when they do not.
    :ivar owns_thread: whether all its calls run on one thread.
    :ivar owner: to whom taken locks belong: the caller that stands for the session.
    :ivar interrupt: ends its waits.
    :ivar undo: puts back what the call that is running has taken.
    :ivar taken: puts back what the last call of the session has taken, until the next one comes.
    :ivar memory: what large data travels by, beside the messages; None when it is in them.
    :ivar definitions: what the session remembers; None when nothing.
    :ivar stage: how far the call has come.
    :ivar call: what the method can know of the call.
    """

    # What most callers begin with.
    undo: Callable[[], None] | None = None
    taken: Callable[[], None] | None = None
    memory: Carrier | None = None
    definitions: Definitions | None = None
    stage: Stage = 'asked'
    call: CurrentCall | None = None

    def __init__(
        self,
        holder: Holder = ANONYMOUS,
        name: str = '',
        checked: bool = False,
        owns_thread: bool = False,
    ) -> None:
        self.holder = holder
        self.name = name
        self.checked = checked
        self.owns_thread = owns_thread
        self.owner = self
        self.interrupt = CancelToken()

    def asks(self, path: Sequence[str] = (), timeout: float | None = None) -> None:
        """Begin another call.

        :param path: the calls of actors that wait for it.
        :param timeout: how long it is waited for, in seconds.
        """
        expires = None
        if timeout is not None:
            expires = time.monotonic() + timeout
            if timeout <= 0:
                self.interrupt.fire('deadline')
        self.stage = 'asked'
        self.call = CurrentCall(self.name, self.interrupt, tuple(path) if path else (), expires)

    def part(self) -> Caller:
        """Return a caller for one call of the session, which can be given up by itself."""
        part = Caller(self.holder, self.name, self.checked, self.owns_thread)
        part.owner = self
        part.memory, part.definitions = self.memory, self.definitions
        return part

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Give the call up at its deadline, if it has one, or with the session."""
        expires = self.call.expires if self.call is not None else None
        with self.owner.interrupt.wakes(self.interrupt) if self.owner is not self else _NOTHING:
            if expires is None:
                yield
                return
            timer = timers.at(expires, lambda: self.interrupt.fire('deadline'))
            try:
                yield
            finally:
                timer.cancel()

    @property
    def executed(self) -> Executed:
        """Whether the call has run, as far as the actor's own code goes."""
        return 'no' if self.stage == 'asked' else 'yes'

    @property
    def is_waiting(self) -> bool:
        """Whether somebody waits for the result, and nothing may have to be put back for it."""
        return self.undo is None and not self.interrupt.fired

    def given_up(self) -> BaseException:
        """Return the error that says why nobody waits for the call any more.

        :raises Interrupted: when there is nobody to be told.
        """
        if self.interrupt.reason == 'deadline':
            name = self.call.name if self.call is not None else ''
            told = f'{name or "the call"} has not ended by its deadline'
            return DeadlineError(told, self.executed)
        if self.interrupt.reason == 'cancelled':
            return CancelledError()
        raise Interrupted

    def confirm(self) -> None:
        """Take back what the call has taken out of a queue, if the client has gone meanwhile.

        :raises Interrupted: when it has.
        """
        undo, self.undo = self.undo, None
        if self.interrupt.fired:
            if undo is not None:
                undo()
            raise Interrupted
        if undo is not None:
            self.took(undo)

    def took(self, give_back: Callable[[], None]) -> None:
        """Note what the call has taken, whose answer may be lost with the client's interest."""
        if self.owns_thread:  # else the next call doesn't tell that this one's answer has come
            self.owner.taken = give_back

    def give_back(self) -> None:
        """Put back what the last call has taken: its answer got lost."""
        taken, self.taken = self.taken, None
        if taken is not None:
            taken()


class Clients:
    """The client processes with their sessions.

    :param forget: what to do for a client process that has ended.
    """

    def __init__(self, forget: Callable[[Holder], None]) -> None:
        self._forget = forget
        self._lock = threading.Lock()
        self._sessions: dict[Holder, set[Caller]] = {}
        self._unary: set[Caller] = set()
        self._arrivals = itertools.count()
        self._last_arrival: dict[Holder, int] = {}
        self._last_loss: dict[Holder, float] = {}  # when it lost a session, by time.monotonic()

    def joined(self, caller: Caller) -> None:
        """Note a new session."""
        with self._lock:
            self._sessions.setdefault(caller.holder, set()).add(caller)
            self._last_arrival[caller.holder] = next(self._arrivals)

    def left(self, caller: Caller, polite: bool, process_ends: bool) -> None:
        """Note the end of a session; forget its client when that has ended."""
        holder = caller.holder
        with self._lock:
            sessions = self._sessions.get(holder, set())
            sessions.discard(caller)
            alone = not sessions
            now = time.monotonic()
            if not polite:
                self._last_loss[holder] = now
            # A thread that has lost its session, to a signal handler for one, is about to return.
            leaves = polite and now - self._last_loss.get(holder, -GRACE) >= GRACE
            leaves = leaves or process_ends
            if alone and leaves:
                self._drop(holder)
            arrival = self._last_arrival.get(holder)
        if alone and leaves:
            self._forget(holder)
        elif alone:
            give_up = functools.partial(self._give_up, holder, arrival)
            try:
                timers.at(time.monotonic() + GRACE, functools.partial(_apart, give_up))
            except RuntimeError as error:
                log.warning('what a client process held is dropped at once: %s', error)
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

    def interrupt_all(self) -> None:
        """End all waits."""
        with self._lock:
            callers = [caller for sessions in self._sessions.values() for caller in sessions]
            callers += self._unary
        for caller in callers:
            caller.interrupt.fire()

    def unary(self, caller: Caller) -> None:
        """Note a call outside sessions."""
        with self._lock:
            self._unary.add(caller)

    def unary_done(self, caller: Caller) -> None:
        """Note its end."""
        with self._lock:
            self._unary.discard(caller)


def _apart(drop: Callable[[], None]) -> None:
    """Drop what a client has held on a thread of its own: finalizers may be the user's, and block.

    Deadlines are kept meanwhile. Without a thread it is done here.
    """
    try:
        start_daemon('uactor-vanished', drop)
    except RuntimeError as error:
        log.warning('deadlines have to wait for what a client process held: %s', error)
        drop()
