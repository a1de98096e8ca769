"""The running call: its caller, its deadline, the calls that wait."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from uactor.errors import ProxyError

T = TypeVar('T')


class Cancellable(Protocol):
    """Knows whether no caller waits for a call any more."""

    is_cancelled: bool


class CurrentCall:
    """The call that runs a method, as the method sees it.

    :ivar caller: names the caller. For an actor it is the name of a method, as ``'Counter.add'``,
        and for a client the name of its process.
    """

    __slots__ = ('_cancel_token', '_path', 'caller', 'expires', 'runs')

    def __init__(
        self,
        caller: str,
        cancel_token: Cancellable,
        path: tuple[str, ...] = (),
        expires: float | None = None,
    ) -> None:
        self.caller = path[-1].partition(' ')[2] if path else caller
        self.expires = expires
        self.runs: tuple[type, str] | None = None
        self._cancel_token = cancel_token
        self._path = path

    @property
    def name(self) -> str:
        """The called method, as ``'Counter.add'``.

        It is empty until the host has looked the method up.
        """
        return '' if self.runs is None else f'{self.runs[0].__name__}.{self.runs[1]}'

    @property
    def deadline(self) -> float | None:
        """How long the caller still waits, in seconds; None for any time.

        It is 0 once the caller no longer waits. The method's own calls to other actors inherit it.
        """
        return None if self.expires is None else max(0.0, self.expires - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether no caller waits any more: a long method may stop."""
        return self._cancel_token.is_cancelled

    @property
    def path(self) -> tuple[str, ...]:
        """This call and the calls that wait for it, outermost first."""
        return (*self._path, f'{self.ident} {self.name}')

    @property
    def waiting(self) -> tuple[str, ...]:
        """The calls of actors that wait for this one, outermost first."""
        return self._path

    @property
    def ident(self) -> str:
        """A name of this call that is unique among all running calls."""
        return f'{_process}/{id(self):x}'

    def __repr__(self) -> str:
        return f'<CurrentCall {self.name} by {self.caller}>'


_process = ''


def set_process_name(process: str) -> None:
    """Set the process name that begins the idents of this process's calls."""
    global _process
    _process = process


running: contextvars.ContextVar[CurrentCall | None] = contextvars.ContextVar(
    'uactor_call', default=None
)
"""The call that runs in this context; None outside actors, and in threads that a method starts."""

current = running.get


def run_in(call: CurrentCall | None, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Run a function as part of a call.

    If the call is None, the current call stays.
    """
    if call is None:
        return function(*args, **kwargs)
    token = running.set(call)
    try:
        return function(*args, **kwargs)
    finally:
        running.reset(token)


def current_call() -> CurrentCall:
    """Return the call that runs this method of an actor.

    The thread or asyncio task that runs the method has it, and so have tasks that this task starts.
    Other threads have no current call.

    :raises ProxyError: outside calls.
    """
    call = current()
    if call is None:
        raise ProxyError('there is no current call: this thread runs no method of an actor')
    return call


def limit_to_call(timeout: float | None) -> float | None:
    """Limit a timeout in seconds to the current call's remaining time."""
    call = current()
    left = None if call is None else call.deadline
    if left is None:
        return timeout
    return left if timeout is None else min(timeout, left)
