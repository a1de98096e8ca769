"""Pass large data between processes by memory that both map.

Problem: a large buffer inside a message is copied several times on its way.

Mechanism: the sender copies buffers into a segment of shared memory (``memfd_create``), and passes
its descriptor with the message. The receiver maps the segment copy-on-write and reads it in place.
What the receiver writes stays its own. When its last view is gone, it sets a mark in a page that
the sender sees. Then the sender uses the segment again, which is already mapped and has its pages.

Invariants: a segment has no name. The system frees it once neither side has it, however they end.
The sender uses a segment again only when the receiver has marked it as returned. A receiver that
forks has a child with the same views. A receiver whose connection ends may keep its views. In both
cases the sender forgets the segment, which lasts until its last view is gone.
"""

from __future__ import annotations

import collections
import fcntl
import functools
import logging
import mmap
import operator
import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from uactor.errors import ActorDiedError, SerializationError
from uactor.runtime.descriptors import reserve
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.locks import synchronized
from uactor.runtime.system_errors import is_own
from uactor.transport.frames import TakeDescriptor
from uactor.transport.segments import (
    POSSIBLE,
    Pool,
    Segment,
    compute_extent,
    compute_places,
    frees_pool,
    map_memory,
    pool,
)
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.transport')

_MARKS_SLOT = 0
"""Number, in the place of a segment's, of the descriptor of the page with the marks."""
SHARED_SLOT = 1 << 16
"""The same for the descriptor of a shared slot, see :mod:`uactor.transport.shm_slot`."""
_SLOTS = range(1, mmap.PAGESIZE)
_RETURNED, _INHERITED = 1, 2
"""Marks: the segment has no views any more; or only those of a forked child."""
_MAX_BORROWED = 256
"""The most segments that this process borrows: each takes a descriptor or two."""


class _Loan(weakref.ref[mmap.mmap]):
    """A borrowed segment, marked for its lender after the last view.

    C code alone sets the mark at that moment. An exception that a signal handler raises in a Python
    finalizer would be lost.
    """

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    mark_as: Callable[[int], None]
    mark: Callable[[], object] = bool  # does nothing until a slot to mark is set


_MARK = operator.methodcaller('mark')
_SET: Callable[..., None] = operator.setitem


class _Borrowed:
    """The segments that this process has borrowed."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # held during a fork
        self._loans: dict[int, tuple[weakref.ref[mmap.mmap], _Loan]] = {}
        self._ended: collections.deque[weakref.ref[mmap.mmap]] = collections.deque()

    @synchronized
    def add(self, map_it: Callable[[], mmap.mmap], marks: mmap.mmap, slot: int) -> mmap.mmap:
        """Map a segment, and mark it once its last view is gone."""
        mapping = map_it()
        end = weakref.ref(mapping, self._ended.append)  # made first, and so called last
        loan = _Loan(mapping, _MARK)
        loan.mark_as = functools.partial(_SET, marks, slot)
        loan.mark = functools.partial(loan.mark_as, _RETURNED)
        self._loans[id(end)] = end, loan
        return mapping

    def count(self) -> int:
        """Return the number of borrowed segments."""
        self._forget_ended()
        return len(self._loans)

    @synchronized
    def _forget_ended(self) -> None:
        # A dead mapping is not enough to drop its loan. A mapping first unmaps, without the
        # interpreter's lock, and only then runs the callback that sets the mark.
        while self._ended:
            self._loans.pop(id(self._ended[0]), None)
            self._ended.popleft()  # last, because a signal handler may raise before it

    def before_fork(self) -> None:
        """Arrange that all segments are marked as inherited at their end.

        The child has the same views.
        """
        self._lock.acquire()
        for _, loan in self._loans.values():
            loan.mark = functools.partial(loan.mark_as, _INHERITED)

    def after_fork_in_parent(self) -> None:
        """Allow threads of the parent to borrow again."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Forget all loans in the child: the parent sets the marks."""
        self._reset()  # the lock too: another thread may have held it


_borrowed = _Borrowed()


def count_borrowed() -> int:
    """Return how many borrowed segments this process has views of."""
    return _borrowed.count()


class UnmappableError(SerializationError):
    """The system has no descriptor, or no room, to map a segment."""


def map_foreign(descriptor: int, size: int, flags: int) -> mmap.mmap:
    """Map memory that another process has created.

    :raises SerializationError: when the memory is no sealed memory of that size.
    """
    _validate_foreign(descriptor, size)
    try:
        return map_memory(descriptor, size, flags)
    except OSError as error:
        if not is_own(error, map_memory):
            raise
        raise UnmappableError(f'the memory of a message can not be mapped: {error}') from error


def _validate_foreign(descriptor: int, size: int) -> None:
    """Refuse memory that may shrink, or is smaller than ``size``.

    A read beyond its end would kill the reader.
    """
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_SHRINK
        if sealed and os.fstat(descriptor).st_size >= size:
            return
    except OSError as error:
        if not is_own(error):
            raise
        raise SerializationError(f'the memory of a message is no memory: {error}') from error
    raise SerializationError('the memory of a message is not what it is said to be')


def _copy_segment(descriptor: int, size: int) -> bytearray:
    """Copy the content of a segment.

    :raises SerializationError: when the segment is no sealed memory of that size.
    """
    _validate_foreign(descriptor, size)
    copied, got = bytearray(size), 0
    with memoryview(copied) as view:
        while got < size:
            with view[got:] as rest:
                count = os.preadv(descriptor, [rest], got)
            if not count:
                raise SerializationError('the memory of a message is not what it is said to be')
            got += count
    return copied


def _borrow(memory: pb.Memory, descriptor: int, marks: mmap.mmap) -> mmap.mmap:
    """Map a segment, and mark it once its last view is gone."""
    extent = compute_extent(memory.sizes)
    map_it = functools.partial(map_foreign, descriptor, extent, mmap.MAP_PRIVATE)
    return _borrowed.add(map_it, marks, memory.slot)


class Lender(Protocol):
    """Lends large data along with messages."""

    def lend(self, parts: Sequence[memoryview]) -> pb.Memory | None:
        """Send ``parts`` with the next message, and return their description.

        :returns: None when the caller should put them into the message instead.
        """
        ...

    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """Withdraw the data of a message that will not be sent."""
        ...


class Carrier(Lender, Protocol):
    """Carries large data beside messages: a :class:`ShmChannel`, or chunks over gRPC."""

    @property
    def outgoing(self) -> Mapping[int, Any]:
        """The data of messages that have not been sent yet, by number."""
        ...

    def lend(
        self, parts: Sequence[memoryview], into: list[pb.Memory] | None = None
    ) -> pb.Memory | None:
        """Send ``parts`` with the next message. See :class:`Lender`.

        :param into: the result is appended here, too. So the caller has it even if a signal handler
            raises before the return.
        """
        ...

    def borrow(self, memory: pb.Memory) -> Sequence[memoryview | bytearray]:
        """Return the parts that came with a message. They are writable.

        :raises SerializationError: when they have not arrived.
        """
        ...

    def ignore(self, memories: Sequence[pb.Memory]) -> None:
        """Drop the data of a message, unless it has been borrowed."""
        ...

    def close(self) -> None:
        """Forget everything, at the end of the session."""
        ...


class ShmChannel:
    """Lends and borrows segments, at one end of a connection.

    :ivar outgoing: the segments that are lent with messages that have not been sent yet.
    :ivar limit: the most bytes to borrow with one message; -1 for any number.
    """

    def __init__(self) -> None:
        self.outgoing: dict[int, Segment] = {}
        self.limit = -1
        self._lent: dict[int, Segment] = {}
        self._marks: Segment | None = None  # set by the other end
        self._marks_passed = False
        self._their_marks: mmap.mmap | None = None
        self._arrived: dict[int, int | bytearray | None] = {}
        self._closed = False
        pool.join(self)
        reserve.fill()

    # --- the lender ------------------------------------------------------------------------

    @frees_pool
    def lend(
        self, parts: Sequence[memoryview], into: list[pb.Memory] | None = None
    ) -> pb.Memory | None:
        """Copy ``parts`` into a segment for the next message; return its description.

        :returns: None when the caller should put them into the message instead. Then too many
            segments are lent, or the system has no more memory or descriptors.
        """
        if self._closed:
            return None
        sizes = [part.nbytes for part in parts]
        try:
            marks = self._marks
            if marks is None:
                marks = self._marks = Segment(mmap.PAGESIZE)
            segment = pool.take(compute_extent(sizes))
        except OSError as error:
            if not is_own(error, Segment.__init__, Pool.take, map_memory):
                raise
            log.debug('no memory to share: %s', error)
            return None
        if segment is None:
            return None
        segment.fill(parts)
        try:
            with pool.lock:
                slot = next((slot for slot in _SLOTS if slot not in self._lent), None)
                if slot is None or self._closed:
                    return None
                lent = pb.Memory(slot=slot, sizes=sizes)
                marks.mapping[slot] = 0
                if into is not None:
                    into.append(lent)
                self.outgoing[slot] = self._lent[slot] = segment
                pool.watch()
            return lent
        except BaseException:
            self._unlend(segment)
            raise

    def _unlend(self, segment: Segment) -> None:
        for slot, known in tuple(self.outgoing.items()):
            if known is segment:
                self._lent.pop(slot, None)
                self.outgoing.pop(slot, None)

    @frees_pool
    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """Withdraw the segments of a message that will not be sent."""
        with pool.lock:
            for memory in memories:
                segment = self.outgoing.get(memory.slot)
                if segment is not None:
                    self._lent.pop(memory.slot, None)
                    self.outgoing.pop(memory.slot, None)
                    pool.give(segment)

    @frees_pool
    def pop_outgoing(self, memories: Sequence[pb.Memory]) -> list[tuple[int, int]]:
        """Return the numbers and descriptors to pass with the next message."""
        with pool.lock:
            going = [(memory.slot, self.outgoing.pop(memory.slot)) for memory in memories]
            if going and not self._marks_passed and self._marks is not None:
                self._marks_passed = True
                going.insert(0, (_MARKS_SLOT, self._marks))
        return [(slot, segment.descriptor) for slot, segment in going]

    def gather(self) -> int:
        """Take back returned segments; return how many are still lent.

        The caller holds the pool's lock.
        """
        if self._marks is not None:
            marks = self._marks.mapping
            for slot in tuple(self._lent):
                if mark := marks[slot]:
                    # A signal handler may raise in between, and leave the mark: lend() clears it.
                    segment = self._lent.pop(slot, None)
                    if mark == _RETURNED and segment is not None:
                        pool.give(segment)
        return len(self._lent)

    # --- the borrower ----------------------------------------------------------------------

    def expect(self, memories: Sequence[pb.Memory]) -> TakeDescriptor:
        """Return a function that receives the descriptors of a message.

        It closes a descriptor that does not belong to ``memories``, or that arrives twice.
        """
        sizes = {memory.slot: compute_extent(memory.sizes) for memory in memories}

        def take(slot: int, descriptor: int | None, is_scarce: bool) -> None:
            size = sizes.pop(slot, None)
            try:
                if slot == _MARKS_SLOT:
                    self._take_marks(descriptor)
                elif size is not None:
                    found = self._keep_or_copy(descriptor, size, is_scarce)
                    if found is descriptor:
                        descriptor = None  # _keep() owns it now
                    self._keep(slot, found)
            finally:
                if descriptor is not None:
                    os.close(descriptor)

        return take

    def _take_marks(self, descriptor: int | None) -> None:
        if descriptor is None or self._their_marks is not None or self._closed:
            return
        try:
            self._their_marks = map_foreign(descriptor, mmap.PAGESIZE, mmap.MAP_SHARED)
        except SerializationError as error:
            log.debug('no marks can be set: %s', error)  # so borrow() copies every segment
        if self._closed:  # by another thread meanwhile
            self._their_marks = None

    def _keep_or_copy(
        self, descriptor: int | None, size: int, is_scarce: bool
    ) -> int | bytearray | None:
        """Return a descriptor, or its segment's copy if descriptors are scarce."""
        if descriptor is None or not is_scarce:
            return descriptor
        try:
            return _copy_segment(descriptor, size)
        except SerializationError as error:  # borrow() raises an error for the lost data
            log.debug('what has come beside a message is lost: %s', error)
            return None

    def _keep(self, slot: int, found: int | bytearray | None) -> None:
        self._forget(slot)
        kept = sum(isinstance(known, int) for known in tuple(self._arrived.values()))
        if isinstance(found, int) and (kept >= _MAX_BORROWED or self._closed):
            os.close(found)
            found = None
        self._arrived[slot] = found
        if self._closed:  # by another thread meanwhile
            self._forget(slot)

    def _forget(self, slot: int) -> bool:
        """Drop the data that arrived for a slot; return whether any had."""
        if slot not in self._arrived:
            return False
        found = self._arrived.pop(slot, None)
        if isinstance(found, int):
            os.close(found)
        return True

    def borrow(self, memory: pb.Memory) -> Sequence[memoryview | bytearray]:
        """Return the parts that came with a message. They are writable.

        :raises SerializationError: when they have not arrived.
        :raises ActorDiedError: when this end has been closed meanwhile.
        """
        if 0 <= self.limit < sum(memory.sizes):
            self.ignore([memory])
            raise SerializationError(
                f'{sum(memory.sizes)} bytes have come through memory, not at most {self.limit}'
            )
        if self._closed and self._arrived.get(memory.slot) is None:
            raise ActorDiedError('the actor has ended while its message was on the way', 'yes')
        if memory.slot not in self._arrived:
            raise SerializationError('the memory of a message has not come along with it')
        found = self._arrived.pop(memory.slot, None)
        if found is None:
            self._mark(memory.slot)
            raise SerializationError(
                'the memory of a message is lost: this process has no descriptor left to take it '
                'by; see RLIMIT_NOFILE'
            )
        view = self._view_segment(memory, found)
        parts = [view[start:end] for start, end in compute_places(memory.sizes)]
        if _borrowed.count() > _MAX_BORROWED:
            return [bytearray(part) for part in parts]
        return parts

    def _view_segment(self, memory: pb.Memory, found: int | bytearray) -> memoryview:
        """Return a view of a segment, or of a copy.

        It is a copy if descriptors are scarce, mapping fails, or the lender has sent no marks.
        """
        marks, size = self._their_marks, compute_extent(memory.sizes)
        if not isinstance(found, int):
            self._mark(memory.slot)
            return memoryview(found)
        try:
            if marks is not None and memory.slot in _SLOTS:
                try:
                    return memoryview(_borrow(memory, found, marks))
                except UnmappableError as error:
                    log.debug('what has come beside a message is copied: %s', error)
            copied = _copy_segment(found, size)
        finally:
            os.close(found)
        self._mark(memory.slot)
        return memoryview(copied)

    def _mark(self, slot: int) -> None:
        """Return a segment without views to its lender, if that sent marks."""
        if self._their_marks is not None and slot in _SLOTS:
            self._their_marks[slot] = _RETURNED

    def ignore(self, memories: Sequence[pb.Memory]) -> None:
        """Return the segments of a message that have not been borrowed."""
        for memory in memories:
            if self._forget(memory.slot):
                self._mark(memory.slot)

    # --- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Forget the segments that the peer keeps; close those not borrowed."""
        with pool.lock:
            self._closed = True
            self.gather()
        self.abandon()

    def abandon(self) -> None:
        """Forget all segments, and close the descriptors that were not borrowed."""
        self._closed = True
        self._lent, self.outgoing = {}, {}
        self._marks = self._their_marks = None
        while self._arrived:
            _, found = self._arrived.popitem()
            if isinstance(found, int):
                os.close(found)


def _after_fork_in_child() -> None:
    _borrowed.after_fork_in_child()
    pool.after_fork()


if POSSIBLE:
    at_fork(_borrowed.before_fork, _borrowed.after_fork_in_parent, _after_fork_in_child)
