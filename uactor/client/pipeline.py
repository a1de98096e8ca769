"""The pipeline of a connection: one session for all non-blocking calls."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import Any

from uactor.client.pending import CallBurst, PendingRequest
from uactor.client.session import ClientSession
from uactor.codec import fastpath, messages
from uactor.codec.definitions import Definitions
from uactor.errors import (
    ActorDiedError,
    ConnectionLostError,
    Executed,
    ForkedError,
    ResourceError,
    SerializationError,
    UActorException,
    VersionError,
)
from uactor.runtime.locks import Latch, is_owned, release_fully, synchronized
from uactor.runtime.threads import attempt, report, start_daemon
from uactor.runtime.weakrefs import WeakBag
from uactor.transport.outbox import Outbox, coalesce
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

_BUFFERED_BYTES = 1 << 15
"""How many bytes surely fit into the empty buffers of a connection."""

_MORE = pb.SessionRequest.MORE_FIELD_NUMBER
_OPENING_S = 0.1
"""How long a request waits for the session to open. After that, large data and classes travel
inside the message."""

EncodeNumbered = Callable[[int], 'bytes | pb.SessionRequest']
"""Numbers a request and serializes it, unless large data goes beside it."""


class ClientPipeline:
    """The pending calls by number, a receiving thread, and a sending thread.

    Only these two threads block. The receiving thread also opens the session.

    :param open_session: opens the session.
    :ivar session: None until it is open.
    :ivar pending: the unanswered requests by number.
    :ivar unsent: the messages that are queued.
    """

    def __init__(self, open_session: Callable[[], ClientSession], address: str) -> None:
        self._open = open_session
        self._address = address
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self._number = 1
        self.pending: dict[int, PendingRequest] = {}
        self.unsent = Outbox[pb.SessionRequest]()
        self._sending = threading.RLock()
        self._requested_bytes = self._answered_bytes = 0
        self.session: ClientSession | None = None
        self._opening = Latch()  # set once the session is open, or has failed to open
        self._ended: BaseException | None = None
        _pipelines.add(self)

    def start(self) -> None:
        """Start the receiving thread.

        :raises ResourceError: if the system has no more threads.
        """
        try:
            start_daemon('uactor-pipeline', self._run)
        except BaseException:  # the thread may run nevertheless
            self._ended = ActorDiedError('the pipeline was not started', 'no')
            raise

    @property
    def usable(self) -> bool:
        """Whether the pipeline accepts calls, as far as this side knows."""
        session = self.session
        return self._ended is None and (session is None or session.alive)

    def submit(
        self, encode: EncodeNumbered, pending: PendingRequest, await_flush: bool = False
    ) -> None:
        """Queue a request, and send it unless it waits for a flush.

        The numbers of requests rise in the order in which they are sent.

        :param pending: takes the responses.
        :param await_flush: whether it is sent only with later requests, or by :meth:`flush`.
        :raises ActorDiedError: if the session has ended.
        """
        outer = is_owned(self._lock)
        try:
            with self._lock:
                alone = not self.pending
                self._queue(encode, pending)
            if alone and not await_flush:
                self.flush()
            elif not await_flush:
                self.unsent.wake()
        except BaseException:
            if not outer:
                release_fully(self._lock)
            if pending.number and not self.recall(pending) and not pending.is_queued:
                self._forget(pending)  # a queued request that can't be recalled has been sent
            raise

    def _queue(self, encode: EncodeNumbered, pending: PendingRequest) -> None:
        """Number a request and queue it. The caller holds the lock."""
        if self._ended is not None:
            raise self._error_for(self._ended, 'no')
        number = self._number
        self._number += pending.count  # first: after an exception no other request has the number
        pending.number = number
        message = encode(number)
        pending.size = (
            len(message) if isinstance(message, bytes) else messages.measure_size(message)
        )
        self._requested_bytes += pending.size
        for each in range(number, number + pending.count):
            self.pending[each] = pending
        self.unsent.put_numbered(number, message)  # from now on an answer may arrive
        pending.is_queued = True

    def flush(self) -> None:
        """Send the queued messages, here if that surely does not block.

        This thread does not block while all unanswered requests fit into the connection's buffers.
        Otherwise the sending thread sends.
        """
        session = self.session
        small = self._requested_bytes - self._answered_bytes <= _BUFFERED_BYTES
        if not small or session is None or is_owned(self._sending):
            # In the last case a signal handler has interrupted this thread while it sent.
            self.unsent.wake()
            return
        try:
            if self._sending.acquire(blocking=False):
                self._send_all(session)
                self._sending.release()  # after an exception, the handler below releases it
            else:
                self.unsent.wake()
        except BaseException:
            release_fully(self._sending)
            raise

    def flush_now(self) -> None:
        """Send the queued messages on this thread, unless that may block."""
        session = self.session
        small = self._requested_bytes - self._answered_bytes <= _BUFFERED_BYTES
        if session is None or not small or not session.stream.is_read_ahead:
            return  # the sending thread sends, and more messages at a time
        if is_owned(self._sending):
            return  # a signal handler has interrupted this thread while it sent
        try:
            if self._sending.acquire(timeout=_OPENING_S):
                self._send_all(session)
                self._sending.release()
        except BaseException:
            release_fully(self._sending)
            raise

    def _send_all(self, session: ClientSession) -> None:
        try:
            for message in coalesce(self.unsent, _MORE, session.limit or -1):
                session.send(message)  # the receiving thread notices the end of the session
        except BaseException:  # callers would wait in vain for a message that is not fully sent
            session.break_off()
            raise

    def post(self, message: pb.SessionRequest) -> None:
        """Queue a message that gets no response. Safe in finalizers."""
        if os.getpid() == self._pid:  # in a forked child, the calls belong to the parent
            self.unsent.put(message.SerializeToString())
            self.unsent.wake()

    def recall(self, pending: PendingRequest) -> bool:
        """Withdraw a queued request; return whether it was still unsent."""
        if os.getpid() != self._pid:
            return False
        message = self.unsent.recall(pending.number)
        if message is None:
            return False
        if not isinstance(message, bytes):
            self.recall_large(messages.list_memories(message))
        self._forget(pending)
        return True

    def _forget(self, pending: PendingRequest) -> None:
        for number in range(pending.number, pending.number + pending.count):
            self.pending.pop(number, None)
        self._count_recalled(pending.size)

    def recall_large(self, memories: Sequence[pb.Memory]) -> None:
        """Reclaim the large data of an unsent request."""
        if self.memory is not None:
            self.memory.recall(memories)

    @synchronized
    def _count_recalled(self, size: int) -> None:
        self._requested_bytes -= size

    def awaits(self, number: int) -> bool:
        """Return whether a call has not been answered yet."""
        return number in self.pending

    @property
    def memory(self) -> Carrier | None:
        """The carrier of large data; None while there is none."""
        session = self.session
        return None if session is None else session.memory

    @property
    def definitions(self) -> Definitions | None:
        """The session's definitions; None without a session, or if it has none."""
        session = self.session
        return None if session is None else session.definitions

    def note_arrived(self, definitions: Sequence[pb.Definition]) -> None:
        """Record that the host has these definitions."""
        known = self.definitions
        if known is not None:
            known.confirm(definitions)

    def disown(self) -> None:
        """End all calls in a forked child: they belong to the parent.

        The locks are replaced: a thread of the parent may have held them.
        """
        self._lock, self._sending = threading.RLock(), threading.RLock()
        self._opening = Latch()
        self._opening.set()
        self._ended = ForkedError()
        pending, self.pending = self.pending, {}
        for number, call in pending.items():
            attempt('to end a call of the parent', call.disown, number)

    def wait_opened(self) -> None:
        """Wait briefly until the session is open, or has failed to open."""
        self._opening.wait(_OPENING_S)

    # --- the threads -------------------------------------------------------------------------

    def _run(self) -> None:
        session = None
        try:
            session = self._open()
            if self._ended is not None:
                session.abandon()
                return
            start_daemon('uactor-sender', self._send_gathered, session)
            self.session = session
            self._opening.set()
            while True:
                self._take_all_of(session.receive())
        except BaseException as error:  # every caller gets it, whatever it is
            self._end(error)
        finally:
            self._opening.set()
            self.unsent.end()
            if session is not None:
                session.abandon()

    def _take_all_of(self, received: list[bytes] | pb.SessionResponse) -> None:
        if isinstance(received, list):
            for message in received:
                self._take_message(message)
        else:
            self._take(received)
            for one in received.more:
                self._take(one)

    def _deliver(
        self, pending: PendingRequest, number: int, response: Any, more: bool = False
    ) -> None:
        """Pass a response to a call, and report any error.

        An error of one call must not keep the others from their responses.
        """
        try:
            self._answered_bytes += pending.take(number, response, more)
        except BaseException as error:
            report('the answer to a call could not be taken')
            attempt('to fail a call', pending.fail, number, error)

    def _send_gathered(self, session: ClientSession) -> None:
        try:
            while self.unsent.wait():
                with self._sending:
                    self._send_all(session)
        finally:  # the receiving thread then fails the calls of all callers
            session.abandon()

    def _take_message(self, message: bytes) -> None:
        found, more = fastpath.decode_result(message), False
        if found is None:
            found, more = fastpath.decode_item(message), True
        if found is None:
            self._take(pb.SessionResponse.FromString(message))
            return
        number, value = found
        pending = self.pending.get(number) if more else self.pending.pop(number, None)
        if pending is not None:
            self._deliver(pending, number, value, more)

    def _take(self, response: pb.SessionResponse) -> None:
        number, more = response.id, response.HasField('item')
        if response.HasField('results'):
            self._take_all(response)
            return
        definitions = self.definitions
        if definitions is not None:  # also for a response that no caller waits for
            definitions.receive(messages.list_definitions(response))
        pending = self.pending.get(number) if more else self.pending.pop(number, None)
        if pending is not None:
            self._deliver(pending, number, response, more)
        elif self.memory is not None:
            self.memory.ignore(messages.list_memories(response))

    def _take_all(self, response: pb.SessionResponse) -> None:
        first, burst = response.id, self.pending.get(response.id)
        if not isinstance(burst, CallBurst):
            return  # the burst has been answered already
        results = burst.results(response)
        for number in range(first, first + len(results)):
            self.pending.pop(number, None)
        self._answered_bytes += burst.take_all(first, results)

    def _end(self, error: BaseException) -> None:
        """End all calls with errors that say whether they may have run."""
        with self._lock:
            self._ended = error
            pending = tuple(self.pending.items())
            self.pending.clear()
        unsent = {call.number for _, call in pending if self.unsent.recall(call.number) is not None}
        for number, call in pending:
            mapped = self._error_for(error, 'no' if call.number in unsent else 'maybe')
            attempt('to fail a call after the end of a connection', call.fail, number, mapped)

    def _error_for(self, error: BaseException, executed: Executed) -> Exception:
        """Return the error for a caller after the end of the pipeline.

        It says that the actor has ended only if the actor has.
        """
        if isinstance(error, SerializationError):  # a message broke the session
            mapped: Exception = SerializationError(str(error))
        elif isinstance(error, ActorDiedError):
            lost = isinstance(error, ConnectionLostError)
            mapped = (ConnectionLostError if lost else ActorDiedError)(str(error), executed)
        elif isinstance(error, SystemExit):  # ends a daemon thread, because the process ends
            mapped = ActorDiedError('this process ends', executed)
        elif isinstance(error, ResourceError):
            mapped = ResourceError(str(error), executed)
        elif isinstance(error, UActorException):
            return error
        elif isinstance(error, (MemoryError, OSError, RuntimeError)):
            mapped = ResourceError(
                f'the connection to {self._address} is lost: {error!r}', executed
            )
        else:
            mapped = VersionError(f'{self._address} has sent an invalid response: {error!r}')
        mapped.__cause__ = error
        return mapped


_pipelines: WeakBag[ClientPipeline] = WeakBag()
"""All pipelines of this process, and in a child its parent's."""


def disown_all() -> None:
    """End the parent's calls, in a forked child."""
    for pipeline in tuple(_pipelines):
        pipeline.disown()
    _pipelines.clear()
