"""Turns: threads of one process that make calls do so one after the other."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import uactor
from tests.support import Actor, eventually
from uactor.transport import baton as module
from uactor.transport.baton import Turns

pytestmark = [pytest.mark.quick, pytest.mark.pythons('locks')]

ONE, OTHER, THIRD = 1, 2, 3


def nothing() -> None: ...


@pytest.fixture
def turns() -> Turns:
    return Turns()


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
    for name in ('_SLICE', '_LONGEST', '_LOOK'):
        monkeypatch.setattr(module, name, 60.0)


def stands_in_line(turns: Turns, count: int = 1) -> None:
    eventually(lambda: len(turns.waiting) == count)


def test_the_first_thread_has_its_turn_at_once(turns: Turns) -> None:
    turns.take(ONE, NOW_AND_THEN, nothing)
    assert turns.holder == ONE


def test_a_thread_whose_call_has_ended_gives_way_at_once(turns: Turns) -> None:
    turns.take(ONE, NOW_AND_THEN, nothing)
    turns.done(ONE)
    turns.take(OTHER, NOW_AND_THEN, nothing)
    assert turns.holder == OTHER


@pytest.mark.usefixtures('endless')
def test_others_wait_while_a_thread_is_in_a_call(
    turns: Turns, begun: Callable[..., threading.Thread]
) -> None:
    turns.take(ONE, NOW_AND_THEN, nothing)
    waiting = begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    assert turns.holder == ONE
    turns.done(ONE)  # one that calls now and then
    waiting.join(10)
    assert turns.holder == OTHER


@pytest.mark.usefixtures('endless')
def test_a_thread_that_makes_calls_in_a_row_goes_on_while_others_wait(
    turns: Turns, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_PAUSE', 60.0)
    turns.take(ONE, in_a_row(), nothing)
    begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    for _ in range(100):
        turns.done(ONE)
        turns.take(ONE, in_a_row(), nothing)
        assert turns.holder == ONE
    turns.leave(ONE)


@pytest.mark.usefixtures('endless')
def test_its_turn_ends_after_a_while(
    turns: Turns, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_PAUSE', 60.0)
    rests = threading.Event()
    turns.take(ONE, in_a_row(), nothing)
    begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    turns._until = 0.0
    turns.done(ONE)
    first = begun(turns.take, ONE, in_a_row(), rests.set)
    assert rests.wait(10)  # before the other one has it
    eventually(lambda: turns.holder == OTHER)
    turns.leave(OTHER)
    first.join(10)
    assert turns.holder == ONE


def test_a_thread_that_has_stopped_to_call_rests_once_another_one_calls(turns: Turns) -> None:
    rests: list[int] = []
    turns.take(ONE, in_a_row(), lambda: rests.append(ONE))
    turns.done(ONE)
    turns.take(OTHER, in_a_row(), lambda: rests.append(OTHER))
    turns.done(OTHER)
    assert rests == [ONE]
    turns.take(OTHER, in_a_row(), lambda: rests.append(OTHER))
    turns.done(OTHER)
    assert rests == [ONE]


def test_a_thread_that_ends_rests(turns: Turns) -> None:
    rests: list[int] = []
    turns.take(ONE, in_a_row(), lambda: rests.append(ONE))
    turns.done(ONE)
    turns.end(OTHER)
    assert not rests
    turns.end(ONE)
    turns.take(OTHER, in_a_row(), nothing)
    assert rests == [ONE]


@pytest.mark.usefixtures('endless')
def test_a_thread_that_calls_now_and_then_is_let_in_before_the_next_call(
    turns: Turns, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_PAUSE', 60.0)
    turns.take(ONE, in_a_row(), nothing)
    begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    begun(turns.take, THIRD, NOW_AND_THEN, nothing)
    stands_in_line(turns, 2)
    turns.done(ONE)
    begun(turns.take, ONE, in_a_row(), nothing)
    eventually(lambda: turns.holder == THIRD)
    turns.done(THIRD)
    eventually(lambda: turns.holder == OTHER)
    turns.leave(OTHER)
    eventually(lambda: turns.holder == ONE)


@pytest.mark.usefixtures('endless')
def test_a_thread_that_sleeps_lets_the_next_one_go_on(
    turns: Turns, begun: Callable[..., threading.Thread]
) -> None:
    turns.take(ONE, in_a_row(), nothing)
    waiting = begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    turns.leave(ONE)
    waiting.join(10)
    assert turns.holder == OTHER
    turns.done(ONE)  # its call has come back meanwhile
    assert turns.holder == OTHER


def test_a_thread_that_makes_no_more_calls_is_not_waited_for(
    turns: Turns, begun: Callable[..., threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, '_PAUSE', 60.0)
    monkeypatch.setattr(module, '_LONGEST', 60.0)
    turns.take(ONE, in_a_row(), nothing)
    waiting = begun(turns.take, OTHER, in_a_row(), nothing)
    stands_in_line(turns)
    turns.done(ONE)
    waiting.join(10)
    assert turns.holder == OTHER


def test_nobody_waits_for_a_turn_for_long(turns: Turns) -> None:
    turns.take(ONE, in_a_row(), nothing)  # and never comes back
    turns.take(OTHER, in_a_row(), nothing)
    assert turns.holder == ONE
    assert not turns.waiting


def test_a_call_within_a_call_needs_no_other_turn(turns: Turns) -> None:
    turns.take(ONE, in_a_row(), nothing)
    turns.take(ONE, in_a_row(), nothing)  # of a finalizer
    turns.done(ONE)
    turns.done(ONE)
    assert turns.holder == ONE


@pytest.mark.usefixtures('endless', 'usual_signals')
def test_a_wait_that_ctrl_c_ends_leaves_the_line(
    turns: Turns, begun: Callable[..., threading.Thread]
) -> None:
    turns.take(ONE, in_a_row(), nothing)

    def interrupt() -> None:
        stands_in_line(turns)
        os.kill(os.getpid(), signal.SIGINT)

    begun(interrupt)
    with pytest.raises(KeyboardInterrupt):
        turns.take(OTHER, in_a_row(), nothing)
    assert not turns.waiting
    turns.leave(ONE)
    assert turns.holder == 0


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
    monkeypatch.setattr(module, '_LONGEST', 60.0)
    with Echo() as actor, Echo() as other:
        process = actor._manager.parent.process
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
