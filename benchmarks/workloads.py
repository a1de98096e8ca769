"""The work that is measured: each function does it ``count`` times and returns what it took.

Seconds, unless its unit in :data:`WORKLOADS` is another one. A peer that can't do the work lacks a
method, and the AttributeError says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.peer import array

IDLE_SECONDS = 3.0


@contextlib.contextmanager
def clock(taken: list[float]) -> Iterator[None]:
    start = time.perf_counter()
    yield
    taken.append(time.perf_counter() - start)


def timed(work: Callable[[], object]) -> float:
    taken: list[float] = []
    with clock(taken):
        work()
    return taken[0]


def repeated(work: Callable[[Any], object], arguments: Any) -> float:
    """Return how long it takes to do ``work`` with each of the arguments."""

    def loop() -> None:
        for argument in arguments:
            work(argument)

    return timed(loop)


def call(peer: Any, count: int) -> float:
    if hasattr(peer, 'repeated'):
        return timed(lambda: peer.repeated(count))
    return repeated(peer.call, range(count))


def attribute(peer: Any, count: int) -> float:
    read = peer.attribute
    return repeated(lambda _: read(), range(count))


def item(peer: Any, count: int) -> float:
    return repeated(peer.item, [7] * count)


def typed(peer: Any, count: int) -> float:
    with peer.typed() as call:
        return repeated(call, range(count))


def dataclass(peer: Any, count: int) -> float:
    point = sys.modules['__main__'].Point(1, 2)
    return repeated(peer.argument, [point] * count)


def pipelined(peer: Any, count: int) -> float:
    return timed(lambda: peer.pipelined(count))


def stream(peer: Any, count: int) -> float:
    return timed(lambda: peer.stream(count))


def start(peer: Any, count: int) -> float:
    begin = peer.start
    return repeated(lambda _: begin(), range(count))


def argument_of(size: int) -> Callable[[Any, int], float]:
    def argument(peer: Any, count: int) -> float:
        return repeated(peer.argument, [array(size)] * count)

    return argument


def result_of(size: int) -> Callable[[Any, int], float]:
    def result(peer: Any, count: int) -> float:
        return repeated(peer.result, [size] * count)

    return result


def in_threads(number: int) -> Callable[[Any, int], float]:
    """Return the work of calling from so many threads, all calls together being ``count``."""

    def threads(peer: Any, count: int) -> float:
        if hasattr(peer, 'repeated'):
            raise AttributeError('it is called from one loop')
        share = range(max(1, count // number))
        ready = threading.Barrier(number + 1)

        def work() -> None:
            client = peer.client()
            client.call(1)
            ready.wait()
            for argument in share:
                client.call(argument)

        def join_all() -> None:
            for worker in workers:
                worker.join()

        workers = [threading.Thread(target=work) for _ in range(number)]
        for worker in workers:
            worker.start()
        ready.wait()
        return timed(join_all) * count / (len(share) * number)

    return threads


def in_processes(number: int) -> Callable[[Any, int], float]:
    """Return the work of calling from so many other processes."""

    def processes(peer: Any, count: int) -> float:
        share = max(1, count // number)
        where = repr((type(peer).__module__, peer.address(), share))
        workers = [
            subprocess.Popen(
                [
                    sys.executable,
                    '-c',
                    f'from benchmarks.workloads import client; client(*{where})',
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for _ in range(number)
        ]
        for worker in workers:
            worker.stdout.readline()  # type: ignore[union-attr]  # it is ready

        def run() -> None:
            for worker in workers:
                worker.stdin.write(b'\n')  # type: ignore[union-attr]
                worker.stdin.flush()  # type: ignore[union-attr]
            for worker in workers:
                worker.stdout.readline()  # type: ignore[union-attr]

        taken = timed(run)
        for worker in workers:
            worker.communicate()
        return taken * count / (share * number)

    return processes


def client(module: str, address: Any, count: int) -> None:
    """Be one of the processes of :func:`in_processes`."""
    import importlib

    peer = importlib.import_module(module).Peer.connected(address)
    peer.call(1)
    print('ready', flush=True)
    sys.stdin.readline()
    for number in range(count):
        peer.call(number)
    print('done', flush=True)


# --- what actors cost that do nothing ------------------------------------------------------------


def memory(peer: Any, count: int) -> float:
    """Return by how many MiB further actors make the proportional set size of all larger."""
    before = _pss(os.getpid())
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(peer.further()).pid()
        return _pss(os.getpid()) - before


def _pss(pid: int) -> float:
    """Return the proportional set size of a process and all below it, in MiB."""
    lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    own = sum(int(line.split()[1]) for line in lines if line.startswith('Pss:')) / 1024
    tasks = Path(f'/proc/{pid}/task').iterdir()
    below = [child for task in tasks for child in (task / 'children').read_text().split()]
    return own + sum(_pss(int(child)) for child in below)


def wakeups(peer: Any, count: int) -> float:
    """Return how often an idle actor and its idle client wake up in a second, together."""
    pids = [os.getpid(), peer.pid()]
    before = sum(map(_switches, pids))
    time.sleep(IDLE_SECONDS)
    return count * (sum(map(_switches, pids)) - before) / IDLE_SECONDS


def idle(peer: Any, count: int) -> float:
    """Return how much of a second of CPU time 200 idle actors take in a second."""
    with contextlib.ExitStack() as stack:
        actors = [stack.enter_context(peer.further()) for _ in range(200)]
        pids = [actor.pid() for actor in actors]
        before = sum(map(_cpu_seconds, pids))
        time.sleep(IDLE_SECONDS)
        return count * (sum(map(_cpu_seconds, pids)) - before) / IDLE_SECONDS


def _switches(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep."""
    found = 0
    for path in Path(f'/proc/{pid}/task').glob('*/status'):
        for line in path.read_text().splitlines():
            if line.startswith('voluntary_ctxt_switches'):
                found += int(line.split()[1])
    return found


def _cpu_seconds(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


@dataclasses.dataclass(frozen=True)
class Workload:
    """Something that is measured.

    :ivar name: what it is, for people.
    :ivar run: does it ``count`` times, and returns what that took.
    :ivar unit: of the result for one time.
    :ivar most: how many times at most in one go.
    """

    name: str
    run: Callable[[Any, int], float]
    unit: str = 's'
    most: int = 100_000


SIZES = {'64_KiB': 1 << 16, '1_MB': 1_000_000, '100_MB': 100_000_000}

WORKLOADS: dict[str, Workload] = {
    'call': Workload('blocking call, small argument', call),
    'dataclass': Workload('argument of a class of __main__', dataclass),
    'attribute': Workload('reading an attribute', attribute),
    'item': Workload('an item of a list, by proxy', item),
    **{f'threads-{n}': Workload(f'calls from {n} threads', in_threads(n)) for n in (1, 2, 8)},
    'processes-4': Workload('calls from 4 processes', in_processes(4)),
    'pipelined': Workload('pipelined calls', pipelined),
    'typed': Workload('typed unary call by a stub', typed),
    'stream': Workload('items of a stream', stream),
    **{
        f'argument-{label}': Workload(
            f'array of {label.replace("_", " ")} as an argument', argument_of(size)
        )
        for label, size in SIZES.items()
    },
    **{
        f'result-{label}': Workload(
            f'array of {label.replace("_", " ")} as a result', result_of(size)
        )
        for label, size in SIZES.items()
    },
    'start': Workload('start, first call, and end', start, most=10),
    'memory': Workload('memory of one more actor', memory, 'MiB', most=5),
    'wakeups': Workload('wake-ups of an idle actor and client', wakeups, '/s', most=1),
    'idle': Workload('CPU time of 200 idle actors', idle, 's/s', most=1),
}


def main() -> None:
    """Print the names of the workloads, as JSON."""
    print(json.dumps({key: workload.name for key, workload in WORKLOADS.items()}))


if __name__ == '__main__':
    main()
