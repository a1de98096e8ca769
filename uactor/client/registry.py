"""The connections of this process, and their renewal in a forked child."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from uactor.client.connection import ClientConnection
from uactor.client.fork_watch import ForkedChild
from uactor.client.keepalive import idle_streams
from uactor.client.pipeline import disown_all
from uactor.client.timeouts import HANDSHAKE_S
from uactor.codec import values
from uactor.core import current_host, interfaces
from uactor.core.auth import keyring
from uactor.runtime.deferred import deferred
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.locks import synchronized
from uactor.runtime.weakrefs import WeakBag, WeakValues
from uactor.transport.baton import call_baton


class Connections:
    """The connections of this process by address, while a proxy uses them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self._known: WeakValues[str, ClientConnection] = WeakValues()
        self._all: WeakBag[ClientConnection] = WeakBag()
        self._serializers: dict[str, str] = {}

    def restrict(self, address: str, serializer: str) -> None:
        """Use ``serializer`` for an address's values, if it is stricter.

        This holds for every proxy of the peer: a peer whose pickles are not trusted is not trusted
        by another name either.
        """
        address = keyring.resolve(address)
        if serializer != self._serializer(address):
            self._serializers[address] = values.choose_stricter(
                self._serializer(address), serializer
            )
        known = self._known.get(address)
        if known is not None:
            known.restrict(serializer)

    def _serializer(self, address: str) -> str:
        return self._serializers.get(address, values.DEFAULT_SERIALIZER)

    def get(
        self,
        address: str,
        transport: str = 'auto',
        patience: float | None = HANDSHAKE_S,
        greets: bool = False,
    ) -> interfaces.Connection:
        """Return the connection to the actor at ``address``; open one if needed.

        :param transport: one of :data:`TRANSPORTS`.
        :param patience: how long the actor may take to answer, in seconds; None for any time.
        :param greets: whether the actor must answer even if there is a connection already.
        :raises AuthkeyError: if no known authkey fits.
        :raises ActorUnreachableError: if no actor listens there.
        """
        if current_host.host is not None and current_host.host.is_own_address(address):
            return current_host.host.connection
        address = keyring.resolve(address)
        known = self._known.get(address)
        if known is not None and known.suits(transport) and known.reusable:
            if greets:
                known.greet(patience)
            return known
        keys = keyring.candidates(address)
        connection = ClientConnection(address, keys, self._serializer(address), transport, patience)
        return self._add(connection, transport)

    def find_address(self, handle: str) -> str | None:
        """Return the address of an open connection to the actor of ``handle``.

        An actor may have other addresses elsewhere: behind a forwarded port, or by an alias of its
        machine.
        """
        if current_host.host is not None and current_host.host.has_object(handle):
            return current_host.host.connection.actor.target
        known = (connection for connection in self.all() if connection.owns(handle))
        return next((connection.address for connection in known if connection.reusable), None)

    def has_connection(self, address: str) -> bool:
        """Return whether this process already has a connection to an address."""
        known = self._known.get(keyring.resolve(address))
        return known is not None and known.reusable

    def open(
        self,
        address: str,
        authkey: bytes,
        aliases: Sequence[str] = (),
        transport: str = 'auto',
        patience: float | None = HANDSHAKE_S,
    ) -> interfaces.Connection:
        """Connect with an explicit authkey, and store it once it has fitted.

        :param aliases: further addresses by which the same actor may appear.
        :param transport: one of :data:`TRANSPORTS`.
        :param patience: how long the actor may take to answer, in seconds; None for any time.
        """
        if current_host.host is not None and current_host.host.is_own_address(address):
            return current_host.host.connection
        serializer = self._serializer(address)
        connection = ClientConnection(address, (authkey,), serializer, transport, patience)
        keyring.add(address, authkey, aliases)
        return self._add(connection, transport)

    @synchronized
    def _add(self, connection: ClientConnection, transport: str) -> ClientConnection:
        known = self._known.get(connection.address)
        if (
            known is not None
            and known.suits(transport)
            and known.reusable
            and known.actor.id == connection.actor.id
        ):
            return known  # another thread was faster; this connection closes itself
        self._known[connection.address] = connection
        self._all.add(connection)
        return connection

    def expect_end(self, address: str) -> None:
        """Record that this process ends the actor at ``address``. Safe in finalizers."""
        for known in self._at(address):
            known.expect_end()

    def abandon(self, address: str) -> None:
        """Fail all calls to ``address``: the actor process has ended."""
        for known in self._at(address):
            known.abandon()

    def _at(self, address: str) -> list[ClientConnection]:
        """Return the connections to ``address``, on any transport."""
        return [connection for connection in self.all() if connection.address == address]

    def all(self) -> list[ClientConnection]:
        """Return all connections, also those to actors that have ended."""
        return list(self._all)

    def replace_lock(self) -> None:
        """Replace the lock, in a forked child.

        Another thread of the parent may have held it during the fork.
        """
        self._lock = threading.RLock()


connections = Connections()
"""The connections of this process."""


_child: ForkedChild | None = None
"""The child that is being forked; None if it inherits no holds."""


def _before_fork() -> None:
    global _child
    leased = [connection.before_fork() for connection in connections.all()]
    _child = ForkedChild() if any(leased) else None


def _after_fork_in_parent() -> None:
    if _child is not None:
        _child.watch_in_parent(
            [connection.release_of_fork_lease() for connection in connections.all()]
        )


def _after_fork_in_child() -> None:
    deferred.reset()
    call_baton.reset()
    idle_streams.reset()
    connections.replace_lock()
    if _child is not None:
        _child.keep_child_end()
    for connection in connections.all():
        connection.after_fork()
    disown_all()


at_fork(_before_fork, _after_fork_in_parent, _after_fork_in_child)
