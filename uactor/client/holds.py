"""What this process holds at one actor.

The host keeps an object as long as some process holds it. Here holds are counted, so that a forked
child can take them anew, and given up: a release is queued, and travels with the next call or in a
message of its own, whichever comes first.
"""

from __future__ import annotations

import collections
import contextlib
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from uactor.core.interfaces import Hold
from uactor.runtime.deferred import deferred
from uactor.runtime.locks import locked


class _ProxyEnd(weakref.ref[Any]):
    """Sends releases once a proxy is gone, unless a call takes them along."""

    __slots__ = ('_send',)
    __hash__ = object.__hash__

    _send: Callable[[], None]

    def __call__(self) -> None:
        """Send the releases, on the thread for deferred work."""
        self._send()


class _ThreadGrants(threading.local):
    # Of the class: finalizers, which may call, may also interrupt an __init__.
    granted: collections.Counter[str] | None = None


class Holds:
    """Holds, counted by handle, and the releases that gather.

    Finalizers may interrupt any method, and threads may call them at the same time.

    :param send: sends the releases that have gathered. It does not keep its link alive, since
        proxies keep it.
    :ivar pending: the releases that gather. A proxy's is appended by C code alone.
    """

    def __init__(self, send: Callable[[], None]) -> None:
        self._send = send
        self._lock = threading.RLock()
        self._counts: collections.Counter[str] = collections.Counter()
        self.pending: collections.deque[str | Hold] = collections.deque()
        self._proxy_ends: dict[Hold, _ProxyEnd] = {}
        self._local = _ThreadGrants()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is held, as far as releases have been sent."""
        return not self._counts

    @locked
    def handles(self) -> list[str]:
        """Return the handles of all holds that are not to be released, each once per hold."""
        held = self._counts.copy()
        held.subtract(map(_handle_of, tuple(self.pending)))
        return list(held.elements())

    def inherit(self, parents: Holds) -> None:
        """Take over, in a forked child, what the parent holds and its proxies."""
        self._counts = parents._counts
        for hold in tuple(parents._proxy_ends):
            proxy = hold()
            if proxy is not None:
                self.release_with(proxy, hold.handle)

    @locked
    def add(self, handle: str) -> None:
        """Count a hold that the host has given to this process."""
        self._counts[handle] += 1

    # --- holds that come along ---------------------------------------------------------------

    @contextlib.contextmanager
    def granting(self, handles: Iterable[str]) -> Iterator[None]:
        """Let proxies that this thread makes meanwhile have the holds that a message brings.

        A hold that no proxy has taken is released at the end.
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
        """Take one of the holds that a message brings; return whether there is one."""
        granted = self._local.granted
        if not granted or not granted[handle]:
            return False
        granted[handle] -= 1
        self.add(handle)
        return True

    # --- releases ----------------------------------------------------------------------------

    def release_with(self, proxy: object, handle: str) -> None:
        """Release a hold once ``proxy`` is gone.

        C code alone queues that at that moment: a signal handler could raise in a finalizer in
        Python, and its exception would be lost.
        """
        hold, end = Hold(proxy, self.pending.append), _ProxyEnd(proxy, deferred.submit)
        hold.handle, end._send = handle, self._send
        self._proxy_ends[hold] = end

    def release(self, handle: str) -> None:
        """Queue a release. Safe in finalizers."""
        self.pending.append(handle)
        deferred.submit(self._send)

    @locked
    def drain(self) -> list[str]:
        """Take the queued releases, and return their handles."""
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
        """Queue releases once more that could not be sent."""
        for handle in released:
            self.add(handle)
            self.release(handle)


def _handle_of(queued: str | Hold) -> str:
    return queued if isinstance(queued, str) else queued.handle
