"""Only one thread reads a pipelined session, in whatever order threads run."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.interleavings import Scheduler, explore
from uactor.codec import arguments, fastpath
from uactor.host.callers import Caller
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.holders import of_client
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler
from uactor.host.sessions.leader import TRANSITIONS, Lead, LeadState, Reader
from uactor.host.sessions.pipeline import HostPipeline
from uactor.host.sessions.responder import Responder
from uactor.v1 import actor_pb2 as pb

STEPS = [
    *(('leader.py', name) for name in ('follow', 'take_back', 'is_of_this_thread', 'end', 'state')),
    *(('leader.py', name) for name in ('promote', 'can_run', 'run')),
    *(('pipeline.py', name) for name in ('_read', '_read_as', '_run_arrived', 'run')),
    *(('pipeline.py', name) for name in ('_is_free', '_enter_burst', '_run_burst', '_run_some')),
    ('bursts.py', 'run'),
]
"""The functions whose lines are steps."""


class Noted:
    """Notes its calls. Others run while one of them does."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.step: Callable[[], None] = lambda: None

    def note(self, number: int) -> int:
        """Begin, let others run, and end."""
        self.begun.append(number)
        self.step()
        return number


class ActorProcess:
    """As much of :class:`uactor.host.context.HostContext` as calls need."""

    def __init__(self) -> None:
        self.instance = Noted()
        self.max_message_size = -1
        self.table = ObjectTable(lambda value, typeid: (frozenset(['note']), {}))
        self.dispatcher = Dispatcher(self.table, Locks())
        self.requests = RequestHandler(
            *(self.dispatcher, self.table, 'unix:/none', str, 'cloudpickle'),
            *(lambda handle: handle, lambda typeid: object, tuple),
        )
        self.table.set_actor(self.instance)


@pytest.fixture(scope='module')
def host() -> Any:
    return ActorProcess()


class Wire:
    """What the client sends. Only one thread at a time may read it."""

    def __init__(self, scheduler: Scheduler, messages: list[bytes]) -> None:
        self._scheduler = scheduler
        self._messages = messages
        self._reading = False
        self.arrived = 1  # how many of them can be read

    def __iter__(self) -> Wire:
        return self

    def __next__(self) -> bytes:
        assert not self._reading, 'two threads read one session'
        self._reading = True
        self._scheduler.wait(lambda: self.arrived > 0)
        self._reading = False
        self.arrived -= 1
        if not self._messages:
            raise StopIteration
        return self._messages.pop(0)


class Lock:
    """A lock that is waited for in steps."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._locked = False

    def __enter__(self) -> None:
        self._scheduler.wait(lambda: not self._locked)
        self._locked = True

    def __exit__(self, *exception: object) -> None:
        self._locked = False


class OneWorker:
    """Runs jobs in their order, on a thread of the scheduler."""

    def __init__(self, scheduler: Scheduler, is_over: Callable[[], bool]) -> None:
        self._scheduler = scheduler
        self._is_over = is_over
        self.jobs: list[Callable[[], None]] = []

    def put(self, job: Callable[[], None]) -> None:
        self.jobs.append(job)

    @property
    def are_idle(self) -> bool:
        return not self.jobs

    def work(self) -> None:
        while True:
            self._scheduler.wait(lambda: bool(self.jobs) or self._is_over())
            if not self.jobs:
                return
            self.jobs.pop(0)()


def call(number: int) -> bytes:
    """Return the request of a call."""
    part = fastpath.encode_target('', 'note')
    return fastpath.encode_request(number, part, fastpath.encode_scalars((number,)))


def burst(first: int, count: int) -> bytes:
    """Return the request of calls that go together."""
    data = arguments.pickle_plain([(number,) for number in range(first, first + count)])
    asked = pb.CallAllRequest(method='note', arguments=pb.Pickle(data=data), count=count)
    return pb.SessionRequest(id=first, call_all=asked).SerializeToString()


class Session:
    """A pipelined session whose threads run as a scheduler says."""

    def __init__(self, host: Any, scheduler: Scheduler, messages: list[bytes]) -> None:
        self.sent: list[bytes] = []
        self.over = False
        self.scheduler = scheduler
        self.wire = Wire(scheduler, messages)
        self.pipeline = pipeline = HostPipeline(
            Caller(of_client('client'), 'client', validated=True),
            Responder(host, True),
            host,
            pb.SessionRequest.FromString,
            self.sent.append,  # type: ignore[arg-type]
        )
        self.workers = OneWorker(scheduler, lambda: self.over)
        changed: Any = pipeline
        changed.messages = self.wire
        changed.replies.gathering = Lock(scheduler)
        changed.workers = self.workers
        changed.leader.start_follower = self.start_follower
        changed.wake = self.end
        changed.leader.watch.is_watching = True  # as if: watch() of these tests does it
        changed.poll, changed.next_poll = self.poll, math.inf  # whatever the time is
        self.threads: Iterator[bool] = itertools.repeat(True)  # whether there is one to be had

    def start_follower(self) -> None:
        if not next(self.threads):
            raise RuntimeError("can't start new thread")
        self.scheduler.start(self.pipeline.leader.follow)

    def end(self) -> None:
        self.over = True

    def poll(self) -> None:
        self.pipeline.is_poll_due = False

    def numbers(self) -> list[int]:
        """Return which calls have been answered, in that order."""
        replies = self.pipeline.replies
        replies.gather()
        found = []
        messages: list[Any] = [*self.sent, *replies.messages()]
        for message in messages:
            for one in fastpath.split_coalesced(message, pb.SessionResponse.MORE_FIELD_NUMBER) or [
                message
            ]:
                result = fastpath.decode_result(one)
                if result is not None:
                    found.append(result[0])
                    continue
                response = pb.SessionResponse.FromString(one)
                results = (
                    pickle.loads(response.results.data) if response.HasField('results') else []
                )
                found += results or [response.id]
        return found


def run_session(
    host: Any,
    choices: list[int],
    messages: list[bytes],
    tries: int = 1,
    threads: Callable[[], Iterator[bool]] = lambda: itertools.repeat(True),
) -> Scheduler:
    """Have the calls of a session run, and be told that one does not come back soon."""
    scheduler = Scheduler(choices, STEPS)
    session = Session(host, scheduler, list(messages))
    session.threads = threads()
    actor, pipeline = host.instance, session.pipeline
    actor.begun, actor.step = [], scheduler.step
    expected = len(messages)

    def watch() -> None:
        """Find a call overdue, some times; only then does the client send the rest."""
        for _ in range(tries):
            scheduler.wait(lambda: bool(actor.begun))
            try:
                pipeline.leader.promote()
            except RuntimeError:
                continue
        session.wire.arrived += expected

    scheduler.start(pipeline.leader.follow)
    scheduler.start(watch)
    scheduler.start(session.workers.work)
    scheduler.run()
    calls = CALLS[: max(actor.begun)] if len(messages) == 1 else CALLS
    assert sorted(actor.begun) == calls, 'calls have not run, or twice'
    assert sorted(session.numbers()) == calls, 'calls have not been answered, or twice'
    assert is_ordered(actor.begun), 'calls have been drawn in another order'
    return scheduler


def is_ordered(numbers: list[int]) -> bool:
    """Return whether calls have been drawn in order: one of them may have begun late.

    Its thread has drawn it, and been interrupted before the method began.
    """
    left = ([*numbers[:place], *numbers[place + 1 :]] for place in range(len(numbers)))
    return any(others == sorted(others) for others in left)


CALLS = [1, 2, 3]
SINGLE = [call(number) for number in CALLS]
BURST = [burst(1, 2), call(3)]
KINDS = pytest.mark.parametrize('messages', [SINGLE, BURST], ids=['calls', 'burst'])


@KINDS
def test_one_thread_reads_in_some_interleavings_with_an_interruption(
    host: Any, messages: list[bytes]
) -> None:
    """R1, R3: whatever moment a call is found overdue at, and comes back at."""
    explore(lambda choices: run_session(host, choices, messages), 1, most=100)


@pytest.mark.full
@KINDS
def test_one_thread_reads_in_all_interleavings_with_an_interruption(
    host: Any, messages: list[bytes]
) -> None:
    """R1, R3: the same, and all of it."""
    assert explore(lambda choices: run_session(host, choices, messages), 1) > 500


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize('first', [call(1), burst(1, 1)], ids=['call', 'burst'])
def test_one_thread_reads_in_all_interleavings_with_two_interruptions(
    host: Any, first: bytes
) -> None:
    """R1, R3: the same, and more of it."""
    assert explore(lambda choices: run_session(host, choices, [first]), 2) > 5000


@pytest.mark.parametrize(
    'messages',
    [
        pytest.param(SINGLE, id='calls', marks=pytest.mark.full),
        pytest.param(
            BURST, id='burst', marks=pytest.mark.soak
        ),  # which takes a quarter of a minute
    ],
)
def test_a_session_is_read_on_when_there_is_no_thread_to_be_had_for_a_while(
    host: Any, messages: list[bytes]
) -> None:
    """R1: the lead stays on offer for the thread whose call comes back."""

    assert explore(lambda choices: run_when_threads_are_short(host, choices, messages), 1) > 500


@KINDS
def test_a_session_is_read_on_in_some_interleavings_when_there_is_no_thread_for_a_while(
    host: Any, messages: list[bytes]
) -> None:
    """R1: the same, some of it."""
    explore(lambda choices: run_when_threads_are_short(host, choices, messages), 1, most=100)


def run_when_threads_are_short(host: Any, choices: list[int], messages: list[bytes]) -> Scheduler:
    return run_session(host, choices, messages, 2, lambda: iter([False, True, True]))


def test_a_lead_is_offered_taken_and_ended_as_its_table_says() -> None:
    """R1: one thread at most has it."""
    lead = Lead()
    assert lead.state is LeadState.OFFERED
    reader = lead.follow()
    assert reader is not None
    assert lead.state is LeadState.HELD  # type: ignore[comparison-overlap]  # it changes
    assert lead.follow() is None
    assert lead.is_of_this_thread()
    lead.offer(7)
    lead.offer(7)  # twice is as good as once
    assert (lead.state, lead.part) == (LeadState.OFFERED, 7)
    assert lead.take_back(reader)
    assert (lead.state, lead.part) == (LeadState.HELD, -1)
    lead.offer(8)
    follower = lead.follow()
    assert follower is not None
    assert not lead.take_back(reader)
    assert not reader.leads
    lead.end()
    assert lead.state is LeadState.ENDED
    assert lead.follow() is None


def steps_of(thread: int, lead: Lead, readers: dict[int, Reader]) -> dict[str, Callable[[], None]]:
    """Return what a thread may do next with a lead."""
    mine = readers.get(thread)
    if mine is None:

        def follow() -> None:
            found = lead.follow()
            if found is not None:
                readers[thread] = found

        return {'follow': follow}
    if not mine.leads:
        return {}
    if lead.reader is mine and lead.state is LeadState.HELD:
        return {'offer': lambda: lead.offer(thread), 'end': lead.end}
    return {'take back': lambda: void(lead.take_back(mine))}


def void(value: object) -> None:
    """Do nothing with a value."""


def test_a_lead_that_has_ended_is_on_offer_no_more() -> None:
    lead = Lead()
    assert lead.follow() is not None
    lead.offer(1)
    lead.end()
    assert lead.state is LeadState.ENDED
    assert lead.follow() is None


def test_a_lead_goes_from_state_to_state_as_its_table_says() -> None:
    """R1: all sequences of what three threads do, up to ten steps."""
    seen: set[tuple[LeadState, LeadState]] = set()
    explored: set[Any] = set()

    def play(moves: tuple[tuple[int, str], ...]) -> None:
        lead, readers = Lead(), dict[int, Reader]()
        for thread, name in moves:
            before = lead.state
            steps_of(thread, lead, readers)[name]()
            if lead.state is not before:
                assert lead.state in TRANSITIONS[before]
                seen.add((before, lead.state))
        leading = [number for number, reader in readers.items() if reader.leads]
        current = [number for number, reader in readers.items() if lead.reader is reader]
        state = (
            *(lead.state, lead.part, tuple(leading), tuple(current)),
            tuple(sorted(readers)),
        )
        if state in explored or len(moves) == 10:
            return
        explored.add(state)
        possible = [
            (number, name) for number in range(3) for name in steps_of(number, lead, readers)
        ]
        if lead.state is not LeadState.ENDED:
            assert possible, 'nobody can read any more'
        for move in possible:
            play((*moves, move))

    play(())
    assert seen == {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}
