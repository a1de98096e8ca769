"""A connection: how this process reaches one actor process.

There is one per (process, actor), shared by all proxies, with one session per
thread. It counts what this process holds there, so that holds can be given up in
batches and taken anew by a forked child.
"""

from __future__ import annotations

import collections
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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from uactor import calls, failures, local, usual, values
from uactor.auth import keyring
from uactor.client.channels import Channels
from uactor.client.forks import Child, note_fork
from uactor.client.lane import Lanes, offered
from uactor.client.nesting import free_channel
from uactor.client.pipeline import CallBurst, Encoded, Pending, Pipeline
from uactor.client.session import (
    Session,
    check_size,
    is_ending,
    leave_with_process,
    nobody,
    note_end,
)
from uactor.client.stream import StreamEnd, Transport
from uactor.definitions import Definitions, UnknownDefinitionError
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    AuthkeyError,
    DeadlineError,
    HandleError,
    SerializationError,
    UActorException,
)
from uactor.futures import CallFuture, OneOf
from uactor.handles import Token
from uactor.local import (
    NO_TICKET,
    Burst,
    BurstReceiver,
    Call,
    Receiver,
    Resolve,
    Shared,
    Ticket,
    Tickets,
)
from uactor.memory import Carrier
from uactor.reaper import reaper
from uactor.turns import turns
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger(__name__)

_END_PRIORITY = 30  # before the actors of this process are shut down
_EXIT_PRIORITY = 10  # after that
_CLOSE_TIMEOUT = 1.0


_exit_hooked = 0


def _hook_exit() -> None:
    """Close all connections politely when the process ends, a multiprocessing worker too."""
    global _exit_hooked
    if _exit_hooked != os.getpid():
        _exit_hooked = os.getpid()
        multiprocessing.util.Finalize(None, note_end, exitpriority=_END_PRIORITY)
        multiprocessing.util.Finalize(None, _close_all, exitpriority=_EXIT_PRIORITY)


class _ThreadEnd:
    """Lives in a thread's local storage; its end is that of the thread.

    It does not keep the link: that has the local storage, which would keep this for ever.
    """

    __slots__ = ('link', 'session')

    def __init__(self, link: Link, session: Session) -> None:
        self.link, self.session = weakref.ref(link), session

    def __del__(self) -> None:
        if not hasattr(self, 'session'):  # a signal handler has raised while it was made
            return
        turns.leave(threading.get_ident())  # which it may have kept for its next call
        link, session = self.link(), self.session
        # In a forked child, these are the ends of threads that it has not got.
        if link is not None and link.pid == os.getpid():
            reaper.put(lambda: link.retire(session))


def _calling(method: Callable[[], None]) -> Callable[[], None]:
    """Return what calls ``method`` as long as its object is there."""
    known = weakref.WeakMethod(method)

    def call() -> None:
        found = known()
        if found is not None:
            found()

    return call


class _Local(threading.local):
    # Of the class: finalizers, which may call, may also interrupt an __init__.
    ends: tuple[_ThreadEnd, ...] = ()
    granted: collections.Counter[str] | None = None


_links: weakref.WeakSet[Link] = weakref.WeakSet()
"""All links of this process, and in a forked child those of its parent."""


class Terms(NamedTuple):
    """How messages travel to an actor; see :class:`Session`."""

    serializer: str
    by_value: bool
    limit: int


class Link:
    """The transport and sessions of a connection, and what it holds.

    Apart from :class:`Connection`, so that it can be closed after that is gone.
    """

    def __init__(
        self, address: str, keys: Sequence[bytes], serializer: str, transport: Transport
    ) -> None:
        self.address = address
        self.transport = transport
        self.pid = os.getpid()
        self.serializer = serializer
        self.terms = Terms(serializer, by_value=False, limit=0)
        # What the host counts holds by: anew in a forked child, and for each connection, so
        # that the holds of one that is closed are told from those of its successor.
        self._client_id = secrets.token_hex(16)
        self.held: collections.Counter[str] = collections.Counter()
        self.actor: pb.Handle | None = None
        self.inherited: tuple[str, list[str]] | None = None
        self._keys = tuple(keys)
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self.pending: collections.deque[str] = collections.deque()
        self._flushing = False
        self._local = _Local()
        self._sessions: set[Session] = set()
        self._pipelines: dict[int, Pipeline] = {}
        self._returning = False
        self._ending = False
        self._closed = False
        self._shut = False
        self._begun = False
        _links.add(self)

    # --- sessions --------------------------------------------------------------------------

    def session(self) -> Session:
        """Return an idle session of this thread.

        There is more than one only where a finalizer or signal handler has made a call while
        the thread was waiting for another one's response.
        """
        if sys.is_finalizing():  # other threads have stopped: a call would wait for ever
            raise ActorDiedError('the interpreter is ending', 'no')
        for end in self._local.ends:
            session = end.session
            if not session.busy and not session.stream.ended and session.stream.is_free():
                return session
        session = self.open()
        others = (end for end in self._local.ends if end.session.alive)
        self._local.ends = *others, _ThreadEnd(self, session)
        return session

    def pipeline(self) -> Pipeline:
        """Return the pipeline for calls of this thread, which may be about to open."""
        number = free_channel()
        known = self._pipelines.get(number)
        if known is not None and known.usable:
            return known
        with self._lock:
            known = self._pipelines.get(number)
            if known is None or not known.usable:
                opened = functools.partial(self.open, number)
                known = self._pipelines[number] = Pipeline(opened, self.address)
        return known

    def flush(self) -> None:
        """Have sent what has been held in the pipeline of this thread."""
        known = self._pipelines.get(free_channel())
        if known is not None:
            known.flush()

    def open(self, pipeline: int | None = None) -> Session:
        """Open a session, with the first authkey that fits.

        :param pipeline: number of the channel for a pipelined one.
        """
        *others, last = self._keys
        for key in others:
            try:
                return self._opened(key, pipeline)
            except AuthkeyError:
                log.debug('an authkey known for %s does not fit', self.address)
        return self._opened(last, pipeline)

    def _opened(self, key: bytes, pipeline: int | None) -> Session:
        self._begin()
        try:
            stream = self.transport.open(_calling(self._session_ended), pipeline)
            session = Session(
                stream,
                self.address,
                key,
                self._client_id,
                self.serializer,
                pipelined=pipeline is not None,
            )
        except StreamEnd as end:
            raise self._unreachable(nobody(self.address, end)) from end.__cause__
        except ActorUnreachableError as error:
            if self.actor is None:
                raise
            raise self._unreachable(error) from error
        try:
            self._take_in(session)
        except BaseException:
            session.abandon()
            raise
        self._keys = (key,)
        return session

    def _begin(self) -> None:
        with self._lock:
            if self._shut:
                leave_with_process()
                raise ActorDiedError(f'the connection to {self.address} has been closed', 'no')
            if not self._begun:
                self._begun = True
                _hook_exit()
                reaper.opened()

    def _unreachable(self, error: ActorUnreachableError) -> UActorException:
        """Return what it means that nobody answers: to those who knew the actor, its end."""
        if self.actor is None:
            return error
        return ActorDiedError(f'the actor has ended, or is out of reach: {error}', 'no')

    def _take_in(self, session: Session) -> None:
        """Have a new session among one's own, if it leads to the same actor as the others."""
        if self.actor is None:
            self.actor = session.actor
        elif self.actor.id != session.actor.id:
            raise ActorDiedError(f'another actor runs at {self.address} by now', 'no')
        with self._lock:
            self.terms = Terms(session.serializer, session.by_value, session.limit)
            self._sessions = {known for known in self._sessions if known.alive}
            self._sessions.add(session)
            inherited, self.inherited = self.inherited, None
        if inherited is not None:
            self._take_over(session, *inherited)

    def _take_over(self, session: Session, lease: str, handles: list[str]) -> None:
        """Hold what the parent of this forked process held, as far as it is there."""
        try:
            retain(self, session, handles, lease)
        except HandleError:  # the lease has expired
            for handle in handles:
                with contextlib.suppress(HandleError):  # whoever uses it will be told
                    retain(self, session, [handle])

    def restrict(self, serializer: str) -> None:
        """Have values travel as ``serializer`` allows, if that is stricter."""
        with self._lock:
            self.serializer = values.stricter(self.serializer, serializer)
            for session in self._sessions:
                session.restrict(serializer)
                self.terms = Terms(session.serializer, session.by_value, session.limit)

    def retire(self, session: Session) -> None:
        """Close the session of a thread that has ended, unless it is the last.

        The last one stays, for releases, and to show that this process is alive.
        """
        with self._lock:
            self._sessions = {known for known in self._sessions if known.alive}
            if self._sessions == {session}:
                return
            self._sessions.discard(session)
        session.say_goodbye()

    def _session_ended(self) -> None:
        if not self._closed:
            reaper.put(self._stay)

    def _stay(self) -> None:
        """See to it that the host does not take this process for dead.

        A call that a KeyboardInterrupt has ended takes its session along, and that may have been
        the only one.
        """
        if self.held and not self.connected:
            self._return()

    def _return(self) -> None:
        """Open a session that no thread has, on a thread of its own: the host may not answer."""
        with self._lock:
            if self._returning or self._ending or self._closed or is_ending():
                return
            self._returning = True
        try:
            threading.Thread(target=self._open_spare, name='uactor-return', daemon=True).start()
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            log.debug('this process will not come back to %s: %s', self.address, error)

    def _open_spare(self) -> None:
        try:
            self.open()
        except (UActorException, RuntimeError) as error:  # the interpreter may be ending
            log.debug('what is held at %s is lost: %s', self.address, error)
            self.drain()
        finally:
            self._returning = False
        self._flush()

    def expect_end(self) -> None:
        """Do not come back once the sessions have ended: this process ends the actor."""
        self._ending = True

    def abandon(self) -> None:
        """Break all sessions off: the actor process is known to have ended."""
        self._closed = True
        for session in tuple(self._sessions):
            session.abandon()

    @property
    def connected(self) -> bool:
        """Whether some session is open."""
        return any(session.connected for session in tuple(self._sessions))

    def say_goodbye(self, process_ends: bool = False) -> None:
        """Close all sessions, without waiting for that."""
        if self._closed:
            return
        self._closed = True
        for session in tuple(self._sessions):
            session.say_goodbye(process_ends)

    def close(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Say goodbye, wait until the host has taken note, and close the transport."""
        deadline = time.monotonic() + timeout
        self.say_goodbye()
        for session in tuple(self._sessions):
            session.wait_closed(max(0.0, deadline - time.monotonic()))
        with self._lock:
            self._shut = True
            begun, self._begun = self._begun, False
        self.transport.close()
        if begun:
            reaper.closed()

    # --- holds -----------------------------------------------------------------------------

    def adopt(self, handle: str) -> None:
        """Count a hold."""
        with self._lock:
            self.held[handle] += 1

    @contextlib.contextmanager
    def granting(self, handles: Iterable[str]) -> Iterator[None]:
        """Hold what comes with a message, whose proxies are made meanwhile, on this thread.

        Holds for which no proxy came to be are given up.
        """
        outer, self._local.granted = self._local.granted, collections.Counter(handles)
        try:
            yield
        finally:
            left, self._local.granted = self._local.granted, outer
            for handle in left.elements() if left else ():
                self.adopt(handle)
                self.release(handle)

    def take_granted(self, handle: str) -> bool:
        """Have a hold out of those that come with a message; tell if there is one."""
        granted = self._local.granted
        if not granted or not granted[handle]:
            return False
        granted[handle] -= 1
        self.adopt(handle)
        return True

    def release(self, handle: str) -> None:
        """Queue a release. Safe in finalizers."""
        self.pending.append(handle)
        if not self._flushing:
            self._flushing = True
            reaper.put(self._flush)

    def drain(self) -> list[str]:
        """Take the queued releases, to send them."""
        released: list[str] = []
        with self._lock:
            with contextlib.suppress(IndexError):  # none is left
                while True:
                    released.append(self.pending.popleft())
            self.held.subtract(released)
            for handle in released:
                if self.held[handle] <= 0:
                    del self.held[handle]
        return released

    def give_back(self, released: Sequence[str]) -> None:
        """Queue releases once more that could not be sent."""
        for handle in released:
            self.adopt(handle)
            self.release(handle)

    def _flush(self) -> None:
        self._flushing = False
        idle = (known for known in tuple(self._sessions) if known.alive and not known.busy)
        session = next(idle, None)
        if session is None:
            if self.pending:
                self._return()
            return
        released = self.drain()
        if released and not session.offer(pb.SessionRequest(releases=released)):
            self.give_back(released)  # a call has begun

    def holdings(self) -> list[str]:
        """Return the ids of what this process holds, each once per hold."""
        with self._lock:
            held = self.held.copy()
        held.subtract(tuple(self.pending))
        return list(held.elements())


def checked(link: Link, session: Session, response: pb.SessionResponse) -> pb.SessionResponse:
    """Return the response, or raise the failure if it is one."""
    if response.HasField('failure'):
        with link.granting(response.failure.pickle.granted):
            error = failures.decode(response.failure, session.serializer != 'native')
        if isinstance(error, ActorDiedError):
            leave_with_process()
        try:
            raise error
        finally:
            del error  # a cycle with its traceback otherwise
    return response


def retain(link: Link, session: Session, handles: list[str], lease: str = '') -> None:
    """Take holds, out of a lease if there is one."""
    request = pb.RetainHandleRequest(handles=handles, lease_id=lease)
    checked(link, session, session.ask(pb.SessionRequest(retain_handle=request)))


TRANSPORTS = ('auto', 'grpc')
"""``'grpc'``, or ``'auto'`` for an actor's local lane where there is one, and else gRPC."""


def check_transport(name: str) -> str:
    """Return ``name`` if it is a transport.

    :raises ValueError: otherwise.
    """
    if name not in TRANSPORTS:
        raise ValueError(f'unknown transport {name!r}; choose one of {", ".join(TRANSPORTS)}')
    return name


class Connection:
    """This process's way to one actor process.

    :ivar actor: names the actor.
    :param transport: one of :data:`TRANSPORTS`.
    """

    def __init__(
        self, address: str, keys: Sequence[bytes], serializer: str, transport: str = 'auto'
    ) -> None:
        self.address = address
        lane = offered(address) if transport == 'auto' else None
        streams = Lanes(lane) if lane else Channels(address)
        self._link = link = Link(address, keys, serializer, streams)
        self._keys = tuple(keys)
        try:
            session = link.session()
        except BaseException:
            reaper.put(link.close)
            raise
        self.actor = Token('actor', address, session.actor.id)
        self._finalizer = self._close_when_gone(link)

    def _close_when_gone(self, link: Link) -> weakref.finalize[..., Any]:
        finalizer = weakref.finalize(self, reaper.put, link.close)
        finalizer.atexit = False  # _close_all sees to it
        return finalizer

    @property
    def reusable(self) -> bool:
        """Whether the actor is there, as far as this process knows."""
        return self._link.connected

    def restrict(self, serializer: str) -> None:
        """Have values travel as ``serializer`` allows, if that is stricter."""
        self._link.restrict(serializer)

    def suits(self, transport: str) -> bool:
        """Tell whether this is what ``transport`` asks for."""
        return transport == 'auto' or isinstance(self._link.transport, Channels)

    def expect_end(self) -> None:
        """Know that this process ends the actor. Safe in finalizers."""
        self._link.expect_end()

    def abandon(self) -> None:
        """Let every caller know that the actor process has ended."""
        self._link.abandon()

    # --- requests --------------------------------------------------------------------------

    def call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
        owned: bool = False,
    ) -> Any:
        """Call a method; see :class:`uactor.local.Connection`."""
        outer = calls.current()
        if outer is not None:
            timeout = calls.sooner(timeout)
        if timeout is not None and not owned:
            call = Call(handle, method, args, kwargs, resolve, timeout)
            return CallFuture.of(self.submit, call).wait()
        link = self._link
        session = link.session()
        usually = outer is None and timeout is None and not link.pending
        data = values.plain_arguments(args, kwargs) if session.serializer != 'native' else None
        if data is not None and usually:  # as most calls do, without further ado
            return self._usual(session, usual.called(handle, method), data, resolve)
        request = pb.SessionRequest()
        message = request.call
        if data is None:
            data = values.encode_arguments(
                *(lambda: message, args, kwargs, session.serializer, session.by_value, handle_of),
                session.memory,
                session.definitions,
            )
        if data is not None:
            if usually:
                return self._usual(session, usual.called(handle, method), data, resolve)
            message.arguments.data = data
        message.handle, message.method = handle, method
        message.accept_pickle = session.serializer != 'native'
        _put_context(message, timeout, outer)
        return self._result(session, request, resolve)

    def _usual(self, session: Session, part: bytes, data: bytes, resolve: Resolve) -> Any:
        """Make a call by a usual message; see :mod:`uactor.usual`."""
        answer = session.call(part, data)
        if isinstance(answer, tuple):
            value = answer[1]
            return value if type(value) is not usual.Pickled else self._rebuilt(value, session)
        return self._value(session, checked(self._link, session, answer).result, resolve)

    def submit(self, call: Call, receiver: Receiver) -> Ticket:
        """Make a call without blocking; see :class:`uactor.local.Connection`."""
        return self._submitted(call, receiver)

    def submit_all(
        self, call: Call, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> Burst:
        """Make calls without blocking; see :class:`uactor.local.Connection`."""
        burst = self._submitted_plain(call, arguments, receiver)
        if burst is None:
            tickets = [
                self._submitted(call.using(args), OneOf(receiver, index), held=True)
                for index, args in enumerate(arguments)
            ]
            burst = Tickets(tickets)
        self._link.flush()
        return burst

    def _submitted_plain(
        self, call: Call, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> Burst | None:
        """Make calls by one request, if all of them can be."""
        terms = self._link.terms
        if calls.sooner(call.timeout) is not None or calls.current() is not None:
            return None
        if terms.serializer == 'native' or terms.limit or self._link.pending:
            return None
        data = values.plain_bursts(arguments)
        if data is None:
            return None
        try:
            pipeline = self._link.pipeline()
            made = CallBurst(pipeline, receiver, self._come, call, len(arguments))
            pipeline.submit(functools.partial(made.request, data), made, held=True)
        except (ActorDiedError, RuntimeError):  # no thread to be had: each call is told so
            return None
        return made

    def _submitted(self, call: Call, receiver: Receiver, held: bool = False) -> Ticket:
        try:
            return self._sent(*self._encoded(call), call, receiver, held)
        except Exception as error:  # what can't be sent ends the call as what can't be done
            receiver.fail(error)
            return NO_TICKET

    def _encoded(self, call: Call) -> tuple[Encoded, float | None]:
        """Return what encodes a call, and how long it is waited for, in seconds."""
        timeout = calls.sooner(call.timeout)
        if timeout is not None and timeout <= 0:
            raise DeadlineError(_told(call, timeout), 'no')
        outer = calls.current() if call.waits else None
        terms = self._link.terms
        request = pb.SessionRequest()

        def message() -> pb.CallRequest:
            return request.open_stream.call if call.window else request.call

        data = None
        if terms.serializer != 'native':
            data = values.plain_arguments(call.args, call.kwargs)
        if data is None:
            data = values.encode_arguments(
                *(message, call.args, call.kwargs, terms.serializer, terms.by_value, handle_of)
            )
        if data is not None:
            plain = timeout is None and outer is None and not call.window and not terms.limit
            if plain and not self._link.pending:
                part = usual.called(call.handle, call.method)
                return functools.partial(usual.request, part=part, arguments=data), None
            message().arguments.data = data
        if call.window:
            request.open_stream.credit = call.window
        message().handle, message().method = call.handle, call.method
        message().accept_pickle = terms.serializer != 'native'
        _put_context(message(), timeout, outer)
        check_size(request, terms.limit, self.address)
        if self._link.pending:
            request.releases.extend(self._link.drain())

        def encoded(number: int) -> bytes:
            request.id = number
            return request.SerializeToString()

        return encoded, timeout

    def _sent(
        self, encoded: Encoded, timeout: float | None, call: Call, receiver: Receiver, held: bool
    ) -> Ticket:
        pipeline = self._link.pipeline()
        pending = Pending(pipeline, receiver, self._come, call)
        if timeout is not None:
            pending.expire_at(time.monotonic() + timeout, _told(call, timeout))
        pipeline.submit(encoded, pending, held)
        return pending

    def _come(self, response: Any, resolve: Resolve) -> Any:
        """Return what a response of the pipeline carries, or raise it.

        :param response: one, or the value of a usual one.
        """
        if type(response) is usual.Pickled:
            return self._rebuilt(response)
        if not isinstance(response, pb.SessionResponse):
            return response
        kind = response.WhichOneof('kind')
        if kind == 'result':
            form = response.result.WhichOneof('kind')
            if form in values.SCALAR_FORMS:
                return getattr(response.result, form)  # as most do, without further ado
        unpickle = self._link.terms.serializer != 'native'
        if kind == 'failure':
            with self._link.granting(response.failure.pickle.granted):
                raise failures.decode(response.failure, unpickle)
        if kind == 'results':
            return values.decode_plain(response.results, unpickle)
        if kind == 'end':
            return None
        return self._decoded(
            response.item if kind == 'item' else response.result, resolve, unpickle
        )

    def get_attribute(self, handle: str, name: str, resolve: Resolve) -> Any:
        """Read an attribute; see :class:`uactor.local.Connection`."""
        session = self._link.session()
        get = pb.GetAttributeRequest(
            handle=handle,
            name=name,
            accept_pickle=session.serializer != 'native',
            context=_context(),
        )
        return self._result(session, pb.SessionRequest(get_attribute=get), resolve)

    def set_attribute(self, handle: str, name: str, value: Any) -> None:
        """Write an attribute; see :class:`uactor.local.Connection`."""
        session = self._link.session()
        with values.passage():
            if session.serializer == 'native':
                encoded = values.encode_native(value, handle_of)
            else:
                encoded = _encoded(session, value)
        request = pb.SetAttributeRequest(
            handle=handle,
            name=name,
            value=encoded,
            accept_pickle=session.serializer != 'native',
            context=_context(),
        )
        self._result(session, pb.SessionRequest(set_attribute=request), lambda shared: shared)

    def create(
        self, typeid: str, args: Sequence[Any], kwargs: Mapping[str, Any], resolve: Resolve
    ) -> Any:
        """Make a new object; see :class:`uactor.local.Connection`."""
        session = self._link.session()
        request = pb.CreateHandleRequest(typeid=typeid)
        with values.passage():
            pickles = session.serializer != 'native'

            def encoded(value: Any) -> pb.Value:
                if pickles:
                    return _encoded(session, value)
                return values.encode_native(value, handle_of)

            request.args.extend(encoded(value) for value in args)
            for name, value in kwargs.items():
                request.kwargs[name].CopyFrom(encoded(value))
        return self._result(session, pb.SessionRequest(create_handle=request), resolve)

    def _result(self, session: Session, request: pb.SessionRequest, resolve: Resolve) -> Any:
        return self._value(session, self._ask(session, request).result, resolve)

    def _value(self, session: Session, result: pb.Value, resolve: Resolve) -> Any:
        kind = result.WhichOneof('kind')
        if kind in values.SCALAR_FORMS:
            return getattr(result, kind)  # as most do, without further ado
        unpickle = session.serializer != 'native'
        try:
            return self._decoded(result, resolve, unpickle, session.memory, session.definitions)
        except UnknownDefinitionError:
            session.abandon()  # the next one begins anew
            raise

    @staticmethod
    def _rebuilt(pickled: usual.Pickled, session: Session | None = None) -> Any:
        """Return what a usual response has a pickle of.

        :param session: has what the pickle may name.
        """
        try:
            definitions = session.definitions if session is not None else None
            return values.loads_with(definitions, pickled.data)
        except SerializationError as error:
            error.executed = 'yes'
            if session is not None and isinstance(error, UnknownDefinitionError):
                session.abandon()  # the next one begins anew
            raise

    def _decoded(
        self,
        result: pb.Value,
        resolve: Resolve,
        unpickle: bool,
        memory: Carrier | None = None,
        definitions: Definitions | None = None,
    ) -> Any:
        def resolved(handle: pb.Handle) -> Any:
            if handle.address != self.address and not self.owns(handle.id):
                return resolve(Shared(Token(handle.typeid, handle.address, handle.id), ()))
            self._link.take_granted(handle.id)
            token = Token(handle.typeid, self.address, handle.id)
            return resolve(Shared(token, tuple(handle.methods)))

        granted = [handle for handle in values.granted(result) if self.owns(handle)]
        try:
            if not granted:
                return values.decode(result, resolved, unpickle, memory, definitions)
            with self._link.granting(granted):
                return values.decode(result, resolved, unpickle, memory, definitions)
        except SerializationError as error:
            error.executed = 'yes'
            raise

    def owns(self, handle: str) -> bool:
        """Tell whether ``handle`` is of the actor process at the other end."""
        return handle.partition('.')[0] == self.actor.id.partition('.')[0]

    def _ask(self, session: Session, request: pb.SessionRequest) -> pb.SessionResponse:
        link = self._link
        if link.pending:
            response = self._ask_releasing(link, session, request)
        else:
            response = session.ask(request)
        if response.HasField('failure'):
            return checked(link, session, response)
        if session.definitions is not None and session.definitions.unsure:
            session.definitions.arrived(values.definitions_in(request))
        return response

    @staticmethod
    def _ask_releasing(
        link: Link, session: Session, request: pb.SessionRequest
    ) -> pb.SessionResponse:
        released = link.drain()
        request.releases.extend(released)
        try:
            return session.ask(request)
        except SerializationError:  # too large to be sent
            link.give_back(released)
            raise

    # --- holds -----------------------------------------------------------------------------

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold; see :class:`uactor.local.Connection`."""
        retain = pb.RetainHandleRequest(handles=[handle], lease_id=lease)
        self._ask(self._link.session(), pb.SessionRequest(retain_handle=retain))
        self._link.adopt(handle)

    def adopt(self, handle: str) -> None:
        """Have the hold that came along; see :class:`uactor.local.Connection`."""
        if not self._link.take_granted(handle):  # it came by another connection
            self.retain(handle)

    def release(self, handle: str) -> None:
        """Give a hold up; see :class:`uactor.local.Connection`."""
        self._link.release(handle)

    def claim(self, handle: str) -> str:
        """Take a lease, unless this process keeps the object alive until it is received."""
        passage = values.current_passage()
        if passage is None:
            return self._lease([handle])
        if passage.grants is None:
            return ''
        lease = passage.leases.get(handle)
        if lease is None:
            lease = passage.leases[handle] = self._lease([handle])
            passage.undo.append(functools.partial(self._link.release, lease))
        return lease

    def _lease(self, handles: list[str]) -> str:
        retain = pb.RetainHandleRequest(handles=handles, as_lease=True)
        request = pb.SessionRequest(retain_handle=retain)
        return self._ask(self._link.session(), request).retained.lease_id

    # --- forks -----------------------------------------------------------------------------

    _fork_lease: tuple[str, list[str]] | None = None

    def before_fork(self) -> bool:
        """Lease what this process holds for the child that is about to be; tell if it could."""
        link = self._link
        handles = link.holdings()
        self._fork_lease = None
        if handles and (link.connected or link.inherited is not None):
            try:
                self._fork_lease = self._lease(handles), handles
            except UActorException as error:
                log.debug('the forked child will not hold %s: %s', self.address, error)
        return self._fork_lease is not None

    def fork_lease_release(self) -> Callable[[], None]:
        """Return what ends the lease when the child has ended and may not have used it."""
        if self._fork_lease is None:
            return lambda: None
        lease, _ = self._fork_lease
        return functools.partial(self._link.release, lease)

    def after_fork(self) -> None:
        """Leave the parent's streams alone and get own ones, in the child."""
        self._finalizer.detach()
        parents = self._link
        _abandoned.append(parents)
        transport = parents.transport.inherited()
        self._link = link = Link(self.address, self._keys, parents.serializer, transport)
        link.actor = parents.actor
        link.terms = parents.terms
        link.held = parents.held
        link.inherited = self._fork_lease
        self._finalizer = self._close_when_gone(link)


def _encoded(session: Session, value: Any) -> pb.Value:
    return values.encode(value, session.by_value, session.memory, session.definitions)


def _told(call: Call, timeout: float) -> str:
    return f'{call.method}() has taken longer than {timeout} seconds'


def _put_context(
    request: pb.CallRequest, timeout: float | None, outer: calls.CurrentCall | None
) -> None:
    """Say in a request how long the call is waited for, and in which call."""
    if timeout is not None:
        request.context.timeout.FromNanoseconds(round(timeout * 1e9))
    if outer is not None:
        request.context.path.extend(outer.path)


def _context() -> pb.CallContext | None:
    """Return what an attribute is asked for in."""
    outer = calls.current()
    return None if outer is None else pb.CallContext(path=outer.path)


def handle_of(value: Any) -> pb.Handle:
    """Return the native form of a proxy.

    :raises SerializationError: for anything else.
    """
    token = getattr(value, '_token', None)
    if isinstance(token, Token):
        return pb.Handle(id=token.id, address=token.target, typeid=token.typeid)
    return values.unshareable(value)


_abandoned: list[Link] = []
"""Those of the parent. Closing a gRPC channel in a forked child hangs: they are kept for good."""


class Connections:
    """The connections of this process, by address; each lives while a proxy uses it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._known: weakref.WeakValueDictionary[str, Connection] = weakref.WeakValueDictionary()
        self._all: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._serializers: dict[str, str] = {}

    def restrict(self, address: str, serializer: str) -> None:
        """Have values travel to and from ``address`` as ``serializer`` allows, from now on.

        Whichever proxy is used: a peer whose pickles are not trusted is not trusted by another
        name either.
        """
        address = keyring.resolve(address)
        if serializer != self._serializer(address):
            self._serializers[address] = values.stricter(self._serializer(address), serializer)
        known = self._known.get(address)
        if known is not None:
            known.restrict(serializer)

    def _serializer(self, address: str) -> str:
        return self._serializers.get(address, values.DEFAULT_SERIALIZER)

    def get(self, address: str, transport: str = 'auto') -> local.Connection:
        """Return the connection to the actor at ``address``, opened if there is none.

        :param transport: one of :data:`TRANSPORTS`.

        :raises AuthkeyError: when no known authkey fits.
        :raises ActorUnreachableError: when nothing listens there.
        """
        if local.host is not None and local.host.serves(address):
            return local.host.connection
        address = keyring.resolve(address)
        known = self._known.get(address)
        if known is not None and known.suits(transport) and known.reusable:
            return known
        keys = keyring.candidates(address)
        connection = Connection(address, keys, self._serializer(address), transport)
        return self._add(connection, transport)

    def reaching(self, handle: str) -> str | None:
        """Return the address at which this process reaches the actor of ``handle`` already.

        An actor may go by other names elsewhere: behind a forwarded port, or a host's alias.
        """
        if local.host is not None and local.host.owns(handle):
            return local.host.connection.actor.target
        known = (connection for connection in self.all() if connection.owns(handle))
        return next((connection.address for connection in known if connection.reusable), None)

    def open(
        self, address: str, authkey: bytes, aliases: Sequence[str] = (), transport: str = 'auto'
    ) -> local.Connection:
        """Connect with an explicit authkey and remember it, once it has proved right.

        :param aliases: further addresses under which the same actor may appear.
        :param transport: one of :data:`TRANSPORTS`.
        """
        if local.host is not None and local.host.serves(address):
            return local.host.connection
        connection = Connection(address, (authkey,), self._serializer(address), transport)
        keyring.add(address, authkey, aliases)
        return self._add(connection, transport)

    def _add(self, connection: Connection, transport: str) -> Connection:
        with self._lock:
            known = self._known.get(connection.address)
            if (
                known is not None
                and known.suits(transport)
                and known.reusable
                and known.actor.id == connection.actor.id
            ):
                return known  # another thread was faster; ours closes itself
            self._known[connection.address] = connection
            self._all.add(connection)
        return connection

    def ending(self, address: str) -> None:
        """Know that this process ends the actor at ``address``. Safe in finalizers."""
        for known in self._at(address):
            known.expect_end()

    def lost(self, address: str) -> None:
        """Let every caller know that the actor process at ``address`` has ended."""
        for known in self._at(address):
            known.abandon()

    def _at(self, address: str) -> list[Connection]:
        """Return the connections to ``address``, on whatever transport."""
        return [connection for connection in self.all() if connection.address == address]

    def all(self) -> list[Connection]:
        """Return the connections that there are, also those to actors that have ended."""
        return list(self._all)

    def unlock(self) -> None:
        """Replace the lock, which another thread may have held when this process was forked."""
        self._lock = threading.RLock()


connections = Connections()
"""The connections of this process."""


def _close_all() -> None:
    """Close all links: also those whose connection has gone, and that wait for the reaper."""
    links = [link for link in tuple(_links) if link.pid == os.getpid()]
    for link in links:
        link.say_goodbye(process_ends=True)
    deadline = time.monotonic() + _CLOSE_TIMEOUT
    for link in links:
        link.close(max(0.0, deadline - time.monotonic()))


_child: Child | None = None
"""The child that is being forked; None when it inherits no holds."""


def _before_fork() -> None:
    global _child
    leased = [connection.before_fork() for connection in connections.all()]
    _child = Child() if any(leased) else None


def _after_fork_in_parent() -> None:
    if _child is not None:
        _child.born_in_parent([connection.fork_lease_release() for connection in connections.all()])


def _after_fork_in_child() -> None:
    reaper.reset()
    turns.reset()
    note_fork()
    connections.unlock()
    if _child is not None:
        _child.born_in_child()
    for connection in connections.all():
        connection.after_fork()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
