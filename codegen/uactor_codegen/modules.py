"""The actor classes that are generated for, module by module, and their locks."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from uactor import Actor
from uactor.service.contract.lock import SUFFIX, Lock, LockedEnum, LockedMessage
from uactor.service.contract.numbering import next_lock
from uactor.service.errors import LockError, UnsupportedTypeError
from uactor.service.mapping.members import plan_of
from uactor.service.naming import service_of
from uactor.service.schema import Schema, schema_of
from uactor_codegen.errors import CodegenError


@dataclasses.dataclass(frozen=True)
class ActorModule:
    """A module with actor classes.

    :ivar lock_path: where its lock belongs.
    :ivar lock: the lock as it has to be.
    :ivar schemas: those of its classes, in the order of their services' names.
    """

    name: str
    lock_path: Path
    lock: Lock
    schemas: list[Schema]


def load(targets: Iterable[str]) -> list[ActorModule]:
    """Return the modules of ``MODULE:CLASS …``, sorted by name.

    :raises CodegenError: when one is not what it should be.
    """
    wanted: dict[str, dict[str, Any]] = {}
    for target in targets:
        module_name, _, class_name = target.partition(':')
        if not module_name or not class_name:
            raise CodegenError(f'{target!r} is not MODULE:CLASS')
        cls = _class(module_name, class_name)
        wanted.setdefault(cls.__module__, {})[cls.__qualname__] = cls
    return [_module(name, classes) for name, classes in sorted(wanted.items())]


def _class(module_name: str, class_name: str) -> Any:
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise CodegenError(f'{module_name} can not be imported: {error}') from error
    try:
        for step in class_name.split('.'):
            found = getattr(found, step)
    except AttributeError as error:
        raise CodegenError(f'{module_name} has no {class_name}') from error
    if not inspect.isclass(found) or not issubclass(found, Actor):
        raise CodegenError(f'{module_name}:{class_name} is no actor class')
    return found


def _module(name: str, classes: Mapping[str, Any]) -> ActorModule:
    module = importlib.import_module(name)
    if module.__file__ is None:
        raise CodegenError(f'{name} has no file, and so there is no place for its lock')
    path = Path(module.__file__).with_name(name.rpartition('.')[2] + SUFFIX)
    try:
        known = Lock.load(path) if path.is_file() else Lock()
        current = _with_known(module, known, classes)
        lock = _without_gone(known, current)
        for cls in current.values():
            lock = next_lock(lock, plan_of(cls))
        schemas = [schema_of(cls, lock) for cls in current.values()]
    except (LockError, UnsupportedTypeError) as error:
        raise CodegenError(f'{name}: {error}') from error
    return ActorModule(name, path, lock, sorted(schemas, key=lambda schema: schema.service))


def _with_known(module: Any, known: Lock, classes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes by the names of their services, those of the lock among them.

    One file has the services of all, and would lose those that were not asked for this time.
    """
    found = list(classes.values())
    for cls in vars(module).values():
        is_actor = inspect.isclass(cls) and issubclass(cls, Actor)
        if is_actor and cls.__module__ == module.__name__ and cls not in found:
            _, service = service_of(cls)
            if service in known.services:
                found.append(cls)
    services: dict[str, Any] = {}
    for cls in found:
        _, service = service_of(cls)
        if services.setdefault(service, cls) is not cls:
            raise CodegenError(f'{module.__name__} has two classes of the service {service}')
    return dict(sorted(services.items()))


def _without_gone(known: Lock, current: Mapping[str, Any]) -> Lock:
    """Return the lock without the services of classes that are gone; what they used stays."""
    lock = copy.deepcopy(known)
    gone = lock.services.keys() - current.keys()
    for service in gone:
        del lock.services[service]
    entries: list[LockedMessage | LockedEnum] = [*lock.messages.values(), *lock.enums.values()]
    for entry in entries:
        entry.used_by = [service for service in entry.used_by if service not in gone]
    return lock
