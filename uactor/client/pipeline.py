"""The calls of a connection that no thread blocks for: one session for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from uactor.client.session import Session
from uactor.errors import ActorDiedError, DeadlineError, SerializationError, UActorException
from uactor.local import Receiver
from uactor.timers import Timer, timers
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.local import StreamReceiver

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
        """Fail with a :class:`DeadlineError` at a time; the host gives the call up by itself."""

        def expire() -> None:
            executed = self._pipeline.executed(self.number)
            self._receiver.fail(DeadlineError(told, executed))

        self._timer = timers.at(expires, expire)

    def cancel(self) -> None:
        """See :class:`uactor.local.Ticket`."""
        self._stop_timer()
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


class Pipeline:
    """Calls by number, and the thread that takes their answers.

    Nothing here blocks but that thread: it opens the session, too.

    :param opened: opens the session.
    """

    def __init__(self, opened: Callable[[], Session], address: str) -> None:
        self._opened = opened
        self._address = address
        self._pid = os.getpid()
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._number = 0
        self._pending: dict[int, Pending] = {}
        self._waiting: list[pb.SessionRequest] = []
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
            self._number += 1
            request.id = pending.number = self._number
            self._pending[request.id] = pending
            self._send(request)

    def post(self, request: pb.SessionRequest) -> None:
        """Send a message that has no response. Safe in finalizers."""
        if os.getpid() != self._pid:
            return  # a forked child: the calls are its parent's
        with self._lock:
            if self._ended is None:
                self._send(request)

    def _send(self, request: pb.SessionRequest) -> None:
        if self._session is None:
            self._waiting.append(request)
        else:
            self._session.send(request)

    def executed(self, number: int) -> Any:
        """Return whether the request of a number may have run."""
        session = self._session
        return 'maybe' if session is not None and number <= session.sent else 'no'

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            session = self._opened()
            with self._lock:
                self._session = session
                for request in self._waiting:
                    session.send(request)
                self._waiting.clear()
            while True:
                response = session.receive()
                for one in (response, *response.more):
                    self._take(one)
        except (UActorException, RuntimeError) as error:  # there may be no thread to be had
            self._end(error)
        except SystemExit:  # of a daemon thread, because the process ends
            self._end(ActorDiedError('this process ends'))

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
            self._waiting.clear()
        for call in pending:
            call.fail(self._told(error, call.number))

    def _told(self, error: Exception, number: int) -> Exception:
        executed = self.executed(number)
        if isinstance(error, SerializationError):  # a message broke the session
            told: Exception = SerializationError(str(error))
        elif isinstance(error, ActorDiedError) or not isinstance(error, UActorException):
            told = ActorDiedError(str(error), executed)
        else:
            return error
        told.__cause__ = error
        return told
