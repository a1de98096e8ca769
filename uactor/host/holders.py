"""Holders: who can hold an object of the table.

A holder is a kind and an id. Only the host chooses the kind: what a client says of itself is an id
among those of clients, whatever it is, and never names what another kind of holder has.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Kind(str, enum.Enum):
    """What a holder is."""

    LOCAL = 'local'
    ANONYMOUS = 'anonymous'
    LEASE = 'lease'
    CLIENT = 'client'
    SESSION = 'session'

    __hash__ = str.__hash__  # that of enums is a function of Python


class Holder(NamedTuple):
    """Names who holds objects.

    :ivar id: tells it from others of its kind.
    """

    kind: Kind
    id: str = ''


LOCAL = Holder(Kind.LOCAL)
"""This very process, by its own proxies."""

ANONYMOUS = Holder(Kind.ANONYMOUS)
"""All callers outside sessions; their holds are leases."""

_numbers = itertools.count(1)


def of_lease(lease_id: str) -> Holder:
    """Return the holder that a lease is."""
    return Holder(Kind.LEASE, lease_id)


def of_client(client_id: str) -> Holder:
    """Return the holder that the sessions with this ``client_id`` are together.

    Without an id, a session is a holder by itself.
    """
    if not client_id:
        return Holder(Kind.SESSION, str(next(_numbers)))
    return Holder(Kind.CLIENT, client_id)


def clients_among(holders: Iterable[Holder]) -> int:
    """Return how many of the holders are client processes."""
    return sum(holder.kind in (Kind.CLIENT, Kind.SESSION) for holder in holders)
