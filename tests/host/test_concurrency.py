"""Rule 3: the calls of one client thread run in order, those of different ones at the same time."""

from __future__ import annotations

import contextlib
import pickle
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

from tests.support import Actor, count_waiters, eventually
from tests.support.bench import Bench
from tests.support.peers import Peer
from uactor.v1 import actor_pb2 as pb

THREADS = 300
PROCESSES = 60


class Meeting(Actor):
    """Has one of each primitive that clients wait at, and tells how many do."""

    _method_to_typeid_ = {
        'barrier': 'Barrier',
        'condition': 'Condition',
        'rlock': 'RLock',
        'queue': 'Queue',
        'event': 'Event',
        'numbers': 'list',
    }

    def __init__(self) -> None:
        self._barriers: dict[int, threading.Barrier] = {}
        self._condition = threading.Condition()
        self._rlock = threading.RLock()
        self._queue: queue.Queue[int] = queue.Queue()
        self._event = threading.Event()
        self._numbers: list[int] = []

    def barrier(self, parties: int) -> threading.Barrier:
        return self._barriers.setdefault(parties, threading.Barrier(parties))

    def condition(self) -> threading.Condition:
        return self._condition

    def rlock(self) -> threading.RLock:
        return self._rlock

    def queue(self) -> queue.Queue[int]:
        return self._queue

    def event(self) -> threading.Event:
        return self._event

    def numbers(self) -> list[int]:
        return self._numbers

    def waiting(self) -> int:
        """Return how many wait anywhere."""
        primitives: list[Any] = [self._condition, self._queue.not_empty, self._event]
        barriers = self._barriers.values()
        return sum(map(count_waiters, primitives)) + sum(b.n_waiting for b in barriers)

    def host_thread(self) -> int:
        return threading.get_ident()

    def host_threads(self) -> int:
        return threading.active_count()

    def meet(self, parties: int) -> int:
        """Return when as many calls as that are under way."""
        return self.barrier(parties).wait(timeout=30)

    def append(self, number: int) -> None:
        self._numbers.append(number)


@pytest.fixture(scope='module')
def meeting() -> Iterator[Any]:
    with Meeting() as actor:
        yield actor


@pytest.fixture(scope='module')
def worker(meeting: Any) -> Iterator[Peer]:
    """Another client, which works whenever it is told to."""
    body = """
    (actor,) = given
    while listen():
        say(sum(actor.waiting() >= 0 for _ in range(50)))
    """
    with Peer(body, meeting) as peer:
        yield peer


def works(peer: Peer) -> bool:
    peer.resume()
    return peer.read_line() == '50'


@contextlib.contextmanager
def threads(count: int, function: Callable[[], Any]) -> Iterator[list[Any]]:
    """Run ``function`` on as many threads; at the end, the list has what it has returned."""
    results: list[Any] = []
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(function) for _ in range(count)]
        yield results
        wait(futures)
        results += [future.result() for future in futures]


# --- many who wait -------------------------------------------------------------------------------


def wait_at_barrier(meeting: Any, parties: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    barrier = meeting.barrier(parties + 1)
    return barrier.wait, barrier.wait


def wait_at_condition(meeting: Any, parties: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    condition = meeting.condition()

    def wait_for_it() -> bool:
        with condition:
            return bool(condition.wait())

    def notify() -> None:
        with condition:
            condition.notify_all()

    return wait_for_it, notify


def wait_at_queue(meeting: Any, parties: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    items = meeting.queue()
    return items.get, lambda: [items.put(number) for number in range(parties)]


def wait_at_event(meeting: Any, parties: int) -> tuple[Callable[[], Any], Callable[[], Any]]:
    event = meeting.event()
    event.clear()
    return event.wait, event.set


@pytest.mark.parametrize(
    ('place', 'expected'),
    [
        (wait_at_barrier, list(range(THREADS))),
        (wait_at_condition, [True] * THREADS),
        (wait_at_queue, list(range(THREADS))),
        (wait_at_event, [True] * THREADS),
    ],
)
def test_300_waiting_threads_of_one_client_do_not_stop_another_client(
    meeting: Any, worker: Peer, place: Callable[..., Any], expected: list[Any]
) -> None:
    wait_there, release = place(meeting, THREADS)
    with threads(THREADS, wait_there) as results:
        eventually(lambda: meeting.waiting() == THREADS, timeout=30)
        assert works(worker)
        release()
    # The 301st party passes the barrier with one of the numbers.
    found = sorted(results)
    assert found == expected or (place is wait_at_barrier and set(found) < set(range(THREADS + 1)))
    assert meeting.waiting() == 0


CROWD = """
import multiprocessing
import grpc
import tests.host.test_concurrency

def attend(pickled):
    barrier, condition, queue, event = pickle.loads(pickled)
    barrier.wait()
    with condition:
        condition.wait()
    queue.get()
    event.wait()

# Forked from a process that has imported all they need, and started nothing.
context = multiprocessing.get_context('fork')
crowd = [context.Process(target=attend, args=(given[0],)) for _ in range(given[1])]
for process in crowd:
    process.start()
for process in crowd:
    process.join()
sys.exit(any(process.exitcode for process in crowd))
"""


def test_60_waiting_client_processes_do_not_stop_another_client(meeting: Any, worker: Peer) -> None:
    places = [wait_at_barrier, wait_at_condition, wait_at_queue, wait_at_event]
    releases = [place(meeting, PROCESSES)[1] for place in places]
    shared = (
        meeting.barrier(PROCESSES + 1),
        meeting.condition(),
        meeting.queue(),
        meeting.event(),
    )
    with Peer(CROWD, pickle.dumps(shared), PROCESSES, most=2 * PROCESSES) as crowd:
        for release in releases:
            eventually(lambda: meeting.waiting() == PROCESSES, timeout=30)
            assert works(worker)
            release()
        assert crowd.end() == 0


def test_a_client_thread_that_ends_leaves_no_thread_in_the_actor(meeting: Any) -> None:
    before = meeting.host_threads()
    with threads(20, lambda: meeting.meet(20)):
        pass
    eventually(lambda: meeting.host_threads() <= before)


# --- order and affinity --------------------------------------------------------------------------


def test_the_calls_of_a_client_thread_run_in_order_on_one_thread_of_the_actor(meeting: Any) -> None:
    def call() -> set[int]:
        barrier.wait()  # while all these threads live, none gets the thread of another
        found = {meeting.host_thread() for _ in range(20)}
        barrier.wait()
        return found

    barrier = threading.Barrier(8)
    with threads(8, call) as found:
        pass
    assert [len(idents) for idents in found] == [1] * 8
    assert len(set.union(*found)) == 8
    for number in range(50):
        meeting.append(number)
    assert meeting.numbers()[:] == list(range(50))


def test_the_calls_of_different_clients_run_at_the_same_time(meeting: Any) -> None:
    body = """
    (actor,) = given
    actor.meet(5)
    """
    with Peer(body, meeting) as peer, threads(4, lambda: meeting.meet(5)) as results:
        assert peer.end() == 0
    assert len(set(results)) == 4


def test_a_call_from_inside_a_call_does_not_wait_for_it(meeting: Any) -> None:
    class Nested:
        """What makes a call while the arguments of another one are being made."""

        def __reduce__(self) -> tuple[type, tuple[int]]:
            return int, (meeting.waiting() + 7,)

    meeting.append(Nested())
    assert meeting.numbers()[-1] == 7


# --- locks that belong to a thread ---------------------------------------------------------------


def test_50_threads_count_under_an_rlock_that_they_take_twice(meeting: Any) -> None:
    rlock, numbers = meeting.rlock(), meeting.numbers()
    numbers[:] = [0]

    def count() -> None:
        for _ in range(3):
            with rlock, rlock:
                numbers[0] = numbers[0] + 1

    with threads(50, count):
        pass
    assert numbers[0] == 150


def test_an_rlock_can_only_be_released_by_the_client_thread_that_has_it(meeting: Any) -> None:
    rlock = meeting.rlock()
    with rlock, rlock, ThreadPoolExecutor(1) as other:
        assert not other.submit(rlock.acquire, blocking=False).result()
        with pytest.raises(RuntimeError, match='un-acquired'):
            other.submit(rlock.release).result()
    with pytest.raises(RuntimeError, match='un-acquired'):
        rlock.release()
    with ThreadPoolExecutor(1) as other:
        assert other.submit(rlock.acquire, blocking=False).result()
        other.submit(rlock.release).result()


def test_a_condition_can_only_be_used_by_the_client_thread_that_has_its_lock(meeting: Any) -> None:
    condition = meeting.condition()
    with condition, ThreadPoolExecutor(1) as other:
        for method in (condition.notify, condition.wait, condition.release):
            with pytest.raises(RuntimeError, match='un-acquired'):
                other.submit(method).result()
        assert not condition.wait(timeout=0)  # this thread can


def test_40_threads_hand_things_over_by_a_condition(meeting: Any) -> None:
    condition, numbers = meeting.condition(), meeting.numbers()
    numbers[:] = []

    def consume() -> int:
        with condition:
            condition.wait_for(lambda: len(numbers))
            return int(numbers.pop())

    def produce() -> None:
        with condition:
            numbers.append(1)
            condition.notify()

    with threads(20, consume) as consumed, threads(20, produce):
        pass
    assert consumed == [1] * 20
    assert not len(numbers)


def test_nothing_is_offered_to_a_session_that_is_in_a_call() -> None:
    """Its thread may be sending: two messages would be mixed."""
    sessions: list[Any] = []

    def work(bench: Any) -> None:
        sessions.append(bench._manager.connection.link.session())
        bench.wait_for('gate')

    with Bench() as bench:
        thread = threading.Thread(target=work, args=(bench,))
        thread.start()
        assert bench.told().get(timeout=20) == 'begun gate'
        [session] = sessions
        assert not session.offer(pb.SessionRequest())
        bench.event('gate').set()
        thread.join(20)
        assert session.offer(pb.SessionRequest())


def test_a_session_that_has_said_goodbye_is_used_no_more() -> None:
    with Bench() as bench:
        before = bench._manager.connection.link.session()
        assert bench.echo(5) == 5
        before.say_goodbye()
        assert bench.echo(6) == 6
        assert bench._manager.connection.link.session() is not before
