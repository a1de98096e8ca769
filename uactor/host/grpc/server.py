"""The gRPC server of an actor process.

Most actors have only Python callers on the same machine, which use the local lane. A server costs
such an actor 5 ms and 1 MiB, and wakes up several times a second. So beside a lane, a plain socket
listens in the place of the server until a client connects; see :mod:`uactor.host.grpc.on_demand`.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2_grpc

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
from uactor.host.context import HostContext
from uactor.host.grpc.executor import ThreadPerCall
from uactor.host.grpc.health import ServerEvent, ServerState, ServerStatus
from uactor.host.grpc.on_demand import OnDemandListener
from uactor.host.grpc.reflection import Reflection, descriptors
from uactor.host.grpc.servicer import ActorServicer, Authorization
from uactor.host.grpc.typed_handler import TypedHandler
from uactor.host.settings import Settings
from uactor.transport.lane import lane_path
from uactor.transport.unix_sockets import create_listener, serve_at

_MESSAGE_LIMITS = 'grpc.max_receive_message_length', 'grpc.max_send_message_length'


@dataclass(frozen=True)
class BoundAddress:
    """The address of an actor process, which no other process can take.

    :ivar address: in the form in which the user gave it, with the port that it got.
    :ivar server: the gRPC server that listens there, without services so far.
    :ivar listener: the socket that listens there until a server is created.
    """

    address: Address
    server: grpc.Server | None = None
    listener: socket.socket | None = None


def bind(settings: Settings, start_on_demand: bool) -> BoundAddress:
    """Take the address of an actor process.

    :param start_on_demand: whether a server is created only when a client connects. It always
        is at once where the address is no path.
    :raises AddressError: when it cannot be had.
    """
    address = resolve_host(settings.address)
    path = to_socket_path(target(address))
    if start_on_demand and path is not None:
        return BoundAddress(address, listener=create_listener(path))
    server = _create_server(settings)
    return BoundAddress(_listen(server, address, settings.insecure), server=server)


class GrpcServer:
    """The gRPC server of an actor process.

    :ivar server: that of grpcio; None until it is created.
    :ivar on_demand: receives the clients of a server that is not created yet; None when the server
        is created from the beginning.
    """

    def __init__(
        self, context: HostContext, settings: Settings, status: ServerStatus, bound: BoundAddress
    ) -> None:
        self._context = context
        self._settings = settings
        self._status = status
        self._lock = threading.Lock()  # of creating a server, and of stopping
        self.server = bound.server
        self.on_demand: OnDemandListener | None = None
        if bound.listener is not None:
            path = bound.listener.getsockname()
            self.on_demand = OnDemandListener(path, bound.listener, self.serve_at)

    def start(self) -> None:
        """Serve, unless the first client has the server created."""
        if self.server is not None:
            self._add_services(self.server)
            self.server.start()

    def serve_at(self, path: str) -> bool:
        """Create the server and serve at a path.

        :returns: whether it serves; it does not when the process ends.
        """
        with self._lock:
            if self._status.state is ServerState.STOPPED:
                return False
            server = _create_server(self._settings)
            self._add_services(server)
            _add_port(server, f'unix:{path}')
            server.start()
            self.server = server
            return True

    def _add_services(self, server: grpc.Server) -> None:
        context = self._context
        servicer = health.HealthServicer()
        self._status.report_to(servicer, context.typed_service.name)
        reflection = Reflection(descriptors(), context.typed_service.files)
        ActorServicer(context).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        server.add_generic_rpc_handlers(reflection.handlers())
        server.add_generic_rpc_handlers([TypedHandler(context)])

    def stop(self, grace_s: float) -> None:
        """Refuse new calls, and let running ones end for a while."""
        with self._lock:
            self._status.advance(ServerEvent.STOP)
        if self.on_demand is not None:
            self.on_demand.close()
        if self.server is not None:
            self.server.stop(grace_s)  # not waited for: replies that are under way go out
            if self.on_demand is not None:
                self.on_demand.finish(grace_s)


def _create_server(settings: Settings) -> grpc.Server:
    options = [(name, settings.max_message_size) for name in _MESSAGE_LIMITS]
    options += [
        ('grpc.so_reuseport', 0),  # two servers would silently share a port
        ('grpc.http2.min_ping_interval_without_data_ms', 5_000),
        ('grpc.http2.max_ping_strikes', 0),
        ('grpc.keepalive_time_ms', 20_000),
        ('grpc.keepalive_timeout_ms', 10_000),
        ('grpc.http2.ping_timeout_ms', 10_000),
        ('grpc.server_handshake_timeout_ms', 10_000),  # of clients that connect and send nothing
    ]
    return grpc.server(
        ThreadPerCall(),  # type: ignore[arg-type]  # any Executor will do
        interceptors=[Authorization(settings.authkey)],
        options=options,
    )


# --- addresses -----------------------------------------------------------------------------------


def _listen(server: grpc.Server, address: Address, insecure: bool) -> Address:
    """Listen at an address, and return it with its actual port."""
    name = target(address)
    path = to_socket_path(name)
    if path is not None:

        def listen(path: str) -> bool:
            return bool(_add_port(server, f'unix:{path}'))

        serve_at(path, listen, lane_path(path))  # an old lane beside would lead to another actor
        return name
    if not is_loopback(name) and not insecure:
        raise AddressError(
            f'{name} can be reached from other machines, and keys and data would travel '
            "unencrypted; listen on 'localhost', or accept that with _options_ = {'insecure': True}"
        )
    _probe_address(name)
    return replace_port(address, _add_port(server, name))


def _add_port(server: grpc.Server, name: str) -> int:
    try:
        port: int = server.add_insecure_port(name)
    except RuntimeError as error:
        raise AddressError(f'cannot listen at {name}: is it in use?') from error
    if not port:
        raise AddressError(f'cannot listen at {name}: is it in use?')
    return port


def _probe_address(name: str) -> None:
    """Bind a socket first: gRPC reports its reason only on standard error.

    :raises AddressError: when the address cannot be had.
    """
    host, port = split_host_port(name)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressError(f'cannot listen at {name}: {error.strerror}') from error
