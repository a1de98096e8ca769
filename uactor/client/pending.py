"""The pending requests of a pipeline: queued or sent, but unanswered."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from uactor.client.session import ClientSession
from uactor.client.timeouts import GRACE_S
from uactor.codec.definitions import Definitions
from uactor.core.futures import RevocableResult, disown
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
"""Decodes a response with its proxies, or raises its failure.

The first argument may also be the value of a fast response. The session has the large data and the
definitions that belong to the message."""

_REQUEST_FIELDS = 'is_queued', 'number', 'size'
"""Whether a request has been queued, its number, and its bytes."""


class RequestSender(Protocol):
    """The part of a pipeline that a pending call uses."""

    @property
    def session(self) -> Any:
        """The session that receives the responses; None until it is open."""
        ...

    @property
    def memory(self) -> Carrier | None:
        """The carrier of large data; None while there is none."""
        ...

    @property
    def definitions(self) -> Definitions | None:
        """The session's definitions; None without a session, or if it has none."""
        ...

    def wait_opened(self) -> None:
        """Wait briefly until the session is open, or has failed to open."""
        ...

    def post(self, message: pb.SessionRequest) -> None:
        """Send a message that gets no response. Safe in finalizers."""
        ...

    def recall(self, pending: PendingRequest) -> bool:
        """Withdraw a queued request; return whether it was still unsent."""
        ...

    def recall_large(self, memories: Sequence[pb.Memory]) -> None:
        """Reclaim the large data of an unsent request."""
        ...

    def flush_now(self) -> None:
        """Send the queued messages before this returns."""
        ...

    def awaits(self, number: int) -> bool:
        """Return whether a call has not been answered yet."""
        ...

    def note_arrived(self, definitions: Sequence[pb.Definition]) -> None:
        """Record that the host has these definitions."""
        ...


class PendingCall:
    """A call that has not been answered. See :class:`CallHandle`.

    It stays until the host's answer has arrived, even if no caller waits for it any more. The
    answer may grant holds, and the client must release them.

    :ivar defines: the definitions that travel with the request.
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
        self._call = call  # keeps the called object alive until the answer arrives
        self._timer: Timer | None = None
        self.number = self.size = 0
        self.is_queued = False

    def expire_at(self, expires: float, message: str) -> None:
        """Fail with a :class:`DeadlineError` at a point in time.

        The host cancels the call by itself at the deadline, and answers so. Then an item or a lock
        that it took for the call is not lost. If the host does not answer, the client fails the
        call, and sends a cancellation. A host that goes on later reads the cancellation before it
        runs the call.
        """

        def expire() -> None:
            if self._pipeline.recall(self):
                self._receiver.fail(DeadlineError(message, 'no'))
            else:
                self._timer = timers.at(expires + GRACE_S, give_up)

        def give_up() -> None:
            self._post_cancel()
            self._pipeline.flush_now()  # the host has it before the caller does anything else
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
        """Take a response, or the value of a fast response.

        :param more: whether further responses follow.
        :returns: how many bytes of requests the response has answered.
        """
        try:
            value = self._decode(response, self._call.resolve, self._pipeline.session)
        except BaseException as error:  # a method may raise SystemExit, for example
            self.fail(number, error)
        else:
            if self.defines:
                self._pipeline.note_arrived(self.defines)
            if more:
                cast(StreamReceiver, self._receiver).item(value)
                return 0
            if _is_revocable(response):
                value = RevocableResult(value, functools.partial(_settle, self._pipeline, number))
            self._release_receiver().receive(value)
        return 0 if more else self.size

    def disown(self, _number: int) -> None:
        """End the call in a forked child: it belongs to the parent."""
        self._timer = None
        disown(self._release_receiver(), ForkedError())

    def fail(self, _number: int, error: BaseException) -> None:
        """End the call with an error."""
        self._release_receiver().fail(error)

    def _release_receiver(self) -> Receiver:
        """Drop the receiver, and return it.

        Otherwise the receiver would form a cycle with the traceback of an error, and the result
        would stay in memory.
        """
        self._stop_timer()
        receiver, self._receiver = self._receiver, NO_RECEIVER
        return receiver


class CallBurst:
    """Calls that travel as one request, and have consecutive numbers.

    The first call has the number of the request.

    :param count: how many calls there are.
    """

    __slots__ = (
        '_call',
        '_decode',
        '_pipeline',
        '_receiver',
        '_unanswered',
        'cancelled_from',
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
        self._call = call  # keeps the called object alive until the answers arrive
        self._unanswered = self.count = self.cancelled_from = count
        self.number = self.size = 0
        self.is_queued = False

    def request(self, data: bytes, number: int) -> bytes:
        """Serialize the request.

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
        self.cancelled_from = min(first, self.cancelled_from)
        for number in range(self.number + first, self.number + self.count):
            if self._pipeline.awaits(number):
                self._pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=number)))

    def take(self, number: int, response: Any, _more: bool) -> int:
        """Take the host's response to one call; see :meth:`PendingCall.take`."""
        index = number - self.number
        try:
            value = self._decode(response, self._call.resolve, self._pipeline.session)
        except BaseException as error:  # a method may raise SystemExit, for example
            self._receiver.fail(index, error)
            return self._count_answered(1)
        if _is_revocable(response):
            _settle(self._pipeline, number, index < self.cancelled_from)
        return self.take_all(number, [value])

    def results(self, response: pb.SessionResponse) -> Sequence[Any]:
        """Decode a response that has the results of several calls.

        :raises VersionError: if it has more results than there are calls.
        """
        found: Sequence[Any] = self._decode(response, self._call.resolve, self._pipeline.session)
        if response.id + len(found) > self.number + self.count:
            raise VersionError('the actor has answered calls that were not made')
        return found

    def take_all(self, number: int, values: Sequence[Any]) -> int:
        """Take the results of consecutive calls; see :meth:`take`.

        :param number: number of the first call.
        """
        self._receiver.receive_all(number - self.number, values)
        return self._count_answered(len(values))

    def _count_answered(self, answered: int) -> int:
        self._unanswered -= answered
        return 0 if self._unanswered else self.size

    def disown(self, number: int) -> None:
        """End a call in a forked child: it belongs to the parent."""
        self.fail(number, ForkedError())

    def fail(self, number: int, error: BaseException) -> None:
        """End a call with an error."""
        self._receiver.fail(number - self.number, error)


class PipelineChannel:
    """The channel of a pipeline, whose session may still be opening.

    The channel lends large data, and numbers the classes and functions that travel by value. See
    :class:`uactor.client.encoding.RequestChannel`.

    :ivar known: the session's definitions; None if none has been looked up, or it has none.
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
        """Reclaim all lent data: the request is not sent."""
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


def _is_revocable(response: Any) -> bool:
    """Return whether a response or the value of one is revocable."""
    return type(response) is pb.SessionResponse and response.revocable


def _settle(pipeline: RequestSender, number: int, is_accepted: bool) -> None:
    """Tell the host whether a revocable result is accepted."""
    if is_accepted:
        pipeline.post(pb.SessionRequest(confirm=pb.Confirm(request_id=number)))
    else:
        pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=number)))


PendingRequest = PendingCall | CallBurst
"""A request of a pipeline that has not been answered in full."""
