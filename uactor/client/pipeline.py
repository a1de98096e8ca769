"""The calls of a connection that no thread blocks for: one session for all of them."""

from __future__ import annotations

import itertools
import os
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uactor.client.session import Session
from uactor.errors import (
    ActorDiedError,
    DeadlineError,
    Executed,
    SerializationError,
    UActorException,
)
from uactor.local import Receiver
from uactor.timers import Timer, timers
from uactor.v1 import actor_pb2 as pb
from uactor.wire import together

if TYPE_CHECKING:
    from uactor.local import StreamReceiver

_SMALL = 1 << 15
"""Largest message that surely fits into the buffers of a connection that is at rest, in bytes."""

_GRACE = 0.25
"""How long the host has to say that a deadline has passed, in seconds."""

Decode = Callable[[pb.SessionResponse], Any]
"""Makes the value that a response carries; raises the exception of a failure."""


class Pending:
    """A call that has been made and not been answered. See :class:`uactor.local.Ticket`.

    It stays until the host's answer has come, even if nobody waits for it any more: that may bring
    holds, which have to be given back.
    """

    __slots__ = ('_decode', '_pipeline', '_receiver', '_timer', 'number')

    def __init__(self, pipeline: Pipeline, receiver: Receiver, decode: Decode) -> None:
        self._pipeline = pipeline
        self._receiver = receiver
        self._decode = decode
        self._timer: Timer | None = None
        self.number = 0

    def expire_at(self, expires: float, told: str) -> None:
        """Fail with a :class:`DeadlineError` at a time.

        The host gives the call up by itself, and says so; what it had taken for it by then is not
        lost. Only when it does not answer, that is said here.
        """

        def expire() -> None:
            if self._pipeline.recall(self.number):
                self._receiver.fail(DeadlineError(told, 'no'))
            else:
                self._timer = timers.at(expires + _GRACE, give_up)

        def give_up() -> None:
            self._receiver.fail(DeadlineError(told, 'maybe'))

        self._timer = timers.at(expires, expire)

    def cancel(self) -> None:
        """See :class:`uactor.local.Ticket`."""
        self._stop_timer()
        if not self._pipeline.recall(self.number):
            self._pipeline.post(pb.SessionRequest(cancel=pb.Cancel(request_id=self.number)))

    def grant(self, items: int) -> None:
        """See :class:`uactor.local.Ticket`."""
        credit = pb.StreamCredit(request_id=self.number, items=items)
        self._pipeline.post(pb.SessionRequest(credit=credit))

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def take(self, response: pb.SessionResponse, more: bool) -> None:
        """Take a response of the host.

        :param more: whether others follow.
        """
        try:
            value = self._decode(response)
        except BaseException as error:  # what the method raised, SystemExit for one
            self.fail(error)
            return
        if more:
            cast('StreamReceiver', self._receiver).item(value)
        else:
            self._stop_timer()
            self._receiver.receive(value)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self._stop_timer()
        self._receiver.fail(error)


class _Unsent:
    """Messages that wait to be sent, in order. What is in it can be taken back."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[pb.SessionRequest | None] = queue.SimpleQueue()
        self._requests: dict[int, pb.SessionRequest] = {}

    def put(self, request: pb.SessionRequest) -> None:
        """Add a message. Safe in finalizers."""
        if request.id:
            self._requests[request.id] = request
        self._queue.put(request)

    def end(self) -> None:
        """Have no more taken out."""
        self._queue.put(None)

    def get(self) -> pb.SessionRequest | None:
        """Wait for a message, to send it."""
        request = self._queue.get()
        if request is not None:
            self._requests.pop(request.id, None)
        return request

    def empty(self) -> bool:
        """Tell whether there is none."""
        return self._queue.empty()

    def recall(self, number: int) -> bool:
        """Make a message one that asks for nothing, unless it is being sent; tell whether it is."""
        request = self._requests.pop(number, None)
        if request is None:
            return False
        request.ClearField(request.WhichOneof('kind'))  # type: ignore[arg-type]
        return True


class Pipeline:
    """Calls by number, the thread that takes their answers, and one that sends what gathers.

    Nothing here blocks but these threads; one of them opens the session, too.

    :param opened: opens the session.
    """

    def __init__(self, opened: Callable[[], Session], address: str) -> None:
        self._opened = opened
        self._address = address
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._numbers = itertools.count(1)
        self._pending: dict[int, Pending] = {}
        self._unsent = _Unsent()
        self._sending = threading.Lock()
        self._session: Session | None = None
        self._ended: Exception | None = None
        threading.Thread(target=self._run, name='uactor-pipeline', daemon=True).start()

    @property
    def usable(self) -> bool:
        """Whether calls can be made, as far as this side knows."""
        session = self._session
        return self._ended is None and (session is None or session.alive)

    def submit(self, request: pb.SessionRequest, pending: Pending) -> None:
        """Send a request, whose responses ``pending`` takes. Numbers rise as requests leave.

        :raises ActorDiedError: when the session has ended.
        """
        with self._lock:
            if self._ended is not None:
                raise ActorDiedError(str(self._ended), 'no') from self._ended
            request.id = pending.number = number = next(self._numbers)
            self._pending[number] = pending
            try:
                self._send(request)
            except BaseException:
                self._pending.pop(number, None)
                raise

    def _send(self, request: pb.SessionRequest) -> None:
        """Send what comes alone at once, and small: that never waits. Else have it gathered."""
        session = self._session
        alone = len(self._pending) == 1 and request.ByteSize() <= _SMALL
        if session is None or not alone or not self._sending.acquire(blocking=False):
            self._unsent.put(request)  # also when a signal has interrupted what follows
            return
        try:
            session.offer(request)  # if the session has ended, the other thread sees that
        finally:
            self._sending.release()

    def post(self, request: pb.SessionRequest) -> None:
        """Send a message that has no response, after those before it. Safe in finalizers."""
        if os.getpid() == self._pid:  # else a forked child: the calls are its parent's
            self._unsent.put(request)

    def recall(self, number: int) -> bool:
        """Have a request not sent that has not left yet; tell whether that came in time."""
        if not self._unsent.recall(number):
            return False
        self._pending.pop(number, None)
        return True

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            session = self._opened()
            threading.Thread(
                target=self._send_gathered, args=(session,), name='uactor-sender', daemon=True
            ).start()
            self._session = session
            while True:
                response = session.receive()
                self._take(response)
                for one in response.more:
                    self._take(one)
        except SystemExit:  # of a daemon thread, because the process ends
            self._end(ActorDiedError('this process ends'))
        except Exception as error:  # every caller is told of it, whatever it is
            self._end(error)
        finally:
            self._unsent.end()
            if self._session is not None:
                self._session.abandon()

    def _send_gathered(self, session: Session) -> None:
        try:
            for request in together(self._unsent, session.limit or -1):
                with self._sending:
                    session.offer(request)
        except BaseException:  # what can't be sent, whyever, would be waited for in vain
            session.abandon()
            raise

    def _take(self, response: pb.SessionResponse) -> None:
        more = response.HasField('item')
        pending = self._pending.get(response.id) if more else self._pending.pop(response.id, None)
        if pending is not None:
            pending.take(response, more)

    def _end(self, error: Exception) -> None:
        """Have all calls end with an error that says whether they may have run."""
        with self._lock:
            self._ended = error
            pending = tuple(self._pending.values())
            self._pending.clear()
        for call in pending:
            call.fail(self._told(error, 'no' if self._unsent.recall(call.number) else 'maybe'))

    def _told(self, error: Exception, executed: Executed) -> Exception:
        if isinstance(error, SerializationError):  # a message broke the session
            told: Exception = SerializationError(str(error))
        elif isinstance(error, ActorDiedError) or not isinstance(error, UActorException):
            told = ActorDiedError(str(error), executed)
        else:
            return error
        told.__cause__ = error
        return told
