"""Streams: the items of a generator in an actor, as it yields them."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

import uactor
from tests.support import eventually
from tests.support.bench import Bench
from tests.support.raw_session import open_session
from uactor.core.auth import get_family_key
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]


KINDS = ['count', 'count_async']


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


@pytest.mark.parametrize('kind', KINDS)
def test_a_stream_gives_all_items_in_order(bench: Any, kind: str) -> None:
    assert list(getattr(bench, kind).stream(1000)) == [*range(1000)]
    assert bench.told().get() == 'closed'


@pytest.mark.parametrize('kind', KINDS)
def test_a_stream_can_be_awaited(bench: Any, kind: str) -> None:
    async def gather() -> list[int]:
        return [number async for number in getattr(bench, kind).stream(1000)]

    assert asyncio.run(gather()) == [*range(1000)]


def test_items_are_granted_as_they_are_fetched_and_no_more(bench: Any) -> None:
    rows = bench.count.options(window=4).stream(10**9)
    assert [next(rows) for _ in range(40)] == [*range(40)]
    assert bench.echo.future('others go on').result() == 'others go on'
    assert bench.most() < 44
    rows.close()


def test_the_credits_of_a_stream_add_up(bench: Any) -> None:
    with open_session(bench, 'grpc') as session:
        session.enter(key=get_family_key(), pipelined=True)
        call = pb.CallRequest(method='gated', args=[pb.Value(string='gate')])
        stream = session.send(open_stream=pb.OpenStreamRequest(call=call, credit=2))
        assert session.receive().item.string == 'first'
        assert bench.told().get(timeout=20) == 'begun gate'
        session.send(credit=pb.StreamCredit(request_id=stream, items=1))
        assert session.call('echo', pb.Value(int64=5)).int64 == 5
        bench.event('gate').set()
        assert session.receive().item.string == 'second'
        assert bench.told().get(timeout=20) == 'closed', 'it has looked for a third one'


@pytest.mark.parametrize('end', ['end', 'error'])
def test_threads_share_a_stream(bench: Any, end: str) -> None:
    numbers = bench.count.stream(300) if end == 'end' else bench.fails_after.stream(300)
    taken: list[int] = []
    errors: list[BaseException] = []

    def consume() -> None:
        try:
            taken.extend(numbers)
        except LookupError as error:
            errors.append(error)

    threads = [threading.Thread(target=consume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()  # each gets the end
    assert sorted(taken) == [*range(300)] if end == 'end' else len(errors) == 1


def test_tasks_and_threads_share_a_stream(bench: Any) -> None:
    numbers = bench.count.options(window=4).stream(300)

    async def consume() -> list[int]:
        return [number async for number in numbers]

    async def gather() -> list[int]:
        thread = asyncio.to_thread(lambda: [*numbers])
        parts = await asyncio.gather(thread, *(consume() for _ in range(3)))
        return [number for part in parts for number in part]

    assert sorted(asyncio.run(gather())) == [*range(300)]


def test_other_iterables_can_be_streamed(bench: Any) -> None:
    assert list(bench.echo.stream([1, 2, 3])) == [1, 2, 3]


def test_the_result_of_a_coroutine_can_be_streamed(bench: Any) -> None:
    bench.event('open').set()
    assert list(bench.later.stream('open', 'abc')) == ['a', 'b', 'c']


def test_a_stream_of_a_result_that_is_not_iterable_fails(bench: Any) -> None:
    with pytest.raises(TypeError, match='not iterable'):
        next(bench.echo.stream(1))


@pytest.mark.parametrize('kind', KINDS)
def test_the_producer_stops_when_the_consumer_does(bench: Any, kind: str) -> None:
    rows = getattr(bench, kind).options(window=10).stream(10**9)
    assert [next(rows) for _ in range(3)] == [0, 1, 2]
    eventually(lambda: bench.most() >= 9)
    assert bench.echo.future('others go on').result() == 'others go on'
    assert bench.most() < 20
    rows.close()


@pytest.mark.parametrize('kind', KINDS)
def test_leaving_the_loop_closes_the_generator(bench: Any, kind: str) -> None:
    for number in getattr(bench, kind).stream(10**9):
        if number == 500:
            break
    gc.collect()
    assert bench.told().get(timeout=20) == 'closed'


@pytest.mark.parametrize('kind', KINDS)
def test_leaving_an_asynchronous_loop_closes_the_generator(bench: Any, kind: str) -> None:
    async def some() -> None:
        async for number in getattr(bench, kind).stream(10**9):
            if number == 500:
                return

    asyncio.run(some())
    gc.collect()
    assert bench.told().get(timeout=20) == 'closed'


def test_leaving_the_block_of_a_stream_closes_the_generator(bench: Any) -> None:
    with bench.count.stream(10**9) as rows:
        assert next(rows) == 0
        kept = rows
    assert bench.told().get(timeout=20) == 'closed'
    assert next(kept, 'closed') == 'closed'


def test_a_stream_is_not_called_before_its_first_item_is_asked_for(bench: Any) -> None:
    rows = bench.count.stream(3)
    assert bench.echo.future(1).result() == 1
    assert bench.told().empty()
    del rows
    assert bench.told().empty()


def test_a_stream_that_is_closed_before_its_first_item_is_never_called(bench: Any) -> None:
    rows = bench.count.stream(3)
    rows.close()
    assert list(rows) == []
    assert bench.echo.future(1).result() == 1
    assert bench.told().empty()


def test_an_exception_comes_after_the_items_before_it(bench: Any) -> None:
    rows = bench.fails_after.stream(3)
    assert [next(rows) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match='in a stream'):
        next(rows)
    assert next(rows, 'the end') == 'the end'


def test_an_exception_of_an_awaited_stream(bench: Any) -> None:
    async def gather() -> list[int]:
        numbers = []
        with pytest.raises(LookupError, match='in a stream'):
            async for number in bench.fails_after.stream(3):
                numbers.append(number)  # noqa: PERF401  # kept after the error
        return numbers

    assert asyncio.run(gather()) == [0, 1, 2]


def test_a_stream_of_proxies_holds_each(bench: Any) -> None:
    from tests.support.workshop import Workshop

    workshop: Any = Workshop()
    with workshop:
        lists = list(workshop.lists.stream(5))
        for new in lists:
            new.append(1)
        assert [list(new) for new in lists] == [[1]] * 5
        del lists, new
        gc.collect()
        eventually(lambda: workshop.shared() == 0)


def test_a_plain_call_of_a_generator_gives_an_iterator_proxy(bench: Any) -> None:
    rows = bench.lazily(3)
    assert uactor.typeid(rows) == 'Iterator'
    assert list(rows) == [0, 1, 2]


def test_a_plain_call_of_an_asynchronous_generator_gives_an_iterator_proxy() -> None:
    class Lazy(Bench):
        _method_to_typeid_ = {'count_async': 'Iterator'}

    with Lazy() as lazy:
        assert list(lazy.count_async(3)) == [0, 1, 2]  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ('count', 'size'), [(30_000, 4000), pytest.param(1_000_000, 100, marks=pytest.mark.soak)]
)
def test_any_number_of_items_run_in_constant_memory(bench: Any, count: int, size: int) -> None:
    """They would take a hundred MB if either side kept them."""
    host, here = psutil.Process(bench.pid()), psutil.Process()
    rows = bench.pieces.stream(count, size)
    for _ in range(count // 10):
        next(rows)
    before = host.memory_info().rss, here.memory_info().rss
    assert sum(len(row) for row in rows) == (count - count // 10) * size
    after = host.memory_info().rss, here.memory_info().rss
    assert after[0] - before[0] < 16 << 20
    assert after[1] - before[1] < 16 << 20


def test_a_stream_of_an_actor_that_is_killed_ends_with_the_error(bench: Any) -> None:
    rows = bench.count.stream(10**9)
    assert next(rows) == 0
    os.kill(bench.pid(), signal.SIGKILL)
    with pytest.raises(uactor.ActorDiedError):
        for _ in rows:
            pass


def test_many_streams_run_at_the_same_time(bench: Any) -> None:
    streams = [bench.count.options(window=2).stream(100) for _ in range(50)]
    assert [sum(row) for row in zip(*streams, strict=True)] == [n * 50 for n in range(100)]
