"""The calls of a pipelined session, from when they come until they are answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import Callable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from uactor.codec import messages
from uactor.codec.fastpath import Arguments
from uactor.core.current_call import run_in
from uactor.errors import ActorUnreachableError, UActorException
from uactor.host.arguments import InvalidArgument
from uactor.host.cancellation import Interrupted, Reason
from uactor.host.execution.event_loop import FINISHED, is_unfinished
from uactor.host.refusal import NO_THREADS
from uactor.host.sessions.responder import accepts_pickle, begin_call, context_of
from uactor.runtime.timers import Timer, timers
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.host.sessions.pipeline import HostPipeline


log = logging.getLogger('uactor.host')


class HostCall:
    """A request of a pipelined session that is under way."""

    _invalid: InvalidArgument | None = None
    _timer: Timer | None = None

    def __init__(self, pipeline: HostPipeline, request: pb.SessionRequest, kind: str) -> None:
        self._pipeline = pipeline
        self._request = request
        self._kind = kind
        self._number = request.id
        self._handle: str = getattr(getattr(request, kind), 'handle', '')
        self._pickles = accepts_pickle(request)
        self.caller = pipeline.caller.derive()
        try:
            begin_call(self.caller, context_of(request, kind))
        except InvalidArgument as error:
            self._invalid = error

    def enter(self) -> None:
        """Have it run when it is its turn."""
        call = self.caller.call
        if self._invalid is not None:
            self._fail(self._invalid)
            return
        if call is not None and call.expires is not None:
            try:
                self._timer = timers.at(call.expires, lambda: self.give_up('deadline'))
            except RuntimeError:
                self._fail(ActorUnreachableError(NO_THREADS))
                return
        self._begin()

    def _begin(self) -> None:
        self._queue(self.run)

    def _queue(self, job: Callable[[], None]) -> None:
        try:
            self._pipeline.run(self, job)
        except RuntimeError:
            self._end()
            HostCall._fail(self, ActorUnreachableError(NO_THREADS))

    def _end(self) -> None:
        """Note that it does not go on."""
        if self._timer is not None:
            self._timer.cancel()

    def run(self) -> None:
        """Run, on a worker."""
        try:
            response = self._pipeline.answers.answer(self.caller, self._request, self._kind)
        except Interrupted as error:
            self._fail(error)
        else:
            self._end()
            self._pipeline.end(self._number, response)

    def give_up(self, reason: Reason) -> None:
        """Let it end, since nobody waits for it. Any thread may."""
        self.caller.cancel_token.cancel(reason)
        self._abandon_once()
        dispatcher = self._pipeline.host.dispatcher
        if reason == 'deadline' and dispatcher.is_deaf(self.caller, self._handle):
            self._tell(Interrupted())

    def _abandon_once(self) -> None:
        """End a wait without a thread, if it is in one."""

    def break_off(self, error: BaseException) -> None:
        """Answer a call that has not been answered because of an error in this module's own code.

        Such an error comes to a thread from outside (``PyThreadState_SetAsyncExc``), or from memory
        that has run out.
        """
        log.error('a call could not be answered', exc_info=error)
        if self._number in self._pipeline.calls:
            self._end()
            told = f'the actor could not answer the call: {type(error).__name__}'
            HostCall._fail(self, UActorException(told))

    def _fail(self, error: BaseException) -> None:
        self._end()
        self._tell(error)

    def _tell(self, error: BaseException) -> None:
        response = pb.SessionResponse(id=self._number)
        try:
            self._pipeline.answers.fail(self.caller, self._pickles, response, error)
        except Interrupted:
            self._pipeline.forget(self._number)
        else:
            self._pipeline.end(self._number, response)


class MethodCall(HostCall):
    """A call of a method: may wait for its turn, and for a coroutine, without a thread."""

    _lock = threading.Lock()  # of all: it is held for moments
    # Most calls need none of these.
    _abandon: Callable[[], None] | None = None
    _leave: Callable[[], None] | None = None
    _over: Callable[[], None] | None = None
    _turns = 0
    _is_taken = False  # whether what has come beside the request has been looked at

    def __init__(self, pipeline: HostPipeline, request: pb.SessionRequest, kind: str) -> None:
        super().__init__(pipeline, request, kind)
        call = request.open_stream.call if kind == 'open_stream' else request.call
        self._handle, self._method, self._call = call.handle, call.method, call

    def _begin(self) -> None:
        self._take_turn(self.run)

    def _take_turn(self, job: Callable[[], None]) -> None:
        """Have ``job`` run on a worker as soon as the actor may run one of its methods more."""
        call, dispatcher = self.caller.call, self._pipeline.host.dispatcher
        try:
            mailbox = dispatcher.mailbox(self.caller, self._handle, self._method)
            if mailbox is None or call is None:
                self._queue(job)
                return
            dispatcher.note(call, self._handle, self._method)
            turn = self._turned()

            def go() -> None:
                self._turned()
                self._leave = functools.partial(mailbox.leave, call)
                self._queue(job)

            def withdraw() -> None:
                if mailbox.withdraw(call):
                    self._queue(job)  # which tells why

            if mailbox.enter(call, go):
                go()
            else:
                self._on_give_up(withdraw, turn)
        except BaseException as error:  # a handle that is gone, or a deadlock
            self._fail(error)

    def _turned(self) -> int:
        """Note that a wait begins or has ended, and return its number."""
        with self._lock:
            self._turns += 1
            self._abandon = None
            return self._turns

    def _on_give_up(self, abandon: Callable[[], None], turn: int) -> None:
        """Have ``abandon`` called if the call is given up.

        :param turn: number of the wait that it ends. Another thread may have ended it by now.
        """
        with self._lock:
            if turn != self._turns:
                return
            self._abandon = abandon
        if self.caller.cancel_token.is_cancelled:
            self._abandon_once()

    def _abandon_once(self) -> None:
        with self._lock:
            abandon, self._abandon = self._abandon, None
        if abandon is not None:
            abandon()

    def run(self) -> None:
        """See :class:`HostCall`."""
        dispatcher = self._pipeline.host.dispatcher
        try:
            self.caller.cancel_token.raise_if_cancelled()
            self._over = dispatcher.gate.enter()
            result, typeid = self._dispatched()
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._fail(error)
        else:
            self._go_on(result, typeid)

    def _dispatched(self) -> tuple[Any, str]:
        self._is_taken = True
        host = self._pipeline.host
        return host.requests.dispatch(self.caller, self._call, host.dispatcher.begin)

    def _go_on(self, result: Any, typeid: str) -> None:
        if isinstance(result, CoroutineType):
            self._await(result, lambda value: self._finish(value, typeid))
        elif not is_unfinished(result):
            self._finish(result, typeid)
        else:
            loop = self._pipeline.host.dispatcher.loop
            self._finish(loop.finished(result, self.caller.cancel_token), typeid)

    def _await(self, coroutine: Any, finish: Callable[[Any], None]) -> None:
        """Go on when a coroutine has ended, without a thread that waits for it."""
        loop = self._pipeline.host.dispatcher.loop
        turn = self._turned()

        def done(task: asyncio.Task[Any]) -> None:
            self._queue(lambda: self._awaited(task, finish))

        try:
            cancel = run_in(self.caller.call, loop.start, coroutine, done)
        except BaseException as error:  # no thread to be had
            coroutine.close()
            self._fail(error)
        else:
            self._on_give_up(cancel, turn)

    def _awaited(self, task: asyncio.Task[Any], finish: Callable[[Any], None]) -> None:
        self._turned()
        try:
            if task.cancelled():
                self.caller.cancel_token.raise_if_cancelled()
            value = task.result()
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._fail(error)
        else:
            finish(value)

    def _finish(self, result: Any, typeid: str) -> None:
        self.caller.stage = 'done'
        answers = self._pipeline.answers
        try:
            response = answers.encode(self.caller, self._number, result, typeid, self._pickles)
        except BaseException as error:  # also SystemExit, of the user's __reduce__
            self._fail(error)
        else:
            self._end()
            self._pipeline.end(self._number, response)

    def _fail(self, error: BaseException) -> None:
        memory = self.caller.memory
        if memory is not None and not self._is_taken:
            memory.ignore(messages.memories(self._request))
        super()._fail(error)

    def _end(self) -> None:
        super()._end()
        self._leave_turn()
        over, self._over = self._over, None
        if over is not None:
            over()

    def _leave_turn(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class PlainCall(MethodCall):
    """A call by a usual message; see :mod:`uactor.codec.fastpath`."""

    _pickles = True
    _is_taken = True  # nothing comes beside it

    def __init__(
        self,
        pipeline: HostPipeline,
        number: int,
        handle: str,
        method: str,
        arguments: Arguments,
    ) -> None:
        self._pipeline = pipeline
        self._number, self._handle, self._method = number, handle, method
        self._arguments: Any = arguments
        self.caller = pipeline.caller.derive()
        self.caller.begin_call()

    def enter(self) -> None:
        """See :class:`HostCall`."""
        if self._pipeline.host.dispatcher.has_mailbox:
            super().enter()
        else:
            self._queue(self.run)

    def run(self) -> None:
        """See :class:`HostCall`. In one piece, since most calls are like this."""
        pipeline, caller = self._pipeline, self.caller
        host = pipeline.host
        try:
            caller.cancel_token.raise_if_cancelled()
            self._over = host.dispatcher.gate.enter()
            result, typeid = host.requests.run(
                *(caller, self._handle, self._method, self._arguments), host.dispatcher.begin
            )
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._fail(error)
        else:
            if type(result) in FINISHED:
                self._finish(result, typeid)
            else:
                self._go_on(result, typeid)
