import threading
from concurrent.futures import ThreadPoolExecutor

import uactor


class Ledger(uactor.Actor):
    _method_to_typeid_ = {'lock': 'RLock', 'barrier': 'Barrier'}

    def __init__(self) -> None:
        self._total = 0
        self._lock = threading.RLock()
        self._barrier = threading.Barrier(20)

    def total(self) -> int:
        return self._total

    def set_total(self, total: int) -> None:
        with self._lock:  # the caller's session runs on one thread: it may enter again
            self._total = total

    def lock(self) -> threading.RLock:
        return self._lock

    def barrier(self) -> threading.Barrier:
        return self._barrier


def add(ledger: Ledger) -> None:
    ledger.barrier().wait()  # all twenty calls are in the actor at once
    with ledger.lock():
        ledger.set_total(ledger.total() + 1)


with Ledger() as ledger, ThreadPoolExecutor(20) as threads:
    for done in [threads.submit(add, ledger) for _ in range(20)]:
        done.result()
    print(ledger.total())
