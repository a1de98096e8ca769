"""The shared slot: both ends in all orders of their steps, on a processor with store buffers.

A processor like x86 shows the stores of a core to others in order, but late: a load may overtake an
earlier store to another place. Each end of the model has a queue of stores, as such a core has,
which a thread of its own writes to memory, one at a time, at any moment. The end itself sees its
own stores at once. A memory barrier waits for the queue to be empty.
"""

from __future__ import annotations

import collections
import mmap
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.interleavings import Scheduler, Stuck, explore
from uactor.transport import shm_slot
from uactor.transport.shm_slot import DELIVERED, NEED_WAKEUP, REFUSED, ShmSlot

pytestmark = [
    pytest.mark.pythons('memory order'),
    pytest.mark.skipif(not shm_slot.POSSIBLE, reason='slots need the memory model of x86'),
]

STEPS = [('shm_slot.py', name) for name in ('put', 'take', 'set_need_wakeup', 'clear_need_wakeup')]
"""The functions whose lines are steps."""

INTERRUPTIONS = 1


class Core:
    """A processor's queue of stores, and the thread that writes them to memory."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._stores: collections.deque[tuple[Any, Any, Any]] = collections.deque()
        self._ended = False

    def store(self, memory: Any, key: Any, value: Any) -> None:
        self._stores.append((memory, key, value))

    def load(self, memory: Any, key: Any) -> Any:
        for there, known, value in reversed(self._stores):
            if there is memory and known == key:
                return value
        return memory[key]

    def wait_for_stores(self) -> None:
        self._scheduler.wait(lambda: not self._stores)

    def end(self) -> None:
        self._ended = True

    def write(self) -> None:
        """Write the stores to memory, until the end of the core's program."""
        while True:
            self._scheduler.wait(lambda: bool(self._stores) or self._ended)
            if not self._stores:
                return
            memory, key, value = self._stores.popleft()
            memory[key] = value


class Seen:
    """Memory, as a core sees it."""

    def __init__(self, core: Core, memory: Any) -> None:
        self._core, self._memory = core, memory

    def __getitem__(self, key: Any) -> Any:
        return self._core.load(self._memory, _hashable(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        self._core.store(self._memory, _hashable(key), value)


def _hashable(key: Any) -> Any:
    return key if isinstance(key, int) else slice(int(key.start), int(key.stop))


class Barrier:
    """In place of the lock that is a memory barrier."""

    def __init__(self, core: Core, works: bool) -> None:
        self._core, self._works = core, works

    def acquire(self, blocking: bool = True) -> bool:
        if self._works:
            self._core.wait_for_stores()
        return True

    def release(self) -> None: ...

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None: ...


class End:
    """One end: its slot, and a socket of which it receives."""

    def __init__(
        self, scheduler: Scheduler, mapping: mmap.mmap, end: int, has_barrier: bool
    ) -> None:
        self.core = Core(scheduler)
        self.slot: Any = ShmSlot(mapping, end)
        self.socket: collections.deque[bytes] = collections.deque()
        self.received: list[bytes] = []
        self._scheduler = scheduler
        self._from_socket = self._sent = 0
        slot: Any = self.slot
        slot.outgoing = Seen(self.core, slot.outgoing)
        slot.incoming = Seen(self.core, slot.incoming)
        slot.mapping = Seen(self.core, mapping)
        slot.barrier = Barrier(self.core, has_barrier)

    def send(self, messages: list[bytes], peer: End, results: list[int]) -> None:
        """Send as a lane does."""
        for message in messages:
            result = self.slot.put(message, self._sent)
            results.append(result)
            if result == REFUSED:
                self._sent += 1
                self._write(peer, message)
            elif result == NEED_WAKEUP:
                self._write(peer, b'')
            else:
                assert result == DELIVERED
        self.core.end()

    def _write(self, peer: End, data: bytes) -> None:
        self.core.wait_for_stores()  # the system has barriers of its own
        peer.socket.append(data)

    def receive(self, count: int, polls: int) -> None:
        """Receive as a lane does: poll some times, and then sleep."""
        while len(self.received) < count:
            self.slot.clear_need_wakeup()
            message = self._poll(polls)
            if message is None:
                self.slot.set_need_wakeup()
                message = self.slot.take(self._from_socket)
            if message is None:
                message = self._sleep()
            if message:
                self.received.append(message)
        self.core.end()

    def _poll(self, polls: int) -> bytes | None:
        for _ in range(polls):
            message: bytes | None = self.slot.take(self._from_socket)
            if message is not None:
                return message
        return None

    def _sleep(self) -> bytes:
        self.core.wait_for_stores()
        self._scheduler.wait(lambda: bool(self.socket))
        # What is in the slot may come before what is on the socket.
        message = self.slot.take(self._from_socket)
        if message is not None:
            return bytes(message)
        data = self.socket.popleft()
        if data:
            self._from_socket += 1
        return data


def lane_run(
    messages: list[bytes], polls: int, barriers: tuple[bool, bool], found: list[list[int]]
) -> Callable[[list[int]], Scheduler]:
    """Return what sends messages from one end to the other, in an order of steps."""

    def run(choices: list[int]) -> Scheduler:
        scheduler = Scheduler(choices, STEPS)
        mapping = mmap.mmap(-1, shm_slot.MEMORY_BYTES)
        sender, receiver = (
            End(scheduler, mapping, end, has_barrier) for end, has_barrier in enumerate(barriers)
        )
        results: list[int] = []
        scheduler.start(lambda: sender.send(messages, receiver, results))
        scheduler.start(lambda: receiver.receive(len(messages), polls))
        scheduler.start(sender.core.write)
        scheduler.start(receiver.core.write)
        scheduler.run()
        assert receiver.received == messages
        found.append(results)
        return scheduler

    return run


@pytest.mark.parametrize(
    ('messages', 'polls'),
    [
        pytest.param([b'one'], 0, marks=pytest.mark.full),
        pytest.param([b'one'], 1, marks=pytest.mark.soak),
        pytest.param([b'one', b'two'], 1, marks=pytest.mark.soak),
    ],
)
def test_no_message_is_missed_or_out_of_order_in_any_order_of_steps(
    messages: list[bytes], polls: int
) -> None:
    found: list[list[int]] = []
    assert explore(lane_run(messages, polls, (True, True), found), INTERRUPTIONS) > 5000
    # The orders include all that can become of a message.
    assert {result for results in found for result in results} == {REFUSED, DELIVERED, NEED_WAKEUP}


def test_no_message_is_missed_or_out_of_order_in_some_orders_of_steps() -> None:
    explore(lane_run([b'one'], 0, (True, True), []), INTERRUPTIONS, most=400)


@pytest.mark.parametrize('barriers', [(False, True), (True, False)], ids=['sender', 'receiver'])
def test_without_a_barrier_at_either_end_a_message_is_missed(barriers: tuple[bool, bool]) -> None:
    with pytest.raises(Stuck):
        explore(lane_run([b'one'], 0, barriers, []), INTERRUPTIONS)
