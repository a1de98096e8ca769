"""The peers of calls.py: each adds one to a number, in another process on this machine.

    python benchmarks/peers.py NAME

For each line on standard input, makes that many blocking calls, and prints how long they took,
in seconds. Peers other than uactor's own are imported only where they are used: uActor has the
name of this package, and is in an environment of its own with the others.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

Call = Callable[[int], Any]


class Adder:
    def add(self, number: int) -> int:
        return number + 1


@contextlib.contextmanager
def uactor(**options: Any) -> Iterator[Call]:
    import uactor

    class AdderActor(uactor.Actor):
        _options_ = options

        def add(self, number: int) -> int:
            return number + 1

    with AdderActor() as adder:
        yield adder.add


@contextlib.contextmanager
def uactor_1() -> Iterator[Call]:
    with UActor1() as adder:
        yield adder.add


if sys.argv[1:] == ['uActor 0.1.1']:  # by a fork or by name: it can't be a local class
    import uactor as uactor_package

    class UActor1(Adder, uactor_package.Actor):
        pass


def serve_grpc(address: str, ready: Any) -> None:
    import grpc

    def add(request: bytes, context: Any) -> bytes:
        return str(int(request) + 1).encode()

    handlers = {'Add': grpc.unary_unary_rpc_method_handler(add)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('Adder', handlers),))
    server.add_insecure_port(address)
    server.start()
    ready.set()
    server.wait_for_termination()


@contextlib.contextmanager
def in_process(target: Callable[..., None], *args: Any) -> Iterator[None]:
    """Run ``target(*args, ready)`` in a process, from when it is ready."""
    context = multiprocessing.get_context('spawn')
    ready = context.Event()
    process = context.Process(target=target, args=(*args, ready), daemon=True)
    process.start()
    ready.wait()
    yield
    process.terminate()


@contextlib.contextmanager
def grpc_unary() -> Iterator[Call]:
    import grpc

    with tempfile.TemporaryDirectory() as directory:
        address = f'unix:{os.path.join(directory, "s")}'
        with in_process(serve_grpc, address), grpc.insecure_channel(address) as channel:
            unary = channel.unary_unary('/Adder/Add')
            yield lambda number: unary(str(number).encode())


@contextlib.contextmanager
def pyro5() -> Iterator[Call]:
    import Pyro5.api

    code = """
import Pyro5.api

@Pyro5.api.expose
class Adder:
    def add(self, number):
        return number + 1

with Pyro5.api.Daemon() as daemon:
    print(daemon.register(Adder), flush=True)
    daemon.requestLoop()
"""
    with printing(code) as uri, Pyro5.api.Proxy(uri) as adder:
        yield adder.add


@contextlib.contextmanager
def rpyc() -> Iterator[Call]:
    import rpyc as rpyc_package

    code = """
import rpyc, rpyc.utils.server

class Adder(rpyc.Service):
    def exposed_add(self, number):
        return number + 1

server = rpyc.utils.server.ThreadedServer(Adder, hostname='localhost')
print(server.port, flush=True)
server.start()
"""
    with printing(code) as port, rpyc_package.connect('localhost', int(port)) as connection:
        yield connection.root.add


@contextlib.contextmanager
def printing(code: str) -> Iterator[str]:
    """Run ``code`` in a process, and yield the first line that it prints."""
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        yield process.stdout.readline().decode().strip()  # type: ignore[union-attr]
        process.kill()


PEERS: dict[str, Callable[[], contextlib.AbstractContextManager[Call]]] = {
    'uactor, lane': uactor,
    'uactor, gRPC session': lambda: uactor(transport='grpc'),
    'plain grpcio, unary': grpc_unary,
    'uActor 0.1.1': uactor_1,
    'Pyro5': pyro5,
    'RPyC': rpyc,
}


def main() -> None:
    with PEERS[sys.argv[1]]() as add:
        for line in sys.stdin:
            start = time.perf_counter()
            for number in range(int(line)):
                add(number)
            print(time.perf_counter() - start, flush=True)


if __name__ == '__main__':
    main()
