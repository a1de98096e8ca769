"""The states of an actor's server, as health checks report them."""

from __future__ import annotations

import enum
import threading
from collections.abc import Mapping

from grpc_health.v1 import health, health_pb2

from uactor.host.grpc.reflection import own_services

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class ServerState(enum.Enum):
    """What the server of an actor can do."""

    STARTING = 'the constructor of the actor is running'
    READY = 'the actor can be called'
    ENDING = 'new calls are refused, and running ones may end'
    STOPPED = 'no server serves any more, and none will be created'


class ServerEvent(enum.Enum):
    """What changes the state of a server."""

    CONSTRUCTED = 'the constructor of the actor has returned'
    END = 'the actor is ending'
    STOP = 'the server is to stop'


TRANSITIONS: Mapping[tuple[ServerState, ServerEvent], ServerState] = {
    (ServerState.STARTING, ServerEvent.CONSTRUCTED): ServerState.READY,
    (ServerState.STARTING, ServerEvent.END): ServerState.ENDING,
    (ServerState.READY, ServerEvent.END): ServerState.ENDING,
    (ServerState.ENDING, ServerEvent.CONSTRUCTED): ServerState.ENDING,  # its owner died meanwhile
    (ServerState.ENDING, ServerEvent.END): ServerState.ENDING,
    (ServerState.ENDING, ServerEvent.STOP): ServerState.STOPPED,
    (ServerState.STOPPED, ServerEvent.CONSTRUCTED): ServerState.STOPPED,
    (ServerState.STOPPED, ServerEvent.END): ServerState.STOPPED,
    (ServerState.STOPPED, ServerEvent.STOP): ServerState.STOPPED,
}
"""The next state by state and event. A server that is not ending cannot stop."""


def statuses(state: ServerState, typed_name: str, has_typed: bool) -> dict[str, int]:
    """Return the health of each service, and of the server as ''."""
    status = _SERVING if state is ServerState.READY else _NOT_SERVING
    found: dict[str, int] = dict.fromkeys(('', *own_services()), status)
    found[typed_name] = status if has_typed or not typed_name else _NOT_SERVING
    return found


class ServerStatus:
    """The state of a server, which it reports to health checks.

    The server may not exist yet; then nothing is reported.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._state = ServerState.STARTING
        self._has_typed = True
        self._health: health.HealthServicer | None = None
        self._typed_name = ''
        self._reported: dict[str, int] = {}

    @property
    def state(self) -> ServerState:
        """The state of the server."""
        return self._state

    def advance(self, event: ServerEvent) -> None:
        """Change the state, and report it."""
        with self._lock:
            self._state = TRANSITIONS[self._state, event]
            self._report()

    def announce_typed_failure(self) -> None:
        """Report that there is no typed service."""
        with self._lock:
            self._has_typed = False
            self._report()

    def report_to(self, servicer: health.HealthServicer, typed_name: str) -> None:
        """Report the health of all services to a servicer from now on."""
        with self._lock:
            self._health, self._typed_name = servicer, typed_name
            self._reported.clear()
            self._report()

    def _report(self) -> None:
        if self._health is None:
            return
        found = statuses(self._state, self._typed_name, self._has_typed)
        for service, status in found.items():
            if self._reported.get(service) != status:  # else watchers would be told twice
                self._health.set(service, status)
        self._reported = found
