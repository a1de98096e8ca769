"""The parts of a message, each with the codec that reads and writes it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from uactor.service.codecs.fields import Field
from uactor.service.errors import UnsupportedTypeError
from uactor.service.model import FieldPlan, OwnMessage
from uactor.service.naming import camel


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
class MessagePlan(OwnMessage):
    """A message of the service's own file, and the parts that it is made of."""

    parts: list[Part] = dataclasses.field(default_factory=list)


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
