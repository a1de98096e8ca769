"""What large arrays cost on one machine, as ratios in the same run.

    python benchmarks/large.py [SIZE] [ROUNDS]

SIZE is in bytes. Compared are uactor by its local lane and by gRPC, and what
multiprocessing.managers does: a pickle over a Unix socket (``multiprocessing.connection``, another
process that answers). For each, an array goes in, as an argument that the other side reads, and
comes out, as a result that this side reads. Reading is copying it to where an array is already,
which is what the row 'memcpy' costs. Rounds of all are interleaved; medians are compared.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import uactor


class Target:
    """Takes arrays and returns them."""

    def __init__(self, size: int) -> None:
        self._here = np.ones(size, np.uint8)

    def take(self, array: Any, reads: bool) -> int:
        if reads:
            self._here[:] = array
        return len(array)

    def give(self) -> Any:
        return self._here


class LaneTarget(Target, uactor.Actor):
    pass


class GrpcTarget(Target, uactor.Actor):
    _options_ = {'transport': 'grpc'}


def serve_pickles(address: str, size: int, ready: Any) -> None:
    """Answer calls as multiprocessing.managers does."""
    target = Target(size)
    with multiprocessing.connection.Listener(address, 'AF_UNIX') as listener:
        ready.set()
        with listener.accept() as connection:
            while (request := connection.recv()) is not None:
                name, args = request
                connection.send(getattr(target, name)(*args))


class Pickles:
    """Calls :func:`serve_pickles`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def take(self, *args: Any) -> Any:
        self._connection.send(('take', args))
        return self._connection.recv()

    def give(self) -> Any:
        self._connection.send(('give', ()))
        return self._connection.recv()


Works = dict[str, Callable[[], Any]]


def works(target: Any, array: Any, here: Any) -> Works:
    def give_read() -> None:
        here[:] = target.give()

    return {
        'in': lambda: target.take(array, False),
        'in, read': lambda: target.take(array, True),
        'out': target.give,
        'out, read': give_read,
    }


def measured(peers: dict[str, Works], rounds: int) -> dict[str, dict[str, float]]:
    """Return the medians in seconds, by peer and by work."""
    costs: dict[str, dict[str, list[float]]] = {}
    for round_number in range(rounds + 1):
        for peer, peer_works in peers.items():
            for work, run in peer_works.items():
                start = time.perf_counter()
                run()
                taken = time.perf_counter() - start
                if round_number:  # the first one is for warming up
                    costs.setdefault(peer, {}).setdefault(work, []).append(taken)
    return {
        peer: {work: statistics.median(found) for work, found in by_work.items()}
        for peer, by_work in costs.items()
    }


def report(medians: dict[str, dict[str, float]], size: int) -> None:
    copy = medians.pop('memcpy')['in']
    print(f'{size} bytes; memcpy {copy * 1e3:.2f} ms')
    print(f'{"":10} {"":10} {"ms":>9} {"GB/s":>7} {"of memcpy":>10} {"times pickles":>14}')
    for work in medians['pickles']:
        for peer, by_work in medians.items():
            cost = by_work[work]
            ratio = medians['pickles'][work] / cost
            share = copy / cost
            print(
                f'{work:10} {peer:10} {cost * 1e3:9.2f} {size / cost / 1e9:7.2f}'
                f' {share:10.2f} {ratio:14.1f}'
            )


def main(size: int, rounds: int) -> None:
    context = multiprocessing.get_context('spawn')
    array, here = np.ones(size, np.uint8), np.ones(size, np.uint8)
    with (
        tempfile.TemporaryDirectory() as directory,
        LaneTarget(size) as lane,
        GrpcTarget(size) as grpc,
    ):
        address, ready = f'{directory}/s', context.Event()
        process = context.Process(target=serve_pickles, args=(address, size, ready), daemon=True)
        process.start()
        ready.wait()
        with multiprocessing.connection.Client(address, 'AF_UNIX') as connection:
            peers = {
                'memcpy': {'in': lambda: np.copyto(here, array)},
                'lane': works(lane, array, here),
                'grpc': works(grpc, array, here),
                'pickles': works(Pickles(connection), array, here),
            }
            medians = measured(peers, rounds)
            connection.send(None)
        process.join()
    report(medians, size)


if __name__ == '__main__':
    numbers = [int(float(word)) for word in sys.argv[1:]]
    main(*[*numbers, *(100_000_000, 9)[len(numbers) :]])
