"""The plan of a service: its messages, enums and methods, before they have numbers.

What is planned here follows from the class alone. :mod:`uactor.service.contract.numbering` gives
the final names and the numbers; :mod:`uactor.service.contract.descriptors` writes them down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from uactor.service.errors import UnsupportedTypeError
from uactor.service.naming import camel, upper

if TYPE_CHECKING:
    from uactor.service.codecs.fields import Field
    from uactor.service.codecs.methods import ServiceMethod

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
class Part:
    """A parameter or field of Python, and the fields of the message that it becomes.

    :ivar python: its name in Python.
    :ivar name: the name in the message that it gets unless it is taken; of a union that of the
        oneof.
    :ivar wire: the name that it got.
    :ivar default: what its absence means, whatever its slot says: a value that Python knows, or
        that a dict does not have the key.
    :ivar renamed: its earlier name, as the marker tells it.
    """

    python: str
    name: str
    slot: Field
    default: Literal['default', 'omitted'] | None = None
    pin: int | None = None
    renamed: str | None = None
    doc: str = ''
    wire: str = ''

    def __post_init__(self) -> None:
        self.wire = self.wire or self.name

    def fields(self, name: str = '') -> list[FieldPlan]:
        """Return its fields, without numbers.

        :param name: a name for them, other than the one that the part has got.
        """
        fields = self.slot.fields(name or self.wire)
        for field in fields:
            field.pin, field.doc = self.pin, self.doc
            if self.default is not None and field.absent == 'error':
                field.absent = self.default
        return fields

    @property
    def has_default(self) -> bool:
        """Whether Python knows what to do without it."""
        return self.default is not None


@dataclasses.dataclass(eq=False)
class MessagePlan:
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
    parts: list[Part] = dataclasses.field(default_factory=list)
    name: str = ''
    fields: list[FieldPlan] = dataclasses.field(default_factory=list)
    reserved: Reserved = dataclasses.field(default_factory=Reserved)
    bound: Any = None


FieldType = str | EnumPlan | MessagePlan | External


@dataclasses.dataclass(eq=False)
class Plan:
    """The plan of the service of one class.

    :ivar unmapped: the members that have no place in it, and why.
    :ivar known: messages of other files that it may use.
    """

    package: str
    service: str
    class_name: str
    doc: str
    methods: list[ServiceMethod]
    unmapped: Mapping[str, str]
    known: Collection[External]

    def types(self) -> list[MessagePlan | EnumPlan | External]:
        """Return what the methods use, each once, in the order in which they come upon it."""
        found: dict[MessagePlan | EnumPlan | External, None] = {}
        for method in self.methods:
            found[method.request] = None
            found[method.response] = None
        for method in self.methods:
            _collect(method.request, found)
            _collect(method.response, found)
        return list(found)

    def messages(self) -> list[MessagePlan]:
        """Return the messages of the service's own file."""
        return [plan for plan in self.types() if isinstance(plan, MessagePlan)]

    def enums(self) -> list[EnumPlan]:
        """Return the enums of the service's own file."""
        return [plan for plan in self.types() if isinstance(plan, EnumPlan)]

    def externals(self) -> list[External]:
        """Return the messages of other files."""
        return [plan for plan in self.types() if isinstance(plan, External)]


def _collect(message: MessagePlan, found: dict[MessagePlan | EnumPlan | External, None]) -> None:
    waiting = [message]
    while waiting:
        for used in _used(waiting.pop(0)):
            if used not in found:
                found[used] = None
                if isinstance(used, MessagePlan):
                    waiting.append(used)


def _used(message: MessagePlan) -> Iterator[MessagePlan | EnumPlan | External]:
    for part in message.parts:
        for field in part.fields():
            if not isinstance(field.type, str):
                yield field.type


def check_names(parts: list[Part]) -> None:
    """Refuse parts that would get the same name, in JSON too.

    :raises UnsupportedTypeError: when there are some.
    """
    taken: dict[str, str] = {}
    pins = [part.pin for part in parts if part.pin is not None]
    if len(set(pins)) < len(pins):
        raise UnsupportedTypeError('two fields are pinned to the same number')
    for part in parts:
        names = {field.name for field in part.fields()}
        names.add(part.name)
        for name in names:
            plain = camel(name)
            if taken.setdefault(plain, part.python) != part.python:
                raise UnsupportedTypeError(
                    f'{taken[plain]!r} and {part.python!r} both become {name!r}'
                )
