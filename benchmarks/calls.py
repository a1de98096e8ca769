"""What a blocking call costs, as ratios to peers in the same run.

    python benchmarks/calls.py [ROUNDS]

The peers do the same work, adding one to a number, in another process on this machine:
plain grpcio (a unary call over a Unix socket) and multiprocessing.managers, which uActor
is a thin layer over. Rounds of all of them are interleaved; medians are compared.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.managers
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures

import grpc

import uactor

CALLS = 300


class Adder(uactor.Actor):
    def add(self, number: int) -> int:
        return number + 1


class Plain:
    def add(self, number: int) -> int:
        return number + 1


class Manager(multiprocessing.managers.BaseManager):
    pass


Manager.register('Plain', Plain)


def serve_grpc(address: str, ready: multiprocessing.Event) -> None:
    def add(request: bytes, context: grpc.ServicerContext) -> bytes:
        return str(int(request) + 1).encode()

    handlers = {'Add': grpc.unary_unary_rpc_method_handler(add)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('Plain', handlers),))
    server.add_insecure_port(address)
    server.start()
    ready.set()
    server.wait_for_termination()


def microseconds(call: Callable[[int], object]) -> float:
    start = time.perf_counter()
    for number in range(CALLS):
        call(number)
    return (time.perf_counter() - start) / CALLS * 1e6


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    context = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as directory:
        address = f'unix:{os.path.join(directory, "s")}'
        ready = context.Event()
        server = context.Process(target=serve_grpc, args=(address, ready), daemon=True)
        server.start()
        ready.wait()
        channel = grpc.insecure_channel(address)
        unary = channel.unary_unary('/Plain/Add')
        manager = Manager(ctx=context)
        manager.start()
        plain = manager.Plain()
        with Adder() as adder:
            peers: dict[str, Callable[[int], object]] = {
                'uactor, gRPC session': adder.add,
                'plain grpcio, unary': lambda number: unary(str(number).encode()),
                'multiprocessing.managers': plain.add,
            }
            times: dict[str, list[float]] = {name: [] for name in peers}
            for _ in range(rounds):
                for name, call in peers.items():
                    times[name].append(microseconds(call))
        server.terminate()
        manager.shutdown()
    medians = {name: statistics.median(values) for name, values in times.items()}
    ours = medians['uactor, gRPC session']
    for name, median in medians.items():
        print(f'{name:26} {median:7.0f} µs a call   {median / ours:5.2f} times uactor')


if __name__ == '__main__':
    main()
