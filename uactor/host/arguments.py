"""Arguments that a request carries: decoded, and checked outside sessions.

What is wrong with them is told before the method runs, and by field: on unary RPCs
that is INVALID_ARGUMENT.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.codec import arguments, values
from uactor.codec.definitions import Definitions
from uactor.errors import ActorDiedError, ActorUnreachableError, HandleError
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

_TELLING = (HandleError, ActorUnreachableError, ActorDiedError)
"""What a handle among the arguments may lead to; each has a status of its own."""


class InvalidArgument(Exception):
    """A field of the request has no meaning for the call.

    :ivar field: path of the field in the request.
    :ivar reason: what is wrong with it.
    :ivar description: the same in words, where those of ``reason`` name the field too.
    """

    def __init__(self, field: str, reason: Exception, description: str = '') -> None:
        super().__init__(field, reason, description)
        self.field = field
        self.reason = reason
        self.description = description


class field(contextlib.AbstractContextManager[None]):  # see values.passage
    """Let errors say that they come from the field at ``path``."""

    __slots__ = ('_path',)

    def __init__(self, path: str) -> None:
        self._path = path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, _TELLING):
            raise InvalidArgument(self._path, error) from error


def unpickled(
    message: pb.Pickle, unpickle: bool, channel: Carrier | None, definitions: Definitions | None
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the positional and keyword arguments that a call carries as one pickle.

    :param unpickle: whether pickles are accepted.
    :param channel: has what has come beside the message.
    :param definitions: what the session remembers.
    :raises InvalidArgument: when they can't be decoded.
    """
    try:
        return arguments.decode_arguments(message, unpickle, channel, definitions)
    except Exception:
        with field('arguments'):
            raise


def decoded(
    request: pb.CallRequest | pb.CreateHandleRequest,
    resolve: values.Resolve,
    unpickle: bool,
    channel: Carrier | None,
    definitions: Definitions | None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the positional and keyword arguments that a request carries one by one.

    :param resolve: makes what a handle stands for.
    :param unpickle: whether pickles are accepted.
    :param channel: has what has come beside the message.
    :param definitions: what the session remembers.
    :raises InvalidArgument: for the first that can't be decoded.
    """
    args, kwargs = [], {}
    left = itertools.chain(request.args, request.kwargs.values())  # not looked at yet
    try:
        for index in range(len(request.args)):
            with field(f'args[{index}]'):
                args.append(values.decode(next(left), resolve, unpickle, channel, definitions))
        for name in request.kwargs:
            with field(f'kwargs.{name}'):
                kwargs[name] = values.decode(next(left), resolve, unpickle, channel, definitions)
    except BaseException:
        if channel is not None:
            pickles = [value.pickle for value in left]
            channel.ignore([found.memory for found in pickles if found.HasField('memory')])
        raise
    return args, kwargs


def check(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Check that a function takes such arguments, as far as Python can tell beforehand.

    :raises InvalidArgument: when it does not.
    """
    if not callable(function):
        raise InvalidArgument('method', TypeError('this is an attribute; use GetAttribute'))
    try:
        signature = inspect.signature(function)
    except ValueError:  # implemented in C, without one
        return
    with field('kwargs' if kwargs else 'args'):
        signature.bind(*args, **kwargs)
