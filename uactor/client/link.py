"""A link: the transport and sessions from this process to an actor.

It counts the holds of this process there. So the client can release holds in batches, and a forked
child can take them anew.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing.util
import os
import secrets
import sys
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from threading import get_ident
from typing import Any, NamedTuple

from uactor.client.decoding import raise_failure
from uactor.client.holds import Holds
from uactor.client.link_state import LinkEvent, LinkLife, LinkState
from uactor.client.pipeline import ClientPipeline
from uactor.client.session import (
    ClientSession,
    is_ending,
    leave_with_process,
    map_opening_end,
    note_end,
)
from uactor.client.timeouts import HANDSHAKE_S, UnansweredError
from uactor.codec import values
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    AuthkeyError,
    DeadlineError,
    HandleError,
    UActorException,
)
from uactor.runtime.deferred import ObjectEnd, deferred
from uactor.runtime.locks import synchronized
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.threads import start_daemon
from uactor.runtime.weakrefs import WeakBag
from uactor.transport.baton import call_baton
from uactor.transport.interfaces import StreamEnd, Transport, detach_sockets
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.client')

_END_PRIORITY = 30  # before the actors of this process are shut down
_EXIT_PRIORITY = 10  # after that
_CLOSE_TIMEOUT_S = 1.0
_TICK_S = 0.02
"""How early the system may report that a timeout has expired."""


_exit_hooked = 0


def _hook_exit() -> None:
    """Register the closing of all links for the end of the process.

    It also takes place in a multiprocessing worker.
    """
    global _exit_hooked
    if _exit_hooked != os.getpid():
        multiprocessing.util.Finalize(None, note_end, exitpriority=_END_PRIORITY)
        multiprocessing.util.Finalize(None, _close_all, exitpriority=_EXIT_PRIORITY)
        _exit_hooked = os.getpid()  # last, because a signal handler may raise before


class _SessionOfThread:
    """Keeps a session in the local storage of its thread."""

    __slots__ = ('__weakref__', 'session')

    def __init__(self, session: ClientSession) -> None:
        self.session = session


class _ThreadEnd(weakref.ref[_SessionOfThread]):
    """Retires a thread's session once the thread's local storage is gone.

    A callback in C queues that for the thread for deferred work. In a callback in Python, a signal
    handler could raise. In a forked child, it goes to the queue of the parent's thread, which no
    thread reads there: the threads whose storage is gone are the parent's.
    """

    __slots__ = ('_link', '_session', '_thread')

    _link: weakref.ref[Link]
    _session: ClientSession
    _thread: int

    @classmethod
    def of(cls, known: _SessionOfThread, link: Link) -> _ThreadEnd:
        """Watch for the end of this thread."""
        end = cls(known, deferred.submit)
        end._link, end._session, end._thread = weakref.ref(link), known.session, get_ident()
        return end

    def __call__(self) -> None:
        """Retire the session, on the thread for deferred work."""
        call_baton.retire(self._thread)
        link = self._link()
        if link is not None:
            link.forget(self)
            link.retire(self._session)


_connection_ends: dict[Link, ObjectEnd] = {}


def _note_session_end(link: weakref.ref[Link]) -> None:
    found = link()
    if found is not None:
        found.note_session_end()


def _send_releases(link: weakref.ref[Link]) -> None:
    found = link()
    if found is not None:
        found.send_releases()


class _ThreadSessions(threading.local):
    # A class attribute: a finalizer that calls may interrupt an __init__.
    known: tuple[_SessionOfThread, ...] = ()


_links: WeakBag[Link] = WeakBag()
"""All links of this process, and in a child its parent's."""


class Terms(NamedTuple):
    """How messages travel to an actor; see :class:`ClientSession`."""

    serializer: str
    by_value: bool
    limit: int


class Link:
    """The transport, the sessions and the holds of a connection.

    It is apart from :class:`ClientConnection`, so that it can be closed after that is gone.

    :param other_way: creates the transport that replaces the first one once that no longer leads
        to the actor: a lane may be removed, or replaced by that of another actor.
    """

    def __init__(
        self,
        address: str,
        keys: Sequence[bytes],
        serializer: str,
        transport: Transport,
        other_way: Callable[[], Transport] | None = None,
    ) -> None:
        self.address = address
        self.transport = transport
        self.other_way = other_way
        self.pid = os.getpid()
        self.serializer = serializer
        self.terms = Terms(serializer, by_value=False, limit=0)
        # The host counts holds by this id. It differs in a forked child and for each connection,
        # so that the holds of a closed connection are not those of its successor.
        self._client_id = secrets.token_hex(16)
        self.actor: pb.Handle | None = None
        self.inherited: tuple[str, list[str]] | None = None
        self._keys = tuple(keys)
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        this: weakref.ref[Link] = weakref.ref(self)  # streams and proxies may outlive it
        self.holds = Holds(functools.partial(_send_releases, this))
        self._note_end = functools.partial(_note_session_end, this)
        self._ends: set[_ThreadEnd] = set()
        self._local = _ThreadSessions()
        self._sessions: set[ClientSession] = set()
        self._pipeline: ClientPipeline | None = None
        self._life = LinkLife()
        self._is_registered = False  # the thread for deferred work lives for this, too
        _links.add(self)

    def close_after(self, connection: object) -> None:
        """Close this link once ``connection`` is gone, or the process ends."""
        end = ObjectEnd(connection, deferred.submit)
        end.job = self._close_unused
        _connection_ends[self] = end

    def _close_unused(self) -> None:
        self.leave()
        self.close()

    def leave(self) -> None:
        """Stop watching the connection: it is gone, or has another link."""
        _connection_ends.pop(self, None)

    # --- sessions --------------------------------------------------------------------------

    def session(
        self, patience: float | None = HANDSHAKE_S, left: float | None = None
    ) -> ClientSession:
        """Return an idle session of this thread; open one if needed.

        See :meth:`open` for the parameters. A thread needs a second session only while it waits for
        a response: a finalizer or signal handler may make a call then.
        """
        for known in self._local.known:
            session = known.session
            if not session.busy and not session.stream.ended:
                if session.memory is not None and session.memory.outgoing:
                    session.recall_unsent()
                return session
        if sys.is_finalizing():  # other threads have stopped, so a call would wait for ever
            raise ActorDiedError('the interpreter is ending', 'no')
        made: list[ClientSession] = []
        try:
            return self._open_own(made, patience, left)
        except BaseException:
            for session in made:
                session.abandon()
            raise

    def _open_own(
        self, made: list[ClientSession], patience: float | None, left: float | None
    ) -> ClientSession:
        """Open a session for this thread."""
        known = _SessionOfThread(self.open(False, patience, left, made))
        others = [one for one in self._local.known if one.session.alive]
        self._ends.add(_ThreadEnd.of(known, self))
        self._local.known = *others, known
        return known.session

    def forget(self, end: _ThreadEnd) -> None:
        """Forget the watch of a thread that has ended."""
        self._ends.discard(end)

    @property
    def key(self) -> bytes:
        """The authkey of the actor, once a session has been opened."""
        return self._keys[0]

    def pipeline(self) -> ClientPipeline:
        """Return the pipeline for non-blocking calls; its session may still be opening."""
        known = self._pipeline
        return known if known is not None and known.usable else self._open_pipeline()

    @synchronized
    def _open_pipeline(self) -> ClientPipeline:
        known = self._pipeline
        if known is None or not known.usable:
            opened = functools.partial(self.open, pipelined=True)
            known = ClientPipeline(opened, self.address)
            known.start()
            self._pipeline = known
        return known

    def flush(self) -> None:
        """Send the messages that are queued in the pipeline."""
        if self._pipeline is not None:
            self._pipeline.flush()

    def open(
        self,
        pipelined: bool = False,
        patience: float | None = HANDSHAKE_S,
        left: float | None = None,
        made: list[ClientSession] | None = None,
    ) -> ClientSession:
        """Open a session, with the first authkey that fits.

        :param pipelined: whether the session sends calls before earlier ones are answered.
        :param patience: how long the host may take to answer, in seconds; None for any time.
        :param left: how long the caller that needs the session waits, in seconds; None for any
            time.
        :param made: receives the session as soon as it exists.
        :raises ActorUnreachableError: if the host takes longer.
        :raises DeadlineError: if the caller's time expires first.
        """
        made = [] if made is None else made
        seconds = min((each for each in (patience, left) if each is not None), default=None)
        beginning = time.monotonic()
        *others, last = self._keys
        try:
            for key in others:
                try:
                    return self._open_by_any_way(key, pipelined, beginning, seconds, made)
                except AuthkeyError as error:
                    if is_interruption(error):
                        raise
                    log.debug('an authkey known for %s does not fit', self.address)
            return self._open_by_any_way(last, pipelined, beginning, seconds, made)
        except UnansweredError as error:
            if seconds == left:
                message = f'the actor at {self.address} has not answered within {seconds:g} seconds'
                raise DeadlineError(message, 'no') from error
            raise ActorUnreachableError(
                f'{self.address} accepts connections but does not answer: {seconds:g} seconds have '
                'passed; is the actor stopped, or busy in code that lets no other thread run?'
            ) from error

    def _open_by_any_way(self, *args: Any) -> ClientSession:
        """Open a session, by the other transport if the first one fails."""
        try:
            return self._open_with_key(*args)
        except ActorDiedError as error:
            if self.other_way is None or self._is_closed or is_interruption(error):
                raise
            log.debug('%s is tried by another way: %s', self.address, error)
            other_way, self.other_way = self.other_way, None
            self.transport = other_way()
            return self._open_with_key(*args)

    def _open_with_key(
        self,
        key: bytes,
        pipelined: bool,
        beginning: float,
        seconds: float | None,
        made: list[ClientSession],
    ) -> ClientSession:
        self._register()

        def seconds_left() -> float | None:
            return None if seconds is None else beginning + seconds - time.monotonic()

        try:
            stream = self.transport.open(self._note_end, pipelined, seconds_left())
            session = ClientSession(
                stream,
                self.address,
                key,
                self._client_id,
                self.serializer,
                pipelined=pipelined,
                patience=seconds_left(),
            )
            made.append(session)
        except StreamEnd as end:
            remaining = seconds_left()
            if remaining is not None and remaining <= _TICK_S:
                raise UnansweredError from end
            opening_error = map_opening_end(self.address, end)
            if end.kind is not None:  # the host has refused it before Hello was sent
                raise opening_error from end.__cause__
            raise self._unreachable(opening_error) from end.__cause__
        except ActorUnreachableError as error:
            # A host that refuses a session is alive, but has no resources to spare.
            if self.actor is None or error._refuses or is_interruption(error):
                raise
            raise self._unreachable(error) from error
        try:
            self._admit(session)
        except BaseException:
            session.abandon()
            raise
        self._keys = (key,)
        return session

    @property
    def _is_closed(self) -> bool:
        return self._life.state is LinkState.CLOSED

    @synchronized
    def _register(self) -> None:
        """Prepare the closing of this link, before its first session is opened."""
        if self._is_closed:
            leave_with_process()
            raise ActorDiedError(f'the connection to {self.address} has been closed', 'no')
        if not self._is_registered:
            _hook_exit()
            deferred.add_user()
            self._is_registered = True

    def _unreachable(self, error: UActorException) -> UActorException:
        """Return the error for a failed connect.

        If this process had reached the actor before, the actor has ended, or is out of reach.
        """
        if self.actor is None:
            return error
        return ActorDiedError(f'the actor has ended, or is out of reach: {error}', 'no')

    def _admit(self, session: ClientSession) -> None:
        """Add a session to the same actor as the others.

        :raises ActorDiedError: if it leads to another actor.
        """
        if self.actor is None:
            self.actor = session.actor
        elif self.actor.id != session.actor.id:
            raise ActorDiedError(f'another actor now runs at {self.address}', 'no')
        inherited = self._add(session)
        if inherited is not None:
            self._take_over(session, *inherited)

    @synchronized
    def _add(self, session: ClientSession) -> tuple[str, list[str]] | None:
        self.terms = Terms(session.serializer, session.by_value, session.limit)
        self._sessions = {known for known in self._sessions if known.alive}
        self._sessions.add(session)
        inherited, self.inherited = self.inherited, None
        return inherited

    def _take_over(self, session: ClientSession, lease: str, handles: list[str]) -> None:
        """Take the parent's holds anew, in a forked child.

        The child skips the objects that no longer exist.
        """
        try:
            retain(self, session, handles, lease)
        except HandleError as error:  # the lease has expired
            if is_interruption(error):
                raise
            for handle in handles:
                with contextlib.suppress(HandleError):  # a call of that object will raise it
                    retain(self, session, [handle])

    @synchronized
    def restrict(self, serializer: str) -> None:
        """Use ``serializer`` for values from now on, if it is stricter."""
        self.serializer = values.choose_stricter(self.serializer, serializer)
        for session in self._sessions:
            session.restrict(serializer)
            self.terms = Terms(session.serializer, session.by_value, session.limit)

    def retire(self, session: ClientSession) -> None:
        """Close an ended thread's session, unless it is the last.

        The last session stays open, to send releases, and to show that this process is alive.
        """
        with self._lock:
            self._sessions = {known for known in self._sessions if known.alive}
            if self._sessions == {session}:
                return
            self._sessions.discard(session)
        session.say_goodbye()

    def note_session_end(self) -> None:
        """Reopen a session if the last one has ended and is needed."""
        if self._life.state not in (LinkState.LEFT, LinkState.CLOSED):
            deferred.submit(self._stay)

    def _stay(self) -> None:
        """Open a session if none is left and this process has holds.

        Without a session, the host takes this process for dead. A call that a KeyboardInterrupt
        ends takes its session along, and that may have been the only one.
        """
        if not self.holds.is_empty and not self.connected:
            self._return()

    def _return(self) -> None:
        """Open a session that belongs to no thread.

        A separate thread opens it, because the host may never answer.
        """
        if is_ending() or not self._life.advance(LinkEvent.RETURN):
            return
        try:
            start_daemon('uactor-return', self._open_spare)
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            self._life.advance(LinkEvent.RETURNED)
            log.debug('this process will not come back to %s: %s', self.address, error)

    def _open_spare(self) -> None:
        try:
            self.open(patience=None)  # a stopped actor accepts the session once it goes on
        except (UActorException, RuntimeError) as error:  # the interpreter may be ending
            log.debug('what is held at %s is lost: %s', self.address, error)
            self.holds.drain()
        finally:
            self._life.advance(LinkEvent.RETURNED)
        self.send_releases()

    def expect_end(self) -> None:
        """Stop reopening sessions, because this process ends the actor."""
        self._life.advance(LinkEvent.EXPECT_END)

    def abandon(self) -> None:
        """Break all sessions off, because the actor process has ended."""
        self._life.advance(LinkEvent.LEAVE)
        for session in tuple(self._sessions):
            session.abandon()

    @property
    def connected(self) -> bool:
        """Whether any session is open."""
        return any(session.connected for session in tuple(self._sessions))

    def say_goodbye(self, process_ends: bool = False) -> None:
        """Close all sessions, without waiting for the host."""
        if self._life.advance(LinkEvent.LEAVE):
            for session in tuple(self._sessions):
                session.say_goodbye(process_ends)

    def close(self, timeout: float = _CLOSE_TIMEOUT_S) -> None:
        """Say goodbye, and wait until the host has processed that.

        :param timeout: longest wait, in seconds.
        """
        deadline = time.monotonic() + timeout
        self.say_goodbye()
        for session in tuple(self._sessions):
            session.wait_closed(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._life.advance(LinkEvent.CLOSE)
            was_registered, self._is_registered = self._is_registered, False
        if was_registered:
            deferred.remove_user()

    # --- releases --------------------------------------------------------------------------

    def send_releases(self) -> None:
        """Send the queued releases by an idle session."""
        if not self.holds.pending:
            return
        idle = (known for known in tuple(self._sessions) if known.alive and not known.busy)
        session = next(idle, None)
        if session is None:
            self._return()
            return
        released = self.holds.drain()
        if released and not session.offer(pb.SessionRequest(releases=released)):
            self.holds.give_back(released)  # the session is busy with a new call, or has ended


def retain(link: Link, session: ClientSession, handles: list[str], lease: str = '') -> None:
    """Take holds, from a lease if there is one."""
    request = pb.RetainHandleRequest(handles=handles, lease_id=lease)
    response = session.request(pb.SessionRequest(retain_handle=request))
    raise_failure(link.holds, session, response)


def _close_all() -> None:
    """Close all links of this process, at its end.

    They include links that wait for the thread for deferred work.
    """
    links = [link for link in tuple(_links) if link.pid == os.getpid()]
    for link in links:
        link.say_goodbye(process_ends=True)
    deadline = time.monotonic() + _CLOSE_TIMEOUT_S
    for link in links:
        link.close(max(0.0, deadline - time.monotonic()))
    detach_sockets()
