"""Futures: results of calls that no thread blocks for, and maps over many of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import inspect
import itertools
import multiprocessing
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import uactor
from tests.support import eventually
from tests.support.bench import Bench
from uactor.proxies import iteration as results_module

pytestmark = [pytest.mark.doors]


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def test_a_future_has_the_result(bench: Any) -> None:
    assert bench.add.future(2, other=3).result() == 5


def test_a_future_has_the_exception_with_its_remote_traceback(bench: Any) -> None:
    error = bench.divide.future(1, 0).exception()
    assert isinstance(error, ZeroDivisionError)
    assert 'return one / other' in str(error.__cause__)


@pytest.mark.parametrize('timeout', [0, -1, -5])
def test_a_future_is_not_waited_for_once_the_time_is_up(bench: Any, timeout: float) -> None:
    future = bench.wait_for.future('gate', 5)
    for wait in (future.result, future.exception):
        with pytest.raises(concurrent.futures.TimeoutError):
            wait(timeout)
    bench.event('gate').set()
    assert future.result(20) == 5


def test_futures_work_with_wait_and_as_completed_and_wrap_future(bench: Any) -> None:
    futures = [bench.echo.future(number) for number in range(20)]
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == {*range(20)}
    assert concurrent.futures.wait([bench.echo.future(1)]).not_done == set()

    async def wrapped() -> Any:
        return await asyncio.wrap_future(bench.echo.future('wrapped'))

    assert asyncio.run(wrapped()) == 'wrapped'


def test_ten_thousand_futures_need_no_thread_each(bench: Any) -> None:
    bench.echo.future(0).result()
    before = threading.active_count()
    futures = [bench.add.future(number, 1) for number in range(10_000)]
    assert threading.active_count() <= before + 1
    assert [future.result() for future in futures] == [*range(1, 10_001)]
    assert bench.threads() < 40


def test_calls_begin_in_their_order(bench: Any) -> None:
    for future in [bench.note.future(number) for number in range(1000)]:
        future.result()
    assert bench.noted() == [*range(1000)]


def test_a_call_that_blocks_keeps_no_other_of_its_burst(bench: Any) -> None:
    """They come in one message, and begin on the thread that reads it."""
    gate = bench.event('burst')
    burst = bench.wait_for.map(['open', *['burst'] * 40, 'open'], range(42), window=42)
    opener = bench.event('open')
    opener.set()
    assert next(burst) == 0  # though those after it block
    gate.set()
    assert list(burst) == [*range(1, 42)]


def test_calls_that_block_begin_in_their_order(bench: Any) -> None:
    told = bench.told()
    names = [f'in turn {number}' for number in range(30)]
    futures = [bench.wait_for.future(name) for name in names]
    begun = [told.get() for _ in names]
    for name in names:
        bench.event(name).set()
    for future in futures:
        future.result()
    assert begun == [f'begun {name}' for name in names]


def test_small_calls_go_on_beside_one_that_blocks(bench: Any) -> None:
    blocked = bench.wait_for.future('beside')
    for _ in range(3):
        assert list(bench.echo.map(range(500))) == [*range(500)]
        assert bench.echo.future(1).result() == 1
    bench.event('beside').set()
    blocked.result()


def test_a_call_that_cannot_be_sent_does_not_keep_its_burst(bench: Any) -> None:
    results = bench.echo.map([1, 2, threading.Lock()], window=3)
    assert (next(results), next(results)) == (1, 2)
    with pytest.raises(uactor.SerializationError):
        next(results)


def test_calls_from_many_threads_all_end(bench: Any) -> None:
    totals = []

    def work() -> None:
        totals.append(sum(future.result() for future in [bench.echo.future(1)] * 100))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [100] * 8


def test_a_call_that_waits_does_not_stop_the_one_that_it_waits_for(bench: Any) -> None:
    queue = bench.queue()
    waiting = [queue.get.future() for _ in range(100)]
    for number in range(100):
        queue.put.future(number)
    assert sorted(future.result() for future in waiting) == [*range(100)]


def test_a_call_is_known_before_it_can_be_answered(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = bench._manager.connection.link.pipeline()
    known: list[bool] = []
    put = pipeline.unsent.put_numbered

    def noted(number: int, message: bytes) -> None:
        known.append(pipeline.awaits(number))
        put(number, message)

    monkeypatch.setattr(pipeline.unsent, 'put_numbered', noted)
    assert bench.echo.future(1).result() == 1
    assert list(bench.echo.map(range(3))) == [0, 1, 2]
    assert known == [True, True]


def test_workers_in_the_actor_end_when_there_is_nothing_to_do(bench: Any) -> None:
    event = bench.event('open')
    waiting = [event.wait.future() for _ in range(30)]
    eventually(lambda: bench.threads() > 30)
    event.set()
    assert all(future.result() for future in waiting)
    eventually(lambda: bench.threads() < 30)


def test_result_proxies_have_futures_too(bench: Any) -> None:
    event = bench.event('ready')
    ready = event.wait.future()
    assert not ready.done()
    event.set.future().result()
    assert ready.result() is True
    queue = bench.queue()
    queue.put.future('item').result()
    assert queue.get.future(timeout=5).result() == 'item'


def test_a_future_may_bring_a_proxy_which_is_held(bench: Any) -> None:
    event = bench.event.future('shared').result()
    gc.collect()
    assert event.is_set() is False
    assert uactor.typeid(event) == 'Event'


def test_thread_owned_locks_are_refused_in_futures_and_work_in_calls() -> None:
    class Owner(Bench):
        _method_to_typeid_ = {'lock': 'RLock'}

        def lock(self) -> Any:
            return threading.RLock()

    with Owner() as owner:
        lock = owner.lock()
        with pytest.raises(uactor.ThreadOwnedError):
            lock.acquire.future().result()
        with lock, lock:
            pass


def test_an_argument_that_can_not_be_sent_fails_the_future(bench: Any) -> None:
    error = bench.echo.future(threading.Lock()).exception()
    assert isinstance(error, uactor.SerializationError)
    assert error.executed == 'no'


def test_arguments_of_iterators_are_gathered_as_in_calls() -> None:
    class Lists(Bench):
        _method_to_typeid_ = {'new': 'list'}

        def new(self) -> Any:
            return []

    with Lists() as lists:
        numbers = lists.new()
        numbers.extend.future(iter(range(3))).result()
        assert list(numbers) == [0, 1, 2]


# --- remote methods as objects -------------------------------------------------------------------


def test_a_remote_method_is_like_a_bound_method(bench: Any) -> None:
    assert bench.add.__name__ == 'add'
    assert bench.wait_for.__doc__.startswith('Report that the call has begun')
    assert bench.add.__self__ is bench
    assert bench.add == bench.add
    assert hash(bench.add) == hash(bench.add)
    assert bench.add != bench.echo
    assert repr(bench.add).startswith('<remote method add of <')
    assert callable(bench.add)


def test_a_remote_method_can_be_pickled_and_sent(bench: Any) -> None:
    assert pickle.loads(pickle.dumps(bench.add))(1, 2) == 3
    with Bench() as other:
        assert other.ask(bench.add, 1, 2) == 3
        assert other.ask(bench.add.options(timeout=20), 1, 2) == 3


def test_a_proxy_class_can_still_be_asked_for_its_methods(bench: Any) -> None:
    assert type(bench).add(bench, 1, 2) == 3
    assert operator.methodcaller('add', 1, 2)(bench) == 3


# --- map -----------------------------------------------------------------------------------------


def test_map_gives_the_results_in_order(bench: Any) -> None:
    assert list(bench.add.map(range(1000), range(1000, 3000))) == [*range(1000, 3000, 2)]


def test_map_draws_no_more_arguments_than_its_window(bench: Any) -> None:
    drawn = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            drawn.append(number)
            yield number

    results = bench.echo.map(numbers(), window=7)
    assert len(drawn) == 7
    for fetched in range(100):
        assert next(results) == fetched
        assert len(drawn) - (fetched + 1) <= 7
    assert next(results, None) is None


@pytest.mark.parametrize(
    ('soon', 'late', 'largest'), [(60.0, 120.0, 1024), (0.0, 0.0, 128)], ids=['soon', 'late']
)
def test_map_has_more_calls_under_way_as_long_as_they_come_back_soon(
    bench: Any, monkeypatch: pytest.MonkeyPatch, soon: float, late: float, largest: int
) -> None:
    monkeypatch.setattr(results_module, '_FAST_S', soon)
    monkeypatch.setattr(results_module, '_SLOW_S', late)
    drawn = itertools.count()
    under_way = []
    for fetched, result in enumerate(bench.echo.map(drawn)):
        assert result == fetched
        under_way.append(int(repr(drawn)[len('count(') : -1]) - fetched)
        if fetched == 5000:
            break
    assert max(under_way) == largest


def test_map_has_fewer_calls_under_way_once_they_are_late(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results_module, '_FAST_S', 60.0)
    monkeypatch.setattr(results_module, '_SLOW_S', 120.0)
    drawn = itertools.count()
    results = bench.echo.map(drawn)
    assert [next(results) for _ in range(5000)] == [*range(5000)]
    monkeypatch.setattr(results_module, '_FAST_S', 0.0)
    monkeypatch.setattr(results_module, '_SLOW_S', 0.0)
    assert [next(results) for _ in range(5000)] == [*range(5000, 10_000)]
    assert next(drawn) - 10_000 <= 128
    results.close()


@pytest.mark.parametrize('window', [None, 1, 2, 7])
def test_an_error_of_the_arguments_comes_after_the_results_of_those_before_it(
    bench: Any, window: int | None
) -> None:
    def numbers() -> Iterator[int]:
        yield from range(10)
        raise LookupError('no more')

    results = bench.echo.map(numbers(), window=window)
    assert [next(results) for _ in range(10)] == [*range(10)]
    with pytest.raises(LookupError, match='no more'):
        next(results)
    assert next(results, 'the end') == 'the end'


def test_map_raises_an_error_where_it_belongs_and_goes_on(bench: Any) -> None:
    results = bench.divide.map([4, 4, 4], [2, 0, 1])
    assert next(results) == 2
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 4
    assert next(results, 'the end') == 'the end'


def test_a_second_consumer_of_a_map_is_refused_and_disturbs_no_other(bench: Any) -> None:
    results = bench.wait_for.map(['gate', 'gate'], [1, 2])
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = {pool.submit(next, results) for _ in range(2)}
        refused, waiting = concurrent.futures.wait(both, return_when='FIRST_COMPLETED')
        with pytest.raises(RuntimeError, match='another thread or task waits'):
            refused.pop().result()
        with pytest.raises(RuntimeError, match='another thread or task waits'):
            asyncio.run(results.__anext__())
        bench.event('gate').set()
        assert [waiting.pop().result(), *results] == [1, 2]


def test_map_that_is_left_gives_up_what_has_been_called_for(bench: Any) -> None:
    blocked = bench.wait_for.future('gate')
    assert bench.told().get() == 'begun gate'
    results = bench.wait_for.map(['gate'] * 3)
    for _ in range(3):
        assert bench.told().get() == 'begun gate'
    results.close()
    assert next(results, 'nothing') == 'nothing'
    bench.echo.future('so that the event does not overtake that').result()
    bench.event('gate').set()
    blocked.result()
    assert sorted(bench.told().get() for _ in range(4)) == [False, True, True, True]


@pytest.mark.parametrize('window', [0, -1])
def test_a_window_takes_something(bench: Any, window: int) -> None:
    with pytest.raises(ValueError, match='a window of calls is 1 or more'):
        bench.echo.map([1], window=window)
    with pytest.raises(ValueError, match='a window of items is 1 or more'):
        bench.count.options(window=window)


# --- death ---------------------------------------------------------------------------------------


def test_futures_of_an_actor_that_is_killed_end_and_say_what_has_run() -> None:
    bench: Any = Bench()
    with bench:
        running = bench.wait_for.future('never')
        assert bench.told().get() == 'begun never'
        futures = [running, *(bench.event('never').wait.future() for _ in range(20))]
        os.kill(bench.pid(), signal.SIGKILL)
        for future in futures:
            with pytest.raises(uactor.ActorDiedError) as caught:
                future.result()
            assert caught.value.executed == 'maybe'
        after = bench.echo.future(1)
        with pytest.raises(uactor.ActorDiedError) as caught:
            after.result()
        assert caught.value.executed == 'no'


def test_futures_end_when_the_actor_is_shut_down() -> None:
    bench: Any = Bench()
    waiting = bench.event('never').wait.future()
    bench.echo.future(1).result()
    bench.shutdown()
    with pytest.raises(uactor.ActorDiedError):
        waiting.result()


# --- forks and exits -----------------------------------------------------------------------------


def in_child(bench: Any, results: Any) -> None:
    results.put([bench.echo.future(number).result() for number in range(10)])


def test_a_forked_child_has_a_pipeline_of_its_own(bench: Any) -> None:
    assert bench.echo.future(1).result() == 1
    context = multiprocessing.get_context('fork')
    results = context.SimpleQueue()
    child = context.Process(target=in_child, args=(bench, results))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert results.get() == [*range(10)]
    assert bench.echo.future(2).result() == 2


OPEN = """
import {module} as bench_module, threading
bench = bench_module.Bench()
waiting = [bench.event('never').wait.future() for _ in range(10)]
rows = bench.count.stream(10**9)
next(rows)
results = bench.echo.map(range(10), window=5)
next(results)
print(bench.echo.future('ready').result(), flush=True)
"""


def test_a_program_ends_with_open_pipelines() -> None:
    code = OPEN.format(module='tests.support.bench')
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', code], capture_output=True, text=True, timeout=50
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, 'ready\n', '')


def test_sync_and_async_faces_have_the_same_signatures() -> None:
    faces = {
        name: inspect.signature(getattr(uactor.RemoteMethod, name))
        for name in ('__call__', 'future', 'aio', 'stream')
    }
    parameters = {str(signature.replace(return_annotation='')) for signature in faces.values()}
    assert len(parameters) == 1
    for cls in (uactor.Stream, uactor.Results):
        for sync, asynchronous in [('__next__', '__anext__'), ('close', 'aclose')]:
            one, other = (inspect.signature(getattr(cls, name)) for name in (sync, asynchronous))
            assert one == other
    for sync, asynchronous in [('__enter__', '__aenter__'), ('__exit__', '__aexit__')]:
        one, other = (
            inspect.signature(getattr(uactor.ActorProxy, name)) for name in (sync, asynchronous)
        )
        assert one == other
