"""What the doors of an actor process share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from uactor.host.callers import ClientRegistry
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.grpc.typed_service import TypedService
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler


@dataclass(frozen=True, eq=False, repr=False)  # a repr would show the authkey
class HostContext:
    """The parts of an actor process that its doors use.

    :ivar target: where the process listens, as gRPC dials it and as handles name it.
    :ivar authkey: what callers must know.
    :ivar max_message_size: largest message in bytes; -1 for no limit.
    :ivar callers: the client processes and their sessions.
    :ivar locks: those that clients hold through proxies.
    :ivar table: the objects that the process shares.
    :ivar dispatcher: runs the code of the user.
    :ivar requests: decodes requests, and encodes results.
    :ivar typed_service: the service that is made from the actor's class.
    :ivar error_codes: the status codes that the actor's class declares for its errors.
    :ivar shows_tracebacks: whether callers outside sessions are sent tracebacks.
    :ivar request_stop: asks the process to end; any thread may call it.
    """

    target: str
    authkey: bytes
    max_message_size: int
    callers: ClientRegistry
    locks: Locks
    table: ObjectTable
    dispatcher: Dispatcher
    requests: RequestHandler
    typed_service: TypedService
    error_codes: Mapping[type[BaseException], str]
    shows_tracebacks: bool
    request_stop: Callable[[], None]
