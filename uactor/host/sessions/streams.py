"""Send results as streams, within the credit that the client grants."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator
from types import CoroutineType
from typing import Any

from uactor.core.current_call import run_in
from uactor.host.cancellation import CallCancelledError
from uactor.host.execution.event_loop import close_iterator
from uactor.host.sessions.calls import CallSession, CallState, HostCall
from uactor.v1 import actor_pb2 as pb

_MAX_STEP_ITEMS = 64
"""How many items a stream sends before other calls run on its thread."""

_END: Any = object()


class StreamReply:
    """Sends the items of a result, one by one.

    :param credit: how many items may be sent until the client grants more.
    :param typeid: typeid to share each item as, or ''.
    """

    def __init__(self, credit: int, typeid: str) -> None:
        self._credit = credit
        self._typeid = typeid
        self._items: Any = None
        self._is_asynchronous = False

    def take(self, call: HostCall, result: Any, typeid: str) -> None:
        """See :class:`~uactor.host.sessions.calls.Reply`.

        The typeid of the method is that of its result, and not of the items.
        """
        if isinstance(result, CoroutineType):
            call.run_coroutine(result, lambda value: self.take(call, value, typeid))
            return
        self._is_asynchronous = isinstance(result, AsyncIterator)
        try:
            self._items = result if self._is_asynchronous else iter(result)
        except BaseException as error:  # no iterable, or its __iter__ raises
            self.fail(call, error)
        else:
            self._step(call)

    def fail(self, call: HostCall, error: BaseException) -> None:
        """Close any iterator, and end the call with an error."""
        if self._items is None:
            call.end_with_error(error)
        else:
            self._close(call, error)

    # --- credit ------------------------------------------------------------------------------

    def grant(self, call: HostCall, items: int) -> None:
        """Allow more items to be sent."""
        with call.lock:
            self._credit += items
        self._go_on_with_credit(call)

    def _wait_for_credit(self, call: HostCall) -> bool:
        """Park a call that has no credit; return whether it is parked.

        A cancelled call is not parked.
        """
        if self._credit or call.caller.cancel_token.is_cancelled:
            return False
        call.leave_mailbox()  # before another thread may enter it for the next step
        out = CallState.OUT_OF_CREDIT
        call.park(out, functools.partial(self._step, call), functools.partial(call.resume, out))
        if self._credit:
            self._go_on_with_credit(call)
        else:
            call.abandon_if_cancelled()
        return True

    def _go_on_with_credit(self, call: HostCall) -> None:
        job = call.unpark(CallState.OUT_OF_CREDIT)
        if job is not None:
            call.wait_for_mailbox(job)

    # --- items -------------------------------------------------------------------------------

    def _step(self, call: HostCall) -> None:
        """Send some items, and then let other calls run."""
        call.state = CallState.RUNNING
        call.caller.stage = 'running'
        if self._wait_for_credit(call):
            return
        if self._is_asynchronous:
            go_on = lambda ended: self._close(call, None) if ended else self._yield(call)  # noqa: E731
            call.run_coroutine(self._send_granted(call), go_on)
            return
        current, token = call.caller.call, call.caller.cancel_token
        for _ in range(_MAX_STEP_ITEMS):
            if not self._credit and self._wait_for_credit(call):
                return
            try:
                token.raise_if_cancelled()
                item = run_in(current, next, self._items, _END)
                if item is _END:
                    self._close(call, None)
                    return
                self._send(call, item)
            except BaseException as error:  # also SystemExit: the caller is to see it
                self._close(call, error)
                return
        self._yield(call)

    def _yield(self, call: HostCall) -> None:
        call.leave_mailbox()
        call.wait_for_mailbox(functools.partial(self._step, call))

    async def _send_granted(self, call: HostCall) -> bool:
        """Send the granted items; return whether there are no more.

        It runs on the event loop.
        """
        while self._credit:
            item = await anext(self._items, _END)
            if item is _END:
                return True
            self._send(call, item)
        return False

    def _send(self, call: HostCall, item: Any) -> None:
        with call.lock:
            self._credit -= 1
        response = call.session.responder.encode(
            *(call.caller, call.number, item, self._typeid, call.accepts_pickles), is_item=True
        )
        call.session.send(call.number, response)

    # --- the end -----------------------------------------------------------------------------

    def _close(self, call: HostCall, error: BaseException | None) -> None:
        """Close the iterator, and then end the call."""
        if self._is_asynchronous:
            end = functools.partial(self._end_closed, call, error)
            call.start_task(close_iterator(self._items), end, is_cancellable=False)
            return
        try:
            close = getattr(self._items, 'close', None)
            if close is not None:
                run_in(call.caller.call, close)
        except BaseException as broken:  # the generator's own, also SystemExit
            error = broken if error is None or isinstance(error, CallCancelledError) else error
        self._end(call, error)

    def _end_closed(
        self, call: HostCall, error: BaseException | None, task: asyncio.Task[None]
    ) -> None:
        call.state = CallState.RUNNING
        if error is None and not task.cancelled():
            error = task.exception()
        self._end(call, error)

    def _end(self, call: HostCall, error: BaseException | None) -> None:
        if error is None:
            call.caller.stage = 'done'
            call.end(pb.SessionResponse(id=call.number, end=pb.StreamEnd()))
        else:
            call.end_with_error(error)


def create_stream_call(session: CallSession, request: pb.SessionRequest) -> HostCall:
    """Create the call of a request for a stream."""
    asked = request.open_stream
    reply = StreamReply(asked.credit, asked.call.typeid)
    return HostCall.of_method(session, request, 'open_stream', reply)
