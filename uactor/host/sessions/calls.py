"""The calls of a pipelined session, from their arrival to their response.

Problem: ten thousand calls may be under way, and most of them wait: for the mailbox of the actor,
for a coroutine, or for credit to send items of a stream. A thread for each would be too many.

Mechanism: a call that waits is *parked*. It has no thread, but a state that says what it waits for,
the job to run afterwards, and a function that ends the wait when the call is cancelled. The thread
that ends the wait takes the call out of that state, and queues its job:

    NEW ────────┬──────────────> QUEUED ──> RUNNING ──┬──> ENDED
                └─> IN_MAILBOX ──^ ^                  │
                       ^           └─ AWAITING <──────┤
                       │           └─ OUT_OF_CREDIT <─┤
                       └──────────────────────────────┘

Invariants: a call is parked before the thread that parks it starts what it waits for, so a wait
can't end unnoticed. One thread takes it out of a wait, whichever comes first. A cancelled call
ends its wait, and then finds out that it is cancelled.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import threading
from collections.abc import Callable, Mapping
from types import CoroutineType
from typing import Any, Protocol

from uactor.codec import fastpath, messages
from uactor.core.current_call import run_in
from uactor.errors import ActorUnreachableError, UActorException
from uactor.host.arguments import InvalidArgumentError
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError, Reason
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.execution.event_loop import FINISHED, LoopTask, is_unfinished
from uactor.host.refusal import NO_THREADS
from uactor.host.requests import RequestHandler
from uactor.host.sessions.responder import (
    Responder,
    accepts_pickle,
    begin_in_context,
    context_of,
)
from uactor.host.sessions.revocable import RevocableResults
from uactor.runtime.timers import Timer, timers
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

Job = Callable[[], None]
Operation = Callable[[], tuple[Any, str]]
"""Does what a request asks for; returns the result, and the typeid to share it as, or ''."""


class CallState(enum.Enum):
    """Where a call is. :data:`TRANSITIONS` has the states that may follow."""

    NEW = 'new'
    """It has arrived."""
    QUEUED = 'queued'
    """A thread is about to run its next step."""
    RUNNING = 'running'
    """A thread runs a step of it."""
    IN_MAILBOX = 'in mailbox'
    """It is parked until the mailbox of the actor lets it run."""
    AWAITING = 'awaiting'
    """It is parked until its coroutine has ended."""
    OUT_OF_CREDIT = 'out of credit'
    """It is parked until the client lets it send more items."""
    ENDED = 'ended'
    """It does nothing any more."""


TRANSITIONS: Mapping[CallState, frozenset[CallState]] = {
    CallState.NEW: frozenset([CallState.QUEUED, CallState.IN_MAILBOX, CallState.ENDED]),
    # A stream that has been granted credit waits for the mailbox again.
    CallState.QUEUED: frozenset([CallState.RUNNING, CallState.IN_MAILBOX, CallState.ENDED]),
    CallState.RUNNING: frozenset(
        [
            CallState.QUEUED,
            CallState.IN_MAILBOX,
            CallState.AWAITING,
            CallState.OUT_OF_CREDIT,
            CallState.ENDED,
        ]
    ),
    CallState.IN_MAILBOX: frozenset([CallState.QUEUED, CallState.ENDED]),
    CallState.AWAITING: frozenset([CallState.QUEUED, CallState.ENDED]),
    CallState.OUT_OF_CREDIT: frozenset([CallState.QUEUED]),
    CallState.ENDED: frozenset(),
}

_QUEUED, _RUNNING, _ENDED = CallState.QUEUED, CallState.RUNNING, CallState.ENDED


class CallSession(Protocol):
    """What a call needs of its pipelined session."""

    caller: Caller
    dispatcher: Dispatcher
    requests: RequestHandler
    responder: Responder
    revocable: RevocableResults

    def run(self, call: HostCall, job: Job) -> None:
        """Run a job of a call, on this thread or another one.

        :raises RuntimeError: when no thread can be started; the job does not run.
        """
        ...

    def is_open(self, number: int) -> bool:
        """Return whether a request has not been answered."""
        ...

    def send(self, number: int, response: pb.SessionResponse | bytes) -> None:
        """Send a response that is not the last one of its request."""
        ...

    def end(self, number: int, response: pb.SessionResponse | bytes) -> None:
        """Send the last response of a request."""
        ...

    def forget(self, number: int) -> None:
        """End a request without a response."""
        ...


class Reply(Protocol):
    """How the result of a call is sent.

    It is sent by itself, together with other results, or as a stream.
    """

    def take(self, call: HostCall, result: Any, typeid: str) -> None:
        """Send the result of a call, after running its coroutine if any.

        This is called on the thread that ran the call.
        """
        ...

    def fail(self, call: HostCall, error: BaseException) -> None:
        """Send an error as the last response of a call."""
        ...


class HostCall:
    """A request of a pipelined session that is under way.

    :param operation: does what the request asks for.
    :param method: the method that it runs; None for another request.
    :param accepts_pickles: whether the client does.
    :ivar number: number of the request.
    """

    lock = threading.Lock()  # shared by all calls, and held for moments only
    # Class attributes: most calls never set them.
    state = CallState.NEW
    _unread: pb.SessionRequest | None = None  # large data beside it has not been looked at
    _invalid: InvalidArgumentError | None = None
    _timer: Timer | None = None
    _job: Job | None = None  # runs after the wait of a parked call
    _abandon: Job | None = None  # ends that wait
    _leave_mailbox: Job | None = None
    _leave_gate: Job | None = None

    def __init__(
        self,
        session: CallSession,
        number: int,
        caller: Caller,
        operation: Operation,
        reply: Reply,
        handle: str,
        method: str | None,
        accepts_pickles: bool = True,
    ) -> None:
        self.session = session
        self.number = number
        self.caller = caller
        self.reply = reply
        self.accepts_pickles = accepts_pickles
        self.operation = operation
        self._handle = handle
        self._method = method

    @classmethod
    def of_fast_request(
        cls,
        session: CallSession,
        number: int,
        handle: str,
        method: str,
        arguments: fastpath.Arguments,
    ) -> HostCall:
        """Create the call of a message on the fast path; see :mod:`uactor.codec.fastpath`."""
        caller = session.caller.derive()
        caller.begin_call()
        requests, begin = session.requests, session.dispatcher.begin
        operation = functools.partial(requests.run, caller, handle, method, arguments, begin)
        return cls(session, number, caller, operation, SINGLE, handle, method)

    @classmethod
    def of_method(
        cls, session: CallSession, request: pb.SessionRequest, kind: str, reply: Reply
    ) -> HostCall:
        """Create the call of a request that names a method."""
        asked = request.open_stream.call if kind == 'open_stream' else request.call
        caller = session.caller.derive()
        operation = functools.partial(
            session.requests.dispatch, caller, asked, session.dispatcher.begin
        )
        call = cls(
            *(session, request.id, caller, operation, reply, asked.handle, asked.method),
            accepts_pickles=asked.accept_pickle,
        )
        call._begin_request(request, kind)
        return call

    @classmethod
    def of_other_request(
        cls, session: CallSession, request: pb.SessionRequest, kind: str
    ) -> HostCall:
        """Create the call of a request that names no method."""
        caller = session.caller.derive()
        respond = session.responder.respond
        handle: str = getattr(getattr(request, kind), 'handle', '')
        call = cls(
            *(session, request.id, caller, lambda: (respond(caller, request, kind), '')),
            *(RESPONSE, handle, None, accepts_pickle(request)),
        )
        call._begin_request(request, kind)
        return call

    def _begin_request(self, request: pb.SessionRequest, kind: str) -> None:
        self._unread = request
        try:
            begin_in_context(self.caller, context_of(request, kind))
        except InvalidArgumentError as error:
            self._invalid = error

    # --- running -----------------------------------------------------------------------------

    def enter(self) -> None:
        """Run the call as soon as the actor lets it."""
        call = self.caller.call
        if self._invalid is not None:
            self.fail(self._invalid)
            return
        if call is not None and call.expires is not None:
            try:
                self._timer = timers.at(call.expires, lambda: self.give_up('deadline'))
            except RuntimeError:
                self.fail(ActorUnreachableError(NO_THREADS))
                return
        if self._method is not None and self.session.dispatcher.has_mailbox:
            self.wait_for_mailbox(self.execute)
        else:
            self.queue(self.execute)

    def execute(self) -> None:
        """Do what the request asks for, and reply.

        Each call runs here, except in :meth:`~uactor.host.sessions.bursts.HostBurst.run`.
        """
        self.state = _RUNNING
        try:
            self.caller.cancel_token.raise_if_cancelled()
            self._leave_gate = self.session.dispatcher.gate.enter()
            self._unread = None
            result, typeid = self.operation()
        except BaseException as error:  # also SystemExit: the caller is to see it
            self.fail(error)
        else:
            self.reply.take(self, result, typeid)

    def count_in_gate(self) -> None:
        """Count the call as running, even if the actor is ending."""
        self._leave_gate = self.session.dispatcher.gate.count()

    def queue(self, job: Job) -> None:
        """Run the next step of the call."""
        self.state = _QUEUED
        try:
            self.session.run(self, job)
        except RuntimeError:
            self.end_with_error(ActorUnreachableError(NO_THREADS))

    # --- waiting -----------------------------------------------------------------------------

    def park(self, state: CallState, job: Job, abandon: Job | None) -> None:
        """Let the call wait without a thread, until :meth:`resume` or :meth:`unpark`.

        :param state: what it waits for.
        :param job: runs afterwards.
        :param abandon: ends the wait of a cancelled call; may be called at any time, and twice.
        """
        with self.lock:
            self.state, self._job, self._abandon = state, job, abandon

    def unpark(self, state: CallState) -> Job | None:
        """End a wait and return its job; None if it has ended.

        Another thread may have been first.
        """
        with self.lock:
            if self.state is not state:
                return None
            self.state, self._abandon = _QUEUED, None
            job, self._job = self._job, None
            return job

    def resume(self, state: CallState) -> None:
        """End a wait, and run the job of the call."""
        job = self.unpark(state)
        if job is not None:
            self.queue(job)

    def give_up(self, reason: Reason) -> None:
        """Cancel the call. Any thread may call this."""
        self.caller.cancel_token.cancel(reason)
        self.abandon_wait()
        dispatcher = self.session.dispatcher
        if reason == 'deadline' and dispatcher.is_uninterruptible(self.caller, self._handle):
            self._respond(CallCancelledError())

    def abandon_wait(self) -> None:
        """End the wait of a parked call."""
        abandon = self._abandon
        if abandon is not None:
            abandon()

    def abandon_if_cancelled(self) -> None:
        """End the wait if the call was cancelled before :meth:`park`."""
        if self.caller.cancel_token.is_cancelled:
            self.abandon_wait()

    def wait_for_mailbox(self, job: Job) -> None:
        """Run a job as soon as the mailbox lets the call run."""
        call, dispatcher = self.caller.call, self.session.dispatcher
        try:
            mailbox = dispatcher.mailbox_for(self.caller, self._handle, self._method or '')
            if mailbox is None or call is None:
                self.queue(job)
                return
            dispatcher.record_target(call, self._handle, self._method or '')

            def go() -> None:
                self._leave_mailbox = functools.partial(mailbox.leave, call)
                self.resume(CallState.IN_MAILBOX)

            def withdraw() -> None:
                if mailbox.withdraw(call):
                    self.resume(CallState.IN_MAILBOX)

            self.park(CallState.IN_MAILBOX, job, withdraw)
            if mailbox.enter(call, go):
                go()
            else:
                self.abandon_if_cancelled()
        except BaseException as error:  # a handle that is gone, or a deadlock
            self.fail(error)

    def leave_mailbox(self) -> None:
        """Let the next call of the mailbox run."""
        leave, self._leave_mailbox = self._leave_mailbox, None
        if leave is not None:
            leave()

    def run_coroutine(self, coroutine: Any, finish: Callable[[Any], None]) -> None:
        """Run a coroutine without a thread that waits for it.

        :param finish: is called with its result.
        """

        def end(task: asyncio.Task[Any]) -> None:
            self.state = _RUNNING
            try:
                if task.cancelled():
                    self.caller.cancel_token.raise_if_cancelled()
                value = task.result()
            except BaseException as error:  # also SystemExit: the caller is to see it
                self.fail(error)
            else:
                finish(value)

        try:
            self.start_task(coroutine, end, is_cancellable=True)
        except BaseException as error:  # no thread can be started
            self.fail(error)

    def start_task(
        self, coroutine: Any, end: Callable[[asyncio.Task[Any]], None], is_cancellable: bool
    ) -> None:
        """Park the call until a coroutine has ended, then call ``end(task)``.

        :raises RuntimeError: when no thread can be started.
        """
        ended: list[asyncio.Task[Any]] = []

        def done(task: asyncio.Task[Any]) -> None:
            ended.append(task)
            self.resume(CallState.AWAITING)

        task = LoopTask(self.session.dispatcher.loop, coroutine, done)
        self.park(
            CallState.AWAITING, lambda: end(ended[0]), task.cancel if is_cancellable else None
        )
        run_in(self.caller.call, task.start)
        self.abandon_if_cancelled()

    # --- ending ------------------------------------------------------------------------------

    def end(self, response: pb.SessionResponse | bytes) -> None:
        """End the call with a response."""
        self.release()
        self.session.end(self.number, response)

    def fail(self, error: BaseException) -> None:
        """End the call with an error, in the way of its reply."""
        self.reply.fail(self, error)

    def end_with_error(self, error: BaseException) -> None:
        """End the call with an error as its response."""
        unread, memory = self._unread, self.caller.memory
        if unread is not None and memory is not None:
            self._unread = None
            memory.ignore(messages.list_memories(unread))
        self.release()
        self._respond(error)

    def break_off(self, error: BaseException) -> None:
        """Answer a call that an error in this module has left unanswered.

        Such an error comes to a thread from outside (``PyThreadState_SetAsyncExc``), or from memory
        that has run out.
        """
        log.error('a call could not be answered', exc_info=error)
        if self.session.is_open(self.number):
            message = f'the actor could not answer the call: {type(error).__name__}'
            self.end_with_error(UActorException(message))

    def release(self) -> None:
        """Give up the call's place in the mailbox and in the gate."""
        self.state = _ENDED
        if self._job is not None:
            self._job = self._abandon = None
        if self._timer is not None:
            self._timer.cancel()
        if self._leave_mailbox is not None:
            self.leave_mailbox()
        leave_gate, self._leave_gate = self._leave_gate, None
        if leave_gate is not None:
            leave_gate()

    def _respond(self, error: BaseException) -> None:
        response = pb.SessionResponse(id=self.number)
        try:
            self.session.responder.fail(self.caller, self.accepts_pickles, response, error)
        except CallCancelledError:
            self.session.forget(self.number)
        else:
            self.session.end(self.number, response)


class SingleReply:
    """Sends a result by itself, as the response of its call."""

    def take(self, call: HostCall, result: Any, typeid: str) -> None:
        """See :class:`Reply`."""
        if type(result) in FINISHED:
            self.finish(call, result, typeid)
        elif type(result) is CoroutineType:
            call.run_coroutine(result, lambda value: self.finish(call, value, typeid))
        else:
            if is_unfinished(result):
                loop = call.session.dispatcher.loop
                result = loop.finish(result, call.caller.cancel_token)
            self.finish(call, result, typeid)

    def finish(self, call: HostCall, result: Any, typeid: str) -> None:
        """Send a result that needs the event loop no more."""
        caller, session = call.caller, call.session
        caller.stage = 'done'
        try:
            response = session.responder.encode(
                caller, call.number, result, typeid, call.accepts_pickles
            )
        except BaseException as error:  # also SystemExit, of the user's __reduce__
            call.fail(error)
        else:  # as HostCall.end(), for each call
            if caller.unconfirmed is not None:
                undo, caller.unconfirmed = caller.unconfirmed, None
                response = session.revocable.add(call.number, undo, response)
            call.release()
            session.end(call.number, response)

    def fail(self, call: HostCall, error: BaseException) -> None:
        """See :class:`Reply`."""
        call.end_with_error(error)


class ResponseReply(SingleReply):
    """Sends the response that the operation of a call has made."""

    def take(
        self,
        call: HostCall,
        result: Any,
        typeid: str,  # noqa: ARG002  # named by the protocol
    ) -> None:
        """Send the response."""
        call.end(result)


SINGLE = SingleReply()
RESPONSE = ResponseReply()
