"""What a typed unary call costs, as the ratio to a service written by hand, in the same run.

    python benchmarks/typed.py [ROUNDS]

Both add two numbers in another process on this machine, over a Unix socket, with the same
messages, called by the same client code. The one written by hand is plain grpcio with a pool of
threads; it asks for no key, as the actor does. The first connection to an actor comes before its
gRPC server and is passed on to that as long as it lasts; later ones are not. Rounds of all are
interleaved; medians are compared.
"""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

import grpc

import uactor
from uactor.service.schema import schema_of

CALLS = 300


class Adder(uactor.Actor):
    _package_ = 'benchmark'

    def add(self, left: int, right: int) -> int:
        return left + right


METHOD = schema_of(Adder).methods['Add']
REQUEST, RESPONSE = METHOD.request_class, METHOD.response_class


def serve_by_hand(address: str, ready: Any) -> None:
    def add(request: Any, _context: grpc.ServicerContext) -> Any:
        return RESPONSE(result=request.left + request.right)

    handlers = {
        'Add': grpc.unary_unary_rpc_method_handler(
            add, REQUEST.FromString, RESPONSE.SerializeToString
        )
    }
    service = grpc.method_handlers_generic_handler('benchmark.v1.AdderService', handlers)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((service,))
    server.add_insecure_port(address)
    server.start()
    ready.set()
    server.wait_for_termination()


def caller(address: str, metadata: Any) -> Callable[[int], int]:
    # Else channels to one address would share a connection.
    channel = grpc.insecure_channel(address, [('grpc.use_local_subchannel_pool', 1)])
    add = channel.unary_unary(
        '/benchmark.v1.AdderService/Add', REQUEST.SerializeToString, RESPONSE.FromString
    )

    def call(number: int) -> int:
        result: int = add(REQUEST(left=number, right=1), metadata=metadata).result
        return result

    return call


def microseconds(call: Callable[[int], int]) -> float:
    start = time.perf_counter()
    for number in range(CALLS):
        if call(number) != number + 1:
            raise SystemExit('it does not add')
    return (time.perf_counter() - start) / CALLS * 1e6


def main(rounds: int) -> None:
    context = multiprocessing.get_context('spawn')
    with tempfile.TemporaryDirectory() as directory, Adder() as actor:
        address, ready = f'unix:{directory}/s', context.Event()
        by_hand = context.Process(target=serve_by_hand, args=(address, ready), daemon=True)
        by_hand.start()
        ready.wait()
        key = uactor.call_metadata(multiprocessing.current_process().authkey)
        calls: dict[str, Callable[[int], int]] = {}
        for name, where, metadata in (
            ('by hand', address, None),
            ('typed service, first connection', str(actor.connection_address), key),
            ('typed service', str(actor.connection_address), key),
        ):
            calls[name] = caller(where, metadata)
            microseconds(calls[name])
        costs: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                costs[name].append(microseconds(call))
        by_hand.terminate()
        by_hand.join()
    medians = {name: statistics.median(found) for name, found in costs.items()}
    for name, cost in medians.items():
        print(f'{name:32} {cost:6.0f} µs {cost / medians["by hand"]:6.2f}x')


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
