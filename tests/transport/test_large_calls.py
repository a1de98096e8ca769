"""Large data of calls that no thread blocks for goes beside the messages, too."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

import uactor
from tests.support import TRANSPORT, Actor, eventually
from tests.support.peers import Peer
from tests.transport.test_chunks import _CLEAR, Keeper, forget_peak, peak
from uactor.client import pipeline
from uactor.core.futures import CallFuture
from uactor.core.interfaces import ClientCall
from uactor.transport import segments, shm_buffers

pytestmark = [pytest.mark.doors]

SIZE = 2 * segments.MIN_SEGMENT_BYTES
HUGE = 100_000_000


class Store(Keeper):
    """Takes and returns arrays, one call at a time."""

    _options_: ClassVar[Mapping[str, Any]] = {'concurrency': 1}

    def __init__(self) -> None:
        super().__init__()
        self._entered, self._left = threading.Event(), threading.Event()

    def fail(self, value: Any) -> None:
        raise ValueError(len(value))

    def rows(self, count: int) -> Iterator[Any]:
        for number in range(count):
            yield full(number)

    def counts(self) -> tuple[int, int]:
        """Return how many segments this process lends and borrows."""
        return counts()

    def wait(self) -> None:
        self._entered.set()
        assert self._left.wait(30)

    def gate(self) -> tuple[Any, Any]:
        return uactor.proxy(self._entered, 'Event'), uactor.proxy(self._left, 'Event')


class AnyStore(Store, Actor):
    """By the transport under test."""


class LaneStore(Store, uactor.Actor):
    """By the lane, whatever the transport of the other tests."""


class GrpcStore(Store, uactor.Actor):
    _options_ = {'transport': 'grpc'}


@pytest.fixture(scope='module')
def store() -> Iterator[Any]:
    with AnyStore() as actor:
        yield actor


@pytest.fixture
def near() -> Iterator[Any]:
    """An actor that shares memory with this process. All is given back, and not by a collection."""
    actor: Any = LaneStore()
    with actor:
        actor.echo.future(1).result()
        gc.collect()
        gc.disable()
        try:
            yield actor
            eventually(lambda: counts() == actor.counts() == (0, 0))
        finally:
            gc.enable()


def counts() -> tuple[int, int]:
    return segments.pool.counts()[1], shm_buffers.count_borrowed()


def full(number: int, size: int = SIZE) -> Any:
    return np.full(size, number % 251, np.uint8)


def is_full(array: Any, number: int) -> bool:
    return array.nbytes == SIZE and bool((array == number % 251).all())


def by_future(store: Any, values: list[Any]) -> list[Any]:
    futures = [store.echo.future(value) for value in values]
    return [future.result() for future in futures]


def by_map(store: Any, values: list[Any]) -> list[Any]:
    return list(store.echo.map(values))


def by_deadline(store: Any, values: list[Any]) -> list[Any]:
    return [store.echo.options(timeout=30)(value) for value in values]


def by_coroutine(store: Any, values: list[Any]) -> list[Any]:
    async def main() -> list[Any]:
        return await asyncio.gather(*(store.echo.aio(value) for value in values))

    return asyncio.run(main())


WAYS = [by_future, by_map, by_deadline, by_coroutine]
Way = Callable[[Any, list[Any]], list[Any]]


@pytest.mark.parametrize('way', WAYS)
def test_large_data_arrives_whichever_way_it_is_sent(store: Any, way: Way) -> None:
    found = way(store, [full(number) for number in range(20)])
    assert len(found) == 20
    for number, array in enumerate(found):
        assert is_full(array, number)
        array[:] = 0  # it can be written to


@pytest.mark.parametrize('way', WAYS)
def test_small_and_large_calls_keep_their_order(store: Any, way: Way) -> None:
    values = [full(number) if number % 3 else number for number in range(200)]
    for number, value in enumerate(way(store, values)):
        assert is_full(value, number) if number % 3 else value == number


def test_streams_bring_large_items(store: Any) -> None:
    rows = list(store.rows.stream(300))
    assert len(rows) == 300
    assert all(is_full(row, number) for number, row in enumerate(rows))


@pytest.mark.parametrize('way', WAYS)
def test_it_goes_through_memory_that_is_given_back_with_the_last_view(near: Any, way: Way) -> None:
    found = way(near, [full(number) for number in range(5)])
    assert shm_buffers.count_borrowed() == 5
    del found


def test_items_of_a_stream_go_through_memory_and_are_given_back_one_by_one(near: Any) -> None:
    for number, row in enumerate(near.rows.stream(400)):
        assert is_full(row, number)
    del row


def test_more_is_on_its_way_than_there_are_segments(near: Any) -> None:
    found = by_future(near, [full(number) for number in range(300)])
    assert all(is_full(array, number) for number, array in enumerate(found))
    assert shm_buffers.count_borrowed() == segments.MAX_LENT
    del found


def test_memory_of_a_call_that_fails_is_given_back_at_once(near: Any) -> None:
    for _ in range(5):
        with pytest.raises(ValueError, match=str(SIZE)):
            near.fail.future(full(1)).result()


def test_memory_of_calls_that_are_refused_is_given_back(near: Any) -> None:
    for handle, method in [('', 'nothing'), ('gone.1', 'append')]:
        call = ClientCall(handle, method, (full(1),), {}, resolve=lambda shared: None)
        with pytest.raises((uactor.NotExposedError, uactor.HandleError)):
            CallFuture.start(near._manager.connection.submit, call).result()


def test_memory_of_calls_that_are_cancelled_before_they_begin_is_given_back(near: Any) -> None:
    entered, left = near.gate()
    waiting = near.wait.future()
    assert entered.wait(30)
    futures = [near.echo.future(full(number)) for number in range(10)]
    assert all(future.cancel() for future in futures)
    left.set()
    waiting.result()
    del futures, waiting


def test_memory_of_items_that_nobody_takes_any_more_is_given_back(near: Any) -> None:
    for _ in range(5):
        with near.rows.stream(400) as rows:
            assert is_full(next(rows), 0)
        del rows


def test_memory_of_calls_whose_caller_dies_is_given_back(near: Any) -> None:
    body = """
    import numpy as np
    futures = [given[0].echo.future(np.ones(300_000, np.uint8)) for _ in range(50)]
    results = [future.result() for future in futures]
    say('has them')
    """
    with Peer(body, near) as client:
        assert client.read_line() == 'has them'
        client.kill()


def test_data_travels_in_the_message_while_the_session_does_not_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, '_OPENING_S', 0.0)
    actor: Any = LaneStore()
    with actor:
        assert is_full(actor.echo.future(full(7)).result(), 7)


def test_a_call_beyond_the_limit_is_refused_and_frees_its_memory(near: Any) -> None:
    class Small(LaneStore):
        _options_ = {'max_message_size': SIZE}

    actor: Any = Small()
    with actor:
        for _ in range(3):
            with pytest.raises(uactor.SerializationError, match='max_message_size'):
                actor.echo.future(full(1, 2 * SIZE)).result()
        assert counts() == (0, 0)
        assert actor.echo.future(1).result() == 1


@pytest.mark.skipif(not _CLEAR.exists(), reason='peaks are read from /proc')
@pytest.mark.skipif(TRANSPORT != 'unix', reason='chooses its own transport')
def test_over_grpc_neither_side_needs_much_more_than_twice_what_is_sent() -> None:
    store: Any = GrpcStore()
    with store:
        array = np.ones(HUGE, np.uint8)
        store.keep.future(array[:SIZE]).result()  # what it takes once
        ours, theirs = forget_peak(), store.forget_peak()
        assert store.keep.future(array).result() == HUGE
        # This side has the array already, and a copy: what may change meanwhile is copied.
        assert peak() - ours + HUGE < 2.2 * HUGE
        assert store.peak() - theirs < 2.2 * HUGE
        ours, theirs = forget_peak(), store.forget_peak()
        assert store.kept.future().result().nbytes == HUGE
        assert peak() - ours < 2.2 * HUGE
        assert store.peak() - theirs + HUGE < 2.2 * HUGE
