"""The object table: what this actor process shares, and who holds it.

An object lives in the table exactly as long as somebody holds it: a client
process, this process itself (by a proxy of its own), or a lease.
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
from uactor.host.holders import ANONYMOUS, LOCAL, Holder, clients_among, of_lease
from uactor.host.objects.primitives import PRIMITIVES
from uactor.runtime.limits import MAX_WAIT_S, validate_seconds
from uactor.runtime.threads import OnDemandThread

log = logging.getLogger('uactor.host')

LEASE = 600.0
"""How long a lease lasts unless said otherwise, in seconds."""


@dataclasses.dataclass(slots=True, eq=False)
class Entry:
    """An object in the table.

    :ivar exposed: names of methods and attributes that may be used from outside.
    :ivar method_to_typeid: methods whose result is shared, and as what.
    :ivar is_primitive: whether calls go through :mod:`uactor.host.objects.primitives`.
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

    :param expose: says for an object and a typeid what is exposed, and which of its methods
        return what.
    :ivar find: as :meth:`get`, but returns None when there is no such object.
    :ivar leases: by their ids, or those of the objects that nobody in particular holds.
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
        self._late: collections.deque[str] = collections.deque()
        self._late_wakeup: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._releaser = OnDemandThread('uactor-releases', self._release_queued)

    @property
    def actor_id(self) -> str:
        """Id of the actor itself."""
        return f'{self.incarnation}.0'

    def set_actor(self, instance: Any) -> None:
        """Enter the actor itself, for good."""
        exposed, mapping = self._expose(instance, 'actor')
        entry = Entry(self.actor_id, instance, 'actor', exposed, mapping, permanent=True)
        with self._lock:
            self._entries[entry.id] = self._by_identity[id(instance)] = entry

    # --- looking up ------------------------------------------------------------------------

    def get(self, handle: str) -> Entry:
        """Return the object that ``handle`` names; empty for the actor.

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

    def of(self, value: Any) -> Entry | None:
        """Return the entry of an object that is shared already."""
        with self._lock:
            return self._by_identity.get(id(value))

    def held(self) -> list[tuple[Entry, int, int]]:
        """Return all entries, the actor first, each with its holds and how many clients hold it."""
        with self._lock:
            entries = sorted(self._entries.values(), key=lambda entry: not entry.permanent)
            return [
                (entry, sum(entry.holds.values()), clients_among(entry.holds)) for entry in entries
            ]

    def __len__(self) -> int:
        return len(self._entries)

    # --- sharing and holding ---------------------------------------------------------------

    def share(self, value: Any, typeid: str, holder: Holder) -> Entry:
        """Enter ``value``, or find it, and count a hold.

        :raises ProxyError: when it is shared under another typeid.
        """
        exposed, mapping = self._expose(value, typeid)  # before the lock: may run user code
        self._release_late()
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
        """Count a hold on each, and use a lease up.

        :raises HandleError: when one of them is gone; then none is held.
        """
        with self._lock:
            entries = [self.get(handle) for handle in handles]
            for entry in entries:
                entry.holds[holder] += 1
            if self._is_for_anybody(lease_id):
                gone = self._end_lease(lease_id)
                del gone  # nothing: the new holds came first

    def release(self, handles: Iterable[str], holder: Holder) -> None:
        """Take holds back, and end leases, whose ids may be among the handles.

        What nobody holds is forgotten. Unknown ids are passed over.
        """
        with self._lock:
            # Objects die after the lock is let go: their finalizers may be the user's.
            gone = [self._give_up(ident, holder) for ident in handles]
        del gone

    def _give_up(self, ident: str, holder: Holder) -> list[Entry | None]:
        if self._is_for_anybody(ident):
            return self._end_lease(ident)
        return [self._drop(ident, holder, 1)]

    def _is_for_anybody(self, lease_id: str) -> bool:
        """Return whether this is a lease that belongs to whoever knows its id.

        Not that of an anonymous hold, whose id is that of the object.
        """
        lease = self.leases.get(lease_id)
        return lease is not None and bool(lease.ids)

    def release_all(self, holder: Holder) -> None:
        """Take all holds of ``holder`` back."""
        with self._lock:
            gone = [
                self._drop(entry.id, holder, entry.holds[holder])
                for entry in list(self._entries.values())
                if holder in entry.holds
            ]
        del gone

    def _drop(self, handle: str, holder: Holder, count: int) -> Entry | None:
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
        """Be ready for :meth:`release_later`."""
        with self._lock:
            try:
                self._releaser.ensure_running()
            except RuntimeError as error:
                log.debug('holds are taken back when the next object is shared: %s', error)

    def release_later(self, handle: str) -> None:
        """Take a hold of this process back soon, or before the next object is shared.

        Safe in finalizers, which may run while the table is locked.
        """
        self._late.append(handle)
        self._late_wakeup.put(None)

    def _release_queued(self) -> bool:
        """Take holds back as finalizers ask for it. A step of a thread that never ends."""
        self._late_wakeup.get()
        self._release_late()
        return True

    def _release_late(self) -> None:
        gone = []
        with self._lock:
            while self._late:
                gone.append(self._drop(self._late.popleft(), LOCAL, 1))
        del gone

    # --- leases ----------------------------------------------------------------------------

    def lease(self, handles: Iterable[str], seconds: float = LEASE) -> str:
        """Hold the objects for whoever presents the returned id, for a while at most."""
        lease_id = secrets.token_hex(8)
        ids = tuple(handles)
        self.retain(ids, of_lease(lease_id))
        self._begin_lease(lease_id, ids, seconds)
        return lease_id

    def lease_anonymously(self, handle: str, seconds: float) -> None:
        """Keep a hold of nobody in particular only until ``seconds`` after its last use."""
        self._begin_lease(handle, (), seconds)

    def use(self, handle: str) -> None:
        """Renew the lease of an object that nobody in particular holds."""
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

    def _end_lease(self, lease_id: str) -> list[Entry | None]:
        lease = self.leases.pop(lease_id, None)
        if lease is None:
            return []
        if not self.leases:
            self._expiry.notify()  # the sweeper ends
        if not lease.ids:  # anonymous: named by the handle
            entry = self._entries.get(lease_id)
            count = entry.holds[ANONYMOUS] if entry else 0
            return [self._drop(lease_id, ANONYMOUS, count)]
        return [self._drop(handle, of_lease(lease_id), 1) for handle in lease.ids]

    def _sweep(self) -> bool:
        """End leases whose time is up. A step of a thread that lives while there are any."""
        with self._lock:
            now = time.monotonic()
            expired = [key for key, lease in self.leases.items() if lease.expires <= now]
            gone = [self._end_lease(key) for key in expired]
            if not self.leases:
                self._sweeper.mark_finished()
                return False
            earliest = min(lease.expires for lease in self.leases.values())
            if not gone:
                self._expiry.wait(max(0.0, earliest - now))
        del gone
        return True
