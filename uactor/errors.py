"""The errors of uactor: one root, each error by its cause and its remedy.

The names :class:`UActorException`, :class:`ProxyError` and :class:`AuthkeyError`
are those of uActor 0.1.1. Where uActor let an error of :mod:`multiprocessing`
through, ours derives from the builtin that a program would have caught there.
"""

from __future__ import annotations

import ast
import builtins
import concurrent.futures
import multiprocessing
import pickle
import queue
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Literal

__all__ = [
    'ActorDiedError',
    'ActorStartError',
    'ActorUnreachableError',
    'AddressError',
    'AuthKeyError',
    'AuthkeyError',
    'ConnectionLostError',
    'DeadlineError',
    'DeadlockError',
    'ForkedError',
    'HandleError',
    'NotExposedError',
    'ProxyError',
    'RemoteError',
    'RemoteTraceback',
    'ResourceError',
    'SerializationError',
    'StaleHandleError',
    'ThreadOwnedError',
    'UActorException',
    'VersionError',
]

Executed = Literal['no', 'yes', 'maybe']
"""Whether the method of a call that failed has run in the actor."""

Stage = Literal['asked', 'running', 'done']
"""How far a call has come: until the actor's code begins, in it, and after it."""


class UActorException(Exception):
    """Root of all errors that uactor itself raises."""


class ProxyError(UActorException):
    """A proxy was asked for something that proxies can't do.

    For example :func:`uactor.proxy` outside an actor process, an unknown
    typeid, or one object under two typeids.
    """


class AuthkeyError(ProxyError):
    """The two sides do not know the same authkey.

    Connect to the actor first, with :meth:`uactor.Actor.connect` and its key.
    """


AuthKeyError = AuthkeyError
"""The other spelling of :class:`AuthkeyError`; the same class."""


class HandleError(ProxyError):
    """The handle names no object (any more), or one of an earlier actor process."""


class StaleHandleError(HandleError):
    """The handle comes from an earlier actor process at the same address."""


class NotExposedError(UActorException, AttributeError):
    """The object has no such method or attribute, or does not expose it."""


class ThreadOwnedError(UActorException, RuntimeError):
    """A lock that belongs to a thread was asked for where calls have no thread of their own.

    Take an ``RLock`` or ``Condition`` by a plain call, not by a future or in asyncio. Outside
    Python, open a ``Session`` that is not pipelined: its calls run on one thread.
    """


class ActorUnreachableError(UActorException, ConnectionRefusedError):
    """Nothing answers at the actor's address, or the actor does not exist yet.

    What accepts connections there and does not answer may be an actor that has been stopped.
    """

    _refuses = False  # whether an actor has answered, and lets nobody in


class ActorDiedError(UActorException, BrokenPipeError, EOFError):
    """The actor has ended.

    A :class:`BrokenPipeError` and an :class:`EOFError`, since these are what
    :mod:`multiprocessing.managers` raises then.

    :ivar executed: whether the method may have run: ``'no'`` when it certainly did not,
        ``'yes'`` when it has come upon the end of another actor, else ``'maybe'``.
    """

    def __init__(self, message: str = 'the actor has ended', executed: Executed = 'maybe') -> None:
        super().__init__(message)
        self.executed: Executed = executed


class ConnectionLostError(ActorDiedError):
    """The connection to an actor on another machine was lost without a word from the actor.

    The network may have been cut, or the actor may have ended: nothing is known of it. An
    :class:`ActorDiedError`, so that programs that handle its end handle this, too. The next call
    connects anew.
    """


class DeadlineError(UActorException, TimeoutError):
    """The caller of a method has waited as long as it wanted to.

    Raise the ``timeout``, of the call or of the class, or look at
    :func:`uactor.current_call` in the method, to end it in time.

    :ivar executed: whether the method may have run: ``'no'`` when it certainly did not, and never
        will.
    """

    def __init__(
        self, message: str = 'the deadline has passed', executed: Executed = 'maybe'
    ) -> None:
        super().__init__(message)
        self.executed: Executed = executed


class DeadlockError(UActorException, RuntimeError):
    """A call of an actor with a ``concurrency`` would have to wait for a call that waits for it.

    The text shows the calls that wait for each other. Raise the ``concurrency``, or don't wait: a
    future need not be waited for in the method that makes the call.
    """


class ForkedError(UActorException, RuntimeError):
    """The call was under way when this process was forked: its parent gets the result.

    Make the call anew, if it may run twice. The callbacks of a future are the parent's, too.

    :ivar executed: whether the method may have run.
    """

    def __init__(
        self,
        message: str = 'the call belongs to the parent of this process, from before the fork',
        executed: Executed = 'maybe',
    ) -> None:
        super().__init__(message)
        self.executed: Executed = executed


class ActorStartError(UActorException):
    """The actor process ended before its actor was constructed."""


class AddressError(UActorException, OSError):
    """An address is malformed, too long, in use, or not safe to listen on."""


class ResourceError(UActorException, RuntimeError):
    """This process has no thread left, or no memory, with which to make a call.

    Raise its limits (``ulimit -u``, ``pids.max``), or make fewer calls at a time.

    :ivar executed: whether the method may have run: ``'no'`` when it certainly did not.
    """

    def __init__(
        self, message: str = 'this process can start no more threads', executed: Executed = 'no'
    ) -> None:
        super().__init__(message)
        self.executed: Executed = executed


class SerializationError(UActorException, pickle.PicklingError, TypeError):
    """A value can't travel between processes.

    Return it through a proxy, or give its class a way to be pickled.

    :ivar executed: whether the method has run: ``'yes'`` when it was the result that can't
        travel, ``'no'`` when it was an argument.
    """

    executed: Executed = 'no'


class VersionError(UActorException):
    """The two sides speak different protocol or Python versions."""


class RemoteError(UActorException):
    """An exception of the actor that can't be rebuilt in this process.

    :ivar type_name: name of its class, with the module unless it is a builtin.
    :ivar message: its text.
    :ivar traceback: the formatted traceback in the actor.
    """

    def __init__(self, type_name: str, message: str, traceback: str = '') -> None:
        super().__init__(type_name, message, traceback)
        self.type_name = type_name
        self.message = message
        self.traceback = traceback

    def __str__(self) -> str:
        """Return class name and text."""
        return f'{self.type_name}: {self.message}' if self.message else self.type_name


class RemoteTraceback(UActorException):
    """Cause of every exception that comes from an actor: where it was raised there.

    Modelled on the class of that name in :mod:`multiprocessing.pool`.

    :ivar traceback: the formatted traceback in the actor.
    """

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        """Return the traceback, set off from the local one."""
        return f'\n"""\n{self.traceback}"""'


STATUS: tuple[tuple[type[BaseException], str], ...] = (
    (AuthkeyError, 'UNAUTHENTICATED'),
    (NotExposedError, 'UNIMPLEMENTED'),
    (NotImplementedError, 'UNIMPLEMENTED'),
    (StaleHandleError, 'FAILED_PRECONDITION'),
    (HandleError, 'NOT_FOUND'),
    (DeadlineError, 'DEADLINE_EXCEEDED'),
    (DeadlockError, 'FAILED_PRECONDITION'),
    (ThreadOwnedError, 'FAILED_PRECONDITION'),
    (VersionError, 'FAILED_PRECONDITION'),
    (SerializationError, 'INVALID_ARGUMENT'),
    (ProxyError, 'INVALID_ARGUMENT'),
    (ActorUnreachableError, 'UNAVAILABLE'),
    (ActorDiedError, 'UNAVAILABLE'),
    (BaseException, 'INTERNAL'),
)
"""The gRPC status of a unary RPC that was refused: that of the first class that the error
belongs to."""


STATUS_CODES = (
    'CANCELLED',
    'UNKNOWN',
    'INVALID_ARGUMENT',
    'DEADLINE_EXCEEDED',
    'NOT_FOUND',
    'ALREADY_EXISTS',
    'PERMISSION_DENIED',
    'RESOURCE_EXHAUSTED',
    'FAILED_PRECONDITION',
    'ABORTED',
    'OUT_OF_RANGE',
    'UNIMPLEMENTED',
    'INTERNAL',
    'UNAVAILABLE',
    'DATA_LOSS',
    'UNAUTHENTICATED',
)
"""The names of all gRPC status codes but OK."""


def find_status(
    error: BaseException, stage: Stage, declared: Mapping[type[BaseException], str] = {}
) -> str:
    """Return the name of the gRPC status code for an error that ended a unary RPC.

    :param stage: where it was raised. An error of ours that the actor's own code raises, about
        another actor, says nothing of this call: callers may retry what is UNAVAILABLE.
    :param declared: codes that the actor's class declares for what its own code raises. That of
        the class nearest to the error's own holds.
    """
    if stage == 'running':
        for cls in type(error).__mro__:
            if cls in declared:
                return declared[cls]
        return 'UNIMPLEMENTED' if isinstance(error, NotImplementedError) else 'UNKNOWN'
    if stage == 'done':
        return 'INTERNAL'  # the result does not fit
    return next(code for cls, code in STATUS if isinstance(error, cls))


def get_type_name(cls: type) -> str:
    """Return the name of ``cls`` with its module, unless it is a builtin."""
    if cls.__module__ == 'builtins':
        return cls.__qualname__
    return f'{cls.__module__}.{cls.__qualname__}'


def get_text(error: BaseException) -> str:
    """Return the text of ``error``, also when its ``__str__`` raises."""
    try:
        return str(error)
    except BaseException as broken:  # SystemExit too: somebody is waiting for the text
        return f'<str() of the exception raised {type(broken).__name__}>'


_RAISED_BY_PROXIES = (
    queue.Empty,
    queue.Full,
    concurrent.futures.CancelledError,
    threading.BrokenBarrierError,
    multiprocessing.TimeoutError,
)
"""What the methods of the standard proxies raise, beside builtins."""

_REBUILDABLE: dict[str, type[BaseException]] = {
    get_type_name(cls): cls
    for cls in (*vars(builtins).values(), *globals().values(), *_RAISED_BY_PROXIES)
    if isinstance(cls, type) and issubclass(cls, BaseException) and cls is not RemoteError
}


def rebuild_exception(name: str, message: str, traceback: str) -> BaseException:
    """Return the exception that a failure without a pickle stands for.

    A builtin, one of ours, or one of the standard proxies, when its text alone makes it;
    else :class:`RemoteError`.
    """
    cls = _REBUILDABLE.get(name)
    if cls is not None:
        for arguments in _guess_arguments(cls, message):
            try:
                error = cls(*arguments)
            except TypeError:  # needs more than its text
                break
            if str(error) == message:
                return error
    return RemoteError(name, message, traceback)


def _guess_arguments(cls: type[BaseException], message: str) -> Iterator[tuple[Any, ...]]:
    """Yield what ``cls`` may have been called with, if ``message`` is its text."""
    if not message:
        yield ()
    if issubclass(cls, (KeyError, SystemExit)):  # their text is the repr() of what they hold
        yield (_parse_literal(message),)
    yield (message,)


def _parse_literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return source
