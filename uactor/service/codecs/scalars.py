"""Codecs of numbers, strings and bytes."""

from __future__ import annotations

import math
import operator
import re
import reprlib
import struct
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from uactor.service.codecs.base import (
    CONVERTED,
    EXACT,
    NOT,
    Codec,
    Handles,
    match_class,
    mismatch_error,
)
from uactor.service.errors import ConversionError


class ScalarCodec(Codec):
    """A value that Protobuf has a type for."""

    def __init__(self, class_: type, proto: str) -> None:
        self.hint = self.class_ = self._class = class_
        self.proto = proto
        self.label = self.key = class_.__name__

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the value."""
        if isinstance(value, self._class):
            return value
        raise mismatch_error(value, f'a {self.label}')

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value."""
        return wire

    def match(self, value: Any) -> int:
        """Return the fit of the class."""
        return match_class(value, self._class)


class TextCodec(ScalarCodec):
    """A string."""

    def __init__(self) -> None:
        super().__init__(str, 'string')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the string, if UTF-8 can encode it."""
        # A subclass may add to its equality: two keys of a map could become one on the wire.
        return validate_utf8(str.__str__(super().pack(value, handles)))


def validate_utf8(text: str) -> str:
    """Return ``text``; refuse lone surrogates, which Protobuf can't carry."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ConversionError(f'{reprlib.repr(text)} is not UTF-8: {error.reason}') from error
    return text


class BytesCodec(Codec):
    """Bytes, a bytearray or a memoryview."""

    proto = 'bytes'
    _classes = (bytes, bytearray, memoryview)

    def __init__(self, class_: type) -> None:
        self.hint = self.class_ = self._make = class_
        self.label = self.key = class_.__name__

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the bytes."""
        if isinstance(value, self._classes):
            return bytes(value)
        raise mismatch_error(value, self.label)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the bytes as the annotated class."""
        return wire if self._make is bytes else self._make(wire)

    def match(self, value: Any) -> int:
        """Accept the class, and less well the other classes of bytes."""
        return match_class(value, self._make) or CONVERTED * isinstance(value, self._classes)


_RANGES = {
    '64': range(-(2**63), 2**63),
    'u64': range(2**64),
    '32': range(-(2**31), 2**31),
    'u32': range(2**32),
}


class IntCodec(Codec):
    """An int in one of Protobuf's widths."""

    class_ = int

    def __init__(self, proto: str = 'int64') -> None:
        self.hint, self.proto = int, proto
        unsigned = proto.startswith(('uint', 'fixed'))
        self._range = _RANGES['u' * unsigned + proto[-2:]]
        self.label = self.key = 'int' if proto == 'int64' else proto

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the int, if the width holds it."""
        number = to_int(value)
        if number in self._range:
            return number
        raise mismatch_error(value, f'in the range of {self.proto}')

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the int."""
        return wire

    def match(self, value: Any) -> int:
        """Accept an int that the width holds, but no bool."""
        fit = _match_int(value)
        return fit if fit == NOT or operator.index(value) in self._range else NOT


def _match_int(value: Any) -> int:
    if isinstance(value, bool):
        return NOT
    return match_class(value, int) or CONVERTED * hasattr(type(value), '__index__')


def to_int(value: Any) -> int:
    """Return an int, or an integer of numpy, as an int."""
    if type(value) is int:
        return value
    if _match_int(value):
        return operator.index(value)
    raise mismatch_error(value, 'an int')


class BigIntCodec(Codec):
    """An int of any size, as a string of digits."""

    hint, proto, class_ = int, 'string', int
    label = key = 'big_int'

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the digits."""
        try:
            return str(to_int(value))
        except ValueError as error:  # more digits than Python converts
            raise (
                error if isinstance(error, ConversionError) else ConversionError(str(error))
            ) from error

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the int."""
        if not re.fullmatch('-?[0-9]+', wire):
            raise ConversionError(f'{reprlib.repr(wire)} is not an int in digits')
        try:
            return int(wire)
        except ValueError as error:
            raise ConversionError(str(error)) from error

    def match(self, value: Any) -> int:
        """Accept an int, but no bool."""
        return _match_int(value)


class FloatCodec(Codec):
    """A float, or an int that a float holds exactly.

    The type ``float`` rounds to single precision: its marker asks for that.
    """

    class_ = float

    def __init__(self, proto: str = 'double') -> None:
        self.hint, self.proto = float, proto
        self.label = self.key = 'float' if proto == 'double' else 'float32'

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the float, if the type holds it."""
        number = value if isinstance(value, float) else self._to_float(value)
        if self.proto == 'float' and math.isfinite(number):
            try:
                return struct.unpack('<f', struct.pack('<f', number))[0]
            except OverflowError as error:
                raise mismatch_error(value, 'in the range of float') from error
        return number

    def _to_float(self, value: Any) -> float:
        if not _match_int(value):
            raise mismatch_error(value, 'a float')
        integer = operator.index(value)
        try:
            number = float(integer)
        except OverflowError:
            number = math.inf
        if number != integer:
            raise mismatch_error(value, 'exact as a float')
        return number

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the float."""
        return wire

    def match(self, value: Any) -> int:
        """Accept ints too, as PEP 484 says, but no bool."""
        return match_class(value, float) or min(_match_int(value), CONVERTED)


class StringFormCodec(Codec):
    """A value as its canonical string."""

    proto = 'string'

    def __init__(
        self,
        class_: type,
        read: Callable[[str], Any],
        write: Callable[[Any], str] = str,
        label: str = '',
    ) -> None:
        self.hint = self.class_ = self._class = class_
        self._read, self._write = read, write
        self.label = self.key = label or class_.__name__.lower()

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the canonical string."""
        if not self.match(value):
            raise mismatch_error(value, f'a {self._class.__name__}')
        return validate_utf8(self._write(value))

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value."""
        try:
            return self._read(wire)
        except (ValueError, ArithmeticError, TypeError) as error:
            reason = f'{reprlib.repr(wire)} does not stand for a {self._class.__name__}'
            raise ConversionError(f'{reason}: {error}' if str(error) else reason) from error

    def match(self, value: Any) -> int:
        """Accept the class itself, and for paths also derived classes.

        An instance of any other derived class would lose data.
        """
        fit = match_class(value, self._class)
        return fit if fit == EXACT or issubclass(self._class, PurePath) else NOT
