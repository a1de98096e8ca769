"""RPCs outside sessions: what all doors do with each of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

import grpc

from uactor.host import sessions, status
from uactor.host.clients import Caller
from uactor.host.objects import ANONYMOUS
from uactor.host.threads import is_reserve

if TYPE_CHECKING:
    from uactor.host.server import Host

Rpc = Callable[[grpc.ServicerContext], AbstractContextManager[Caller]]
"""Returns the context of one RPC."""


def of_service(host: Host, service: str, checked: bool = False) -> Rpc:
    """Return what makes the contexts for RPCs of a service.

    :param checked: whether arguments are known to fit what is called.
    """
    telling = status.Telling(service, host.errors, tracebacks=host.is_local)
    return lambda context: _Rpc(host, telling, context, checked)


class _Rpc(AbstractContextManager[Caller]):
    """Accepts an RPC, and makes a status of what it raises.

    Not made by contextlib, which sets attributes of the exceptions that pass.
    """

    def __init__(
        self, host: Host, telling: status.Telling, context: grpc.ServicerContext, checked: bool
    ) -> None:
        self._clients = host.clients
        self._accepted = host.dispatcher.accepted()
        self._telling = telling
        self._context = context
        self._caller = Caller(ANONYMOUS, checked=checked)

    def __enter__(self) -> Caller:
        context, caller = self._context, self._caller
        if is_reserve():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, sessions.NO_THREADS)
        self._clients.unary(caller)
        if not context.add_callback(caller.interrupt.fire):
            caller.interrupt.fire()
        try:
            self._accepted.__enter__()
        except BaseException as error:
            self._clients.unary_done(caller)
            self._fail(error)
        return caller

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._accepted.__exit__(kind, error, trace)
        self._clients.unary_done(self._caller)
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit) and not self._context.is_active():
            return  # the client has left a stream
        status.abort(self._context, error, self._caller, self._telling)


def items(result: Any, caller: Caller) -> Generator[Any, None, None]:
    """Iterate over a result for a caller, and close the iterator when it has gone.

    :raises Interrupted: when it has gone, or the actor is ending: what is left is missing.
    """
    found = iter(result)
    caller.stage = 'running'
    try:
        for item in found:
            caller.interrupt.check()
            caller.stage = 'done'
            yield item
            caller.stage = 'running'
    finally:
        close = getattr(found, 'close', None)
        if close is not None:
            close()
