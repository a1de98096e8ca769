"""The actor process: its parts, its beginning and its end."""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from uactor.core import current_call, current_host, interfaces
from uactor.core.addresses import is_loopback, peer_names, split_host_port, target, to_socket_path
from uactor.host.callers import ClientRegistry
from uactor.host.context import HostContext
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.grpc.health import ServerEvent, ServerStatus
from uactor.host.grpc.server import GrpcServer, bind
from uactor.host.grpc.typed_service import TypedService
from uactor.host.holders import Holder
from uactor.host.lane_listener import POSSIBLE, LaneListener
from uactor.host.loopback import LoopbackConnection
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler
from uactor.host.settings import HostDependencies, Settings
from uactor.host.typeids import Typeids
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.fork_sockets import disconnect, strip_ipv6_scope
from uactor.transport.lane import lane_path

log = logging.getLogger('uactor.host')

_GRACE_S = 1.0
"""How long running calls may go on when the actor ends."""

_ALL_INTERFACES = '0.0.0.0', '::'


class HostProcess:
    """The host in an actor process.

    :ivar actor_class: the class of the actor.
    :ivar instance: the actor, once its constructor has returned.
    :ivar owner: the address of the actor that has started this one; '' if no actor has.
    :ivar serializer: the name of the encoding of values.
    :ivar address: where it listens, in the form in which the user gave it.
    :ivar target: the same, as gRPC dials it.
    :ivar context: the parts that the doors share.
    :ivar status: which calls the doors admit.
    :ivar grpc_server: the door for clients in any language.
    :ivar connection: reaches the objects of this process from within.
    """

    def __init__(
        self, actor_class: Any, settings: Settings, dependencies: HostDependencies
    ) -> None:
        self.actor_class = actor_class
        self.instance: Any = None
        self.owner = settings.owner
        self.serializer = settings.serializer
        self._is_stop_requested = False
        self.status = ServerStatus()
        has_lanes = settings.transport != 'grpc' and POSSIBLE
        bound = bind(settings, start_on_demand=has_lanes)
        self._wakeup_reader, self._wakeup_writer = socket.socketpair()
        self._wakeup_writer.setblocking(False)
        self.address = bound.address
        self.target = target(bound.address)
        typeids = Typeids(actor_class.manager_class)
        self.context = self._create_context(settings, dependencies, typeids)
        self.table = self.context.table
        self.typed_service = self.context.typed_service
        self.grpc_server = GrpcServer(self.context, settings, self.status, bound)
        path = to_socket_path(self.target) if has_lanes else None
        self._lanes = None if path is None else LaneListener(self.context, lane_path(path))
        self.connection = LoopbackConnection(self.context, typeids, dependencies.dial)

    def _create_context(
        self, settings: Settings, dependencies: HostDependencies, typeids: Typeids
    ) -> HostContext:
        """Build the parts that the doors share, in order of dependency."""
        table = ObjectTable(typeids.exposure)
        locks = Locks()

        def forget_client(client: Holder) -> None:
            locks.release_all(client)
            table.release_all(client)

        dispatcher = Dispatcher(table, locks, settings.concurrency)
        typed_service = TypedService(self.actor_class, self.status.announce_typed_failure)
        return HostContext(
            target=self.target,
            authkey=settings.authkey,
            max_message_size=settings.max_message_size,
            callers=ClientRegistry(forget_client),
            locks=locks,
            table=table,
            dispatcher=dispatcher,
            requests=RequestHandler(
                dispatcher,
                table,
                self.target,
                lambda: typed_service.name,
                settings.serializer,
                dependencies.resolve,
                typeids.factory,
                typeids.names,
            ),
            typed_service=typed_service,
            error_codes=self.actor_class.manager_class._errors,
            shows_tracebacks=is_loopback(target(settings.address)),
            request_stop=self.request_stop,
        )

    # --- beginning ---------------------------------------------------------------------------

    def start(self) -> None:
        """Register as the host of this process, and accept connections."""
        current_host.host = self
        current_call.set_process_name(self.table.incarnation)
        self.grpc_server.start()
        if self._lanes is not None:
            self._lanes.start(self.grpc_server.on_demand)
        at_fork(in_child=lambda: _disconnect_child(self.target))

    def construct(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Create the actor, on this thread.

        :raises BaseException: that of its constructor.
        """
        current_host.constructing = self.actor_class
        try:
            self.instance = self.actor_class(*args, **kwargs)
        finally:
            current_host.constructing = None
        self.table.set_actor(self.instance)
        self.status.advance(ServerEvent.CONSTRUCTED)

    # --- what the rest of uactor needs -------------------------------------------------------

    def is_own_address(self, address: str) -> bool:
        """Return whether ``address`` is that of this process."""
        return address == self.target

    def has_object(self, handle: str) -> bool:
        """Return whether this process has created ``handle``, whatever address names it."""
        return handle.partition('.')[0] == self.table.incarnation

    def share(self, value: Any, typeid: str) -> interfaces.SharedObject:
        """Put an object into the table, with a hold of this process."""
        return self.connection.share(value, typeid)

    def share_again(self, handle: str) -> interfaces.SharedObject:
        """Take one more hold of this process on a shared object."""
        return self.connection.share_again(handle)

    # --- ending ------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """Ask the actor process to end.

        Any thread and signal handlers may call this.
        """
        self._is_stop_requested = True
        with contextlib.suppress(
            BlockingIOError
        ):  # it is full, which wakes the main thread as well
            self._wakeup_writer.send(b'.')

    def wait_for_stop(self) -> None:
        """Wait on the main thread until the process is asked to end.

        The wait is on a socket that each signal writes to. The kernel may deliver a signal to
        another thread, which interrupts no wait of the main thread, but only the main thread runs
        handlers.
        """
        signal.set_wakeup_fd(self._wakeup_writer.fileno(), warn_on_full_buffer=False)
        while not self._is_stop_requested:
            self._wakeup_reader.recv(1024)

    def stop(self) -> None:
        """Refuse new calls, and wait a while for running ones.

        Streams that are open after that end with the process. To cancel them would make gRPC write
        to the standard error of every client.
        """
        gate = self.context.dispatcher.gate
        self.status.advance(ServerEvent.END)
        gate.close()
        self.context.callers.cancel_all()
        if not gate.wait_idle(_GRACE_S):
            log.warning('ending while calls are running')
        if self._lanes is not None:
            self._lanes.close()
        self.grpc_server.stop(_GRACE_S)


# --- addresses -----------------------------------------------------------------------------------


def _disconnect_child(name: str) -> None:
    """Close the sockets of the server, in a forked child.

    Otherwise the child would keep the connections of a killed actor open, and callers would wait.
    """
    path = to_socket_path(name)
    own = {*peer_names(name), lane_path(path)} if path is not None else {split_host_port(name)}
    anywhere = {found for found in own if isinstance(found, tuple) and found[0] in _ALL_INTERFACES}

    def is_own(sock: socket.socket) -> bool:
        found = strip_ipv6_scope(sock.getsockname())
        return found in own or any(found[1:] == one[1:] for one in anywhere)

    disconnect(is_own)
