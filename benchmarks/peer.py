"""What a system must do to be compared: the work, and the names under which it is done.

Each module of :mod:`benchmarks.peers` has a class ``Peer`` with those of these methods that
its system has an equivalent for. It runs in an environment of its own, where only that system is
installed, so nothing here imports anything but the standard library.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any


class Work:
    """The object that is called, in a process of its own."""

    def __init__(self) -> None:
        self.limit = 7
        self._items = list(range(100))
        self._arrays: dict[int, Any] = {}

    def add(self, number: int) -> int:
        return number + 1

    def take(self, data: Any) -> int:
        """Take something large and return a small number."""
        return len(data)

    def give(self, size: int) -> Any:
        """Return something large, which is there already: to make it is no peer's doing."""
        if size not in self._arrays:
            self._arrays[size] = array(size)
        return self._arrays[size]

    def items(self) -> list[int]:
        return self._items

    def count(self, stop: int) -> Any:
        """Yield numbers."""
        yield from range(stop)

    def pid(self) -> int:
        import os

        return os.getpid()


class Server:
    """A process that runs ``code`` and prints a line when it is ready.

    :ivar said: that line.
    """

    def __init__(self, code: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-c', code], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.said = next(iter(self._process.stdout or ()), '').strip()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def array(size: int) -> Any:
    """Return an array of ``size`` bytes; each has been written, so that the memory is there."""
    import numpy

    return numpy.full(size, 7, dtype=numpy.uint8)


class Base:
    """A peer that can nothing; those that can override."""

    def __enter__(self) -> Any:
        """Start an actor and be ready to call it."""
        return self

    def __exit__(self, *exception: object) -> None:
        """End the actor, and all that was started for it."""

    def client(self) -> Any:
        """Return what another thread calls, like this peer: itself, where threads may share it."""
        return self

    # What a peer may have beside these:
    #
    # call(number) -> int            Work.add
    # repeated(count) -> None        so many of these, where a loop over call() is unfair
    # typed() -> context of call     the same by a gRPC stub, with messages of Protobuf
    # attribute() -> int             Work.limit
    # item(index) -> int             Work.items()[index], through a proxy
    # argument(data) -> int          Work.take
    # result(size) -> array          Work.give
    # pipelined(count) -> list[int]  Work.add, all under way at once
    # stream(count) -> int           Work.count, and how many items there were
    # start() -> None                start a further actor, call it once, and end it
    # further() -> Base              a further actor
    # pid() -> int                   Work.pid
    # address() -> Any               what connected(address) takes, in another process
