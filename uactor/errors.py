"""The errors of uactor: a class for each cause with its remedy.

The names :class:`UActorException`, :class:`ProxyError` and :class:`AuthkeyError` are those of
uActor 0.1.1. Where uActor raised an error of :mod:`multiprocessing`, the class here derives from
the builtin that programs caught there.
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
"""How far a call has come: before the actor's code runs, while it runs, or after that."""


class UActorException(Exception):  # noqa: N818  # the name that uActor documents
    """Root of all errors that uactor itself raises."""


class ProxyError(UActorException):
    """A proxy or manager is used in an unsupported way.

    For example, :func:`uactor.proxy` is called outside an actor process, a typeid is unknown, or
    one object is shared under two typeids.
    """


class AuthkeyError(ProxyError):
    """This process and the actor do not know the same authkey.

    Connect to the actor first, by :meth:`uactor.Actor.connect` with its key.
    """


AuthKeyError = AuthkeyError
"""The other spelling of :class:`AuthkeyError`; the same class."""


class HandleError(ProxyError):
    """The handle names no object of the actor.

    The object may have been freed, since no client held it, or an earlier actor process had it.
    """


class StaleHandleError(HandleError):
    """The handle belongs to an earlier actor process at the same address."""


class NotExposedError(UActorException, AttributeError):
    """The method or attribute does not exist, or is not exposed.

    The object's class decides what it exposes.
    """


class ThreadOwnedError(UActorException, RuntimeError):
    """A call without its own thread has tried to acquire a lock.

    The lock belongs to the thread that acquires it.

    Acquire an ``RLock`` or ``Condition`` by a plain call, not by a future or in asyncio. Outside
    Python, open a ``Session`` that is not pipelined: its calls run on one thread.
    """


class ActorUnreachableError(UActorException, ConnectionRefusedError):
    """Nothing answers at the actor's address, or there is no actor yet.

    If connections are accepted there without an answer, the actor may be stopped, by a debugger for
    example.
    """

    _refuses = False  # whether an actor has answered that it accepts no session


class ActorDiedError(UActorException, BrokenPipeError, EOFError):
    """The actor has ended.

    It is a :class:`BrokenPipeError` and an :class:`EOFError`, because
    :mod:`multiprocessing.managers` raises these when a process has ended.

    :ivar executed: whether the method may have run: ``'no'`` if it certainly has not, ``'yes'`` if
        it has run and another actor has ended meanwhile, and ``'maybe'`` otherwise.
    """

    def __init__(self, message: str = 'the actor has ended', executed: Executed = 'maybe') -> None:
        super().__init__(message)
        self.executed: Executed = executed


class ConnectionLostError(ActorDiedError):
    """The connection to an actor on another machine broke off.

    The network may have failed, or the actor may have ended: this process can't know. It is an
    :class:`ActorDiedError`, so that programs which handle the end of an actor handle this, too. The
    next call connects again.
    """


class DeadlineError(UActorException, TimeoutError):
    """The call's timeout has expired.

    Raise the ``timeout`` of the call or of the class. A method that takes long can look at
    :func:`uactor.current_call` to end in time.

    :ivar executed: whether the method may have run: ``'no'`` if it certainly has not and never
        will, ``'yes'`` if it has begun, and ``'maybe'`` if the actor has not answered.
    """

    def __init__(
        self, message: str = 'the deadline has passed', executed: Executed = 'maybe'
    ) -> None:
        super().__init__(message)
        self.executed: Executed = executed


class DeadlockError(UActorException, RuntimeError):
    """Calls of actors with a ``concurrency`` would wait for each other forever.

    The message shows these calls. Raise the ``concurrency``, or let the method that makes the call
    not wait for it: it can return while a future is pending.
    """


class ForkedError(UActorException, RuntimeError):
    """The call was in progress when this process was forked.

    The parent gets the result.

    Make the call again, if it may run twice. Callbacks of a future run in the parent, too.

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
    """The actor process did not start, or ended before construction."""


class AddressError(UActorException, OSError):
    """An address is malformed, too long, in use, or unsafe for listening."""


class ResourceError(UActorException, RuntimeError):
    """This process has run out of threads, descriptors or memory.

    Raise its limits (``ulimit -u``, ``pids.max``), or make fewer calls at the same time.

    :ivar executed: whether the method may have run: ``'no'`` if it certainly has not.
    """

    def __init__(
        self, message: str = 'this process can start no more threads', executed: Executed = 'no'
    ) -> None:
        super().__init__(message)
        self.executed: Executed = executed


class SerializationError(UActorException, pickle.PicklingError, TypeError):
    """A value can't be sent to another process.

    Return it as a proxy, or make its class picklable.

    :ivar executed: whether the method has run: ``'yes'`` if its result can't be sent, ``'no'`` if
        an argument can't.
    """

    executed: Executed = 'no'


class VersionError(UActorException):
    """Client and actor have different versions of the protocol."""


class RemoteError(UActorException):
    """The actor has raised an exception that can't be rebuilt here.

    :ivar type_name: name of the exception's class, with the module unless it is a builtin.
    :ivar message: text of the exception.
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
    """The cause of an actor's exception, which shows where it was raised.

    It is modelled on the class of the same name in :mod:`multiprocessing.pool`.

    :ivar traceback: the formatted traceback in the actor.
    """

    def __init__(self, traceback: str) -> None:
        super().__init__(traceback)
        self.traceback = traceback

    def __str__(self) -> str:
        """Return the traceback, in quotes that separate it from the local one."""
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
"""The gRPC status of a unary RPC that is refused. The first class that the error belongs to
decides."""


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
"""The names of all gRPC status codes except OK."""


def find_status(
    error: BaseException, stage: Stage, declared: Mapping[type[BaseException], str] = {}
) -> str:
    """Return the name of the gRPC status code for an error.

    The error has ended a unary RPC.

    :param stage: how far the call had come. Callers may retry a call that is UNAVAILABLE, so an
        error that the actor's own code raises, about another actor, must not say that.
    :param declared: codes that the actor's class declares for exceptions of its own code. The
        nearest base of the error's class decides.
    """
    if stage == 'running':
        for cls in type(error).__mro__:
            if cls in declared:
                return declared[cls]
        return 'UNIMPLEMENTED' if isinstance(error, NotImplementedError) else 'UNKNOWN'
    if stage == 'done':
        return 'INTERNAL'  # the result can't be encoded
    return next(code for cls, code in STATUS if isinstance(error, cls))


def get_type_name(cls: type) -> str:
    """Return a class's name, with its module unless it is a builtin."""
    if cls.__module__ == 'builtins':
        return cls.__qualname__
    return f'{cls.__module__}.{cls.__qualname__}'


def get_text(error: BaseException) -> str:
    """Return the text of ``error``, even if its ``__str__`` raises."""
    try:
        return str(error)
    except BaseException as broken:  # also SystemExit: the caller waits for the text
        return f'<str() of the exception raised {type(broken).__name__}>'


_RAISED_BY_PROXIES = (
    queue.Empty,
    queue.Full,
    concurrent.futures.CancelledError,
    threading.BrokenBarrierError,
    multiprocessing.TimeoutError,
)
"""Exceptions that methods of the standard proxies raise, beside builtins."""

_REBUILDABLE: dict[str, type[BaseException]] = {
    get_type_name(cls): cls
    for cls in (*vars(builtins).values(), *globals().values(), *_RAISED_BY_PROXIES)
    if isinstance(cls, type) and issubclass(cls, BaseException) and cls is not RemoteError
}


def rebuild_exception(name: str, message: str, traceback: str) -> BaseException:
    """Return the exception for a failure that has no pickle.

    It is a builtin, an error of uactor or one of the standard proxies, if its class can be called
    with the text alone. Otherwise it is a :class:`RemoteError`.
    """
    cls = _REBUILDABLE.get(name)
    if cls is not None:
        for arguments in _guess_arguments(cls, message):
            try:
                error = cls(*arguments)
            except TypeError:  # the class takes more than a text
                break
            if str(error) == message:
                return error
    return RemoteError(name, message, traceback)


def _guess_arguments(cls: type[BaseException], message: str) -> Iterator[tuple[Any, ...]]:
    """Yield arguments for ``cls`` that may result in the text ``message``."""
    if not message:
        yield ()
    if issubclass(cls, (KeyError, SystemExit)):  # their text is the repr() of their argument
        yield (_parse_literal(message),)
    yield (message,)


def _parse_literal(source: str) -> Any:
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return source
