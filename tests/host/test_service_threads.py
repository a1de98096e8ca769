"""Threads that a process depends on go on after an item that raises anything."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import uactor
from tests.support import TRANSPORT, eventually
from tests.support.bench import Bench
from tests.support.programs import run_python
from tests.support.raw_session import End, RawLaneStream, RawSession, find_lane
from uactor.client.fork_watch import ForkedChild
from uactor.client.keepalive import IdleStreams
from uactor.client.pipeline import ClientPipeline
from uactor.core import auth
from uactor.host.cancellation import CancelToken
from uactor.host.execution.event_loop import EventLoop
from uactor.host.execution.watchdog import Watch
from uactor.host.execution.workers import Workers
from uactor.host.grpc.executor import ThreadPerCall
from uactor.host.holders import LOCAL, of_client
from uactor.host.objects.table import ObjectTable
from uactor.runtime import fork_hooks, threads
from uactor.runtime.deferred import DeferredWork
from uactor.runtime.timers import Timers
from uactor.transport.outbox import Outbox
from uactor.v1 import actor_pb2 as pb

A_CLIENT = of_client('a client')

ERRORS = [SystemExit, KeyboardInterrupt, RuntimeError, MemoryError]


@pytest.fixture(params=ERRORS)
def error(request: pytest.FixtureRequest) -> type[BaseException]:
    kind: type[BaseException] = request.param
    return kind


@pytest.fixture
def failing(error: type[BaseException]) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        raise error('on purpose')

    return fail


def has_logged_error(caplog: pytest.LogCaptureFixture) -> bool:
    """Tell whether an error has been logged, with its traceback."""
    return any(
        record.levelno >= logging.ERROR
        and record.exc_info
        and 'on purpose' in str(record.exc_info[1])
        for record in caplog.records
    )


class Waiting:
    """Is called, and can be waited for."""

    def __init__(self) -> None:
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()

    def __call__(self, *args: Any) -> None:
        self.calls.put(None)

    def wait(self) -> None:
        self.calls.get(timeout=10)


# --- each kind of thread -------------------------------------------------------------------------


def test_timers_go_on(failing: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    timers, fired = Timers(), Waiting()
    for _ in range(3):
        timers.at(0.0, failing)
        timers.at(0.0, fired)
        fired.wait()
    assert has_logged_error(caplog)


def test_the_reaper_goes_on(failing: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    reaper, done = DeferredWork(), Waiting()
    reaper.add_user()
    for _ in range(3):
        reaper.submit(failing)
        reaper.submit(done)
        done.wait()
    reaper.remove_user()
    assert has_logged_error(caplog)


def test_workers_go_on(failing: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    workers, done = Workers(), Waiting()
    for _ in range(3):
        workers.put(failing)
        workers.put(done)
        done.wait()
    assert has_logged_error(caplog)


def test_workers_become_more_after_one_who_looks_has_failed(
    failing: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers, done, gate = Workers(), Waiting(), threading.Event()
    add = workers.add_workers
    fails = iter([True, True])

    def fail_at_first(count: int) -> int:
        return failing() if next(fails, False) else add(count)

    monkeypatch.setattr(workers, 'add_workers', fail_at_first)

    def wait() -> None:
        gate.wait()

    workers.put(wait)
    workers.put(done)
    done.wait()
    gate.set()
    assert has_logged_error(caplog)


def test_a_job_that_does_not_end_is_noticed_after_one_who_looks_has_failed(
    failing: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    overdue = Waiting()
    outcomes = iter([failing, failing])

    def tell() -> None:
        next(outcomes, overdue)()

    watch = Watch(tell, failing, lambda: 0)
    for _ in range(3):
        with watch:
            threads.attempt('the first', time.sleep, 0.02)
    with watch:
        overdue.wait()
    assert has_logged_error(caplog)


def test_an_event_loop_goes_on(error: type[BaseException]) -> None:
    async def fail() -> None:
        raise error('on purpose')

    async def succeed() -> int:
        await asyncio.sleep(0)
        return 5

    async def stop() -> None:
        asyncio.get_running_loop().stop()

    loop = EventLoop()
    for _ in range(3):
        with pytest.raises(error):
            loop.wait(fail(), CancelToken())
        assert loop.wait(succeed(), CancelToken()) == 5
        loop.wait(stop(), CancelToken())
        assert loop.wait(succeed(), CancelToken()) == 5


def test_threads_of_rpcs_go_on(failing: Callable[..., Any], error: type[BaseException]) -> None:
    executor = ThreadPerCall()
    for _ in range(3):
        future = executor.submit(failing)
        future.add_done_callback(failing) if error is RuntimeError else None
        with pytest.raises(error):
            future.result(10)
        assert executor.submit(lambda: 5).result(10) == 5


def test_the_reserve_of_rpcs_goes_on(
    failing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ThreadPerCall()
    for _ in range(3):
        executor.reserve_work.put(failing)
        done = Waiting()
        executor.reserve_work.put(done)
        done.wait()
    assert has_logged_error(caplog)


def test_leases_end_after_one_that_could_not(
    failing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = ObjectTable(lambda value, typeid: (frozenset(), {}))
    end, bad = table.end_lease, list[Any]()

    def end_or_fail(lease_id: str) -> Any:
        if not bad:
            bad.append(lease_id)
            failing()
        return end(lease_id)

    monkeypatch.setattr(table, 'end_lease', end_or_fail)
    for _ in range(2):
        entry = table.share(object(), 'auto', A_CLIENT)
        table.lease([entry.id], 0.001)
        table.release([entry.id], A_CLIENT)
    eventually(lambda: not len(table))
    assert has_logged_error(caplog)


def test_leases_of_absurd_seconds_keep_none_from_ending() -> None:
    table = ObjectTable(lambda value, typeid: (frozenset(), {}))
    lasting, short = (table.share(object(), 'auto', A_CLIENT) for _ in range(2))
    for seconds in float('inf'), 1e300, 1e10:
        table.lease([lasting.id], seconds)
    table.lease([short.id], 0.001)
    table.release([short.id, lasting.id], A_CLIENT)
    eventually(lambda: len(table) == 1)
    with pytest.raises(ValueError, match='not nan'):
        table.lease([lasting.id], float('nan'))


def test_holds_are_taken_back_after_one_that_could_not_be(
    failing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = ObjectTable(lambda value, typeid: (frozenset(), {}))
    entries = [table.share(object(), 'auto', LOCAL) for _ in range(2)]
    drop = table.drop_holds

    def drop_or_fail(handle: str, *args: Any) -> Any:
        return failing() if handle == entries[0].id else drop(handle, *args)

    monkeypatch.setattr(table, 'drop_holds', drop_or_fail)
    table.expect_releases()
    for entry in entries:
        table.release_later(entry.id)
    eventually(lambda: len(table) == 1)
    eventually(lambda: has_logged_error(caplog))


class Stream:
    """A stream that is idle; attending to it may fail."""

    def __init__(self, attend: Callable[[], bool]) -> None:
        self.ended = False
        self.progress = 0
        self.attended = attend
        self.ours, self.theirs = socket.socketpair()

    def fileno(self) -> int:
        return self.ours.fileno()

    def attend(self) -> bool:
        return self.attended()


def test_idle_streams_are_attended_to_beside_one_that_fails(
    failing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr('uactor.client.keepalive._PERIOD_S', 0.01)
    watch, attended = IdleStreams(), Waiting()

    def attend() -> bool:
        attended()
        return True

    bad, good = Stream(failing), Stream(attend)
    watch.add(bad)
    watch.add(good)
    attended.wait()
    for _ in range(3):
        good.theirs.send(b'.')
        attended.wait()
        good.ours.recv(1)
    bad.ended = good.ended = True
    watch.add(bad)
    assert has_logged_error(caplog)
    for stream in bad, good:
        stream.ours.close()
        stream.theirs.close()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no forks')
def test_all_hear_of_the_end_of_a_forked_child(
    failing: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    child, heard = ForkedChild(), Waiting()
    other = os.dup(child.child_end)  # as the child has it
    child.watch_in_parent([failing, heard])
    os.close(other)
    heard.wait()
    assert has_logged_error(caplog)


def test_calls_at_forks_are_made_after_one_that_fails(
    failing: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    made = Waiting()
    fork_hooks.run_hooks([failing, made])
    made.wait()
    assert has_logged_error(caplog)


def test_the_end_of_a_thread_is_logged_and_fails_its_callers(
    failing: Callable[..., Any], error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    ended: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    threads.start_daemon('uactor-test', failing, failed=ended.put)
    assert type(ended.get(timeout=10)) is error
    assert has_logged_error(caplog)
    assert 'uactor-test has ended' in caplog.text


def test_a_log_handler_that_raises_ends_no_thread(
    error: type[BaseException], capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise error('on purpose')

    timers, fired, broken = Timers(), Waiting(), Broken()
    threads.log.addHandler(broken)
    try:
        timers.at(0.0, lambda: 1 / 0)
        timers.at(0.0, fired)
        fired.wait()
    finally:
        threads.log.removeHandler(broken)


def test_a_step_that_always_fails_takes_no_core(caplog: pytest.LogCaptureFixture) -> None:
    steps = []

    def step() -> bool:
        steps.append(time.monotonic())
        if len(steps) > 5:
            return False
        raise RuntimeError('on purpose')

    thread = threads.OnDemandThread('uactor-test', step)
    thread.ensure_running()
    eventually(lambda: len(steps) == 6)
    assert steps[-1] - steps[0] >= 0.15  # pauses of 10, 20, 40, 80 ms


# --- in whole processes --------------------------------------------------------------------------


class Callers(Bench):
    async def exits(self) -> None:
        raise SystemExit('on purpose')

    async def stops(self) -> None:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)


@pytest.fixture
def bench() -> Iterator[Any]:
    with Callers() as actor:
        yield actor


def test_an_exception_of_a_callback_ends_no_other_call(
    bench: Any, failing: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    called = Waiting()
    event = bench.event('gate')
    for _ in range(3):
        future = bench.wait_for.future('gate')
        future.add_done_callback(failing)
        future.add_done_callback(called)
        event.set()
        called.wait()
        event.clear()
        assert bench.echo.future(5).result(10) == 5


def test_a_coroutine_that_raises_system_exit_or_stops_the_loop_ends_no_other(bench: Any) -> None:
    for _ in range(3):
        with pytest.raises(SystemExit):
            bench.exits()
        assert bench.meet(1) is not None
        bench.stops()
        assert bench.meet(1) is not None
        assert bench.meet.future(1).result(10) is not None


@pytest.mark.skipif(TRANSPORT != 'unix', reason='about local lanes')
@pytest.mark.parametrize(
    'number',
    [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED, errno.ENOBUFS, errno.ENOMEM, errno.EPERM],
)
def test_connections_are_accepted_after_one_that_could_not_be(number: int) -> None:
    class Faulty(Bench):
        def fail(self, number: int) -> None:
            accept = socket.socket.accept
            left = iter(range(3))

            def fails(sock: socket.socket) -> Any:
                if next(left, None) is None:
                    socket.socket.accept = accept  # type: ignore[method-assign]
                    return accept(sock)
                raise OSError(number, os.strerror(number))

            socket.socket.accept = fails  # type: ignore[assignment,method-assign]

    def answers(bench: Any) -> bool:
        try:
            return bool(on_another_thread(lambda: bench.echo(5)) == 5)
        except uactor.UActorException:  # without a descriptor it is turned away
            return False

    with Faulty() as bench:
        bench.fail(number)
        eventually(lambda: answers(bench))


@pytest.mark.skipif(TRANSPORT != 'unix', reason='about local lanes')
def test_connections_are_accepted_after_one_that_can_not_be_served() -> None:
    class Faulty(Bench):
        def fail(self) -> None:
            from uactor.host import lane_listener

            get_peer_user = lane_listener.get_peer_user

            def fails(sock: socket.socket) -> int:
                lane_listener.get_peer_user = get_peer_user
                raise OSError(errno.ENOTCONN, 'on purpose')

            lane_listener.get_peer_user = fails

    with Faulty() as bench:
        bench.fail()
        with pytest.raises(End), contextlib.closing(RawLaneStream(find_lane(bench))) as stream:
            RawSession(stream).enter(key=auth.get_family_key())
        with contextlib.closing(RawLaneStream(find_lane(bench))) as stream:
            RawSession(stream).enter(key=auth.get_family_key()).leave()
        assert on_another_thread(lambda: bench.echo(5)) == 5


def on_another_thread(call: Callable[[], Any]) -> Any:
    outcome: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:
            outcome.put((None, error))

    threading.Thread(target=run).start()
    value, error = outcome.get(timeout=20)
    if error is not None:
        raise error
    return value


EXITS = """
import sys, threading, uactor
from uactor.launch.actor_process import ActorProcess

class Plain(uactor.Actor):
    pass

actor = Plain()
process = actor._manager.process
def fail(): raise SystemExit('on purpose')
process.on_exit(fail)
heard = threading.Event()
process.on_exit(heard.set)
actor.shutdown()
process.join(10)
print(process.exitcode, heard.is_set())
"""


def test_the_end_of_a_process_is_waited_for_although_a_callback_fails() -> None:
    program = run_python('-c', EXITS)
    assert program.stdout == '0 True\n'
    assert 'on purpose' in program.stderr


NO_BARE_THREADS = 'threading.Thread(', 'threading.Thread,', 'threading.Timer('


def test_threads_are_started_in_one_place() -> None:
    import pathlib

    package = pathlib.Path(uactor.__file__).parent
    found = [
        path.name
        for path in package.rglob('*.py')
        if any(call in path.read_text() for call in NO_BARE_THREADS)
    ]
    assert found == ['threads.py']


def test_the_thread_for_deferred_work_ends_when_nothing_is_open() -> None:
    before, deferred = set(threading.enumerate()), DeferredWork()
    deferred.add_user()
    [thread] = set(threading.enumerate()) - before
    deferred.remove_user()
    thread.join(20)
    assert not thread.is_alive()


def test_a_waiting_sender_is_woken_by_an_end_at_its_beginning() -> None:
    class Ending(Outbox[bytes]):
        """Ends just before it knows that somebody waits."""

        @property
        def _is_awaited(self) -> bool:
            return bool(vars(self).get('is_awaited'))

        @_is_awaited.setter
        def _is_awaited(self, is_awaited: bool) -> None:
            if is_awaited:
                self.end()
            vars(self)['is_awaited'] = is_awaited

    found: list[bool] = []
    outbox = Ending()
    thread = threading.Thread(target=lambda: found.append(outbox.wait()), daemon=True)
    thread.start()
    thread.join(20)
    assert found == [False]


def test_memory_of_an_answer_that_nobody_waits_for_is_given_back() -> None:
    ignored: queue.SimpleQueue[Any] = queue.SimpleQueue()
    response = pb.SessionResponse(id=99)
    response.result.pickle.memory.slot = 5
    answers = iter([response])

    def receive() -> pb.SessionResponse:
        for answer in answers:
            return answer
        raise uactor.ActorDiedError('no more')

    session: Any = SimpleNamespace(
        receive=receive,
        memory=SimpleNamespace(ignore=ignored.put),
        definitions=None,
        abandon=lambda: None,
    )
    ClientPipeline(lambda: session, 'nowhere').start()
    [memory] = ignored.get(timeout=20)
    assert memory.slot == 5


def test_timers_that_are_cancelled_leave_the_others_in_their_order() -> None:
    timers, fired = Timers(), threading.Event()
    now = time.monotonic()
    others = [timers.at(now + 1000 + number, int) for number in range(200)]
    timers.at(now + 0.3, fired.set)
    for other in others[:150]:
        other.cancel()
    assert fired.wait(20)
