"""Calls that have been made by a pipeline and not been answered, and what travels with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from uactor.client.session import ClientSession
from uactor.client.timeouts import GRACE_S
from uactor.codec.definitions import Definitions
from uactor.core.futures import disown
from uactor.core.interfaces import (
    NO_RECEIVER,
    BurstReceiver,
    ClientCall,
    Receiver,
    Resolve,
    StreamReceiver,
)
from uactor.errors import DeadlineError, ForkedError, VersionError
from uactor.runtime.timers import Timer, timers
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

Decode = Callable[[Any, Resolve, ClientSession], Any]
"""Return the value that a response carries, with its proxies, or raise what a failure carries.

The response may be the value of a fast one. The session has what stands beside the message."""

_REQUEST_FIELDS = 'is_queued', 'number', 'size'
"""What is known of a request: whether it waits to be sent, or has been, its number, and how many
bytes it has."""


class RequestSender(Protocol):
    """What a pending call needs of its pipeline."""

    @property
    def session(self) -> Any:
        """The session by which responses come; None until it is open."""
        ...

    @property
    def memory(self) -> Carrier | None:
        """What carries large data beside the messages; None while there is nothing."""
        ...

    @property
    def definitions(self) -> Definitions | None:
        """What the session remembers; None while there is none, or when it does not."""
        ...

    def wait_opened(self) -> None:
        """Wait for a moment until the session is open, or can't be."""
        ...

    def post(self, message: pb.SessionRequest) -> None:
        """Send a message that has no response. Safe in finalizers."""
        ...

    def recall(self, pending: PendingRequest) -> bool:
        """Withdraw a request that has not left; return whether that came in time."""
        ...

    def recall_large(self, memories: Sequence[pb.Memory]) -> None:
        """Take back the large data of a request that is not sent."""
        ...

    def flush_now(self) -> None:
        """Send what has gathered before this returns."""
        ...

    def awaits(self, number: int) -> bool:
        """Return whether a call has not been answered."""
        ...

    def note_arrived(self, definitions: Sequence[pb.Definition]) -> None:
        """Record that the host has these definitions."""
        ...


class PendingCall:
    """A call that has been made and not been answered. See :class:`CallHandle`.

    It stays until the host's answer has come, even if nobody waits for it any more: that may bring
    holds, which have to be given back.

    :ivar defines: the definitions that go along with the request.
    """

    __slots__ = (
        '_call',
        '_decode',
        '_pipeline',
        '_receiver',
        '_timer',
        'defines',
        *_REQUEST_FIELDS,
    )

    count = 1

    def __init__(
        self, pipeline: RequestSender, receiver: Receiver, decode: Decode, call: ClientCall
    ) -> None:
        self.defines: Sequence[pb.Definition] = ()
        self._pipeline = pipeline
        self._receiver = receiver
        self._decode = decode
        self._call = call  # and with it what is called, which has to live until then
        self._timer: Timer | None = None
        self.number = self.size = 0
        self.is_queued = False

    def expire_at(self, expires: float, message: str) -> None:
        """Fail with a :class:`DeadlineError` at a time.

        The host gives the call up by itself, and says so; what it had taken for it by then is not
        lost. Only when it does not answer, that is said here; once it goes on, it reads that
        nobody waits any more before it runs the call.
        """

        def expire() -> None:
            if self._pipeline.recall(self):
                self._receiver.fail(DeadlineError(message, 'no'))
            else:
                self._timer = timers.at(expires + GRACE_S, give_up)

        def give_up() -> None:
            self._post_cancel()
            self._receiver.fail(DeadlineError(message, 'maybe'))

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

    def flush(self) -> None:
        """See :class:`uactor.core.interfaces.CallHandle`."""
        self._pipeline.flush_now()

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
                self._pipeline.note_arrived(self.defines)
            if more:
                cast(StreamReceiver, self._receiver).item(value)
            else:
                self._release_receiver().receive(value)
        return 0 if more else self.size

    def disown(self, number: int) -> None:
        """End in a forked child: the call is the parent's."""
        self._timer = None
        disown(self._release_receiver(), ForkedError())

    def fail(self, number: int, error: BaseException) -> None:
        """End with an error."""
        self._release_receiver().fail(error)

    def _release_receiver(self) -> Receiver:
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

    __slots__ = (
        '_call',
        '_decode',
        '_pipeline',
        '_receiver',
        '_unanswered',
        'count',
        *_REQUEST_FIELDS,
    )

    def __init__(
        self,
        pipeline: RequestSender,
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

    def cancel_from(self, first: int) -> None:
        """See :class:`uactor.core.interfaces.BurstHandle`."""
        if not first and self._pipeline.recall(self):
            return
        for number in range(self.number + first, self.number + self.count):
            if self._pipeline.awaits(number):
                self._pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=number)))

    def take(self, number: int, response: Any, more: bool) -> int:
        """Take a response of the host to one call; see :meth:`PendingCall.take`."""
        index = number - self.number
        try:
            value = self._decode(response, self._call.resolve, self._pipeline.session)
        except BaseException as error:  # what the method raised, SystemExit for one
            self._receiver.fail(index, error)
            return self._count_answered(1)
        return self.take_all(number, [value])

    def results(self, response: pb.SessionResponse) -> Sequence[Any]:
        """Return the results that a response has of some of the calls.

        :raises VersionError: when it has more than there are calls.
        """
        found: Sequence[Any] = self._decode(response, self._call.resolve, self._pipeline.session)
        if response.id + len(found) > self.number + self.count:
            raise VersionError('the actor has answered calls that were not made')
        return found

    def take_all(self, number: int, values: Sequence[Any]) -> int:
        """Take the results of calls, the first of which has such a number; see :meth:`take`."""
        self._receiver.receive_all(number - self.number, values)
        return self._count_answered(len(values))

    def _count_answered(self, answered: int) -> int:
        self._unanswered -= answered
        return 0 if self._unanswered else self.size

    def disown(self, number: int) -> None:
        """End a call in a forked child: it is the parent's."""
        self.fail(number, ForkedError())

    def fail(self, number: int, error: BaseException) -> None:
        """End a call with an error."""
        self._receiver.fail(number - self.number, error)


class PipelineChannel:
    """What a request of a pipeline is encoded for, before the session has to be open.

    It lends large data, and numbers what travels by value. See
    :class:`uactor.client.encoding.RequestChannel`.

    :ivar known: what the session remembers; None when nothing has been asked for, or it does not.
    """

    __slots__ = ('_lent', '_pipeline', 'by_value', 'known', 'serializer')

    def __init__(self, pipeline: RequestSender, serializer: str, by_value: bool) -> None:
        self._pipeline = pipeline
        self.serializer = serializer
        self.by_value = by_value
        self.known: Definitions | None = None
        self._lent: list[pb.Memory] = []

    @property
    def memory(self) -> PipelineChannel:
        """See :class:`uactor.client.encoding.RequestChannel`."""
        return self

    @property
    def definitions(self) -> PipelineChannel:
        """See :class:`uactor.client.encoding.RequestChannel`."""
        return self

    def lend(self, parts: Sequence[memoryview]) -> pb.Memory | None:
        """See :class:`uactor.transport.shm_buffers.Lender`."""
        self._pipeline.wait_opened()
        memory = self._pipeline.memory
        return None if memory is None else memory.lend(parts, self._lent)

    def recall(self, memories: Sequence[pb.Memory]) -> None:
        """See :class:`uactor.transport.shm_buffers.Lender`."""
        self._pipeline.recall_large(memories)

    def recall_all(self) -> None:
        """Take back all that has been lent: the request is not sent."""
        self.recall(self._lent)

    def number(self, value: Any) -> int | None:
        """See :class:`uactor.codec.definitions.Numbering`."""
        if self.known is None:
            self._pipeline.wait_opened()
            self.known = self._pipeline.definitions
        return None if self.known is None else self.known.number(value)

    def find_number(self, cls: type) -> int | None:
        """See :class:`uactor.codec.definitions.Numbering`."""
        if self.known is None:
            self.known = self._pipeline.definitions
        return None if self.known is None else self.known.find_number(cls)

    def to_send(self, numbers: Iterable[int]) -> Iterable[pb.Definition]:
        """See :class:`uactor.codec.definitions.Numbering`."""
        return () if self.known is None else self.known.to_send(numbers)


PendingRequest = PendingCall | CallBurst
"""A request of a pipeline that has not been answered in full."""
