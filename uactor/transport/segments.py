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

MIN_SEGMENT_BYTES = 1 << 17
"""Smallest buffer that is worth a segment: to map one costs as much as to copy less."""

_ALIGNMENT_BYTES = 64

_MAX_LENT = 128
_ALWAYS_LENT_BYTES = 1 << 30
"""A total from this size on is lent however many segments are: no message could hold it."""
_MAX_IDLE_BYTES = 1 << 29
"""How much idle memory is kept for later messages, and for how long."""
_IDLE_S = 10.0


def map_memory(descriptor: int, size: int, flags: int) -> mmap.mmap:
    """Map the memory of a descriptor, which the mapping does not keep open."""
    if sys.version_info >= (3, 13):  # before, a mapping has a descriptor of its own
        return mmap.mmap(descriptor, size, flags, trackfd=False)
    return mmap.mmap(descriptor, size, flags)


class Segment:
    """Shared memory of this process, mapped.

    :param name: what the list of a process's mappings shows.
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
        # The process that maps it relies on its size: to read beyond the end would kill it.
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.mapping = map_memory(self.descriptor, capacity, mmap.MAP_SHARED)

    def fill(self, parts: Sequence[memoryview]) -> None:
        """Copy ``parts`` into it."""
        with memoryview(self.mapping) as whole:
            places = compute_places([part.nbytes for part in parts])
            for (start, end), part in zip(places, parts, strict=True):
                whole[start:end] = part


def compute_places(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield where each part begins and ends in a segment."""
    start = 0
    for size in sizes:
        yield start, start + size
        start += -(-size // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES


def compute_extent(sizes: Sequence[int]) -> int:
    """Return how many bytes a segment needs for parts of these sizes."""
    *_, (_, end) = (0, 1), *compute_places(sizes)
    return max(end, 1)


def _round_capacity(size: int) -> int:
    """Round a size up to one of a few capacities, by an eighth at most.

    Pages that are not used take no memory.
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
        """Take back what the other end has returned; return how many segments it has."""
        ...

    def abandon(self) -> None:
        """Forget what is lent, in a forked child: it is the parent's."""
        ...


class Pool:
    """The segments of this process: the idle ones, and the channels that lend the others."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._idle: list[Segment] = []
        self._channels: WeakBag[SegmentLender] = WeakBag()
        self._thread = OnDemandThread('uactor-memory', self._watch)

    @frees_pool
    def join(self, channel: SegmentLender) -> None:
        """Add a channel that lends segments."""
        with self.lock:
            self._channels.add(channel)

    def take(self, size: int) -> Segment | None:
        """Return a segment that holds ``size`` bytes, or None when too many are lent already.

        :raises OSError: when the system gives none.
        """
        with self.lock:
            if self._gather() >= _MAX_LENT and size < _ALWAYS_LENT_BYTES:
                return None
            capacity = _round_capacity(size)
            fitting = [known for known in self._idle if capacity <= known.capacity <= 2 * capacity]
            if fitting:
                best = min(fitting, key=lambda known: known.capacity)
                self._idle.remove(best)
                return best
        return Segment(capacity)

    def give(self, segment: Segment) -> None:
        """Keep a segment without views for a later message."""
        with self.lock:
            segment.since = time.monotonic()
            self._idle.append(segment)
            while sum(known.capacity for known in self._idle) > _MAX_IDLE_BYTES:
                del self._idle[0]  # has been idle for longest
            self.watch()

    @property
    def is_watched(self) -> bool:
        """Whether a thread frees idle segments."""
        return self._thread.is_running

    def _gather(self) -> int:
        """Take back what the other ends have returned; return how many segments they have."""
        return sum(channel.gather() for channel in tuple(self._channels))

    def counts(self) -> tuple[int, int]:
        """Return how many segments are idle, and how many are lent."""
        with self.lock:
            lent = self._gather()
            return len(self._idle), lent

    def watch(self) -> None:
        """Start the thread that frees idle segments after a while."""
        try:
            self._thread.ensure_running()
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            log.debug('idle memory is kept: %s', error)

    def _watch(self) -> bool:
        time.sleep(_IDLE_S / 2)  # a mark is a byte in memory: nothing tells that it is set
        with self.lock:
            lent = self._gather()
            oldest = time.monotonic() - _IDLE_S
            self._idle = [known for known in self._idle if known.since > oldest]
            if not lent and not self._idle:
                self._thread.mark_finished()
                return False
        return True

    def after_fork(self) -> None:
        """Forget all segments, in a forked child: they are the parent's."""
        channels = tuple(self._channels)
        self.__init__()  # type: ignore[misc]  # another thread may have had the lock
        for channel in channels:
            channel.abandon()


pool = Pool()
"""The segments of this process."""
