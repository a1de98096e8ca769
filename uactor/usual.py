"""The usual messages of a session, put together and taken apart by hand.

Most calls bring their arguments in one small pickle, and get a scalar or another such pickle.
Making objects of such messages, and asking them for one field after the other, takes a third of
the time of a call. The wire form is Protobuf's, and who does not know of this module does not see
a difference: what has any other form than that written here is left to Protobuf.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

from google.protobuf.message import DecodeError

from uactor.memory import LARGE
from uactor.v1 import actor_pb2 as pb
from uactor.wire import varint

MOST = LARGE
"""What has as many bytes is not usual: it may travel beside its message."""
_LONGEST = MOST + (1 << 16)
"""Largest message, in bytes."""
_INTS = range(1 << 14)
"""Ints that have one or two bytes, as most have."""
_COPIED = 1 << 13
"""Smallest pickle that is not copied out of its message, in bytes."""
_double = struct.Struct('<d')

NUMBERED = b'\x08'
"""What a message with a number begins with."""

# Fields, as what they hold begins with.
_ID, _CALL, _ARGUMENTS, _DATA, _RESULT = 0x08, 0x2A, 0x2A, 0x0A, 0x1A
_NULL, _BOOL, _INT, _FLOAT, _STR, _BYTES, _PICKLE = 0x08, 0x10, 0x18, 0x21, 0x2A, 0x32, 0x52


_SHORT = [bytes((number,)) for number in range(1 << 7)]


def _encoded(number: int) -> bytes:
    """Return the number of a message in Protobuf's form. No two messages have the same."""
    if number < 1 << 7:
        return _SHORT[number]
    if number < 1 << 14:
        return bytes((number & 127 | 128, number >> 7))
    if number < 1 << 21:
        return bytes((number & 127 | 128, number >> 7 & 127 | 128, number >> 14))
    return varint.__wrapped__(number)


# --- messages in messages -----------------------------------------------------------------------


def parts(message: bytes, more: int) -> list[bytes] | None:
    """Return the messages that travel as one; None when Protobuf has to find them.

    :param more: number of the field that has all but the first one.
    """
    message, length, tag = bytes(message), len(message), more << 3 | 2
    if length < 4 or message[0] != _ID:
        return None
    try:
        number, at = message[1], 2
        if number > 127:
            _, at = _long_number(message)
        if message[at] & 7 != 2:  # it has no length
            return None
        if message[at] > 127:  # as that of a burst, the number of the field has another byte
            at += 1
            if message[at] > 127:
                return None
        size, at = message[at + 1], at + 2
        if size > 127:
            size, at = _long_number(message, at - 1)
        end = at + size
        found = [message[:end]]
        while end < length:
            if message[end] != tag:
                return None
            size, at = message[end + 1], end + 2
            if size > 127:
                size, at = _long_number(message, at - 1)
            end = at + size
            found.append(message[at:end])
    except IndexError:
        return None
    return found if end == length else None


# --- requests ------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1024)
def called(handle: str, method: str) -> bytes:
    """Return the part of a request that says which method is called."""
    call = pb.CallRequest(handle=handle, method=method, accept_pickle=True)
    return call.SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=1024)
def target(part: bytes) -> tuple[str, str] | None:
    """Return the handle and method that :func:`called` has made ``part`` of, if it has."""
    try:
        call = pb.CallRequest.FromString(part)
    except DecodeError:
        return None
    return (call.handle, call.method) if called(call.handle, call.method) == part else None


def request(number: int, part: bytes, arguments: bytes) -> bytes:
    """Return a request that calls a method.

    :param part: from :func:`called`.
    :param arguments: their pickle.
    """
    head = _head(len(arguments), len(part))
    return b'\x08%b%b%b%b' % (_encoded(number), head, arguments, part)


@functools.lru_cache(maxsize=1024)
def _head(arguments: int, part: int) -> bytes:
    """Return what comes before arguments of such a length, and a part."""
    size = varint(arguments)
    pickle = varint(1 + len(size) + arguments)
    call = varint(2 + len(pickle) + len(size) + arguments + part)
    return b'*%b*%b\n%b' % (call, pickle, size)


def read_request(message: bytes) -> tuple[int, bytes, bytes | memoryview] | None:
    """Return what :func:`request` has made a message of; None for any other message.

    The part that says what is called is whatever stands in its place.
    """
    # Without functions for its parts: they would take as long as Protobuf does.
    length = len(message)
    if not 8 <= length <= _LONGEST or message[0] != _ID:
        return None
    try:
        number, at = message[1], 2
        if number > 127:
            number, at = _long_number(message)
        if message[at] != _CALL:
            return None
        end, at = message[at + 1], at + 2
        if end > 127:
            end, at = _long_number(message, at - 1)
        if at + end != length or message[at] != _ARGUMENTS:
            return None
        size, at = message[at + 1], at + 2
        if size > 127:
            size, at = _long_number(message, at - 1)
        end = at + size
        if message[at] != _DATA:
            return None
        size, at = message[at + 1], at + 2
        if size > 127:
            size, at = _long_number(message, at - 1)
    except IndexError:
        return None
    if at + size != end or end > length:
        return None
    if size < _COPIED:
        return number, bytes(message[end:]), message[at:end]
    return number, bytes(message[end:]), memoryview(message)[at:end]


def _long_number(message: bytes, at: int = 1) -> tuple[int, int]:
    """Return a number that has more than one byte, and where it ends."""
    number = shift = 0
    while message[at] > 127:
        number |= (message[at] & 127) << shift
        at, shift = at + 1, shift + 7
    return number | message[at] << shift, at + 1


# --- responses -----------------------------------------------------------------------------------


def result(number: int, value: Any) -> bytes | None:
    """Return a response with a scalar; None when ``value`` is none that is usual."""
    kind = type(value)
    if kind is int:
        if value not in _INTS:
            return None
        return b'\x08%b\x1a%b' % (_encoded(number), _int(value))
    if value is None:
        body = b'\x08\x00'
    elif kind is str or kind is bytes:
        if len(value) >= MOST:
            return None
        try:
            data = value.encode() if kind is str else value
        except UnicodeEncodeError:  # lone surrogates
            return None
        body = (b'*' if kind is str else b'2') + varint(len(data)) + data
    elif kind is bool:
        body = b'\x10\x01' if value else b'\x10\x00'
    elif kind is float:
        body = b'!' + _double.pack(value)
    else:
        return None
    return b'\x08%b\x1a%b%b' % (_encoded(number), varint(len(body)), body)


@functools.lru_cache(maxsize=1024)
def _int(value: int) -> bytes:
    """Return what a response has of an int."""
    body = b'\x18' + varint(value)
    return varint(len(body)) + body


class Pickled:
    """What a response has a pickle of.

    :ivar data: the pickle.
    """

    __slots__ = ('data',)

    def __init__(self, data: memoryview) -> None:
        self.data = data


def read_result(message: bytes) -> tuple[int, Any] | None:
    """Return the number and value of a response; None for one that is not usual.

    The value may be :class:`Pickled`.
    """
    length = len(message)
    if not 6 <= length <= _LONGEST or message[0] != _ID:
        return None
    try:
        number, at = message[1], 2
        if number > 127:
            number, at = _long_number(message)
        if message[at] != _RESULT:
            return None
        size, at = message[at + 1], at + 2
        if size > 127:
            size, at = _long_number(message, at - 1)
        if at + size != length:
            return None
        kind, size = message[at], message[at + 1]
        at += 2
        if kind == _FLOAT:
            return (number, _double.unpack_from(message, at - 1)[0]) if length == at + 7 else None
        if size > 127:
            size, at = _long_number(message, at - 1)
        if kind == _INT:
            return (number, size) if at == length and size in _INTS else None
        if kind == _NULL:
            return (number, None) if at == length and not size else None
        if kind == _BOOL:
            return (number, size == 1) if at == length and size < 2 else None
        if at + size != length:
            return None
        if kind == _STR:
            return number, str(memoryview(message)[at:], 'utf-8')
        if kind == _BYTES:
            return number, bytes(memoryview(message)[at:])
        if kind != _PICKLE or message[at] != _DATA:
            return None
        size, at = message[at + 1], at + 2
        if size > 127:
            size, at = _long_number(message, at - 1)
    except (IndexError, UnicodeDecodeError):
        return None
    return (number, Pickled(memoryview(message)[at:])) if at + size == length else None
