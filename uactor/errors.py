"""The errors of uactor: one root, each error by its cause and its remedy.

The names :class:`UActorException`, :class:`ProxyError` and :class:`AuthkeyError`
are those of uActor 0.1.1. Where uActor let an error of :mod:`multiprocessing`
through, ours derives from the builtin that a program would have caught there.
"""

from __future__ import annotations

import builtins
import pickle
from typing import Literal

__all__ = [
    'ActorDiedError',
    'ActorStartError',
    'ActorUnreachableError',
    'AddressError',
    'AuthKeyError',
    'AuthkeyError',
    'HandleError',
    'NotExposedError',
    'ProxyError',
    'RemoteError',
    'RemoteTraceback',
    'SerializationError',
    'StaleHandleError',
    'ThreadOwnedError',
    'UActorException',
    'VersionError',
]

Executed = Literal['no', 'yes', 'maybe']
"""Whether a call that failed has run in the actor."""


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
    """A lock that belongs to a thread was asked for outside a session.

    Open a ``Session``: its calls run on one thread.
    """


class ActorUnreachableError(UActorException, ConnectionRefusedError):
    """Nothing accepts connections at the actor's address."""


class ActorDiedError(UActorException, BrokenPipeError, EOFError):
    """The actor has ended.

    A :class:`BrokenPipeError` and an :class:`EOFError`, since these are what
    :mod:`multiprocessing.managers` raises then.

    :ivar executed: whether the call may have run: ``'no'`` when it certainly
        never reached the actor, else ``'maybe'``.
    """

    def __init__(self, message: str = 'the actor has ended', executed: Executed = 'maybe') -> None:
        super().__init__(message)
        self.message = message
        self.executed: Executed = executed

    def __reduce__(self) -> tuple[type[ActorDiedError], tuple[str, Executed]]:
        """Rebuild from message and ``executed``."""
        return type(self), (self.message, self.executed)

    def __str__(self) -> str:
        """Return the message."""
        return self.message


class ActorStartError(UActorException):
    """The actor process ended before its actor was constructed."""


class AddressError(UActorException, OSError):
    """An address is malformed, too long, in use, or not safe to listen on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)


class SerializationError(UActorException, pickle.PicklingError, TypeError):
    """A value can't travel between processes.

    Return it through a proxy, or give its class a way to be pickled.
    """


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
    (ThreadOwnedError, 'FAILED_PRECONDITION'),
    (VersionError, 'FAILED_PRECONDITION'),
    (SerializationError, 'INVALID_ARGUMENT'),
    (ProxyError, 'INVALID_ARGUMENT'),
    (ActorUnreachableError, 'UNAVAILABLE'),
    (ActorDiedError, 'UNAVAILABLE'),
    (BaseException, 'UNKNOWN'),
)
"""The gRPC status of an error on unary RPCs: that of the first class that it belongs to."""


def status_of(error: BaseException, executed: Executed) -> str:
    """Return the name of the gRPC status code for ``error``."""
    if isinstance(error, ActorDiedError) and executed != 'no':
        return 'ABORTED'
    if isinstance(error, SerializationError) and executed == 'yes':
        return 'INTERNAL'
    return next(code for cls, code in STATUS if isinstance(error, cls))


def type_name(cls: type) -> str:
    """Return the name of ``cls`` with its module, unless it is a builtin."""
    if cls.__module__ == 'builtins':
        return cls.__qualname__
    return f'{cls.__module__}.{cls.__qualname__}'


def rebuild(name: str, message: str, traceback: str) -> BaseException:
    """Return the exception that a failure without a pickle stands for.

    A builtin, or one of ours, when its text alone makes it; else :class:`RemoteError`.
    """
    short = name.removeprefix(f'{__name__}.')
    namespace = builtins if short == name else None
    cls = getattr(namespace, short, None) if namespace else globals().get(short)
    if isinstance(cls, type) and issubclass(cls, BaseException) and cls is not RemoteError:
        try:
            error = cls(message)
        except TypeError:  # needs more than its text
            return RemoteError(name, message, traceback)
        return error if str(error) == message else RemoteError(name, message, traceback)
    return RemoteError(name, message, traceback)
