"""Calls that came as one burst."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uactor.codec import values as values
from uactor.core.current_call import running
from uactor.host.cancellation import Interrupted
from uactor.host.execution.gate import Gate
from uactor.host.requests import NO_KEYWORDS

if TYPE_CHECKING:
    from uactor.host.sessions.leader import Lead
    from uactor.host.sessions.pipeline import HostPipeline
from uactor.host.sessions.calls import PlainCall


class BurstReply:
    """Results of calls of a burst, one after the other.

    :ivar first: number of the first call.
    :ivar values: of those that have not been sent.
    :ivar ended: whether there will be no more.
    """

    __slots__ = ('burst', 'ended', 'first', 'values')

    def __init__(self, burst: HostBurst, first: int, *values: Any) -> None:
        self.burst = burst
        self.first = first
        self.values = [*values]
        self.ended = False

    def take(self) -> list[Any]:
        """Take out those that are there. One thread at a time does, while another one adds some."""
        taken = self.values[:]
        del self.values[: len(taken)]
        self.first += len(taken)
        return taken


class HostBurst:
    """Calls of one method that came together.

    :ivar calls: of those that have not begun, number and arguments, or why there are none. The
        thread that has the lead draws from it.
    :ivar left: whether there may be any.
    """

    __slots__ = ('calls', 'handle', 'left', 'method')

    def __init__(self, handle: str, method: str, calls: enumerate[Any]) -> None:
        self.handle = handle
        self.method = method
        self.calls = calls
        self.left = True


class BurstCall(PlainCall):
    """A call of a burst, or one after the other; see :meth:`run_on`.

    :param arguments: of the call, or why there are none.
    """

    def __init__(
        self, pipeline: HostPipeline, burst: HostBurst, number: int = 0, arguments: Any = ()
    ) -> None:
        super().__init__(pipeline, number, burst.handle, burst.method, arguments)
        self._burst = burst
        self._results: BurstReply | None = None

    def run(self) -> None:
        """See :class:`Call`."""
        if isinstance(self._arguments, Exception):
            self._fail(self._arguments)
        else:
            super().run()

    def run_on(self, lead: Lead) -> None:
        """Be one call after the other, until one goes on, or fails, or another thread leads.

        In one piece: there are many of them.

        :param lead: this thread has it, and draws calls; while each runs, it is on offer. It is
            when this returns, too.
        """
        pipeline, caller, cancel_token = self._pipeline, self.caller, self.caller.cancel_token
        calls, answers, dispatcher = pipeline.calls, pipeline.answers, pipeline.host.dispatcher
        begin, gate, brief = dispatcher.begin, dispatcher.gate, answers.brief
        burst, handle, method = self._burst, self._handle, self._method
        results, following, typeid = BurstReply(burst, -1), -1, ''
        offer, take, cancelled = lead.offer, lead.take, pipeline.cancelled
        running.set(caller.call)
        shared = dispatcher.plain(caller, handle, method)
        for number, arguments in burst.calls:
            self._number, calls[number] = number, self
            offer(number)
            try:
                if cancelled and number in cancelled:
                    cancel_token.cancel('cancelled')
                if cancel_token.is_cancelled or gate.closed or isinstance(arguments, Exception):
                    raise self._refusal(arguments, gate)
                if shared is not None:
                    caller.stage = 'running'
                    result = getattr(shared, method)(*arguments)
                else:
                    caller.stage = 'asked'
                    result, typeid = begin(caller, handle, method, arguments, NO_KEYWORDS)
            except BaseException as error:  # also SystemExit: it is the caller's to see
                self._fail(error)
                return
            is_brief = type(result) in brief or answers.is_brief(result)
            if typeid or cancel_token.is_cancelled or caller.undo or not is_brief:
                self._over = gate.count()
                self._go_on(result, typeid)
                return
            if calls.pop(number, None) is not None:
                if number != following:  # the first one, or another thread has had that before
                    self.end_results()
                    self._results = results = pipeline.results_from(burst, number)
                results.values.append(result)
                following = number + 1
            try:
                take()
            except IndexError:  # another thread leads
                return
            if pipeline.is_look_due:
                offer(0)
                return
        burst.left = False
        offer(0)

    def end_results(self) -> None:
        """Have no more results go with those that there are."""
        if self._results is not None:
            self._results.ended = True

    def _refusal(self, arguments: Any, gate: Gate) -> BaseException:
        """Return why a call does not run."""
        self.caller.stage = 'asked'
        if self.caller.cancel_token.is_cancelled:
            return Interrupted()
        return gate.refusal() if gate.closed else arguments

    def _finish(self, result: Any, typeid: str) -> None:
        pipeline = self._pipeline
        if typeid or not self.caller.is_waiting or not pipeline.answers.is_brief(result):
            super()._finish(result, typeid)
            return
        self._end()
        pipeline.end_with_scalar(self._burst, self._number, result)
