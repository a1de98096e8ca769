"""Decode the arguments of a request, and validate them outside sessions.

An error in them is raised before the method runs, and names the field. On unary RPCs it becomes
INVALID_ARGUMENT.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.codec import arguments as codec_arguments
from uactor.codec import values
from uactor.codec.definitions import Definitions
from uactor.errors import ActorDiedError, ActorUnreachableError, HandleError
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

_PASSED_ON = (HandleError, ActorUnreachableError, ActorDiedError)
"""Errors that a handle among the arguments may lead to; each has a status of its own."""


class InvalidArgumentError(Exception):
    """A field of the request has no meaning for the call.

    :ivar field: path of the field in the request.
    :ivar reason: what is wrong with it.
    :ivar description: the reason in words, where the text of ``reason`` names the field too.
    """

    def __init__(self, field: str, reason: Exception, description: str = '') -> None:
        super().__init__(field, reason, description)
        self.field = field
        self.reason = reason
        self.description = description


# A generator would take longer.
class field(contextlib.AbstractContextManager[None]):  # noqa: N801  # used as a function is
    """Turn errors into :class:`InvalidArgumentError` for the field at ``path``."""

    __slots__ = ('_path',)

    def __init__(self, path: str) -> None:
        self._path = path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, _PASSED_ON):
            raise InvalidArgumentError(self._path, error) from error


def decode_pickled_arguments(
    message: pb.Pickle, unpickle: bool, channel: Carrier | None, definitions: Definitions | None
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Decode the arguments that a call carries as one pickle.

    :param unpickle: whether pickles are accepted.
    :param channel: has the large data that has come beside the message.
    :param definitions: the definitions that the session remembers.
    :raises InvalidArgumentError: when they can't be decoded.
    """
    try:
        return codec_arguments.decode_arguments(message, unpickle, channel, definitions)
    except Exception:
        with field('arguments'):
            raise


def decode_arguments(
    request: pb.CallRequest | pb.CreateHandleRequest,
    resolve: values.Resolve,
    unpickle: bool,
    channel: Carrier | None,
    definitions: Definitions | None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Decode the arguments that a request carries one by one.

    :param resolve: makes the proxy that a handle stands for.
    :param unpickle: whether pickles are accepted.
    :param channel: has the large data that has come beside the message.
    :param definitions: the definitions that the session remembers.
    :raises InvalidArgumentError: for the first argument that can't be decoded.
    """
    args, kwargs = [], {}
    left = itertools.chain(request.args, request.kwargs.values())  # have not been decoded
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


def validate_arguments(
    function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> None:
    """Check arguments against the signature of a function, if Python knows it.

    :raises InvalidArgumentError: when it does not take them.
    """
    if not callable(function):
        raise InvalidArgumentError('method', TypeError('this is an attribute; use GetAttribute'))
    try:
        signature = inspect.signature(function)
    except ValueError:  # implemented in C, without one
        return
    with field('kwargs' if kwargs else 'args'):
        signature.bind(*args, **kwargs)
