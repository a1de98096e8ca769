"""What it takes to start an actor, in time and memory, as ratios in the same run.

    python benchmarks/starting.py [--uactor-0.1.1 PYTHON] [ROUNDS]

PYTHON is an interpreter with uActor 0.1.1, which has our import name, and so an environment
of its own. Rounds of all contestants are interleaved; medians are compared.

- start and first call: of one more actor, in a process that has had some.
- program: an interpreter that starts a single actor, calls it, and ends.
- memory: the proportional set size of one more actor, beside ten.
"""

from __future__ import annotations

import argparse
import gc
import os
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import uactor

ACTORS = 10
STARTS = 5


class Adder(uactor.Actor):
    def add(self, number: int) -> int:
        return number + 1


# --- a contestant, in a process of its own -------------------------------------------------------


def start() -> float:
    """Return how many milliseconds it takes until a new actor has answered."""
    beginning = time.perf_counter()
    adder = Adder()
    adder.add(1)
    duration = time.perf_counter() - beginning
    adder.shutdown()
    return duration * 1e3


def family(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    for task in pathlib.Path(f'/proc/{pid}/task').iterdir():
        for child in (task / 'children').read_text().split():
            yield from family(int(child))


def memory() -> float:
    """Return the proportional set size of this process and all below it, in MiB."""
    kibibytes = 0
    for pid in family(os.getpid()):
        lines = pathlib.Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
        kibibytes += sum(int(line.split()[1]) for line in lines if line.startswith('Pss:'))
    return kibibytes / 1024


def memory_of_one_more() -> float:
    """Return by how many MiB an actor makes all larger, on average of some."""
    actors = [Adder()]
    actors[0].add(1)
    before = memory()
    for _ in range(ACTORS):
        actors.append(Adder())
        actors[-1].add(1)
    growth = memory() - before
    for actor in actors:
        actor.shutdown()
    return growth / ACTORS


def contend() -> None:
    """Measure what is asked for, line by line."""
    start()
    for line in sys.stdin:
        print({'start': start, 'memory': memory_of_one_more}[line.strip()](), flush=True)
        gc.collect()


# --- all of them ---------------------------------------------------------------------------------


class Contestant:
    """A way to start actors.

    :param python: the interpreter.
    :param variables: of its environment.
    """

    def __init__(self, python: str, **variables: str) -> None:
        self._command = [python, __file__]
        self._environment = {**os.environ, **variables}
        self._process = subprocess.Popen(
            [*self._command, '--contend'],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self._environment,
            text=True,
        )

    def ask(self, what: str) -> float:
        print(what, file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())  # type: ignore[union-attr]  # it is a pipe

    def program(self) -> float:
        beginning = time.perf_counter()
        subprocess.run([*self._command, '--single'], env=self._environment, check=True)
        return (time.perf_counter() - beginning) * 1e3

    def end(self) -> None:
        self._process.communicate()


def compare(contestants: dict[str, Contestant], rounds: int) -> None:
    results: dict[str, dict[str, list[float]]] = {
        'start and first call, ms': {},
        'program with one actor, ms': {},
        'memory of one more actor, MiB': {},
    }
    starts, programs, memories = results.values()
    for _ in range(rounds):
        for name, contestant in contestants.items():
            starts.setdefault(name, []).extend(contestant.ask('start') for _ in range(STARTS))
            programs.setdefault(name, []).append(contestant.program())
    for name, contestant in contestants.items():
        memories[name] = [contestant.ask('memory') for _ in range(3)]
    for what, values in results.items():
        print(what)
        medians = {name: statistics.median(found) for name, found in values.items()}
        reference = list(medians.values())[-1]
        for name, median in medians.items():
            print(f'  {name:26} {median:8.1f}   {median / reference:5.2f}')


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument('rounds', nargs='?', type=int, default=10)
    parser.add_argument('--uactor-0.1.1', dest='peer', metavar='PYTHON')
    parser.add_argument('--contend', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--single', action='store_true', help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contend:
        contend()
    elif arguments.single:
        start()
    else:
        contestants = {
            'uactor, template': Contestant(sys.executable, UACTOR_LAUNCH='template'),
            'uactor, fresh interpreter': Contestant(sys.executable, UACTOR_LAUNCH='interpreter'),
        }
        if arguments.peer:
            contestants['uActor 0.1.1, fork'] = Contestant(arguments.peer)
        compare(contestants, arguments.rounds)
        for contestant in contestants.values():
            contestant.end()


if __name__ == '__main__':
    main()
