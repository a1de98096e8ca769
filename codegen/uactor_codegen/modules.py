"""Loads actor classes, module by module, and updates their locks."""

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
from uactor.service.mapping.members import plan_service
from uactor.service.naming import service_of
from uactor.service.schema import Schema, schema_of
from uactor_codegen.errors import CodegenError


@dataclasses.dataclass(frozen=True)
class ActorModule:
    """A module with actor classes.

    :ivar lock_path: the path of its lock.
    :ivar lock: its new lock.
    :ivar schemas: the schemas of its classes, sorted by service.
    """

    name: str
    lock_path: Path
    lock: Lock
    schemas: list[Schema]


def load_modules(targets: Iterable[str]) -> list[ActorModule]:
    """Return the modules of ``MODULE:CLASS …``, sorted by name.

    :raises CodegenError: when a module or class can't be loaded or mapped.
    """
    wanted: dict[str, dict[str, Any]] = {}
    for target in targets:
        module_name, _, class_name = target.partition(':')
        if not module_name or not class_name:
            raise CodegenError(f'{target!r} is not MODULE:CLASS')
        cls = _import_class(module_name, class_name)
        wanted.setdefault(cls.__module__, {})[cls.__qualname__] = cls
    return [_load_module(name, classes) for name, classes in sorted(wanted.items())]


def _import_class(module_name: str, class_name: str) -> Any:
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


def _load_module(name: str, classes: Mapping[str, Any]) -> ActorModule:
    module = importlib.import_module(name)
    if module.__file__ is None:
        raise CodegenError(f'{name} has no file, so its lock file has no place')
    path = Path(module.__file__).with_name(name.rpartition('.')[2] + SUFFIX)
    try:
        old = Lock.load(path) if path.is_file() else Lock()
        current = _add_locked_classes(module, old, classes)
        lock = _drop_services(old, current)
        for cls in current.values():
            lock = next_lock(lock, plan_service(cls))
        schemas = [schema_of(cls, lock) for cls in current.values()]
    except (LockError, UnsupportedTypeError) as error:
        raise CodegenError(f'{name}: {error}') from error
    return ActorModule(name, path, lock, sorted(schemas, key=lambda schema: schema.service))


def _add_locked_classes(module: Any, lock: Lock, classes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes by service, with those that the lock has.

    One file has the services of all classes. It would lose those that the command did not name.
    """
    found = list(classes.values())
    for cls in vars(module).values():
        is_actor = inspect.isclass(cls) and issubclass(cls, Actor)
        if is_actor and cls.__module__ == module.__name__ and cls not in found:
            _, service = service_of(cls)
            if service in lock.services:
                found.append(cls)
    services: dict[str, Any] = {}
    for cls in found:
        _, service = service_of(cls)
        if services.setdefault(service, cls) is not cls:
            raise CodegenError(f'{module.__name__} has two classes of the service {service}')
    return dict(sorted(services.items()))


def _drop_services(old: Lock, current: Mapping[str, Any]) -> Lock:
    """Return the lock without the services whose classes are gone.

    The types of these services stay.
    """
    lock = copy.deepcopy(old)
    gone = lock.services.keys() - current.keys()
    for service in gone:
        del lock.services[service]
    entries: list[LockedMessage | LockedEnum] = [*lock.messages.values(), *lock.enums.values()]
    for entry in entries:
        entry.used_by = [service for service in entry.used_by if service not in gone]
    return lock
