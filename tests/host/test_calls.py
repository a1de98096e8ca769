"""The states of a call of a pipelined session, and that each call ends once."""

from __future__ import annotations

import asyncio
import functools
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NoReturn

import pytest
from google.protobuf.duration_pb2 import Duration

from uactor.codec.arguments import pickle_plain
from uactor.host.callers import Caller
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler
from uactor.host.sessions.calls import SINGLE, TRANSITIONS, CallState, HostCall, Job
from uactor.host.sessions.responder import Responder
from uactor.host.sessions.revocable import RevocableResults
from uactor.host.sessions.streams import StreamReply
from uactor.v1 import actor_pb2 as pb

METHODS = ['note', 'fails', 'later', 'waits', 'count', 'count_later']


class Noted:
    """What the calls of these tests run."""

    def __init__(self) -> None:
        self.noted: list[int] = []
        self.begun = threading.Event()

    def note(self, number: int) -> int:
        self.noted.append(number)
        return number

    def fails(self, number: int) -> int:
        raise LookupError(number)

    async def later(self, number: int) -> int:
        return number

    async def waits(self, number: int) -> int:
        self.begun.set()
        await asyncio.Event().wait()
        return number

    def count(self, number: int) -> Iterator[int]:
        yield from range(number)

    async def count_later(self, number: int) -> AsyncIterator[int]:
        for item in range(number):
            yield item


class ContextOfTest:
    """As much of :class:`uactor.host.context.HostContext` as calls need."""

    def __init__(self, concurrency: int | None) -> None:
        self.max_message_size = -1
        self.table = ObjectTable(lambda value, typeid: (frozenset(METHODS), {}))
        self.dispatcher = Dispatcher(self.table, Locks(), concurrency)
        self.requests = RequestHandler(
            *(self.dispatcher, self.table, 'unix:/none', str, 'cloudpickle'),
            *(lambda handle: handle, lambda typeid: object, tuple),
        )
        self.instance = Noted()
        self.table.set_actor(self.instance)


class Session:
    """A :class:`~uactor.host.sessions.calls.CallSession` without threads: its jobs wait."""

    def __init__(self, concurrency: int | None = None) -> None:
        context: Any = ContextOfTest(concurrency)
        self.actor: Noted = context.instance
        self.caller = Caller(validated=True)
        self.dispatcher = context.dispatcher
        self.requests = context.requests
        self.responder = Responder(context, True)
        self.revocable = RevocableResults()
        self.jobs: queue.SimpleQueue[tuple[HostCall, Job]] = queue.SimpleQueue()
        self.responses: dict[int, list[pb.SessionResponse]] = {}
        self.open: set[int] = set()
        self.late: list[int] = []  # which have been answered at their deadline
        self.has_threads = True

    def run(self, call: HostCall, job: Job) -> None:
        if not self.has_threads:
            raise RuntimeError("can't start new thread")
        self.jobs.put((call, job))

    def is_open(self, number: int) -> bool:
        return number in self.open

    def send(self, number: int, response: pb.SessionResponse | bytes) -> None:
        if isinstance(response, bytes):
            response = pb.SessionResponse.FromString(response)
        self.responses.setdefault(number, []).append(response)

    def end(self, number: int, response: pb.SessionResponse | bytes) -> None:
        if number in self.open:
            self.open.discard(number)
            self.send(number, response)
        else:
            self.late.append(number)

    def forget(self, number: int) -> None:
        self.open.discard(number)

    def step(self) -> None:
        """Run the next job; wait for it, since the event loop is a thread."""
        _, job = self.jobs.get(timeout=20)
        job()

    def finish(self, call: HostCall) -> pb.SessionResponse:
        """Run jobs until a call has ended; return its last response."""
        while call.number in self.open:
            self.step()
        assert call.state is CallState.ENDED
        assert not self.dispatcher.gate.running
        return self.responses[call.number][-1]


class WatchedCall(HostCall):
    """A call whose transitions are checked."""

    _state = CallState.NEW
    seen: set[tuple[CallState, CallState]] = set()

    @property
    def state(self) -> CallState:
        return self._state

    @state.setter
    def state(self, state: CallState) -> None:
        if state is not self._state:
            assert state in TRANSITIONS[self._state], f'{self._state} to {state}'
            self.seen.add((self._state, state))
            self._state = state


def fast_call(session: Session, number: int, method: str = 'note') -> HostCall:
    session.open.add(number)
    return WatchedCall.of_fast_request(session, number, '', method, (number,))


def request_call(session: Session, number: int, context: pb.CallContext) -> HostCall:
    session.open.add(number)
    asked = pb.CallRequest(method='note', arguments=pickle_call(number), context=context)
    request = pb.SessionRequest(id=number, call=asked)
    return WatchedCall.of_method(session, request, 'call', SINGLE)


def stream_call(session: Session, method: str, count: int, credit: int) -> HostCall:
    session.open.add(1)
    asked = pb.CallRequest(method=method, arguments=pickle_call(count), accept_pickle=True)
    opening = pb.OpenStreamRequest(call=asked, credit=credit)
    request = pb.SessionRequest(id=1, open_stream=opening)
    return WatchedCall.of_method(session, request, 'open_stream', StreamReply(credit, ''))


def pickle_call(number: int) -> pb.Pickle:
    return pb.Pickle(data=pickle_plain([(number,), {}]))


def grant(call: HostCall, items: int) -> None:
    assert isinstance(call.reply, StreamReply)
    call.reply.grant(call, items)


def items_of(session: Session) -> list[int]:
    return [response.item.int64 for response in session.responses[1] if response.HasField('item')]


# --- each way of a call --------------------------------------------------------------------------


def returns() -> None:
    session = Session()
    call = fast_call(session, 7)
    call.enter()
    assert session.finish(call).result.int64 == 7


def raises() -> None:
    session = Session()
    call = fast_call(session, 7, 'fails')
    call.enter()
    assert session.finish(call).failure.type_name == 'LookupError'


def finds_no_thread() -> None:
    session = Session()
    session.has_threads = False
    call = fast_call(session, 7)
    call.enter()
    assert 'no more threads' in session.finish(call).failure.message


def has_no_meaning() -> None:
    session = Session()
    call = request_call(session, 7, pb.CallContext(timeout=Duration(nanos=-5, seconds=5)))
    call.enter()
    assert session.finish(call).failure.type_name == 'ValueError'
    assert session.actor.noted == []


def is_too_late() -> None:
    session = Session()
    call = request_call(session, 7, pb.CallContext(timeout=Duration()))
    call.enter()
    assert 'deadline' in session.finish(call).failure.message
    assert session.actor.noted == []


def awaits() -> None:
    session = Session()
    call = fast_call(session, 7, 'later')
    call.enter()
    assert session.finish(call).result.int64 == 7


def is_cancelled_while_it_awaits() -> None:
    session = Session()
    call = fast_call(session, 7, 'waits')
    call.enter()
    session.step()
    assert session.actor.begun.wait(20)
    assert call.state is CallState.AWAITING
    call.give_up('cancelled')
    assert 'CancelledError' in session.finish(call).failure.type_name


def finds_no_thread_for_its_coroutine() -> None:
    session = Session()
    call = fast_call(session, 7, 'later')
    call.enter()

    def refuse() -> NoReturn:
        raise RuntimeError("can't start new thread")

    session.dispatcher.loop.ensure_running = refuse
    assert "can't start new thread" in session.finish(call).failure.message


def waits_in_the_mailbox() -> None:
    session = Session(concurrency=1)
    first, second = fast_call(session, 1), fast_call(session, 2)
    first.enter()
    second.enter()
    assert (first.state, second.state) == (CallState.QUEUED, CallState.IN_MAILBOX)
    session.finish(first)
    assert session.finish(second).result.int64 == 2
    assert session.actor.noted == [1, 2]


def is_cancelled_in_the_mailbox() -> None:
    session = Session(concurrency=1)
    first, second = fast_call(session, 1), fast_call(session, 2)
    first.enter()
    second.enter()
    second.give_up('cancelled')
    session.finish(first)
    session.finish(second)
    assert session.actor.noted == [1]


def would_wait_for_ever() -> None:
    session = Session(concurrency=1)
    first, second = fast_call(session, 1), fast_call(session, 2)
    first.enter()
    running = first.caller.call
    assert running is not None
    second.caller.begin_call([f'{running.ident} Noted.note'])
    second.enter()
    assert 'DeadlockError' in session.finish(second).failure.type_name
    session.finish(first)


def streams(method: str, concurrency: int | None) -> None:
    session = Session(concurrency)
    call = stream_call(session, method, 200, 150)
    call.enter()
    while call.state is not CallState.OUT_OF_CREDIT:
        session.step()
    assert items_of(session) == [*range(150)]
    grant(call, 100)
    assert session.finish(call).HasField('end')
    assert items_of(session) == [*range(200)]


def is_cancelled_without_credit(method: str, concurrency: int | None) -> None:
    session = Session(concurrency)
    call = stream_call(session, method, 200, 1)
    call.enter()
    while call.state is not CallState.OUT_OF_CREDIT:
        session.step()
    call.give_up('cancelled')
    grant(call, 10)  # too late
    assert 'CancelledError' in session.finish(call).failure.type_name
    assert items_of(session) == [0]


WAYS: list[Callable[[], None]] = [
    *(returns, raises, finds_no_thread, has_no_meaning, is_too_late),
    *(awaits, is_cancelled_while_it_awaits, finds_no_thread_for_its_coroutine),
    *(waits_in_the_mailbox, is_cancelled_in_the_mailbox, would_wait_for_ever),
    *(
        functools.partial(way, method, concurrency)
        for way in (streams, is_cancelled_without_credit)
        for method in ('count', 'count_later')
        for concurrency in (None, 1)
    ),
]


def test_calls_go_all_ways_of_the_table_and_no_other() -> None:
    """R1: whatever becomes of a call, it ends once, and gives back what it has of the actor."""
    WatchedCall.seen.clear()
    for way in WAYS:
        way()
    table = {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}
    assert WatchedCall.seen == table


@pytest.mark.parametrize('concurrency', [None, 1])
@pytest.mark.parametrize('method', ['note', 'later', 'count', 'count_later'])
def test_a_call_that_is_cancelled_at_any_step_ends_once(
    method: str, concurrency: int | None
) -> None:
    """R1: before it begins, between its steps, in its waits."""
    for steps in range(8):
        session = Session(concurrency)
        if method.startswith('count'):
            call = stream_call(session, method, 100, 1000)
        else:
            call = fast_call(session, 1, method)
        if not steps:
            call.give_up('cancelled')
        call.enter()
        for _ in range(steps):
            if call.number not in session.open:
                break
            session.step()
        call.give_up('cancelled')
        session.finish(call)
        assert session.jobs.empty()
        assert session.late == []


def test_a_call_that_is_answered_at_its_deadline_sends_nothing_afterwards() -> None:
    """R1: the method of a user can't be ended, and its result comes too late."""
    session = Session()
    call = fast_call(session, 1)

    def give_up() -> tuple[None, str]:
        call.give_up('deadline')
        return None, ''

    call.operation = give_up
    call.caller.stage = 'running'
    call.enter()
    session.step()
    assert 'deadline' in session.responses[1][0].failure.message
    assert len(session.responses[1]) == 1
    assert session.late == [1]
    assert call.state is CallState.ENDED


def test_the_states_lead_to_the_end() -> None:
    assert set(TRANSITIONS) == set(CallState)
    reached, todo = {CallState.NEW}, [CallState.NEW]
    while todo:
        following = TRANSITIONS[todo.pop()] - reached
        reached |= following
        todo += following
    assert reached == set(CallState)
    assert [state for state in CallState if not TRANSITIONS[state]] == [CallState.ENDED]
