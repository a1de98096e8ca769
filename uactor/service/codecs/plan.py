"""The plan of a service: its methods, messages and enums.

The plan follows from the class alone. :mod:`uactor.service.contract.numbering` gives the final
names and numbers; :mod:`uactor.service.contract.descriptors` writes the descriptors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from uactor.service.codecs.methods import ServiceMethod
from uactor.service.codecs.part import MessagePlan
from uactor.service.model import EnumPlan, External

_Type = MessagePlan | EnumPlan | External


@dataclasses.dataclass(eq=False)
class Plan:
    """The plan of the service of one class.

    :ivar unmapped: the members that it leaves out, and the reasons.
    :ivar known: the messages of other files that it may use.
    """

    package: str
    service: str
    class_name: str
    doc: str
    methods: list[ServiceMethod]
    unmapped: Mapping[str, str]
    known: Collection[External]

    def types(self) -> list[_Type]:
        """Return the messages and enums of all methods, each once.

        Requests and responses come first, then the types of their fields in the order of first use.
        """
        found: dict[_Type, None] = {}
        for method in self.methods:
            found[method.request] = None
            found[method.response] = None
        for method in self.methods:
            _collect_types(method.request, found)
            _collect_types(method.response, found)
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


def _collect_types(message: MessagePlan, found: dict[_Type, None]) -> None:
    """Add to ``found`` all types that ``message`` is made of."""
    waiting = [message]
    while waiting:
        for type_ in _field_types(waiting.pop(0)):
            if type_ not in found:
                found[type_] = None
                if isinstance(type_, MessagePlan):
                    waiting.append(type_)


def _field_types(message: MessagePlan) -> Iterator[_Type]:
    for part in message.parts:
        for field in part.plan_fields():
            if isinstance(field.type, (MessagePlan, EnumPlan, External)):
                yield field.type
