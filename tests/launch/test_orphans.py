"""Calls that are under way at a fork are the parent's: they end in the child with an error."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import TRANSPORT, Actor
from tests.support.bench import Bench

pytestmark = [
    pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no forks'),
    pytest.mark.filterwarnings('ignore:.*multi-threaded.*:DeprecationWarning'),
]


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def in_child(check: Callable[[], None], seconds: float = 20.0) -> None:
    """Run a check in a forked child of this process, which must end with it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            check()
            os.write(writing, b'as it should be')
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(writing)
    killer = threading.Timer(seconds, os.kill, (pid, 9))
    killer.start()
    with os.fdopen(reading, 'rb') as pipe:
        said = pipe.read().decode()
    killer.cancel()
    os.waitpid(pid, 0)
    assert said == 'as it should be', said or 'the child has hung'


def assert_orphaned(get: Callable[[], Any]) -> None:
    with pytest.raises(uactor.ForkedError, match='belongs to the parent') as caught:
        get()
    assert caught.value.executed == 'maybe'
    assert isinstance(caught.value, uactor.UActorException)


def test_a_future_fails_in_the_child_and_goes_on_in_the_parent(bench: Any) -> None:
    called: list[int] = []
    futures = [bench.wait_for.future('gate', number) for number in range(3)]
    futures[0].add_done_callback(lambda future: called.append(os.getpid()))

    def check() -> None:
        for future in futures:
            assert_orphaned(functools.partial(future.result, 10))
            assert future.done()
            assert not future.cancel()
        assert not called, 'callbacks are of the parent'
        assert bench.echo(5) == 5
        assert bench.echo.future(6).result(10) == 6

    in_child(check)
    bench.event('gate').set()
    assert [future.result(10) for future in futures] == [0, 1, 2]
    assert called == [os.getpid()]


def test_a_future_whose_lock_another_thread_has_fails_in_the_child(bench: Any) -> None:
    future = bench.wait_for.future('gate')
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with future._condition:  # noqa: SLF001  # as concurrent.futures itself takes it
            held.set()
            done.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    in_child(lambda: assert_orphaned(lambda: future.result(10)))
    done.set()
    holder.join()
    bench.event('gate').set()
    future.result(10)


def test_a_future_that_another_thread_waits_for_fails_in_the_child(bench: Any) -> None:
    future = bench.wait_for.future('gate')
    waiting = threading.Thread(target=future.result)
    waiting.start()
    time.sleep(0.05)  # until it waits: nothing tells
    in_child(lambda: assert_orphaned(lambda: future.result(10)))
    bench.event('gate').set()
    waiting.join()


def test_a_call_with_a_deadline_fails_at_once_in_the_child(bench: Any) -> None:
    future = bench.wait_for.options(timeout=60).future('gate')
    in_child(lambda: assert_orphaned(lambda: future.result(10)))
    bench.event('gate').set()
    future.result(10)


def test_a_stream_fails_in_the_child_and_goes_on_in_the_parent(bench: Any) -> None:
    rows = bench.gated.stream('gate')
    assert next(rows) == 'first'
    in_child(lambda: assert_orphaned(lambda: list(rows)))
    bench.event('gate').set()
    assert list(rows)


def test_a_map_fails_in_the_child_and_goes_on_in_the_parent(bench: Any) -> None:
    bench.event('open').set()
    results = bench.wait_for.map(['open', 'gate', 'gate'])
    next(results)

    def check() -> None:
        for _ in range(2):
            assert_orphaned(lambda: next(results))

    in_child(check)
    bench.event('gate').set()
    assert list(results) == [None] * 2


@pytest.mark.parametrize('way', ['aio', 'stream'])
def test_a_coroutine_that_waits_fails_in_the_child(bench: Any, way: str) -> None:
    loop = asyncio.new_event_loop()

    async def call() -> Any:
        if way == 'aio':
            return await bench.wait_for.aio('gate')
        return [row async for row in bench.gated.stream('gate')]

    task = loop.create_task(call())
    loop.run_until_complete(asyncio.sleep(0.05))

    def check() -> None:
        assert_orphaned(lambda: loop.run_until_complete(task))

    in_child(check)
    bench.event('gate').set()
    loop.run_until_complete(task)
    loop.close()


def test_a_coroutine_that_waits_for_a_thread_fails_in_the_child() -> None:
    from uactor.core.futures import run_in_thread

    loop, gate = asyncio.new_event_loop(), threading.Event()

    async def call() -> Any:
        return await run_in_thread(gate.wait)

    task = loop.create_task(call())
    loop.run_until_complete(asyncio.sleep(0.01))
    in_child(lambda: assert_orphaned(lambda: loop.run_until_complete(task)))
    gate.set()
    loop.run_until_complete(task)
    loop.close()


class Forking(Actor):
    """Forks while calls of its own are under way."""

    def __init__(self) -> None:
        self._gate = threading.Event()
        self._me: Any = None

    def wait(self) -> int:
        self._gate.wait()
        return 5

    def know(self, me: Any) -> None:
        self._me = me

    def fork(self) -> int:
        future = self._me.wait.future()
        in_child(lambda: assert_orphaned(lambda: future.result(10)))
        self._gate.set()
        found: int = future.result(10)
        return found


@pytest.mark.skipif(TRANSPORT != 'unix', reason='a fork of a process that serves gRPC may hang')
def test_a_future_of_an_actor_itself_fails_in_its_child() -> None:
    with Forking() as forking:
        forking.know(forking)
        assert forking.fork() == 5
        forking.know(None)
    gc.collect()
