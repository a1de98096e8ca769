"""The responses of a pipelined session that wait to be sent.

Problem: to send each response by itself takes a system call, and wakes the client each time.

Mechanism: responses gather in an :class:`~uactor.transport.outbox.Outbox` while the leader runs
calls. The leader sends them before it waits for requests. The thread of the session sends what
gathers while the leader is in a call, and everything where the transport lets no other thread
send. Results of bursts gather in lists of their own, each of which becomes one message.

Invariant: one thread at a time takes responses out and sends them, so their order is kept.
"""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from typing import Any

from uactor.codec.arguments import pickle_plain
from uactor.host.sessions.endpoint import Send
from uactor.transport.outbox import Outbox, coalesce
from uactor.v1 import actor_pb2 as pb

_MORE = pb.SessionResponse.MORE_FIELD_NUMBER

Response = bytes | pb.SessionResponse
"""A response in its wire form, or one with which large data goes."""


class BurstResults:
    """Results of calls of a burst, one after the other.

    :ivar burst: the burst; tells its results from those of others.
    :ivar first: number of the first call.
    :ivar values: results that have not been sent.
    :ivar ended: whether no more are added.
    """

    __slots__ = ('burst', 'ended', 'first', 'values')

    def __init__(self, burst: object, first: int, *values: Any) -> None:
        self.burst = burst
        self.first = first
        self.values = [*values]
        self.ended = False

    def take(self) -> list[Any]:
        """Remove and return the results.

        One thread at a time may call this, while another thread adds results.
        """
        taken = self.values[:]
        del self.values[: len(taken)]
        self.first += len(taken)
        return taken


class ReplyQueue:
    """Queues the responses of a session, and sends them in order.

    :param send: sends a response, from any thread, one at a time; None where only the thread of
        the session can.
    :param limit: how many bytes a message may have; -1 for any number.
    :ivar gathering: the lock of the thread that gathers responses into messages.
    """

    def __init__(self, send: Send | None, limit: int) -> None:
        self._send = send
        self._limit = limit
        self._sending = threading.Lock()
        self._outbox = Outbox[pb.SessionResponse]()
        self._results: collections.deque[BurstResults] = collections.deque()
        self.gathering = threading.Lock()

    def put(self, response: Response) -> None:
        """Add a response, without waking the thread of the session."""
        self._outbox.put(response)

    def add_results(self, results: BurstResults) -> None:
        """Add results of a burst, which may still grow."""
        self._results.append(results)

    def wake(self) -> None:
        """Wake the thread of the session, which sends."""
        self._outbox.wake()

    def hand_over(self) -> None:
        """Make the session's thread send the waiting responses and results."""
        self.gather()
        self._outbox.wake()

    def end(self) -> None:
        """End :meth:`serve` once the waiting responses have been sent."""
        self._outbox.end()

    def flush(self) -> None:
        """Send the waiting responses and results, on this thread if possible."""
        self.gather()
        if self._send is None or not self._sending.acquire(blocking=False):
            self._outbox.wake()
            return
        try:
            for message in self.messages():
                self._send(message)
        finally:
            self._sending.release()

    def serve(self) -> Iterator[Response]:
        """Yield messages until :meth:`end`. For the thread of the session."""
        while self._outbox.wait():
            with self._sending:
                yield from self.messages()

    def messages(self) -> Iterator[Response]:
        """Yield the waiting responses, joined into few messages.

        One thread at a time may call this.
        """
        return coalesce(self._outbox, _MORE, self._limit)

    def gather(self) -> None:
        """Add a response for the results of each burst."""
        with self.gathering:
            last, first, gathered, unfinished = None, 0, list[Any](), list[BurstResults]()
            while self._results:
                results = self._results.popleft()
                if not results.ended:  # asked before take(), since values come until then
                    unfinished.append(results)
                if results.burst is not last or results.first != first + len(gathered):
                    self._put_results(first, gathered)
                    last, first, gathered = results.burst, results.first, []
                gathered += results.take()
            self._put_results(first, gathered)
            self._results.extend(unfinished)

    def _put_results(self, first: int, gathered: list[Any]) -> None:
        if gathered:
            results = pb.Pickle(data=pickle_plain(gathered))
            response = pb.SessionResponse(id=first, results=results)
            self._outbox.put(response.SerializeToString())
