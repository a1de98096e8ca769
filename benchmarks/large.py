"""What large data costs, as ratios to copying it once, in the same run.

    python benchmarks/large.py [MEGABYTES] [ROUNDS]

An array of numpy goes to another process, and comes from there: as argument and result of an
actor, over the local lane and over gRPC, and of a manager of :mod:`multiprocessing`, of which
uActor 0.1.1 is a thin layer. Rounds of all are interleaved; medians are compared, those of the
first round, in which memory is made, left out.
"""

from __future__ import annotations

import functools
import multiprocessing.managers
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy

import uactor


class Store:
    def __init__(self, size: int) -> None:
        self._array = numpy.ones(size, numpy.uint8)

    def put(self, array: Any) -> int:
        return int(array.nbytes)

    def get(self) -> Any:
        return self._array


class StoreActor(Store, uactor.Actor):
    pass


class GrpcStoreActor(StoreActor):
    _options_ = {'transport': 'grpc'}


class Manager(multiprocessing.managers.BaseManager):
    pass


Manager.register('Store', Store)


def seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main(megabytes: int = 100, rounds: int = 7) -> None:
    size = megabytes * 1_000_000
    array, copy = numpy.ones(size, numpy.uint8), numpy.empty(size, numpy.uint8)
    with StoreActor(size) as lane, GrpcStoreActor(size) as over_grpc, Manager() as manager:
        managed = manager.Store(size)  # type: ignore[attr-defined]  # made by register()
        runs: dict[str, Callable[[], Any]] = {'memcpy': lambda: numpy.copyto(copy, array)}
        for name, store in (('lane', lane), ('gRPC', over_grpc), ('multiprocessing', managed)):
            runs[f'{name}, argument'] = functools.partial(store.put, array)
            runs[f'{name}, result'] = store.get
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(rounds + 1):
            for name, run in runs.items():
                taken[name].append(seconds(run))
    medians = {name: statistics.median(each[1:]) for name, each in taken.items()}
    print(f'{megabytes} MB, {rounds} rounds; times that of copying it once')
    for name, median in medians.items():
        print(f'{name:28}{median / medians["memcpy"]:8.1f}')


if __name__ == '__main__':
    main(*map(int, sys.argv[1:]))
