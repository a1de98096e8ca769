"""The actor process: its objects, its gRPC server, its beginning and its end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.core import current_call, current_host, interfaces
from uactor.core.addresses import is_loopback, peer_names, split_host_port, target, to_socket_path
from uactor.errors import ProxyError
from uactor.host.callers import Clients
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.grpc.server import GrpcServer
from uactor.host.grpc.typed_service import TypedService
from uactor.host.holders import Holder
from uactor.host.lane_listener import POSSIBLE, LaneListener
from uactor.host.loopback import LoopbackConnection, share_in
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler
from uactor.host.settings import HostDependencies, Settings
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.fork_sockets import disconnect, strip_ipv6_scope
from uactor.transport.lane import path_of

log = logging.getLogger('uactor.host')

GRACE = 1.0
"""How long calls that are running may go on when the actor ends, in seconds."""

_ANYWHERE = '0.0.0.0', '::'


class HostProcess:
    """An actor process.

    :ivar address: where it listens, in the form in which the user gave it.
    :ivar target: the same as gRPC dials it.
    """

    def __init__(
        self, actor_class: Any, settings: Settings, surroundings: HostDependencies
    ) -> None:
        self.actor_class = actor_class
        self.instance: Any = None
        self.authkey = settings.authkey
        self.owner = settings.owner
        self.serializer = settings.serializer
        self.max_message_size = settings.max_message_size
        self._manager_class = actor_class.manager_class
        self.table = ObjectTable(self._expose)
        self.locks = Locks()
        self.clients = Clients(self._forget_client)
        self.dispatcher = Dispatcher(self.table, self.locks, settings.concurrency)
        self.errors: Mapping[type[BaseException], str] = actor_class.manager_class._errors
        self.is_local = is_loopback(target(settings.address))
        self.typed = TypedService(actor_class, lambda: self._front.typed_service_fails())
        has_lanes = settings.transport != 'grpc' and POSSIBLE
        self._front = GrpcServer(self, settings, late=has_lanes)
        self.address = self._front.address
        self.target = target(self.address)
        self.lanes = _lanes(self) if has_lanes else None
        self._stopping = False
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self.exchange = RequestHandler(
            self.dispatcher,
            self.table,
            self.target,
            lambda: self.typed.name,
            settings.serializer,
            surroundings.resolve,
            self.factory,
            self._manager_class.typeids,
        )
        self.connection = LoopbackConnection(self, surroundings.dial)

    # --- beginning ---------------------------------------------------------------------------

    def start(self) -> None:
        """Accept connections, and be this process's host."""
        current_host.host = self
        current_call.set_process_name(self.table.incarnation)
        self._front.start()
        if self.lanes is not None:
            self.lanes.start(self._front.porch)
        at_fork(in_child=lambda: _disconnect_child(self.target))

    def construct(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Make the actor, on this thread.

        :raises BaseException: whatever its constructor raises.
        """
        current_host.constructing = self.actor_class
        try:
            self.instance = self.actor_class(*args, **kwargs)
        finally:
            current_host.constructing = None
        self.table.set_actor(self.instance)
        self._front.announce_ready()

    # --- what the rest of uactor needs -------------------------------------------------------

    def is_own_address(self, address: str) -> bool:
        """Tell whether ``address`` is this process's own."""
        return address == self.target

    def has_object(self, handle: str) -> bool:
        """Tell whether ``handle`` is of this process, by whatever address it came."""
        return handle.partition('.')[0] == self.table.incarnation

    def share(self, value: Any, typeid: str) -> interfaces.SharedObject:
        """Put an object into the table, held by this process."""
        if self._manager_class.registered(typeid) is None:
            raise ProxyError(
                f'no proxy is registered with typeid {typeid!r}; '
                'add it to _proxies_, or choose one of manager_class.typeids()'
            )
        return share_in(self, value, typeid)

    def share_again(self, handle: str) -> interfaces.SharedObject:
        """Return an object that is shared already, held once more by this process."""
        entry = self.table.get(handle)
        return share_in(self, entry.object, entry.typeid)

    def factory(self, typeid: str) -> Callable[..., Any]:
        """Return what makes a new object of a typeid.

        :raises ProxyError: when there is nothing that does.
        """
        registered = self._manager_class.registered(typeid)
        if registered is None or registered.callable is None:
            known = self._manager_class.typeids()
            possible = filter(lambda name: self._manager_class.registered(name).callable, known)
            raise ProxyError(
                f'cannot create a {typeid!r}; what can be created: {", ".join(sorted(possible))}'
            )
        made: Callable[..., Any] = registered.callable
        return made

    def _expose(self, value: Any, typeid: str) -> tuple[frozenset[str], Mapping[str, str]]:
        registered = self._manager_class.registered(typeid)
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

    def _forget_client(self, client: Holder) -> None:
        self.locks.release_all(client)
        self.table.release_all(client)

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
        self._front.announce_end()
        self.dispatcher.gate.close()
        self.clients.cancel_all()
        if not self.dispatcher.gate.wait_idle(GRACE):
            log.warning('ending while calls are running')
        if self.lanes is not None:
            self.lanes.close()
        self._front.stop(GRACE)


# --- addresses -----------------------------------------------------------------------------------


def _lanes(host: HostProcess) -> LaneListener | None:
    """Return the lanes beside the host's Unix socket, if it has one."""
    path = to_socket_path(host.target)
    if path is None:
        return None
    return LaneListener(host, path_of(path))


def _disconnect_child(name: str) -> None:
    """Let go of the server's sockets, in a forked child.

    It would keep the connections of an actor that was killed open, and its callers waiting.
    """
    path = to_socket_path(name)
    own = {*peer_names(name), path_of(path)} if path is not None else {split_host_port(name)}
    anywhere = {found for found in own if isinstance(found, tuple) and found[0] in _ANYWHERE}

    def is_own(sock: socket.socket) -> bool:
        found = strip_ipv6_scope(sock.getsockname())
        return found in own or any(found[1:] == one[1:] for one in anywhere)

    disconnect(is_own)
