"""What an actor process is told at its start."""

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
    :ivar authkey: what callers must know.
    :ivar serializer: how values travel.
    :ivar max_message_size: largest message in bytes; -1 for no limit.
    :ivar insecure: whether listening beyond this machine without TLS is accepted.
    :ivar transport: ``'grpc'`` to offer no local lane.
    :ivar concurrency: how many of the actor's methods run at a time; None for any number.
    :ivar owner: where the actor listens that starts this one; '' when none does.
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
    """What the host is given of the rooms that it does not import.

    :ivar dial: connects to an actor process by its address.
    :ivar resolve: makes the proxy for a handle, by a manager class if one is given.
    """

    dial: Callable[[str], interfaces.Connection]
    resolve: Callable[..., Any]
