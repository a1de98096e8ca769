"""Finds the changes between two locks that break deployed callers.

Beyond what ``buf breaking`` sees, these are: a new parameter without a default, a default that is
gone, a result that may be absent now, and the same Protobuf type with another meaning.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from uactor.service.contract.lock import (
    Lock,
    LockedEnum,
    LockedField,
    LockedMessage,
    LockedMethod,
    LockedService,
)

_ALWAYS_SENT = ('error', 'default')
"""The absences of fields that an actor always sends."""


@dataclasses.dataclass(frozen=True, order=True)
class Break:
    """A change that some deployed caller can't cope with.

    :ivar path: the service, method, message, field or value that has changed.
    :ivar reason: how it has changed.
    """

    path: str
    reason: str

    def __str__(self) -> str:
        """Return path and reason."""
        return f'{self.path}: {self.reason}'


def find_breaks(old: Lock, new: Lock) -> list[Break]:
    """Return the changes from ``old`` to ``new`` that break callers of ``old``."""
    found = set(_compare_services(old, new))
    sent, received = _collect_types(old, 'request'), _collect_types(old, 'response')
    for name in sent | received:
        if name in old.messages:
            before, after = old.messages[name], new.messages.get(name)
            if after is None or not after.used_by:
                continue  # the field or method that used it is reported already
            found.update(_compare_fields(name, before, after))
            if name in sent:
                found.update(_compare_requests(name, before, after))
            if name in received:
                found.update(_compare_responses(name, before, after))
        elif name in old.enums and name in new.enums:
            found.update(_compare_values(name, old.enums[name], new.enums[name]))
    return sorted(found)


# --- services ------------------------------------------------------------------------------------


def _compare_services(old: Lock, new: Lock) -> Iterator[Break]:
    for name, before in old.services.items():
        if name not in new.services:
            yield Break(name, 'the service is gone')
            continue
        after = new.services[name]
        if before.package != after.package:
            yield Break(name, f'the package {before.package} is {after.package} now')
        yield from _compare_methods(name, before, after)


def _compare_methods(name: str, old: LockedService, new: LockedService) -> Iterator[Break]:
    for rpc, before in old.methods.items():
        path = f'{name}.{rpc}'
        if rpc not in new.methods:
            yield Break(path, 'the method is gone')
            continue
        after = new.methods[rpc]
        for part in ('request', 'response'):
            was, is_ = getattr(before, part), getattr(after, part)
            if was != is_:
                yield Break(path, f'its {part} {was} is {is_} now')
        yield from _compare_streams(path, before, after)


def _compare_streams(path: str, old: LockedMethod, new: LockedMethod) -> Iterator[Break]:
    for side in ('client', 'server'):
        before, after = (getattr(each, f'{side}_streaming') for each in (old, new))
        if before != after:
            yield Break(
                path, f'the {side} {"streams now" if after else "does not stream any more"}'
            )


# --- messages ------------------------------------------------------------------------------------


def _compare_fields(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    for field, before in old.fields.items():
        path = f'{name}.{field}'
        after = new.fields.get(field)
        if after is None:
            yield Break(path, 'the field is gone')
            continue
        for what in ('type', 'number', 'means', 'oneof'):
            was, is_ = getattr(before, what), getattr(after, what)
            if was != is_:
                yield Break(path, _describe_change(what, was, is_))


def _describe_change(what: str, before: object, after: object) -> str:
    if what == 'oneof':
        return 'it has become an arm of a union, or ceased to be one'
    verb = 'it meant' if what == 'means' else f'its {what} was'
    return f'{verb} {before}, and is {after} now'


_ABSENCE = {
    'error': 'an error',
    'default': 'its default',
    'omitted': 'that there is no such key',
    'none': 'None',
    'empty': 'an empty one',
}


def _compare_requests(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    oneofs = {field.oneof for field in old.fields.values()} - {None}
    for field, after in new.fields.items():
        before = old.fields.get(field)
        path = f'{name}.{field}'
        if before is None:
            if after.absent == 'error' and after.oneof not in oneofs:
                yield Break(path, 'the field is new, and needed')
        elif _is_stricter(before, after):
            was, is_ = _ABSENCE[before.absent], _ABSENCE[after.absent]
            yield Break(path, f'left out, it meant {was}; now it means {is_}')


def _is_stricter(before: LockedField, after: LockedField) -> bool:
    return before.absent not in ('error', after.absent) and before.type == after.type


def _compare_responses(name: str, old: LockedMessage, new: LockedMessage) -> Iterator[Break]:
    for field, before in old.fields.items():
        after = new.fields.get(field)
        if after is None or after.type != before.type:
            continue
        if before.absent in _ALWAYS_SENT and after.absent not in _ALWAYS_SENT:
            yield Break(f'{name}.{field}', 'it may be absent now')


def _compare_values(name: str, old: LockedEnum, new: LockedEnum) -> Iterator[Break]:
    for value, number in old.values.items():
        if value not in new.values:
            yield Break(f'{name}.{value}', 'the value is gone')
        elif new.values[value] != number:
            current = new.values[value]
            yield Break(f'{name}.{value}', f'its number was {number}, and is {current} now')


def _collect_types(lock: Lock, part: str) -> set[str]:
    """Return the names of all types reachable from requests or responses."""
    waiting = [
        getattr(method, part)
        for service in lock.services.values()
        for method in service.methods.values()
    ]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            message = lock.messages.get(name)
            fields = message.fields.values() if message else ()
            for field in fields:
                waiting += re.findall(r'[\w.]+', field.type)
    return found
