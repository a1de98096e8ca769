"""The codecs of Enum classes and of Literals of strings.

Values are restored by name.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

from uactor.service.codecs.base import NAMED, NOT, Codec, Handles, mismatch_error
from uactor.service.errors import ConversionError, UnsupportedTypeError
from uactor.service.model import EnumPlan, ValuePlan
from uactor.service.naming import upper


class EnumCodec(Codec):
    """A member of an Enum class.

    The codecs of other enums derive from this class.

    :ivar members: the values in Python, in the order of the plan's values after its zero.
    """

    def __init__(self, hint: Any, label: str, plan: EnumPlan, members: Sequence[Any]) -> None:
        self.hint, self.label, self.proto = hint, label, plan
        self.key = plan.key
        self.members = members
        self._numbers: dict[Any, int] = {}
        self._by_number: dict[int, Any] = {}

    def _bind(self) -> None:
        plan = self.proto
        if isinstance(plan, EnumPlan):
            numbers = [value.number for value in plan.values[1:]]
            self._by_number = dict(zip(numbers, self.members, strict=True))
            self._numbers = {
                self._member_id(member): number for number, member in self._by_number.items()
            }

    def _member_id(self, member: enum.Enum) -> str:
        return member.name

    def pack(self, value: Any, handles: Handles) -> int:
        """Return the number of the member."""
        if not self.match(value):
            raise mismatch_error(value, f'one of {self.label}')
        if not self._numbers:
            self._bind()
        return self._numbers[self._member_id(value)]

    def unpack(self, wire: int, handles: Handles) -> Any:
        """Return the member with this number; refuse a number without a member."""
        if not self._by_number:
            self._bind()
        try:
            return self._by_number[wire]
        except KeyError:
            raise ConversionError(f'{wire} is no value of {self.label}') from None

    def match(self, value: Any) -> int:
        """Accept the members."""
        return NAMED if isinstance(value, self.hint) else NOT


class LiteralCodec(EnumCodec):
    """One of several strings."""

    def __init__(self, label: str, plan: EnumPlan, values: Sequence[str]) -> None:
        super().__init__(str, label, plan, values)

    def _member_id(self, member: str) -> str:  # type: ignore[override]  # here members are str
        return member

    def match(self, value: Any) -> int:
        """Accept the strings, which fit better than any ``str`` in a union."""
        return NAMED if type(value) is str and value in self.members else NOT


def plan_enum(key: str, name: str, doc: str, members: list[str]) -> EnumPlan:
    """Return the plan of an enum.

    :raises UnsupportedTypeError: when its members can't have distinct names in Protobuf.
    """
    values = [ValuePlan('UNSPECIFIED')]
    for member in members:
        wanted = upper(member)
        if not wanted or not member.isascii():
            raise UnsupportedTypeError(
                f'{member!r} can not be the name of an enum value in Protobuf'
            )
        values.append(ValuePlan('UNSPECIFIED_VALUE' if wanted == 'UNSPECIFIED' else wanted))
    if len({value.member for value in values}) < len(values):
        raise UnsupportedTypeError(f'two values of {name} become the same name in Protobuf')
    return EnumPlan(key, name, doc, values)


def validate_values(plan: EnumPlan, codecs: Iterable[Codec]) -> None:
    """Refuse an enum that shares a value name with another.

    All enums of a file share one scope for the names of their values.

    :param codecs: the codecs of the schema so far.
    :raises UnsupportedTypeError: when an enum among them has a value of the same name.
    """
    for codec in codecs:
        other = codec.proto
        if isinstance(other, EnumPlan) and other.wanted != plan.wanted:
            both = other.value_names & plan.value_names
            if both:
                raise UnsupportedTypeError(f'{other.key} has a value called {both.pop()} too')
