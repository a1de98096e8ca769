"""Where those are received who come to the front door while there is no server behind it.

The first who comes has the server made: it listens beside, and then its socket is given the name of
the address, so that at no moment anybody is turned away. Connections from before can't be handed to
gRPC: what they bring is passed on, by threads, as long as they last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable

from uactor.errors import AddressError
from uactor.runtime.threads import start_daemon
from uactor.transport.unix_sockets import serve_at

log = logging.getLogger('uactor.host')

_AT_ONCE = 64 * 1024
"""How much is passed on in one piece, in bytes."""

_MOST_PASSING = 128
"""How many connections are passed on at most: those that come while the server is made."""

_DESCRIPTORS, _THREADS = 16, 16
"""More than a server takes, which is five and eight."""


class OnDemandListener:
    """Listens at ``path`` in the place of a server.

    :param listener: the socket that does.
    :param serve: makes the server, at a path, and tells whether it serves.
    :ivar listener: the socket.
    """

    def __init__(self, path: str, listener: socket.socket, serve: Callable[[str], bool]) -> None:
        self._path = path
        self._serve = serve
        self._lock = threading.Lock()
        self._served = False
        self._counting = threading.Lock()
        self._count = 0  # of the threads that let somebody in, and pass on what comes
        self._passing: dict[socket.socket, threading.Event] = {}
        self.listener = listener

    def receive(self, client: socket.socket) -> None:
        """Have the server made if there is none yet, and a client be served by it."""
        if self._count >= _MOST_PASSING:  # it may come again, to the server itself
            log.debug('a connection is refused: %d have come before the server', self._count)
            client.close()
            return
        self._count_one(1)
        try:
            start_daemon('uactor-porch', self._let_in, client)
        except RuntimeError as error:
            log.warning('a connection is refused: %s', error)
            client.close()
            self._count_one(-1)

    def _count_one(self, more: int) -> None:
        with self._counting:
            self._count += more

    def _let_in(self, client: socket.socket) -> None:
        try:
            with client:
                if self._opened():
                    self._pass(client)
        except (AddressError, OSError, RuntimeError) as error:  # no descriptors, or threads
            log.warning('a connection is refused: %s', error)
        finally:
            self._count_one(-1)

    def _opened(self) -> bool:
        with self._lock:
            if not self._served:
                _check_resources()
                self._served = serve_at(self._path, self._serve)
            return self._served

    def _pass(self, client: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            passed = threading.Event()
            self._passing[server] = passed  # before its thread can have passed anything on
            try:
                start_daemon('uactor-porch', _pass_back, server, client, passed)
                _pass_on(client, server)
                passed.wait()
            finally:
                del self._passing[server]

    def close(self) -> None:
        """Have nobody come any more."""
        with self._lock:  # who opens the server gets done before the socket's name is removed
            self.listener.close()

    def finish(self, timeout: float) -> None:
        """Pass on what the server has answered so far, and then the end.

        :param timeout: how long that may take, in seconds.
        """
        end = time.monotonic() + timeout
        for server, passed in list(self._passing.items()):
            with contextlib.suppress(OSError):  # it has ended by itself
                server.shutdown(socket.SHUT_RD)  # what has come is still there to be read
            passed.wait(max(0.0, end - time.monotonic()))


def _check_resources() -> None:
    """Find out whether there is what a server takes: gRPC ends the process when it misses any.

    :raises OSError: when there are no descriptors.
    :raises RuntimeError: when there are no threads.
    """
    found: list[int] = []
    done = threading.Event()
    try:
        for _ in range(_DESCRIPTORS):
            found.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(_THREADS):
            start_daemon('uactor-probe', done.wait)
    finally:
        done.set()
        for descriptor in found:
            os.close(descriptor)


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what comes until it ends, and then the end."""
    buffer = memoryview(bytearray(_AT_ONCE))
    with contextlib.suppress(OSError):  # one of them has gone
        while length := source.recv_into(buffer):
            sink.sendall(buffer[:length])
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _pass_back(server: socket.socket, client: socket.socket, passed: threading.Event) -> None:
    """Pass on what the server answers until it ends; then hear no more of the client."""
    try:
        _pass_on(server, client)
        with contextlib.suppress(OSError):  # it has gone, too
            client.shutdown(socket.SHUT_RD)
    finally:
        passed.set()
