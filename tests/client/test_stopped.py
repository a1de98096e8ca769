"""Actors that are there and do not answer: what opens a session to one does not wait for ever."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor, eventually
from tests.support.bench import Bench
from tests.support.rpc import KEY
from uactor.client import link, timeouts

SHORT = 0.3


class Shared(Bench):
    _method_to_typeid_ = {'rlock': 'RLock', 'items': 'list'}
    _exposed_ = (
        *('rlock', 'items', 'event', 'queue', 'told', 'echo', 'note', 'noted', 'pid', 'level'),
    )
    level = 5

    def __init__(self) -> None:
        super().__init__()
        self._rlock = threading.RLock()
        self._items = [1, 2]

    def rlock(self) -> Any:
        return self._rlock

    def items(self) -> list[int]:
        return self._items


@pytest.fixture
def actor() -> Iterator[Any]:
    with Shared() as actor:
        yield actor


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a handshake for long."""
    for function in (link.Link.open, link.Link.session):
        defaults = tuple(SHORT if each == 20.0 else each for each in function.__defaults__ or ())
        monkeypatch.setattr(function, '__defaults__', defaults)


@contextlib.contextmanager
def stop_process(actor: Any) -> Iterator[None]:
    pid = actor.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def on_a_fresh_thread(call: Callable[[], Any]) -> BaseException | Any:
    """Return what a call returns or raises on a thread that has no session."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(call())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome.get(timeout=15)


DEADLINES: dict[str, Callable[[Any], Any]] = {
    'call': lambda actor: actor.note.options(timeout=SHORT)(1),
    'future': lambda actor: actor.note.options(timeout=SHORT).future(1).result(),
    'stream': lambda actor: list(actor.noted.options(timeout=SHORT).stream()),
    'map': lambda actor: list(actor.note.options(timeout=SHORT).map([1])),
}


@pytest.mark.parametrize('call', DEADLINES.values(), ids=list(DEADLINES))
def test_a_call_with_a_deadline_ends_at_it_and_never_runs(
    actor: Any, call: Callable[[Any], Any]
) -> None:
    with stop_process(actor):
        error = on_a_fresh_thread(functools.partial(call, actor))
        assert type(error) is uactor.DeadlineError, error
        assert error.executed == 'no'
    assert actor.echo(5) == 5
    assert actor.noted() == []


def test_a_lock_with_a_deadline_is_not_waited_for_longer(actor: Any) -> None:
    lock = actor.rlock()
    with stop_process(actor):
        error: Any = on_a_fresh_thread(lambda: lock.acquire.options(timeout=SHORT)())
        assert (type(error), error.executed) == (uactor.DeadlineError, 'no')
        with pytest.raises(uactor.DeadlineError) as caught:  # this thread has a session
            lock.acquire.options(timeout=SHORT)()
        assert caught.value.executed == 'maybe'
    assert on_a_fresh_thread(lambda: lock.acquire() and lock.release()) is None


@pytest.mark.usefixtures('impatient')
def test_a_call_without_a_deadline_fails_when_the_actor_does_not_answer(actor: Any) -> None:
    with stop_process(actor):
        for call in (
            lambda: actor.note(1),
            lambda: actor.level,
            lambda: actor.note.future(1).result(),
        ):
            error = on_a_fresh_thread(call)
            assert type(error) is uactor.ActorUnreachableError, error
            assert 'accepts connections but does not answer' in str(error)
    assert on_a_fresh_thread(lambda: actor.echo(5)) == 5
    assert actor.noted() == []


def test_to_connect_takes_no_longer_than_one_likes(actor: Any) -> None:
    with stop_process(actor):
        with pytest.raises(uactor.ActorUnreachableError, match=r'does not answer: 0\.3 seconds'):
            Shared.connect(actor.connection_address, KEY, timeout=SHORT, transport='grpc')
        with pytest.raises(uactor.ActorUnreachableError, match=r'does not answer: 0\.3 seconds'):
            Shared.connect(actor.connection_address, timeout=SHORT)  # though there is a connection
        error = on_a_fresh_thread(
            lambda: Shared.connect(actor.connection_address, timeout=SHORT, authkey=b'other')
        )
        assert 'accepts connections but does not answer' in str(error)
    assert Shared.connect(actor.connection_address, timeout=30).echo(5) == 5


@pytest.mark.parametrize('timeout', ['1', float('nan')])
def test_a_connect_timeout_that_is_not_a_number_is_refused(actor: Any, timeout: Any) -> None:
    with pytest.raises((TypeError, ValueError), match='a number of seconds'):
        Shared.connect(actor.connection_address, timeout=timeout)


def test_a_connect_timeout_may_be_as_long_as_the_caller_likes(actor: Any) -> None:
    for timeout in float('inf'), 1e10, None:
        assert Shared.connect(actor.connection_address, timeout=timeout).echo(5) == 5


class Ending(Shared):
    """Has to end before long."""

    _options_ = {'shutdown_timeout': SHORT}


@pytest.mark.parametrize('error', [None, KeyError('of the block')])
def test_a_block_is_left_although_its_actor_is_stopped(error: Exception | None) -> None:
    actor = Ending()
    process = actor._manager.process
    assert process is not None
    with pytest.raises(KeyError) if error else contextlib.nullcontext(), actor:
        os.kill(process.pid, signal.SIGSTOP)
        if error:
            raise error
    assert process.exitcode == -signal.SIGKILL


class Listener:
    """Listens, and never accepts."""

    def __init__(self, path: str) -> None:
        import socket

        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(0)
        self.others = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for other in self.others:
            other.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                other.connect(path)

    def close(self) -> None:
        for sock in (self.listener, *self.others):
            sock.close()


@pytest.mark.parametrize('lane', [True, False])
def test_a_listener_that_is_full_is_not_waited_for_longer(tmp_path: Any, lane: bool) -> None:
    from uactor.transport.lane import lane_path

    path = str(tmp_path / 's')
    listeners = [Listener(path)] + ([Listener(lane_path(path))] if lane else [])
    with pytest.raises(uactor.ActorUnreachableError, match='accepts connections but does not'):
        Shared.connect(f'unix:{path}', timeout=SHORT)
    for listener in listeners:
        listener.close()
    with pytest.raises(uactor.ActorUnreachableError, match='nothing answers'):
        Shared.connect(f'unix:{path}', timeout=SHORT)


class Caller(Actor):
    def ask(self, other: Any, way: str) -> Any:
        try:
            if way == 'attribute':
                return other.level
            if way == 'pickle':
                return pickle.dumps(other)
            if way == 'connect':
                return Shared.connect(other.connection_address, transport='grpc')
            return other.note(1)
        except uactor.DeadlineError as error:
            return error.executed


@pytest.mark.parametrize('way', ['call', 'attribute', 'connect'])
def test_the_deadline_of_a_method_holds_for_the_sessions_that_it_opens(
    actor: Any, way: str
) -> None:
    with Caller() as caller:
        assert caller.ask(actor, 'call') == 1
        with stop_process(actor):
            future = caller.ask.options(timeout=20 * SHORT).future(actor, way)  # type: ignore[attr-defined]
            del future
            answer = on_a_fresh_thread(
                lambda: caller.ask.options(timeout=SHORT)(actor, way)  # type: ignore[attr-defined]
            )
            assert type(answer) is uactor.DeadlineError
        gc.collect()
        assert caller.ask(actor, 'call') == 1


def test_a_fork_does_not_wait_for_an_actor_that_does_not_answer(actor: Any) -> None:
    items = actor.items()
    with stop_process(actor):
        pid = os.fork()
        if not pid:
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
    assert list(items) == [1, 2]


def test_handshakes_have_a_limit() -> None:
    """That of a session that nobody limits is in one place."""
    assert 1 <= timeouts.HANDSHAKE_S <= 60


def test_a_shared_object_survives_while_its_actor_is_stopped(actor: Any) -> None:
    items = actor.items()
    with stop_process(actor):
        error = on_a_fresh_thread(lambda: items.__len__.options(timeout=SHORT)())
        assert type(error) is uactor.DeadlineError
    eventually(lambda: len(items) == 2)
