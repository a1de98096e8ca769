"""The call that is running: on whose behalf, how long it is waited for, who waits for it."""

from __future__ import annotations

import contextvars
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from uactor.errors import ProxyError

T = TypeVar('T')


class Cancellable(Protocol):
    """Tells whether anybody waits for a call."""

    is_cancelled: bool


class CurrentCall:
    """What a method of an actor can know about the call that runs it.

    :ivar caller: who calls: the name of a method, as ``'Counter.add'``, when an actor does, else
        that of the client process.
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
        """What is called, as ``'Counter.add'``; '' before that has been looked up."""
        return '' if self.runs is None else f'{self.runs[0].__name__}.{self.runs[1]}'

    @property
    def deadline(self) -> float | None:
        """How long the caller still waits, in seconds, 0 when no longer; None for any time.

        Calls to other actors that the method makes take it on.
        """
        return None if self.expires is None else max(0.0, self.expires - time.monotonic())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: a long method may stop then."""
        return self._cancel_token.is_cancelled

    @property
    def path(self) -> tuple[str, ...]:
        """The calls of actors that wait for this one, the outermost first, and this one itself."""
        return (*self._path, f'{self.ident} {self.name}')

    @property
    def waiting(self) -> tuple[str, ...]:
        """The calls that wait for this one."""
        return self._path

    @property
    def ident(self) -> str:
        """What names this call among all that run."""
        return f'{_process}/{id(self):x}'

    def __repr__(self) -> str:
        return f'<CurrentCall {self.name} by {self.caller}>'


_process = ''


def set_process_name(process: str) -> None:
    """Have the calls of this actor process begin with its name."""
    global _process
    _process = process


running: contextvars.ContextVar[CurrentCall | None] = contextvars.ContextVar(
    'uactor_call', default=None
)
"""The call that runs in this context; None outside actors, and in threads of their own."""

current = running.get


def run_in(call: CurrentCall | None, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Run a function as part of a call, or of the one that runs already if there is none."""
    if call is None:
        return function(*args, **kwargs)
    token = running.set(call)
    try:
        return function(*args, **kwargs)
    finally:
        running.reset(token)


def current_call() -> CurrentCall:
    """Return the call that runs this method of an actor.

    It is that of the thread or asyncio task that runs the method, and of tasks that this one has
    started; other threads have none.

    :raises ProxyError: outside calls.
    """
    call = current()
    if call is None:
        raise ProxyError('there is no current call: this thread runs no method of an actor')
    return call


def limit_to_call(timeout: float | None) -> float | None:
    """Return ``timeout``, or what is left of the current call's if that is less, in seconds."""
    call = current()
    left = None if call is None else call.deadline
    if left is None:
        return timeout
    return left if timeout is None else min(timeout, left)
