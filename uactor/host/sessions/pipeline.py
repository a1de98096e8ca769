"""A pipelined session: many calls at a time, each of which can be given up or streamed.

Its requests come from an iterator, and its responses go out by another: what carries
them is the door's business.
"""

from __future__ import annotations

import collections
import functools
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from uactor.codec import fastpath
from uactor.codec.arguments import plain_pickle
from uactor.codec.messages import definitions_in, memories
from uactor.core.current_call import running
from uactor.host.callers import Caller
from uactor.host.context import HostContext
from uactor.host.execution.watchdog import Watch
from uactor.host.execution.workers import Job, Workers
from uactor.host.refusal import Refused
from uactor.host.sessions.bursts import BurstCall, BurstReply, HostBurst
from uactor.host.sessions.calls import HostCall, PlainCall
from uactor.host.sessions.leader import Lead, LeadState, Reader
from uactor.host.sessions.responder import Responder
from uactor.host.sessions.streams import KINDS, StreamCall
from uactor.runtime.threads import start_daemon
from uactor.transport.outbox import Outbox, coalesce
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

_MORE = pb.SessionResponse.MORE_FIELD_NUMBER
_MORE_REQUESTS = pb.SessionRequest.MORE_FIELD_NUMBER
_LOOK_S = 0.005
"""For how long calls that have come are run before it is looked what else has, in seconds."""
_LOOK_SHARE = 50
"""How much longer that is than looking has taken, at most: it lets other threads run."""
_MOST = 4096
"""How many messages are taken in by one look, and how many requests may wait then."""
_SPREAD = 1.0
"""For how long workers run the calls after one that did not come back soon, in seconds."""
Send = Callable[['bytes | pb.SessionResponse'], None]
Read = Callable[[bytes], pb.SessionRequest]
"""Decodes a message."""
HasMore = Callable[[], bool]
"""Returns whether a message has arrived. For the thread that reads."""


def _cannot_tell() -> bool:
    """Return False, for a door that has a message only once it is read."""
    return False


class HostPipeline:
    """Takes the requests of one pipelined session as they come.

    The thread that reads them runs the calls, too, one after the other. When one does not come back
    soon, another thread reads on (:mod:`uactor.host.sessions.leader`), and for a while workers run
    the calls.

    :param read: decodes a message, or ends the session because it can't.
    :param send: sends a message, from any thread, one at a time; None where only the thread of the
        session can. It is in its wire form, but for one with which large data goes.
    """

    def __init__(
        self,
        caller: Caller,
        answers: Responder,
        host: HostContext,
        read: Read,
        send: Send | None = None,
        has_more: HasMore = _cannot_tell,
    ) -> None:
        self.caller = caller
        self.answers = answers
        self.host = host
        self._decode = read
        self._send = send
        self._has_more = has_more
        self._sending = threading.Lock()
        self.workers = Workers()
        self.polite = False
        self.process_ends = False
        self.calls: dict[int, HostCall] = {}
        self._responses = Outbox[pb.SessionResponse]()
        self._arrived: collections.deque[pb.SessionRequest | fastpath.Request] = collections.deque()
        self._results: collections.deque[BurstReply] = collections.deque()
        self._gathering = threading.Lock()
        self.lead = Lead()
        # Of the thread that has the lead, and of the next one after it:
        self._burst: HostBurst | None = None  # whose calls are being drawn
        self.cancelled: set[int] = set()  # which requests are, of those that wait
        self.is_look_due = False  # while a burst runs
        self._look_at = 0.0
        self._at_end = False
        self._watch = Watch(self._spread, self._hand_over, lambda: self.lead.part)
        self._spread_until = 0.0

    def serve(self, messages: Iterator[bytes]) -> Iterator[bytes | pb.SessionResponse]:
        """Yield responses until the client leaves or goes; on another thread, take requests."""
        self._messages = messages
        with self.caller.cancel_token.wake_on_cancel(self):
            self._start_reading()
            try:
                while self._responses.wait():
                    with self._sending:
                        yield from self._gathered()
            finally:
                self.wake()

    def wake(self) -> None:
        """Give all calls up: the client has gone, or the actor is ending."""
        for call in tuple(self.calls.values()):
            call.give_up('gone')
        self._responses.end()

    def _gathered(self) -> Iterator[bytes | pb.SessionResponse]:
        return coalesce(self._responses, _MORE, self.host.max_message_size)

    def results_from(self, burst: HostBurst, number: int) -> BurstReply:
        """Return where the results of calls go, the first of which has such a number."""
        results = BurstReply(burst, number)
        self._results.append(results)
        return results

    def _gather(self) -> None:
        """Have the results of bursts be among what is sent, those of each by themselves."""
        with self._gathering:
            last, first, gathered, unfinished = None, 0, list[Any](), list[BurstReply]()
            while self._results:
                results = self._results.popleft()
                if not results.ended:  # which is asked before
                    unfinished.append(results)
                if results.burst is not last or results.first != first + len(gathered):
                    self._put_results(first, gathered)
                    last, first, gathered = results.burst, results.first, []
                gathered += results.take()
            self._put_results(first, gathered)
            self._results.extend(unfinished)

    def _put_results(self, first: int, gathered: list[Any]) -> None:
        if gathered:
            results = pb.Pickle(data=plain_pickle(gathered))
            response = pb.SessionResponse(id=first, results=results)
            self._responses.put(response.SerializeToString())

    def _hand_over(self) -> None:
        """Have the thread of the session send what has been answered so far."""
        self._gather()
        self._responses.wake()
        self.is_look_due = True

    def _flush(self) -> None:
        """Have sent what has been answered, before this thread waits."""
        self._gather()
        if self._send is None or not self._sending.acquire(blocking=False):
            self._responses.wake()
            return
        try:
            for message in self._gathered():
                self._send(message)
        finally:
            self._sending.release()

    # --- reading -------------------------------------------------------------------------------

    def _start_reading(self) -> None:
        start_daemon('uactor-pipeline', self._read)

    def _spread(self) -> None:
        """Have another thread read on: this one is in a call that does not come back soon.

        :raises RuntimeError: when there is no thread to be had; then nothing has changed.
        """
        self._hand_over()
        if self.lead.state is not LeadState.OFFERED:  # it has come back
            return
        before, self._spread_until = self._spread_until, time.monotonic() + _SPREAD
        try:
            self._start_reading()
        except RuntimeError:
            self._spread_until = before
            raise

    def _read(self) -> None:
        """Read as long as this thread has the lead, if it is to be had. Runs on its own thread."""
        try:
            reader = self.lead.follow()
            if reader is not None:
                self._read_as(reader)
        except Refused as error:
            log.debug('a session has ended: %s', error)
            self.lead.end()
            self.wake()
        except BaseException:
            self.lead.end()
            self.wake()
            raise

    def _read_as(self, reader: Reader) -> None:
        while self._take_arrived(reader):
            self._flush()
            message = None if self.polite or self._at_end else next(self._messages, None)
            if message is None:
                self.lead.end()
                self.wake()
                return
            self._take_in(message)
            self._look()

    def _look(self) -> None:
        """Take in what else has arrived: a call whose cancellation has must not run.

        A cancellation may be a message of its own, behind all requests: what is taken in is more
        than finds room in the buffers of a socket, and yet bounded, so that calls go on.
        """
        self.is_look_due = False
        start = time.monotonic()
        for _ in range(_MOST):
            waiting = len(self._arrived)
            if self._at_end or waiting > _MOST or not self._has_more():
                break
            message = next(self._messages, None)
            if message is None:
                self._at_end = True
            else:
                self._take_in(message)
        now = time.monotonic()
        self._look_at = now + min(_LOOK_S, _LOOK_SHARE * (now - start))

    def _take_in(self, message: bytes) -> None:
        """Have the requests of a message wait for their turn, and cancel those that it says."""
        for request in self._requests_in(message):
            if not isinstance(request, tuple) and request.HasField('cancel'):
                self._cancel(request)
            else:
                self._arrived.append(request)

    def _cancel(self, request: pb.SessionRequest) -> None:
        if request.releases:
            self.host.table.release(request.releases, self.caller.holder)
        number = request.cancel.request_id
        known = self.calls.get(number)
        if known is not None:
            known.give_up('cancelled')
        else:  # it waits, or has been answered
            self.cancelled.add(number)

    def _requests_in(self, message: bytes) -> Iterator[pb.SessionRequest | fastpath.Request]:
        messages = fastpath.parts(message, _MORE_REQUESTS)
        if messages is None:
            request = self._decode(message)
            yield request
            yield from request.more
            return
        for one in messages:
            yield self.answers.read_usual(one) or self._decode(one)

    def _take_arrived(self, reader: Reader) -> bool:
        """Take what has come; return whether this thread still has the lead."""
        if self._burst is not None:  # which another thread has begun
            self._take_burst(reader, self._burst)
        while reader.leads:
            if time.monotonic() >= self._look_at and self._arrived:
                self._look()
            try:
                request = self._arrived.popleft()
            except IndexError:
                self.cancelled.clear()
                return True
            if isinstance(request, tuple):
                self._enter(request[0], PlainCall(self, *request))
            else:
                self._take(request, reader)
        return False

    def _take(self, request: pb.SessionRequest, reader: Reader) -> None:
        if request.releases:
            self.host.table.release(request.releases, self.caller.holder)
        kind = request.WhichOneof('kind')
        if kind == 'goodbye':
            self.polite, self.process_ends = True, request.goodbye.process_ends
        elif kind == 'credit':
            known = self.calls.get(request.credit.request_id)
            if isinstance(known, StreamCall):
                known.grant(request.credit.items)
        elif kind == 'call_all':
            self._take_burst(reader, self._burst_of(request))
        elif kind is not None and kind != 'proof':
            self._enter(request.id, KINDS.get(kind, HostCall)(self, request, kind))

    def _enter(self, number: int, call: HostCall) -> None:
        """Have a call run when it is its turn, unless it has been cancelled."""
        self.calls[number] = call
        if self.cancelled and number in self.cancelled:
            call.give_up('cancelled')
        call.enter()

    def _burst_of(self, request: pb.SessionRequest) -> HostBurst:
        asked = request.call_all
        try:
            arguments: Iterable[Any] = self.host.requests.arguments_of_all(asked)
        except Exception as error:  # each call is told; it takes a byte of the pickle at least
            told = min(asked.count, len(asked.arguments.data))
            arguments = itertools.repeat(error, told)
        return HostBurst(asked.handle, asked.method, enumerate(arguments, request.id))

    def _take_burst(self, reader: Reader, burst: HostBurst) -> None:
        """Take the calls of a burst, as long as this thread has the lead."""
        self._burst = burst
        self.host.table.renew_lease(burst.handle)
        if self._is_free() and not self.host.dispatcher.has_mailbox:
            self._run_burst(reader, burst)
        else:
            for number, arguments in burst.calls:
                self._enter(number, BurstCall(self, burst, number, arguments))
                if not reader.leads:
                    return
        if reader.leads:
            self._burst = None

    def _run_burst(self, reader: Reader, burst: HostBurst) -> None:
        """Run the calls of a burst on this thread, as long as it has the lead."""
        over = self.host.dispatcher.gate.count()
        try:
            with self._watch:  # until the lead is taken back: no other thread offers it meanwhile
                while burst.left and reader.leads:
                    if self.is_look_due:
                        self._look()
                    self._run_some(reader, BurstCall(self, burst))
        finally:
            running.set(None)
            over()
        if not reader.leads:
            self._hand_over()

    def _run_some(self, reader: Reader, call: BurstCall) -> None:
        """Run calls of a burst one after the other, as far as one object can stand for them."""
        try:
            call.run_on(self.lead)
        except BaseException as error:
            call.break_off(error)
            if not self.lead.take_back(reader) and self.lead.reader is reader:
                raise  # it can't be told whether this thread has the lead: nobody shall
        else:
            self.lead.take_back(reader)
        finally:
            call.end_results()

    # --- calls ---------------------------------------------------------------------------------

    def run(self, call: HostCall, job: Job) -> None:
        """Run a job of a call after those that came before.

        :raises RuntimeError: when there is no thread to be had; the job does not run.
        """
        if not self._is_free():
            self.workers.put(functools.partial(_run, call, job))
            return
        reader = self.lead.reader
        with self._watch:  # until the lead is taken back: no other thread offers it meanwhile
            self.lead.offer(0)
            _run(call, job)
            leads = self.lead.take_back(reader)
        if not leads:
            self._hand_over()

    def _is_free(self) -> bool:
        """Return whether this thread is to run calls: it has the lead, and none is under way."""
        return (
            self.lead.is_of_this_thread()
            and not self._watch.has_job
            and self.workers.are_idle
            and not (self._spread_until and self._spread_until > time.monotonic())
        )

    def send(self, number: int, response: pb.SessionResponse | bytes) -> None:
        """Send a response that is not the last one of its request."""
        self._answer(number in self.calls, response)

    def end(self, number: int, response: pb.SessionResponse | bytes) -> None:
        """Send the last response of a request."""
        self._answer(self.calls.pop(number, None) is not None, response)

    def _answer(self, known: bool, response: pb.SessionResponse | bytes) -> None:
        """Send a response if there is somebody to be told."""
        if isinstance(response, bytes):
            if known:
                self._put(response)
        elif known:
            self._put_message(response)
        else:  # it has been answered at its deadline
            self.host.requests.take_back(self.caller, response)

    def end_with_scalar(self, burst: HostBurst, number: int, result: Any) -> None:
        """Send the result of a call of a burst, together with those of others."""
        if self.calls.pop(number, None) is not None:
            results = BurstReply(burst, number, result)
            results.ended = True
            self._results.append(results)
            if not self.lead.is_of_this_thread():  # see _put()
                self._hand_over()

    def _put_message(self, response: pb.SessionResponse) -> None:
        memory = self.caller.memory
        alone = memory is not None and memory.outgoing and memories(response)
        self._put(response if alone else response.SerializeToString())
        definitions = self.caller.definitions
        if definitions is not None and definitions.unsure:
            definitions.arrived(definitions_in(response))

    def _put(self, response: bytes | pb.SessionResponse) -> None:
        self._responses.put(response)
        if not self.lead.is_of_this_thread():  # which sends, once it has done what there is
            self._responses.wake()

    def forget(self, number: int) -> None:
        """Know that there is nobody to be told of a request any more."""
        self.calls.pop(number, None)


def _run(call: HostCall, job: Job) -> None:
    """Run a job of a call on a thread that is needed afterwards."""
    try:
        job()
    except BaseException as error:
        call.break_off(error)
