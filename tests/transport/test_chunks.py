"""Large data over gRPC goes in chunks: little memory, no limit, nothing left when it breaks off."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uactor
from tests.support import eventually
from tests.support.peers import Peer
from uactor.errors import SerializationError
from uactor.transport.chunks import Chunks
from uactor.transport.segments import MIN_SEGMENT_BYTES
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]

SIZE = 40_000_000
_STATUS, _CLEAR = Path('/proc/self/status'), Path('/proc/self/clear_refs')


def peak() -> int:
    """Return the most memory that this process has had, in bytes."""
    (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


def forget_peak() -> int:
    """Have the peak begin anew, with what there is now."""
    gc.collect()
    _CLEAR.write_text('5')
    return peak()


class Keeper:
    """Keeps a value, and tells how much memory that takes."""

    def __init__(self) -> None:
        self._kept: Any = None

    def keep(self, value: Any) -> int:
        self._kept = value
        return len(value)

    def kept(self) -> Any:
        return self._kept

    def echo(self, value: Any) -> Any:
        return value

    def peak(self) -> int:
        return peak()

    def forget_peak(self) -> int:
        return forget_peak()


class Store(Keeper, uactor.Actor):
    _options_ = {'transport': 'grpc'}

    def fill(self, array: Any, number: int) -> int:
        array[:] = number
        return int(array.sum())

    def pid(self) -> int:
        return os.getpid()


@pytest.fixture
def store() -> Iterator[Any]:
    with Store() as actor:
        yield actor


# --- over gRPC -------------------------------------------------------------------------------


@pytest.mark.skipif(not _CLEAR.exists(), reason='peaks are read from /proc')
def test_neither_side_needs_much_more_than_twice_what_is_sent(store: Any) -> None:
    size = 5 * SIZE
    array = np.ones(size, np.uint8)
    store.keep(array[:MIN_SEGMENT_BYTES])  # what it takes once
    ours, theirs = forget_peak(), store.forget_peak()
    store.keep(array)
    assert peak() - ours + size < 2.2 * size  # it has the array already
    assert store.peak() - theirs < 2.2 * size
    ours, theirs = forget_peak(), store.forget_peak()
    result = store.kept()
    assert peak() - ours < 2.2 * size
    assert store.peak() - theirs + size < 2.2 * size
    assert (result == array).all()


@pytest.mark.parametrize(
    'value',
    [b'x' * SIZE, bytearray(SIZE), 'ü' * (SIZE // 2), list(range(300_000))],
    ids=['bytes', 'bytearray', 'str', 'list'],
)
def test_all_kinds_of_large_values_arrive(store: Any, value: Any) -> None:
    found = store.echo(value)
    assert type(found) is type(value)
    assert found == value


def test_an_array_that_has_arrived_can_be_written_to(store: Any) -> None:
    array = np.zeros(2 * MIN_SEGMENT_BYTES, np.uint8)
    assert store.fill(array, 1) == 2 * MIN_SEGMENT_BYTES
    assert not array.any()
    found = store.echo(array)
    found[:] = 5


def test_the_actor_may_change_what_it_has_returned(store: Any) -> None:
    store.keep(np.zeros(SIZE, np.uint8))
    found = store.kept()
    store.fill(np.ones(MIN_SEGMENT_BYTES, np.uint8), 3)
    assert not found.any()


def test_threads_get_what_is_theirs_in_chunks(store: Any) -> None:
    failed: list[int] = []

    def work(number: int) -> None:
        sent = np.full(3 * MIN_SEGMENT_BYTES, number, np.uint8)
        failed.extend(number for _ in range(5) if not (store.echo(sent) == number).all())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_limit_counts_what_comes_in_chunks() -> None:
    class Small(Store):
        _options_ = {'transport': 'grpc', 'max_message_size': 400_000}

    with Small() as store:
        array = np.ones(300_000, np.uint8)
        assert (store.echo(array) == array).all()
        with pytest.raises(SerializationError, match='400000'):
            store.echo(np.ones(500_000, np.uint8))
        assert (store.echo(array) == array).all()


def test_a_client_that_is_killed_within_its_data_leaves_nothing(store: Any) -> None:
    body = """
    import numpy as np
    from uactor.transport.chunks import Chunks
    cut_chunks = Chunks.cut_chunks

    def in_part(chunks, memories):
        for number, chunk in enumerate(cut_chunks(chunks, memories)):
            if number == 50:
                say('within')
                listen()
            yield chunk

    Chunks.cut_chunks = in_part
    given[0].keep(np.ones(300_000_000, np.uint8))
    """
    before = store.forget_peak()
    with Peer(body, store) as client:
        assert client.read_line() == 'within'
        eventually(lambda: store.peak() > before + 40_000_000)
        client.kill()
    store.forget_peak()
    eventually(lambda: store.forget_peak() < before + 30_000_000)
    assert store.keep(np.ones(MIN_SEGMENT_BYTES, np.uint8)) == MIN_SEGMENT_BYTES


def test_an_actor_that_is_killed_within_its_data_is_missed() -> None:
    store: Any = Store()
    store.keep(np.ones(300_000_000, np.uint8))
    pid = store.pid()
    base = forget_peak()

    def kill() -> None:
        eventually(lambda: peak() > base + 10_000_000)
        os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(uactor.ActorDiedError):
        store.kept()
    killer.join()


# --- chunks ----------------------------------------------------------------------------------


def views(parts: Sequence[bytes]) -> list[memoryview]:
    return [memoryview(part) for part in parts]


@pytest.mark.quick
@pytest.mark.parametrize(
    'parts',
    [[b'', b'x', b''], [b'x' * (1 << 20)], [b'a' * 3_000_000, b'', b'b' * 1_048_577]],
    ids=['gaps', 'one whole', 'many'],
)
def test_parts_of_any_size_are_put_together(parts: list[bytes]) -> None:
    sender, receiver = Chunks(), Chunks()
    memory = sender.lend(views(parts))
    assert memory is not None
    for chunk in sender.cut_chunks([memory]):
        receiver.receive(chunk)
    assert not sender.outgoing
    assert [bytes(part) for part in receiver.borrow(memory)] == parts
    with pytest.raises(SerializationError):
        receiver.borrow(memory)


@pytest.mark.quick
@settings(deadline=None)
@given(st.lists(st.binary(max_size=5000), min_size=1, max_size=5), st.integers(1, 5000))
def test_no_chunk_has_more_than_the_receiver_takes(parts: list[bytes], limit: int) -> None:
    sender, receiver = Chunks(), Chunks()
    sender.limit = envelope = 1 << 10
    sender.limit += limit
    receiver.limit = sum(map(len, parts))
    memory = sender.lend(views(parts))
    assert memory is not None
    chunks = list(sender.cut_chunks([memory]))
    assert all(0 < len(chunk.data) <= limit for chunk in chunks)
    assert all(chunk.ByteSize() <= limit + envelope for chunk in chunks)
    for chunk in chunks:
        receiver.receive(chunk)
    if any(parts):
        assert [bytes(part) for part in receiver.borrow(memory)] == parts


@pytest.mark.quick
def test_writable_parts_are_sent_as_they_were_lent() -> None:
    sender, receiver = Chunks(), Chunks()
    changing = bytearray(b'before')
    memory = sender.lend([memoryview(changing)])
    assert memory is not None
    changing[:] = b'behind'
    for chunk in sender.cut_chunks([memory]):
        receiver.receive(chunk)
    (arrived,) = receiver.borrow(memory)
    assert bytes(arrived) == b'before'


@pytest.mark.quick
def test_parts_that_differ_from_their_description_are_refused() -> None:
    sender, receiver = Chunks(), Chunks()
    memory = sender.lend(views([b'one', b'other']))
    assert memory is not None
    for chunk in sender.cut_chunks([memory]):
        receiver.receive(chunk)
    with pytest.raises(SerializationError, match='has not come'):
        receiver.borrow(pb.Memory(slot=memory.slot, sizes=[8]))


@pytest.mark.quick
@pytest.mark.parametrize(
    'chunk',
    [
        pb.Chunk(slot=1, data=b'x'),
        pb.Chunk(slot=1, sizes=[1], data=b'xy'),
        pb.Chunk(slot=1, sizes=[5]),
        pb.Chunk(slot=1, sizes=[200], data=b'x'),
    ],
    ids=['never begun', 'too much', 'nothing', 'more than allowed'],
)
def test_chunks_that_are_none_are_refused(chunk: pb.Chunk) -> None:
    receiver = Chunks()
    receiver.limit = 100
    with pytest.raises(SerializationError):
        receiver.receive(chunk)


@pytest.mark.quick
def test_no_chunk_is_larger_than_a_message_may_be() -> None:
    sender = Chunks()
    sender.limit = 2000
    memory = sender.lend(views([bytes(5000)]))
    assert memory is not None
    chunks = list(sender.cut_chunks([memory]))
    assert b''.join(chunk.data for chunk in chunks) == bytes(5000)
    assert max(chunk.ByteSize() for chunk in chunks) <= 2000


@pytest.mark.quick
def test_chunks_of_one_number_come_one_after_the_other() -> None:
    receiver = Chunks()
    receiver.receive(pb.Chunk(slot=1, sizes=[2], data=b'x'))
    with pytest.raises(SerializationError, match='nothing that has begun'):
        receiver.receive(pb.Chunk(slot=2, data=b'y'))


@pytest.mark.quick
def test_chunks_that_are_recalled_or_ignored_are_forgotten() -> None:
    sender, receiver = Chunks(), Chunks()
    one, other = sender.lend(views([b'one'])), sender.lend(views([b'other']))
    assert one is not None
    assert other is not None
    sender.recall([one])
    for chunk in sender.cut_chunks([other]):
        receiver.receive(chunk)
    receiver.ignore([other])
    assert not sender.outgoing
    assert not receiver.received
