"""Actors at TCP addresses, called by another program that knows an address and the key.

'localhost' is reached from this machine only. Listening beyond it, say at ('0.0.0.0', 5000), is
refused, since key and data would travel unencrypted; _options_ = {'insecure': True} accepts that.
"""

import collections
import os
import subprocess
import sys
import threading

import uactor

KEY = b'known to both programs'
Address = str | tuple[str, int]


class Worker(uactor.Actor):
    _options_ = {'address': 'localhost:0', 'authkey': KEY}  # 0: any free port

    def pid(self) -> int:
        return os.getpid()


class Registry(uactor.Actor):
    """Tells where the workers are, one after the other."""

    _options_ = {'address': 'localhost:0', 'authkey': KEY}

    def __init__(self) -> None:
        self._addresses: collections.deque[Address] = collections.deque()
        self._finished = threading.Event()

    def register(self, *addresses: Address) -> None:
        self._addresses.extend(addresses)

    def pick(self) -> Address:
        self._addresses.rotate(-1)
        return self._addresses[-1]

    def shutdown(self) -> None:  # called from outside too, where it doesn't end the process
        self._finished.set()

    def wait(self) -> None:
        self._finished.wait()


def serve() -> None:
    with Registry() as registry, Worker() as worker, Worker() as other:
        registry.register(worker.connection_address, other.connection_address)
        print('listening at', registry.connection_address, flush=True)  # prints listening at …
        program = [sys.executable, __file__, str(registry.connection_address)]
        with subprocess.Popen(program) as visitor:  # prints 2 workers
            registry.wait()
            print('finished', flush=True)  # prints finished
            print('exit code', visitor.wait())  # prints exit code 0


def visit(address: str) -> None:
    registry = Registry.connect(address, KEY)
    workers = [Worker.connect(registry.pick(), KEY) for _ in range(4)]
    print(len({worker.pid() for worker in workers}), 'workers', flush=True)
    registry.shutdown()


if len(sys.argv) > 1:
    visit(sys.argv[1])
else:
    serve()
