"""Out of threads, calls say what is true, and go on once there are threads again."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import eventually
from tests.support.bench import Bench

SHORT = 0.2


@pytest.fixture
def bench() -> Iterator[Any]:
    with Bench() as actor:
        yield actor


@contextlib.contextmanager
def out_of_threads(spared: int = 0) -> Iterator[None]:
    """Let no threads be started but so many, as by a limit of the system."""
    start, left = threading.Thread.start, iter(range(spared))

    def refuse(thread: threading.Thread) -> None:
        if next(left, None) is None:
            raise RuntimeError("can't start new thread")
        start(thread)

    threading.Thread.start = refuse  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        threading.Thread.start = start  # type: ignore[method-assign]


CALLS: dict[str, Callable[[Any], Any]] = {
    'future': lambda bench: bench.note.future(5).result(10),
    'deadline': lambda bench: bench.note.options(timeout=10)(5),
    'stream': lambda bench: list(bench.count.stream(3)),
    'map': lambda bench: list(bench.note.map([5])),
}


@pytest.mark.parametrize('call', CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize('spared', [0, 1])
def test_a_call_that_needs_a_thread_says_that_there_is_none(
    bench: Any, call: Callable[[Any], Any], spared: int
) -> None:
    assert bench.echo(5) == 5
    with out_of_threads(spared):
        with pytest.raises(uactor.ResourceError, match='can start no more threads') as caught:
            call(bench)
        assert caught.value.executed == 'no'
        assert isinstance(caught.value, RuntimeError)
        assert not isinstance(caught.value, uactor.ActorDiedError)
        assert bench.echo(6) == 6, 'what needs no thread goes on'
    assert bench.noted() == []
    assert call(bench)


def test_an_attribute_or_object_with_a_deadline_says_so_too(bench: Any) -> None:
    class Hasty(Bench):
        _options_ = {'timeout': 10}

    with Hasty() as hasty:
        with out_of_threads(), pytest.raises(uactor.ResourceError):
            hasty._manager.list()
        assert list(hasty._manager.list([1])) == [1]


def test_a_session_can_be_opened_without_threads(bench: Any) -> None:
    """Only nobody sees then how long that takes."""
    outcome: list[Any] = []
    gate = threading.Event()

    def run() -> None:
        gate.wait()
        outcome.append(bench.echo(5))

    thread = threading.Thread(target=run)
    thread.start()
    with out_of_threads():
        gate.set()
        thread.join(20)
    assert outcome == [5]


def test_deadlines_and_releases_are_kept_afterwards(bench: Any) -> None:
    from uactor.runtime.deferred import DeferredWork
    from uactor.runtime.timers import Timers

    timers, reaper, fired = Timers(), DeferredWork(), threading.Event()
    with out_of_threads():
        with pytest.raises(uactor.ResourceError):
            timers.at(0.0, lambda: pytest.fail('it was refused'))
        with pytest.raises(uactor.ResourceError):
            reaper.add_user()
    timers.at(0.0, fired.set)
    assert fired.wait(10)
    reaper.add_user()
    fired.clear()
    reaper.submit(fired.set)
    assert fired.wait(10)
    reaper.remove_user()
    with pytest.raises(uactor.DeadlineError):
        bench.until_cancelled.options(timeout=SHORT)()


_start = threading.Thread.start
_refused: list[str] = []


def refuse(thread: threading.Thread) -> None:
    _refused.append(thread.name)
    raise RuntimeError("can't start new thread")


def allow_threads(are_there: bool) -> None:
    """Let threads be started from now on, or none; runs in the actor."""
    threading.Thread.start = _start if are_there else refuse  # type: ignore[method-assign, assignment]


def list_refusals() -> list[str]:
    return _refused


def test_a_call_that_blocked_where_no_thread_could_read_on_keeps_no_other_from_running(
    bench: Any,
) -> None:
    assert bench.echo.future(1).result(20) == 1
    gate = bench.event('gate')
    bench.ask(allow_threads, False)
    try:
        waiting = bench.wait_for.future('gate')
        eventually(lambda: 'uactor-pipeline' in bench.ask(list_refusals))
        gate.set()
        assert waiting.result(20) is None
        assert bench.echo.future(2).result(20) == 2
    finally:
        bench.ask(allow_threads, True)


def test_a_session_without_a_thread_gets_an_error(bench: Any) -> None:
    assert bench.echo(5) == 5
    bench.ask(allow_threads, False)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as executor:
            outcome = executor.submit(bench.echo, 6).exception(30)
        assert isinstance(outcome, uactor.ActorUnreachableError)
        assert 'can start no more threads' in str(outcome)
    finally:
        bench.ask(allow_threads, True)
    assert bench.echo(7) == 7


def test_a_release_without_threads_does_not_disturb_later_calls(bench: Any) -> None:
    with out_of_threads():
        queue = bench.queue()
        queue.put(1)
        assert queue.get() == 1
        del queue
    eventually(lambda: bench.echo(5) == 5)
