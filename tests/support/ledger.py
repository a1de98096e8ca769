"""Calls that both sides record while actors and clients are killed.

An actor writes each call into a file before it answers, so that the call is known even if the actor
is killed. A client records for each call whether it has run, as far as uactor says. That must be
true.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import uactor
from tests.support import OPTIONS, eventually, is_running

NUMBER = struct.Struct('!Q')
OUTCOME = struct.Struct('!QB')
NO, MAYBE, YES = range(3)
"""Whether a call has run, as the client knows."""

_THREADS = 3
_OUTCOMES = {'no': NO, 'maybe': MAYBE, 'yes': YES}


class Book(uactor.Actor):
    """Writes calls down. It is killed now and then."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def enter(self, number: int) -> int:
        os.write(self._file, NUMBER.pack(number))
        return number

    def pid(self) -> int:
        return os.getpid()


class Office(uactor.Actor):
    """Opens another book when one has been killed. It is not killed itself."""

    def __init__(self, transport: str, path: str) -> None:
        self._book_class = type(
            'Book', (Book,), {'_options_': OPTIONS[transport], '__module__': __name__}
        )
        self._path = path
        self._opened = threading.Condition()
        self._number = 0
        self._open()

    def _open(self) -> None:
        book = self._book_class(self._path)
        with self._opened:
            self._book, self._pid = book, book.pid()
            self._number += 1
            self._opened.notify_all()

    def book(self, after: int) -> tuple[int, int, Any]:
        """Wait for a book that was opened after another one; return number, pid and proxy."""
        with self._opened:
            self._opened.wait_for(lambda: self._number > after)
            return self._number, self._pid, self._book

    def kill(self) -> None:
        """Kill the book and open another one."""
        os.kill(self._pid, signal.SIGKILL)
        self._open()


def _enter(book: Any, number: int) -> int:
    entered: int = book.enter(number)
    return entered


def _is_gone(pid: int) -> bool:
    return not is_running(pid)


class Client:
    """Makes calls of all kinds from several threads, and writes down what it was told of each.

    :param first: the number of its first call.
    :param path: of the file for outcomes.
    """

    def __init__(self, office: Any, first: int, path: str, seed: int) -> None:
        self._office = office
        self._next = first
        self._stopped = False
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._seed = seed
        self._lock = threading.Lock()
        self._finished = 0

    def run(self) -> None:
        """Make calls until it is stopped; raise RuntimeError if a thread could not go on."""
        threads = [
            threading.Thread(target=self._work, args=(random.Random(self._seed + number),))
            for number in range(_THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._finished < _THREADS:
            raise RuntimeError('a thread could not go on')

    def stop(self) -> None:
        """Have its threads end after the calls that they are making."""
        self._stopped = True

    def _work(self, chance: random.Random) -> None:
        number, pid, book = self._book(0)
        kinds: list[Callable[[Any, Sequence[int]], bool]] = [self._plain, self._futures, self._map]
        while not self._stopped:
            numbers = self._take(chance.choice((1, 10, 50)))
            if not chance.choice(kinds)(book, numbers):
                # It has been said that the actor has died: that is true, or the test fails.
                eventually(functools.partial(_is_gone, pid))
                number, pid, book = self._book(number)
        with self._lock:
            self._finished += 1

    def _book(self, after: int) -> tuple[int, int, Any]:
        while True:
            try:
                book: tuple[int, int, Any] = self._office.book(after)
                return book
            except uactor.ActorUnreachableError:
                continue  # it was killed while its proxy was on the way

    def _take(self, count: int) -> range:
        with self._lock:
            first, self._next = self._next, self._next + count
            return range(first, self._next)

    def _note(self, number: int, outcome: int) -> None:
        os.write(self._file, OUTCOME.pack(number, outcome))

    def _result(self, number: int, get: Callable[[], int]) -> bool:
        """Note what becomes of a call; return False when its actor is said to have died."""
        try:
            result = get()
        except uactor.ActorDiedError as error:
            self._note(number, _OUTCOMES[error.executed])
            return False
        assert result == number, f'{number} was answered by {result}'
        self._note(number, YES)
        return True

    def _plain(self, book: Any, numbers: Sequence[int]) -> bool:
        return all(
            self._result(number, functools.partial(_enter, book, number)) for number in numbers
        )

    def _futures(self, book: Any, numbers: Sequence[int]) -> bool:
        futures = []
        alive = True
        for number in numbers:
            try:
                futures.append((number, book.enter.future(number)))
            except uactor.ActorDiedError as error:
                self._note(number, _OUTCOMES[error.executed])
                alive = False
                break
        results = [self._result(number, future.result) for number, future in futures]
        return alive and all(results)

    def _map(self, book: Any, numbers: Sequence[int]) -> bool:
        results = book.enter.map(numbers)
        return all(self._result(number, lambda: next(results)) for number in numbers)


def entries(path: str) -> list[int]:
    """Return the calls that have run."""
    return [number for (number,) in NUMBER.iter_unpack(Path(path).read_bytes())]


def outcomes(path: str) -> dict[int, int]:
    """Return what a client was told of its calls."""
    data = Path(path).read_bytes()
    return dict(OUTCOME.iter_unpack(data[: len(data) - len(data) % OUTCOME.size]))
