"""Actors as context managers, and shutdown: which hook runs when, and who gets which exception."""

from __future__ import annotations

import pathlib
import threading
from typing import Any

import pytest

import uactor
from tests.support import Actor


class PlainActor(Actor):
    def method(self) -> None: ...


class Diary(Actor):
    """Writes its hooks into a file, which outlives it."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._write('__init__')

    def _write(self, line: str) -> None:
        with self._path.open('a') as file:
            file.write(line + '\n')

    def __enter__(self) -> Any:
        self._write('__enter__')
        return super().__enter__()

    def __exit__(self, exc_type: Any, exc_value: Any, traceback: Any) -> bool | None:
        name = exc_type and exc_type.__name__
        self._write(f'__exit__ {name} {exc_value!r} {traceback}')
        return super().__exit__(exc_type, exc_value, traceback)

    def shutdown(self) -> None:
        self._write('shutdown')
        super().shutdown()


@pytest.fixture
def path(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'diary'


class SwallowingActor(Actor):
    def __exit__(self, exc_type: Any, *exc_info: Any) -> bool:
        return exc_type is ValueError


class UnleavableActor(Actor):
    def __exit__(self, *exc_info: Any) -> None:
        raise LookupError('there is no way out')


class MuteActor(Actor):
    """Forgets to return itself from __enter__."""

    def __enter__(self) -> None: ...  # type: ignore[override]


class UnpicklableError(Exception):
    def __init__(self) -> None:
        super().__init__('held a lock')
        self.lock = threading.Lock()


def test_leaving_the_block_of_the_owner_ends_the_process() -> None:
    actor = PlainActor()
    process = actor._manager.process
    with actor as entered:
        assert entered._token == actor._token
        with entered:
            pass
        assert process.is_alive()  # only the owner's block ends it
    assert not process.is_alive()
    assert process.exitcode == 0


def test_hooks_run_in_the_order_enter_exit_shutdown(path: pathlib.Path) -> None:
    with Diary(path):
        pass
    assert path.read_text().split('\n') == [
        '__init__',
        '__enter__',
        '__exit__ None None None',
        'shutdown',
        '',
    ]


def test_shutdown_without_a_block_runs_its_hook_once(path: pathlib.Path) -> None:
    diary = Diary(path)
    process = diary._manager.process
    diary.shutdown()
    assert not process.is_alive()
    assert path.read_text().split() == ['__init__', 'shutdown']


def test_exit_of_the_actor_gets_the_exception_without_a_traceback(path: pathlib.Path) -> None:
    with pytest.raises(KeyError), Diary(path):
        raise KeyError('gone')
    assert "__exit__ KeyError KeyError('gone') None" in path.read_text()


def test_exit_of_the_actor_gets_an_exception_that_cannot_be_pickled(
    path: pathlib.Path,
) -> None:
    with pytest.raises(UnpicklableError), Diary(path):
        raise UnpicklableError
    assert '__exit__ RemoteError RemoteError(' in path.read_text()
    assert 'UnpicklableError' in path.read_text()
    assert 'held a lock' in path.read_text()


@pytest.mark.parametrize('error_class', [ValueError, UnpicklableError, KeyboardInterrupt])
def test_an_exception_in_the_block_reaches_the_caller_unchanged(
    error_class: type[BaseException],
) -> None:
    error = error_class()
    with pytest.raises(error_class) as caught, PlainActor():
        raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None


def test_a_true_result_of_exit_swallows_the_exception() -> None:
    with SwallowingActor():
        raise ValueError('not worth mentioning')
    with pytest.raises(LookupError), SwallowingActor():
        raise LookupError('worth mentioning')


def test_an_error_of_exit_reaches_the_caller_and_the_process_ends() -> None:
    actor = UnleavableActor()
    process = actor._manager.process
    with pytest.raises(LookupError, match='no way out'), actor:
        pass
    assert not process.is_alive()


def test_an_enter_that_returns_nothing_still_gives_the_actor() -> None:
    with MuteActor() as actor:
        assert uactor.typeid(actor) == 'actor'


def test_leaving_the_block_of_an_actor_that_died_adds_no_error() -> None:
    with PlainActor() as actor:
        kill(actor)
    error = ValueError('from the block')
    with pytest.raises(ValueError, match='from the block') as caught, PlainActor() as actor:
        kill(actor)
        raise error
    assert caught.value is error


def kill(actor: Any) -> None:
    process = actor._manager.parent.process
    process.kill()
    process.join(5)
    assert process.exitcode == -9


def test_leaving_a_block_after_shutdown_in_it_is_a_broken_pipe_as_in_uactor() -> None:
    actor = PlainActor()
    process = actor._manager.process
    with pytest.raises(BrokenPipeError), actor as entered:
        entered.shutdown()
        assert not process.is_alive()


def test_an_error_of_a_block_that_has_shut_its_actor_down_stays_and_no_death_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = ValueError('from the block')
    actor = PlainActor()
    with pytest.raises(ValueError, match='from the block') as caught, actor as entered:
        entered.shutdown()
        raise error
    assert caught.value is error
    assert not caplog.messages


def test_calling_an_actor_that_was_shut_down_is_a_broken_pipe_as_in_uactor() -> None:
    actor = PlainActor()
    actor.shutdown()
    with pytest.raises(BrokenPipeError):
        actor.method()
    with pytest.raises(BrokenPipeError):
        actor.shutdown()
