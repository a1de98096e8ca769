"""RPCs outside sessions, in the generic service and in the typed one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

import grpc

from uactor.host.callers import Caller
from uactor.host.context import HostContext
from uactor.host.grpc import status
from uactor.host.grpc.executor import is_reserve
from uactor.host.holders import ANONYMOUS
from uactor.host.refusal import NO_THREADS
from uactor.runtime.limits import validate_timeout


class Rpc(Protocol):
    """Returns the context of one RPC."""

    def __call__(
        self, context: grpc.ServicerContext, path: Sequence[str] = ()
    ) -> AbstractContextManager[Caller]:
        """Return the context of an RPC.

        :param path: the calls of actors that wait for the RPC.
        """
        ...


def create_rpc_factory(host: HostContext, service: str, validated: bool = False) -> Rpc:
    """Return the function that returns the contexts of RPCs of a service.

    :param validated: whether arguments are known to fit the method.
    """
    reporting = status.ErrorReporting(service, host.error_codes, host.shows_tracebacks)
    return lambda context, path=(): _Rpc(host, reporting, context, validated, path)


class _Rpc(AbstractContextManager[Caller]):
    """Accepts an RPC, and ends it with a status when it raises.

    A generator of contextlib would set attributes of the exceptions that pass.
    """

    def __init__(
        self,
        host: HostContext,
        reporting: status.ErrorReporting,
        context: grpc.ServicerContext,
        validated: bool,
        path: Sequence[str],
    ) -> None:
        self._callers = host.callers
        self._gate = host.dispatcher.gate
        self._reporting = reporting
        self._context = context
        self._caller = Caller(ANONYMOUS, context.peer(), validated)
        self._path = path

    def __enter__(self) -> Caller:
        context, caller = self._context, self._caller
        if is_reserve():
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, NO_THREADS)
        caller.begin_call(self._path, validate_timeout(context.time_remaining()))
        self._callers.add_unary(caller)
        if not context.add_callback(caller.cancel_token.cancel):
            caller.cancel_token.cancel()
        try:
            self._gate.__enter__()
        except BaseException as error:
            self._callers.remove_unary(caller)
            self._fail(error)
        return caller

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate.__exit__(kind, error, trace)
        self._callers.remove_unary(self._caller)
        if error is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, GeneratorExit) and not self._context.is_active():
            return  # the client has cancelled a stream
        status.abort(self._context, error, self._caller, self._reporting)
