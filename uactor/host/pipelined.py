"""The calls of a pipelined session, from when they come until they are answered."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from uactor import values
from uactor.calls import run_in, running
from uactor.errors import ActorUnreachableError, UActorException
from uactor.host.answers import accepts_pickle, asks, context_of
from uactor.host.arguments import InvalidArgument
from uactor.host.dispatcher import Gate
from uactor.host.exchange import NO_KEYWORDS
from uactor.host.loop import FINISHED, closing, is_unfinished
from uactor.host.threads import NO_THREADS
from uactor.host.waiting import Interrupted, Reason
from uactor.timers import Timer, timers
from uactor.usual import Arguments
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.host.leader import Lead
    from uactor.host.pipeline import Pipeline

log = logging.getLogger('uactor.host')

_TURN = 64
"""How many items a stream sends before other calls have their turn on its thread."""


class Call:
    """A request of a pipelined session that is under way."""

    _invalid: InvalidArgument | None = None
    _timer: Timer | None = None

    def __init__(self, pipeline: Pipeline, request: pb.SessionRequest, kind: str) -> None:
        self._pipeline = pipeline
        self._request = request
        self._kind = kind
        self._number = request.id
        self._handle: str = getattr(getattr(request, kind), 'handle', '')
        self._pickles = accepts_pickle(request)
        self.caller = pipeline.caller.part()
        try:
            asks(self.caller, context_of(request, kind))
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
            Call._fail(self, ActorUnreachableError(NO_THREADS))

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
        self.caller.interrupt.fire(reason)
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
            Call._fail(self, UActorException(told))

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


class MethodCall(Call):
    """A call of a method: may wait for its turn, and for a coroutine, without a thread."""

    _lock = threading.Lock()  # of all: it is held for moments
    # Most calls need none of these.
    _abandon: Callable[[], None] | None = None
    _leave: Callable[[], None] | None = None
    _over: Callable[[], None] | None = None
    _turns = 0
    _is_taken = False  # whether what has come beside the request has been looked at

    def __init__(self, pipeline: Pipeline, request: pb.SessionRequest, kind: str) -> None:
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
        if self.caller.interrupt.fired:
            self._abandon_once()

    def _abandon_once(self) -> None:
        with self._lock:
            abandon, self._abandon = self._abandon, None
        if abandon is not None:
            abandon()

    def run(self) -> None:
        """See :class:`Call`."""
        dispatcher = self._pipeline.host.dispatcher
        try:
            self.caller.interrupt.check()
            self._over = dispatcher.gate.enter()
            result, typeid = self._dispatched()
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._fail(error)
        else:
            self._go_on(result, typeid)

    def _dispatched(self) -> tuple[Any, str]:
        self._is_taken = True
        host = self._pipeline.host
        return host.exchange.dispatch(self.caller, self._call, host.dispatcher.begin)

    def _go_on(self, result: Any, typeid: str) -> None:
        if isinstance(result, CoroutineType):
            self._await(result, lambda value: self._finish(value, typeid))
        elif not is_unfinished(result):
            self._finish(result, typeid)
        else:
            loop = self._pipeline.host.dispatcher.loop
            self._finish(loop.finished(result, self.caller.interrupt), typeid)

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
                self.caller.interrupt.check()
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
            memory.ignore(values.memories(self._request))
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


class UsualCall(MethodCall):
    """A call by a usual message; see :mod:`uactor.usual`."""

    _pickles = True
    _is_taken = True  # nothing comes beside it

    def __init__(
        self,
        pipeline: Pipeline,
        number: int,
        handle: str,
        method: str,
        arguments: Arguments,
    ) -> None:
        self._pipeline = pipeline
        self._number, self._handle, self._method = number, handle, method
        self._arguments: Any = arguments
        self.caller = pipeline.caller.part()
        self.caller.asks()

    def enter(self) -> None:
        """See :class:`Call`."""
        if self._pipeline.host.dispatcher.has_mailbox:
            super().enter()
        else:
            self._queue(self.run)

    def run(self) -> None:
        """See :class:`Call`. In one piece, since most calls are like this."""
        pipeline, caller = self._pipeline, self.caller
        host = pipeline.host
        try:
            caller.interrupt.check()
            self._over = host.dispatcher.gate.enter()
            result, typeid = host.exchange.run(
                *(caller, self._handle, self._method, self._arguments), host.dispatcher.begin
            )
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._fail(error)
        else:
            if type(result) in FINISHED:
                self._finish(result, typeid)
            else:
                self._go_on(result, typeid)


class Results:
    """Results of calls of a burst, one after the other.

    :ivar first: number of the first call.
    :ivar values: of those that have not been sent.
    :ivar ended: whether there will be no more.
    """

    __slots__ = ('burst', 'ended', 'first', 'values')

    def __init__(self, burst: Burst, first: int, *values: Any) -> None:
        self.burst = burst
        self.first = first
        self.values = [*values]
        self.ended = False

    def take(self) -> list[Any]:
        """Take out those that are there. One thread at a time does, while another one adds some."""
        taken = self.values[:]
        del self.values[: len(taken)]
        self.first += len(taken)
        return taken


class Burst:
    """Calls of one method that came together.

    :ivar calls: of those that have not begun, number and arguments, or why there are none. The
        thread that has the lead draws from it.
    :ivar left: whether there may be any.
    """

    __slots__ = ('calls', 'handle', 'left', 'method')

    def __init__(self, handle: str, method: str, calls: enumerate[Any]) -> None:
        self.handle = handle
        self.method = method
        self.calls = calls
        self.left = True


class BurstCall(UsualCall):
    """A call of a burst, or one after the other; see :meth:`run_on`.

    :param arguments: of the call, or why there are none.
    """

    def __init__(
        self, pipeline: Pipeline, burst: Burst, number: int = 0, arguments: Any = ()
    ) -> None:
        super().__init__(pipeline, number, burst.handle, burst.method, arguments)
        self._burst = burst
        self._results: Results | None = None

    def run(self) -> None:
        """See :class:`Call`."""
        if isinstance(self._arguments, Exception):
            self._fail(self._arguments)
        else:
            super().run()

    def run_on(self, lead: Lead) -> None:
        """Be one call after the other, until one goes on, or fails, or another thread leads.

        In one piece: there are many of them.

        :param lead: this thread has it, and draws calls; while each runs, it is on offer. It is
            when this returns, too.
        """
        pipeline, caller, interrupt = self._pipeline, self.caller, self.caller.interrupt
        calls, answers, dispatcher = pipeline.calls, pipeline.answers, pipeline.host.dispatcher
        begin, gate, brief = dispatcher.begin, dispatcher.gate, answers.brief
        burst, handle, method = self._burst, self._handle, self._method
        results, following, typeid = Results(burst, -1), -1, ''
        offer, take, cancelled = lead.offer, lead.take, pipeline.cancelled
        running.set(caller.call)
        shared = dispatcher.plain(caller, handle, method)
        for number, arguments in burst.calls:
            self._number, calls[number] = number, self
            offer(number)
            try:
                if cancelled and number in cancelled:
                    interrupt.fire('cancelled')
                if interrupt.fired or gate.closed or isinstance(arguments, Exception):
                    raise self._refusal(arguments, gate)
                if shared is not None:
                    caller.stage = 'running'
                    result = getattr(shared, method)(*arguments)
                else:
                    caller.stage = 'asked'
                    result, typeid = begin(caller, handle, method, arguments, NO_KEYWORDS)
            except BaseException as error:  # also SystemExit: it is the caller's to see
                self._fail(error)
                return
            is_brief = type(result) in brief or answers.is_brief(result)
            if typeid or interrupt.fired or caller.undo or not is_brief:
                self._over = gate.count()
                self._go_on(result, typeid)
                return
            if calls.pop(number, None) is not None:
                if number != following:  # the first one, or another thread has had that before
                    self.end_results()
                    self._results = results = pipeline.results_from(burst, number)
                results.values.append(result)
                following = number + 1
            try:
                take()
            except IndexError:  # another thread leads
                return
            if pipeline.is_look_due:
                offer(0)
                return
        burst.left = False
        offer(0)

    def end_results(self) -> None:
        """Have no more results go with those that there are."""
        if self._results is not None:
            self._results.ended = True

    def _refusal(self, arguments: Any, gate: Gate) -> BaseException:
        """Return why a call does not run."""
        self.caller.stage = 'asked'
        if self.caller.interrupt.fired:
            return Interrupted()
        return gate.refusal() if gate.closed else arguments

    def _finish(self, result: Any, typeid: str) -> None:
        pipeline = self._pipeline
        if typeid or not self.caller.is_waiting or not pipeline.answers.is_brief(result):
            super()._finish(result, typeid)
            return
        self._end()
        pipeline.end_with_scalar(self._burst, self._number, result)


class StreamCall(MethodCall):
    """A call whose result is iterated over, as far as the client has granted items."""

    def __init__(self, pipeline: Pipeline, request: pb.SessionRequest, kind: str) -> None:
        super().__init__(pipeline, request, kind)
        self._credit = request.open_stream.credit
        self._waits = False
        self._items: Any = None
        self._asynchronous = False
        self._typeid = ''

    def grant(self, items: int) -> None:
        """Let more items be sent."""
        with self._lock:
            self._credit += items
            waited, self._waits = self._waits, False
        if waited:
            self._turned()
            self._take_turn(self._step)

    def _wait(self) -> bool:
        """Wait for credit, if there is none, without a thread; tell whether it does."""
        if self._credit or self.caller.interrupt.fired:
            return False
        self._leave_turn()  # before another thread may take the next one
        turn = self._turned()
        with self._lock:
            self._waits = not self._credit
            waits = self._waits
        if waits:
            self._on_give_up(self._end_waiting, turn)
        else:
            self._take_turn(self._step)
        return True

    def _end_waiting(self) -> None:
        with self._lock:
            waited, self._waits = self._waits, False
        if waited:
            self._queue(self._step)

    def _go_on(self, result: Any, typeid: str) -> None:
        # What the call is to return is each item, not the iterator.
        self._typeid = self._call.typeid
        if isinstance(result, CoroutineType):
            self._await(result, lambda value: self._go_on(value, typeid))
            return
        self._asynchronous = isinstance(result, AsyncIterator)
        try:
            self._items = result if self._asynchronous else iter(result)
        except BaseException as error:  # it is no iterable, or its __iter__ raises
            self._fail(error)
        else:
            self._step()

    def _step(self) -> None:
        """Send items, in one turn of a worker or the next."""
        self.caller.stage = 'running'
        if self._asynchronous:
            self._step_asynchronously()
            return
        for _ in range(_TURN):
            if self._wait():
                return
            try:
                self.caller.interrupt.check()
                item = run_in(self.caller.call, next, self._items, _END)
                if item is _END:
                    self._close(None)
                    return
                self._send(item)
            except BaseException as error:  # also SystemExit: it is the caller's to see
                self._close(error)
                return
        self._again()

    def _step_asynchronously(self) -> None:
        if not self._wait():
            self._await(self._some(), lambda ended: self._close(None) if ended else self._again())

    def _again(self) -> None:
        self._leave_turn()
        self._take_turn(self._step)

    async def _some(self) -> bool:
        """Send the items that are granted; tell whether there are no more. On the loop."""
        while self._credit:
            item = await anext(self._items, _END)
            if item is _END:
                return True
            self._send(item)
        return False

    def _send(self, item: Any) -> None:
        with self._lock:
            self._credit -= 1
        pipeline, number = self._pipeline, self._number
        response = pipeline.answers.encode(
            *(self.caller, number, item, self._typeid, self._pickles), is_item=True
        )
        pipeline.send(number, response)

    def _close(self, error: BaseException | None) -> None:
        """Close the iterator, and then end."""
        if self._asynchronous:
            loop = self._pipeline.host.dispatcher.loop
            run_in(
                self.caller.call,
                loop.start,
                closing(self._items),
                lambda task: self._queue(lambda: self._closed(task, error)),
            )
            return
        try:
            close = getattr(self._items, 'close', None)
            if close is not None:
                run_in(self.caller.call, close)
        except BaseException as broken:  # the generator's own, also SystemExit
            error = broken if error is None or isinstance(error, Interrupted) else error
        self._ended(error)

    def _closed(self, task: asyncio.Task[None], error: BaseException | None) -> None:
        if error is None and not task.cancelled():
            error = task.exception()
        self._ended(error)

    def _ended(self, error: BaseException | None) -> None:
        if error is None:
            self.caller.stage = 'done'
            self._end()
            ended = pb.SessionResponse(id=self._number, end=pb.StreamEnd())
            self._pipeline.end(self._number, ended)
        else:
            super()._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Close what has been begun, before telling of an error."""
        if self._items is None:
            super()._fail(error)
        else:
            self._close(error)


_END: Any = object()
KINDS: Mapping[str, type[Call]] = {'call': MethodCall, 'open_stream': StreamCall}
"""Which call a request is, by its kind; others are a plain one."""
