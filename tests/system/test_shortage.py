"""Out of descriptors, on either side: calls succeed, or say truly why not."""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from uactor.errors import ActorUnreachableError, ResourceError
from uactor.runtime.descriptors import reserve

SIZES = 10, 65_536, 500_000, 5_000_000


def limit_files(spare: int | None) -> None:
    """Let this process open so many more files; any number again if None."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if spare is None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return
    highest = max(map(int, os.listdir('/proc/self/fd')))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 10, hard))
    with contextlib.suppress(OSError):  # there are no more
        while True:
            _fill.append(os.open(os.devnull, os.O_RDONLY))
    for _ in range(spare):
        os.close(_fill.pop())


_fill: list[int] = []


def relax() -> None:
    limit_files(None)
    while _fill:
        os.close(_fill.pop())


class Target(uactor.Actor):
    """Lacks what it is told to lack."""

    def echo(self, value: bytes) -> bytes:
        return value

    def give(self, size: int) -> bytes:
        return bytes(size)

    def items(self, size: int) -> Iterator[bytes]:
        yield bytes(size)

    def lack(self, spare: int) -> None:
        limit_files(spare)

    def relax(self) -> None:
        relax()


@pytest.fixture
def target() -> Iterator[Any]:
    with Target() as actor:
        yield actor


@contextlib.contextmanager
def lacking(target: Any, side: str, spare: int) -> Iterator[None]:
    if side == 'actor':
        target.lack(spare)
    else:
        limit_files(spare)
    try:
        yield
    finally:
        target.relax() if side == 'actor' else relax()


def calls_of(target: Any, size: int) -> dict[str, Callable[[], int]]:
    """Return ways to have so many bytes go there or back, each of which returns how many came."""
    return {
        'argument': lambda: len(target.echo(b'x' * size)),
        'result': lambda: len(target.give(size)),
        'future': lambda: len(target.give.future(size).result(20)),
        'map': lambda: sum(map(len, target.give.map([size]))),
    }


@pytest.mark.parametrize('is_new', [False, True], ids=['known segments', 'none yet'])
@pytest.mark.parametrize('side', ['actor', 'client'])
def test_calls_of_any_size_succeed_without_descriptors(
    target: Any, side: str, is_new: bool
) -> None:
    """What would go by shared memory goes in the message, or is copied."""
    assert target.echo(b'x') == b'x'
    assert target.give.future(1).result(20) == b'\0'
    if not is_new:
        assert len(target.echo(b'x' * 500_000)) == 500_000
    for spare in range(6):
        with lacking(target, side, spare):
            for size in SIZES:
                for name, call in calls_of(target, size).items():
                    assert call() == size, (spare, name)
    for size in SIZES:
        for call in calls_of(target, size).values():
            assert call() == size


def test_the_reserve_is_room_for_two_and_is_there_again_afterwards() -> None:
    """For what is received, and for what maps it."""
    reserve.fill()
    for _ in range(2):
        limit_files(0)
        try:
            with reserve.room(0) as is_scarce:
                opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(2)]
                for descriptor in opened:
                    os.close(descriptor)
            with pytest.raises(OSError, match='Too many'):
                os.open(os.devnull, os.O_RDONLY)
        finally:
            relax()
        assert is_scarce


@pytest.mark.parametrize('side', ['actor', 'client'])
def test_a_session_that_can_not_be_opened_says_why_and_can_be_later(target: Any, side: str) -> None:
    """The actor lives, and nobody says otherwise."""
    assert target.echo(b'x') == b'x'
    outcomes: list[Any] = []

    def call() -> None:
        try:
            outcomes.append(target.echo(b'y'))
        except Exception as error:
            outcomes.append(error)

    with lacking(target, side, 0):
        for _ in range(2):
            thread = threading.Thread(target=call)
            thread.start()
            thread.join()
    for outcome in outcomes:
        assert isinstance(outcome, ActorUnreachableError if side == 'actor' else ResourceError)
        assert 'RLIMIT_NOFILE' in str(outcome)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert outcomes[2] == b'y'
    assert target.echo(b'z') == b'z'
