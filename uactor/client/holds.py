"""The holds of this process at one actor.

The host keeps an object as long as some process holds it. The client counts its holds, so that a
forked child can take them anew. It queues releases: each travels with the next call or in a message
of its own, depending on which is sent first.
"""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from uactor.core.interfaces import Hold
from uactor.runtime.deferred import ObjectEnd, deferred
from uactor.runtime.locks import synchronized


class _ThreadGrants(threading.local):
    # A class attribute: a finalizer that calls may interrupt an __init__.
    granted: collections.Counter[str] | None = None


class Holds:
    """Holds, counted by handle, and the queued releases.

    Finalizers may interrupt any method, and several threads may call methods at the same time.

    :param send: sends the queued releases. Proxies keep it, so it must not keep its link alive.
    :ivar pending: the queued releases. C code alone appends the release of a proxy.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._counts: collections.Counter[str] = collections.Counter()
        self.pending: collections.deque[str | Hold] = collections.deque()
        self._proxy_ends: dict[Hold, ObjectEnd] = {}
        self._local = _ThreadGrants()

    @property
    def is_empty(self) -> bool:
        """Whether this process holds nothing; a release counts once it is sent."""
        return not self._counts

    @synchronized
    def handles(self) -> list[str]:
        """Return the handle of each hold that has no queued release."""
        held = self._counts.copy()
        held.subtract(map(_handle_of, tuple(self.pending)))
        return list(held.elements())

    def inherit(self, parents: Holds) -> None:
        """Copy the parent's holds and watch its proxies, in a forked child."""
        self._counts = parents._counts
        for hold in tuple(parents._proxy_ends):
            proxy = hold()
            if proxy is not None:
                self.release_with(proxy, hold.handle)

    @synchronized
    def add(self, handle: str) -> None:
        """Count a hold that the host has given to this process."""
        self._counts[handle] += 1

    # --- granted holds -----------------------------------------------------------------------

    @contextlib.contextmanager
    def granting(self, handles: Iterable[str]) -> Iterator[None]:
        """Offer a message's granted holds to new proxies of this thread.

        A hold that no proxy has taken when the context ends is released.
        """
        outer, granted = self._local.granted, collections.Counter(handles)
        try:
            self._local.granted = granted
            yield
        finally:
            self._local.granted = outer
            for handle in granted.elements():
                self.add(handle)
                self.release(handle)

    def take_granted(self, handle: str) -> bool:
        """Take one of the granted holds; return whether there was one."""
        granted = self._local.granted
        if not granted or not granted[handle]:
            return False
        granted[handle] -= 1
        self.add(handle)
        return True

    # --- releases ----------------------------------------------------------------------------

    def release_with(self, proxy: object, handle: str) -> None:
        """Release a hold once ``proxy`` is gone.

        C code alone queues the release then. In a finalizer written in Python, a signal handler
        could raise, and its exception would be lost.
        """
        hold, end = Hold(proxy, self.pending.append), ObjectEnd(proxy, deferred.submit)
        hold.handle, end.job = handle, self._send
        self._proxy_ends[hold] = end

    def release(self, handle: str) -> None:
        """Queue a release. Safe in finalizers."""
        self.pending.append(handle)
        deferred.submit(self._send)

    @synchronized
    def drain(self) -> list[str]:
        """Remove the queued releases, and return their handles."""
        released: list[str] = []
        while self.pending:
            try:
                queued = self.pending.popleft()
            except IndexError:  # another thread has taken the last one
                break
            if isinstance(queued, Hold):
                del self._proxy_ends[queued]
            released.append(_handle_of(queued))
        self._counts.subtract(released)
        for handle in released:
            if self._counts[handle] <= 0:
                del self._counts[handle]
        return released

    def give_back(self, released: Sequence[str]) -> None:
        """Queue again the releases that could not be sent."""
        for handle in released:
            self.add(handle)
            self.release(handle)


def _handle_of(queued: str | Hold) -> str:
    return queued if isinstance(queued, str) else queued.handle
