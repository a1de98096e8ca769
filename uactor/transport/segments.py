"""Segments of shared memory, and the pool that keeps them for the next message."""

from __future__ import annotations

import fcntl
import functools
import logging
import mmap
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec, Protocol, TypeVar

from uactor.runtime.locks import is_owned, release_fully
from uactor.runtime.threads import OnDemandThread
from uactor.runtime.weakrefs import WeakBag, descriptors_of

log = logging.getLogger('uactor.transport')

POSSIBLE = all(
    (hasattr(os, 'memfd_create'), hasattr(fcntl, 'F_ADD_SEALS'), hasattr(socket, 'send_fds'))
)
"""Whether this system has anonymous memory that can be passed on, and sealed."""

LARGE = 1 << 17
"""Smallest buffer that is worth a segment, in bytes. Mapping costs as much as copying less."""

_ALIGNMENT = 64

_MOST_LENT = 128
_INDISPENSABLE = 1 << 30
"""Smallest total that is lent however many have been, in bytes: a message would hardly hold it."""
_MOST_IDLE = 1 << 29
"""How much memory is kept for later, in bytes, and for how many seconds."""
_IDLE = 10.0


def map_memory(descriptor: int, size: int, flags: int) -> mmap.mmap:
    """Map the memory of a descriptor, which the mapping does not keep open."""
    if sys.version_info >= (3, 13):  # before, a mapping has a descriptor of its own
        return mmap.mmap(descriptor, size, flags, trackfd=False)
    return mmap.mmap(descriptor, size, flags)


class Segment:
    """Shared memory of this process, mapped.

    :param name: for those who list what a process has mapped.
    :ivar capacity: in bytes.
    :ivar since: since when it has been idle.
    """

    def __init__(self, capacity: int, name: str = 'uactor') -> None:
        self.capacity = capacity
        self.since = 0.0
        owned = descriptors_of(self)
        owned.extend(map(os.memfd_create, (name,), (os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING,)))
        [self.descriptor] = owned
        os.ftruncate(self.descriptor, capacity)
        # Whoever maps it relies on its size: reading beyond the end would kill the process.
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.mapping = map_memory(self.descriptor, capacity, mmap.MAP_SHARED)

    def fill(self, parts: Sequence[memoryview]) -> None:
        """Copy ``parts`` into it."""
        with memoryview(self.mapping) as whole:
            places = places_of([part.nbytes for part in parts])
            for (start, end), part in zip(places, parts, strict=True):
                whole[start:end] = part


def places_of(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield beginning and end of each part in a segment."""
    start = 0
    for size in sizes:
        yield start, start + size
        start += -(-size // _ALIGNMENT) * _ALIGNMENT


def extent_of(sizes: Sequence[int]) -> int:
    """Return how many bytes a segment needs for parts of these sizes."""
    *_, (_, end) = (0, 1), *places_of(sizes)
    return max(end, 1)


def _rounded(size: int) -> int:
    """Return a capacity for ``size``: few different ones, and at most an eighth more.

    What is not used of it takes no memory.
    """
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


P = ParamSpec('P')
T = TypeVar('T')


def frees_pool(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function that uses the pool's lock, which no exception leaves locked."""

    @functools.wraps(function)
    def freeing(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = is_owned(pool.lock)
        try:
            return function(*args, **kwargs)
        except BaseException:
            if not outer:
                release_fully(pool.lock)
            raise

    return freeing


class SegmentLender(Protocol):
    """Lends segments to the other end of a connection."""

    def gather(self) -> int:
        """Take back what the other end is done with, and return how much it is not."""
        ...

    def abandon(self) -> None:
        """Leave what is lent to the parent, in a forked child."""
        ...


class Pool:
    """The segments of this process: those that are idle, and who lends the others."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._idle: list[Segment] = []
        self._channels: WeakBag[SegmentLender] = WeakBag()
        self._thread = OnDemandThread('uactor-memory', self._watch)

    @frees_pool
    def join(self, channel: SegmentLender) -> None:
        """Know who may lend."""
        with self.lock:
            self._channels.add(channel)

    def take(self, size: int) -> Segment | None:
        """Return a segment that holds ``size`` bytes, or None when too many are lent already.

        :raises OSError: when the system gives none.
        """
        with self.lock:
            if self._gather() >= _MOST_LENT and size < _INDISPENSABLE:
                return None
            capacity = _rounded(size)
            fitting = [known for known in self._idle if capacity <= known.capacity <= 2 * capacity]
            if fitting:
                best = min(fitting, key=lambda known: known.capacity)
                self._idle.remove(best)
                return best
        return Segment(capacity)

    def give(self, segment: Segment) -> None:
        """Keep a segment that nobody else looks at."""
        with self.lock:
            segment.since = time.monotonic()
            self._idle.append(segment)
            while sum(known.capacity for known in self._idle) > _MOST_IDLE:
                del self._idle[0]  # has been idle for longest
            self.watch()

    @property
    def is_watched(self) -> bool:
        """Whether a thread sees to what is idle."""
        return self._thread.is_running

    def _gather(self) -> int:
        """Take back what the other ends are done with, and return how many they are not."""
        return sum(channel.gather() for channel in tuple(self._channels))

    def counts(self) -> tuple[int, int]:
        """Return how many segments are idle, and how many lent."""
        with self.lock:
            lent = self._gather()
            return len(self._idle), lent

    def watch(self) -> None:
        """See to it that what is idle is freed after a while."""
        try:
            self._thread.ensure_running()
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            log.debug('idle memory is kept: %s', error)

    def _watch(self) -> bool:
        time.sleep(_IDLE / 2)  # a mark is a byte in memory: nothing tells that it is set
        with self.lock:
            lent = self._gather()
            oldest = time.monotonic() - _IDLE
            self._idle = [known for known in self._idle if known.since > oldest]
            if not lent and not self._idle:
                self._thread.mark_finished()
                return False
        return True

    def after_fork(self) -> None:
        """Leave it all to the parent, in a forked child."""
        channels = tuple(self._channels)
        self.__init__()  # type: ignore[misc]  # another thread may have had the lock
        for channel in channels:
            channel.abandon()


pool = Pool()
"""The segments of this process."""
