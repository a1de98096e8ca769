"""Whose error an exception is: tested without actors."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from uactor.codec import pickling
from uactor.runtime.system_errors import is_interruption, is_own

pytestmark = pytest.mark.quick


class LateError(TimeoutError):
    """What a handler raises. The real ones have all sorts of error numbers."""


def _raise_late(*_: object) -> None:
    raise LateError(104, 'Connection reset by peer')


@pytest.fixture
def alarmed() -> Iterator[Callable[[Any], object]]:
    """Yield what has SIGALRM call a handler."""
    usual = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.signal(signal.SIGALRM, usual)


def _caught(call: Callable[[], object], *through: Callable[..., Any]) -> tuple[bool, bool]:
    try:
        call()
    except OSError as error:
        return is_own(error, _caught, call, *through), is_interruption(error)
    pytest.fail('nothing was raised')


def test_the_error_of_a_system_call_is_own() -> None:
    try:
        os.close(-1)
    except OSError as error:
        assert is_own(error)
        assert not is_interruption(error)


def test_functions_may_stand_between() -> None:
    def call() -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            socket.send_fds(sock, [b'.'], [0])

    assert _caught(call, socket.send_fds) == (True, False)
    assert _caught(call) == (False, False)


@pytest.mark.parametrize(
    'handler',
    [
        _raise_late,
        lambda number, frame: _raise_late(),
        functools.partial(lambda extra, number, frame=None: _raise_late(), 1),
    ],
    ids=['variable arguments', 'two arguments', 'partial'],
)
def test_the_error_of_a_handler_is_an_interruption(
    alarmed: Callable[[Any], None], handler: Any
) -> None:
    alarmed(handler)

    def call() -> None:
        signal.raise_signal(signal.SIGALRM)

    assert _caught(call) == (False, True)


class Interrupted:
    """Can't be pickled undisturbed: a signal comes meanwhile."""

    def __reduce__(self) -> tuple[Any, ...]:
        signal.raise_signal(signal.SIGALRM)
        return Interrupted, ()


@pytest.mark.parametrize('error', [LateError, TypeError, AttributeError, pickle.PicklingError])
def test_pickling_lets_the_error_of_a_signal_handler_through(
    alarmed: Callable[[Any], None], error: type[Exception]
) -> None:
    raised = error('late')

    def handler(*_: object) -> None:
        raise raised

    alarmed(handler)
    with pytest.raises(error) as caught:
        pickling.dumps([Interrupted()])
    assert caught.value is raised


def _wait_for_signal() -> None:
    signal.raise_signal(signal.SIGALRM)


class Rebuilt:
    """Is not rebuilt undisturbed either."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _wait_for_signal, ()


def test_unpickling_lets_the_error_of_a_signal_handler_through(
    alarmed: Callable[[Any], None],
) -> None:
    data = pickling.dumps(Rebuilt())
    alarmed(_raise_late)
    with pytest.raises(LateError):
        pickling.loads(data)
