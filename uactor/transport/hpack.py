"""The part of HPACK (RFC 7541) that a gRPC call needs.

HPACK is the encoding of header blocks in HTTP/2. Each block stands by itself. A block that is sent
refers to no earlier one. The peer has been told to keep no table of earlier ones, either
(``SETTINGS_HEADER_TABLE_SIZE`` 0).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from uactor.transport.varint import encode_varint

_INDEXED, _ADDED_TO_TABLE, _RESIZING = 0x80, 0x40, 0x20
"""How a field begins that the table has, a field for the table, and a new size of the table. All
other fields are not for the table."""

_HUFFMAN = 0x80
"""Flag of a string that is in Huffman's code."""

_STATUS = ':status'
_STATUS_BY_INDEX = {8: '200', 9: '204', 10: '206', 11: '304', 12: '400', 13: '404', 14: '500'}
"""Those fields of the static table that say anything about a gRPC call."""
_STATIC_FIELDS = 61
"""How many fields the static table has."""

_LENGTH_LETTER_OFFSET, _END_OF_STRING = ord('a') - 5, 256
_CODE_LENGTHS = (
    'isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhf'
    'ibccccccccccccccccccccccdcdioijbkabababbbaccbbbabcbaabccccckgjix'
    'prpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrs'
    'vvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwv'
    'z'
)
"""How many bits each byte has in Huffman's code, and last its end: from a for 5 to z for 30.

The code follows from that: codes of one length follow each other, and longer ones follow them.
"""


class HeaderError(Exception):
    """A header block violates HPACK."""


def encode_headers(fields: Iterable[tuple[str, str]]) -> bytes:
    """Encode the fields of a header block."""
    return b''.join(
        b'\0' + _encode_string(name.encode()) + _encode_string(value.encode())
        for name, value in fields
    )


def _encode_string(data: bytes) -> bytes:
    return _encode_integer(len(data)) + data


def _encode_integer(number: int) -> bytes:
    return bytes([number]) if number < 127 else b'\x7f' + encode_varint(number - 127)


def decode_headers(block: bytes) -> dict[str, str]:
    """Decode a header block.

    Of the fields whose name is in the static table, only the status is returned.

    :raises HeaderError: if it is no header block.
    """
    reader = _Reader(block)
    fields = {}
    try:
        while reader.has_more:
            name, value = reader.read_field()
            if name:
                fields[name] = value
    except IndexError as error:
        raise HeaderError('a header block ends too soon') from error
    return fields


class _Reader:
    """Reads a header block.

    Its methods raise IndexError if the block ends too soon.
    """

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0

    @property
    def has_more(self) -> bool:
        return self._at < len(self._block)

    def read_field(self) -> tuple[str, str]:
        """Read a name and its value.

        The name is empty if the field means nothing to a gRPC call.
        """
        first = self._block[self._at]
        if first & _INDEXED:
            index = self._read_number(7)
            _validate_index(index)
            return (_STATUS, _STATUS_BY_INDEX[index]) if index in _STATUS_BY_INDEX else ('', '')
        if first & _ADDED_TO_TABLE:
            index = self._read_number(6)
        elif first & _RESIZING:
            self._read_number(5)
            return '', ''
        else:
            index = self._read_number(4)
        if not index:
            name = self._read_text()
        else:
            _validate_index(index)
            name = _STATUS if index in _STATUS_BY_INDEX else ''
        return name, self._read_text()

    def _read_number(self, bits: int) -> int:
        """Read a number that begins in the last bits of a byte.

        A large number continues in the bytes behind it.
        """
        prefix_max = (1 << bits) - 1
        number = self._block[self._at] & prefix_max
        self._at += 1
        if number < prefix_max:
            return number
        shift, byte = 0, 0x80
        while byte & 0x80:
            if shift > 28:
                raise HeaderError('a header block has a number that is too large')
            byte = self._block[self._at]
            self._at += 1
            number += (byte & 0x7F) << shift
            shift += 7
        return number

    def _read_text(self) -> str:
        is_huffman = self._block[self._at] & _HUFFMAN
        size = self._read_number(7)
        data = self._block[self._at : self._at + size]
        if len(data) < size:
            raise HeaderError('a header block ends too soon')
        self._at += size
        return (_decode_huffman(data) if is_huffman else data).decode('latin-1')


def _validate_index(index: int) -> None:
    if not 0 < index <= _STATIC_FIELDS:
        raise HeaderError(f'a header block refers to field {index}, and there is none')


@functools.cache
def _build_huffman_codes() -> Mapping[tuple[int, int], int]:
    """Build the table of bytes by their code's length and value."""
    codes, code, length = {}, 0, 0
    lengths = [ord(letter) - _LENGTH_LETTER_OFFSET for letter in _CODE_LENGTHS]
    for symbol in sorted(range(len(lengths)), key=lengths.__getitem__):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


def _decode_huffman(data: bytes) -> bytes:
    codes, decoded, length, code = _build_huffman_codes(), bytearray(), 0, 0
    for byte in data:
        for bit in range(7, -1, -1):
            length, code = length + 1, code << 1 | byte >> bit & 1
            symbol = codes.get((length, code))
            if symbol == _END_OF_STRING:
                raise HeaderError('a string ends within its code')
            if symbol is not None:
                decoded.append(symbol)
                length = code = 0
    if length > 7 or code != (1 << length) - 1:  # ones fill the last byte
        raise HeaderError('a string does not end with its code')
    return bytes(decoded)
