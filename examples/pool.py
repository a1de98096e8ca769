"""Work shared out over several actors, by threads here or by threads there."""

import contextlib
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import AsyncResult, ThreadPool

import uactor


class Squarer(uactor.Actor):
    def square(self, number: int) -> int:
        return number * number

    def pid(self) -> int:
        return os.getpid()


class AsyncSquarer(uactor.Actor):
    _method_to_typeid_ = {'square': 'AsyncResult'}

    def __init__(self) -> None:
        self._threads = ThreadPool(4)

    def square(self, number: int) -> 'AsyncResult[int]':
        return self._threads.apply_async(pow, (number, 2))


# A thread of the caller for each actor.
with contextlib.ExitStack() as stack:
    squarers = [stack.enter_context(Squarer()) for _ in range(3)]
    print(len({squarer.pid() for squarer in squarers}), 'processes')  # prints 3 processes
    with ThreadPoolExecutor(len(squarers)) as threads:
        squares = threads.map(Squarer.square, itertools.cycle(squarers), range(6))
    print(list(squares))  # prints [0, 1, 4, 9, 16, 25]

# Threads in the actor: a call returns at once, with a proxy of the result to come.
with AsyncSquarer() as squarer:
    results = [squarer.square(number) for number in range(6)]
    print([result.get() for result in results])  # prints [0, 1, 4, 9, 16, 25]
