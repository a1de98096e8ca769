"""Proxies of queues, pools and their results do what these do."""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import multiprocessing.pool
import multiprocessing.resource_tracker
import operator
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import eventually, is_running
from tests.support.workshop import Workshop, differences, outcome

FORK = multiprocessing.get_context('fork')


def start_tracker() -> None:
    """Start the helper process of multiprocessing that tracks semaphores."""
    multiprocessing.resource_tracker.ensure_running()


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        actor.run(start_tracker)  # it ends with the actor
        yield actor


# --- the same operation on the object and on its proxy ---------------------------------------

SIMPLE = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.put(1); a.put(2); a.qsize()
a.put(item=1); a.get(block=True)
a.put(None); a.get()
a.put(1); a.get(True, 5)
a.empty()
a.put(1); a.empty()
a.put_nowait(1); a.get_nowait()
a.get_nowait()
a.get(False)
a.get(block=False)
a.get(timeout=0.01)
a.get(True, 0)
a.get(timeout=-1)
a.get(False, -1)
a.put()
a.nothing
bool(a)
"""

QUEUE = f"""{SIMPLE}
a.full()
a.put(1); a.put(2); a.full()
a.put(1); a.put(2); a.put(3, False)
a.put(1); a.put(2); a.put(3, timeout=0.01)
a.put(1); a.put(2); a.put_nowait(3)
a.put(1, timeout=-1)
a.put(2); a.put(1); [a.get(), a.get()]
a.maxsize
a.task_done()
a.put(1); a.get(); a.task_done(); a.join()
a.put(1); a.get(); a.task_done(); a.task_done()
a.join()
a.shutdown(); a.put(1)
a.shutdown(); a.get()
a.put(1); a.shutdown(); [a.get(), a.qsize()]
a.put(1); a.shutdown(); a.get(); a.get()
a.put(1); a.shutdown(immediate=True); a.get()
"""

OTHER_PROCESS = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.put(1); a.get(timeout=5)
a.put(1); a.put(2); a.qsize()
a.put(1); a.put(2); a.put(3, timeout=0.01)
a.put(1); a.put(2); a.put_nowait(3)
a.put(1); a.put(2); a.full()
a.empty()
a.full()
a.get(timeout=0.01)
a.get(False)
a.get_nowait()
"""

JOINABLE = f"""{OTHER_PROCESS}
a.join()
a.put(1); a.get(); a.task_done(); a.join()
a.task_done()
"""

PIPE = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.empty()
a.put(1); a.empty()
a.get(timeout=1)
a.get_nowait()
"""

TABLES: list[tuple[str, str, Callable[[], Any]]] = [
    ('Queue', QUEUE, lambda: queue.Queue(2)),
    ('Queue', OTHER_PROCESS, lambda: FORK.Queue(2)),
    ('JoinableQueue', QUEUE, lambda: queue.Queue(2)),
    ('JoinableQueue', JOINABLE, lambda: FORK.JoinableQueue(2)),
    ('LifoQueue', QUEUE, lambda: queue.LifoQueue(2)),
    ('PriorityQueue', QUEUE, lambda: queue.PriorityQueue(2)),
    ('SimpleQueue', SIMPLE, queue.SimpleQueue),
    ('SimpleQueue', PIPE, FORK.SimpleQueue),
]


@pytest.mark.parametrize(
    ('typeid', 'table', 'make'),
    TABLES,
    ids=[f'{typeid}-{number}' for number, (typeid, *_) in enumerate(TABLES)],
)
def test_a_method_does_the_same_to_a_queue_and_to_its_proxy(
    workshop: Workshop, typeid: str, table: str, make: Callable[[], Any]
) -> None:
    assert not differences(table, make, lambda: workshop.make(typeid, make))


# --- queues between threads and processes --------------------------------------------------------


def test_a_queue_hands_every_item_to_one_reader(workshop: Workshop) -> None:
    source, results = workshop.make('Queue', queue.Queue, 3), workshop._manager.SimpleQueue()

    def read() -> None:
        for item in iter(source.get, None):
            results.put(item)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for item in [*range(20), None, None, None]:
        source.put(item)
    for reader in readers:
        reader.join()
    assert sorted(results.get() for _ in range(20)) == list(range(20))
    assert results.empty()


@pytest.mark.parametrize('make', [queue.Queue, FORK.JoinableQueue])
def test_join_waits_until_all_items_are_done(workshop: Workshop, make: Any) -> None:
    source = workshop.make('JoinableQueue', make)
    done = workshop.share('list', [])

    def work() -> None:
        for item in iter(source.get, None):
            done.append(item)
            source.task_done()
        source.task_done()

    worker = threading.Thread(target=work)
    for item in (1, 2, None):
        source.put(item)
    worker.start()
    source.join()
    assert list(done) == [1, 2]
    worker.join()


def test_shutting_a_queue_down_wakes_who_waits(workshop: Workshop) -> None:
    if not hasattr(queue, 'ShutDown'):
        pytest.skip('queues can be shut down from Python 3.13 on')
    source = workshop.make('Queue', queue.Queue)
    waiting = workshop.make('Event', threading.Event)
    outcomes: list[Any] = []

    def wait() -> None:
        waiting.set()
        outcomes.append(outcome('source.get()', source=source))

    reader = threading.Thread(target=wait)
    reader.start()
    waiting.wait()
    source.shutdown()
    reader.join()
    assert outcomes == [(None, queue.ShutDown)]


def test_the_actor_and_its_clients_use_the_same_queue(workshop: Workshop) -> None:
    source = workshop.make('Queue', queue.Queue)
    workshop.run(lambda source: source.put('from the actor'), source)
    assert source.get() == 'from the actor'
    source.put('from a client')
    assert workshop.run(lambda source: source.get_nowait(), source) == 'from a client'


# --- pools ---------------------------------------------------------------------------------------

POOL = """
a.apply(abs, (-1,))
a.apply(abs, args=(-1,))
a.apply(int, ('ff',), {'base': 16})
a.apply(int, ('x',))
a.apply(lambda: 5)
a.map(abs, [-1, 2])
a.map(abs, range(-5, 0), 2)
a.map(abs, range(-5, 0), chunksize=2)
a.map(abs, (-x for x in range(5)))
a.map(int, 'x1')
a.map(abs, 5)
a.starmap(pow, [(2, 3), (3, 2)])
a.starmap(pow, zip([2, 3], [3, 2]))
a.starmap(abs, [(1, 2)])
list(a.imap(abs, [-1, 2]))
list(a.imap(abs, range(-5, 0), 2))
list(a.imap(int, '1x'))
next(a.imap(int, '1x'))
a.imap(abs, [-1]).next()
a.imap(abs, [-1]).next(timeout=5)
a.imap(abs, []).next(5)
sorted(a.imap_unordered(abs, (x for x in [-1, -2])))
a.apply_async(abs, (-1,)).get()
a.apply_async(abs, (-1,)).get(timeout=5)
a.apply_async(int, ('ff',), {'base': 16}).get(5)
a.apply_async(int, ('x',)).get()
a.apply_async(lambda: 5).get()
a.map_async(abs, [-1, 2]).get()
a.map_async(int, 'x').get()
a.starmap_async(pow, [(2, 3)]).get()
r = a.apply_async(abs, (-1,)); r.wait(); [r.ready(), r.successful(), r.get(), r.get()]
r = a.apply_async(int, ('x',)); r.wait(5); [r.ready(), r.successful()]
a.join()
a.close()
a.close(); a.join(); a.apply(abs, (-1,))
a.close(); a.map(abs, [-1])
a.terminate(); a.join(); a.apply_async(abs, (-1,))
a.__enter__() is a
a.__exit__(None, None, None); a.apply(abs, (-1,))
a.nothing
"""


def test_a_method_does_the_same_to_a_pool_and_to_its_proxy(workshop: Workshop) -> None:
    make = functools.partial(multiprocessing.pool.ThreadPool, 2)
    with contextlib.ExitStack() as pools:
        assert not differences(
            POOL,
            lambda: pools.enter_context(make()),
            lambda: pools.enter_context(workshop.make('Pool', make)),
        )


@pytest.fixture
def pool(workshop: Workshop) -> Iterator[Any]:
    with workshop.make('Pool', multiprocessing.pool.ThreadPool, 2) as pool:
        yield pool


def test_a_result_is_not_ready_before_its_task_is_done(workshop: Workshop, pool: Any) -> None:
    gate = workshop.make('Event', threading.Event)
    result = pool.apply_async(gate.wait)
    assert not result.ready()
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(timeout=0.01)
    with pytest.raises(multiprocessing.TimeoutError):
        result.get(0)
    with pytest.raises(ValueError, match='not ready'):
        result.successful()
    result.wait(0.01)
    gate.set()
    assert result.get(30) is True
    assert result.ready()
    assert result.successful()


def test_an_item_of_imap_is_waited_for_as_long_as_wanted(workshop: Workshop, pool: Any) -> None:
    gates = [workshop.make('Event', threading.Event) for _ in range(2)]
    gates[1].set()
    items = pool.imap(functools.partial(operator.methodcaller('wait')), gates)
    with pytest.raises(multiprocessing.TimeoutError):
        items.next(timeout=0.01)
    gates[0].set()
    assert list(items) == [True, True]
    gates[0].clear()
    unordered = pool.imap_unordered(operator.methodcaller('wait'), gates)
    assert next(unordered) is True
    gates[0].set()
    assert next(unordered) is True


def test_callbacks_are_called_in_the_actor(workshop: Workshop, pool: Any) -> None:
    results, errors = workshop._manager.Queue(), workshop._manager.Queue()
    callbacks = {'callback': results.put, 'error_callback': errors.put}
    pool.apply_async(abs, (-1,), **callbacks)
    assert results.get(timeout=30) == 1
    pool.map_async(abs, [-1, -2], **callbacks)
    assert results.get(timeout=30) == [1, 2]
    pool.starmap_async(math.gcd, [(4, 6)], callback=results.put)
    assert results.get(timeout=30) == [2]
    pool.apply_async(int, ('x',), **callbacks)
    assert type(errors.get(timeout=30)) is ValueError
    assert results.empty()


def test_the_error_of_a_task_says_where_it_was_raised(workshop: Workshop, pool: Any) -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        pool.apply_async(divmod, (1, 0)).get()
    assert 'pool.py' in str(raised.value.__cause__)


def test_results_of_a_pool_can_be_fetched_by_another_actor(workshop: Workshop, pool: Any) -> None:
    with Workshop() as other:
        result = pool.apply_async(abs, (-1,))
        assert other.run(lambda result: result.get(), result) == 1


def test_a_pool_of_processes_can_be_shared() -> None:
    with Workshop() as workshop, workshop._manager.Pool(1) as pool:
        assert pool.map(abs, [-1, -2]) == [1, 2]
        assert list(pool.imap(abs, [-3])) == [3]
        with pytest.raises(ValueError, match='invalid literal'):
            pool.apply(int, ('x',))
        worker = pool.apply(os.getpid)
        pool.terminate()
        eventually(lambda: not is_running(worker))


def test_a_process_that_a_method_has_forked_can_be_terminated_at_once(workshop: Workshop) -> None:
    def fork_and_terminate() -> int | None:
        process = FORK.Process(target=signal.pause)
        process.start()
        process.terminate()
        process.join()
        return process.exitcode

    assert workshop.run(fork_and_terminate) is not None


def test_leaving_the_block_of_a_pool_terminates_it(workshop: Workshop) -> None:
    with workshop.make('Pool', multiprocessing.pool.ThreadPool, 1) as pool:
        assert pool.apply(int) == 0
    assert 'state=TERMINATE' in str(pool)
