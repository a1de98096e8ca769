"""Create segments of shared memory, and keep them for later messages."""

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
"""Whether this system has anonymous memory that a process can pass on and seal."""

MIN_SEGMENT_BYTES = 1 << 17
"""Smallest buffer that is worth a segment: to map one costs as much as to copy a smaller buffer."""

_ALIGNMENT_BYTES = 64
"""Alignment of the parts in a segment."""

MAX_LENT = 128
"""The most segments that this process lends: each takes a descriptor or two."""
_ALWAYS_LENT_BYTES = 1 << 30
"""Parts of this size or more are lent beyond that limit: no message could hold them."""
_MAX_IDLE_BYTES = 1 << 29
"""The most idle memory that the pool keeps for later messages."""
_IDLE_S = 10.0
"""How long the pool keeps an idle segment."""


def map_memory(descriptor: int, size: int, flags: int) -> mmap.mmap:
    """Map the memory of a descriptor, without keeping that open."""
    if sys.version_info >= (3, 13):  # before, a mapping has a descriptor of its own
        return mmap.mmap(descriptor, size, flags, trackfd=False)
    return mmap.mmap(descriptor, size, flags)


class Segment:
    """Shared memory that this process has created and mapped.

    :param name: appears in the system's list of a process's mappings.
    :ivar capacity: size in bytes.
    :ivar since: the time since which the segment has been idle.
    """

    def __init__(self, capacity: int, name: str = 'uactor') -> None:
        self.capacity = capacity
        self.since = 0.0
        owned = descriptors_of(self)
        owned.extend(map(os.memfd_create, (name,), (os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING,)))
        [self.descriptor] = owned
        os.ftruncate(self.descriptor, capacity)
        # The receiver relies on the size: a read beyond the end would kill it.
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        self.mapping = map_memory(self.descriptor, capacity, mmap.MAP_SHARED)

    def fill(self, parts: Sequence[memoryview]) -> None:
        """Copy ``parts`` into the segment."""
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
    """Round a size up to one of a few capacities.

    That adds an eighth at most. Pages that are not used take no memory.
    """
    step = max(mmap.PAGESIZE, 1 << max(0, size.bit_length() - 3))
    return -(-size // step) * step


P = ParamSpec('P')
T = TypeVar('T')


def frees_pool(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function to release the pool's lock after any exception."""

    @functools.wraps(function)
    def release_on_error(*args: P.args, **kwargs: P.kwargs) -> T:
        outer = is_owned(pool.lock)
        try:
            return function(*args, **kwargs)
        except BaseException:
            if not outer:
                release_fully(pool.lock)
            raise

    return release_on_error


class SegmentLender(Protocol):
    """Lends segments to the other end of a connection."""

    def gather(self) -> int:
        """Take back returned segments; return how many the peer still has."""
        ...

    def abandon(self) -> None:
        """Forget the lent segments, in a forked child: they are the parent's."""
        ...


class Pool:
    """Keeps this process's idle segments, and the channels that lend others."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
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
        """Return a segment for ``size`` bytes.

        Return None if too many segments are lent.

        :raises OSError: when the system has no memory or no descriptor left.
        """
        with self.lock:
            if self._gather() >= MAX_LENT and size < _ALWAYS_LENT_BYTES:
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
                del self._idle[0]  # the one that has been idle longest
            self.watch()

    @property
    def is_watched(self) -> bool:
        """Whether a thread frees idle segments."""
        return self._thread.is_running

    def _gather(self) -> int:
        """Take back returned segments; return how many the peers still have."""
        return sum(channel.gather() for channel in tuple(self._channels))

    def counts(self) -> tuple[int, int]:
        """Return how many segments are idle, and how many lent."""
        with self.lock:
            lent = self._gather()
            return len(self._idle), lent

    def watch(self) -> None:
        """Start the thread that frees idle segments after a while."""
        try:
            self._thread.ensure_running()
        except RuntimeError as error:  # since Python 3.12, no thread starts at exit
            log.debug('idle memory is kept: %s', error)

    def _watch(self) -> bool:
        time.sleep(_IDLE_S / 2)  # a mark is a byte in memory, so no event reports it
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
        self._reset()  # the lock too: another thread may have held it
        for channel in channels:
            channel.abandon()


pool = Pool()
"""The segments of this process."""
