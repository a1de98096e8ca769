"""What comes takes no more descriptors and memory than are used, and gives them back."""

from __future__ import annotations

import contextlib
import gc
import mmap
import os
import pickle
import select
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

import uactor
from tests.support import eventually
from tests.support.peers import Peer
from tests.support.raw_session import KEY, End, RawLaneStream, RawSession, open_session
from uactor.errors import SerializationError
from uactor.transport import shm_buffers, shm_slot
from uactor.transport.chunks import Chunks
from uactor.transport.frames import LaneError
from uactor.transport.lane import Lane, lane_path
from uactor.transport.segments import MIN_SEGMENT_BYTES, Segment
from uactor.transport.shm_buffers import ShmChannel
from uactor.v1 import actor_pb2 as pb

MEMORY: dict[str, Any] = {'memory': True}


def open_files() -> int:
    return len(os.listdir('/proc/self/fd'))


def boards() -> int:
    """Return how many boards this process has mapped."""
    return Path('/proc/self/maps').read_text().count('uactor-slot')


class Target(uactor.Actor):
    """Tells what it has open."""

    _options_ = {'authkey': KEY}

    def take(self, value: Any) -> int:
        return len(value)

    def give(self, size: int) -> bytes:
        return bytes(size)

    def boards(self) -> int:
        return boards()

    def pid(self) -> int:
        return os.getpid()

    def collect(self, is_on: bool) -> None:
        (gc.enable if is_on else gc.disable)()


class Family(Target):
    """Other processes of the family know its key."""

    _options_ = {'authkey': None}


@pytest.fixture(scope='module')
def target() -> Iterator[Any]:
    with Target() as actor:
        assert actor.take(b'x' * 2 * MIN_SEGMENT_BYTES)  # what is made once
        assert pid_of(actor)
        yield actor


@pytest.fixture
def session(target: Any) -> Iterator[RawSession]:
    with open_session(target, 'lane') as opened:
        yield opened


def peak_of(actor: Any) -> int:
    """Return the most memory that an actor has had, in bytes."""
    status = Path(f'/proc/{pid_of(actor)}/status').read_text()
    (line,) = (line for line in status.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) * 1024


def files_of(actor: Any) -> int:
    """Return how many descriptors an actor has. A call to ask it could bring one more."""
    return psutil.Process(pid_of(actor)).num_fds()


_pids: dict[str, int] = {}


def pid_of(actor: Any) -> int:
    address = actor.connection_address
    if address not in _pids:
        _pids[address] = actor.pid()
    return _pids[address]


def pack_argument(slot: int, segment: Segment, value: Any) -> pb.Value:
    """Put a pickle into a segment and return the argument that refers to it."""
    data = pickle.dumps(value)
    segment.fill([memoryview(data)])
    return pb.Value(pickle=pb.Pickle(memory=pb.Memory(slot=slot, sizes=[len(data)])))


def call_of(number: int, *args: pb.Value) -> bytes:
    request = pb.CallRequest(method='take', args=args)
    return pb.SessionRequest(id=number, call=request).SerializeToString()


# --- descriptors at the actor ------------------------------------------------------------------


DescriptorCase = Callable[[RawSession, int, int], None]
CASES: dict[str, DescriptorCase] = {}
"""What a client may do with a descriptor and another one that the actor can't use."""


def descriptor_case(function: DescriptorCase) -> DescriptorCase:
    """Add a function to the cases."""
    CASES[function.__name__] = function
    return function


@descriptor_case
def twice_in_one_message(session: RawSession, fd: int, other: int) -> None:
    session.stream.send_descriptors(call_of(9), [(5, [fd]), (5, [fd]), (5, [other])])


@descriptor_case
def twice_in_two_messages(session: RawSession, fd: int, other: int) -> None:
    segment = Segment(mmap.PAGESIZE)
    message = call_of(9, pack_argument(5, segment, 'x'), pb.Value(int64=1))
    session.stream.send_descriptors(message, [(5, [fd])])
    session.stream.send_descriptors(message, [(5, [fd])])


@descriptor_case
def unknown_slots(session: RawSession, fd: int, other: int) -> None:
    numbers = (1, 4095, 4096, shm_buffers.SHARED_SLOT + 1, 0xFFFFFFFF)
    session.stream.send_descriptors(call_of(9), [(number, [fd]) for number in numbers])


@descriptor_case
def several_for_one_number(session: RawSession, fd: int, other: int) -> None:
    session.stream.send_descriptors(call_of(9), [(5, [fd] * 50), (6, [other] * 200)])


@descriptor_case
def more_than_are_announced(session: RawSession, fd: int, other: int) -> None:
    session.stream.send_descriptors(call_of(9), [(5, [fd]), (6, [other])], count=1)


@descriptor_case
def with_plain_messages(session: RawSession, fd: int, other: int) -> None:
    message = call_of(9)
    frame = struct.pack('!I', len(message)) + message
    socket.send_fds(session.stream.socket, [frame], [fd] * 100)


@descriptor_case
def marks_and_slots_again(session: RawSession, fd: int, other: int) -> None:
    for _ in range(3):
        passed = [(0, [fd]), (shm_buffers.SHARED_SLOT, [fd]), (0, [other]), (65536, [other])]
        session.stream.send_descriptors(call_of(9), passed)


@descriptor_case
def without_data(session: RawSession, fd: int, other: int) -> None:
    value = pb.Pickle(data=pickle.dumps('x'), memory=pb.Memory(slot=5, sizes=[1]))
    session.stream.send_descriptors(call_of(9, pb.Value(pickle=value)), [(5, [fd])])


@descriptor_case
def in_the_middle_of_many(session: RawSession, fd: int, other: int) -> None:
    inner = pb.SessionRequest.FromString(call_of(9, pack_argument(7, Segment(4096), 'x')))
    message = pb.SessionRequest(id=9, more=[inner]).SerializeToString()
    session.stream.send_descriptors(message, [(7, [fd])])


@descriptor_case
def garbage(session: RawSession, fd: int, other: int) -> None:
    session.stream.send_descriptors(b'\xff' * 100, [(5, [fd]), (6, [other])])


@descriptor_case
def a_creation_that_fails(session: RawSession, fd: int, other: int) -> None:
    args = [pack_argument(slot, Segment(4096), 'x') for slot in (5, 6)]
    request = pb.CreateHandleRequest(typeid='nothing such', args=args)
    message = pb.SessionRequest(id=9, create_handle=request).SerializeToString()
    session.stream.send_descriptors(message, [(5, [other]), (6, [fd])])


@descriptor_case
def none_at_all(session: RawSession, fd: int, other: int) -> None:
    session.stream.send_descriptors(call_of(9, pack_argument(5, Segment(4096), 'x')), [(5, [])])


@descriptor_case
def half_a_frame(session: RawSession, fd: int, other: int) -> None:
    args = [pack_argument(slot, Segment(4096), 'x') for slot in (5, 6, 7)]
    session.stream.send_descriptors(call_of(9, *args), [(5, [fd]), (6, [other])], count=3)
    session.stream.socket.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize('pipelined', [False, True], ids=['', 'pipelined'])
@pytest.mark.parametrize('case', CASES, ids=lambda name: name)
def test_descriptors_that_are_not_used_are_closed(
    target: Any, session: RawSession, case: str, pipelined: bool
) -> None:
    session.enter(case, pipelined=pipelined, **MEMORY)
    session.call('take', pb.Value(string='x'))
    before = files_of(target)
    segment, (reader, writer) = Segment(shm_slot.MEMORY_BYTES), os.pipe()
    for _ in range(5):
        with contextlib.suppress(End):
            CASES[case](session, segment.descriptor, reader)
    # The session has no more than one of them per slot, and a closed one has none.
    eventually(lambda: files_of(target) <= before + 4)
    session.stream.close()
    eventually(lambda: files_of(target) < before)
    os.close(writer)
    with os.fdopen(reader, 'rb') as pipe:
        assert pipe.read() == b''  # nobody has the writer, or keeps a reader busy
    assert target.take('xy') == 2


@pytest.mark.parametrize('slot', [0, 5], ids=['marks', 'data'])
def test_a_closed_channel_keeps_no_descriptor(slot: int) -> None:
    channel, memory = ShmChannel(), pb.Memory(slot=5, sizes=[1])
    channel.close()
    before = psutil.Process().num_fds()
    for _ in range(5):
        segment = Segment(4096)
        channel.expect([memory])(slot, os.dup(segment.descriptor), False)
        del segment
    assert psutil.Process().num_fds() == before
    assert channel.lend([memoryview(b'x')]) is None
    with pytest.raises(uactor.ActorDiedError, match='has ended while its message was on the way'):
        channel.borrow(memory)


def test_descriptors_before_the_handshake_are_closed(target: Any) -> None:
    before = files_of(target)
    with open_session(target, 'lane') as stranger:
        eventually(lambda: files_of(target) == before + 1)
        socket.send_fds(stranger.stream.socket, [b'\0'], list(range(3)))
        hello = pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=1, nonce=b'n' * 16))
        message = hello.SerializeToString()
        frame = struct.pack('!I', len(message)) + message
        socket.send_fds(stranger.stream.socket, [frame[1:]], list(range(3)))
        assert stranger.receive().HasField('welcome')
        assert files_of(target) == before + 1


def test_a_flood_of_descriptors_that_are_waiting_is_bounded() -> None:
    """Each comes with a call of its own, which waits for its turn."""

    class Single(Target):
        _options_ = {'authkey': KEY, 'concurrency': 1}

        def wait(self) -> None:
            threading.Event().wait()

    with Single() as actor, open_session(actor, 'lane') as session:
        process = psutil.Process(pid_of(actor))
        session.enter('flood', pipelined=True, **MEMORY)
        before = process.num_fds()
        session.send(call=pb.CallRequest(method='wait'))
        segment = Segment(mmap.PAGESIZE)
        for slot in range(1, 1000):
            message = call_of(slot + 9, pack_argument(slot, segment, 'x'))
            request = pb.SessionRequest.FromString(message)
            request.call.arguments.CopyFrom(request.call.args[0].pickle)
            session.stream.send_descriptors(
                request.SerializeToString(), [(slot, [segment.descriptor])]
            )
        with open_session(actor, 'lane') as other:
            other.enter('other')  # what has come before has been received, or soon is
        eventually(lambda: process.num_fds() > before + 200)
        assert process.num_fds() < before + 300
        session.stream.close()
        eventually(lambda: process.num_fds() < before + 10)
        os.kill(process.pid, signal.SIGKILL)


def test_too_many_descriptors_with_one_message_end_the_session(
    target: Any, session: RawSession
) -> None:
    session.enter('many', **MEMORY)
    with pytest.raises(End):
        session.stream.send_descriptors(call_of(9), [(5, [0])] * 10, count=1 << 31)
        session.stream.get()
    assert target.take('x') == 1


# --- descriptors at a client -------------------------------------------------------------------


@contextlib.contextmanager
def false_actor(directory: Path, serve: Callable[[RawLaneStream, bytes], None]) -> Iterator[str]:
    """Listen where a lane would be, answer the handshake, and then have ``serve`` answer a call."""
    path = str(directory / 's')

    def work() -> None:
        with contextlib.closing(RawLaneStream.__new__(RawLaneStream)) as stream:
            stream.socket, _ = listener.accept()
            serve(stream, stream.get())

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(lane_path(path))
        listener.listen()
        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield f'unix:{path}'
        finally:
            thread.join()


def test_the_most_descriptors_with_one_message_are_exact() -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(Lane(ours)) as lane:
        channel = ShmChannel()
        lane.frames.expect = lambda message: channel.expect([])
        stream = RawLaneStream.__new__(RawLaneStream)
        stream.socket = theirs
        stream.send_descriptors(b'message', [(number, [0]) for number in range(256)])
        assert lane.receive() == b'message'
        stream.send_descriptors(b'message', [], count=257)
        theirs.close()
        with pytest.raises(LaneError, match='257 descriptors are announced'):
            lane.receive()


def test_a_descriptor_that_comes_after_the_end_is_closed() -> None:
    channel = ShmChannel()
    take = channel.expect([pb.Memory(slot=1, sizes=[1])])
    channel.close()
    before = open_files()
    take(1, os.open(os.devnull, os.O_RDONLY), False)
    assert open_files() == before


def test_a_client_takes_no_descriptors_before_the_actor_has_proved_itself(tmp_path: Path) -> None:
    def serve(stream: RawLaneStream, message: bytes) -> None:
        with contextlib.suppress(End):
            stream.send_descriptors(b'\x08\x01', [(number, [0]) for number in range(200)])
            stream.get()

    before = open_files()
    with (
        false_actor(tmp_path, serve) as address,
        pytest.raises(uactor.ActorUnreachableError, match='not at most 65536'),
    ):
        Target.connect(address, KEY)
    eventually(lambda: open_files() <= before)


@pytest.mark.parametrize(
    'passed',
    [[(5, [0])] * 20, [(n, [0]) for n in range(1, 50)], [(65536, [0]), (5, [0] * 100)]],
)
def test_a_client_closes_what_it_does_not_use(passed: Sequence[tuple[int, list[int]]]) -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(Lane(ours)) as lane:
        channel = ShmChannel()
        lane.frames.expect = lambda message: channel.expect([pb.Memory(slot=5, sizes=[1])])
        stream = RawLaneStream.__new__(RawLaneStream)
        stream.socket = theirs
        before = open_files()
        stream.send_descriptors(b'message', passed)
        assert lane.receive() == b'message'
        assert open_files() == before + 1
        channel.close()
        assert open_files() == before
        theirs.close()


def test_descriptors_of_a_message_that_breaks_off_are_closed() -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(Lane(ours)) as lane:
        channel = ShmChannel()
        memories = [pb.Memory(slot=slot, sizes=[1]) for slot in (1, 2, 3)]
        lane.frames.expect = lambda message: channel.expect(memories)
        stream = RawLaneStream.__new__(RawLaneStream)
        stream.socket = theirs
        before = open_files()
        stream.send_descriptors(b'message', [(1, [0]), (2, [0])], count=3)
        theirs.close()
        with pytest.raises(LaneError):
            lane.receive()
        channel.close()
        assert open_files() == before - 1


def test_a_descriptor_without_a_whole_number_is_closed() -> None:
    ours, theirs = socket.socketpair()
    with contextlib.closing(Lane(ours)) as lane:
        channel = ShmChannel()
        lane.frames.expect = lambda message: channel.expect([pb.Memory(slot=1, sizes=[1])])
        stream = RawLaneStream.__new__(RawLaneStream)
        stream.socket = theirs
        before = open_files()
        stream.send_descriptors(b'message', [], count=1)
        socket.send_fds(theirs, [b'no'], [0])
        with pytest.raises(LaneError, match='no number has come'):
            lane.receive()
        assert open_files() == before
        channel.close()
        theirs.close()


# --- boards ------------------------------------------------------------------------------------

CALLS_OFTEN = """
    from tests.transport.test_received import boards

    target = given[0]
    while not boards():
        for _ in range(2000):
            target.take('x')
    say('shares')
    listen()
"""


@pytest.mark.skipif(not shm_slot.POSSIBLE, reason='slots need the memory model of x86')
def test_slots_of_killed_clients_are_closed_without_a_collection() -> None:
    with Family() as target:
        before = target.boards()
        target.collect(False)
        for _ in range(3):
            with Peer(CALLS_OFTEN, target) as client:
                assert client.read_line() == 'shares'
                assert target.boards() > before
                client.kill()
        eventually(lambda: target.boards() <= before)


@pytest.mark.skipif(not shm_slot.POSSIBLE, reason='slots need the memory model of x86')
def test_the_slot_of_a_killed_actor_is_closed_without_a_collection() -> None:
    gc.collect()
    before = boards()
    actor: Any = Target()
    pid = pid_of(actor)
    gc.disable()
    try:
        while boards() == before:
            for _ in range(2000):
                actor.take('x')
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(uactor.ActorDiedError):
            actor.take('x')
        assert boards() == before
    finally:
        gc.enable()


# --- memory ------------------------------------------------------------------------------------


def test_a_frame_that_is_only_announced_takes_no_memory(target: Any) -> None:
    with contextlib.ExitStack() as stack:
        before = peak_of(target)
        for size in (2_000_000_000, (1 << 31) - 1):
            session = stack.enter_context(open_session(target, 'lane')).enter('big')
            session.call('take', pb.Value(string='x'))
            session.stream.send_bytes(struct.pack('!I', size) + b'x' * 10_000)
        for _ in range(20):
            assert target.take('x') == 1
        assert peak_of(target) < before + 30_000_000


def test_a_frame_with_descriptors_that_is_only_announced_takes_no_memory(target: Any) -> None:
    with open_session(target, 'lane') as session:
        session.enter('big', **MEMORY)
        before = peak_of(target)
        session.stream.send_bytes(struct.pack('!II', (1 << 32) - 1, 1) + b'x' * 10_000)
        for _ in range(20):
            assert target.take('x') == 1
        assert peak_of(target) < before + 30_000_000


@pytest.mark.parametrize('sizes', [[1 << 40], [1, 1 << 35], [1 << 62, 1 << 62]])
def test_chunks_that_are_only_announced_take_no_memory(target: Any, sizes: list[int]) -> None:
    with open_session(target, 'grpc') as session:
        session.enter('big', **MEMORY)
        session.call('take', pb.Value(string='x'))
        before = peak_of(target)
        for _ in range(3):
            chunk = pb.Chunk(slot=1, sizes=sizes, data=b'x')  # without a number: no request
            session.stream.put(pb.SessionRequest(chunk=chunk).SerializeToString())
        session.call('take', pb.Value(string='x'))
        assert peak_of(target) < before + 30_000_000


def test_memory_grows_with_what_has_come() -> None:
    ours, theirs = socket.socketpair()
    process = psutil.Process()
    received: list[Any] = []
    with contextlib.closing(Lane(ours)) as lane:
        receiver = threading.Thread(target=lambda: received.append(lane.receive()))
        receiver.start()
        before = process.memory_info().rss
        size, part = 200_000_000, os.urandom(1_000_000)
        theirs.sendall(struct.pack('!I', size))
        for number in range(200):
            theirs.sendall(part)
            if number in (1, 20, 100):
                assert process.memory_info().rss - before < 3_000_000 * number + 40_000_000
        receiver.join()
        assert bytes(received[0]) == part * 200
        theirs.close()


def test_a_client_waits_for_no_gigabytes_from_who_has_not_proved_itself(tmp_path: Path) -> None:
    def serve(stream: RawLaneStream, message: bytes) -> None:
        with contextlib.suppress(End):
            stream.send_bytes(struct.pack('!I', 2_000_000_000) + b'x')
            stream.get()

    with (
        false_actor(tmp_path, serve) as address,
        pytest.raises(uactor.ActorUnreachableError, match='2000000000 bytes, not at most 65536'),
    ):
        Target.connect(address, KEY)


def test_a_malformed_message_raises_an_error_of_uactor(tmp_path: Path) -> None:
    def serve(stream: RawLaneStream, message: bytes) -> None:
        stream.put(b'\xff\xff\xff')

    with false_actor(tmp_path, serve) as address, pytest.raises(uactor.VersionError):
        Target.connect(address, KEY)


# --- parts that come in chunks -----------------------------------------------------------------


def test_a_part_that_is_huge_is_put_together() -> None:
    sender, receiver = Chunks(), Chunks()
    parts = [memoryview(os.urandom(1 << 20) * 70), memoryview(b''), memoryview(b'x')]
    lent = sender.lend(parts)
    assert lent is not None
    for chunk in sender.cut_chunks([lent]):
        receiver.receive(chunk)
    assert [bytes(part) for part in receiver.borrow(lent)] == [bytes(part) for part in parts]


def test_a_segment_that_is_none_is_refused() -> None:
    channel = ShmChannel()
    reader, writer = os.pipe()
    lent = pb.Memory(slot=5, sizes=[1])
    channel.expect([lent])(5, reader, False)
    with pytest.raises(SerializationError, match='no memory'):
        channel.borrow(lent)
    os.close(writer)
    assert select.select([], [], [], 0) == ([], [], [])
