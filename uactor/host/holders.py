"""The holders of objects in the table.

A holder is a kind and an id. Only the host chooses the kind. The name that a client gives itself is
an id among those of clients, so it never names a holder of another kind.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Kind(str, enum.Enum):
    """The kinds of holders."""

    LOCAL = 'local'
    ANONYMOUS = 'anonymous'
    LEASE = 'lease'
    CLIENT = 'client'
    SESSION = 'session'

    __hash__ = str.__hash__  # that of enums is a function of Python


class Holder(NamedTuple):
    """The identity of a holder.

    :ivar id: tells it from others of its kind.
    """

    kind: Kind
    id: str = ''


LOCAL = Holder(Kind.LOCAL)
"""The actor process itself, by its own proxies."""

ANONYMOUS = Holder(Kind.ANONYMOUS)
"""All callers outside sessions; their holds are leases."""

_numbers = itertools.count(1)


def of_lease(lease_id: str) -> Holder:
    """Return the holder that a lease is."""
    return Holder(Kind.LEASE, lease_id)


def of_client(client_id: str) -> Holder:
    """Return the holder for all sessions with this ``client_id``.

    Without an id, each session is a holder by itself.
    """
    if not client_id:
        return Holder(Kind.SESSION, str(next(_numbers)))
    return Holder(Kind.CLIENT, client_id)


def count_clients(holders: Iterable[Holder]) -> int:
    """Return how many of the holders are client processes."""
    return sum(holder.kind in (Kind.CLIENT, Kind.SESSION) for holder in holders)
