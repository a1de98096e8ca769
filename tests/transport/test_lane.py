"""The local lane: framed messages of a session on a Unix socket, for processes of one user."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
import random
import select
import signal
import socket
import stat
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import uactor
from tests.client.test_handshake import HELLO, KEY, Trap, call, proof, welcome
from tests.support import eventually
from tests.support.interrupts import in_thread
from tests.support.raw_session import End, open_session
from uactor.client.lane_transport import LaneStream, find_lane
from uactor.runtime import cpu
from uactor.transport import shm_slot
from uactor.transport.frames import LaneError, OversizedError, UnsentError
from uactor.transport.interfaces import StreamEnd
from uactor.transport.lane import Lane, lane_path
from uactor.transport.spin import BACKING_OFF, SPINNING, SpinPolicy, SpinRecord, spinners
from uactor.v1 import actor_pb2 as pb

pytestmark = [pytest.mark.pythons('sockets and threads')]


class Target(uactor.Actor):
    """Always by Unix sockets, whatever the transport of the other tests."""

    _options_ = {'authkey': KEY}

    def take(self, value: Any) -> Any:
        return value

    def threads(self) -> int:
        return threading.active_count()

    def descriptors(self) -> int:
        return psutil.Process().num_fds()

    def pid(self) -> int:
        return os.getpid()


@pytest.fixture(scope='module')
def target() -> Iterator[Any]:
    with Target() as actor:
        yield actor


def lane_of(actor: Any) -> Path:
    """Return the path of an actor's lane."""
    return Path(lane_path(actor.connection_address.removeprefix('unix:')))


class Dialled:
    """A client of a lane that is written by hand."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))

    def send(self, *requests: pb.SessionRequest) -> None:
        """Send messages, all at once: the host may hang up after the first."""
        messages = [request.SerializeToString() for request in requests]
        frames = [struct.pack('!I', len(message)) + message for message in messages]
        self.socket.sendall(b''.join(frames))

    def receive(self) -> pb.SessionResponse | None:
        """Return the next response, or None at the end."""
        with contextlib.suppress(ConnectionResetError):
            head = self.socket.recv(4, socket.MSG_WAITALL)
            if head:
                (size,) = struct.unpack('!I', head)
                return pb.SessionResponse.FromString(self.socket.recv(size, socket.MSG_WAITALL))
        return None

    def enter(self, key: bytes = KEY) -> None:
        """Go through the handshake."""
        self.send(HELLO)
        response = self.receive()
        assert response is not None
        theirs = response.welcome.nonce
        assert response.welcome.proof == proof(key, b'host', b'n', theirs)
        self.send(pb.SessionRequest(proof=pb.Proof(proof=proof(key, b'client', theirs, b'n'))))

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def raw_client(target: Any) -> Iterator[Dialled]:
    with contextlib.closing(Dialled(lane_of(target))) as client:
        yield client


def refusal(client: Dialled) -> str:
    """Return which error the next message refuses with; it must be the last one."""
    response = client.receive()
    assert response is not None
    assert response.id == 0
    assert response.failure.executed == pb.EXECUTED_NO
    assert client.receive() is None
    return response.failure.type_name.rpartition('.')[2]


# --- an actor among false clients -----------------------------------------------------------


def test_a_client_written_by_hand_is_served(raw_client: Dialled) -> None:
    raw_client.enter()
    request = pb.CallRequest(method='take', args=[pb.Value(int64=42)])
    raw_client.send(pb.SessionRequest(id=2, call=request))
    response = raw_client.receive()
    assert response is not None
    assert response.id == 2
    assert response.result.int64 == 42


@pytest.mark.parametrize('guessed', [b'', b'guessed'])
def test_a_client_without_the_key_is_refused_before_its_pickles_are_loaded(
    raw_client: Dialled, tmp_path: Path, guessed: bytes
) -> None:
    trap = Trap(tmp_path / 'trap')
    forged = pb.Proof(proof=guessed and proof(guessed, b'client', b'n', b'n'))
    attack = pb.SessionRequest(id=2, call=call(trap))
    raw_client.send(HELLO)
    assert raw_client.receive() is not None
    raw_client.send(pb.SessionRequest(proof=forged), attack)
    assert refusal(raw_client) == 'AuthkeyError'
    assert not trap.path.exists()


def test_a_call_before_the_proof_is_refused(raw_client: Dialled, tmp_path: Path) -> None:
    trap = Trap(tmp_path / 'trap')
    raw_client.send(HELLO, pb.SessionRequest(id=2, call=call(trap)))
    assert raw_client.receive() is not None
    assert refusal(raw_client) == 'AuthkeyError'
    assert not trap.path.exists()


def test_a_session_begins_with_hello(raw_client: Dialled, tmp_path: Path) -> None:
    trap = Trap(tmp_path / 'trap')
    raw_client.send(pb.SessionRequest(id=1, call=call(trap)))
    assert refusal(raw_client) == 'VersionError'
    assert not trap.path.exists()


def test_a_client_of_another_protocol_is_refused(raw_client: Dialled) -> None:
    raw_client.send(pb.SessionRequest(id=1, hello=pb.Hello(protocol_version=9)))
    assert refusal(raw_client) == 'VersionError'


def test_bytes_that_are_no_message_are_refused(raw_client: Dialled) -> None:
    raw_client.socket.sendall(struct.pack('!I', 4) + b'\xff\xff\xff\xff')
    assert refusal(raw_client) == 'VersionError'


def test_a_stranger_that_announces_a_large_message_is_refused(raw_client: Dialled) -> None:
    raw_client.socket.sendall(struct.pack('!I', 2**31))
    assert refusal(raw_client) == 'SerializationError'


def test_a_message_larger_than_the_actor_takes_is_refused() -> None:
    class Capped(Target):
        _options_ = {'max_message_size': 1000}

    with Capped() as actor, contextlib.closing(Dialled(lane_of(actor))) as client:
        client.enter()
        client.socket.sendall(struct.pack('!I', 1001))
        assert refusal(client) == 'SerializationError'
        assert actor.take(1) == 1


def test_clients_that_say_nothing_stop_neither_others_nor_the_end() -> None:
    owner = Target()
    process: Any = owner._manager.process
    with contextlib.ExitStack() as stack:
        with owner as actor:
            for part in (b'', b'\0', struct.pack('!I', 100), struct.pack('!I', 100) + b'half'):
                client = stack.enter_context(contextlib.closing(Dialled(lane_of(actor))))
                client.socket.sendall(part)
            assert actor.take(1) == 1
        assert process.exitcode == 0


def test_quick_connects_leave_no_thread_and_no_descriptor() -> None:
    with Target() as target:  # of its own: no session of another test ends meanwhile
        for _ in range(1000):
            target.threads()  # until there is a board, if there will be one
        before = target.threads(), target.descriptors()
        for number in range(1000):
            client = Dialled(lane_of(target))
            if number % 10 == 0:
                client.enter()
            elif number % 10 == 1:
                client.send(HELLO)
            client.close()
        eventually(lambda: (target.threads(), target.descriptors()) == before)


def test_connections_of_a_client_leave_no_descriptor_in_it(target: Any) -> None:
    process = psutil.Process()
    before = process.num_fds()
    for _ in range(100):
        connected = Target.connect(target.connection_address, KEY)
        assert connected.take(1) == 1
        del connected
    eventually(lambda: process.num_fds() <= before + 1)


# --- who may use it -------------------------------------------------------------------------


def test_the_socket_is_for_its_user_alone(target: Any) -> None:
    mode = lane_of(target).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert stat.S_IMODE(lane_of(target).parent.stat().st_mode) == 0o700


def become_nobody_and_dial(path: Path, found: Any) -> None:
    os.setgid(65534)
    os.setuid(65534)
    client = Dialled(path)
    response = client.receive()
    found.send(response.failure.type_name if response is not None else None)


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can be somebody else')
def test_processes_of_other_users_are_refused_even_if_they_can_open_the_socket() -> None:
    with Target() as actor:
        lane_of(actor).parent.chmod(0o755)
        lane_of(actor).chmod(0o666)
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context('fork')
        process = context.Process(target=become_nobody_and_dial, args=(lane_of(actor), theirs))
        process.start()
        theirs.close()
        assert ours.poll(30)
        assert ours.recv() == 'uactor.errors.AuthkeyError'
        process.join()
        assert actor.take(1) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files away')
def test_a_lane_of_another_user_is_not_used() -> None:
    with Target() as actor:
        os.chown(lane_of(actor), 65534, 65534)
        assert run(CONNECT_ELSEWHERE, str(actor.connection_address)) == "(1, 'GrpcStream')"


# --- a client among false lanes -------------------------------------------------------------


@contextlib.contextmanager
def false_lane(
    directory: Path, answers: Callable[[pb.SessionRequest], pb.SessionResponse | None]
) -> Iterator[str]:
    """Listen where a lane would be, and yield the address of the actor that there is not."""
    path = str(directory / 's')

    def serve() -> None:
        with contextlib.suppress(LaneError):
            lane = Lane(listener.accept()[0])
            with contextlib.closing(lane):
                while (response := answers(received(lane))) is not None:
                    lane.send(response.SerializeToString())

    def received(lane: Lane) -> pb.SessionRequest:
        return pb.SessionRequest.FromString(bytes(lane.receive()))

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(lane_path(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        yield f'unix:{path}'
        thread.join()


def test_no_pickle_is_loaded_of_a_lane_without_the_key(tmp_path: Path) -> None:
    trap = Trap(tmp_path / 'trap')
    data = pb.Pickle(data=pickle.dumps(trap))

    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        failure = pb.Failure(type_name='ValueError', pickle=data)
        return pb.SessionResponse(id=request.id, failure=failure)

    with false_lane(tmp_path, answers) as address, pytest.raises(uactor.AuthkeyError):
        Target.connect(address, KEY)
    assert not trap.path.exists()


def test_a_refusal_of_a_lane_brings_no_pickle(tmp_path: Path) -> None:
    trap = Trap(tmp_path / 'trap')
    data = pb.Pickle(data=pickle.dumps(trap))

    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        failure = pb.Failure(type_name='ValueError', message='go away', pickle=data)
        return pb.SessionResponse(failure=failure)

    with (
        false_lane(tmp_path, answers) as address,
        pytest.raises(uactor.ActorUnreachableError, match='refuses a session: go away'),
    ):
        Target.connect(address, KEY)
    assert not trap.path.exists()


def test_a_lane_that_proves_another_key_is_not_trusted(tmp_path: Path) -> None:
    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        return pb.SessionResponse(id=request.id, welcome=welcome(request, b'another key'))

    with false_lane(tmp_path, answers) as address, pytest.raises(uactor.AuthkeyError):
        Target.connect(address, KEY)


def test_a_lane_that_hangs_up_is_no_actor(tmp_path: Path) -> None:
    with (
        false_lane(tmp_path, lambda request: None) as address,
        pytest.raises(uactor.ActorUnreachableError, match='nothing answers'),
    ):
        Target.connect(address, KEY)


def test_a_lane_where_nobody_listens_is_no_actor(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(lane_path(str(tmp_path / 's')))
    with pytest.raises(uactor.ActorUnreachableError, match='nothing answers'):
        Target.connect(f'unix:{tmp_path}/s', KEY)


# --- which transport ------------------------------------------------------------------------


def run(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


CONNECT_ELSEWHERE = """
    import sys
    from tests.transport.test_lane import KEY, Target
    target = Target.connect(sys.argv[1], KEY)
    print((target.take(1), type(target._manager.connection.link.session().stream).__name__))
"""

CALLS = """
    import sys, threading, uactor

    class Adder(uactor.Actor):
        _options_ = {%s}

        def add(self, number):
            return number + 1

        def items(self):
            return uactor.proxy([1, 2], 'list')

    with Adder() as adder:
        assert adder.add(1) == 2
        items = adder.items()
        assert list(items) == [1, 2]
        thread = threading.Thread(target=adder.add, args=(1,))
        thread.start()
        thread.join()
        del items
    print([name for name in sys.modules if name.partition('.')[0] == 'grpc'])
"""


@pytest.mark.parametrize('options', ['', "'transport': 'grpc'", "'address': ('localhost', 0)"])
def test_a_client_does_not_load_grpc(options: str) -> None:
    assert run(CALLS % options) == '[]'


def test_an_actor_can_be_without_a_lane() -> None:
    class Plain(Target):
        _options_ = {'transport': 'grpc'}

    with Plain() as actor:
        assert actor.take(1) == 1
        assert not lane_of(actor).exists()


def test_a_client_can_do_without_the_lane(target: Any) -> None:
    by_lane: Any = Target.connect(target.connection_address, KEY)
    by_grpc: Any = uactor.Actor.connect(target.connection_address, KEY, transport='grpc')
    kinds = [
        type(proxy._manager.connection.link.session().stream).__name__
        for proxy in (target, by_lane, by_grpc)
    ]
    assert kinds == ['LaneStream', 'LaneStream', 'GrpcStream']
    assert by_grpc._callmethod('take', (1,)) == by_lane.take(1) == 1


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown transport 'pigeon'"):
        Target.connect('unix:/nowhere', KEY, transport='pigeon')


# --- ends -----------------------------------------------------------------------------------


def test_a_forked_child_has_its_own_connection(target: Any) -> None:
    assert target.take(1) == 1
    ours = target._manager.connection.link.session().stream.lane.frames.socket.fileno()

    def in_child(found: Any) -> None:
        link = Path(f'/proc/self/fd/{ours}')
        inherited = str(link.readlink()) if link.exists() else ''
        found.send((inherited.startswith('socket:'), [target.take(n) for n in range(3)]))

    reader, writer = multiprocessing.Pipe()
    process = multiprocessing.get_context('fork').Process(target=in_child, args=(writer,))
    process.start()
    assert reader.recv() == (False, [0, 1, 2])
    process.join()
    assert target.take(2) == 2


def test_the_socket_of_a_killed_actor_is_removed() -> None:
    actor = Target()
    path = lane_of(actor)
    assert path.exists()
    os.kill(actor.pid(), signal.SIGKILL)
    eventually(lambda: not path.exists())
    with pytest.raises(uactor.ActorDiedError) as caught:
        actor.take(1)
    assert caught.value.executed == 'no'


def test_a_stale_socket_at_a_chosen_address_is_replaced(tmp_path: Path) -> None:
    class Fixed(Target):
        _options_ = {'address': f'unix:{tmp_path}/s'}

    first = Fixed()
    process: Any = first._manager.process
    os.kill(first.pid(), signal.SIGKILL)
    process.join()
    assert (tmp_path / 'sl').exists()
    with Fixed() as second:
        assert second.take(2) == 2
        with pytest.raises(uactor.ActorDiedError):
            first.take(1)
    assert not os.listdir(tmp_path)


# --- frames ---------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[Lane, Lane]]:
    ours, theirs = (Lane(end) for end in socket.socketpair())
    with contextlib.closing(ours), contextlib.closing(theirs):
        yield ours, theirs


@pytest.mark.parametrize('size', [0, 1, 8187, 8188, 8189, 65535, 65536, 5_000_000])
def test_messages_arrive_as_they_were_sent(ends: tuple[Lane, Lane], size: int) -> None:
    ours, theirs = ends
    messages = [os.urandom(size), b'', os.urandom(size), b'last']

    def send_all() -> None:
        for message in messages:
            ours.send(message)

    sender = threading.Thread(target=send_all)
    sender.start()
    assert [bytes(theirs.receive()) for _ in messages] == messages
    sender.join()


def test_a_message_that_comes_in_pieces_is_put_together(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    received = []
    receiver = threading.Thread(target=lambda: received.append(bytes(theirs.receive())))
    receiver.start()
    for byte in struct.pack('!I', 5) + b'hello':
        ours.frames.socket.sendall(bytes([byte]))
    receiver.join()
    assert received == [b'hello']


@pytest.mark.parametrize('part', [b'', b'\0\0', struct.pack('!I', 9), struct.pack('!I', 9) + b'x'])
def test_an_end_within_a_message_is_an_error(ends: tuple[Lane, Lane], part: bytes) -> None:
    ours, theirs = ends
    ours.frames.socket.sendall(part)
    ours.hang_up()
    with pytest.raises(LaneError):
        theirs.receive()


def test_a_limit_is_exact(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    theirs.frames.limit = 10
    ours.send(b'0123456789')
    assert theirs.receive() == b'0123456789'
    ours.send(b'0123456789a')
    with pytest.raises(OversizedError, match='11 bytes, not at most 10'):
        theirs.receive()


def test_hanging_up_wakes_the_receiver(ends: tuple[Lane, Lane]) -> None:
    ours, _ = ends
    failures = []

    def wait() -> None:
        try:
            ours.receive()
        except LaneError as error:
            failures.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    ours.hang_up()
    waiting.join()
    assert len(failures) == 1
    assert not ours.frames.is_open()


def test_a_lane_that_has_been_closed_can_be_asked_whether_it_is_open(
    ends: tuple[Lane, Lane],
) -> None:
    """The thread that accepts asks for each, and may be late."""
    ours, _ = ends
    assert ours.frames.is_open()
    ours.close()
    assert not ours.frames.is_open()


def set_score(lane: Lane, score: int) -> None:
    """Have the receiver of a lane spin, as long as the score lasts, or not."""
    lane.spin.record = SpinRecord(SPINNING if score > 0 else BACKING_OFF, score)
    lane.spin.state = lane.spin.record.state


# --- the shared slot ------------------------------------------------------------------------------

with_slots = pytest.mark.skipif(not shm_slot.POSSIBLE, reason='slots need the memory model of x86')


def slot_of(end: Lane) -> shm_slot.ShmSlot:
    """Return the slot of an end that has one."""
    assert end.slot is not None
    return end.slot


@pytest.fixture
def sharing(ends: tuple[Lane, Lane]) -> tuple[Lane, Lane]:
    """Both ends of a lane with a shared slot; none of them sleeps yet."""
    mapping = mmap.mmap(-1, shm_slot.MEMORY_BYTES)
    for number, end in enumerate(ends):
        end.share_slot(mapping, number)
        slot_of(end).clear_need_wakeup()
    return ends


@with_slots
def test_a_message_to_who_looks_does_without_the_socket(sharing: tuple[Lane, Lane]) -> None:
    ours, theirs = sharing
    ours.send(b'hello')
    assert not select.select([theirs.frames.socket], [], [], 0)[0]
    assert theirs.receive() == b'hello'


@with_slots
def test_a_message_to_who_sleeps_goes_by_the_socket(sharing: tuple[Lane, Lane]) -> None:
    ours, theirs = sharing
    received: list[bytes] = []
    receiver = threading.Thread(target=lambda: received.append(bytes(theirs.receive())))
    receiver.start()
    state = slot_of(theirs).incoming
    eventually(lambda: not state[shm_slot.STATE] & shm_slot.AWAKE)
    ours.send(b'hello')
    receiver.join()
    assert received == [b'hello']


@with_slots
def test_messages_by_slot_and_socket_stay_in_order(
    sharing: tuple[Lane, Lane], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shm_slot, 'MAX_SLOT_BYTES', 4000
    )  # what goes by the socket has to find room in it
    ours, theirs = sharing
    messages = [
        b'1',
        b'2',
        b'3' * shm_slot.MAX_SLOT_BYTES,
        b'4' * (shm_slot.MAX_SLOT_BYTES + 1),
        b'5',
    ]
    for message in messages:  # there is one place: most go by the socket
        ours.send(message)
    assert [bytes(theirs.receive()) for _ in messages] == messages
    slot_of(theirs).clear_need_wakeup()
    for message in (
        b'6' * (shm_slot.MAX_SLOT_BYTES + 1),
        b'7',
        b'8',
    ):  # only the second is in the slot
        ours.send(message)
    assert [bytes(theirs.receive())[:1] for _ in range(3)] == [b'6', b'7', b'8']


@with_slots
def test_no_message_is_missed_however_the_ends_look_and_sleep(sharing: tuple[Lane, Lane]) -> None:
    """Each end sends at random moments, in other sizes, and looks or sleeps as it comes."""
    count = 30_000
    kinds, often = (
        (1, 40, 3000, 9000, shm_slot.MAX_SLOT_BYTES, shm_slot.MAX_SLOT_BYTES + 1),
        (30, 30, 30, 30, 1, 1),
    )
    sizes = random.Random(5).choices(kinds, often, k=count)
    failed: list[str] = []

    def send(lane: Lane, pauses: random.Random) -> None:
        for number, size in enumerate(sizes):
            lane.send(struct.pack('!I', number) + bytes(size - 1))
            for _ in range(pauses.choice((0, 0, 0, 50, 500))):
                pass

    def receive(lane: Lane, whims: random.Random) -> None:
        for number, size in enumerate(sizes):
            set_score(lane, whims.choice((0, 0, 8)))
            message = bytes(lane.receive())
            if message != struct.pack('!I', number) + bytes(size - 1):
                failed.append(f'{number}: {message[:4]!r}')
                return

    threads = [
        threading.Thread(target=work, args=(lane, random.Random(seed)), daemon=True)
        for seed, lane in enumerate(sharing)
        for work in (send, receive)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert not failed
    assert not any(thread.is_alive() for thread in threads)


@with_slots
def test_the_last_message_is_taken_before_the_end(sharing: tuple[Lane, Lane]) -> None:
    ours, theirs = sharing
    ours.send(b'goodbye')
    ours.hang_up()
    assert theirs.receive() == b'goodbye'
    with pytest.raises(LaneError):
        theirs.receive()


@with_slots
def test_a_message_to_a_gone_peer_that_did_not_take_it_is_unread(
    sharing: tuple[Lane, Lane],
) -> None:
    ours, theirs = sharing
    ours.send(b'first')
    assert theirs.receive() == b'first'
    assert not ours.is_unread
    slot_of(theirs).clear_need_wakeup()
    ours.send(b'second')
    theirs.hang_up()
    with pytest.raises(LaneError):
        ours.receive()
    assert ours.is_unread


@with_slots
@pytest.mark.parametrize('taken', [True, False])
def test_a_peer_that_goes_before_its_wakeup_may_have_got_the_message(
    sharing: tuple[Lane, Lane], monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    ours, theirs = sharing
    put = shm_slot.ShmSlot.put

    def put_late(self: shm_slot.ShmSlot, message: bytes, before: int) -> int:
        done = put(self, message, before)
        slot_of(theirs).set_need_wakeup()
        if taken:  # at the last look
            assert slot_of(theirs).take(0) == b'hello'
        theirs.close()
        assert done == shm_slot.DELIVERED
        return shm_slot.NEED_WAKEUP

    monkeypatch.setattr(shm_slot.ShmSlot, 'put', put_late)
    with pytest.raises(LaneError) as failure:
        ours.send(b'hello')
    assert not isinstance(failure.value, UnsentError)
    assert ours.is_unread is not taken


@with_slots
def test_a_limit_holds_on_the_slot(sharing: tuple[Lane, Lane]) -> None:
    ours, theirs = sharing
    theirs.frames.limit = 10
    ours.send(b'0123456789')
    assert theirs.receive() == b'0123456789'
    ours.send(b'0123456789a')
    with pytest.raises(OversizedError):
        theirs.receive()


@with_slots
def test_sizes_that_lie_on_the_slot_read_nothing_beyond_it(sharing: tuple[Lane, Lane]) -> None:
    ours, theirs = sharing
    ours.send(b'hello')
    slot_of(ours).outgoing[shm_slot.HEADER] |= shm_slot.LENGTH
    assert len(theirs.receive()) == shm_slot.MAX_SLOT_BYTES


@with_slots
def test_a_busy_connection_gets_a_slot(target: Any) -> None:
    lane = target._manager.connection.link.session().stream.lane
    lane.wants_slot = True  # as when answers have come soon for a while
    assert target.take(1) == 1
    assert lane.slot is not None
    for size in (
        1,
        shm_slot.MAX_SLOT_BYTES // 2,
        shm_slot.MAX_SLOT_BYTES,
        2 * shm_slot.MAX_SLOT_BYTES,
        1_000_000,
    ):
        assert target.take(b'x' * size) == b'x' * size
    assert [target.take(number) for number in range(1000)] == list(range(1000))


@pytest.mark.parametrize(
    'sent', ["send(b'x')", 'send(bytes(1 << 20))', "frames.send_with(b'x', [])"]
)
def test_to_send_to_who_has_gone_is_an_error_also_where_sigpipe_would_kill(sent: str) -> None:
    code = f"""
        import signal, socket
        from uactor.transport.frames import UnsentError
        from uactor.transport.lane import Lane
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        ours, theirs = socket.socketpair()
        lane = Lane(ours)
        theirs.close()
        try:
            lane.{sent}
        except UnsentError:
            print('gone')
    """
    command = [sys.executable, '-c', textwrap.dedent(code)]
    assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout == b'gone\n'


# --- two ends on one core ------------------------------------------------------------------------


@pytest.mark.parametrize('moves', [True, False], ids=['actor', 'caller'])
@pytest.mark.parametrize(
    'shares', [pytest.param(True, marks=with_slots, id='slot'), pytest.param(False, id='socket')]
)
def test_of_two_ends_on_one_core_the_actor_moves_to_another_one(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[Lane, Lane], moves: bool, shares: bool
) -> None:
    looks, moved = threading.Semaphore(0), threading.Semaphore(0)

    def make_way() -> float:
        looks.release()
        return 20e-6  # as if the other end had run

    ours, theirs = ends
    monkeypatch.setattr(cpu, 'count_spare_cores', lambda: 1)  # also where there is one core
    theirs.spin = SpinPolicy(makes_calls=False, may_move=moves)
    if shares:
        mapping = mmap.mmap(-1, shm_slot.MEMORY_BYTES)
        ours.share_slot(mapping, 0)
        theirs.share_slot(mapping, 1)
    spinners.latest = theirs.spin  # it is the one that is received from
    set_score(theirs, 8)
    spinners.crowded_until = 0.0
    monkeypatch.setattr('uactor.transport.lane.MAX_SPIN_S', 60.0)
    monkeypatch.setattr(cpu, 'yield_core', make_way)
    monkeypatch.setattr(cpu, 'move_to_idle_core', moved.release)
    received: list[bytes] = []
    receiver = threading.Thread(target=lambda: received.append(bytes(theirs.receive())))
    receiver.start()
    for _ in range(100):
        looks.acquire()
    assert theirs.spin in spinners.active
    ours.send(b'hello')
    receiver.join()
    assert received == [b'hello']
    assert moved.acquire(blocking=False) is moves


@with_slots
def test_the_receiver_of_a_slot_polls_it_as_the_other_end_does(ends: tuple[Lane, Lane]) -> None:
    ours, theirs = ends
    theirs.spin.record = SpinRecord(BACKING_OFF, -1, backoff=16)
    theirs.share_slot(mmap.mmap(-1, shm_slot.MEMORY_BYTES), 1)
    assert theirs.spin.record == SpinRecord(SPINNING, 8)
    ours.send(b'hello')
    assert theirs.receive() == b'hello'


def test_a_message_that_comes_late_once_is_no_reason_to_look_no_more(
    monkeypatch: pytest.MonkeyPatch, ends: tuple[Lane, Lane]
) -> None:
    ours, theirs = ends
    spinners.latest = theirs.spin
    spinners.crowded_until = 0.0
    monkeypatch.setattr('uactor.transport.lane.SPIN_BUDGET_S', 0.0)  # whatever comes is late
    monkeypatch.setattr('uactor.transport.lane.MAX_SPIN_S', 60.0)
    monkeypatch.setattr(cpu, 'yield_core', float)
    before = 8
    set_score(theirs, before)
    worth = []
    for _ in range(3):
        ours.send(b'hello')
        assert theirs.receive() == b'hello'
        worth.append(theirs.spin.record.score)
    assert worth == [before, before - 2, before - 4]


@pytest.mark.parametrize('is_replaced', [False, True])
def test_a_lane_that_has_gone_is_done_without(tmp_path: Any, is_replaced: bool) -> None:
    """Also by proxies that have used it: the actor lives, and is reached over gRPC."""

    class Fixed(Target):
        _options_ = {'address': f'unix:{tmp_path}/s'}

    actor: Any = Fixed()
    with Target() as other, actor:
        assert actor.take(1) == 1
        lane_of(actor).unlink()
        if is_replaced:
            lane_of(actor).symlink_to(lane_of(other))
        for _ in range(2):
            assert actor.take.future(2).result() == 2
        assert in_thread(lambda: actor.take(3)) == 3
        assert actor.take(1) == 1
    with pytest.raises(uactor.ActorDiedError):
        in_thread(lambda: actor.take(1))


def test_a_session_whose_calls_do_not_wait_ends_with_what_is_no_message(target: Any) -> None:
    with open_session(target, 'lane') as session:
        session.enter(key=KEY, pipelined=True)
        assert session.call('take', pb.Value(int64=5)).int64 == 5
        session.stream.put(b'\xff')
        assert session.receive().failure.type_name == 'uactor.errors.VersionError'
        with pytest.raises(End):
            session.stream.get()


def test_a_link_is_no_lane(tmp_path: Path) -> None:
    with socket.create_server(str(tmp_path / 'al'), family=socket.AF_UNIX):
        (tmp_path / 'bl').symlink_to(tmp_path / 'al')
        assert find_lane(f'unix:{tmp_path}/a') == str(tmp_path / 'al')
        assert find_lane(f'unix:{tmp_path}/b') is None


@with_slots
def test_a_slot_tells_its_sender_whether_the_message_was_taken() -> None:
    mapping = mmap.mmap(-1, shm_slot.MEMORY_BYTES)
    ours, theirs = shm_slot.ShmSlot(mapping, 0), shm_slot.ShmSlot(mapping, 1)
    theirs.clear_need_wakeup()
    for message in (b'one', b'other'):
        assert ours.put(message, 0) == shm_slot.DELIVERED
        assert ours.is_unread
        assert theirs.take(0) == message
        assert not ours.is_unread
    theirs.set_need_wakeup()
    assert not ours.is_unread


@pytest.mark.parametrize('is_in_bytes', [True, False])
def test_a_message_to_a_peer_that_has_gone_is_unsent(is_in_bytes: bool) -> None:
    request = pb.SessionRequest(id=1, call=pb.CallRequest(method='take'))
    ours, theirs = socket.socketpair()
    theirs.close()
    stream = LaneStream(ours, lambda: None, calls=True)
    with contextlib.closing(stream), pytest.raises(StreamEnd) as caught:
        if is_in_bytes:
            stream.request_bytes(request.SerializeToString())
        else:
            stream.request(request)
    assert caught.value.unread
