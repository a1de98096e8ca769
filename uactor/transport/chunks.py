"""Large data over gRPC: in chunks, ahead of the message that it belongs to.

A message of gRPC is in memory several times on its way: as it is made, in its wire form, in gRPC's
own buffers, and the same at the other side. Large data goes in messages of its own, of a size at
which that does not matter, and no faster than the other side takes them. It is put together in
memory that the receiver's objects then use, without a further copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from uactor.errors import SerializationError
from uactor.transport.buffers import Buffer
from uactor.v1 import actor_pb2 as pb

_SIZE = 1 << 20
"""How much data goes in one message, in bytes."""
_ENVELOPE = 1 << 10
"""Most bytes that such a message has beside its data."""
_MOST_PARTS = 1 << 20
_MOST_SLOTS = 0xFFFFFFFF


class Chunks:
    """One end of a session as sender and receiver of large data.

    The counterpart of :class:`uactor.transport.shm_buffers.Channel`, with the same duties.

    :ivar outgoing: what goes with messages that have not been sent yet, by number.
    :ivar limit: the most that is received for one message, and in one, in bytes; -1 for any.
    """

    def __init__(self) -> None:
        self.outgoing: dict[int, Sequence[memoryview]] = {}
        self.limit = -1
        self._count = itertools.count()  # threads may draw from it at the same time
        self._arriving: _Arriving | None = None
        self._arrived: dict[int, Sequence[bytearray]] = {}

    # --- the sender ----------------------------------------------------------------------------

    def lend(
        self, parts: Sequence[memoryview], into: list[pb.Memory] | None = None
    ) -> pb.Memory | None:
        """Have ``parts`` go before the next message, as they are now; return what describes them.

        What can be written to is copied: it may change while it is sent.

        :param into: gets it, too.
        """
        slot = next(self._count) % _MOST_SLOTS + 1
        lent = pb.Memory(slot=slot, sizes=[part.nbytes for part in parts])
        going = [part if part.readonly else memoryview(bytes(part)) for part in parts]
        if into is not None:
            into.append(lent)
        self.outgoing[slot] = going
        return lent

    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """Forget what belongs to a message that will not be sent."""
        for memory in memories:
            self.outgoing.pop(memory.slot, None)

    def passed(self, memories: Sequence[pb.Memory]) -> Iterator[pb.Chunk]:
        """Yield the chunks to send before a message."""
        most = _SIZE if self.limit < 0 else max(1, min(_SIZE, self.limit - _ENVELOPE))
        for memory in memories:
            parts = self.outgoing.pop(memory.slot)
            sizes: Sequence[int] = memory.sizes
            for part in parts:
                flat = part.cast('B') if part.nbytes else part
                for start in range(0, part.nbytes, most):
                    data = bytes(flat[start : start + most])
                    yield pb.Chunk(slot=memory.slot, sizes=sizes, data=data)
                    sizes = ()

    # --- the receiver --------------------------------------------------------------------------

    def take(self, chunk: pb.Chunk) -> None:
        """Take a chunk that has come.

        :raises SerializationError: when it is none, or more than is allowed.
        """
        if chunk.sizes:
            total = sum(chunk.sizes)
            if 0 <= self.limit < total:
                raise SerializationError(f'{total} bytes come in chunks, not at most {self.limit}')
            if len(chunk.sizes) > _MOST_PARTS:
                raise SerializationError(f'{len(chunk.sizes)} parts are too many')
            self._arriving = _Arriving(chunk.slot, chunk.sizes)
        arriving = self._arriving
        if arriving is None or arriving.slot != chunk.slot:
            raise SerializationError('a chunk belongs to nothing that has begun')
        if arriving.take(chunk.data):
            self._arrived[chunk.slot] = arriving.parts
            self._arriving = None

    def borrow(self, memory: pb.Memory) -> Sequence[bytearray]:
        """Return the parts that have come before a message. They can be written to.

        :raises SerializationError: when they have not.
        """
        parts = self._arrived.pop(memory.slot, None)
        if parts is None or [len(part) for part in parts] != list(memory.sizes):
            raise SerializationError('the large data of a message has not come')
        return parts

    def ignore(self, memories: Sequence[pb.Memory]) -> None:
        """Forget what has come before a message, as far as nobody has looked at it."""
        for memory in memories:
            self._arrived.pop(memory.slot, None)

    def close(self) -> None:
        """Forget everything."""
        self.outgoing.clear()
        self._arrived.clear()
        self._arriving = None


class _Arriving:
    """Parts that are coming, one after the other.

    Memory grows with what has come: what is only announced takes none.
    """

    def __init__(self, slot: int, sizes: Sequence[int]) -> None:
        self.slot = slot
        self.parts: list[bytearray] = []
        self._sizes = list(sizes)
        self._part = self._next()

    def _next(self) -> Buffer | None:
        """Go on to the next part that is not empty; return None when there is none."""
        while len(self.parts) < len(self._sizes):
            size = self._sizes[len(self.parts)]
            if size:
                return Buffer(size)
            self.parts.append(bytearray())
        return None

    def take(self, data: bytes) -> bool:
        """Take the next bytes, which are of one part; tell whether that is all."""
        part = self._part
        if part is None or not data:
            raise SerializationError('a chunk has nothing that was to come')
        if len(data) > part.missing:
            raise SerializationError('a chunk has more than was to come')
        part.add(data)
        if part.is_full:
            self.parts.append(part.data)
            self._part = self._next()
        return self._part is None
