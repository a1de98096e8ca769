"""A pipelined session, in which many calls run at a time.

Each call can be cancelled or streamed. The requests come from an iterator, and the responses go out
by another iterator. What carries them is the business of a
:class:`~uactor.host.sessions.endpoint.SessionEndpoint`.
"""

from __future__ import annotations

import collections
import functools
import itertools
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from uactor.codec import fastpath
from uactor.codec.messages import list_definitions, list_memories
from uactor.core.current_call import running
from uactor.host.callers import Caller
from uactor.host.context import HostContext
from uactor.host.execution.workers import Workers
from uactor.host.refusal import RefusedError
from uactor.host.sessions.bursts import HostBurst
from uactor.host.sessions.calls import SINGLE, HostCall, Job
from uactor.host.sessions.endpoint import Send
from uactor.host.sessions.leader import LeaderFollowers, Reader
from uactor.host.sessions.replies import BurstResults, ReplyQueue, Response
from uactor.host.sessions.responder import Responder
from uactor.host.sessions.revocable import RevocableResults
from uactor.host.sessions.streams import StreamReply, create_stream_call
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

_MORE_REQUESTS = pb.SessionRequest.MORE_FIELD_NUMBER
_POLL_INTERVAL_S = 0.005
"""For how long the leader runs calls before it polls for messages, in seconds, at most."""
_POLL_INTERVAL_RATIO = 50
"""The same in multiples of the time of a poll, at most. A poll lets other threads run."""
_MAX_POLLED = 4096
"""How many messages a poll takes, and how many requests may wait then."""
Read = Callable[[bytes], pb.SessionRequest]
"""Decodes a message."""
HasMore = Callable[[], bool]
"""Returns whether a message has arrived. For the thread that reads."""


def _never_has_more() -> bool:
    """Return False, for transports that know of messages only by reading."""
    return False


class HostPipeline:
    """Receives the requests of a pipelined session, and runs them in order.

    The thread that reads them runs the calls, too, one after the other. When a call does not return
    soon, another thread reads on (:mod:`uactor.host.sessions.leader`), and for a while workers run
    the calls.

    :param read: decodes a message, or ends the session because it can't.
    :param send: sends a response, from any thread, one at a time; None where only the thread of the
        session can.
    :ivar calls: the requests that have not been answered, by number.
    :ivar has_said_goodbye: whether the client has said goodbye.
    :ivar process_ends: whether the client process has said that it ends.
    :ivar revocable: the results that can still be taken back.
    :ivar cancelled: numbers of requests that were cancelled before they became calls. Belongs to
        the leader.
    :ivar messages: the messages of the client, once it is served. Belongs to the leader.
    :ivar next_poll: when the leader polls at the earliest.
    :ivar is_poll_due: whether the leader is to interrupt a burst and poll for messages.
    """

    def __init__(
        self,
        caller: Caller,
        responder: Responder,
        host: HostContext,
        read: Read,
        send: Send | None = None,
        has_more: HasMore = _never_has_more,
    ) -> None:
        self.caller = caller
        self.responder = responder
        self.dispatcher = host.dispatcher
        self.requests = host.requests
        self._table = host.table
        self._decode = read
        self._has_more = has_more
        self.has_said_goodbye = False
        self.process_ends = False
        self.calls: dict[int, HostCall] = {}
        self.replies = ReplyQueue(send, host.max_message_size)
        self.workers = Workers()
        self.leader = LeaderFollowers(self._read, self._hand_over)
        self.cancelled: set[int] = set()
        self.revocable = RevocableResults()
        self.is_poll_due = False
        # Of the thread that has the lead, and of the next one after it:
        self._arrived: collections.deque[pb.SessionRequest | fastpath.Request] = collections.deque()
        self._burst: HostBurst | None = None  # whose calls are being drawn
        self.next_poll = 0.0
        self._is_at_end = False

    def serve(self, messages: Iterator[bytes]) -> Iterator[Response]:
        """Yield responses until the client leaves or goes.

        Another thread reads the requests.
        """
        self.messages = messages
        with self.caller.cancel_token.wake_on_cancel(self):
            self.leader.start_follower()
            try:
                yield from self.replies.serve()
            finally:
                self.wake()

    def wake(self) -> None:
        """Cancel all calls: the client has gone, or the actor is ending."""
        for call in tuple(self.calls.values()):
            call.give_up('gone')
        self.replies.end()

    def _hand_over(self) -> None:
        """Make the session's thread send while the leader runs calls."""
        self.replies.hand_over()
        self.is_poll_due = True

    # --- reading -------------------------------------------------------------------------------

    def _read(self, reader: Reader) -> None:
        """Read and run requests as long as this thread leads."""
        try:
            self._read_as(reader)
        except RefusedError as error:
            log.debug('a session has ended: %s', error)
            self._end_reading()
        except BaseException:
            self._end_reading()
            raise

    def _read_as(self, reader: Reader) -> None:
        while self._run_arrived(reader):
            self.replies.flush()
            is_over = self.has_said_goodbye or self._is_at_end
            message = None if is_over else next(self.messages, None)
            if message is None:
                self._end_reading()
                return
            self._receive(message)
            self.poll()

    def _end_reading(self) -> None:
        self.leader.lead.end()
        self.wake()

    def poll(self) -> None:
        """Receive the messages that have arrived.

        A call must not run if its cancellation has arrived. A cancellation may be a message of its
        own, behind all requests. So a poll takes more than the buffers of a socket can have, and
        yet so few that calls go on.
        """
        self.is_poll_due = False
        start = time.monotonic()
        for _ in range(_MAX_POLLED):
            waiting = len(self._arrived)
            if self._is_at_end or waiting > _MAX_POLLED or not self._has_more():
                break
            message = next(self.messages, None)
            if message is None:
                self._is_at_end = True
            else:
                self._receive(message)
        now = time.monotonic()
        self.next_poll = now + min(_POLL_INTERVAL_S, _POLL_INTERVAL_RATIO * (now - start))

    def _receive(self, message: bytes) -> None:
        """Queue the requests of a message; cancel and confirm earlier ones."""
        for request in self._requests_in(message):
            if isinstance(request, tuple):
                self._arrived.append(request)
            elif request.HasField('cancel'):
                self._cancel(request)
            elif request.HasField('confirm'):
                self._confirm(request)
            else:
                self._arrived.append(request)

    def _release(self, request: pb.SessionRequest) -> None:
        """Release the handles that any request may name."""
        if request.releases:
            self._table.release(request.releases, self.caller.holder)

    def _confirm(self, request: pb.SessionRequest) -> None:
        self._release(request)
        self.revocable.confirm(request.confirm.request_id)

    def _cancel(self, request: pb.SessionRequest) -> None:
        self._release(request)
        number = request.cancel.request_id
        call = self.calls.get(number)
        if call is not None:
            call.give_up('cancelled')
        elif not self.revocable.revoke(number):  # it is no call yet, or has been answered
            self.cancelled.add(number)

    def _requests_in(self, message: bytes) -> Iterator[pb.SessionRequest | fastpath.Request]:
        parts = fastpath.split_coalesced(message, _MORE_REQUESTS)
        if parts is None:
            request = self._decode(message)
            yield request
            yield from request.more
            return
        for part in parts:
            yield self.responder.read_call(part) or self._decode(part)

    # --- requests ------------------------------------------------------------------------------

    def _run_arrived(self, reader: Reader) -> bool:
        """Run the requests that have arrived; return whether this thread still leads."""
        if self._burst is not None:  # which another thread has begun
            self._enter_burst(reader, self._burst)
        while reader.leads:
            if time.monotonic() >= self.next_poll and self._arrived:
                self.poll()
            try:
                request = self._arrived.popleft()
            except IndexError:
                self.cancelled.clear()
                return True
            if isinstance(request, tuple):
                self._enter(request[0], HostCall.of_fast_request(self, *request))
            else:
                self._handle(request, reader)
        return False

    def _handle(self, request: pb.SessionRequest, reader: Reader) -> None:
        self._release(request)
        kind = request.WhichOneof('kind')
        if kind == 'goodbye':
            self.has_said_goodbye, self.process_ends = True, request.goodbye.process_ends
        elif kind == 'credit':
            call = self.calls.get(request.credit.request_id)
            if call is not None and isinstance(call.reply, StreamReply):
                call.reply.grant(call, request.credit.items)
        elif kind == 'call_all':
            self._enter_burst(reader, self._create_burst(request))
        elif kind == 'call':
            self._enter(request.id, HostCall.of_method(self, request, kind, SINGLE))
        elif kind == 'open_stream':
            self._enter(request.id, create_stream_call(self, request))
        elif kind is not None and kind != 'proof':
            self._enter(request.id, HostCall.of_other_request(self, request, kind))

    def _enter(self, number: int, call: HostCall) -> None:
        """Let a call run, unless it has been cancelled."""
        self.calls[number] = call
        if self.cancelled and number in self.cancelled:
            call.give_up('cancelled')
        call.enter()

    # --- bursts --------------------------------------------------------------------------------

    def _create_burst(self, request: pb.SessionRequest) -> HostBurst:
        asked = request.call_all
        try:
            arguments: Iterable[Any] = self.requests.arguments_of_all(asked)
        except Exception as error:  # the response of each call; no more than the pickle has bytes
            count = min(asked.count, len(asked.arguments.data))
            arguments = itertools.repeat(error, count)
        return HostBurst(self, asked.handle, asked.method, enumerate(arguments, request.id))

    def _enter_burst(self, reader: Reader, burst: HostBurst) -> None:
        """Run or queue the calls of a burst while this thread leads."""
        self._burst = burst
        self._table.renew_lease(burst.handle)
        if self._is_free() and not self.dispatcher.has_mailbox:
            self._run_burst(reader, burst)
        else:
            for number, arguments in burst.calls:
                self._enter(number, burst.create_call(number, arguments))
                if not reader.leads:
                    return
        if reader.leads:
            self._burst = None

    def _run_burst(self, reader: Reader, burst: HostBurst) -> None:
        """Run the calls of a burst on this thread while it leads."""
        leave_gate = self.dispatcher.gate.count()
        try:
            with self.leader.watch:  # until the lead is taken back, as in LeaderFollowers.run()
                while burst.has_more and reader.leads:
                    if self.is_poll_due:
                        self.poll()
                    self._run_some(reader, burst)
        finally:
            running.set(None)
            leave_gate()
        if not reader.leads:
            self._hand_over()

    def _run_some(self, reader: Reader, burst: HostBurst) -> None:
        """Run calls of a burst that one :class:`HostCall` can stand for."""
        call, lead = burst.create_call(), self.leader.lead
        try:
            burst.run(call, lead)
        except BaseException as error:
            call.break_off(error)
            if not lead.take_back(reader) and lead.reader is reader:
                raise  # this thread may or may not have the lead: then no thread reads on
        else:
            lead.take_back(reader)

    # --- calls: see CallSession ------------------------------------------------------------------

    def run(self, call: HostCall, job: Job) -> None:
        """Run a job of a call after those that came before.

        :raises RuntimeError: when no thread can be started; the job does not run.
        """
        if self.leader.can_run() and self.workers.are_idle:  # as _is_free(), for each call
            self.leader.run(_run, call, job)
        else:
            self.workers.put(functools.partial(_run, call, job))

    def _is_free(self) -> bool:
        """Return whether this thread is to run calls itself."""
        return self.leader.can_run() and self.workers.are_idle

    def is_open(self, number: int) -> bool:
        """Return whether a request has not been answered."""
        return number in self.calls

    def send(self, number: int, response: Response) -> None:
        """Send a response that is not the last one of its request."""
        self._reply(number in self.calls, response)

    def end(self, number: int, response: Response) -> None:
        """Send the last response of a request."""
        is_open = self.calls.pop(number, None) is not None
        if not is_open:
            self.revocable.revoke(number)
        self._reply(is_open, response)

    def end_with_scalar(self, burst: HostBurst, number: int, result: Any) -> None:
        """End a request with a result that goes together with others."""
        if self.calls.pop(number, None) is not None:
            results = BurstResults(burst, number, result)
            results.ended = True
            self.replies.add_results(results)
            if not self.leader.lead.is_of_this_thread():  # see _put()
                self._hand_over()

    def forget(self, number: int) -> None:
        """End a request without a response."""
        self.calls.pop(number, None)

    def _reply(self, is_open: bool, response: Response) -> None:
        if not is_open:  # it has been answered at its deadline
            if not isinstance(response, bytes):
                self.requests.take_back(self.caller, response)
        elif isinstance(response, bytes):
            self._put(response)
        else:
            self._put_message(response)

    def _put_message(self, response: pb.SessionResponse) -> None:
        memory = self.caller.memory
        is_alone = memory is not None and memory.outgoing and list_memories(response)
        self._put(response if is_alone else response.SerializeToString())
        definitions = self.caller.definitions
        if definitions is not None and definitions.unsure:
            definitions.confirm(list_definitions(response))

    def _put(self, response: Response) -> None:
        self.replies.put(response)
        if not self.leader.lead.is_of_this_thread():  # the leader sends before it waits
            self.replies.wake()


def _run(call: HostCall, job: Job) -> None:
    """Run a call's job on a thread that is needed afterwards."""
    try:
        job()
    except BaseException as error:
        call.break_off(error)
