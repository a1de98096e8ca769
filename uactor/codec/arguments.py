"""The arguments of calls, in one pickle each."""

from __future__ import annotations

import functools
import itertools
import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from uactor.codec.definitions import Definitions, Numbering
from uactor.codec.pickling import BULKY, PROTOCOL, bulk
from uactor.codec.transfer import current_transfer, restore_transfer, transfer
from uactor.codec.values import (
    OF_A_SIZE,
    OF_ANY_LENGTH,
    Share,
    encode_native,
    small_pickle,
    unpickle_message,
)
from uactor.transport.segments import MIN_SEGMENT_BYTES
from uactor.transport.shm_buffers import Carrier, Lender
from uactor.v1 import actor_pb2 as pb

# --- calls -------------------------------------------------------------------------------------


_dumps = pickle.dumps


def encode_arguments(
    request: Callable[[], pb.CallRequest],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: str,
    by_value: bool,
    share: Share,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> bytes | None:
    """Return the arguments' pickle if it is small and travels alone.

    Otherwise put the arguments into the ``request``. :func:`encode_plain_arguments` is faster for
    small scalars, and so is tried before.

    :param channel: lends memory for large data.
    :param definitions: the definitions that the session remembers.
    """
    outer = current_transfer()
    try:
        if serializer == 'native':
            with transfer():
                message = request()
                message.args.extend(encode_native(value, share) for value in args)
                for name, value in kwargs.items():
                    message.kwargs[name].CopyFrom(encode_native(value, share))
            return None
        if not BULKY.isdisjoint(map(type, args)):
            args = tuple(map(bulk, args))
        with transfer():
            arguments = tuple(args), dict(kwargs)
            pickle_of = functools.partial(small_pickle, lambda: request().arguments)
            return pickle_of(arguments, by_value, channel, definitions)
    except BaseException:
        restore_transfer(outer)
        raise


def encode_plain_arguments(args: Sequence[Any], kwargs: Mapping[str, Any] = {}) -> bytes | None:
    """Pickle arguments that are small scalars; return None for any others."""
    if not _are_plain(args) or (kwargs and not _are_plain(kwargs.values())):
        return None
    keywords = dict(kwargs) if kwargs else {}
    data = _dumps((tuple(args), keywords), PROTOCOL)  # scalars need no pickler of ours
    return data if len(data) < MIN_SEGMENT_BYTES else None


def _are_plain(values: Iterable[Any]) -> bool:
    """Return whether all values are small scalars."""
    for value in values:  # to pickle large data only to measure it would copy it
        kind = type(value)
        if kind not in OF_A_SIZE and (kind not in OF_ANY_LENGTH or len(value) >= MIN_SEGMENT_BYTES):
            return False
    return True


def pickle_plain(scalars: list[Any]) -> bytes:
    """Pickle a list of scalars, or of tuples of scalars."""
    return _dumps(scalars, PROTOCOL)


def decode_plain(message: pb.Pickle, unpickle: bool) -> list[Any]:
    """Unpickle a message of :func:`pickle_plain`.

    :raises SerializationError: when it is not accepted or can't be rebuilt.
    """
    found: list[Any] = unpickle_message(message, unpickle, None, None)
    return found


_BRIEF = 1 << 10
"""Largest arguments of a call in a burst, in bytes, on average."""


def encode_plain_bursts(arguments: Sequence[Sequence[Any]]) -> bytes | None:
    """Pickle the scalar arguments of many small calls together.

    Return None if an argument is no small scalar, or the pickle is too large.
    """
    kinds = set(map(type, itertools.chain.from_iterable(arguments)))
    if not kinds <= OF_A_SIZE and not _are_plain(itertools.chain.from_iterable(arguments)):
        return None
    data = pickle_plain(list(map(tuple, arguments)))
    return data if len(data) < MIN_SEGMENT_BYTES + len(arguments) * _BRIEF else None


def decode_arguments(
    message: pb.Pickle,
    unpickle: bool,
    channel: Carrier | None = None,
    definitions: Definitions | None = None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Unpickle the positional and keyword arguments of a call.

    :raises SerializationError: when it is not accepted or can't be rebuilt.
    """
    arguments: tuple[Sequence[Any], Mapping[str, Any]] = unpickle_message(
        message, unpickle, channel, definitions
    )
    return arguments
