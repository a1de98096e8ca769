"""Large data arrives as it was sent, writable, through memory where both sides have it."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import pickle
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uactor
from tests.client.test_handshake import HELLO, KEY, proof
from tests.support import Actor, eventually
from tests.support.peers import Peer
from tests.transport.test_lane import Dialled, lane_of
from uactor.codec import values
from uactor.transport import segments, shm_buffers
from uactor.transport.frames import LaneError
from uactor.transport.lane import Lane
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.doors]

SIZE = 2 * segments.MIN_SEGMENT_BYTES


class Store:
    """Takes, keeps and returns arrays."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def keep(self, *items: Any) -> None:
        self._kept.extend(items)

    def kept(self) -> list[Any]:
        return self._kept

    def forget(self) -> None:
        self._kept.clear()

    def echo(self, value: Any) -> Any:
        return value

    def total(self, array: Any, *, more: Any = ()) -> int:
        return int(np.sum(array)) + int(np.sum(more))

    def fill(self, array: Any, number: int) -> Any:
        array[:] = number
        return array

    def full(self, number: int, size: int = SIZE) -> Any:
        return np.full(size, number, np.uint8)

    def fail(self, array: Any) -> None:
        raise ValueError(len(array))

    def counts(self) -> tuple[int, int]:
        """Return how many segments this process lends and borrows."""
        gc.collect()
        return segments.pool.counts()[1], shm_buffers.count_borrowed()

    def pid(self) -> int:
        return os.getpid()

    def fork(self) -> Any:
        """Fork with what is kept here; return what the child sees once it has been told to look."""
        mine, theirs = socket.socketpair()
        child = os.fork()
        if not child:
            theirs.recv(1)
            theirs.send(bytes({int(array.min()) for array in self._kept}))
            os._exit(0)
        self._kept.clear()
        return uactor.proxy(Child(mine, child), 'auto')


class Child:
    """A forked child that looks at what it has got when it is asked to."""

    def __init__(self, sock: socket.socket, pid: int) -> None:
        self._socket, self._pid = sock, pid

    def look(self) -> bytes:
        self._socket.send(b'.')
        seen = self._socket.recv(100)
        os.waitpid(self._pid, 0)
        return seen


class AnyStore(Store, Actor):
    """By the transport under test."""


class LaneStore(Store, uactor.Actor):
    """By the lane, whatever the transport of the other tests."""


@pytest.fixture(scope='module')
def store() -> Iterator[Any]:
    with AnyStore() as actor:
        yield actor


@pytest.fixture
def near() -> Iterator[Any]:
    """An actor that shares memory with this process; all is given back in the end."""
    with LaneStore() as actor:
        yield actor
        actor.forget()
        eventually(lambda: gc.collect() is not None and counts() == actor.counts() == (0, 0))


def key() -> bytes:
    return bytes(multiprocessing.current_process().authkey)


def counts() -> tuple[int, int]:
    """Return how many segments this process lends and borrows."""
    gc.collect()
    return segments.pool.counts()[1], shm_buffers.count_borrowed()


def full(number: int, size: int = SIZE) -> Any:
    return np.full(size, number, np.uint8)


def segments_of(pid: int) -> set[str]:
    """Return the segments that a process has, mapped or by a descriptor, by their inodes."""
    found = set()
    for line in Path(f'/proc/{pid}/maps').read_text().splitlines():
        if '/memfd:uactor ' in line:
            found.add(line.split()[4])
    for entry in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(OSError):  # closed by now
            if '/memfd:uactor ' in str(entry.readlink()):
                found.add(str(entry.stat().st_ino))
    return found


# --- as pickle promises, over each transport ------------------------------------------------


def test_arrays_arrive_as_they_are(store: Any) -> None:
    array = np.arange(SIZE, dtype=np.float64).reshape(2, -1)
    back = store.echo(array)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_received_array_can_be_written_to_and_the_sender_does_not_see_it(store: Any) -> None:
    array = full(1)
    back = store.fill(array, 2)
    assert (array == 1).all()
    assert (back == 2).all()
    back[:] = 3
    assert (back == 3).all()


def test_an_array_that_cannot_be_written_to_stays_so(store: Any) -> None:
    array = full(1)
    array.flags.writeable = False
    assert not store.echo(array).flags.writeable


def test_the_sender_can_change_an_array_once_it_is_sent(store: Any) -> None:
    array = full(1)
    store.keep(array)
    array[:] = 2
    (kept,) = store.kept()
    store.forget()
    assert (kept == 1).all()


def test_several_arrays_of_any_size_travel_in_one_message(store: Any) -> None:
    arrays = {size: full(size % 251, size) for size in (0, 1, SIZE, SIZE + 1, 63, 3 * SIZE)}
    back = store.echo(arrays)
    assert all(np.array_equal(back[size], arrays[size]) for size in arrays)


def test_the_same_array_twice_in_one_message_is_one(store: Any) -> None:
    array = full(1)
    first, second = store.echo([array, array])
    assert first is second


def test_arrays_travel_as_keyword_arguments_and_attributes(store: Any) -> None:
    assert store.total(full(1), more=full(2)) == 3 * SIZE
    store.kept_array = full(5)
    assert (store.kept_array == 5).all()


def test_arrays_travel_to_the_constructors_of_shared_objects() -> None:
    with AnyStore() as actor:
        made = actor._manager.list([full(1), full(2)])
        assert [int(array[0]) for array in made[:]] == [1, 2]


@pytest.mark.parametrize('kind', [bytes, bytearray])
@pytest.mark.parametrize('size', [10, SIZE])
def test_bytes_arrive_as_what_they_are(store: Any, kind: type, size: int) -> None:
    for value in (kind(b'x' * size), [kind(b'x' * size)]):
        back = store.echo(value)
        assert back == value
        assert type(back) is type(value)


def test_an_object_with_buffers_that_travels_by_value_arrives(store: Any) -> None:
    class Named:
        def __init__(self, array: Any) -> None:
            self.array = array

    back = store.echo(Named(full(4)))
    assert type(back) is Named
    assert (back.array == 4).all()


def test_a_buffer_that_is_not_in_one_piece_is_refused_as_by_pickle(store: Any) -> None:
    scattered = pickle.PickleBuffer(memoryview(bytes(2 * SIZE))[::2])
    with pytest.raises(uactor.SerializationError, match='non-contiguous'):
        store.echo(scattered)


def test_arrays_that_are_kept_do_not_change_with_later_calls(store: Any) -> None:
    kept = [store.full(number) for number in range(10)]
    store.keep(*(full(number) for number in range(10)))
    for number in range(20):
        store.full(100 + number)
        store.total(full(200 + number))
    assert [set(array.tolist()) for array in kept] == [{number} for number in range(10)]
    theirs = store.kept()
    store.forget()
    assert [set(array.tolist()) for array in theirs] == [{number} for number in range(10)]


def test_threads_get_what_is_theirs(store: Any) -> None:
    def ask(number: int) -> bool:
        results = [store.echo(full(number + step)) for step in range(10)]
        return all((array == number + step).all() for step, array in enumerate(results))

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(0, 240, 10)))


def test_an_actor_without_pickles_takes_large_bytes() -> None:
    class Native(AnyStore):
        _options_ = {'serializer': 'native'}

    with Native() as actor:
        assert actor.echo(bytes(SIZE)) == bytes(SIZE)
        assert actor.echo([b'x' * SIZE]) == [b'x' * SIZE]


@pytest.mark.parametrize('value', [full(1, SIZE), bytes(SIZE), [bytes(SIZE)]])
def test_data_beside_a_message_counts_for_its_size(value: Any) -> None:
    class Capped(AnyStore):
        _options_ = {'max_message_size': SIZE}

    with Capped() as actor:
        with pytest.raises(uactor.SerializationError, match=f'takes {SIZE} at most') as caught:
            actor.total(value)
        assert caught.value.executed == 'no'
        with pytest.raises(uactor.SerializationError, match=f'sends {SIZE} at most') as caught:
            actor.full(1)
        assert caught.value.executed == 'yes'
        assert actor.total(full(1, SIZE - 1000)) == actor.full(1, SIZE - 1000).sum()
        assert actor.counts() == counts() == (0, 0)


# --- memory ---------------------------------------------------------------------------------


def test_memory_is_given_back_and_used_again(near: Any) -> None:
    def call() -> list[set[str]]:
        near.total(full(1))
        near.full(1)
        assert near.counts() == counts() == (0, 0)
        return [segments_of(os.getpid()), segments_of(near.pid())]

    first = call()
    for _ in range(20):
        # What others have left idle is freed meanwhile; what is new was not used again.
        assert all(now <= before for now, before in zip(call(), first, strict=True))


@pytest.mark.parametrize('kind', [bytes, bytearray])
def test_large_bytes_travel_in_memory_like_arrays(near: Any, kind: type) -> None:
    assert not segments_of(near.pid())
    assert near.echo(kind(SIZE)) == kind(SIZE)
    assert segments_of(near.pid())


def test_memory_is_lent_as_long_as_a_view_of_it_is_kept(near: Any) -> None:
    array = near.full(1)
    part = array[:10]
    del array
    assert counts() == (0, 1)
    assert near.counts() == (1, 0)
    del part
    assert near.counts() == (0, 0)


def test_memory_that_an_actor_keeps_is_free_when_it_forgets_it(near: Any) -> None:
    near.keep(full(1), full(2))
    assert counts() == (1, 0)  # one segment for one message
    assert near.counts() == (0, 1)
    near.forget()
    assert counts() == (0, 0)


def test_more_is_kept_than_there_are_segments(near: Any) -> None:
    kept = [near.full(number % 251) for number in range(300)]
    assert all((array == number % 251).all() for number, array in enumerate(kept))
    assert near.counts()[0] <= 128


def test_a_process_without_room_for_more_mappings_gets_copies(
    near: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shm_buffers, '_MAX_BORROWED', 2)
    kept = [near.full(number) for number in range(5)]
    assert counts() == (0, 2)
    for array in kept:
        array[0] = 9
    assert [int(array[1]) for array in kept] == [0, 1, 2, 3, 4]


def test_where_no_memory_is_to_be_had_data_travels_in_the_message(
    near: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    near.echo(1)
    monkeypatch.setattr(segments, 'pool', segments.Pool())  # which has no segments yet
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE, usual[1]))  # holds for memory of files, too
    try:
        assert (near.echo(full(7, 5 * SIZE)) == 7).all()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
        signal.signal(signal.SIGXFSZ, handler)


def test_memory_of_a_call_that_fails_is_given_back(near: Any) -> None:
    with pytest.raises(ValueError, match=str(SIZE)):
        near.fail(full(1))
    with pytest.raises(AttributeError):
        near._callmethod('no_such_method', (full(1),))
    with pytest.raises(uactor.HandleError):
        near._manager.connection.call('nobody', 'echo', (full(1),), {}, lambda shared: shared)
    near.total(1)
    assert near.counts() == counts() == (0, 0)


def test_memory_of_a_message_that_cannot_be_pickled_is_given_back(near: Any) -> None:
    connection = near._manager.connection
    with pytest.raises(uactor.SerializationError):
        connection.create('list', ([full(1)], threading.Lock()), {}, lambda shared: shared)
    assert counts() == (0, 0)
    assert near.total(full(1)) == SIZE


def test_idle_memory_is_freed_after_a_while(near: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, '_IDLE_S', 0.01)
    monkeypatch.setattr(segments, 'pool', pool := segments.Pool())
    near.total(full(1))
    eventually(lambda: pool.counts() == (0, 0) and not pool.is_watched)


def test_little_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, '_MAX_IDLE_BYTES', 4 * SIZE)
    pool = segments.Pool()
    monkeypatch.setattr(pool, 'watch', int)  # its thread would keep it for others to inherit
    taken = [pool.take(SIZE) for _ in range(10)]
    for segment in taken:
        assert segment is not None
        pool.give(segment)
    assert pool.counts() == (4, 0)


def test_an_array_survives_the_session_that_brought_it(near: Any) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(near.full(1)))
    thread.start()
    thread.join()
    eventually(lambda: near.counts() == (0, 0))  # it has been forgotten
    for _ in range(10):
        near.full(2)
    assert (found.pop() == 1).all()


def test_an_array_survives_the_actor_that_returned_it() -> None:
    with LaneStore() as actor:
        array = actor.full(1)
    assert (array == 1).all()
    array[:] = 2
    assert (array == 2).all()


def test_two_actors_exchange_data(near: Any) -> None:
    with LaneStore() as other:
        near.keep(other)
        other.keep(full(1))
        (array,) = near.echo(other.kept())
        assert (array == 1).all()
        near.forget()
        del array


# --- several gigabytes ----------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.skipif(
    os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGESIZE') < 16 << 30, reason='takes 7 GiB'
)
def test_a_value_may_be_larger_than_a_message_can_be(near: Any) -> None:
    size = (1 << 31) + 1000
    assert near.echo(full(1, size))[-1] == 1
    near.total(np.zeros(10))


# --- processes that are killed, and forked --------------------------------------------------

HOLDING = """
import numpy
store, = given
array = store.full(1)
store.keep(numpy.zeros(1_000_000))
say('holding')
listen()
"""


def test_a_killed_client_leaves_no_memory(near: Any) -> None:
    before = segments_of(near.pid())
    with Peer(HOLDING, near) as peer:
        assert peer.read_line() == 'holding'
        assert near.counts() == (1, 1)
        peer.kill()
        eventually(lambda: near.counts()[0] == 0)
        near.forget()
        assert near.counts() == (0, 0)
        assert (near.full(3) == 3).all()
    eventually(lambda: len(segments_of(near.pid())) <= len(before) + 3)


def test_a_killed_actor_leaves_no_memory_and_what_was_got_from_it_lasts(near: Any) -> None:
    other = LaneStore()
    other.__enter__()
    array = other.full(5)
    other.keep(full(1))
    assert counts() == (1, 1)
    os.kill(other.pid(), 9)
    with pytest.raises(uactor.ActorDiedError):
        other.full(1)
    assert (array == 5).all()
    assert counts() == (0, 1)
    del array
    assert counts() == (0, 0)
    assert (near.full(6) == 6).all()
    with contextlib.suppress(uactor.ActorDiedError):
        other.__exit__(None, None, None)


def test_a_forked_child_sees_what_its_parent_has_got(near: Any) -> None:
    array = near.full(1)
    looking, looked = multiprocessing.Pipe()
    child = os.fork()
    if not child:
        looked.recv()
        looked.send(set(array.tolist()))
        os._exit(0)
    del array
    for _ in range(10):
        near.full(2)  # would go where the child looks, if the parent had said that it is done
    looking.send('now')
    assert looking.recv() == {1}
    os.waitpid(child, 0)


def test_a_forked_child_sees_what_an_actor_has_got(near: Any) -> None:
    near.keep(full(1))
    child = near.fork()
    for _ in range(10):
        near.total(full(2))
    assert child.look() == b'\1'


def test_a_forked_child_makes_calls_of_its_own(near: Any) -> None:
    near.total(full(1))
    looking, looked = multiprocessing.Pipe()
    gc.collect()  # what other tests have left would be inherited
    child = os.fork()
    if not child:
        inherited = segments_of(os.getpid())  # what other tests have left, too
        answers = near.total(full(2)), near.full(3).max()
        looked.send((*answers, len(segments_of(os.getpid()) - inherited)))
        os._exit(0)
    total, largest, have = looking.recv()
    os.waitpid(child, 0)
    assert (total, largest) == (2 * SIZE, 3)
    assert have <= 4
    assert (near.full(4) == 4).all()


# --- agreement ------------------------------------------------------------------------------


def test_memory_is_shared_only_when_both_sides_have_said_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    actor: Any = LaneStore()
    with actor:
        assert actor._manager.connection.link.session().memory is not None
        client = Dialled(lane_of(actor))
        client.enter(key())
        request = pb.CallRequest(method='full', args=[pb.Value(int64=1)], accept_pickle=True)
        client.send(pb.SessionRequest(id=2, call=request))
        response = client.receive()
        assert response is not None
        assert not response.result.pickle.HasField('memory')
        assert len(response.result.pickle.buffers[0]) == SIZE
        client.close()
    monkeypatch.setattr(segments, 'POSSIBLE', False)
    actor = LaneStore()
    with actor:
        assert actor._manager.connection.link.session().memory is None
        assert (actor.echo(full(3)) == 3).all()
        assert counts() == actor.counts() == (0, 0)


class Sharing(Dialled):
    """A client of a lane that is written by hand, and shares memory."""

    def enter(self, key: bytes = KEY) -> None:
        hello = pb.SessionRequest()
        hello.CopyFrom(HELLO)
        hello.hello.memory = True
        self.send(hello)
        response = self.receive()
        assert response is not None
        assert response.welcome.memory
        given = proof(key, b'client', response.welcome.nonce, b'n')
        self.send(pb.SessionRequest(proof=pb.Proof(proof=given)))
        self.lane = Lane(self.socket)

    def ask(self, slot: int, sizes: list[int], passed: list[tuple[int, int]]) -> str:
        """Call with memory; return which error the call ends with."""
        arguments = pb.Pickle(memory=pb.Memory(slot=slot, sizes=sizes))
        request = pb.SessionRequest(id=2, call=pb.CallRequest(method='echo', arguments=arguments))
        self.lane.frames.send_with(request.SerializeToString(), passed)
        response = self.receive()
        assert response is not None
        return response.failure.type_name.rpartition('.')[2]


def test_memory_that_is_not_what_it_is_said_to_be_is_refused(near: Any) -> None:
    with contextlib.closing(Sharing(lane_of(near))) as client:
        client.enter(key())
        marks, good = segments.Segment(4096), segments.Segment(4096)
        unsealed = os.memfd_create('unsealed')
        os.ftruncate(unsealed, 4096)
        first = [(0, marks.descriptor)]
        assert client.ask(1, [10], []) == 'SerializationError'
        assert client.ask(1, [10], [*first, (1, unsealed)]) == 'SerializationError'
        assert client.ask(1, [5000], [(1, good.descriptor)]) == 'SerializationError'
        assert client.ask(1, [10], [(2, good.descriptor)]) == 'SerializationError'
        assert client.ask(4096, [10], [(4096, good.descriptor)]) == 'SerializationError'
        null = os.open(os.devnull, os.O_RDONLY)
        assert client.ask(1, [10], [(1, null)]) == 'SerializationError'
        os.close(null)
        os.close(unsealed)
    assert near.total(full(1)) == SIZE


def test_descriptors_of_a_stranger_are_not_taken(near: Any) -> None:
    segment = segments.Segment(4096)
    before = segments_of(near.pid())
    with contextlib.closing(Dialled(lane_of(near))) as client:
        lane = Lane(client.socket)
        with contextlib.suppress(LaneError):
            lane.frames.send_with(HELLO.SerializeToString(), [(1, segment.descriptor)])
        response = client.receive()
        assert response is not None
        assert response.failure.type_name == 'uactor.errors.SerializationError'
    assert segments_of(near.pid()) == before


@pytest.mark.parametrize('size', [0, 100, 8191, 8192, 8193, 100_000])
@pytest.mark.parametrize('count', [0, 1, 3])
def test_descriptors_come_along_with_messages_of_any_size(size: int, count: int) -> None:
    here, there = socket.socketpair()
    with here, there:
        sender, receiver = Lane(here), Lane(there)
        got: list[tuple[int, int | None]] = []
        receiver.frames.expect = lambda message: (
            lambda number, descriptor, _: got.append((number, descriptor))
        )
        sent = [os.open(os.devnull, os.O_RDONLY) for _ in range(count)]
        message = os.urandom(size)

        def send() -> None:
            for _ in range(3):  # at once, with others before and behind
                sender.send(b'before')
                sender.frames.send_with(message, list(enumerate(sent, 1)))
                sender.send(b'behind')

        thread = threading.Thread(target=send)
        thread.start()
        received: Callable[[], bytes] = lambda: bytes(receiver.receive())  # noqa: E731
        for _ in range(3):
            assert [received() for _ in range(3)] == [b'before', message, b'behind']
        thread.join()
        assert [number for number, _ in got] == 3 * list(range(1, count + 1))
        for descriptor in (*sent, *(descriptor for _, descriptor in got)):
            assert descriptor is not None
            os.close(descriptor)


def test_small_buffers_stay_in_the_pickle() -> None:
    message = values.encode(np.zeros(10))
    assert message.pickle.data
    assert not message.pickle.buffers
