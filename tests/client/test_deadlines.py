"""Deadlines: how long a call is waited for, and what the actor knows of that."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import uactor
from tests.support import eventually, rpc
from tests.support.bench import Bench
from tests.support.workshop import Workshop

pytestmark = [pytest.mark.doors]

SHORT = 0.2
LONG = 60.0


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def blocking(method: Any, *args: Any) -> Any:
    return method(*args)


def future(method: Any, *args: Any) -> Any:
    return method.future(*args).result()


def call_async(method: Any, *args: Any) -> Any:
    async def main() -> Any:
        return await method.aio(*args)

    return asyncio.run(main())


def call_by_map(method: Any, *args: Any) -> Any:
    return next(method.map(*([arg] for arg in args or (True,))))


def call_by_stream(method: Any, *args: Any) -> Any:
    return list(method.stream(*args))


@pytest.fixture(
    params=[blocking, future, call_async, call_by_map, call_by_stream], ids=lambda way: way.__name__
)
def way(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_call_in_time_is_as_any_other(bench: Any, way: Callable[..., Any]) -> None:
    result = way(bench.echo.options(timeout=LONG), [1, 2])
    assert result == [1, 2]


def test_a_call_that_runs_too_long_is_given_up(bench: Any, way: Callable[..., Any]) -> None:
    with pytest.raises(uactor.DeadlineError) as caught:
        way(bench.until_cancelled.options(timeout=SHORT))
    assert isinstance(caught.value, TimeoutError)
    assert bench.told().get() == 'begun'
    assert bench.told().get() == 'cancelled'  # it has seen that nobody waits
    assert bench.echo('goes on') == 'goes on'


def test_a_wait_in_a_primitive_ends_at_the_deadline(bench: Any, way: Callable[..., Any]) -> None:
    queue = bench.queue()
    with pytest.raises(uactor.DeadlineError):
        way(queue.get.options(timeout=SHORT))
    queue.put('kept')
    assert queue.get() == 'kept'


def test_a_coroutine_is_cancelled_at_the_deadline(bench: Any, way: Callable[..., Any]) -> None:
    with pytest.raises(uactor.DeadlineError):
        way(bench.later.options(timeout=SHORT), 'never')
    assert bench.told().get() == 'begun never'
    assert bench.told().get() == 'cancelled never'


def test_a_call_whose_time_is_up_before_it_is_sent_never_runs(
    bench: Any, way: Callable[..., Any]
) -> None:
    with pytest.raises(uactor.DeadlineError) as caught:
        way(bench.note.options(timeout=0), 'never')
    assert caught.value.executed == 'no'
    assert bench.noted() == []


def test_a_call_whose_time_is_up_while_it_is_queued_never_runs() -> None:
    class Mailbox(Bench):
        _options_ = {'concurrency': 1}

    with Mailbox() as bench:
        told = bench.told()
        event = bench.event('gate')
        running = bench.wait_for.future('gate')  # type: ignore[attr-defined]
        assert told.get() == 'begun gate'
        with pytest.raises(uactor.DeadlineError):
            bench.note.options(timeout=SHORT)('never')  # type: ignore[attr-defined]
        event.set()
        running.result()
        assert bench.noted() == []


def test_a_late_result_is_not_taken_for_the_next_one(bench: Any) -> None:
    for number in range(5):
        with pytest.raises(uactor.DeadlineError):
            bench.wait_for.options(timeout=SHORT)('gate', 'late')
        assert bench.echo.options(timeout=LONG)(number) == number
    bench.event('gate').set()
    for number in range(100):
        assert bench.echo.options(timeout=LONG)(number) == number


def test_objects_of_a_late_result_are_released(bench: Any) -> None:
    with Workshop() as workshop:
        with pytest.raises(uactor.DeadlineError):
            workshop.run.options(timeout=SHORT)(slow_list)  # type: ignore[attr-defined]
        eventually(lambda: workshop.shared() == 0, timeout=20)


def slow_list() -> Any:
    while not uactor.current_call().cancelled:
        time.sleep(0.001)
    return uactor.proxy([], 'list')


def test_a_stream_has_one_deadline_for_all_of_it(bench: Any) -> None:
    rows = bench.gated.options(timeout=SHORT * 5).stream('never')
    assert next(rows) == 'first'
    with pytest.raises(uactor.DeadlineError):
        next(rows)
    assert bench.told().get() == 'begun never'
    bench.event('never').set()
    assert bench.told().get() == 'closed'


# --- what the actor knows ------------------------------------------------------------------------


def test_a_method_can_see_its_deadline(bench: Any) -> None:
    assert bench.left() is None
    assert 0 < bench.left.options(timeout=LONG)() <= LONG


def test_a_method_can_see_who_calls(bench: Any) -> None:
    assert bench.caller().startswith('MainProcess (')
    with Bench() as other:
        assert other.ask(bench.caller) == 'Bench.ask'


def test_a_new_caller_is_the_last_of_the_waiters() -> None:
    class Between(Bench):
        def pass_on(self, method: Callable[[], str]) -> str:
            return method()

    with Bench() as first, Between() as between, Bench() as last:
        assert first.ask(between.pass_on, last.caller) == 'Between.pass_on'


def test_a_deadline_travels_on_to_calls_that_the_method_makes(bench: Any) -> None:
    with Bench() as other, Bench() as third:
        ask: Any = other.ask
        assert 0 < ask.options(timeout=LONG)(bench.left) <= LONG
        assert 0 < ask.options(timeout=LONG)(third.ask, bench.left) <= LONG
        assert ask(bench.left) is None
        shorter = bench.left.options(timeout=LONG)
        assert 0 < ask.options(timeout=LONG * 2)(shorter) <= LONG


def test_a_lock_that_belongs_to_a_thread_can_be_taken_in_a_call_with_a_deadline() -> None:
    class Owner(Bench):
        _method_to_typeid_ = {'lock': 'RLock'}

        def __init__(self) -> None:
            super().__init__()
            self._rlock = threading.RLock()

        def lock(self) -> Any:
            return self._rlock

    with Owner() as owner, concurrent.futures.ThreadPoolExecutor(1) as other:
        lock = owner.lock()
        assert other.submit(lock.acquire.options(timeout=LONG)).result() is True
        with pytest.raises(uactor.DeadlineError):
            lock.acquire.options(timeout=SHORT)()
        other.submit(lock.release).result()
        with lock, lock:
            pass


def test_there_is_no_current_call_outside_actors() -> None:
    with pytest.raises(uactor.ProxyError, match='no current call'):
        uactor.current_call()


def test_an_actor_has_a_deadline_by_default() -> None:
    class Impatient(Bench):
        _options_ = {'timeout': SHORT}

    with Impatient() as actor:
        bench: Any = actor
        assert bench.left() <= SHORT
        assert bench.left.options(timeout=LONG)() > SHORT
        assert bench.left.options(timeout=None)() is None
        with pytest.raises(uactor.DeadlineError):
            bench.until_cancelled()
        assert pickle.loads(pickle.dumps(bench)).left() <= SHORT


# --- over plain gRPC -----------------------------------------------------------------------------


def test_the_deadline_of_an_rpc_is_that_of_the_call(bench: Any) -> None:
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        call = functools.partial(client.stub.Call, metadata=client.metadata)
        left = call(rpc.call_request('left'), timeout=LONG).result.double
        assert 0 < left < 2 * LONG  # gRPC rounds it up
        with pytest.raises(grpc.RpcError) as caught:
            call(rpc.call_request('until_cancelled'), timeout=SHORT)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert [bench.told().get(), bench.told().get()] == ['begun', 'cancelled']
