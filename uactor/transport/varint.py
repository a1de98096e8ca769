"""Variable-length integers, as Protobuf writes them."""

from __future__ import annotations

import functools


@functools.lru_cache(maxsize=1024)
def encode_varint(number: int) -> bytes:
    """Encode a number."""
    encoded = bytearray()
    while number > 127:
        encoded.append(number & 127 | 128)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
