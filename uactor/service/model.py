"""The plan of a service: its messages, enums and methods, before they have numbers.

What is planned here follows from the class alone. :mod:`uactor.service.contract.numbering` gives
the final names and the numbers; :mod:`uactor.service.contract.descriptors` writes them down.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal

from uactor.service.naming import upper

if TYPE_CHECKING:
    pass

Kind = Literal['call', 'get', 'set']
Absence = Literal['error', 'default', 'omitted', 'none', 'empty']


@dataclasses.dataclass(eq=False)
class External:
    """A message that another file defines.

    :ivar bound: its class, once the schema is built.
    """

    name: str
    file: str
    bound: Any = None


@dataclasses.dataclass
class ValuePlan:
    """A value of an enum.

    :ivar member: its name without that of the enum.
    :ivar name: the name that it got.
    """

    member: str
    name: str = ''
    number: int = 0


@dataclasses.dataclass(eq=False)
class EnumPlan:
    """An enum.

    :ivar key: what it is made of, the same in all runs.
    :ivar wanted: the name that it gets unless it is taken.
    :ivar name: the name that it got.
    """

    key: str
    wanted: str
    doc: str
    values: list[ValuePlan]
    name: str = ''
    reserved: Reserved = dataclasses.field(default_factory=lambda: Reserved())

    def value_names(self) -> set[str]:
        """Return the names of its values, as they are unless its own name is taken."""
        return {f'{upper(self.wanted)}_{value.member}' for value in self.values}


@dataclasses.dataclass
class Reserved:
    """Numbers and names that were in use once."""

    numbers: list[int] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class FieldPlan:
    """A field of a message.

    :ivar type: a scalar type of Protobuf, or what stands for an enum or message.
    :ivar key_type: type of the keys, of a map.
    :ivar means: what it is in Python, where several things have the same type.
    :ivar absent: what a message without it means.
    """

    name: str
    type: FieldType
    means: str
    absent: Absence = 'error'
    repeated: bool = False
    key_type: str | None = None
    oneof: str | None = None
    pin: int | None = None
    doc: str = ''
    number: int = 0

    @property
    def is_optional(self) -> bool:
        """Whether presence has to be asked for."""
        plain = self.oneof is None and not self.repeated and self.key_type is None
        return plain and isinstance(self.type, (str, EnumPlan))


@dataclasses.dataclass(eq=False)
class OwnMessage:
    """A message.

    :ivar key: what it is made of, the same in all runs.
    :ivar wanted: the name that it gets unless it is taken.
    :ivar name: the name that it got.
    :ivar fields: its fields with their numbers, once they have some.
    :ivar bound: its class, once the schema is built.
    """

    key: str
    wanted: str
    doc: str = ''
    name: str = ''
    fields: list[FieldPlan] = dataclasses.field(default_factory=list)
    reserved: Reserved = dataclasses.field(default_factory=Reserved)
    bound: Any = None


FieldType = str | EnumPlan | OwnMessage | External
