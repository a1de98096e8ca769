"""The objects that an actor process shares, and their holders.

An object stays in the table as long as it has a holder: a client process, this process itself by a
proxy of its own, or a lease.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from uactor.errors import ActorUnreachableError, HandleError, ProxyError, StaleHandleError
from uactor.host.cancellation import make_interruptible
from uactor.host.holders import ANONYMOUS, LOCAL, Holder, count_clients, of_lease
from uactor.host.objects.primitives import PRIMITIVES
from uactor.runtime.limits import MAX_WAIT_S, validate_seconds
from uactor.runtime.threads import OnDemandThread

log = logging.getLogger('uactor.host')

LEASE_S = 600.0
"""How long a lease lasts unless its request says otherwise."""


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """An object in the table.

    :ivar exposed: the names of the methods and attributes that clients may use.
    :ivar method_to_typeid: the typeids of results that are shared, by method.
    :ivar holds: the number of holds, by holder.
    :ivar permanent: whether it stays without a holder: it is the actor.
    :ivar is_primitive: whether :mod:`uactor.host.objects.primitives` runs its methods.
    """

    id: str
    object: Any
    typeid: str
    exposed: frozenset[str]
    method_to_typeid: Mapping[str, str]
    holds: collections.defaultdict[Holder, int] = dataclasses.field(
        default_factory=functools.partial(collections.defaultdict, int)
    )
    permanent: bool = False
    is_primitive: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.is_primitive = isinstance(self.object, PRIMITIVES)


@dataclasses.dataclass(slots=True)
class _Lease:
    ids: tuple[str, ...]
    seconds: float
    expires: float


class ObjectTable:
    """Objects by id.

    :param expose: returns the exposed names of an object with a typeid, and the typeids of the
        results of its methods.
    :ivar incarnation: the part of all ids that tells this actor process from others.
    :ivar find: as :meth:`get`, but returns None when there is no such object.
    :ivar leases: by their ids; those of anonymous holds by the ids of the objects.
    """

    def __init__(
        self, expose: Callable[[Any, str], tuple[frozenset[str], Mapping[str, str]]]
    ) -> None:
        self.incarnation = os.urandom(4).hex()
        self._expose = expose
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._entries: dict[str, Entry] = {}
        self.find = self._entries.get
        self._by_identity: dict[int, Entry] = {}
        self.leases: dict[str, _Lease] = {}
        self._expiry = threading.Condition(self._lock)
        self._sweeper = OnDemandThread('uactor-leases', self._sweep)
        self._queued_releases: collections.deque[str] = collections.deque()
        self._release_requests: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._releaser = OnDemandThread('uactor-releases', self._wait_for_releases)

    @property
    def actor_id(self) -> str:
        """The id of the actor itself."""
        return f'{self.incarnation}.0'

    def set_actor(self, instance: Any) -> None:
        """Put the actor itself into the table, for good."""
        exposed, mapping = self._expose(instance, 'actor')
        entry = Entry(self.actor_id, instance, 'actor', exposed, mapping, permanent=True)
        with self._lock:
            self._entries[entry.id] = self._by_identity[id(instance)] = entry

    # --- looking up ------------------------------------------------------------------------

    def get(self, handle: str) -> Entry:
        """Return the entry that ``handle`` names; '' names the actor.

        :raises ActorUnreachableError: for the actor while it is being constructed.
        :raises StaleHandleError: for a handle of an earlier actor process.
        :raises HandleError: when there is no such object (any more).
        """
        entry = self._entries.get(handle or self.actor_id)
        if entry is not None:
            return entry
        if handle in ('', self.actor_id):
            raise ActorUnreachableError('the actor is still being constructed')
        if handle.partition('.')[0] != self.incarnation and '.' in handle:
            raise StaleHandleError(f'the handle {handle!r} is not of this actor process')
        raise HandleError(f'there is no object {handle!r}; its last holder has released it')

    def entry_of(self, value: Any) -> Entry | None:
        """Return the entry of a shared object; None for other objects."""
        with self._lock:
            return self._by_identity.get(id(value))

    def list_holds(self) -> list[tuple[Entry, int, int]]:
        """Return all entries with their numbers of holds and clients.

        The actor's entry comes first.
        """
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: not entry.permanent)
            return [
                (entry, sum(entry.holds.values()), count_clients(entry.holds)) for entry in entries
            ]

    def __len__(self) -> int:
        return len(self._entries)

    # --- sharing and holding ---------------------------------------------------------------

    def share(self, value: Any, typeid: str, holder: Holder) -> Entry:
        """Put ``value`` into the table if necessary, and take a hold.

        :raises ProxyError: when it is shared under another typeid.
        """
        exposed, mapping = self._expose(value, typeid)  # before the lock: may run user code
        self._drain_releases()
        with self._lock:
            entry = self._by_identity.get(id(value))
            if entry is None:
                make_interruptible(value)
                number = next(self._numbers)
                entry = Entry(f'{self.incarnation}.{number:x}', value, typeid, exposed, mapping)
                self._entries[entry.id] = self._by_identity[id(value)] = entry
            elif entry.typeid != typeid:
                raise ProxyError(
                    f'an object cannot have two kinds of proxy: it is shared as '
                    f'{entry.typeid!r} already, and {typeid!r} was asked for'
                )
            entry.holds[holder] += 1
        return entry

    def retain(self, handles: Iterable[str], holder: Holder, lease_id: str = '') -> None:
        """Take a hold on each object, and use a lease up.

        :raises HandleError: when one of them is gone; then none is held.
        """
        with self._lock:
            entries = [self.get(handle) for handle in handles]
            for entry in entries:
                entry.holds[holder] += 1
            if self._is_transferable(lease_id):
                gone = self.end_lease(lease_id)
                del gone  # it is empty: the new holds came first

    def release(self, handles: Iterable[str], holder: Holder) -> None:
        """Give up holds, and end the leases among the handles.

        The id of a lease may stand for a handle. An object without a holder leaves the table.
        Unknown ids are ignored.
        """
        with self._lock:
            # Objects die after the lock is released: their finalizers may be the user's.
            gone = [self._release(ident, holder) for ident in handles]
        del gone

    def _release(self, ident: str, holder: Holder) -> list[Entry | None]:
        if self._is_transferable(ident):
            return self.end_lease(ident)
        return [self.drop_holds(ident, holder, 1)]

    def _is_transferable(self, lease_id: str) -> bool:
        """Return whether any client may use up the lease by its id.

        No client may use up the lease of anonymous holds, whose id is that of the object.
        """
        lease = self.leases.get(lease_id)
        return lease is not None and bool(lease.ids)

    def release_all(self, holder: Holder) -> None:
        """Give up all holds of ``holder``."""
        with self._lock:
            gone = [
                self.drop_holds(entry.id, holder, entry.holds[holder])
                for entry in list(self._entries.values())
                if holder in entry.holds
            ]
        del gone

    def drop_holds(self, handle: str, holder: Holder, count: int) -> Entry | None:
        """Drop holds, and return the entry if it leaves the table.

        It leaves with the last hold. The caller has the lock.
        """
        entry = self._entries.get(handle)
        if entry is None:
            return None
        entry.holds[holder] -= count
        if entry.holds[holder] <= 0:
            del entry.holds[holder]
        if entry.holds or entry.permanent:
            return None
        del self._entries[handle]
        del self._by_identity[id(entry.object)]
        self.leases.pop(handle, None)
        return entry

    def expect_releases(self) -> None:
        """Start the thread that :meth:`release_later` wakes, before a finalizer needs it."""
        with self._lock:
            try:
                self._releaser.ensure_running()
            except RuntimeError as error:
                log.debug('holds are taken back when the next object is shared: %s', error)

    def release_later(self, handle: str) -> None:
        """Queue the release of a hold of this process.

        It is released soon, or before the next object is shared. Finalizers may call this: they may
        run while the table is locked.
        """
        self._queued_releases.append(handle)
        self._release_requests.put(None)

    def _wait_for_releases(self) -> bool:
        """Release holds as finalizers request it.

        This is a step of a thread that never ends.
        """
        self._release_requests.get()
        self._drain_releases()
        return True

    def _drain_releases(self) -> None:
        gone = []
        with self._lock:
            while self._queued_releases:
                gone.append(self.drop_holds(self._queued_releases.popleft(), LOCAL, 1))
        del gone

    # --- leases ----------------------------------------------------------------------------

    def lease(self, handles: Iterable[str], seconds: float = LEASE_S) -> str:
        """Hold objects for the client that presents the returned id.

        The hold ends after ``seconds`` if no client does.
        """
        lease_id = secrets.token_hex(8)
        ids = tuple(handles)
        self.retain(ids, of_lease(lease_id))
        self._begin_lease(lease_id, ids, seconds)
        return lease_id

    def lease_anonymously(self, handle: str, seconds: float) -> None:
        """Keep an object's anonymous holds until ``seconds`` after its last use."""
        self._begin_lease(handle, (), seconds)

    def renew_lease(self, handle: str) -> None:
        """Renew the lease of an object's anonymous holds, if there are any."""
        if handle not in self.leases:
            return
        with self._lock:
            lease = self.leases.get(handle)
            if lease is not None:
                lease.expires = time.monotonic() + lease.seconds

    def _begin_lease(self, lease_id: str, ids: tuple[str, ...], seconds: float) -> None:
        seconds = min(validate_seconds(seconds, 'a lease'), MAX_WAIT_S)
        with self._lock:
            self.leases[lease_id] = _Lease(ids, seconds, time.monotonic() + seconds)
            self._sweeper.ensure_running()
            self._expiry.notify()

    def end_lease(self, lease_id: str) -> list[Entry | None]:
        """Drop a lease's holds, and return the entries that leave the table.

        The caller has the lock.
        """
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return []
        if not self.leases:
            self._expiry.notify()  # the sweeper ends
        if not lease.ids:  # anonymous: named by the handle
            entry = self._entries.get(lease_id)
            count = entry.holds[ANONYMOUS] if entry else 0
            return [self.drop_holds(lease_id, ANONYMOUS, count)]
        return [self.drop_holds(handle, of_lease(lease_id), 1) for handle in lease.ids]

    def _sweep(self) -> bool:
        """End leases that have expired.

        This is a step of a thread that lives while there are leases.
        """
        with self._lock:
            now = time.monotonic()
            expired = [key for key, lease in self.leases.items() if lease.expires <= now]
            gone = [self.end_lease(key) for key in expired]
            if not self.leases:
                self._sweeper.mark_finished()
                return False
            earliest = min(lease.expires for lease in self.leases.values())
            if not gone:
                self._expiry.wait(max(0.0, earliest - now))
        del gone
        return True
