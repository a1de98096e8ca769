"""asyncio on the calling side: the loop is never blocked."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import logging
import os
import signal
import threading
import weakref
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

import uactor
from tests.support import eventually
from tests.support.bench import Bench
from uactor.core.futures import run_in_thread

pytestmark = [pytest.mark.pythons('event loops')]


uvloop = pytest.importorskip('uvloop') if not os.environ.get('CI') else __import__('uvloop')


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


def on_asyncio(main: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(main)


def on_uvloop(main: Coroutine[Any, Any, Any]) -> Any:
    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@pytest.fixture(params=[on_asyncio, on_uvloop], ids=lambda run: run.__name__)
def run(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_call_can_be_awaited(bench: Any, run: Any) -> None:
    async def main() -> Any:
        return await bench.add.aio(1, other=2)

    assert run(main()) == 3


def test_an_exception_comes_where_the_call_is_awaited(bench: Any, run: Any) -> None:
    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await bench.divide.aio(1, 0)
        with pytest.raises(uactor.SerializationError):
            await bench.echo.aio(threading.Lock())

    run(main())


def test_ten_thousand_calls_at_a_time(bench: Any, run: Any) -> None:
    async def main() -> Any:
        return await asyncio.gather(*(bench.echo.aio(number) for number in range(10_000)))

    assert run(main()) == [*range(10_000)]


def test_calls_map_and_streams_in_one_loop(bench: Any, run: Any) -> None:
    async def main() -> Any:
        async def streamed() -> int:
            return sum([number async for number in bench.count.stream(300)])

        async def mapped() -> int:
            return sum([number async for number in bench.echo.map(range(300), window=5)])

        return await asyncio.gather(streamed(), mapped(), streamed(), bench.echo.aio(1))

    assert run(main()) == [44_850, 44_850, 44_850, 1]


def test_several_loops_in_several_threads(bench: Any, run: Any) -> None:
    totals = []

    def work() -> None:
        async def main() -> int:
            return sum(await asyncio.gather(*(bench.echo.aio(1) for _ in range(200))))

        totals.append(run(main()))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals == [200] * 5


def test_the_loop_is_never_blocked(caplog: pytest.LogCaptureFixture) -> None:
    """The first call opens the connection's pipeline; starting and ending take their time."""

    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = 0.25
        bench: Any = await Bench.aio()
        async with bench:
            event = bench.event('never')
            waiting = asyncio.create_task(event.wait.aio())
            assert await bench.echo.aio(1) == 1
            async for _ in bench.count.stream(200):
                pass
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    with caplog.at_level(logging.WARNING, 'asyncio'):
        asyncio.run(main(), debug=True)
    assert not [record for record in caplog.records if 'took' in record.getMessage()]


def test_an_actor_in_an_asynchronous_block(run: Any) -> None:
    async def main() -> Any:
        bench: Any = Bench()
        async with bench:
            return await bench.echo.aio('inside'), bench

    value, bench = run(main())
    assert value == 'inside'
    with pytest.raises(uactor.ActorDiedError):
        bench.echo(1)


def test_an_exception_of_the_block_passes_unchanged(run: Any) -> None:
    async def main() -> None:
        async with await Bench.aio():
            raise LookupError('of the block')

    with pytest.raises(LookupError, match='of the block'):
        run(main())


def test_an_exception_of_the_constructor_is_raised_where_it_is_awaited(run: Any) -> None:
    class Broken(Bench):
        def __init__(self) -> None:
            raise LookupError('of the constructor')

    async def main() -> None:
        await Broken.aio()

    with pytest.raises(LookupError, match='of the constructor'):
        run(main())


def test_awaited_calls_of_an_actor_that_is_killed_end(bench: Any, run: Any) -> None:
    async def main() -> None:
        event = await bench.event.aio('never')
        waiting = [asyncio.create_task(event.wait.aio()) for _ in range(10)]
        await asyncio.sleep(0)  # they call, and what is called next is answered after that has come
        pid = await bench.pid.aio()
        os.kill(pid, signal.SIGKILL)
        for ended in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(ended, uactor.ActorDiedError)
            assert ended.executed == 'maybe'
        with pytest.raises(uactor.ActorDiedError) as caught:
            await bench.echo.aio(1)
        assert caught.value.executed == 'no'

    run(main())


def test_a_result_for_a_loop_that_has_been_closed_is_nobodys(bench: Any) -> None:
    async def main() -> None:
        asyncio.create_task(bench.wait_for.aio('gate'))  # noqa: RUF006  # nobody waits for it
        while bench.told().empty():
            await asyncio.sleep(0)

    asyncio.run(main())
    bench.event('gate').set()
    assert bench.echo.future('goes on').result() == 'goes on'


def test_a_loop_that_has_ended_is_not_kept(bench: Any, run: Any) -> None:
    loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()

    async def main() -> int:
        loops.add(asyncio.get_running_loop())
        return int(await bench.add.aio(1, 2))

    for _ in range(3):
        assert run(main()) == 3
    # The thread that has brought the result may be in the midst of waking the loop.
    eventually(lambda: gc.collect() >= 0 and not loops)


def test_a_thread_that_is_awaited_has_the_context_of_its_coroutine() -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar('variable', default=0)

    async def main() -> int:
        variable.set(5)
        return await run_in_thread(variable.get)

    assert asyncio.run(main()) == 5
