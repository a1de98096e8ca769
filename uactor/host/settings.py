"""The settings and dependencies that an actor process gets at its start."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uactor.codec import values
from uactor.core import interfaces
from uactor.core.addresses import Address


@dataclass(frozen=True)
class Settings:
    """How an actor process serves.

    :ivar address: where to listen, as the user wrote it.
    :ivar authkey: the key that callers must know.
    :ivar serializer: the name of the encoding of values.
    :ivar max_message_size: largest message in bytes; -1 for no limit.
    :ivar insecure: whether to listen beyond this machine without TLS.
    :ivar transport: ``'grpc'`` to offer no local lane.
    :ivar concurrency: how many of the actor's methods run at a time; None for no limit.
    :ivar owner: the address of the actor that starts this one; '' if no actor does.
    """

    address: Address
    authkey: bytes
    serializer: str = values.DEFAULT_SERIALIZER
    max_message_size: int = -1
    insecure: bool = False
    transport: str = 'auto'
    concurrency: int | None = None
    owner: str = ''

    def __repr__(self) -> str:
        return f'Settings(address={self.address!r}, serializer={self.serializer!r})'


@dataclass(frozen=True)
class HostDependencies:
    """The functions of rooms that the host does not import.

    :ivar dial: connects to an actor process by its address.
    :ivar resolve: creates the proxy for a handle, with the proxy classes of a manager class if
        one is given.
    """

    dial: Callable[[str], interfaces.Connection]
    resolve: Callable[..., Any]
