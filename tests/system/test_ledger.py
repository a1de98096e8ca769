"""Rules 1, 2 and 9: what is said of calls is true while actors and their clients are killed."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import pathlib
import random

import pytest

from tests.support import OPTIONS, TRANSPORT, eventually, ledger, seed
from tests.support.ledger import NO, YES, Office
from tests.support.peers import Peer

CLIENT = """
import threading
from tests.support.ledger import Client
client = Client(*given)
threading.Thread(target=lambda: (listen(), client.stop()), daemon=True).start()
client.run()
say('done')
"""
CLIENTS = 2
A_WHILE_S = 3000.0
"""For what takes as long as it takes; the limit of the test is the brake."""


@pytest.mark.parametrize(
    ('door', 'count', 'kills'),
    [
        (TRANSPORT, 1500, 2),
        *(pytest.param(door, 700_000, 200, marks=pytest.mark.soak) for door in OPTIONS),
    ],
)
def test_reports_about_calls_are_true_when_processes_are_killed(
    door: str, count: int, kills: int, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """No call runs twice, none is lost, and no living actor is said to have died."""
    chance = random.Random(seed())
    book = str(tmp_path / 'book')
    numbers = itertools.count(1)
    files: list[str] = []
    with (
        contextlib.ExitStack() as stack,
        (tmp_path / 'errors').open('w+b') as errors,
        Office(door, book) as office,
    ):

        def begin() -> Peer:
            number = next(numbers)
            files.append(str(tmp_path / f'client-{number}'))
            pathlib.Path(files[-1]).touch()
            given = office, number << 40, files[-1], chance.getrandbits(32)
            return stack.enter_context(Peer(CLIENT, *given, stderr=errors))

        def have_run(calls: float) -> bool:
            return pathlib.Path(book).stat().st_size >= ledger.NUMBER.size * calls

        clients = [begin() for _ in range(CLIENTS)]
        for kill in range(kills):
            due = count * (kill + chance.random()) / kills
            eventually(functools.partial(have_run, due), timeout=A_WHILE_S)
            eventually(lambda: all(map(os.path.getsize, files)), timeout=A_WHILE_S)
            if kill % 2:
                office.kill()
            else:
                clients.pop(chance.randrange(CLIENTS)).kill()
                clients.append(begin())
        eventually(lambda: have_run(count), timeout=A_WHILE_S)
        for client in clients:
            client.resume()
            assert client.read_line() == 'done'
            assert client.end() == 0
        errors.seek(0)
        assert errors.read() == b''
    assert 'Traceback' not in capfd.readouterr().err
    ran = ledger.entries(book)
    assert len(ran) == len(set(ran)), 'calls ran twice'
    told = {number: told for path in files for number, told in ledger.outcomes(path).items()}
    assert not {number for number in told if told[number] == YES} - set(ran), 'calls are lost'
    assert not {number for number in told if told[number] == NO} & set(ran), 'calls ran after all'
    assert list(told.values()).count(YES) >= count // 2
