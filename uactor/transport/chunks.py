"""Send large data over gRPC in chunks, ahead of its message.

gRPC has a message in memory several times: as an object, in its wire form, and in buffers of its
own, on both sides. So large data does not go in the message. It goes in smaller messages, for which
that does not matter, and no faster than the receiver takes them. The receiver puts the data
together in memory that the objects of the message then use, without a further copy.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from uactor.errors import SerializationError
from uactor.transport.buffers import Buffer
from uactor.v1 import actor_pb2 as pb

_CHUNK_BYTES = 1 << 20
"""How much data goes in one message."""
_ENVELOPE_BYTES = 1 << 10
"""How much such a message has beside its data, at most."""
_MAX_PARTS = 1 << 20
_MAX_SLOT = 0xFFFFFFFF


class Chunks:
    """Sends and receives the large data of a session.

    It has the duties that :class:`uactor.transport.shm_buffers.Channel` has on a local lane. A slot
    is the number of what goes with one message.

    :ivar outgoing: the parts of messages that have not been sent, by slot.
    :ivar received: what has come for messages that have not, by slot.
    :ivar limit: how much is received for one message, and in one chunk, in bytes; -1 for any.
    """

    def __init__(self) -> None:
        self.outgoing: dict[int, Sequence[memoryview]] = {}
        self.limit = -1
        self._count = itertools.count()  # threads may draw from it at the same time
        self._assembly: _Assembly | None = None  # what has come in part
        self.received: dict[int, Sequence[bytearray]] = {}

    # --- the sender ----------------------------------------------------------------------------

    def lend(
        self, parts: Sequence[memoryview], into: list[pb.Memory] | None = None
    ) -> pb.Memory | None:
        """Queue parts to be sent before the next message; return their description.

        Writable parts are copied, since they may change while they are sent.

        :param into: a list that the description is appended to.
        """
        slot = next(self._count) % _MAX_SLOT + 1
        lent = pb.Memory(slot=slot, sizes=[part.nbytes for part in parts])
        outgoing = [part if part.readonly else memoryview(bytes(part)) for part in parts]
        if into is not None:
            into.append(lent)
        self.outgoing[slot] = outgoing
        return lent

    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """Drop the parts of a message that will not be sent."""
        for memory in memories:
            self.outgoing.pop(memory.slot, None)

    def cut_chunks(self, memories: Sequence[pb.Memory]) -> Iterator[pb.Chunk]:
        """Yield the chunks to send before a message, and drop its parts."""
        max_bytes = _CHUNK_BYTES
        if self.limit >= 0:
            max_bytes = max(1, min(_CHUNK_BYTES, self.limit - _ENVELOPE_BYTES))
        for memory in memories:
            parts = self.outgoing.pop(memory.slot)
            sizes: Sequence[int] = memory.sizes
            for part in parts:
                flat = part.cast('B') if part.nbytes else part
                for start in range(0, part.nbytes, max_bytes):
                    data = bytes(flat[start : start + max_bytes])
                    yield pb.Chunk(slot=memory.slot, sizes=sizes, data=data)
                    sizes = ()  # the first chunk alone has them

    # --- the receiver --------------------------------------------------------------------------

    def receive(self, chunk: pb.Chunk) -> None:
        """Add a chunk to the parts that it belongs to.

        :raises SerializationError: if it belongs to none, or there is more than is allowed.
        """
        if chunk.sizes:
            self._assembly = self._begin(chunk)
        assembly = self._assembly
        if assembly is None or assembly.slot != chunk.slot:
            raise SerializationError('a chunk belongs to nothing that has begun')
        assembly.add(chunk.data)
        if assembly.is_complete:
            self.received[chunk.slot] = assembly.parts
            self._assembly = None

    def _begin(self, chunk: pb.Chunk) -> _Assembly:
        """Begin the parts that the first of their chunks announces."""
        total = sum(chunk.sizes)
        if 0 <= self.limit < total:
            raise SerializationError(f'{total} bytes come in chunks, not at most {self.limit}')
        if len(chunk.sizes) > _MAX_PARTS:
            raise SerializationError(f'{len(chunk.sizes)} parts are too many')
        return _Assembly(chunk.slot, chunk.sizes)

    def borrow(self, memory: pb.Memory) -> Sequence[bytearray]:
        """Return the parts that were received before a message. They are writable.

        :raises SerializationError: if they have not come, or differ from their description.
        """
        parts = self.received.pop(memory.slot, None)
        if parts is None or [len(part) for part in parts] != list(memory.sizes):
            raise SerializationError('the large data of a message has not come')
        return parts

    def ignore(self, memories: Sequence[pb.Memory]) -> None:
        """Drop the parts of a message that nobody has borrowed."""
        for memory in memories:
            self.received.pop(memory.slot, None)

    def close(self) -> None:
        """Drop all parts."""
        self.outgoing.clear()
        self.received.clear()
        self._assembly = None


class _Assembly:
    """Puts parts together, whose bytes come one part after another.

    Memory is taken for what has come, and not for what is only announced.

    :ivar parts: those that are complete.
    """

    def __init__(self, slot: int, sizes: Sequence[int]) -> None:
        self.slot = slot
        self.parts: list[bytearray] = []
        self._sizes = list(sizes)
        self._partial = self._begin_part()

    @property
    def is_complete(self) -> bool:
        """Whether all parts are complete."""
        return self._partial is None

    def add(self, data: bytes) -> None:
        """Add the next bytes, which belong to a single part.

        :raises SerializationError: if there are none, or more than are missing.
        """
        partial = self._partial
        if partial is None or not data:
            raise SerializationError('a chunk has nothing that was to come')
        if len(data) > partial.missing:
            raise SerializationError('a chunk has more than was to come')
        partial.add(data)
        if partial.is_full:
            self.parts.append(partial.data)
            self._partial = self._begin_part()

    def _begin_part(self) -> Buffer | None:
        """Begin the next part that is not empty, if any."""
        while len(self.parts) < len(self._sizes):
            size = self._sizes[len(self.parts)]
            if size:
                return Buffer(size)
            self.parts.append(bytearray())
        return None
