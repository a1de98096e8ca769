"""The local lane between two processes of one user.

It carries the messages of ``ActorService.Session``, by two ways: frames on a Unix socket
(:mod:`~uactor.transport.frames`), and a slot in shared memory (:mod:`~uactor.transport.shm_slot`)
while both ends spin (:mod:`~uactor.transport.spin`). Threads of one process that make calls take
turns (:mod:`~uactor.transport.baton`).
"""

from __future__ import annotations

import mmap
from socket import SocketType
from threading import get_ident
from time import perf_counter

from uactor.transport.baton import call_baton
from uactor.transport.frames import (
    DOORBELL,
    FrameSocket,
    LaneError,
    OversizedError,
    UnsentError,
)
from uactor.transport.shm_slot import (
    DELIVERED,
    MAX_SLOT_BYTES,
    NEED_WAKEUP,
    REFUSED,
    LeftShmSlot,
    ShmSlot,
)
from uactor.transport.spin import (
    BACKING_OFF,
    BROKEN_OFF,
    FAST_WAKEUP_S,
    FOUND,
    FOUND_LATE,
    MAX_SCORE,
    MAX_SPIN_S,
    MISSED,
    POLLS_BEFORE_YIELD,
    POLLS_BETWEEN_YIELDS,
    SLEPT,
    SLOT_SHARED,
    SPIN_BUDGET_S,
    SPIN_FIRST,
    SPINNING,
    WOKEN_FAST,
    WOKEN_LATE,
    SpinPolicy,
    spinners,
)


def lane_path(path: str) -> str:
    """Return the path of the lane beside the gRPC socket at ``path``."""
    return f'{path}l'


class Lane:
    """One end of a connection.

    One thread sends at a time, and one receives.

    :param limit: largest message that is received, in bytes; -1 for any.
    :param makes_calls: whether threads of this process make calls by it, which then take turns.
    :param may_move: whether it is this end that moves to another core when both share one.
    :ivar frames: the socket.
    :ivar spin: when the receiver spins.
    :ivar slot: the slots in shared memory; None while there are none.
    :ivar wants_slot: whether spinning has paid for a while, so that a slot would, too.
    """

    __slots__ = (
        *('__weakref__', '_is_paused', '_last_call_end', '_makes_calls', 'slot'),
        *('frames', 'spin', 'wants_slot'),
    )

    def __init__(
        self,
        sock: SocketType,
        limit: int = -1,
        makes_calls: bool = False,
        may_move: bool = False,
    ) -> None:
        self.frames = FrameSocket(sock, limit)
        self.spin = SpinPolicy(makes_calls, may_move)
        self.wants_slot = False
        self._makes_calls = makes_calls
        self.slot: ShmSlot | None = None
        self._last_call_end = 0.0
        self._is_paused = False  # whether the other end knows that it is another thread's turn

    # --- the slot ----------------------------------------------------------------------------

    def share_slot(self, mapping: mmap.mmap, end: int) -> None:
        """Use a slot from now on.

        :param end: which end of it this is, 0 or 1.
        """
        self.slot = ShmSlot(mapping, end)
        self.spin.apply(SLOT_SHARED)

    @property
    def has_slot(self) -> bool:
        """Whether there is a slot."""
        return self.slot is not None

    def leave_slot(self) -> None:
        """Release the slot's memory, so that all goes by the socket.

        Any thread may call this.
        """
        if self.slot is not None:
            self.slot = LeftShmSlot(self.slot.is_unread)

    @property
    def is_unread(self) -> bool:
        """Whether the other end has surely not received the last message.

        That is final only once the other end has gone.
        """
        return self.slot is not None and self.slot.is_unread

    # --- the sender --------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises UnsentError: when the other end has gone.
        :raises LaneError: when it has gone, and may have got the message; see :attr:`is_unread`.
        """
        slot = self.slot
        result = REFUSED if slot is None else slot.put(message, self.frames.sent)
        if result != DELIVERED:
            self._finish_sending(result, message)

    def _finish_sending(self, result: int, message: bytes) -> None:
        """Send a message that the slot refused, or wake its receiver."""
        if result == REFUSED:
            self.frames.send(message)
        elif result == NEED_WAKEUP:
            try:
                self.frames.ring_doorbell()
            except UnsentError as error:  # it may have taken the message before it has gone
                raise LaneError(str(error)) from error.__cause__

    # --- calls -------------------------------------------------------------------------------

    def call(self, message: bytes) -> bytes | bytearray:
        """Wait for this thread's turn, send a message, and return the response.

        :raises UnsentError: when the other end has gone before.
        :raises LaneError: when it goes meanwhile; see :attr:`is_unread`.
        """
        if not (
            self.spin.state is SPIN_FIRST
            and call_baton.try_continue(get_ident())
            and not spinners.active
        ):
            self.begin_call()
            self.send(message)
            return self.end_call()
        slot: ShmSlot = self.slot  # type: ignore[assignment]
        frames = self.frames
        result = slot.put(message, frames.sent)
        if result == DELIVERED:
            response = slot.take(frames.received, POLLS_BEFORE_YIELD)
            if response is not None:
                call_baton.in_call = False
                return response
        else:
            self._finish_sending(result, message)
        return self.end_call()

    def begin_call(self) -> None:
        """Wait for this thread's turn to make a call."""
        spin = self.spin
        if spin.spare_cores and spin.state is not BACKING_OFF:
            call_baton.acquire(get_ident(), self._last_call_end, self._pause)
            if self._is_paused:
                self._set_paused(False)

    def end_call(self) -> bytes | bytearray:
        """Wait for a call's response, and let other threads make calls.

        :raises LaneError: when the other end has gone.
        """
        try:
            return self._receive()
        finally:
            self._last_call_end = perf_counter()
            call_baton.release(get_ident())

    def _pause(self) -> None:
        self._set_paused(True)

    def _set_paused(self, is_paused: bool) -> None:
        """Tell the other end whether to spin.

        It need not while this end makes no calls.
        """
        self._is_paused = is_paused
        if self.slot is not None:
            self.slot.set_paused(is_paused)

    # --- the receiver ------------------------------------------------------------------------

    def receive(self) -> bytes | bytearray:
        """Wait for the next message.

        :raises LaneError: when the other end has gone.
        """
        spin = self.spin
        if (
            spin.state is SPIN_FIRST
            and spinners.latest is spin
            and not spinners.crowded_until
            and not spinners.active
        ):
            slot: ShmSlot = self.slot  # type: ignore[assignment]
            message = slot.take(self.frames.received, POLLS_BEFORE_YIELD)
            if message is not None:
                return message
        return self._receive()

    def _receive(self) -> bytes | bytearray:
        frames = self.frames
        while True:
            message: bytes | bytearray | None
            message = self._take_before_rest() if frames.rest else self._wait()
            if message is not None:
                if 0 <= frames.limit < len(message):
                    raise OversizedError.of(len(message), frames.limit)
                return message
            message = frames.receive()
            if message != DOORBELL or self.slot is None:
                return message

    def _take_before_rest(self) -> bytes | None:
        """Return the slot's message if it comes before the socket's bytes."""
        return None if self.slot is None else self.slot.take(self.frames.received)

    def _wait(self) -> bytes | None:
        """Wait for a message in the slot or bytes on the socket.

        Return the message, or None once ``frames.rest`` has the bytes.
        """
        slot, frames, spin = self.slot, self.frames, self.spin
        if slot is None and not spin.spare_cores:  # there is nothing to learn about spinning
            frames.rest = frames.receive_some()
            return None
        now = perf_counter()
        if spin.state >= SPINNING and self._may_spin(now):
            found = self._spin(now)
            if found is not None:
                if not found:
                    frames.rest = frames.receive_some()
                return found or None
        if self._makes_calls:
            call_baton.yield_(get_ident())
        if spin.state is SPIN_FIRST:  # else going to sleep changes nothing
            spin.apply(SLEPT)
        if slot is not None:
            slot.set_need_wakeup()
            message = slot.take(frames.received)
            if message is not None:
                return message
        start = perf_counter()
        frames.rest = frames.receive_some()
        slept = perf_counter() - start
        spin.apply(WOKEN_LATE if slept > FAST_WAKEUP_S else WOKEN_FAST)
        return None

    def _may_spin(self, now: float) -> bool:
        """Return whether there is a spare core, and no competing thread."""
        spin = self.spin
        if self._makes_calls:
            is_alone = call_baton.holder == get_ident()
        else:
            is_alone = spinners.is_uncrowded(spin, now)
        return is_alone and len(spinners.active) < spin.spare_cores

    def _spin(self, start: float) -> bytes | None:
        """Spin until there is a message, or it is too late.

        Return the message, or nothing if it is on the socket; None when none has come.
        """
        slot, spin, poll, end = self.slot, self.spin, self.frames.poll, start + MAX_SPIN_S
        found: bytes | None
        try:
            spinners.active.add(spin)
            if slot is None:
                while not (ready := poll(0)) and perf_counter() < end:
                    spin.yield_core()
                found = b'' if ready else None
            else:
                found = self._poll_slot(slot, end)
        finally:
            spinners.active.discard(spin)
        is_late = perf_counter() - start > SPIN_BUDGET_S
        if found is None:
            spin.apply(MISSED if is_late else BROKEN_OFF)
        else:
            score = spin.record.score
            fits = not 0 <= self.frames.limit < MAX_SLOT_BYTES  # any message that the slot holds
            may_spin_first = fits and slot is not None and not spin.core_shared
            spin.apply(FOUND_LATE if is_late else FOUND, may_spin_first)
            if spin.record.score == MAX_SCORE > score:
                self.wants_slot = True
        return found

    def _poll_slot(self, slot: ShmSlot, end: float) -> bytes | None:
        """Poll the slot, and the socket now and then; see :meth:`_spin`."""
        slot.clear_need_wakeup()
        spin, frames = self.spin, self.frames
        take, poll, received = slot.take, frames.poll, frames.received
        polls = 1 if spin.core_shared or spin.state is SPIN_FIRST else POLLS_BEFORE_YIELD
        while True:
            for _ in range(polls):
                if (message := take(received)) is not None:
                    return message
            polls = POLLS_BETWEEN_YIELDS
            if poll(0):  # which lets other threads run, too
                # What is in the slot may have come before what is on the socket, or the end.
                message = take(received)
                return b'' if message is None else message
            if perf_counter() > end or slot.is_peer_paused:
                return None
            if spinners.latest is not spin and not self._makes_calls:
                return None
            spin.yield_core()

    # --- the end -----------------------------------------------------------------------------

    def hang_up(self) -> None:
        """End the connection, also for a thread that is receiving."""
        spinners.active.discard(self.spin)  # a signal handler may have kept the thread from that
        if self._makes_calls:
            call_baton.yield_(get_ident())
        self.frames.shut_down()

    def close(self) -> None:
        """Close the socket and release the slot, when no thread receives."""
        self.leave_slot()
        self.frames.close()
