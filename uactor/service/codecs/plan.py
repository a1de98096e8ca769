"""The plan of a service: its methods, and the messages and enums that they use.

The plan follows from the class alone. :mod:`uactor.service.contract.numbering` gives the final
names and the numbers; :mod:`uactor.service.contract.descriptors` writes the descriptors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Mapping

from uactor.service.codecs.methods import ServiceMethod
from uactor.service.codecs.part import MessagePlan
from uactor.service.model import EnumPlan, External


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
            if isinstance(field.type, (MessagePlan, EnumPlan, External)):
                yield field.type
