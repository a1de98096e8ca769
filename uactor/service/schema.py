"""The schema of an actor class: its typed service, ready to be served, and to be written down."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2

from uactor.service.codecs.methods import ServiceMethod
from uactor.service.contract import descriptors
from uactor.service.contract.lock import Lock
from uactor.service.contract.numbering import assign_numbers
from uactor.service.mapping.members import plan_of
from uactor.service.model import Plan


@dataclasses.dataclass(frozen=True, eq=False)
class Schema:
    """The typed service of an actor class.

    :ivar package: its package.
    :ivar service: its full name.
    :ivar file: the descriptor of its file, with comments.
    :ivar dependencies: the files that it needs, each after those that it needs itself.
    :ivar methods: its methods by the names of the RPCs.
    :ivar unmapped: members of the class that are not in it, and why.
    :ivar fingerprint: the same for the same contract, whatever comments say.
    :ivar lock: the names and numbers that it has.
    :ivar is_locked: whether they come from a lock file, and so won't move.
    """

    package: str
    service: str
    file: descriptor_pb2.FileDescriptorProto
    dependencies: list[descriptor_pb2.FileDescriptorProto]
    methods: Mapping[str, ServiceMethod]
    unmapped: Mapping[str, str]
    fingerprint: str
    plan: Plan
    lock: Lock
    is_locked: bool
    classes: Mapping[str, Any]

    def message_class(self, name: str) -> Any:
        """Return the class of a message, by its name with or without the package.

        :raises KeyError: when the schema has none of that name.
        """
        return self.classes[name.removeprefix(f'{self.package}.')]


@functools.lru_cache(maxsize=128)
def schema_of(actor_class: type, lock: Lock | None = None, package: str | None = None) -> Schema:
    """Return the schema of an actor class; made once.

    :param lock: where names and numbers come from. What it does not know gets those that it
        would get when the lock is written anew.
    :param package: the package, without its version; by default ``_package_`` of the class, or
        its module.
    :raises LockError: when pins contradict the lock.
    """
    plan = plan_of(actor_class, package)
    known = lock if lock is not None else Lock()
    current = known.updated(plan)
    assign_numbers(plan, current)
    file = descriptors.file_for(plan)
    return Schema(
        package=plan.package,
        service=f'{plan.package}.{plan.service}',
        file=file,
        dependencies=descriptors.dependencies_of(file),
        methods={method.rpc: method for method in plan.methods},
        unmapped=plan.unmapped,
        fingerprint=_fingerprint(plan, current),
        plan=plan,
        lock=current,
        is_locked=lock is not None and current.dump() == known.dump(),
        classes=descriptors.bind(plan, file),
    )


def _fingerprint(plan: Plan, lock: Lock) -> str:
    """Return a hash over the contract: what the lock says of it, but for its history."""
    messages = {message.name: lock.messages[message.name].fields for message in plan.messages()}
    contract = {
        'package': plan.package,
        'service': plan.service,
        'methods': _plain(lock.services[plan.service].methods),
        'messages': {name: _plain(fields) for name, fields in messages.items()},
        'enums': {enum.name: lock.enums[enum.name].values for enum in plan.enums()},
    }
    return hashlib.sha256(json.dumps(contract, sort_keys=True).encode()).hexdigest()


def _plain(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dataclasses.asdict(entry) for name, entry in entries.items()}
