"""Encode and decode a session's most frequent messages without Protobuf.

Problem: most calls bring a few scalars or one small pickle, and return the same. Protobuf makes an
object of each such message, and each field is read from it: a third of the time of a call.

Mechanism: the functions of this module write and read exactly these messages as bytes. The wire
form is Protobuf's. A message in any other form is left to Protobuf: encoders return None for it,
decoders too.

Invariant: a decoder returns what Protobuf would read, or None. Property tests compare both.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

from google.protobuf.message import DecodeError

from uactor.transport.segments import MIN_SEGMENT_BYTES
from uactor.transport.varint import encode_varint
from uactor.v1 import actor_pb2 as pb

MAX_DATA_BYTES = MIN_SEGMENT_BYTES
"""Size from which data takes the slow path: it may travel beside its message, in memory."""
_MAX_MESSAGE_BYTES = MAX_DATA_BYTES + (1 << 16)
"""Largest message of the fast path: the largest data, and its envelope."""
_MAX_SCALARS = 3
"""More scalars than this are faster as one pickle."""
_MIN_VIEW_BYTES = 1 << 13
"""A pickle of this size or more is a view of its message, not a copy."""
_HEAD = struct.Struct('4B')
"""The four bytes of a request before its arguments, when each number takes one byte."""
_double = struct.Struct('<d')

NUMBERED = b'\x08'
"""The first byte of a message that has a number."""

# Tags of Protobuf: the byte before the value of a field. A scalar is an argument or a result; an
# item of a stream stands where the result would stand.
_ID, _CALL, _ATTRIBUTE, _ARGUMENTS, _DATA, _SCALAR = 0x08, 0x2A, 0x32, 0x2A, 0x0A, 0x1A
_RESULT, _ITEM = bytes((_SCALAR,)), b'\x32'
_NULL, _BOOL, _INT, _FLOAT, _STR, _BYTES, _PICKLE = 0x08, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x52

_SHORT = 1 << 7
"""The first number whose varint takes more than one byte."""
_NUMBERED = [bytes((_ID, number)) for number in range(_SHORT)]
_CALLS = [bytes((_CALL, size)) for size in range(_SHORT)]


def _encode_number(number: int) -> bytes:
    """Return the beginning of a message with this number."""
    if number < _SHORT:
        return _NUMBERED[number]
    if number < 1 << 14:
        return bytes((_ID, number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((_ID, number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    return NUMBERED + encode_varint.__wrapped__(number)


class _NotFastError(Exception):
    """The message has a form that the fast path does not write."""


# --- messages in messages -----------------------------------------------------------------------


def split_coalesced(message: bytes, more: int) -> list[bytes] | None:
    """Split messages that travel as one.

    Return None when Protobuf has to do it.

    :param more: number of the field that holds all messages but the first.
    """
    message, length, tag = bytes(message), len(message), more << 3 | 2
    if length < 4 or message[0] != _ID:
        return None
    try:
        end = _find_end_of_first(message)
        if end is None:
            return None
        found = [message[:end]]
        while end < length:
            if message[end] != tag:
                return None
            size, at = message[end + 1], end + 2
            if size >= _SHORT:
                size, at = _long_number(message, at - 1)
            end = at + size
            found.append(message[at:end])
    except IndexError:
        return None
    return found if end == length else None


def _find_end_of_first(message: bytes) -> int | None:
    """Return where the first of coalesced messages ends.

    That message has a number and one field. Return None if the field has no length, or its tag more
    than two bytes.
    """
    number, at = message[1], 2
    if number >= _SHORT:
        _, at = _long_number(message, 1)
    if message[at] & 7 != 2:  # a field without a length
        return None
    if message[at] > 127:  # the number of the field, as that of a burst, has a second byte
        at += 1
        if message[at] > 127:
            return None
    size, at = message[at + 1], at + 2
    if size >= _SHORT:
        size, at = _long_number(message, at - 1)
    return at + size


# --- short scalars -------------------------------------------------------------------------------


_INTS = 1 << 14
"""The first int whose varint takes three bytes. Most ints take one or two."""
_two = struct.Struct('<3sH')
"""An int of two bytes, and the three bytes before it."""
_OF_TWO = bytes((_SCALAR, 3, _INT))
_MARKS, _IN_TWO = 1 << 15 | 1 << 7, 1 << 7
"""The continuation bits of both bytes, and their state in an int of two bytes."""
_SMALL = [bytes((_SCALAR, 2, _INT, value)) for value in range(_SHORT)]
_SMALL_INTS = {encoded: value for value, encoded in enumerate(_SMALL)}
_CONSTANTS: dict[bool | None, bytes] = {
    None: bytes((_SCALAR, 2, _NULL, 0)),
    False: bytes((_SCALAR, 2, _BOOL, 0)),
    True: bytes((_SCALAR, 2, _BOOL, 1)),
}


_ONE: dict[bytes, tuple[Any, ...]] = {
    b'': (),
    **{encoded: (value,) for value, encoded in enumerate(_SMALL)},
    **{encoded: (value,) for value, encoded in _CONSTANTS.items()},
}
"""All arguments of four bytes, decoded: one scalar, or none."""


def _encode_short_scalar(value: Any) -> bytes | None:
    """Return a short scalar's wire form, or None for other values."""
    kind: Any = type(value)
    if kind is int:
        if 0 <= value < _SHORT:
            return _SMALL[value]  # type: ignore[no-any-return]
        if 0 <= value < _INTS:
            return _two.pack(_OF_TWO, value & 127 | 128 | value >> 7 << 8)
        return None
    if kind is bool or value is None:
        return _CONSTANTS[value]
    if kind is float:
        return b'\x1a\x09!' + _double.pack(value)
    return None


def _decode_scalar(message: bytes, at: int) -> tuple[Any, int]:
    """Decode a scalar, and return it with its end in the message.

    :raises _NotFastError: for text, bytes, and forms that Protobuf would not write.
    """
    end, kind, at = at + 2 + message[at + 1], message[at + 2], at + 3
    if kind == _FLOAT:
        if end != at + 8 or end > len(message):
            raise _NotFastError
        return _double.unpack_from(message, at)[0], end
    number, at = message[at], at + 1
    if number >= _SHORT:
        number, at = _long_number(message, at - 1)
    if at == end:
        if kind == _INT and not number >> 64:
            return (number if number < 1 << 63 else number - (1 << 64)), end
        if kind == _BOOL and number < 2:
            return number == 1, end
        if kind == _NULL and not number:
            return None, end
    raise _NotFastError


# --- requests ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def encode_target(handle: str, method: str) -> bytes:
    """Encode the part of a request with its handle and method."""
    call = pb.CallRequest(handle=handle, method=method, accept_pickle=True)
    return call.SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=1024)
def decode_target(part: bytes) -> tuple[str, str] | None:
    """Decode a part of :func:`encode_target` into handle and method.

    Return None for any other part.
    """
    try:
        call = pb.CallRequest.FromString(part)
    except DecodeError:
        return None
    return (call.handle, call.method) if encode_target(call.handle, call.method) == part else None


@functools.lru_cache(maxsize=1024)
def encode_attribute(handle: str, name: str) -> bytes:
    """Encode a request that reads an attribute, without its number."""
    get = pb.GetAttributeRequest(handle=handle, name=name, accept_pickle=True)
    return pb.SessionRequest(get_attribute=get).SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=1024)
def _decode_attribute_part(part: bytes) -> tuple[str, str] | None:
    """Decode a part of :func:`encode_attribute` into handle and name.

    Return None for any other part.
    """
    try:
        get = pb.SessionRequest.FromString(part).get_attribute
    except DecodeError:
        return None
    return (get.handle, get.name) if encode_attribute(get.handle, get.name) == part else None


def encode_request(number: int, part: bytes, arguments: bytes | None) -> bytes:
    """Encode a request that calls a method or reads an attribute.

    :param part: from :func:`encode_target`, or else from :func:`encode_attribute`.
    :param arguments: from :func:`encode_scalars` or :func:`encode_pickle`; None for an attribute.
    """
    if arguments is None:
        return _encode_number(number) + part
    size = len(arguments) + len(part)
    if size < _SHORT and number < _SHORT:
        return b''.join((_NUMBERED[number], _CALLS[size], arguments, part))
    return b'%b*%b%b%b' % (_encode_number(number), encode_varint(size), arguments, part)


def encode_scalars(values: Sequence[Any]) -> bytes | None:
    """Encode a few short scalars, or return None for other arguments."""
    if len(values) == 1:
        value = values[0]
        if type(value) is int and 0 <= value < _INTS:  # inlined: the most frequent argument
            if value < _SHORT:
                return _SMALL[value]
            return _two.pack(_OF_TWO, value & 127 | 128 | value >> 7 << 8)
        return _encode_short_scalar(value)
    if len(values) > _MAX_SCALARS:
        return None
    found = b''
    for value in values:
        encoded = _encode_short_scalar(value)
        if encoded is None:
            return None
        found += encoded
    return found


def encode_pickle(arguments: bytes) -> bytes:
    """Encode arguments that are one pickle."""
    size = encode_varint(len(arguments))
    return b'*%b\n%b%b' % (encode_varint(1 + len(size) + len(arguments)), size, arguments)


Arguments = tuple[Any, ...] | bytes | memoryview
"""Decoded scalars, or the pickle of all arguments."""
Request = tuple[int, str, str, Arguments]
"""Number, handle, method and arguments of a call."""


def decode_request(message: bytes | bytearray) -> Request | None:
    """Decode a message of :func:`encode_request`; return None for any other message."""
    length = len(message)
    if not 6 <= length <= _MAX_MESSAGE_BYTES or message[0] != _ID:
        return None
    if isinstance(message, bytearray):
        message = bytes(message)  # slices of bytes are hashable
    number, at = message[1], 2
    try:
        if number >= _SHORT:
            number, at = _long_number(message, 1)
        if message[at] != _CALL:
            return None
        end, at = message[at + 1], at + 2
        if end >= _SHORT:
            end, at = _long_number(message, at - 1)
        if at + end != length:
            return None
        take = _decode_pickle if message[at] == _ARGUMENTS else _decode_scalars
        arguments, at = take(message, at)
    except (IndexError, struct.error, _NotFastError):
        return None
    encode_target = decode_target(message[at:])
    if encode_target is None:
        return None
    handle, method = encode_target
    return number, handle, method, arguments


def decode_attribute(message: bytes | bytearray) -> tuple[int, str, str] | None:
    """Decode a request for an attribute into number, handle and name.

    Return None for a longer request, and for any other message.
    """
    if not 4 <= len(message) < _SHORT or message[0] != _ID or message[2] != _ATTRIBUTE:
        return None
    number, found = message[1], _decode_attribute_part(bytes(message[2:]))
    return (number, *found) if number < _SHORT and found is not None else None


class RequestReader:
    """Decodes the requests of a session.

    Most requests call the same method as the request before, so the reader remembers it.
    """

    def __init__(self) -> None:
        # The last target in its wire form, its size, handle and method. No call has come yet.
        self._last = b'', _MAX_MESSAGE_BYTES + 1, '', ''

    def read(self, message: bytes | bytearray) -> Request | None:
        """Decode a message as :func:`decode_request` does."""
        part, size, handle, method = self._last
        length = len(message)
        end = length - size
        if 4 <= end <= 9 and message.endswith(part) and type(message) is bytes:
            first, number, field, size = _HEAD.unpack_from(message)
            if first == _ID and number < _SHORT and field == _CALL and size == length - 4 < _SHORT:
                # The bytes between are whole scalars, so the target begins where it seems to.
                if end == 9:
                    head, value = _two.unpack_from(message, 4)
                    if head == _OF_TWO and value & _MARKS == _IN_TWO:
                        value = value & 127 | value >> 8 << 7
                        return number, handle, method, (value,)
                else:
                    arguments = _ONE.get(message[4:end])
                    if arguments is not None:
                        return number, handle, method, arguments
        found = decode_request(message)
        if found is not None:
            _, handle, method, _ = found
            part = encode_target(handle, method)
            self._last = part, len(part), handle, method
        return found


def _decode_scalars(message: bytes, at: int) -> tuple[Arguments, int]:
    found: tuple[Any, ...] = ()
    while message[at] == _SCALAR:
        value = _SMALL_INTS.get(message[at : at + 4])
        if value is not None:
            at += 4
        else:
            head, value = _two.unpack_from(message, at)
            if head == _OF_TWO and value & _MARKS == _IN_TWO:
                at, value = at + 5, value & 127 | value >> 8 << 7
            else:
                value, at = _decode_scalar(message, at)
        found += (value,)
    return found, at


def _decode_pickle(message: bytes, at: int) -> tuple[Arguments, int]:
    end, at = message[at + 1], at + 2
    if end >= _SHORT:
        end, at = _long_number(message, at - 1)
    end += at
    if message[at] != _DATA:
        raise _NotFastError
    size, at = message[at + 1], at + 2
    if size >= _SHORT:
        size, at = _long_number(message, at - 1)
    if at + size != end or end > len(message):
        raise _NotFastError
    return (message[at:end] if size < _MIN_VIEW_BYTES else memoryview(message)[at:end]), end


def _long_number(message: bytes, at: int) -> tuple[int, int]:
    """Decode a varint of several bytes, and return it with its end.

    :raises IndexError: when the message ends before it, or it is longer than ten bytes.
    """
    number = shift = 0
    while message[at] >= _SHORT:
        number |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
    if shift > 63:  # Protobuf reads ten bytes at most
        raise IndexError
    return number | message[at] << shift, at + 1


# --- responses -----------------------------------------------------------------------------------


def encode_result(number: int, value: Any) -> bytes | None:
    """Encode a response with a scalar; return None for any other value."""
    kind: Any = type(value)
    if kind is int and 0 <= value < _INTS and number < _SHORT:  # inlined: the most frequent result
        if value < _SHORT:
            return _NUMBERED[number] + _SMALL[value]  # type: ignore[no-any-return]
        return _NUMBERED[number] + _two.pack(_OF_TWO, value & 127 | 128 | value >> 7 << 8)
    short = _encode_short_scalar(value)
    if short is not None:
        return _encode_number(number) + short
    if kind is int:
        if not -1 << 63 <= value < 1 << 63:
            return None
        body = b'\x18' + encode_varint.__wrapped__(value % (1 << 64))
    elif kind is str or kind is bytes:
        if len(value) >= MAX_DATA_BYTES:
            return None
        try:
            data = value.encode() if kind is str else value
        except UnicodeEncodeError:  # lone surrogates
            return None
        body = (b'*' if kind is str else b'2') + encode_varint(len(data)) + data
    else:
        return None
    return b'%b\x1a%b%b' % (_encode_number(number), encode_varint(len(body)), body)


def encode_item(number: int, value: Any) -> bytes | None:
    """Encode a response with an item of a stream.

    Return None for a value that :func:`encode_result` does not encode.
    """
    found = encode_result(number, value)
    if found is None:
        return None
    at = len(_encode_number(number))
    return found[:at] + _ITEM + found[at + 1 :]


class PickledResult:
    """A result that is still a pickle.

    :ivar data: the pickle, as a view of its message.
    """

    __slots__ = ('data',)

    def __init__(self, data: memoryview) -> None:
        self.data = data


# In one piece: a function for strings and pickles would cost each of them 40 to 70 of 600 ns.
def decode_result(message: bytes | bytearray) -> tuple[int, Any] | None:  # noqa: C901  # see above
    """Decode a response into number and value.

    Return None for a message that Protobuf has to read. The value of a pickle is a
    :class:`PickledResult`.
    """
    length = len(message)
    if not 6 <= length <= _MAX_MESSAGE_BYTES or message[0] != _ID:
        return None
    if isinstance(message, bytearray):
        message = bytes(message)  # slices of bytes are hashable
    try:
        number, at = message[1], 2
        if number >= _SHORT:
            number, at = _long_number(message, 1)
        if at + 4 == length:
            small = _SMALL_INTS.get(message[at:])
            if small is not None:
                return number, small
        elif at + 5 == length:
            head, value = _two.unpack_from(message, at)
            if head == _OF_TWO and value & _MARKS == _IN_TWO:
                return number, value & 127 | value >> 8 << 7
        if message[at] != _SCALAR:
            return None
        size, start, at = message[at + 1], at, at + 2
        if size >= _SHORT:
            size, at = _long_number(message, at - 1)
        if at + size != length:
            return None
        kind, at = message[at], at + 1
        if kind < _STR:
            return number, _decode_scalar(message, start)[0]
        size, at = message[at], at + 1
        if size >= _SHORT:
            size, at = _long_number(message, at - 1)
        if at + size != length:
            return None
        if kind == _STR:
            return number, str(memoryview(message)[at:], 'utf-8')
        if kind == _BYTES:
            return number, bytes(memoryview(message)[at:])
        if kind != _PICKLE or message[at] != _DATA:
            return None
        size, at = message[at + 1], at + 2
        if size >= _SHORT:
            size, at = _long_number(message, at - 1)
    except (IndexError, UnicodeDecodeError, _NotFastError):
        return None
    return (number, PickledResult(memoryview(message)[at:])) if at + size == length else None


def decode_item(message: bytes | bytearray) -> tuple[int, Any] | None:
    """Decode a stream's item into number and value, like :func:`decode_result`.

    Return None for any other message.
    """
    at, length = 2, len(message)
    while at < length and message[at - 1] >= _SHORT:
        at += 1
    if length > _MAX_MESSAGE_BYTES or message[at : at + 1] != _ITEM:
        return None
    message = bytes(message)
    return decode_result(message[:at] + _RESULT + message[at + 1 :])
