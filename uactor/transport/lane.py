"""The local lane: messages in frames on a Unix socket, between processes of one user.

It carries the messages of ``ActorService.Session``. A frame is the length of a message in
four bytes, most significant first, and then the message. Small ones take one system call.

Descriptors may come along. They come behind the message, for which the highest bit of the length
stands. Receiving them takes another system call than receiving bytes, which loses them, and so
such a frame is longer than what is received before its length is known.

Whoever waits for a message may look for it for a while before going to sleep: waking up
costs more than a small call. That is done only while it pays: while messages come soon,
there is a core to spare, and no other thread of this process wants to do the same.
"""

from __future__ import annotations

import errno
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable, Sequence
from socket import SocketType
from threading import get_ident
from time import perf_counter
from typing import Any

from uactor.runtime import cpu
from uactor.runtime.descriptors import reserve
from uactor.runtime.system_errors import is_own
from uactor.transport.baton import turns
from uactor.transport.buffers import Buffer
from uactor.transport.shm_slot import ASLEEP, DONE, NOT, ROOM, WRAP, LeftShmSlot, ShmSlot

_LENGTH = struct.Struct('!I')
_READ = 1 << 13
"""How much is received at first, in bytes."""
_BELL = b''
"""Wakes whoever has to look at the board. No message is empty."""
_PASSING = 1 << 31
"""In the length of a message: descriptors come along."""
_MOST_PASSED = 256
"""How many descriptors come along with one message at most."""
_JOINED = 1 << 16
"""Smallest message that is not copied to go out in one piece with its length, in bytes."""

_LONGEST_TRIAL = 16

HANDSHAKE_LIMIT = 1 << 16
"""Largest message that is received of somebody who has not proved to know the authkey."""

_PATIENCE = 100e-6
"""How long it pays to look for a message, in seconds. To sleep and wake up takes as long."""
_LONGEST = 3 * _PATIENCE
"""For how long it is looked for. The other end may have to wake up first, or be moving."""
_ACTIVE = 8
_GLANCES = 200
"""How often the board is looked at before the socket is. A small call takes as long."""
_FURTHER = 48
"""The same, afterwards. Looking at the socket lets other threads run."""
_SQUEEZED = 8e-6
"""For how long another thread surely runs that is let run on this core, in seconds."""
_TAKEN_UP = 1e-3
"""For how long it runs at most when it is the other end, in seconds, which then looks again."""
_SOON, _OFTEN = 2, 8
"""After how many times in a row the ends are to part, and after how many more again: it need not
have helped."""
_LOSS = 2
"""What looking in vain costs, in messages that were found."""


def path_of(path: str) -> str:
    """Return the path of the lane beside the gRPC socket at ``path``."""
    return f'{path}l'


class LaneError(Exception):
    """The lane has ended, or what comes is no message."""


class UnsentError(LaneError):
    """The other end has gone before it could get a message."""


class OversizedError(LaneError):
    """The message that comes is larger than allowed."""


Take = Callable[[int, 'int | None', bool], None]
"""Takes a descriptor by its number, and has to close it; None for one that has been lost. The
process may have no more: then it has to be closed at once."""

_CROWD = 200e-6
"""For how long nobody looks after another lane has been received from, in seconds."""

_looking: set[Lane] = set()
"""The lanes of this process that are being looked at."""
_latest: Lane | None = None
"""The lane that was received from most recently."""
_crowded = 0.0
"""Until when nobody looks: other threads of this process want to run."""


class Lane:
    """One end of a connection. One thread sends at a time, and one receives.

    :param limit: largest message that is received, in bytes; -1 for any.
    :param calls: whether threads of this process make calls by it, as many as there are such
        lanes, which take turns then.
    :param moves: whether it is this end that goes to another core when both share one.
    :ivar expect: is told of each message that descriptors come along with, before it is received,
        and returns what takes them. While it is None, no message comes with any.
    :ivar eager: whether looking has paid for a while, so that a board would, too.
    """

    def __init__(
        self, sock: SocketType, limit: int = -1, calls: bool = False, moves: bool = False
    ) -> None:
        self.socket = sock
        self._calls = calls
        self._moves = moves
        self.limit = limit
        self.expect: Callable[[bytearray], Take] | None = None
        self.eager = False
        self._board: ShmSlot | None = None
        self._sent = self._received = 0  # messages, by the socket
        self._is_within = False  # whether a message has been sent in part
        self._rest = b''
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self._spare = cpu.count_spare_cores()
        self._worth = int(calls)  # of looking: it is looked while this is positive
        self._soon = 0  # how many messages in a row came soon after going to sleep
        self._late = False  # whether the latest one that was looked for was not there soon
        self._squeezed = False  # whether another thread has run on the core of this one
        self._in_a_row = 0  # how many times it has
        self._keen = False  # whether looking pays so well that it is done at once, on the board
        self._ended = 0.0  # when the last answer was received
        self._resting = False  # whether the other end has been told that it is another one's turn
        self._trial = 1  # after how many of them looking is tried again

    def share(self, mapping: mmap.mmap, end: int) -> None:
        """Have a board from now on; what follows may go that way.

        :param end: which end of it this is, 0 or 1.
        """
        self._board = ShmSlot(mapping, end)
        self._worth, self._trial = _ACTIVE, 1  # it has paid for the caller, who has made it

    @property
    def has_board(self) -> bool:
        """Whether there is a board."""
        return self._board is not None

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises UnsentError: when the other end has gone.
        :raises LaneError: when it has gone, and may have got the message; see :attr:`is_unread`.
        """
        board = self._board
        put = NOT if board is None else board.put(message, self._sent)
        if put != DONE:
            self._finish(put, message)

    def _finish(self, put: int, message: bytes) -> None:
        """Send what is not on the board, and wake the other end if it has to be."""
        if put == NOT:
            self._sent = (self._sent + 1) % WRAP
            self._write(message)
        elif put == ASLEEP:
            try:
                self._write(_BELL)
            except UnsentError as error:  # it may have looked at the board once more before
                raise LaneError(str(error)) from error.__cause__

    def _write(self, message: bytes) -> None:
        length = _LENGTH.pack(len(message))
        self._is_within = True
        try:
            if len(message) < _JOINED:
                self.socket.sendall(length + message, socket.MSG_NOSIGNAL)
            else:
                self.socket.sendall(length, socket.MSG_NOSIGNAL)
                self.socket.sendall(message, socket.MSG_NOSIGNAL)
        except OSError as error:
            if not is_own(error):
                raise
            raise UnsentError(_described(error)) from error
        self._is_within = False

    def send_last(self, message: bytes) -> None:
        """Send a short message after which the connection ends, if that needs no waiting.

        Not after a part of another one, whose rest it would be taken for.
        """
        if self._is_within:
            return
        frame = _LENGTH.pack(len(message)) + message
        try:
            self.socket.send(frame, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except OSError as error:  # the other end has gone, or has much to read before
            if not is_own(error):
                raise

    def send_with(self, message: bytes, passed: Sequence[tuple[int, int]]) -> None:
        """Send a message along with descriptors, each with a number.

        :raises UnsentError: when the other end has gone.
        """
        head = _LENGTH.pack(_PASSING | len(message)) + _LENGTH.pack(len(passed))
        padding = bytes(max(0, _READ - len(message)))
        self._sent = (self._sent + 1) % WRAP
        self._is_within = True
        sock: Any = self.socket
        try:
            sock.sendall(head + message + padding, socket.MSG_NOSIGNAL)
            for number, descriptor in passed:
                self._pass(number, descriptor)
        except OSError as error:
            if not is_own(error, Lane._pass, socket.send_fds):
                raise
            raise UnsentError(_described(error)) from error
        self._is_within = False

    def _pass(self, number: int, descriptor: int) -> None:
        numbered = _LENGTH.pack(number)
        sock: Any = self.socket
        try:
            socket.send_fds(sock, [numbered], [descriptor], socket.MSG_NOSIGNAL)
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS or not is_own(error, socket.send_fds):
                raise
            self.socket.sendall(numbered, socket.MSG_NOSIGNAL)  # the receiver finds it lost

    def receive(self) -> bytes | bytearray:
        """Wait for the next message.

        :raises LaneError: when the other end has gone.
        """
        if self._keen and _latest is self and not _crowded and not _looking:
            message = self._board.take(self._received, _GLANCES)  # type: ignore[union-attr]
            if message is not None:
                return message
        return self._receive()

    def exchange(self, message: bytes) -> bytes | bytearray:
        """Make a call: send a message, and wait for the next one, when it is this thread's turn.

        :raises UnsentError: when the other end has gone before.
        :raises LaneError: when it goes meanwhile; see :attr:`is_unread`.
        """
        if not (self._keen and turns.goes_on(get_ident()) and not _looking):
            self.begin()
            self.send(message)
            return self.answer()
        board: ShmSlot = self._board  # type: ignore[assignment]
        put = board.put(message, self._sent)
        if put == DONE:
            answer = board.take(self._received, _GLANCES)
            if answer is not None:
                turns.calls = False
                return answer
        else:
            self._finish(put, message)
        return self.answer()

    def answer(self) -> bytes | bytearray:
        """Wait for the answer to a call, and know that it has been received."""
        try:
            return self._receive()
        finally:
            self._ended = perf_counter()
            turns.done(get_ident())

    def _receive(self) -> bytes | bytearray:
        while True:
            message = self._before_rest() if self._rest else self._wait()
            if message is not None:
                if 0 <= self.limit < len(message):
                    raise _oversized(len(message), self.limit)
                return message
            data = self._rest
            while len(data) < _LENGTH.size:
                data += self._some()
            (size,) = _LENGTH.unpack_from(data)
            end = _LENGTH.size + size
            if 0 <= self.limit < size or len(data) < end:
                self._received = (self._received + 1) % WRAP
                return self._long(data, size)
            self._rest = data[end:]
            if size or self._board is None:
                self._received = (self._received + 1) % WRAP
                return data[_LENGTH.size : end]

    def _long(self, data: bytes, size: int) -> bytearray:
        """Receive the rest of a frame that has begun with ``data``."""
        passing = size & _PASSING if self.expect is not None else 0
        size -= passing
        if 0 <= self.limit < size:
            raise _oversized(size, self.limit)
        self._rest = b''
        if not passing:
            return self._body(data[_LENGTH.size :], size)
        while len(data) < 2 * _LENGTH.size:
            data += self._some()
        (count,) = _LENGTH.unpack_from(data, _LENGTH.size)
        if count > _MOST_PASSED:
            raise LaneError(f'{count} descriptors are announced, and {_MOST_PASSED} may come')
        message = self._body(data[2 * _LENGTH.size :], max(size, _READ))
        del message[size:]
        take = self.expect(message) if self.expect is not None else _close
        for _ in range(count):
            self._take_descriptor(take)
        return message

    def _take_descriptor(self, take: Take) -> None:
        self._poll.poll()  # nothing waits while others may need the reserve
        with reserve.room(self.socket.fileno()) as is_scarce:
            # There is room for one in the control data: the system closes any others.
            flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            sock: Any = self.socket
            try:
                data, found, _, _ = socket.recv_fds(sock, _LENGTH.size, 1, flags)
            except OSError as error:
                if not is_own(error, socket.recv_fds):
                    raise
                raise LaneError(_described(error)) from error
            if len(data) < _LENGTH.size:
                for descriptor in found:
                    os.close(descriptor)
                raise LaneError('the connection was closed' if not data else 'no number has come')
            (number,) = _LENGTH.unpack(data)
            take(number, found[0] if found else None, is_scarce)

    def _body(self, begun: bytes, size: int) -> bytearray:
        """Receive the rest of ``size`` bytes that have begun so."""
        buffer = Buffer(size)
        buffer.add(begun)
        while not buffer.is_full:
            if not self._some_into(buffer):
                raise LaneError('the connection was closed')
        return buffer.data

    def _some_into(self, buffer: Buffer) -> int:
        try:
            return buffer.receive_from(self.socket)
        except OSError as error:
            if not is_own(error, Buffer.receive_from):
                raise
            raise LaneError(_described(error)) from error

    def _some(self) -> bytes:
        try:
            data = self.socket.recv(_READ)
        except OSError as error:
            if not is_own(error):
                raise
            raise LaneError(_described(error)) from error
        if not data:
            raise LaneError('the connection was closed')
        return data

    def has_more(self) -> bool:
        """Return whether more has arrived than has been received. For the receiving thread."""
        rest = self._rest
        if len(rest) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(rest)
            if len(rest) - _LENGTH.size >= size:
                return True
        return bool(self._poll.poll(0))

    def _before_rest(self) -> bytes | None:
        """Return a message on the board that comes before what the socket has brought."""
        return self._board.take(self._received) if self._board is not None else None

    def _wait(self) -> bytes | None:
        """Wait for a message: return it if it is on the board, else receive from the socket."""
        board, now = self._board, perf_counter()
        if self._worth > 0 and self._may_look(now):
            found = self._look(now)
            if found is not None:
                if not found:
                    self._rest = self._some()
                return found or None
        if self._calls:
            turns.leave(get_ident())
        self._keen = False
        if board is not None:
            board.sleep()
            message = board.take(self._received)
            if message is not None:
                return message
        start = perf_counter()
        self._rest = self._some()
        self._learn(perf_counter() - start)
        return None

    def _may_look(self, now: float) -> bool:
        """Tell whether a core can be spared for looking, and no other thread wants to run."""
        global _latest, _crowded
        if self._calls:
            return turns.holder == get_ident() and len(_looking) < self._spare
        if _latest is not self:
            _latest, _crowded = self, now + _CROWD
        elif _crowded and now > _crowded:
            _crowded = 0.0
        return not _crowded and len(_looking) < self._spare

    def begin(self) -> None:
        """Wait until a call may be made, whose answer will be received."""
        if self._spare and (self._worth > 0 or self._trial == 1):
            turns.take(get_ident(), self._ended, self._pause)
            if self._resting:
                self._pause(False)

    def _pause(self, resting: bool = True) -> None:
        """Let the other end know whether there will be no message for a while."""
        self._resting = resting
        if self._board is not None:
            self._board.rest(resting)

    def _learn(self, slept: float) -> None:
        """Learn from how long it took whether looking would have paid."""
        self._late = False
        if slept > 2 * _PATIENCE:
            self._soon //= 2  # once in a while anybody is late
            return
        self._soon += 1
        if self._soon >= self._trial:
            self._soon, self._worth = 0, 1

    def _look(self, start: float) -> bytes | None:
        """Look for a message until it is too late.

        Return it, or nothing if it is on the socket; None when none has come.
        """
        poll, end, found = self._poll.poll, start + _LONGEST, None
        try:
            _looking.add(self)
            if self._board is None:
                while not (ready := poll(0)) and perf_counter() < end:
                    self._make_way()
                found = b'' if ready else None
            else:
                found = self._look_at(self._board, end)
        finally:
            _looking.discard(self)
        self._judge(found is not None, perf_counter() - start)
        if found is not None:
            self._keen = self._is_keen()
        return found

    def _judge(self, found: bool, looked: float) -> None:
        """Learn from whether a message was found, and how long that took, in seconds."""
        before, self._late = self._late, looked > _PATIENCE
        if self._late:
            if before or not found:  # once in a while anybody is late
                self._worth -= _LOSS
                if self._worth <= 0:  # the other side may be on this very core
                    self._trial = min(2 * self._trial, _LONGEST_TRIAL)
        elif found and self._worth < _ACTIVE:
            self._worth += 1
            if self._worth == _ACTIVE:
                self._trial, self.eager = 1, True

    def _is_keen(self) -> bool:
        """Tell whether the next message can be looked for on the board without further ado."""
        if self._board is None or self._squeezed or self._worth < _ACTIVE:
            return False
        return not 0 <= self.limit < ROOM

    def _look_at(self, board: ShmSlot, end: float) -> bytes | None:
        board.wake()
        take, poll, received = board.take, self._poll.poll, self._received
        glances = 1 if self._squeezed or self._keen else _GLANCES
        while True:
            for _ in range(glances):
                if (message := take(received)) is not None:
                    return message
            glances = _FURTHER
            if poll(0):  # which lets other threads run, too
                # What is on the board may have come before what is on the socket, or the end.
                message = take(received)
                return b'' if message is None else message
            now = perf_counter()
            if now > end or board.is_resting or (_latest is not self and not self._calls):
                return None
            self._make_way()

    def _make_way(self) -> None:
        """Let others run on this core; leave it if that is the other end, as it seems."""
        taken_up = cpu.yield_core()
        self._squeezed = taken_up > _SQUEEZED
        if not _SQUEEZED < taken_up < _TAKEN_UP:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        if self._moves and self._in_a_row % _OFTEN == _SOON:
            cpu.move_to_idle_core()

    @property
    def is_unread(self) -> bool:
        """Whether the other end, when it has gone, has surely not got the last message."""
        return self._board is not None and self._board.is_unread

    def is_open(self) -> bool:
        """Tell whether the other end is there. Any thread may ask, also once this is closed."""
        probe, descriptor = select.poll(), self.socket.fileno()
        if descriptor < 0:
            return False
        probe.register(descriptor, GONE)
        return not probe.poll(0)

    def hang_up(self) -> None:
        """End the connection, also for a thread that is receiving."""
        _looking.discard(self)  # a signal handler may have raised before the thread could
        if self._calls:
            turns.leave(get_ident())
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:  # the other end was faster
            if not is_own(error):
                raise

    def close(self) -> None:
        """Give everything back, when no thread receives."""
        self.expect = None  # which has this lane: a cycle would keep its memory
        self.leave_board()
        self.socket.close()

    def leave_board(self) -> None:
        """Let go of the memory of the board. Any thread may; all goes by the socket then."""
        if self._board is not None:
            self._board = LeftShmSlot(self._board.is_unread)


def _close(number: int, descriptor: int | None, is_scarce: bool) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _described(error: OSError) -> str:
    return error.strerror or str(error)


def _oversized(size: int, limit: int) -> OversizedError:
    return OversizedError(f'the message has {size} bytes, not at most {limit}')


GONE = getattr(select, 'POLLRDHUP', select.POLLHUP)
