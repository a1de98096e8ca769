"""The calls of a connection that no thread blocks for: one session for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from uactor.client.session import ClientSession
from uactor.client.timeouts import GRACE_S
from uactor.codec import fastpath, messages
from uactor.codec import values as values
from uactor.core.futures import disown
from uactor.core.interfaces import NO_RECEIVER, BurstReceiver, ClientCall, Receiver, Resolve
from uactor.errors import (
    ActorDiedError,
    ConnectionLostError,
    DeadlineError,
    Executed,
    ForkedError,
    ResourceError,
    SerializationError,
    UActorException,
    VersionError,
)
from uactor.runtime.locks import Latch, free, is_owned, locked
from uactor.runtime.threads import attempt, report, start_daemon
from uactor.runtime.timers import Timer, timers
from uactor.runtime.weakrefs import WeakBag
from uactor.transport.outbox import Outbox, coalesce
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.codec.definitions import Definitions
    from uactor.core.interfaces import StreamReceiver
    from uactor.transport.shm_buffers import Carrier

_SMALL = 1 << 15
"""How much surely fits into the buffers of a connection, beside nothing else, in bytes."""

_MORE = pb.SessionRequest.MORE_FIELD_NUMBER
_OPENING = 0.1
"""How long large data waits for the session to be open, in seconds, and what travels by value; then
all of it goes in the message."""

Decode = Callable[[Any, Resolve, 'ClientSession | None'], Any]
"""Makes the value that a response carries, and the proxies in it; see :data:`Resolve`;
raises the exception of a failure. It also takes the value of a usual response, and the session,
which has what stands beside the message."""

Encoded = Callable[[int], 'bytes | pb.SessionRequest']
"""Returns a request with such a number, in its wire form unless large data goes with it."""


_SENT = 'is_queued', 'number', 'size'
"""What is known of a request: whether it waits to be sent, or has been, its number, and how many
bytes it has."""


class Pending:
    """A call that has been made and not been answered. See :class:`CallHandle`.

    It stays until the host's answer has come, even if nobody waits for it any more: that may bring
    holds, which have to be given back.

    :ivar defines: the definitions that go along with the request.
    :ivar lending: has the large data that does; None when there is none.
    """

    __slots__ = (
        '_call',
        '_decode',
        '_pipeline',
        '_receiver',
        '_timer',
        'defines',
        'lending',
        *_SENT,
    )

    count = 1

    def __init__(
        self, pipeline: ClientPipeline, receiver: Receiver, decode: Decode, call: ClientCall
    ) -> None:
        self.defines: Sequence[pb.Definition] = ()
        self.lending: Lending | None = None
        self._pipeline = pipeline
        self._receiver = receiver
        self._decode = decode
        self._call = call  # and with it what is called, which has to live until then
        self._timer: Timer | None = None
        self.number = self.size = 0
        self.is_queued = False

    def expire_at(self, expires: float, told: str) -> None:
        """Fail with a :class:`DeadlineError` at a time.

        The host gives the call up by itself, and says so; what it had taken for it by then is not
        lost. Only when it does not answer, that is said here; once it goes on, it reads that
        nobody waits any more before it runs the call.
        """

        def expire() -> None:
            if self._pipeline.recall(self):
                self._receiver.fail(DeadlineError(told, 'no'))
            else:
                self._timer = timers.at(expires + GRACE_S, give_up)

        def give_up() -> None:
            self._post_cancel()
            self._receiver.fail(DeadlineError(told, 'maybe'))

        self._timer = timers.at(expires, expire)

    def cancel(self) -> None:
        """See :class:`uactor.core.interfaces.CallHandle`."""
        self._stop_timer()
        if not self._pipeline.recall(self):
            self._post_cancel()

    def _post_cancel(self) -> None:
        self._pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=self.number)))

    def grant(self, items: int) -> None:
        """See :class:`uactor.core.interfaces.CallHandle`."""
        credit = pb.StreamCredit(request_id=self.number, items=items)
        self._pipeline.post(pb.SessionRequest(credit=credit))

    def hurry(self) -> None:
        """See :class:`uactor.core.interfaces.CallHandle`."""
        self._pipeline.hurry()

    def recall_lent(self) -> None:
        """Take back the large data of a request that is not made."""
        if self.lending is not None and not self.is_queued:
            self.lending.recall_all()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def take(self, number: int, response: Any, more: bool) -> int:
        """Take a response of the host, or the value of a usual one.

        :param more: whether others follow.
        :returns: how many bytes of requests have been answered by that.
        """
        try:
            value = self._decode(response, self._call.resolve, self._pipeline.session)
        except BaseException as error:  # what the method raised, SystemExit for one
            self.fail(number, error)
        else:
            if self.defines:
                self._pipeline.arrived(self.defines)
            if more:
                cast('StreamReceiver', self._receiver).item(value)
            else:
                self._released().receive(value)
        return 0 if more else self.size

    def disown(self, number: int) -> None:
        """End in a forked child: the call is the parent's."""
        self._timer = None
        disown(self._released(), ForkedError())

    def fail(self, number: int, error: BaseException) -> None:
        """End with an error."""
        self._released().fail(error)

    def _released(self) -> Receiver:
        """Have no more for the receiver, and return it.

        It would be in a cycle with the traceback of an error, and keep what has come for it.
        """
        self._stop_timer()
        receiver, self._receiver = self._receiver, NO_RECEIVER
        return receiver


class CallBurst:
    """Calls that travel as one request, and have its number and those that follow.

    :param count: how many there are.
    """

    __slots__ = ('_call', '_decode', '_pipeline', '_receiver', '_unanswered', 'count', *_SENT)

    def __init__(
        self,
        pipeline: ClientPipeline,
        receiver: BurstReceiver,
        decode: Decode,
        call: ClientCall,
        count: int,
    ) -> None:
        self._pipeline = pipeline
        self._receiver = receiver
        self._decode = decode
        self._call = call  # and with it what is called, which has to live until then
        self._unanswered = self.count = count
        self.number = self.size = 0
        self.is_queued = False

    def request(self, data: bytes, number: int) -> bytes:
        """Return the request, in its wire form.

        :param data: the pickle of the arguments.
        """
        call = pb.CallAllRequest(
            handle=self._call.handle,
            method=self._call.method,
            arguments=pb.Pickle(data=data),
            count=self.count,
        )
        return pb.SessionRequest(id=number, call_all=call).SerializeToString()

    def give_up(self, first: int) -> None:
        """See :class:`uactor.core.interfaces.BurstHandle`."""
        if not first and self._pipeline.recall(self):
            return
        for number in range(self.number + first, self.number + self.count):
            if self._pipeline.awaits(number):
                self._pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=number)))

    def take(self, number: int, response: Any, more: bool) -> int:
        """Take a response of the host to one call; see :meth:`Pending.take`."""
        index = number - self.number
        try:
            value = self._decode(response, self._call.resolve, self._pipeline.session)
        except BaseException as error:  # what the method raised, SystemExit for one
            self._receiver.fail(index, error)
            return self._less(1)
        return self.take_all(number, [value])

    def results(self, response: pb.SessionResponse) -> Sequence[Any]:
        """Return the results that a response has of some of the calls.

        :raises VersionError: when it has more than there are calls.
        """
        found: Sequence[Any] = self._decode(response, self._call.resolve, None)
        if response.id + len(found) > self.number + self.count:
            raise VersionError('the actor has answered calls that were not made')
        return found

    def take_all(self, number: int, values: Sequence[Any]) -> int:
        """Take the results of calls, the first of which has such a number; see :meth:`take`."""
        self._receiver.receive_all(number - self.number, values)
        return self._less(len(values))

    def _less(self, answered: int) -> int:
        self._unanswered -= answered
        return 0 if self._unanswered else self.size

    def disown(self, number: int) -> None:
        """End a call in a forked child: it is the parent's."""
        self.fail(number, ForkedError())

    def fail(self, number: int, error: BaseException) -> None:
        """End a call with an error."""
        self._receiver.fail(number - self.number, error)


class Lending:
    """Has large data go along with a request of a pipeline; a :class:`Lender`."""

    def __init__(self, pipeline: ClientPipeline) -> None:
        self._pipeline = pipeline
        self._lent: list[pb.Memory] = []

    def lend(self, parts: Sequence[memoryview]) -> pb.Memory | None:
        """See :class:`uactor.transport.shm_buffers.Lender`."""
        self._pipeline.wait_opened()
        memory = self._pipeline.memory
        return None if memory is None else memory.lend(parts, self._lent)

    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """See :class:`uactor.transport.shm_buffers.Lender`."""
        self._pipeline.recall_large(memories)

    def recall_all(self) -> None:
        """Take back what was to go along: the request is not made."""
        self.recall(self._lent)


class Defining:
    """Numbers what a request of a pipeline has; see :class:`uactor.codec.definitions.Numbering`.

    :ivar known: what the session remembers; None when nothing has been asked for, or it does not.
    """

    def __init__(self, pipeline: ClientPipeline) -> None:
        self._pipeline = pipeline
        self.known: Definitions | None = None

    def number(self, value: Any) -> int | None:
        """See :class:`uactor.codec.definitions.Numbering`."""
        if self.known is None:
            self._pipeline.wait_opened()
            self.known = self._pipeline.definitions
        return None if self.known is None else self.known.number(value)

    def numbered(self, cls: type) -> int | None:
        """See :class:`uactor.codec.definitions.Numbering`."""
        if self.known is None:
            self.known = self._pipeline.definitions
        return None if self.known is None else self.known.numbered(cls)

    def to_send(self, numbers: Iterable[int]) -> Iterable[pb.Definition]:
        """See :class:`uactor.codec.definitions.Numbering`."""
        return () if self.known is None else self.known.to_send(numbers)


class ClientPipeline:
    """Calls by number, the thread that takes their answers, and one that sends what gathers.

    Nothing here blocks but these threads; one of them opens the session, too.

    :param opened: opens the session.
    :ivar session: None until it is open.
    """

    def __init__(self, opened: Callable[[], ClientSession], address: str) -> None:
        self._opened = opened
        self._address = address
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._number = 1
        self._pending: dict[int, Pending | CallBurst] = {}
        self._unsent = Outbox[pb.SessionRequest]()
        self._sending = threading.RLock()
        self._asked = self._answered = 0  # how much, in bytes
        self.session: ClientSession | None = None
        self._opening = Latch()  # set once it is open, or can't be
        self._ended: BaseException | None = None
        _pipelines.add(self)

    def start(self) -> None:
        """Start the thread.

        :raises ResourceError: when there are no more threads to be had.
        """
        try:
            start_daemon('uactor-pipeline', self._run)
        except BaseException:  # it may run nevertheless
            self._ended = ActorDiedError('the pipeline was not started', 'no')
            raise

    @property
    def usable(self) -> bool:
        """Whether calls can be made, as far as this side knows."""
        session = self.session
        return self._ended is None and (session is None or session.alive)

    def submit(self, encoded: Encoded, pending: Pending | CallBurst, held: bool = False) -> None:
        """Send a request.

        Numbers rise as requests leave.

        :param pending: takes its responses.
        :param held: whether it leaves with those that follow, or by :meth:`flush`.
        :raises ActorDiedError: when the session has ended.
        """
        outer = is_owned(self._lock)
        try:
            with self._lock:
                alone = not self._pending
                self._queue(encoded, pending)
            if alone and not held:
                self.flush()
            elif not held:
                self._unsent.wake()
        except BaseException:
            if not outer:
                free(self._lock)
            if pending.number and not self.recall(pending) and not pending.is_queued:
                self._forget(pending)  # else it has been sent
            raise

    def _queue(self, encoded: Encoded, pending: Pending | CallBurst) -> None:
        """Number a request and put it among those to be sent. With the lock."""
        if self._ended is not None:
            raise self._told(self._ended, 'no')
        number = self._number
        self._number += pending.count  # now: whatever is raised, no other request has the number
        pending.number = number
        message = encoded(number)
        pending.size = len(message) if isinstance(message, bytes) else messages.size_of(message)
        self._asked += pending.size
        for each in range(number, number + pending.count):
            self._pending[each] = pending
        self._unsent.put_numbered(number, message)  # from now on it may be answered
        pending.is_queued = True

    def flush(self) -> None:
        """Send what has gathered: here, if it surely finds room at the other end."""
        session = self.session
        small = self._asked - self._answered <= _SMALL
        if not small or session is None or is_owned(self._sending):
            self._unsent.wake()  # or a signal handler has interrupted this thread as it sent
            return
        try:
            if self._sending.acquire(blocking=False):
                self._send_all(session)
                self._sending.release()  # here: an exception before it leads to where it is freed
            else:
                self._unsent.wake()
        except BaseException:
            free(self._sending)
            raise

    def hurry(self) -> None:
        """Send what has gathered before this returns, if it surely finds room at the other end."""
        session = self.session
        small = self._asked - self._answered <= _SMALL
        if session is None or not small or not session.stream.is_read_ahead:
            return  # the thread that sends does, and more at a time
        if is_owned(self._sending):
            return  # a signal handler has interrupted this thread as it sent
        try:
            if self._sending.acquire(timeout=_OPENING):
                self._send_all(session)
                self._sending.release()
        except BaseException:
            free(self._sending)
            raise

    def _send_all(self, session: ClientSession) -> None:
        try:
            for message in coalesce(self._unsent, _MORE, session.limit or -1):
                session.send(message)  # if the session has ended, the other thread sees that
        except BaseException:  # what has been half sent, or not at all, would be waited for in vain
            session.break_off()
            raise

    def post(self, message: pb.SessionRequest) -> None:
        """Send a message that has no response, after those before it. Safe in finalizers."""
        if os.getpid() == self._pid:  # else a forked child: the calls are its parent's
            self._unsent.put(message.SerializeToString())
            self._unsent.wake()

    def recall(self, pending: Pending | CallBurst) -> bool:
        """Have a request not sent that has not left yet; tell whether that came in time."""
        if os.getpid() != self._pid:
            return False
        message = self._unsent.recall(pending.number)
        if message is None:
            return False
        if not isinstance(message, bytes):
            self.recall_large(messages.memories(message))
        self._forget(pending)
        return True

    def _forget(self, pending: Pending | CallBurst) -> None:
        for number in range(pending.number, pending.number + pending.count):
            self._pending.pop(number, None)
        self._count_recalled(pending.size)

    def recall_large(self, memories: Sequence[pb.Memory]) -> None:
        """Take back large data of a request that is not sent."""
        if self.memory is not None:
            self.memory.recall(memories)

    @locked
    def _count_recalled(self, size: int) -> None:
        self._asked -= size

    def awaits(self, number: int) -> bool:
        """Tell whether a call has not been answered."""
        return number in self._pending

    @property
    def memory(self) -> Carrier | None:
        """What large data goes by, beside the messages; None while there is nothing."""
        session = self.session
        return None if session is None else session.memory

    @property
    def definitions(self) -> Definitions | None:
        """What the session remembers; None while there is none, or when it does not."""
        session = self.session
        return None if session is None else session.definitions

    def arrived(self, definitions: Sequence[pb.Definition]) -> None:
        """Know that the host has these."""
        known = self.definitions
        if known is not None:
            known.arrived(definitions)

    def disown(self) -> None:
        """End all calls, in a forked child: they are the parent's, and so are the locks here."""
        self._lock, self._sending = threading.RLock(), threading.RLock()
        self._opening = Latch()
        self._opening.set()
        self._ended = ForkedError()
        pending, self._pending = self._pending, {}
        for number, call in pending.items():
            attempt('to end a call of the parent', call.disown, number)

    def wait_opened(self) -> None:
        """Wait for a moment until the session is open, or can't be."""
        self._opening.wait(_OPENING)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        session = None
        try:
            session = self._opened()
            if self._ended is not None:
                session.abandon()
                return
            start_daemon('uactor-sender', self._send_gathered, session)
            self.session = session
            self._opening.set()
            while True:
                self._take_all_of(session.receive())
        except BaseException as error:  # every caller is told of it, whatever it is
            self._end(error)
        finally:
            self._opening.set()
            self._unsent.end()
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

    def _give(
        self, pending: Pending | CallBurst, number: int, response: Any, more: bool = False
    ) -> None:
        """Have a call take a response. Whatever comes of that, others get theirs."""
        try:
            self._answered += pending.take(number, response, more)
        except BaseException as error:
            report('the answer to a call could not be taken')
            attempt('to tell of that', pending.fail, number, error)

    def _send_gathered(self, session: ClientSession) -> None:
        try:
            while self._unsent.wait():
                with self._sending:
                    self._send_all(session)
        finally:  # the thread that takes answers tells all callers
            session.abandon()

    def _take_message(self, message: bytes) -> None:
        found, more = fastpath.read_result(message), False
        if found is None:
            found, more = fastpath.read_item(message), True
        if found is None:
            self._take(pb.SessionResponse.FromString(message))
            return
        number, value = found
        pending = self._pending.get(number) if more else self._pending.pop(number, None)
        if pending is not None:
            self._give(pending, number, value, more)

    def _take(self, response: pb.SessionResponse) -> None:
        number, more = response.id, response.HasField('item')
        if response.HasField('results'):
            self._take_all(response)
            return
        definitions = self.definitions
        if definitions is not None:  # also of what nobody waits for
            definitions.receive(messages.definitions_in(response))
        pending = self._pending.get(number) if more else self._pending.pop(number, None)
        if pending is not None:
            self._give(pending, number, response, more)
        elif self.memory is not None:
            self.memory.ignore(messages.memories(response))

    def _take_all(self, response: pb.SessionResponse) -> None:
        first, burst = response.id, self._pending.get(response.id)
        if not isinstance(burst, CallBurst):
            return  # it has been answered by itself
        results = burst.results(response)
        for number in range(first, first + len(results)):
            self._pending.pop(number, None)
        self._answered += burst.take_all(first, results)

    def _end(self, error: BaseException) -> None:
        """Have all calls end with an error that says whether they may have run."""
        with self._lock:
            self._ended = error
            pending = tuple(self._pending.items())
            self._pending.clear()
        unsent = {
            call.number for _, call in pending if self._unsent.recall(call.number) is not None
        }
        for number, call in pending:
            told = self._told(error, 'no' if call.number in unsent else 'maybe')
            attempt('to tell of the end of a connection', call.fail, number, told)

    def _told(self, error: BaseException, executed: Executed) -> Exception:
        """Return what to tell the caller of a call: that the actor has ended only if it has."""
        if isinstance(error, SerializationError):  # a message broke the session
            told: Exception = SerializationError(str(error))
        elif isinstance(error, ActorDiedError):
            lost = isinstance(error, ConnectionLostError)
            told = (ConnectionLostError if lost else ActorDiedError)(str(error), executed)
        elif isinstance(error, SystemExit):  # of a daemon thread, because the process ends
            told = ActorDiedError('this process ends', executed)
        elif isinstance(error, ResourceError):
            told = ResourceError(str(error), executed)
        elif isinstance(error, UActorException):
            return error
        elif isinstance(error, (MemoryError, OSError, RuntimeError)):
            told = ResourceError(f'the connection to {self._address} is lost: {error!r}', executed)
        else:
            told = VersionError(f'{self._address} has sent what is no answer: {error!r}')
        told.__cause__ = error
        return told


_pipelines: WeakBag[ClientPipeline] = WeakBag()
"""All pipelines of this process, and in a forked child those of its parent."""


def disown_all() -> None:
    """End the calls that are the parent's, in a forked child."""
    for pipeline in tuple(_pipelines):
        pipeline.disown()
    _pipelines.clear()
