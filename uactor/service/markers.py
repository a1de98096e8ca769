"""Markers for ``typing.Annotated`` that say how a type stands in Protobuf."""

from __future__ import annotations

import dataclasses

LARGEST_NUMBER = 2**29 - 1
IMPLEMENTATION_NUMBERS = range(19000, 20000)
"""Field numbers that Protobuf keeps for itself."""


@dataclasses.dataclass(frozen=True)
class Width:
    """The Protobuf type of a number."""

    type: str

    @property
    def is_float(self) -> bool:
        """Whether it holds a float."""
        return self.type in ('float', 'double')


@dataclasses.dataclass(frozen=True)
class Digits:
    """An int of any size, as a string of digits."""


@dataclasses.dataclass(frozen=True)
class Pin:
    """The number of a field."""

    number: int


@dataclasses.dataclass(frozen=True)
class Renamed:
    """The earlier name of a parameter or field, which callers go on using."""

    old: str


Marker = Width | Digits | Pin | Renamed

Int32 = Width('int32')
Int64 = Width('int64')
UInt32 = Width('uint32')
UInt64 = Width('uint64')
SInt32 = Width('sint32')
SInt64 = Width('sint64')
Fixed32 = Width('fixed32')
Fixed64 = Width('fixed64')
SFixed32 = Width('sfixed32')
SFixed64 = Width('sfixed64')
Float32 = Width('float')
BigInt = Digits()


def field(number: int) -> Pin:
    """Give a parameter or field this number: ``Annotated[int, uactor.field(7)]``.

    :raises ValueError: when Protobuf has no such field number.
    """
    if not 1 <= number <= LARGEST_NUMBER or number in IMPLEMENTATION_NUMBERS:
        raise ValueError(f'{number} is not a field number of Protobuf')
    return Pin(number)


def renamed_from(old: str) -> Renamed:
    """Say that a parameter or field was called ``old``.

    On the wire it keeps that name and its number: Protobuf's JSON goes by names.
    """
    return Renamed(old)
