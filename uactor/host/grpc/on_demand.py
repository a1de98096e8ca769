"""Start the gRPC server on the first connection, as socket activation does.

A plain socket listens in the place of the server. The first client has the server created: it
listens at a path beside, and its socket is then renamed to the address. So no client is refused in
between. gRPC cannot take over connections that are open already. Threads relay their bytes to the
server, as long as these connections last.
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

_RELAY_BUFFER_BYTES = 64 * 1024

_MAX_RELAYS = 128
"""How many connections are relayed at most: those that come while the server is created."""

_PROBED_DESCRIPTORS, _PROBED_THREADS = 16, 16
"""More than a server needs, which is five descriptors and eight threads."""


class OnDemandListener:
    """Receives clients until there is a server, and relays them to it.

    :param path: where the socket listens, and the server is to listen.
    :param serve: creates the server at a path, and returns whether it serves.
    :ivar listener: the socket.
    """

    def __init__(self, path: str, listener: socket.socket, serve: Callable[[str], bool]) -> None:
        self._path = path
        self._serve = serve
        self._lock = threading.Lock()  # of creating the server
        self._is_serving = False
        self._count_lock = threading.Lock()
        self._count = 0  # of the threads that have a client
        self._relays: dict[socket.socket, threading.Event] = {}  # set when a relay has ended
        self.listener = listener

    def receive(self, client: socket.socket) -> None:
        """Relay a client to the server on a new thread.

        The thread creates the server if there is none.
        """
        if self._count >= _MAX_RELAYS:  # the client can connect again, to the server itself
            log.debug('a connection is refused: %d have come before the server', self._count)
            client.close()
            return
        self._add_to_count(1)
        try:
            start_daemon('uactor-relay', self._serve_client, client)
        except RuntimeError as error:
            log.warning('a connection is refused: %s', error)
            client.close()
            self._add_to_count(-1)

    def _add_to_count(self, number: int) -> None:
        with self._count_lock:
            self._count += number

    def _serve_client(self, client: socket.socket) -> None:
        try:
            with client:
                if self._ensure_server():
                    self._relay(client)
        except (AddressError, OSError, RuntimeError) as error:  # no descriptors, or no threads
            log.warning('a connection is refused: %s', error)
        finally:
            self._add_to_count(-1)

    def _ensure_server(self) -> bool:
        """Create the server if there is none yet; return whether it serves."""
        with self._lock:
            if not self._is_serving:
                _probe_resources()
                self._is_serving = serve_at(self._path, self._serve)
            return self._is_serving

    def _relay(self, client: socket.socket) -> None:
        """Connect a client to the server until both directions have ended."""
        with socket.socket(socket.AF_UNIX) as server:
            server.connect(self._path)
            ended = threading.Event()
            self._relays[server] = ended  # before its thread can have relayed anything
            try:
                start_daemon('uactor-relay', _copy_responses, server, client, ended)
                _copy(client, server)
                ended.wait()
            finally:
                del self._relays[server]

    def close(self) -> None:
        """Receive no more clients."""
        with self._lock:  # a server is complete before the name of its socket is removed
            self.listener.close()

    def finish(self, timeout_s: float) -> None:
        """Relay what the server has sent so far, and then its end.

        :param timeout_s: the limit for all relays together.
        """
        end = time.monotonic() + timeout_s
        for server, ended in list(self._relays.items()):
            with contextlib.suppress(OSError):  # the connection has ended by itself
                server.shutdown(socket.SHUT_RD)  # what has arrived can still be read
            ended.wait(max(0.0, end - time.monotonic()))


def _probe_resources() -> None:
    """Check that there are enough descriptors and threads for a server.

    Without them, gRPC ends the process.

    :raises OSError: when there are no descriptors.
    :raises RuntimeError: when there are no threads.
    """
    descriptors: list[int] = []
    probed = threading.Event()
    try:
        for _ in range(_PROBED_DESCRIPTORS):
            descriptor = os.open(os.devnull, os.O_RDONLY)
            descriptors.append(descriptor)  # closed even if the next one fails
        for _ in range(_PROBED_THREADS):
            start_daemon('uactor-probe', probed.wait)
    finally:
        probed.set()
        for descriptor in descriptors:
            os.close(descriptor)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    """Copy bytes until the source ends, and then end the sink."""
    buffer = memoryview(bytearray(_RELAY_BUFFER_BYTES))
    with contextlib.suppress(OSError):  # one of them has gone
        while length := source.recv_into(buffer):
            sink.sendall(buffer[:length])
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _copy_responses(server: socket.socket, client: socket.socket, ended: threading.Event) -> None:
    """Copy what the server sends, and then stop reading from the client."""
    try:
        _copy(server, client)
        with contextlib.suppress(OSError):  # the client has gone, too
            client.shutdown(socket.SHUT_RD)
    finally:
        ended.set()
