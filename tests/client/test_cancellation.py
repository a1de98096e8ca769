"""Cancellation, in every phase of a call: the caller is free, and the actor forgets the call."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import multiprocessing
import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

import uactor
from tests.support import TRANSPORT, eventually, rpc
from tests.support.bench import Bench
from tests.support.raw_session import KEY, STREAM_KINDS, open_session
from tests.support.workshop import Workshop
from uactor.client.pending import PendingCall
from uactor.client.pipeline import ClientPipeline
from uactor.core.interfaces import NO_RECEIVER, ClientCall
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


class Mailbox(Bench):
    _options_ = {'concurrency': 1}


@pytest.fixture
def mailbox() -> Iterator[Any]:
    with Mailbox() as actor:
        yield actor


# --- queued --------------------------------------------------------------------------------------


def test_a_queued_call_that_is_cancelled_never_runs(mailbox: Any) -> None:
    told, event = mailbox.told(), mailbox.event('gate')
    running = mailbox.wait_for.future('gate')
    assert told.get() == 'begun gate'
    queued = [mailbox.note.future(number) for number in range(10)]
    for future in queued[::2]:
        assert future.cancel()
        assert future.cancelled()
    event.set()
    running.result()
    for future in queued[1::2]:
        future.result()
    assert mailbox.noted() == [1, 3, 5, 7, 9]


@pytest.mark.skipif(TRANSPORT != 'unix', reason='gRPC has a message only once it is read')
@pytest.mark.parametrize('count', [1, 2, 100])
def test_a_call_cancelled_while_the_actor_is_stopped_never_runs(bench: Any, count: int) -> None:
    """R1: the actor reads the cancellation before it runs what came before it."""
    pid = bench.pid()
    for _ in range(5):
        bench.note.future('first').result()
        os.kill(pid, signal.SIGSTOP)
        eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
        try:
            futures = [bench.note.future(number) for number in range(count)]
            assert all(future.cancel() for future in futures)
        finally:
            os.kill(pid, signal.SIGCONT)
        bench.note.future('last').result()
    assert bench.noted() == ['first', 'last'] * 5


@pytest.mark.skipif(TRANSPORT != 'unix', reason='gRPC has a message only once it is read')
def test_a_call_that_expires_while_the_actor_is_stopped_never_runs(bench: Any) -> None:
    pid = bench.pid()
    bench.note.future('first').result()
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    try:
        with pytest.raises(uactor.DeadlineError) as caught:
            bench.note.options(timeout=0.01)('never')
        assert caught.value.executed == 'maybe'  # it has left at once: nothing was under way
        futures = [bench.note.options(timeout=0.01).future(number) for number in range(3)]
        assert all(type(future.exception()) is uactor.DeadlineError for future in futures)
    finally:
        os.kill(pid, signal.SIGCONT)
    bench.note.future('last').result()
    assert bench.noted() == ['first', 'last']


def test_a_queued_coroutine_that_is_cancelled_never_runs(mailbox: Any) -> None:
    told, event = mailbox.told(), mailbox.event('gate')
    running = mailbox.wait_for.future('gate')
    assert told.get() == 'begun gate'

    async def main() -> None:
        queued = asyncio.create_task(mailbox.note.aio('never'))
        await asyncio.sleep(0)
        queued.cancel()
        with pytest.raises(asyncio.CancelledError):
            await queued

    asyncio.run(main())
    assert not event.is_set.future().result()  # has come after the cancellation
    event.set()
    running.result()
    assert mailbox.noted() == []


# --- running -------------------------------------------------------------------------------------


def test_a_running_method_can_see_that_it_is_cancelled(bench: Any) -> None:
    future = bench.until_cancelled.future()
    assert bench.told().get() == 'begun'
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    assert bench.told().get() == 'cancelled'


def test_waiters_of_a_cancelled_future_are_woken(bench: Any) -> None:
    future = bench.until_cancelled.future()
    done: list[Any] = []
    future.add_done_callback(done.append)
    waiting = threading.Thread(target=concurrent.futures.wait, args=([future],))
    waiting.start()
    assert bench.told().get() == 'begun'
    future.cancel()
    waiting.join()
    assert done == [future]


@pytest.mark.parametrize('way', ['future', 'aio'])
def test_a_wait_in_a_primitive_that_is_cancelled_takes_nothing(bench: Any, way: str) -> None:
    items = bench.queue()
    if way == 'future':
        future = items.get.future()
        assert future.cancel()
    else:

        async def main() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(items.get.aio(), 0.1)

        asyncio.run(main())
    assert bench.echo.future('after the cancellation').result()
    items.put('kept')
    assert items.get(timeout=20) == 'kept'


class Cupboard(uactor.Actor):
    """Shares a queue and a lock."""

    _options_ = {'authkey': KEY}
    _method_to_typeid_ = {'lock': 'Lock', 'queue': 'Queue'}

    def __init__(self) -> None:
        self._lock, self._queue = threading.Lock(), queue.Queue[int]()

    def lock(self) -> Any:
        return self._lock

    def queue(self) -> Any:
        return self._queue


@pytest.fixture
def cupboard() -> Iterator[Any]:
    with Cupboard() as actor:
        yield actor


def test_a_result_that_arrives_before_its_task_is_cancelled_is_put_back(cupboard: Any) -> None:
    lock, items = cupboard.lock(), cupboard.queue()

    async def cancel(call: Any, has_taken: Any) -> None:
        task = asyncio.create_task(call)
        await asyncio.sleep(0)
        eventually(has_taken)  # the loop is busy, and does not take the result
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    items.put(1)
    items.put(2)
    asyncio.run(cancel(items.get.aio(), lambda: items.qsize() == 1))
    eventually(lambda: items.qsize() == 2)
    assert [items.get(), items.get()] == [1, 2]  # it is at the front again
    asyncio.run(cancel(lock.acquire.aio(), lock.locked))
    assert lock.acquire(timeout=20)


@pytest.mark.parametrize('kind', ['get', 'acquire'])
def test_a_future_that_is_cancelled_at_any_moment_takes_nothing(cupboard: Any, kind: str) -> None:
    lock, items = cupboard.lock(), cupboard.queue()
    kept = 0
    for number in range(200):
        items.put(number)
        future = items.get.future() if kind == 'get' else lock.acquire.future()
        end = time.perf_counter() + number % 20 * 20e-6
        while time.perf_counter() < end:
            pass
        if future.cancel():
            assert lock.acquire(timeout=20) if kind == 'acquire' else True
        else:
            kept += 1
            assert future.result() in (True, number)
        if kind == 'acquire':
            lock.release()
        elif future.cancelled():
            assert items.get(timeout=20) == number
    assert kept < 200


def test_no_item_is_lost_by_waits_that_time_out(cupboard: Any) -> None:
    items = cupboard.queue()

    async def take() -> list[int]:
        taken: list[int] = []
        while len(taken) < 100:
            try:
                taken.append(await asyncio.wait_for(items.get.aio(), 0.001))
            except asyncio.TimeoutError:
                continue
        return taken

    producer = threading.Thread(target=lambda: [items.put(number) for number in range(100)])
    producer.start()
    assert sorted(asyncio.run(take())) == [*range(100)]
    producer.join()


@pytest.mark.parametrize('stream', STREAM_KINDS if TRANSPORT == 'unix' else ['grpc'])
def test_a_revocable_result_is_taken_back_until_it_is_confirmed(cupboard: Any, stream: str) -> None:
    items = cupboard.queue()
    for number in range(4):
        items.put(number)
    with open_session(cupboard, stream) as session:
        session.enter(key=KEY, pipelined=True)
        handle = session.call('queue').handle.id
        get = pb.CallRequest(handle=handle, method='get')
        first, second = session.ask(call=get), session.ask(call=get)
        assert (first.result.int64, first.revocable) == (0, True)
        assert (second.result.int64, second.revocable) == (1, True)
        assert not session.ask(call=pb.CallRequest(handle=handle, method='qsize')).revocable
        session.send(confirm=pb.Confirm(request_id=first.id))
        session.send(cancel=pb.Cancel(request_id=second.id))
        session.send(cancel=pb.Cancel(request_id=second.id))  # once is enough
        session.send(cancel=pb.Cancel(request_id=first.id))  # too late
        assert session.call('qsize', handle=handle).int64 == 3
        assert session.call('get', handle=handle).int64 == 1
    assert items.qsize() == 2


def test_a_lock_that_is_waited_for_in_vain_is_not_taken() -> None:
    class Locking(Bench):
        _method_to_typeid_ = {'lock': 'Lock'}

        def __init__(self) -> None:
            super().__init__()
            self._plain = threading.Lock()

        def lock(self) -> Any:
            return self._plain

    with Locking() as locking:
        lock = locking.lock()
        lock.acquire()
        waiting = [lock.acquire.future() for _ in range(5)]
        for future in waiting:
            assert future.cancel()
        lock.release()
        assert lock.acquire(timeout=20)
        lock.release()


@pytest.mark.parametrize('way', ['future', 'aio'])
def test_a_coroutine_is_cancelled(bench: Any, way: str) -> None:
    if way == 'future':
        future = bench.later.future('never')
        assert bench.told().get() == 'begun never'
        assert future.cancel()
    else:
        told = bench.told()

        async def main() -> None:
            task = asyncio.create_task(bench.later.aio('never'))
            assert await told.get.aio() == 'begun never'
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
    assert bench.told().get() == 'cancelled never'


def test_a_coroutine_that_cancels_itself_is_an_error_of_its_own(bench: Any) -> None:
    class Quitting(Bench):
        async def quit(self) -> None:
            raise asyncio.CancelledError('itself')

    with Quitting() as quitting:
        with pytest.raises((asyncio.CancelledError, concurrent.futures.CancelledError)):
            quitting.quit.future().result()  # type: ignore[attr-defined]
        assert quitting.echo(1) == 1


@pytest.mark.usefixtures('usual_signals')
def test_a_blocking_call_is_interrupted_and_given_up(bench: Any) -> None:
    """By a signal, with a deadline that is far off."""
    told = bench.told()

    def interrupt() -> None:
        assert told.get() == 'begun'
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        bench.until_cancelled.options(timeout=60)()
    assert told.get() == 'cancelled'
    assert bench.echo(1) == 1


# --- streaming -----------------------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['count', 'count_async'])
def test_a_task_that_is_cancelled_in_a_stream_closes_it(bench: Any, kind: str) -> None:
    async def main() -> None:
        async def consume() -> None:
            async for _ in getattr(bench, kind).stream(10**9):
                pass

        task = asyncio.create_task(consume())
        while not await bench.most.aio():
            pass
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert bench.told().get(timeout=20) == 'closed'


def test_a_stream_that_is_closed_while_its_generator_waits(bench: Any) -> None:
    rows = bench.gated.stream('gate')
    assert next(rows) == 'first'
    assert bench.told().get() == 'begun gate'
    rows.close()
    bench.event('gate').set()
    assert bench.told().get(timeout=20) == 'closed'


# --- the result on its way -----------------------------------------------------------------------


def test_cancelling_what_is_done_changes_nothing(bench: Any) -> None:
    future = bench.echo.future('done')
    assert future.result() == 'done'
    assert not future.cancel()
    assert future.result() == 'done'


def test_objects_made_by_cancelled_calls_are_released() -> None:
    with Workshop() as workshop:
        make: Any = workshop.make
        futures = [make.future('list', list) for _ in range(200)]
        for future in futures:
            future.cancel()
        del futures, future
        gc.collect()
        eventually(lambda: workshop.shared() == 0, timeout=20)


def test_calls_that_are_cancelled_all_the_time_leave_nothing(bench: Any) -> None:
    for _ in range(20):
        futures = [bench.echo.future(number) for number in range(100)]
        kept = [
            future for number, future in enumerate(futures) if number % 2 or not future.cancel()
        ]
        assert all(future.result() in range(100) for future in kept)
    assert bench.add.future(1, 1).result() == 2
    pipeline = bench._manager.connection.link.pipeline()
    eventually(lambda: not pipeline.pending)


# --- over plain gRPC -----------------------------------------------------------------------------


def test_an_rpc_that_is_cancelled_is_given_up(bench: Any) -> None:
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        request = rpc.call_request('until_cancelled')
        call = client.stub.Call.future(request, metadata=client.metadata)
        assert bench.told().get() == 'begun'
        call.cancel()
        assert bench.told().get() == 'cancelled'


def test_an_rpc_of_a_coroutine_that_is_cancelled_cancels_it(bench: Any) -> None:
    with rpc.client_of(rpc.get_dial_address(bench)) as client:
        request = rpc.call_request('later', 'never')
        call = client.stub.Call.future(request, metadata=client.metadata)
        assert bench.told().get() == 'begun never'
        call.cancel()
        assert bench.told().get() == 'cancelled never'


def test_a_client_that_goes_gives_its_calls_up(bench: Any) -> None:
    client = multiprocessing.get_context('spawn').Process(target=begin_and_wait, args=(bench,))
    client.start()
    told = bench.told()
    assert {told.get(), told.get(), told.get()} == {'begun', 'begun never', 'closing'}
    client.kill()
    client.join()
    assert {told.get(), told.get(), told.get()} == {'cancelled', 'cancelled never', 'closed'}


def begin_and_wait(bench: Any) -> None:
    rows = bench.count.options(window=1).stream(10**9)
    next(rows)
    futures = [bench.until_cancelled.future(), bench.later.future('never')]
    bench.told().put('closing')
    concurrent.futures.wait(futures)


def test_a_recalled_call_leaves_its_room_to_other_messages() -> None:
    sent: list[bytes] = []
    pipeline = ClientPipeline(lambda: pytest.fail('it is never opened'), 'nowhere')
    session: Any = SimpleNamespace(
        send=sent.append, limit=0, memory=None, stream=SimpleNamespace(is_read_ahead=True)
    )
    pipeline.session = session
    call = ClientCall('a.0', 'echo', (), {}, lambda shared: shared)
    pending = PendingCall(pipeline, NO_RECEIVER, lambda *_: None, call)
    pipeline.submit(lambda number: bytes(1 << 16), pending, await_flush=True)
    assert pipeline.recall(pending)
    pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=5)))
    pipeline.flush_now()
    assert len(sent) == 1
