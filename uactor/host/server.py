"""The actor process: its objects, its gRPC server, its beginning and its end."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from uactor import calls, local, values
from uactor.errors import AddressError, ProxyError
from uactor.handles import Address, host_port, is_loopback, resolved, socket_path, target, with_port
from uactor.host.clients import Clients
from uactor.host.dispatcher import Dispatcher
from uactor.host.exchange import Exchange
from uactor.host.inside import InsideConnection, share_in
from uactor.host.lanes import POSSIBLE, Lanes
from uactor.host.objects import ObjectTable
from uactor.host.primitives import Locks
from uactor.host.reflection import Reflection, descriptors
from uactor.host.servicer import ActorServicer, Authorization
from uactor.host.threads import ThreadPerCall
from uactor.host.typed import TypedDoor, TypedService
from uactor.inherited import disconnect, plain
from uactor.lane import path_of

log = logging.getLogger(__name__)

GRACE = 1.0
"""How long calls that are running may go on when the actor ends, in seconds."""

_ANYWHERE = '0.0.0.0', '::'
_MESSAGE_LIMITS = 'grpc.max_receive_message_length', 'grpc.max_send_message_length'


@dataclass(frozen=True)
class Settings:
    """How an actor process serves.

    :ivar address: where to listen, as the user wrote it.
    :ivar authkey: what callers must know.
    :ivar serializer: how values travel.
    :ivar max_message_size: largest message in bytes; -1 for no limit.
    :ivar insecure: whether listening beyond this machine without TLS is accepted.
    :ivar transport: ``'grpc'`` to offer no local lane.
    :ivar concurrency: how many of the actor's methods run at a time; None for any number.
    """

    address: Address
    authkey: bytes
    serializer: str = values.DEFAULT_SERIALIZER
    max_message_size: int = -1
    insecure: bool = False
    transport: str = 'auto'
    concurrency: int | None = None

    def __repr__(self) -> str:
        return f'Settings(address={self.address!r}, serializer={self.serializer!r})'


@dataclass(frozen=True)
class Surroundings:
    """What the host is given of the rooms that it does not import.

    :ivar dial: connects to an actor process by its address.
    :ivar resolve: makes the proxy for a handle, by a manager class if one is given.
    """

    dial: Callable[[str], local.Connection]
    resolve: Callable[..., Any]


class Host:
    """An actor process.

    :ivar address: where it listens, in the form in which the user gave it.
    :ivar target: the same as gRPC dials it.
    """

    def __init__(self, actor_class: Any, settings: Settings, surroundings: Surroundings) -> None:
        self.actor_class = actor_class
        self.instance: Any = None
        self.authkey = settings.authkey
        self.max_message_size = settings.max_message_size
        self._registry: Mapping[str, Any] = actor_class.manager_class._registry
        self.table = ObjectTable(self._expose)
        self.locks = Locks()
        self.clients = Clients(self._forget_client)
        self.dispatcher = Dispatcher(self.table, self.locks, settings.concurrency)
        self.errors: Mapping[type[BaseException], str] = actor_class.manager_class._errors
        self.is_local = is_loopback(target(settings.address))
        self._health = health.HealthServicer()
        self.typed = TypedService(actor_class, self._typed_service_fails)
        self._reflection = Reflection(descriptors(), self.typed.files)
        self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        self._server = self._make_server(settings)
        self.address = _bind(self._server, settings)
        self.target = target(self.address)
        self.lanes = _lanes(self, settings)
        self._stopping = False
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self.exchange = Exchange(
            self.dispatcher,
            self.table,
            self.target,
            self.typed.name,
            settings.serializer,
            surroundings.resolve,
            self.factory,
            tuple(self._registry),
        )
        self.connection = InsideConnection(self, surroundings.dial)

    def _make_server(self, settings: Settings) -> grpc.Server:
        options = [(name, settings.max_message_size) for name in _MESSAGE_LIMITS]
        options += [
            ('grpc.so_reuseport', 0),  # two servers would silently share a port
            ('grpc.http2.min_ping_interval_without_data_ms', 5_000),
            ('grpc.http2.max_ping_strikes', 0),
            ('grpc.keepalive_time_ms', 20_000),
            ('grpc.keepalive_timeout_ms', 10_000),
            ('grpc.http2.ping_timeout_ms', 10_000),
        ]
        server = grpc.server(
            ThreadPerCall(),  # type: ignore[arg-type]  # any Executor will do
            interceptors=[Authorization(settings.authkey)],
            options=options,
        )
        ActorServicer(self).add_to(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_generic_rpc_handlers(self._reflection.handlers())
        server.add_generic_rpc_handlers([TypedDoor(self)])
        return server

    # --- beginning ---------------------------------------------------------------------------

    def start(self) -> None:
        """Accept connections, and be this process's host."""
        local.host = self
        calls.identify(self.table.incarnation)
        self._server.start()
        if self.lanes is not None:
            self.lanes.start()
        threading.Thread(
            target=self.table.release_queued, name='uactor-releases', daemon=True
        ).start()
        _disconnect_children(self.target)

    def construct(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Make the actor, on this thread.

        :raises BaseException: whatever its constructor raises.
        """
        local.constructing = self.actor_class
        try:
            self.instance = self.actor_class(*args, **kwargs)
        finally:
            local.constructing = None
        self.table.set_actor(self.instance)
        self._set_health(health_pb2.HealthCheckResponse.SERVING)

    def _set_health(self, status: int) -> None:
        for service in ('', self.typed.name, *self._reflection.own_services()):
            self._health.set(service, status)

    def _typed_service_fails(self) -> None:
        self._health.set(self.typed.name, health_pb2.HealthCheckResponse.NOT_SERVING)

    # --- what the rest of uactor needs -------------------------------------------------------

    def serves(self, address: str) -> bool:
        """Tell whether ``address`` is this process's own."""
        return address == self.target

    def owns(self, handle: str) -> bool:
        """Tell whether ``handle`` is of this process, by whatever address it came."""
        return handle.partition('.')[0] == self.table.incarnation

    def share(self, value: Any, typeid: str) -> local.Shared:
        """Put an object into the table, held by this process."""
        if typeid not in self._registry:
            raise ProxyError(
                f'no proxy is registered with typeid {typeid!r}; '
                'add it to _proxies_, or choose one of manager_class.typeids()'
            )
        return share_in(self, value, typeid)

    def known(self, handle: str) -> local.Shared:
        """Return an object that is shared already, held once more by this process."""
        entry = self.table.get(handle)
        return share_in(self, entry.object, entry.typeid)

    def factory(self, typeid: str) -> Callable[..., Any]:
        """Return what makes a new object of a typeid.

        :raises ProxyError: when there is nothing that does.
        """
        registered = self._registry.get(typeid)
        if registered is None or registered.callable is None:
            possible = sorted(name for name, known in self._registry.items() if known.callable)
            raise ProxyError(
                f'cannot create a {typeid!r}; what can be created: {", ".join(possible)}'
            )
        made: Callable[..., Any] = registered.callable
        return made

    def _expose(self, value: Any, typeid: str) -> tuple[frozenset[str], Mapping[str, str]]:
        registered = self._registry.get(typeid)
        if registered is None:
            raise ProxyError(f'no proxy is registered with typeid {typeid!r}')
        mapping: Mapping[str, str] = registered.method_to_typeid or {}
        exposed = registered.exposed
        if exposed is None:
            exposed = [
                name
                for name in dir(value)
                if not name.startswith('_') and callable(getattr(value, name, None))
            ]
        return frozenset([*exposed, *mapping]), mapping

    def _forget_client(self, client_id: str) -> None:
        self.locks.release_all(client_id)
        self.table.release_all(client_id)

    # --- ending ------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Have the actor process end. Any thread, and signal handlers, may."""
        self._stopping = True
        with contextlib.suppress(BlockingIOError):  # it is full, which wakes as well
            self._waker.send(b'.')

    def wait_for_stop(self) -> None:
        """Wait, on the main thread, until the actor process is asked to end.

        On a socket that signals write to: the kernel may give a signal to another thread, which
        interrupts no wait on this one, where its handler has to run.
        """
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        while not self._stopping:
            self._woken.recv(1024)

    def stop(self) -> None:
        """Refuse new calls and let running ones end for a while.

        The streams that are open then end with the process: cancelling them would make gRPC
        write to the standard error of every client.
        """
        self._health.enter_graceful_shutdown()
        self.dispatcher.close()
        self.clients.interrupt_all()
        if not self.dispatcher.wait_idle(GRACE):
            log.warning('ending while calls are running')
        if self.lanes is not None:
            self.lanes.close()
        self._server.stop(GRACE)  # not waited for: replies that are under way go out


# --- addresses -----------------------------------------------------------------------------------


def _bind(server: grpc.Server, settings: Settings) -> Address:
    """Listen at the address of ``settings`` and return it, with the port that it got."""
    address = resolved(settings.address)
    name = target(address)
    path = socket_path(name)
    if path is not None:
        _clear_stale(path)
        with _private_files():
            _add_port(server, name)
        return name
    if not is_loopback(name) and not settings.insecure:
        raise AddressError(
            f'{name} can be reached from other machines, where keys and data would travel in the '
            "clear; listen on 'localhost', or accept that with _options_ = {'insecure': True}"
        )
    _check_free(name)
    return with_port(address, _add_port(server, name))


def _lanes(host: Host, settings: Settings) -> Lanes | None:
    """Return the lanes beside the host's Unix socket, if it has one and lanes are wanted."""
    path = socket_path(host.target)
    if path is None or settings.transport == 'grpc' or not POSSIBLE:
        return None
    path = path_of(path)
    _clear_stale(path)
    with _private_files():
        return Lanes(host, path)


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
    host, port = host_port(name)
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise AddressError(f'cannot listen at {name}: {error.strerror}') from error


def _clear_stale(path: str) -> None:
    """Remove the socket of a process that has ended; binding would steal that of a live one."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise AddressError(f'{path} exists and is no socket')
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise AddressError(f'cannot listen at unix:{path}: another process does')


@contextlib.contextmanager
def _private_files() -> Iterator[None]:
    """Make files that only this user can open meanwhile."""
    previous = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(previous)


def _disconnect_children(name: str) -> None:
    """Have forked children let go of the server's sockets.

    They would keep the connections of an actor that was killed open, and its callers waiting.
    """
    path = socket_path(name)
    own = {path, path_of(path)} if path is not None else {host_port(name)}
    anywhere = {found for found in own if isinstance(found, tuple) and found[0] in _ANYWHERE}

    def is_own(sock: socket.socket) -> bool:
        found = plain(sock.getsockname())
        return found in own or any(found[1:] == one[1:] for one in anywhere)

    if hasattr(os, 'register_at_fork'):
        os.register_at_fork(after_in_child=lambda: disconnect(is_own))
