"""The lock file: the names and numbers that deployed clients know.

``<module>.actors.lock.json`` stands beside the module and is shipped with it. In it, no
number and no name ever gets another meaning: :mod:`uactor.service.contract.numbering` gives each
new entry the next number, and leaves a tombstone for each entry that is gone. The lock also
records types and defaults, so that :mod:`uactor.service.contract.breaks` can compare two locks.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from uactor.service.errors import LockError
from uactor.service.model import Absence, Reserved

VERSION = 1
SUFFIX = '.actors.lock.json'


@dataclasses.dataclass(frozen=True)
class LockedField:
    """A field.

    :ivar type: its type, as a ``.proto`` writes it.
    :ivar means: the Python type, since several of them share one Protobuf type.
    :ivar absent: what a message without this field means.
    """

    number: int
    type: str
    means: str
    absent: Absence
    oneof: str | None = None


@dataclasses.dataclass
class LockedMessage:
    """A message.

    :ivar of: the key of its plan.
    :ivar used_by: the services that use it; none for a tombstone.
    :ivar next: the number of the next new field.
    :ivar names: the wire names of the parts that have another name in Python.
    """

    of: str
    used_by: list[str] = dataclasses.field(default_factory=list)
    next: int = 1
    fields: dict[str, LockedField] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    reserved: Reserved = dataclasses.field(default_factory=Reserved)


@dataclasses.dataclass
class LockedEnum:
    """An enum; like a message, with values in place of fields."""

    of: str
    used_by: list[str] = dataclasses.field(default_factory=list)
    next: int = 1
    values: dict[str, int] = dataclasses.field(default_factory=dict)
    names: dict[str, str] = dataclasses.field(default_factory=dict)
    reserved: Reserved = dataclasses.field(default_factory=Reserved)


@dataclasses.dataclass
class LockedMethod:
    """An RPC."""

    member: str
    request: str
    response: str
    client_streaming: bool = False
    server_streaming: bool = False


@dataclasses.dataclass
class LockedService:
    """The service of a class.

    :ivar of: the qualified name of the class.
    :ivar removed: the RPCs that it had once.
    """

    of: str
    package: str
    methods: dict[str, LockedMethod] = dataclasses.field(default_factory=dict)
    removed: dict[str, LockedMethod] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False)
class Lock:
    """The contract of the actor classes of one module, with its history."""

    services: dict[str, LockedService] = dataclasses.field(default_factory=dict)
    messages: dict[str, LockedMessage] = dataclasses.field(default_factory=dict)
    enums: dict[str, LockedEnum] = dataclasses.field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Lock:
        """Return the lock in a file.

        :raises LockError: when the file is no lock.
        """
        return cls.parse(Path(path).read_text(encoding='utf-8'), str(path))

    @classmethod
    def parse(cls, text: str, source: str = 'the lock') -> Lock:
        """Return the lock with this text.

        :param source: where the text comes from, for errors.
        :raises LockError: when the text is no lock.
        """
        try:
            data = json.loads(text)
            if data['version'] != VERSION:
                raise LockError(f'{source} has version {data["version"]}, not {VERSION}')
            return cls(
                _read(data['services'], _read_service),
                _read(data['messages'], _read_message),
                _read(data['enums'], _read_enum),
            )
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise LockError(f'{source} is not a lock file of uactor: {error!r}') from error

    def dump(self) -> str:
        """Return the text of the lock file.

        Equal contents have the same text.
        """
        data = {
            'version': VERSION,
            'services': {name: _to_json(self.services[name]) for name in sorted(self.services)},
            'messages': {name: _to_json(self.messages[name]) for name in sorted(self.messages)},
            'enums': {name: _to_json(self.enums[name]) for name in sorted(self.enums)},
        }
        return json.dumps(data, indent=2, ensure_ascii=False) + '\n'


def find_lock(module: str) -> Lock | None:
    """Return the lock that is shipped beside a module, or None.

    :raises LockError: when the file is no lock.
    """
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # no such module, or __main__
        return None
    if spec is None or spec.origin is None:
        return None
    parent = module if spec.submodule_search_locations is not None else spec.parent
    name = module.rpartition('.')[2] + SUFFIX
    folder: Any = resources.files(parent) if parent else Path(spec.origin).parent
    file = folder.joinpath(name)
    return Lock.parse(file.read_text(encoding='utf-8'), str(file)) if file.is_file() else None


# --- JSON ----------------------------------------------------------------------------------------


def _to_json(value: Any) -> dict[str, Any]:
    """Return an entry for JSON, in sorted order.

    Fields and values are sorted by number, all else by name.
    """
    data = dataclasses.asdict(value)
    for name in ('fields', 'values'):
        if name in data:
            data[name] = dict(sorted(data[name].items(), key=_sort_key))
    for name in ('methods', 'removed', 'names'):
        if name in data:
            data[name] = dict(sorted(data[name].items()))
    return data


def _sort_key(entry: tuple[str, Any]) -> tuple[int, str]:
    name, value = entry
    return (value['number'] if isinstance(value, dict) else value), name


def _read(data: Mapping[str, Any], read: Any) -> dict[str, Any]:
    return {name: read(value) for name, value in data.items()}


def _read_service(data: Mapping[str, Any]) -> LockedService:
    methods = _read(data['methods'], lambda each: LockedMethod(**each))
    removed = _read(data['removed'], lambda each: LockedMethod(**each))
    return LockedService(data['of'], data['package'], methods, removed)


def _read_message(data: Mapping[str, Any]) -> LockedMessage:
    fields = _read(data['fields'], lambda each: LockedField(**each))
    return LockedMessage(**{**data, 'fields': fields, 'reserved': Reserved(**data['reserved'])})


def _read_enum(data: Mapping[str, Any]) -> LockedEnum:
    return LockedEnum(**{**data, 'reserved': Reserved(**data['reserved'])})
