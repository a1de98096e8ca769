"""Markers for ``typing.Annotated`` that choose the form of a type in Protobuf."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, get_args

from uactor import _wire

LARGEST_NUMBER = 2**29 - 1
IMPLEMENTATION_NUMBERS = range(19000, 20000)
"""Field numbers that Protobuf reserves for its implementation."""


class _PickledByKind:
    """Pickles a marker by the name of its kind.

    All releases share these names.
    """

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fields: Any = self
        return _wire.make_marker, (type(self).__name__, *dataclasses.astuple(fields))


@dataclasses.dataclass(frozen=True)
class Width(_PickledByKind):
    """The Protobuf type of a number."""

    type: str

    @property
    def is_float(self) -> bool:
        """Whether it holds a float."""
        return self.type in ('float', 'double')


@dataclasses.dataclass(frozen=True)
class Digits(_PickledByKind):
    """An int of any size, as a string of digits."""


@dataclasses.dataclass(frozen=True)
class Pin(_PickledByKind):
    """The number of a field."""

    number: int


@dataclasses.dataclass(frozen=True)
class Renamed(_PickledByKind):
    """The earlier name of a parameter or field.

    On the wire, the parameter or field keeps that name.
    """

    old: str


Marker = Width | Digits | Pin | Renamed

_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Marker)}


@_wire.implements(_wire.make_marker)
def _make_marker(kind: str, *values: Any) -> Any:
    return _KINDS[kind](*values)


Int32 = Width('int32')
"""``Annotated[int, uactor.Int32]``: an int of 32 bits; negative ones take ten bytes."""
Int64 = Width('int64')
"""``Annotated[int, uactor.Int64]``: an int of 64 bits, which every int is without a marker."""
UInt32 = Width('uint32')
"""``Annotated[int, uactor.UInt32]``: an int of 32 bits that is never negative."""
UInt64 = Width('uint64')
"""``Annotated[int, uactor.UInt64]``: an int of 64 bits that is never negative."""
SInt32 = Width('sint32')
"""``Annotated[int, uactor.SInt32]``: an int of 32 bits, in few bytes near 0 on both sides."""
SInt64 = Width('sint64')
"""``Annotated[int, uactor.SInt64]``: an int of 64 bits, in few bytes near 0 on both sides."""
Fixed32 = Width('fixed32')
"""``Annotated[int, uactor.Fixed32]``: a natural number of 32 bits, always in four bytes."""
Fixed64 = Width('fixed64')
"""``Annotated[int, uactor.Fixed64]``: a natural number of 64 bits, always in eight bytes."""
SFixed32 = Width('sfixed32')
"""``Annotated[int, uactor.SFixed32]``: an int of 32 bits, always in four bytes."""
SFixed64 = Width('sfixed64')
"""``Annotated[int, uactor.SFixed64]``: an int of 64 bits, always in eight bytes."""
Float32 = Width('float')
"""``Annotated[float, uactor.Float32]``: a float, rounded to single precision."""
BigInt = Digits()
"""``Annotated[int, uactor.BigInt]``: an int of any size, as a string of digits."""


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
