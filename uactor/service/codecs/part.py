"""The parts of a message, each with the field that converts it."""

from __future__ import annotations

import dataclasses
from typing import Literal

from uactor.service.codecs.fields import Field
from uactor.service.errors import UnsupportedTypeError
from uactor.service.model import FieldPlan, OwnMessage
from uactor.service.naming import camel


@dataclasses.dataclass(eq=False)
class Part:
    """A Python parameter or field, and its fields in the message.

    :ivar python: its name in Python.
    :ivar name: the name that it gets in the message unless another part has it; for a union, the
        name of the oneof.
    :ivar field: reads and writes its value.
    :ivar default: what its absence means if its field knows no value for that: a default that
        Python knows, or the absence of a key in a dict.
    :ivar pin: the number that the marker gives it.
    :ivar old_name: the earlier name that the marker gives it.
    :ivar wire_name: its final name in the message.
    """

    python: str
    name: str
    field: Field
    default: Literal['default', 'omitted'] | None = None
    pin: int | None = None
    old_name: str | None = None
    doc: str = ''
    wire_name: str = ''

    def __post_init__(self) -> None:
        self.wire_name = self.wire_name or self.name

    def plan_fields(self, name: str = '') -> list[FieldPlan]:
        """Return the plans of its fields, without numbers.

        :param name: a name for the fields, other than the final name of the part.
        """
        plans = self.field.plan_fields(name or self.wire_name)
        for plan in plans:
            plan.pin, plan.doc = self.pin, self.doc
            if self.default is not None and plan.absent == 'error':
                plan.absent = self.default
        return plans

    @property
    def has_default(self) -> bool:
        """Whether Python can do without a value for it."""
        return self.default is not None


@dataclasses.dataclass(eq=False)
class MessagePlan(OwnMessage):
    """A message of the service's own file, with its parts."""

    parts: list[Part] = dataclasses.field(default_factory=list)


def validate_names(parts: list[Part]) -> None:
    """Refuse parts that share a pin, a name, or a JSON name.

    :raises UnsupportedTypeError: when two parts do.
    """
    taken: dict[str, str] = {}
    pins = [part.pin for part in parts if part.pin is not None]
    if len(set(pins)) < len(pins):
        raise UnsupportedTypeError('two fields are pinned to the same number')
    for part in parts:
        names = {plan.name for plan in part.plan_fields()}
        names.add(part.name)
        for name in names:
            json_name = camel(name)
            if taken.setdefault(json_name, part.python) != part.python:
                raise UnsupportedTypeError(
                    f'{taken[json_name]!r} and {part.python!r} both become {name!r}'
                )
