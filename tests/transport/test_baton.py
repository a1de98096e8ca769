"""CallBaton: threads of one process that make calls do so one after the other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import uactor
from tests.support import Actor, eventually
from uactor.transport import baton as module
from uactor.transport.baton import CallBaton

pytestmark = [pytest.mark.quick, pytest.mark.pythons('locks')]

ONE, OTHER, THIRD = 1, 2, 3


def nothing() -> None: ...


@pytest.fixture
def baton() -> CallBaton:
    return CallBaton()


@pytest.fixture
def begun() -> Iterator[Callable[..., threading.Thread]]:
    """Return what runs a function on a thread of its own."""
    threads: list[threading.Thread] = []

    def begin(function: Callable[..., object], *args: object) -> threading.Thread:
        threads.append(threading.Thread(target=function, args=args))
        threads[-1].start()
        return threads[-1]

    yield begin
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


def in_a_row() -> float:
    """Return when the last call has ended, of a thread that makes calls in a row."""
    return time.perf_counter()


NOW_AND_THEN = 0.0


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have turns last for as long as nobody gives them up, and nobody look whether one may be."""
    for name in ('_SLICE_S', '_MAX_WAIT_S', '_CHECK_S'):
        monkeypatch.setattr(module, name, 60.0)


def stands_in_line(baton: CallBaton, count: int = 1) -> None:
    eventually(lambda: len(baton.waiting) == count)


def test_the_first_thread_has_its_turn_at_once(baton: CallBaton) -> None:
    baton.acquire(ONE, NOW_AND_THEN, nothing)
    assert baton.holder == ONE


def test_a_thread_whose_call_has_ended_gives_way_at_once(baton: CallBaton) -> None:
    baton.acquire(ONE, NOW_AND_THEN, nothing)
    baton.release(ONE)
    baton.acquire(OTHER, NOW_AND_THEN, nothing)
    assert baton.holder == OTHER


@pytest.mark.usefixtures('endless')
def test_others_wait_while_a_thread_is_in_a_call(
    baton: CallBaton, begun: Callable[..., threading.Thread]
) -> None:
    baton.acquire(ONE, NOW_AND_THEN, nothing)
    waiting = begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    assert baton.holder == ONE
    baton.release(ONE)  # one that calls now and then
    waiting.join(10)
    assert baton.holder == OTHER


@pytest.mark.usefixtures('endless')
def test_a_thread_that_makes_calls_in_a_row_goes_on_while_others_wait(
    baton: CallBaton, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_MAX_GAP_S', 60.0)
    baton.acquire(ONE, in_a_row(), nothing)
    begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    for _ in range(100):
        baton.release(ONE)
        baton.acquire(ONE, in_a_row(), nothing)
        assert baton.holder == ONE
    baton.yield_(ONE)


@pytest.mark.usefixtures('endless')
def test_its_turn_ends_after_a_while(
    baton: CallBaton, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_MAX_GAP_S', 60.0)
    rests = threading.Event()
    baton.acquire(ONE, in_a_row(), nothing)
    begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    baton.slice_end = 0.0
    baton.release(ONE)
    first = begun(baton.acquire, ONE, in_a_row(), rests.set)
    assert rests.wait(10)  # before the other one has it
    eventually(lambda: baton.holder == OTHER)
    baton.yield_(OTHER)
    first.join(10)
    assert baton.holder == ONE


def test_a_thread_that_has_stopped_to_call_rests_once_another_one_calls(baton: CallBaton) -> None:
    rests: list[int] = []
    baton.acquire(ONE, in_a_row(), lambda: rests.append(ONE))
    baton.release(ONE)
    baton.acquire(OTHER, in_a_row(), lambda: rests.append(OTHER))
    baton.release(OTHER)
    assert rests == [ONE]
    baton.acquire(OTHER, in_a_row(), lambda: rests.append(OTHER))
    baton.release(OTHER)
    assert rests == [ONE]


def test_a_thread_that_ends_rests(baton: CallBaton) -> None:
    rests: list[int] = []
    baton.acquire(ONE, in_a_row(), lambda: rests.append(ONE))
    baton.release(ONE)
    baton.retire(OTHER)
    assert not rests
    baton.retire(ONE)
    baton.acquire(OTHER, in_a_row(), nothing)
    assert rests == [ONE]


@pytest.mark.usefixtures('endless')
def test_a_thread_that_calls_now_and_then_is_let_in_before_the_next_call(
    baton: CallBaton, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_MAX_GAP_S', 60.0)
    baton.acquire(ONE, in_a_row(), nothing)
    begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    begun(baton.acquire, THIRD, NOW_AND_THEN, nothing)
    stands_in_line(baton, 2)
    baton.release(ONE)
    begun(baton.acquire, ONE, in_a_row(), nothing)
    eventually(lambda: baton.holder == THIRD)
    baton.release(THIRD)
    eventually(lambda: baton.holder == OTHER)
    baton.yield_(OTHER)
    eventually(lambda: baton.holder == ONE)


@pytest.mark.usefixtures('endless')
def test_a_thread_that_sleeps_lets_the_next_one_go_on(
    baton: CallBaton, begun: Callable[..., threading.Thread]
) -> None:
    baton.acquire(ONE, in_a_row(), nothing)
    waiting = begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    baton.yield_(ONE)
    waiting.join(10)
    assert baton.holder == OTHER
    baton.release(ONE)  # its call has come back meanwhile
    assert baton.holder == OTHER


def test_a_thread_that_makes_no_more_calls_is_not_waited_for(
    baton: CallBaton, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_MAX_GAP_S', 60.0)
    monkeypatch.setattr(module, '_MAX_WAIT_S', 60.0)
    baton.acquire(ONE, in_a_row(), nothing)
    waiting = begun(baton.acquire, OTHER, in_a_row(), nothing)
    stands_in_line(baton)
    baton.release(ONE)
    waiting.join(10)
    assert baton.holder == OTHER


def test_nobody_waits_for_a_turn_for_long(baton: CallBaton) -> None:
    baton.acquire(ONE, in_a_row(), nothing)  # and never comes back
    baton.acquire(OTHER, in_a_row(), nothing)
    assert baton.holder == ONE
    assert not baton.waiting


def test_a_call_within_a_call_needs_no_other_turn(baton: CallBaton) -> None:
    baton.acquire(ONE, in_a_row(), nothing)
    baton.acquire(ONE, in_a_row(), nothing)  # of a finalizer
    baton.release(ONE)
    baton.release(ONE)
    assert baton.holder == ONE


@pytest.mark.usefixtures('endless', 'usual_signals')
def test_a_wait_that_ctrl_c_ends_leaves_the_line(
    baton: CallBaton, begun: Callable[..., threading.Thread]
) -> None:
    baton.acquire(ONE, in_a_row(), nothing)

    def interrupt() -> None:
        stands_in_line(baton)
        os.kill(os.getpid(), signal.SIGINT)

    begun(interrupt)
    with pytest.raises(KeyboardInterrupt):
        baton.acquire(OTHER, in_a_row(), nothing)
    assert not baton.waiting
    baton.yield_(ONE)
    assert baton.holder == 0


# --- calls ---------------------------------------------------------------------------------------


class Echo(Actor):
    def __init__(self) -> None:
        self.barrier = threading.Barrier(8)

    def echo(self, value: int) -> int:
        return value

    def meet(self) -> int:
        return self.barrier.wait(30)


@pytest.mark.processes
def test_calls_of_many_threads_bring_each_its_own_result() -> None:
    with Echo() as actor, ThreadPoolExecutor(8) as pool:

        def calls(thread: int) -> list[int]:
            return [actor.echo(1000 * thread + number) for number in range(300)]

        results = list(pool.map(calls, range(8)))
    assert results == [[1000 * thread + number for number in range(300)] for thread in range(8)]


@pytest.mark.processes
def test_threads_whose_calls_take_time_wait_side_by_side() -> None:
    with Echo() as actor, ThreadPoolExecutor(8) as pool:
        list(pool.map(actor.echo, range(800)))
        assert sorted(pool.map(lambda _: actor.meet(), range(8))) == list(range(8))


@pytest.mark.processes
def test_the_end_of_an_actor_ends_the_turn_of_who_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, '_MAX_WAIT_S', 60.0)
    with Echo() as actor, Echo() as other:
        process: Any = actor._manager.parent.process
        actor.echo(1)
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(uactor.ActorDiedError):
            actor.echo(1)
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(other.echo, 7).result(30) == 7


@pytest.mark.processes
@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there are no forks')
def test_a_forked_child_has_turns_of_its_own() -> None:
    with Echo() as actor, ThreadPoolExecutor(2) as pool:
        busy = threading.Event()

        def calls() -> None:
            while not busy.is_set():
                actor.echo(1)

        running = [pool.submit(calls) for _ in range(2)]
        try:
            actor.echo(1)
            for _ in range(5):
                child = os.fork()
                if not child:
                    os._exit(int(actor.echo(7) != 7))
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        finally:
            busy.set()
        for call in running:
            call.result(10)
