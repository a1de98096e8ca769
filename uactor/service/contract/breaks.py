"""What breaks deployed callers, between two locks.

Beyond what ``buf breaking`` sees: a parameter that is new and needed, a default that is gone, a
result that may be absent now, the same Protobuf type with another meaning.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from uactor.service.contract.lock import (
    Lock,
    LockedField,
    LockedMessage,
    LockedMethod,
    LockedService,
)

_ALWAYS = ('error', 'default')
"""Absence, as it is in what an actor sends: the field is always there."""


@dataclasses.dataclass(frozen=True, order=True)
class Break:
    """A change that some caller can't cope with.

    :ivar path: the service, method, message, field or value that has changed.
    :ivar reason: how.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        """Return path and reason."""
        return f'{self.path}: {self.reason}'


def breaks(old: Lock, new: Lock) -> list[Break]:
    """Return what has changed from ``old`` to ``new`` that breaks callers of ``old``."""
    found = set(_service_breaks(old, new))
    sent, received = _used(old, 'request'), _used(old, 'response')
    for name in sent | received:
        if name in old.messages:
            current = new.messages.get(name)
            if current is None or not current.used_by:
                continue  # which its user has been reported for
            found.update(_message_breaks(name, old.messages[name], current))
            if name in sent:
                found.update(_request_breaks(name, old.messages[name], current))
            if name in received:
                found.update(_response_breaks(name, old.messages[name], current))
        elif name in old.enums:
            found.update(_enum_breaks(name, old, new))
    return sorted(found)


# --- services ------------------------------------------------------------------------------------


def _service_breaks(old: Lock, new: Lock) -> Iterator[Break]:
    for name, service in old.services.items():
        if name not in new.services:
            yield Break(name, 'the service is gone')
            continue
        current = new.services[name]
        if service.package != current.package:
            yield Break(name, f'the package {service.package} is {current.package} now')
        yield from _method_breaks(name, service, current)


def _method_breaks(name: str, old: LockedService, new: LockedService) -> Iterator[Break]:
    for rpc, method in old.methods.items():
        path = f'{name}.{rpc}'
        if rpc not in new.methods:
            yield Break(path, 'the method is gone')
            continue
        current = new.methods[rpc]
        for part in ('request', 'response'):
            before, after = getattr(method, part), getattr(current, part)
            if before != after:
                yield Break(path, f'its {part} {before} is {after} now')
        yield from _stream_breaks(path, method, current)


def _stream_breaks(path: str, old: LockedMethod, new: LockedMethod) -> Iterator[Break]:
    for side in ('client', 'server'):
        before, after = (getattr(each, f'{side}_streaming') for each in (old, new))
        if before != after:
            yield Break(
                path, f'the {side} {"streams now" if after else "does not stream any more"}'
            )


# --- messages ------------------------------------------------------------------------------------


def _message_breaks(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    for field, before in old.fields.items():
        path = f'{name}.{field}'
        after = new.fields.get(field)
        if after is None:
            yield Break(path, 'the field is gone')
            continue
        for what in ('type', 'number', 'means', 'oneof'):
            if getattr(before, what) != getattr(after, what):
                yield Break(path, _changed(what, getattr(before, what), getattr(after, what)))


def _changed(what: str, before: object, after: object) -> str:
    if what == 'oneof':
        return 'it has become an arm of a union, or ceased to be one'
    verb = 'it meant' if what == 'means' else f'its {what} was'
    return f'{verb} {before}, and is {after} now'


_ABSENCE = {
    'error': 'must be there',
    'default': 'means its default without it',
    'omitted': 'means that there is no such key without it',
    'none': 'means None without it',
    'empty': 'means an empty one without it',
}


def _request_breaks(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    groups = {field.oneof for field in old.fields.values()} - {None}
    for field, after in new.fields.items():
        before = old.fields.get(field)
        path = f'{name}.{field}'
        if before is None:
            if after.absent == 'error' and after.oneof not in groups:
                yield Break(path, 'the field is new, and needed')
        elif _is_stricter(before, after):
            told = _ABSENCE[before.absent], _ABSENCE[after.absent]
            yield Break(path, f'it {told[0]} no longer, but {told[1]}')


def _is_stricter(before: LockedField, after: LockedField) -> bool:
    return before.absent not in ('error', after.absent) and before.type == after.type


def _response_breaks(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    for field, before in old.fields.items():
        after = new.fields.get(field)
        same = after is not None and after.type == before.type
        if same and after and before.absent in _ALWAYS and after.absent not in _ALWAYS:
            yield Break(f'{name}.{field}', 'it may be absent now')


def _enum_breaks(name: str, old: Lock, new: Lock) -> Iterator[Break]:
    if name not in new.enums:
        return
    values = new.enums[name].values
    for value, number in old.enums[name].values.items():
        if value not in values:
            yield Break(f'{name}.{value}', 'the value is gone')
        elif values[value] != number:
            yield Break(f'{name}.{value}', f'its number was {number}, and is {values[value]} now')


def _used(lock: Lock, part: str) -> set[str]:
    """Return the names of all that requests, or responses, are made of."""
    waiting = [
        getattr(method, part)
        for service in lock.services.values()
        for method in service.methods.values()
    ]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used:
            used.add(name)
            message = lock.messages.get(name)
            fields = message.fields.values() if message else ()
            for field in fields:
                waiting += re.findall(r'[\w.]+', field.type)
    return used
