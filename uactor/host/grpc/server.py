"""The front door of an actor process: its gRPC server.

Most actors are called by Python on the same host alone, through the local lane. For them a server
would only be in the way: it takes time and memory to make, and wakes up several times a second. So
where there is a lane, a plain socket listens in its place until somebody comes. The server is made
then, and gets the address; see :mod:`uactor.host.grpc.on_demand` for those who have come before.
"""

from __future__ import annotations

import logging
import socket
import threading
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from uactor.core.addresses import (
    Address,
    is_loopback,
    replace_port,
    resolve_host,
    split_host_port,
    target,
    to_socket_path,
)
from uactor.errors import AddressError
from uactor.host.grpc.executor import ThreadPerCall
from uactor.host.grpc.on_demand import OnDemandListener
from uactor.host.grpc.reflection import Reflection, descriptors, own_services
from uactor.host.grpc.servicer import ActorServicer, Authorization
from uactor.host.grpc.typed_service import TypedHandler
from uactor.transport.lane import path_of
from uactor.transport.unix_sockets import serve_at

if TYPE_CHECKING:
    from uactor.host.process import HostProcess
    from uactor.host.settings import Settings

log = logging.getLogger('uactor.host')

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_MESSAGE_LIMITS = 'grpc.max_receive_message_length', 'grpc.max_send_message_length'


class GrpcServer:
    """The gRPC server of a host.

    :param late: whether it is made only when somebody comes, where that can be had.
    :ivar address: where it listens, in the form in which the user gave it.
    :ivar porch: where those who come to no server are received; None when there is one.
    """

    def __init__(self, host: HostProcess, settings: Settings, late: bool) -> None:
        self._host = host
        self._settings = settings
        self._lock = threading.RLock()  # what is made with it may find that something fails
        self._server: grpc.Server | None = None
        self._health: health.HealthServicer | None = None
        self._is_ready = False
        self._has_typed = True
        self._ends = False
        self._stopped = False
        address = resolve_host(settings.address)
        path = to_socket_path(target(address))
        self.porch = OnDemandListener(path, self.serve_at) if late and path is not None else None
        if self.porch is None:
            self._server = self._made()
            address = _bind(self._server, address, settings.insecure)
        self.address = address

    def _made(self) -> grpc.Server:
        limit = self._settings.max_message_size
        options = [(name, limit) for name in _MESSAGE_LIMITS]
        options += [
            ('grpc.so_reuseport', 0),  # two servers would silently share a port
            ('grpc.http2.min_ping_interval_without_data_ms', 5_000),
            ('grpc.http2.max_ping_strikes', 0),
            ('grpc.keepalive_time_ms', 20_000),
            ('grpc.keepalive_timeout_ms', 10_000),
            ('grpc.http2.ping_timeout_ms', 10_000),
            ('grpc.server_handshake_timeout_ms', 10_000),  # of those who connect and say nothing
        ]
        reflection = Reflection(descriptors(), self._host.typed.files)
        self._health = health.HealthServicer()
        self._tell()
        server = grpc.server(
            ThreadPerCall(),  # type: ignore[arg-type]  # any Executor will do
            interceptors=[Authorization(self._settings.authkey)],
            options=options,
        )
        ActorServicer(self._host).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers(reflection.handlers())
        server.add_generic_rpc_handlers([TypedHandler(self._host)])
        return server

    def announce_ready(self) -> None:
        """Let health checks know that the actor can be called."""
        with self._lock:
            self._is_ready = True
            self._tell()

    def typed_service_fails(self) -> None:
        """Let health checks know that there is no typed service."""
        with self._lock:
            self._has_typed = False
            if self._health is not None:
                self._health.set(self._host.typed.name, _NOT_SERVING)

    def _tell(self) -> None:
        """Tell health checks how it is, if there is a server whom they can ask."""
        if self._health is None:
            return
        status = _SERVING if self._is_ready else _NOT_SERVING
        for service in ('', *own_services()):
            self._health.set(service, status)
        self._health.set(self._host.typed.name, status if self._has_typed else _NOT_SERVING)
        if self._ends:
            self._health.enter_graceful_shutdown()

    def start(self) -> None:
        """Serve, unless that is left for when somebody comes."""
        if self._server is not None:
            self._server.start()

    def serve_at(self, path: str) -> bool:
        """Make the server and serve; tell whether it does, and had not been asked to stop."""
        with self._lock:
            if self._stopped:
                return False
            server = self._made()
            _add_port(server, f'unix:{path}')
            server.start()
            self._server = server
            return True

    def announce_end(self) -> None:
        """Let health checks know that the actor ends."""
        with self._lock:
            self._ends = True
            if self._health is not None:
                self._health.enter_graceful_shutdown()

    def stop(self, grace: float) -> None:
        """Refuse new calls, and end after a while.

        :param grace: how long calls that are running may go on, in seconds.
        """
        with self._lock:
            self._stopped = True
        if self.porch is not None:
            self.porch.close()
        if self._server is not None:
            self._server.stop(grace)  # not waited for: replies that are under way go out
            if self.porch is not None:
                self.porch.finish(grace)


# --- addresses -----------------------------------------------------------------------------------


def _bind(server: grpc.Server, address: Address, insecure: bool) -> Address:
    """Listen at an address and return it, with the port that it got."""
    name = target(address)
    path = to_socket_path(name)
    if path is not None:

        def listen(made: str) -> bool:
            return bool(_add_port(server, f'unix:{made}'))

        serve_at(path, listen, path_of(path))  # an old lane beside would lead to another actor
        return name
    if not is_loopback(name) and not insecure:
        raise AddressError(
            f'{name} can be reached from other machines, where keys and data would travel in the '
            "clear; listen on 'localhost', or accept that with _options_ = {'insecure': True}"
        )
    _check_free(name)
    return replace_port(address, _add_port(server, name))


def _add_port(server: grpc.Server, name: str) -> int:
    try:
        port: int = server.add_insecure_port(name)
    except RuntimeError as error:
        raise AddressError(f'cannot listen at {name}: is it in use?') from error
    if not port:
        raise AddressError(f'cannot listen at {name}: is it in use?')
    return port


def _check_free(name: str) -> None:
    """Find out what stands against listening: gRPC says it on standard error only."""
    host, port = split_host_port(name)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressError(f'cannot listen at {name}: {error.strerror}') from error
