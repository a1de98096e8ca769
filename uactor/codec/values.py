"""Python value ↔ ``uactor.v1.Value``.

Between Python peers, plain scalars travel in their native form and all else as a pickle. For
callers that take no pickles, plain data has native forms, and any other value becomes a handle.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from typing import Any

from uactor.codec.definitions import Definitions, Numbering
from uactor.codec.messages import SCALAR_FORMS
from uactor.codec.pickling import (
    BULKY,
    VIEWS,
    Buffers,
    Numbers,
    bulk,
    describe_type,
    dump,
    loads_with,
    validate_data,
    validate_size,
)
from uactor.codec.transfer import current_transfer
from uactor.errors import SerializationError
from uactor.transport.segments import MIN_SEGMENT_BYTES
from uactor.transport.shm_buffers import Carrier, Lender
from uactor.v1 import actor_pb2 as pb

DEFAULT_SERIALIZER = 'cloudpickle'
"""Name of the default serializer."""

SERIALIZERS = ('cloudpickle', 'pickle', 'native')
"""``'cloudpickle'`` sends anything, ``'pickle'`` only what can be imported by name,
``'native'`` only plain data and handles, without any pickle. In order: each allows less."""

_INT64 = range(-(2**63), 2**63)
_MAX_DEPTH = 30
"""Deepest native value: Protobuf reads 100 nested messages, and a dict takes three."""


def validate_serializer(name: str) -> str:
    """Return ``name`` if it is a serializer.

    :raises ValueError: otherwise.
    """
    if name not in SERIALIZERS:
        raise ValueError(f'unknown serializer {name!r}; choose one of {", ".join(SERIALIZERS)}')
    return name


def choose_stricter(one: str, other: str) -> str:
    """Return the serializer that allows less."""
    return max(one, other, key=SERIALIZERS.index)


# --- values for Python peers ----------------------------------------------------------------


OF_A_SIZE = frozenset([type(None), bool, int, float])
OF_ANY_LENGTH = frozenset([str, bytes])
SCALARS = OF_A_SIZE | OF_ANY_LENGTH


def put_scalar(message: pb.Value, value: Any, channel: Lender | None = None) -> bool:
    """Put a scalar into ``message``, if it has an exact native form.

    Return whether it has that form. A native form is cheaper than a pickle, except for large bytes
    that a ``channel`` can take.
    """
    kind = type(value)
    if kind is int:
        if value not in _INT64:
            return False
        message.int64 = value
    elif kind is str:
        try:
            message.string = value
        except UnicodeEncodeError:  # lone surrogates
            return False
    elif value is None:
        message.null = 0  # type: ignore[assignment]  # enum value as int
    elif kind is bool:
        message.bool = value
    elif kind is float:
        message.double = value
    elif kind is bytes:
        if channel is not None and len(value) >= MIN_SEGMENT_BYTES:
            return False
        message.bytes = validate_data(value)
    else:
        return False
    return True


def put(
    message: pb.Value,
    value: Any,
    by_value: bool = True,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> None:
    """Put ``value`` into ``message``, for a peer that accepts pickles.

    :param channel: lends memory for large data.
    :param definitions: the definitions that the session remembers.
    :raises SerializationError: when it can't be pickled.
    """
    if not put_scalar(message, value, channel):
        if type(value) in BULKY:
            value = bulk(value)
        _put_pickle(message.pickle, value, by_value, channel, definitions)


def encode(
    value: Any,
    by_value: bool = True,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> pb.Value:
    """Return ``value`` for a peer that accepts pickles; see :func:`put`."""
    message = pb.Value()
    put(message, value, by_value, channel, definitions)
    return message


def _put_pickle(
    message: pb.Pickle,
    value: Any,
    by_value: bool,
    channel: Lender | None,
    definitions: Numbering | None,
) -> None:
    data = small_pickle(lambda: message, value, by_value, channel, definitions)
    if data is not None:
        message.data = data


def small_pickle(
    message: Callable[[], pb.Pickle],
    value: Any,
    by_value: bool,
    channel: Lender | None,
    definitions: Numbering | None,
) -> bytes | None:
    """Return the pickle of ``value`` if it is small and travels alone.

    Otherwise put the pickle, its buffers and definitions into the ``message``.
    """
    buffers: Buffers = []
    numbers: Numbers = {}
    data = dump(value, by_value, buffers, definitions, numbers)
    to_send = tuple(definitions.to_send(numbers)) if numbers and definitions is not None else ()
    if to_send:
        message().definitions.extend(to_send)
    if len(data) < MIN_SEGMENT_BYTES and not buffers:
        if not to_send:
            return data
        message().data = data
        return None
    parts = [memoryview(data), *(buffer.raw() for buffer in buffers)]
    memory = channel.lend(parts) if channel is not None else None
    if memory is None:
        validate_size(sum(part.nbytes for part in parts))
        message().data = data
        message().buffers.extend(map(bytes, buffers))
        return None
    message().memory.CopyFrom(memory)
    passing = current_transfer()
    if channel is not None and passing is not None:
        passing.undo.append(functools.partial(channel.recall, [memory]))
    return None


# --- native values ---------------------------------------------------------------------------

Share = Callable[[Any], 'pb.Handle']
Resolve = Callable[['pb.Handle'], Any]


def encode_native(value: Any, share: Share, depth: int = 0) -> pb.Value:
    """Encode ``value`` in native forms.

    A value without a native form becomes a handle by ``share``.

    :raises SerializationError: from ``share``, when there is no handle for it either.
    """
    message = pb.Value()
    if put_scalar(message, value):
        return message
    native = None
    if depth < _MAX_DEPTH:
        native = _encode_container(value, lambda part: encode_native(part, share, depth + 1))
    return pb.Value(handle=share(value)) if native is None else native


def _encode_container(value: Any, encoded: Callable[[Any], pb.Value]) -> pb.Value | None:
    """Encode a value that holds other values; return None for any other.

    :param encoded: encodes the values that it holds.
    """
    kind = type(value)
    if kind in (list, tuple, *VIEWS):
        return pb.Value(list=pb.ListValue(items=map(encoded, value)))
    if kind is dict:
        entries = [
            pb.MapEntry(key=encoded(key), value=encoded(item)) for key, item in value.items()
        ]
        return pb.Value(map=pb.MapValue(entries=entries))
    if kind is bytearray:
        return pb.Value(bytes=bytes(value))
    if kind is slice:
        with contextlib.suppress(TypeError, ValueError):  # an int of more than 64 bits
            return pb.Value(slice=pb.Slice(start=value.start, stop=value.stop, step=value.step))
    return None


def refuse_to_share(value: Any) -> pb.Handle:
    """Refuse to make a handle.

    This is the ``share`` of a client, which has no objects to share.
    """
    raise SerializationError(
        f'{describe_type(value)} has no native form; without pickles, only None, bool, int of 64 '
        'bits, float, str, bytes, list, dict and proxies can be sent, and not nested too deeply'
    )


def decode(
    value: pb.Value,
    resolve: Resolve,
    unpickle: bool,
    channel: Carrier | None = None,
    definitions: Definitions | None = None,
) -> Any:
    """Decode a message into the Python value.

    :param resolve: returns the object or proxy of a handle.
    :param unpickle: whether pickles are accepted.
    :param channel: receives the memory that came beside the message.
    :param definitions: the definitions that the session remembers.
    :raises SerializationError: for a pickle that is not accepted or can't be rebuilt.
    """
    kind = value.WhichOneof('kind')
    if kind in SCALAR_FORMS:
        return getattr(value, kind)
    if kind == 'pickle':
        return unpickle_message(value.pickle, unpickle, channel, definitions)
    if kind == 'list':
        return [decode(item, resolve, unpickle) for item in value.list.items]
    if kind == 'map':
        return {
            _to_key(decode(entry.key, resolve, unpickle)): decode(entry.value, resolve, unpickle)
            for entry in value.map.entries
        }
    if kind == 'handle':
        return resolve(value.handle)
    if kind == 'slice':
        return slice(*(_get_optional(value.slice, name) for name in ('start', 'stop', 'step')))
    return None


def unpickle_message(
    message: pb.Pickle, unpickle: bool, channel: Carrier | None, definitions: Definitions | None
) -> Any:
    """Rebuild a value from its pickle and the memory beside that.

    See :func:`decode` for the parameters.
    """
    if not unpickle:
        if channel is not None and message.HasField('memory'):
            channel.ignore([message.memory])
        raise SerializationError("this side accepts no pickles (serializer='native')")
    data = message.data
    buffers: Iterable[Any]
    if not data and channel is not None:
        data, *buffers = channel.borrow(message.memory)  # type: ignore[assignment]  # views
    else:  # buffers stay writable, as they were for the sender
        buffers = map(bytearray, message.buffers)
        if channel is not None and message.HasField(
            'memory'
        ):  # a peer that sends both: this memory is not used
            channel.ignore([message.memory])
    if definitions is not None:
        definitions.receive(message.definitions)
    return loads_with(definitions, data, buffers)


def _to_key(key: Any) -> Any:
    """Return a key that a dict accepts.

    A list on the wire was a tuple before.
    """
    if isinstance(key, list):
        return tuple(map(_to_key, key))
    if isinstance(key, dict):
        raise SerializationError('a dict cannot be the key of a dict')
    return key


def _get_optional(message: pb.Slice, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]
