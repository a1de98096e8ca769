"""Proxies of locks, semaphores, conditions, events and barriers do what these do."""

from __future__ import annotations

import concurrent.futures
import functools
import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import eventually
from tests.support.workshop import Workshop, differences, outcome

FORK = multiprocessing.get_context('fork')


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


def elsewhere(function: Callable[..., Any], *args: Any) -> Any:
    """Return what ``function(*args)`` returns on another thread, or raise what it raises."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        return executor.submit(function, *args).result()


def holding(lock: Any, function: Callable[..., Any], *args: Any) -> Any:
    """Return what ``function(*args)`` returns while ``lock`` is held."""
    with lock:
        return function(*args)


# --- the same operation on the object and on its proxy ---------------------------------------

LOCK = """
a.acquire()
a.acquire(False)
a.acquire(True, 0.01)
a.acquire(False, 1)
a.acquire(); a.acquire(False)
a.acquire(); a.acquire(timeout=0.01)
a.acquire(); a.locked()
a.acquire(); a.release(); a.locked()
a.acquire(); elsewhere(a.acquire, False)
a.acquire(); elsewhere(a.release); a.locked()
a.locked()
a.release()
a.release(2)
a.__enter__()
holding(a, a.locked)
holding(a, a.acquire, False)
holding(a, elsewhere, a.acquire, True, 0.01)
holding(a, int); a.locked()
holding(a, int, 'x')
a.nothing
bool(a)
"""

THREADING_LOCK = f"""{LOCK}
a.acquire(blocking=True, timeout=-1)
a.acquire(timeout=-5)
"""

RLOCK = """
a.acquire()
a.acquire(); a.acquire(False)
a.acquire(); a.acquire(); a.release(); elsewhere(a.acquire, False)
a.acquire(); a.acquire(); a.release(); a.release(); elsewhere(a.acquire, False)
a.acquire(); elsewhere(a.acquire, True, 0.01)
a.acquire(); elsewhere(a.release)
a.acquire(False, 1)
a.release()
a.__enter__()
holding(a, a.acquire)
holding(a, holding, a, int)
holding(a, elsewhere, a.acquire, False)
holding(a, int); elsewhere(a.acquire, False)
"""

SEMAPHORE = """
a.acquire()
[a.acquire(False), a.acquire(False), a.acquire(False)]
a.acquire(); a.acquire(); a.acquire(timeout=0.01)
a.acquire(timeout=None)
a.acquire(False, 1)
a.release()
a.release(2); [a.acquire(False) for _ in range(5)]
a.release(n=2); [a.acquire(False) for _ in range(5)]
a.release(0)
a.acquire(); a.acquire(); a.release(2); [a.acquire(False) for _ in range(3)]
a.acquire(); a.release(2)
a.acquire(); elsewhere(a.release); a.acquire(False)
a.__enter__()
holding(a, holding, a, a.acquire, False)
holding(a, int); [a.acquire(False) for _ in range(3)]
"""

CONDITION = """
a.acquire()
a.acquire(); a.acquire(False)
a.acquire(); elsewhere(a.acquire, False)
a.release()
a.wait(0.01)
a.notify()
a.notify_all()
holding(a, a.wait, 0.01)
holding(a, a.notify)
holding(a, a.notify, 2)
holding(a, a.notify_all)
holding(a, a.wait_for, int, 0.01)
holding(a, a.wait_for, list, 0)
holding(a, a.wait_for, lambda: 'yes')
holding(a, a.wait_for, lambda: 1 / 0)
a.wait_for(lambda: 'yes')
a.wait_for(int, 0.01)
holding(a, elsewhere, a.notify)
holding(a, elsewhere, a.acquire, False)
holding(a, int); elsewhere(a.acquire, False)
a.__enter__()
"""

EVENT = """
a.is_set()
a.set(); a.is_set()
a.set(); a.clear(); a.is_set()
a.set(); a.wait()
a.set(); a.wait(5)
a.wait(0)
a.wait(0.01)
a.wait(timeout=0.01)
a.wait('x')
a.clear()
bool(a)
"""

BARRIER = """
a.parties
a.n_waiting
a.broken
a.parties = 5
a.wait(0.01)
a.abort(); a.broken
a.abort(); a.wait()
a.abort(); a.reset(); a.broken
a.abort(); a.reset(); a.wait(0.01)
"""

TABLES: list[tuple[str, str, Callable[[], Any]]] = [
    ('Lock', THREADING_LOCK, threading.Lock),
    ('Lock', LOCK, FORK.Lock),
    ('RLock', RLOCK, threading.RLock),
    ('RLock', RLOCK, FORK.RLock),
    ('Semaphore', SEMAPHORE, lambda: threading.Semaphore(2)),
    ('Semaphore', SEMAPHORE, lambda: FORK.Semaphore(2)),
    ('BoundedSemaphore', SEMAPHORE, lambda: threading.BoundedSemaphore(2)),
    ('BoundedSemaphore', SEMAPHORE, lambda: FORK.BoundedSemaphore(2)),
    ('Condition', CONDITION, threading.Condition),
    ('Condition', CONDITION, lambda: threading.Condition(threading.Lock())),
    ('Condition', CONDITION, FORK.Condition),
    ('Event', EVENT, threading.Event),
    ('Event', EVENT, FORK.Event),
    ('Barrier', BARRIER, lambda: threading.Barrier(2)),
    ('Barrier', BARRIER, lambda: FORK.Barrier(2)),
]
HELPERS: dict[str, Any] = {'elsewhere': elsewhere, 'holding': holding, 'threading': threading}


@pytest.mark.parametrize(
    ('typeid', 'table', 'make'),
    TABLES,
    ids=[f'{typeid}-{n}' for n, (typeid, *_) in enumerate(TABLES)],
)
def test_a_method_does_the_same_to_a_primitive_and_to_its_proxy(
    workshop: Workshop, typeid: str, table: str, make: Callable[[], Any]
) -> None:
    assert not differences(table, make, lambda: workshop.make(typeid, make), **HELPERS)


# --- several at once -----------------------------------------------------------------------------


class Crowd:
    """Threads that all run one function, each with its number."""

    def __init__(self, count: int, function: Callable[[int], Any]) -> None:
        self._executor = concurrent.futures.ThreadPoolExecutor(count)
        self._futures = [self._executor.submit(function, number) for number in range(count)]

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._executor.shutdown()

    def results(self) -> list[Any]:
        """Return what the function has returned, by number."""
        return [future.result(timeout=30) for future in self._futures]


def test_setting_an_event_lets_all_go_on_who_wait_for_it(workshop: Workshop) -> None:
    event = workshop.make('Event', threading.Event)
    ready = workshop.make('Semaphore', threading.Semaphore, 0)

    def wait(number: int) -> bool:
        ready.release()
        return event.wait()

    with Crowd(3, wait) as crowd:
        for _ in range(3):
            ready.acquire()
        event.set()
        assert crowd.results() == [True] * 3


def test_a_lock_is_held_by_one_thread_at_a_time(workshop: Workshop) -> None:
    lock = workshop.make('Lock', threading.Lock)
    total = workshop.share('Namespace', SimpleNamespace(value=0))

    def add(number: int) -> None:
        for _ in range(20):
            with lock:
                total.value += 1

    with Crowd(4, add) as crowd:
        crowd.results()
    assert total.value == 80


def test_a_lock_that_is_free_at_the_end_of_its_block_hides_no_error(workshop: Workshop) -> None:
    lock = workshop.make('Lock', threading.Lock)
    with pytest.raises(LookupError), lock:
        lock.release()
        raise LookupError
    with pytest.raises(RuntimeError), lock:
        lock.release()


def test_a_semaphore_lets_in_as_many_as_it_says(workshop: Workshop) -> None:
    semaphore = workshop.make('Semaphore', threading.Semaphore, 2)
    inside, most = workshop.share('list', []), workshop.share('list', [])

    def visit(number: int) -> None:
        for _ in range(10):
            with semaphore:
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    with Crowd(5, visit) as crowd:
        crowd.results()
    assert max(most) <= 2


def test_notify_wakes_the_requested_number_of_waiters(workshop: Workshop) -> None:
    condition = workshop.make('Condition', threading.Condition)
    waiting, woken = workshop.share('list', []), workshop.make('SimpleQueue', queue.SimpleQueue)

    def wait(number: int) -> bool:
        with condition:
            waiting.append(number)
            notified: bool = condition.wait()
        woken.put(number)
        return notified

    with Crowd(3, wait) as crowd:
        eventually(lambda: len(waiting) == 3)
        with condition:  # so the last of them is waiting too
            condition.notify(2)
        first = {woken.get(), woken.get()}
        assert woken.empty()
        with condition:
            condition.notify()
        assert first | {woken.get()} == {0, 1, 2}
        assert crowd.results() == [True] * 3


def test_threads_hand_over_work_by_a_condition(workshop: Workshop) -> None:
    condition = workshop.make('Condition', threading.Condition)
    items = workshop.share('list', [])

    def take(number: int) -> int:
        with condition:
            assert condition.wait_for(lambda: len(items) > 0)
            taken: int = items.pop()
            return taken

    with Crowd(3, take) as crowd:
        for item in range(3):
            with condition:
                items.append(item)
                condition.notify_all()
        assert sorted(crowd.results()) == [0, 1, 2]


def test_a_barrier_lets_all_parties_pass_together(workshop: Workshop) -> None:
    passed = workshop.share('list', [])
    barrier = workshop.make('Barrier', threading.Barrier, 3, functools.partial(passed.append, 1))

    def meet(number: int) -> list[int]:
        return [barrier.wait(), barrier.wait(timeout=30)]

    with Crowd(3, meet) as crowd:
        arrivals = crowd.results()
    assert {first for first, _ in arrivals} == {second for _, second in arrivals} == {0, 1, 2}
    assert list(passed) == [1, 1]  # the action ran once each time
    assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


def test_a_barrier_counts_who_waits_and_breaks_for_all_of_them(workshop: Workshop) -> None:
    barrier = workshop.make('Barrier', threading.Barrier, 3)
    with Crowd(2, lambda number: outcome('barrier.wait()', barrier=barrier)[1]) as crowd:
        eventually(lambda: barrier.n_waiting == 2)
        barrier.abort()
        assert crowd.results() == [threading.BrokenBarrierError] * 2
    assert barrier.broken


def test_an_rlock_belongs_to_the_thread_that_has_acquired_it(workshop: Workshop) -> None:
    lock = workshop.make('RLock', threading.RLock)

    def nest(number: int) -> None:
        for _ in range(10):
            with lock, lock:
                order.append(number)
                with lock:
                    assert order.pop() == number

    order = workshop.share('list', [])
    with Crowd(4, nest) as crowd:
        crowd.results()


def test_a_primitive_of_multiprocessing_works_across_threads(workshop: Workshop) -> None:
    event, lock = workshop.make('Event', FORK.Event), workshop.make('RLock', FORK.RLock)
    condition = workshop.make('Condition', FORK.Condition)
    barrier = workshop.make('Barrier', FORK.Barrier, 2)
    with Crowd(2, lambda number: [event.wait(), barrier.wait()]) as crowd:
        with lock, lock:
            assert not elsewhere(lock.acquire, False)
            event.set()
        assert sorted(crowd.results()) == [[True, 0], [True, 1]]
    done = workshop.share('list', [])

    def wait(number: int) -> bool:
        with condition:
            return bool(condition.wait_for(lambda: 'now' in done))

    with Crowd(2, wait) as crowd:
        with condition:
            done.append('now')
            condition.notify_all()
        assert crowd.results() == [True, True]


def test_the_actor_and_its_clients_use_the_same_lock(workshop: Workshop) -> None:
    lock = workshop.make('Lock', threading.Lock)
    with lock:
        assert workshop.run(lambda lock: lock.locked(), lock)
        assert not workshop.run(lambda lock: lock.acquire(False), lock)
    assert workshop.run(lambda lock: lock.acquire(False), lock)
    assert not lock.acquire(timeout=0.01)
    assert workshop.run(lambda lock: lock.release(), lock) is None
    assert lock.acquire(False)
