"""Calls that arrive as one burst, and whose results return together.

Problem: to create a call, to look its method up, and to send its result takes longer than most
methods do. A ``map`` makes thousands of such calls.

Mechanism: the calls of a burst have the method in common, so it is looked up once. The leader of
the session runs them one after the other in a loop (:meth:`HostBurst.run`). One :class:`HostCall`
stands for one after the other, and their results go into one list.

Invariants: each call is a call of its own for everything that can happen to it. It is known by
its number while it runs, can be cancelled, and is counted when the actor ends. As soon as a call
does something unusual (it fails, returns a coroutine, or has to confirm what it has taken), its
object stays with it, and the next calls get another one. The lead is on offer while a call runs.

Measured: a call of a burst takes the actor 0.7 µs of CPU time, of which most is the method. With
:meth:`Dispatcher.begin` for each call, as elsewhere, it takes 1.0 µs. So this loop calls plain
methods itself, and the dispatcher says which methods are plain.
"""

from __future__ import annotations

import functools
from typing import Any, NoReturn, Protocol

from uactor.core.current_call import running
from uactor.host.cancellation import CallCancelledError
from uactor.host.requests import NO_KEYWORDS
from uactor.host.sessions.calls import CallSession, CallState, HostCall, SingleReply
from uactor.host.sessions.leader import Lead
from uactor.host.sessions.replies import BurstResults, ReplyQueue


class BurstSession(CallSession, Protocol):
    """What a burst needs of the session that it has come by.

    :ivar calls: the calls that have not been answered, by number.
    :ivar cancelled: numbers of requests that were cancelled before they became calls.
    :ivar is_poll_due: whether the leader is to look for messages that have arrived.
    """

    calls: dict[int, HostCall]
    cancelled: set[int]
    is_poll_due: bool

    replies: ReplyQueue

    def end_with_scalar(self, burst: HostBurst, number: int, result: Any) -> None:
        """End a request with a result that goes together with others."""
        ...


class HostBurst(SingleReply):
    """Calls of one method that came together, and their common reply.

    :ivar calls: number and arguments of the calls that have not begun, or the error that their
        arguments are. The thread that has the lead draws from it.
    :ivar has_more: whether there may be any.
    """

    def __init__(
        self, session: BurstSession, handle: str, method: str, calls: enumerate[Any]
    ) -> None:
        self._session = session
        self.handle = handle
        self.method = method
        self.calls = calls
        self.has_more = True

    def create_call(self, number: int = 0, arguments: Any = ()) -> HostCall:
        """Create a call of the burst.

        :param arguments: its arguments, or the error that they are.
        """
        call = HostCall.of_fast_request(self._session, number, self.handle, self.method, arguments)
        call.reply = self
        if isinstance(arguments, Exception):
            call.operation = functools.partial(_raise, arguments)
        return call

    def finish(self, call: HostCall, result: Any, typeid: str) -> None:
        """Send a result, together with others if that is possible."""
        responder = call.session.responder
        if typeid or not call.caller.is_waiting or not responder.is_brief(result):
            super().finish(call, result, typeid)
            return
        call.release()
        self._session.end_with_scalar(self, call.number, result)

    def run(self, call: HostCall, lead: Lead) -> None:  # noqa: C901  # in one piece, see below
        """Run calls until a call is unusual or another thread leads.

        It also returns when a poll is due. It is in one piece, because each call of a ``map`` takes
        this path.

        :param call: stands for one call after the other, and stays with an unusual one.
        :param lead: belongs to this thread, which draws calls. It is on offer while each of them
            runs, and when this returns.
        """
        session, caller, token = self._session, call.caller, call.caller.cancel_token
        calls, responder, dispatcher = session.calls, session.responder, session.dispatcher
        begin, gate, brief = dispatcher.begin, dispatcher.gate, responder.brief
        handle, method, cancelled = self.handle, self.method, session.cancelled
        results, following, typeid = BurstResults(self, -1), -1, ''
        offer, take = lead.offer, lead.take
        running.set(caller.call)
        shared = dispatcher.find_plain_object(caller, handle, method)
        call.state = CallState.RUNNING
        try:
            for number, arguments in self.calls:
                call.number, calls[number] = number, call
                offer(number)
                try:
                    if cancelled and number in cancelled:
                        token.cancel('cancelled')
                    if token.is_cancelled or gate.closed or isinstance(arguments, Exception):
                        self._refuse(call, arguments)
                    if shared is not None:
                        caller.stage = 'running'
                        result = getattr(shared, method)(*arguments)
                    else:
                        caller.stage = 'asked'
                        result, typeid = begin(caller, handle, method, arguments, NO_KEYWORDS)
                except BaseException as error:  # also SystemExit: the caller is to see it
                    call.fail(error)
                    return
                is_brief = type(result) in brief or responder.is_brief(result)
                if typeid or token.is_cancelled or caller.undo or not is_brief:
                    call.count_in_gate()
                    self.take(call, result, typeid)
                    return
                if calls.pop(number, None) is not None:
                    if number != following:  # the first, or another thread has had the one before
                        results.ended = True
                        results = BurstResults(self, number)
                        session.replies.add_results(results)
                    results.values.append(result)
                    following = number + 1
                try:
                    take()
                except IndexError:  # another thread leads
                    return
                if session.is_poll_due:
                    offer(0)
                    return
            self.has_more = False
            offer(0)
        finally:
            results.ended = True

    def _refuse(self, call: HostCall, arguments: Any) -> NoReturn:
        """Raise why a call does not run."""
        call.caller.stage = 'asked'
        gate = call.session.dispatcher.gate
        if call.caller.cancel_token.is_cancelled:
            raise CallCancelledError
        raise gate.refusal() if gate.closed else arguments


def _raise(error: Exception) -> NoReturn:
    raise error
