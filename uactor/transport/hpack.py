"""Header blocks of HTTP/2 (HPACK, RFC 7541), as far as one gRPC call needs them.

Each block stands by itself: what is sent refers to no other one, and whoever answers has been told
to keep no table of earlier ones (``SETTINGS_HEADER_TABLE_SIZE`` 0).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from uactor.transport.varint import encode_varint

_INDEXED, _ADDED, _RESIZED = 0x80, 0x40, 0x20
"""How fields begin that the table has, that are for the table, and what changes its size. Others
are not for the table."""

_HUFFMAN = 0x80
"""Before a string: it is in Huffman's code."""

_STATUS = ':status'
_STATUSES = {8: '200', 9: '204', 10: '206', 11: '304', 12: '400', 13: '404', 14: '500'}
"""What the fields of the static table say that a response can tell something by."""
_STATIC = 61
"""How many fields it has."""

_FIRST_LENGTH, _END = ord('a') - 5, 256
_LENGTHS = (
    'isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhf'
    'ibccccccccccccccccccccccdcdioijbkabababbbaccbbbabcbaabccccckgjix'
    'prpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrs'
    'vvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwv'
    'z'
)
"""How many bits each byte has in Huffman's code, and what ends it: from a for 5 to z for 30. That
is all there is to know: codes of one length follow each other, and longer ones follow them."""


class HeaderError(Exception):
    """A header block can't be read."""


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """Return a header block that has such fields."""
    return b''.join(
        b'\0' + _string(name.encode()) + _string(value.encode()) for name, value in fields
    )


def _string(data: bytes) -> bytes:
    return _integer(len(data)) + data


def _integer(number: int) -> bytes:
    return bytes([number]) if number < 127 else b'\x7f' + encode_varint(number - 127)


def decode(block: bytes) -> dict[str, str]:
    """Return the fields of a header block, but for those whose name the static table has.

    Of those there is the status.

    :raises HeaderError: when it is none.
    """
    reader = _Reader(block)
    fields = {}
    try:
        while reader.more:
            name, value = reader.field()
            if name:
                fields[name] = value
    except IndexError as error:
        raise HeaderError('a header block ends too soon') from error
    return fields


class _Reader:
    """Reads a header block.

    Of what goes beyond its end, IndexError tells.
    """

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._at = 0

    @property
    def more(self) -> bool:
        return self._at < len(self._block)

    def field(self) -> tuple[str, str]:
        """Return name and value; no name for what tells nothing."""
        first = self._block[self._at]
        if first & _INDEXED:
            index = self._number(7)
            _check(index)
            return (_STATUS, _STATUSES[index]) if index in _STATUSES else ('', '')
        if first & _ADDED:
            index = self._number(6)
        elif first & _RESIZED:
            self._number(5)
            return '', ''
        else:
            index = self._number(4)
        if not index:
            name = self._text()
        else:
            _check(index)
            name = _STATUS if index in _STATUSES else ''
        return name, self._text()

    def _number(self, bits: int) -> int:
        """Return the number in the last bits of a byte, or in those and the bytes that follow."""
        most = (1 << bits) - 1
        number = self._block[self._at] & most
        self._at += 1
        if number < most:
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

    def _text(self) -> str:
        is_huffman = self._block[self._at] & _HUFFMAN
        size = self._number(7)
        data = self._block[self._at : self._at + size]
        if len(data) < size:
            raise HeaderError('a header block ends too soon')
        self._at += size
        return (_from_huffman(data) if is_huffman else data).decode('latin-1')


def _check(index: int) -> None:
    if not 0 < index <= _STATIC:
        raise HeaderError(f'a header block refers to field {index}, and there is none')


@functools.cache
def _codes() -> Mapping[tuple[int, int], int]:
    """Return the bytes of Huffman's code by the length and value of theirs."""
    codes, code, length = {}, 0, 0
    lengths = [ord(letter) - _FIRST_LENGTH for letter in _LENGTHS]
    for symbol in sorted(range(len(lengths)), key=lengths.__getitem__):
        code <<= lengths[symbol] - length
        length = lengths[symbol]
        codes[length, code] = symbol
        code += 1
    return codes


def _from_huffman(data: bytes) -> bytes:
    codes, decoded, length, code = _codes(), bytearray(), 0, 0
    for byte in data:
        for bit in range(7, -1, -1):
            length, code = length + 1, code << 1 | byte >> bit & 1
            symbol = codes.get((length, code))
            if symbol == _END:
                raise HeaderError('a string ends within its code')
            if symbol is not None:
                decoded.append(symbol)
                length = code = 0
    if length > 7 or code != (1 << length) - 1:  # what fills the last byte are ones
        raise HeaderError('a string does not end with its code')
    return bytes(decoded)
