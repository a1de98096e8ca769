"""Calls whose results are streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from uactor.core.current_call import run_in
from uactor.host.cancellation import Interrupted
from uactor.host.execution.event_loop import closing
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.host.sessions.pipeline import HostPipeline
from uactor.host.sessions.calls import HostCall, MethodCall

_TURN = 64
"""How many items a stream sends before other calls have their turn on its thread."""


class StreamCall(MethodCall):
    """A call whose result is iterated over, as far as the client has granted items."""

    def __init__(self, pipeline: HostPipeline, request: pb.SessionRequest, kind: str) -> None:
        super().__init__(pipeline, request, kind)
        self._credit = request.open_stream.credit
        self._waits = False
        self._items: Any = None
        self._asynchronous = False
        self._typeid = ''

    def grant(self, items: int) -> None:
        """Let more items be sent."""
        with self._lock:
            self._credit += items
            waited, self._waits = self._waits, False
        if waited:
            self._turned()
            self._take_turn(self._step)

    def _wait(self) -> bool:
        """Wait for credit, if there is none, without a thread; tell whether it does."""
        if self._credit or self.caller.cancel_token.is_cancelled:
            return False
        self._leave_turn()  # before another thread may take the next one
        turn = self._turned()
        with self._lock:
            self._waits = not self._credit
            waits = self._waits
        if waits:
            self._on_give_up(self._end_waiting, turn)
        else:
            self._take_turn(self._step)
        return True

    def _end_waiting(self) -> None:
        with self._lock:
            waited, self._waits = self._waits, False
        if waited:
            self._queue(self._step)

    def _go_on(self, result: Any, typeid: str) -> None:
        # What the call is to return is each item, not the iterator.
        self._typeid = self._call.typeid
        if isinstance(result, CoroutineType):
            self._await(result, lambda value: self._go_on(value, typeid))
            return
        self._asynchronous = isinstance(result, AsyncIterator)
        try:
            self._items = result if self._asynchronous else iter(result)
        except BaseException as error:  # it is no iterable, or its __iter__ raises
            self._fail(error)
        else:
            self._step()

    def _step(self) -> None:
        """Send items, in one turn of a worker or the next."""
        self.caller.stage = 'running'
        if self._asynchronous:
            self._step_asynchronously()
            return
        for _ in range(_TURN):
            if self._wait():
                return
            try:
                self.caller.cancel_token.raise_if_cancelled()
                item = run_in(self.caller.call, next, self._items, _END)
                if item is _END:
                    self._close(None)
                    return
                self._send(item)
            except BaseException as error:  # also SystemExit: it is the caller's to see
                self._close(error)
                return
        self._again()

    def _step_asynchronously(self) -> None:
        if not self._wait():
            self._await(self._some(), lambda ended: self._close(None) if ended else self._again())

    def _again(self) -> None:
        self._leave_turn()
        self._take_turn(self._step)

    async def _some(self) -> bool:
        """Send the items that are granted; tell whether there are no more. On the loop."""
        while self._credit:
            item = await anext(self._items, _END)
            if item is _END:
                return True
            self._send(item)
        return False

    def _send(self, item: Any) -> None:
        with self._lock:
            self._credit -= 1
        pipeline, number = self._pipeline, self._number
        response = pipeline.answers.encode(
            *(self.caller, number, item, self._typeid, self._pickles), is_item=True
        )
        pipeline.send(number, response)

    def _close(self, error: BaseException | None) -> None:
        """Close the iterator, and then end."""
        if self._asynchronous:
            loop = self._pipeline.host.dispatcher.loop
            run_in(
                self.caller.call,
                loop.start,
                closing(self._items),
                lambda task: self._queue(lambda: self._closed(task, error)),
            )
            return
        try:
            close = getattr(self._items, 'close', None)
            if close is not None:
                run_in(self.caller.call, close)
        except BaseException as broken:  # the generator's own, also SystemExit
            error = broken if error is None or isinstance(error, Interrupted) else error
        self._ended(error)

    def _closed(self, task: asyncio.Task[None], error: BaseException | None) -> None:
        if error is None and not task.cancelled():
            error = task.exception()
        self._ended(error)

    def _ended(self, error: BaseException | None) -> None:
        if error is None:
            self.caller.stage = 'done'
            self._end()
            ended = pb.SessionResponse(id=self._number, end=pb.StreamEnd())
            self._pipeline.end(self._number, ended)
        else:
            super()._fail(error)

    def _fail(self, error: BaseException) -> None:
        """Close what has been begun, before telling of an error."""
        if self._items is None:
            super()._fail(error)
        else:
            self._close(error)


_END: Any = object()
KINDS: Mapping[str, type[HostCall]] = {'call': MethodCall, 'open_stream': StreamCall}
"""Which call a request is, by its kind; others are a plain one."""
