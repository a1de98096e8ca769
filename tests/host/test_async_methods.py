"""Coroutines and asynchronous generators in the actor: one loop for all of them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import uactor
from tests.support.bench import Bench

pytestmark = [pytest.mark.pythons('coroutines and event loops'), pytest.mark.oldest_python]


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def test_a_blocking_call_waits_for_a_coroutine(bench: Any) -> None:
    bench.event('open').set()
    assert bench.later('open', 'value') == 'value'


def test_an_exception_of_a_coroutine_comes_as_it_was_raised(bench: Any) -> None:
    for ways in (bench.breaks, lambda: bench.breaks.future().result()):
        with pytest.raises(LookupError, match='in a coroutine') as caught:
            ways()
        assert 'in breaks' in str(caught.value.__cause__)


def test_coroutines_run_concurrently_on_one_thread(bench: Any) -> None:
    futures = [bench.meet.future(500) for _ in range(500)]
    assert len({future.result() for future in futures}) == 1
    assert bench.threads() < 40


def test_coroutines_of_blocking_calls_run_concurrently_too(bench: Any) -> None:
    threads = [threading.Thread(target=bench.meet, args=(5,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_methods_run_in_threads_while_coroutines_wait(bench: Any) -> None:
    waiting = bench.later.future('gate', 1)
    assert bench.told().get() == 'begun gate'
    assert bench.echo(2) == 2
    bench.event('gate').set()
    assert waiting.result() == 1


def test_the_loop_lives_as_long_as_the_actor(bench: Any) -> None:
    bench.event('open').set()
    one, other = bench.meet(1), bench.meet(1)
    assert one == other


def test_a_coroutine_knows_its_call() -> None:
    class Knowing(Bench):
        async def known(self) -> tuple[float | None, str]:
            await asyncio.sleep(0)
            call = uactor.current_call()
            return call.deadline, call.caller

    with Knowing() as actor:
        left, caller = actor.known.options(timeout=60)()  # type: ignore[attr-defined]
        assert 0 < left <= 60
        assert caller.endswith(f'({os.getpid()})')


def test_a_coroutine_may_call_other_actors(bench: Any) -> None:
    class Asking(Bench):
        async def ask_both(self, one: Any, other: Any) -> Any:
            return await asyncio.gather(one.echo.aio(1), other.add.aio(1, 1))

    with Bench() as other, Asking() as asking:
        assert asking.ask_both(bench, other) == [1, 2]  # type: ignore[comparison-overlap]


def test_a_killed_actor_ends_the_calls_of_coroutines(bench: Any) -> None:
    futures = [bench.later.future('never') for _ in range(5)]
    bench.told().get()
    os.kill(bench.pid(), signal.SIGKILL)
    for future in futures:
        with pytest.raises(uactor.ActorDiedError):
            future.result()
