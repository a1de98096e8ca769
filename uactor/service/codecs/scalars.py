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

from uactor.service.codecs.base import CONVERTED, EXACT, NOT, Codec, Handles, by_class, misfit
from uactor.service.errors import ConversionError


class ScalarCodec(Codec):
    """A value that is its own form on the wire."""

    def __init__(self, class_: type, proto: str) -> None:
        self.hint = self.class_ = self._class = class_
        self.proto = proto
        self.label = self.key = class_.__name__

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the value."""
        if isinstance(value, self._class):
            return value
        raise misfit(value, f'a {self.label}')

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value."""
        return wire

    def match(self, value: Any) -> int:
        """Go by the class."""
        return by_class(value, self._class)


class TextCodec(ScalarCodec):
    """A str."""

    def __init__(self) -> None:
        super().__init__(str, 'string')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the str, when UTF-8 has a form for it."""
        # Without what a subclass adds: as keys of a map, two may be one on the wire.
        return utf8(str.__str__(super().pack(value, handles)))


def utf8(text: str) -> str:
    """Return ``text`` unless it has lone surrogates, which Protobuf can't carry."""
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
        raise misfit(value, self.label)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the bytes as the class that was asked for."""
        return wire if self._make is bytes else self._make(wire)

    def match(self, value: Any) -> int:
        """Go by the class; the others of its kind will do."""
        return by_class(value, self._make) or CONVERTED * isinstance(value, self._classes)


_RANGES = {
    '64': range(-(2**63), 2**63),
    'u64': range(2**64),
    '32': range(-(2**31), 2**31),
    'u32': range(2**32),
}


class IntCodec(Codec):
    """An int in one of the widths of Protobuf."""

    class_ = int

    def __init__(self, proto: str = 'int64') -> None:
        self.hint, self.proto = int, proto
        unsigned = proto.startswith(('uint', 'fixed'))
        self._range = _RANGES['u' * unsigned + proto[-2:]]
        self.label = self.key = 'int' if proto == 'int64' else proto

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the int, when it has enough bits."""
        number = as_int(value)
        if number in self._range:
            return number
        raise misfit(value, f'in the range of {self.proto}')

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the int."""
        return wire

    def match(self, value: Any) -> int:
        """Take no bool, nor an int that has too many bits."""
        fit = _is_int(value)
        return fit if fit == NOT or operator.index(value) in self._range else NOT


def _is_int(value: Any) -> int:
    if isinstance(value, bool):
        return NOT
    return by_class(value, int) or CONVERTED * hasattr(type(value), '__index__')


def as_int(value: Any) -> int:
    """Return an int, or what stands for one exactly, such as an integer of numpy."""
    if type(value) is int:
        return value
    if _is_int(value):
        return operator.index(value)
    raise misfit(value, 'an int')


class BigIntCodec(Codec):
    """An int of any size, as a string of digits."""

    hint, proto, class_ = int, 'string', int
    label = key = 'big_int'

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the digits."""
        try:
            return str(as_int(value))
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
        """Take no bool."""
        return _is_int(value)


class FloatCodec(Codec):
    """A float, or an int that is one exactly; as ``float`` rounded, which was asked for."""

    class_ = float

    def __init__(self, proto: str = 'double') -> None:
        self.hint, self.proto = float, proto
        self.label = self.key = 'float' if proto == 'double' else 'float32'

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the float, when it is not too large."""
        number = value if isinstance(value, float) else self._exact(value)
        if self.proto == 'float' and math.isfinite(number):
            try:
                return struct.unpack('<f', struct.pack('<f', number))[0]
            except OverflowError as error:
                raise misfit(value, 'in the range of float') from error
        return number

    def _exact(self, value: Any) -> float:
        if not _is_int(value):
            raise misfit(value, 'a float')
        integer = operator.index(value)
        try:
            number = float(integer)
        except OverflowError:
            number = math.inf
        if number != integer:
            raise misfit(value, 'exact as a float')
        return number

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the float."""
        return wire

    def match(self, value: Any) -> int:
        """Take ints too, as PEP 484 says, but no bool."""
        return by_class(value, float) or min(_is_int(value), CONVERTED)


class StringFormCodec(Codec):
    """A value that a string stands for in its canonical form."""

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
        """Return the canonical form."""
        if not self.match(value):
            raise misfit(value, f'a {self._class.__name__}')
        return utf8(self._write(value))

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value."""
        try:
            return self._read(wire)
        except (ValueError, ArithmeticError, TypeError) as error:
            reason = f'{reprlib.repr(wire)} does not stand for a {self._class.__name__}'
            raise ConversionError(f'{reason}: {error}' if str(error) else reason) from error

    def match(self, value: Any) -> int:
        """Go by the class. What derives from it has more to say, but for paths."""
        fit = by_class(value, self._class)
        return fit if fit == EXACT or issubclass(self._class, PurePath) else NOT
