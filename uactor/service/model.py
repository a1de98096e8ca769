"""The plain plans of a service: fields, enums and messages, without codecs.

The parts of a message are in :mod:`uactor.service.codecs.part`, the plan of a whole service is in
:mod:`uactor.service.codecs.plan`: both hold codecs, which import this module.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from uactor.service.naming import upper

Kind = Literal['call', 'get', 'set']
"""What an RPC does with its member: call a method, read or write an attribute."""

Absence = Literal['error', 'default', 'omitted', 'none', 'empty']
"""What a message without a field means; ``omitted`` is the absence of a key in a dict."""


@dataclasses.dataclass(eq=False)
class External:
    """A message that another file defines.

    :ivar bound: its class, once the schema is built.
    """

    name: str
    file: str
    bound: Any = None


@dataclasses.dataclass
class Reserved:
    """Formerly used numbers and names, which are never used again."""

    numbers: list[int] = dataclasses.field(default_factory=list)
    names: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class ValuePlan:
    """A value of an enum.

    :ivar member: its name without that of the enum.
    :ivar name: its final name.
    """

    member: str
    name: str = ''
    number: int = 0


@dataclasses.dataclass(eq=False)
class EnumPlan:
    """An enum.

    :ivar key: describes its content, the same in all runs.
    :ivar wanted: the name that it gets unless another has it.
    :ivar name: its final name.
    """

    key: str
    wanted: str
    doc: str
    values: list[ValuePlan]
    name: str = ''
    reserved: Reserved = dataclasses.field(default_factory=Reserved)

    @property
    def value_names(self) -> set[str]:
        """The names of its values, if it gets the wanted name."""
        return {f'{upper(self.wanted)}_{value.member}' for value in self.values}


@dataclasses.dataclass
class FieldPlan:
    """A field of a message.

    :ivar type: a scalar type of Protobuf, or the plan of an enum or message.
    :ivar key_type: the scalar type of the keys, if the field is a map.
    :ivar means: the Python type, since several of them share one Protobuf type.
    :ivar absent: what a message without this field means.
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
        """Whether the ``.proto`` needs the word ``optional`` to track its presence."""
        is_singular = self.oneof is None and not self.repeated and self.key_type is None
        return is_singular and isinstance(self.type, (str, EnumPlan))


@dataclasses.dataclass(eq=False)
class OwnMessage:
    """A message that the file of the service defines.

    :ivar key: describes its content, the same in all runs.
    :ivar wanted: the name that it gets unless another has it.
    :ivar name: its final name.
    :ivar fields: its fields, once they have numbers.
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
