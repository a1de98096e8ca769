"""Assigns names and numbers to a plan, by its next lock.

Invariants, over all locks that follow from one another:

* A field keeps its name and number as long as its type stays the same.
* A number or name that was in use once is reserved, and never gets another meaning.
* A new entry gets the next number, not one more than the largest: a gap is never filled.
* A type whose class has moved keeps its name; a tombstone whose class comes back revives.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping

from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.plan import Plan
from uactor.service.contract.lock import (
    Lock,
    LockedEnum,
    LockedField,
    LockedMessage,
    LockedMethod,
    LockedService,
)
from uactor.service.errors import LockError
from uactor.service.mapping.markers import IMPLEMENTATION_NUMBERS, LARGEST_NUMBER
from uactor.service.model import EnumPlan, FieldPlan, OwnMessage, Reserved
from uactor.service.naming import clients_of, upper

Names = Mapping[str, str]
"""The names of messages and enums, by the keys of their plans."""


def next_lock(lock: Lock, plan: Plan) -> Lock:
    """Return the lock for ``plan``, with all names and numbers of ``lock``.

    :raises LockError: when pins contradict ``lock``.
    """
    new = copy.deepcopy(lock)
    _release_types(new, plan)
    names = _assign_names(new, plan)
    for message in plan.messages():
        _update_message(new.messages[names[message.key]], message, names)
    for enum in plan.enums():
        _update_enum(new.enums[names[enum.key]], enum, names[enum.key])
    _update_service(new, plan, names)
    return new


def assign_numbers(plan: Plan, lock: Lock) -> None:
    """Give ``plan`` the names and numbers of ``lock``.

    The lock is what :func:`next_lock` has returned for the plan.
    """
    names = _names_by_key(lock)
    for enum in plan.enums():
        enum.name = names[enum.key]
        _assign_enum(enum, lock.enums[enum.name])
    for message in plan.messages():
        message.name = names[message.key]
        _assign_message(message, lock.messages[message.name])


def _assign_enum(enum: EnumPlan, locked: LockedEnum) -> None:
    enum.reserved = locked.reserved
    zero, *values = enum.values
    zero.name = _value_name(enum.name, zero.member)
    for value in values:
        name = _value_name(enum.name, value.member)
        value.name = locked.names.get(name, name)
        value.number = locked.values[value.name]


def _value_name(enum: str, member: str) -> str:
    return f'{upper(enum)}_{member}'


def _assign_message(message: MessagePlan, locked: LockedMessage) -> None:
    message.reserved = locked.reserved
    message.fields = []
    for part in message.parts:
        part.wire_name = locked.names.get(part.name, part.name)
        for field in part.plan_fields():
            field.number = locked.fields[field.name].number
            message.fields.append(field)


# --- the names of messages and enums -------------------------------------------------------------


def _release_types(lock: Lock, plan: Plan) -> None:
    """Remove the service from the users of types it no longer uses."""
    used = {type_.key for type_ in _own_types(plan)}
    entries: list[LockedMessage | LockedEnum] = [*lock.messages.values(), *lock.enums.values()]
    for locked in entries:
        if locked.of not in used and plan.service in locked.used_by:
            locked.used_by.remove(plan.service)


def _assign_names(lock: Lock, plan: Plan) -> Names:
    """Name each new message and enum; return the names of all."""
    names = dict(_names_by_key(lock))
    for type_ in _own_types(plan):
        if type_.key not in names:
            names[type_.key] = _choose_name(lock, plan, type_)
        users = _ensure_entry(lock, names[type_.key], type_).used_by
        if plan.service not in users:
            users.append(plan.service)
            users.sort()
    return names


def _own_types(plan: Plan) -> list[MessagePlan | EnumPlan]:
    return [*plan.messages(), *plan.enums()]


def _ensure_entry(
    lock: Lock, name: str, type_: MessagePlan | EnumPlan
) -> LockedMessage | LockedEnum:
    entry: LockedMessage | LockedEnum
    if isinstance(type_, MessagePlan):
        entry = lock.messages.setdefault(name, LockedMessage(type_.key))
    else:
        entry = lock.enums.setdefault(name, LockedEnum(type_.key))
    entry.of = type_.key
    return entry


def _names_by_key(lock: Lock) -> Names:
    """Return the names of the lock's types by key.

    A type in use hides a tombstone with the same key.
    """
    entries: list[tuple[str, LockedMessage | LockedEnum]]
    entries = [*lock.messages.items(), *lock.enums.items()]
    entries.sort(key=lambda entry: bool(entry[1].used_by))
    return {locked.of: name for name, locked in entries}


def _choose_name(lock: Lock, plan: Plan, type_: MessagePlan | EnumPlan) -> str:
    own: Mapping[str, LockedMessage] | Mapping[str, LockedEnum] = lock.messages
    other: Collection[str] = lock.enums
    if isinstance(type_, EnumPlan):
        own, other = lock.enums, lock.messages
    services = {*lock.services, plan.service}
    taken = services.union(*map(clients_of, services))
    for name in _candidate_names(plan, type_):
        holder = own.get(name)
        if name not in other and name not in taken and (holder is None or not holder.used_by):
            return name  # new, or that of a class that has moved: it keeps its numbers
    raise LockError(f'no name is left for {type_.key}')


def _candidate_names(plan: Plan, type_: MessagePlan | EnumPlan) -> Iterator[str]:
    yield type_.wanted
    if any(type_ in (method.request, method.response) for method in plan.methods):
        yield f'{plan.service}{type_.wanted}'  # the other form that buf accepts
    yield from (f'{type_.wanted}{number}' for number in range(2, 1000))


# --- the numbers of fields and values ------------------------------------------------------------


def _update_message(locked: LockedMessage, message: MessagePlan, names: Names) -> None:
    locked.names = _wire_names(locked, message.parts)
    wanted: dict[str, FieldPlan] = {}
    for part in message.parts:
        name = locked.names.get(part.name, part.name)
        wanted |= {field.name: field for field in part.plan_fields(name)}
    kept = _keep_unchanged_fields(locked, wanted, names)
    for name in locked.fields.keys() - wanted.keys():
        locked.reserved.names.append(name)
    _reserve(locked.reserved, (locked.fields[name].number for name in locked.fields.keys() - kept))
    locked.fields = _number_fields(locked, wanted, kept, names)
    _normalize(locked.reserved, wanted)


def _wire_names(locked: LockedMessage, parts: list[Part]) -> dict[str, str]:
    """Return the wire names that differ from the names of their parts."""
    names = {part.name: locked.names[part.name] for part in parts if part.name in locked.names}
    others = {*locked.names.values()}  # wire names that are not the Python names of their parts
    own = {part.name for part in parts}
    for part in parts:
        old = _old_wire_name(locked, part, others)
        has_one = part.name in names or (
            _is_live(locked, part, part.name) and part.name not in others
        )
        is_free = old not in names.values() and (_is_live(locked, part, old) or old not in own)
        if old and is_free and not has_one:
            names[part.name] = old
    taken = {*names.values(), *others}
    for part in parts:
        if part.name not in names:
            name = _choose_wire_name(locked, part, {*taken, *(own - {part.name})})
            taken.add(name)
            if name != part.name:
                names[part.name] = name
    return names


def _old_wire_name(locked: LockedMessage, part: Part, others: Collection[str]) -> str:
    """Return the wire name for the part's earlier name, or ''."""
    if part.old_name in locked.names:
        return locked.names[part.old_name]
    return '' if part.old_name is None or part.old_name in others else part.old_name


def _is_live(locked: LockedMessage, part: Part, name: str) -> bool:
    """Return whether the lock has fields of the part under ``name``."""
    return any(field.name in locked.fields for field in part.field.plan_fields(name))


def _choose_wire_name(locked: LockedMessage, part: Part, taken: Collection[str]) -> str:
    """Return a wire name that no other part has or had."""
    for number in range(1, 1000):
        name = part.name if number == 1 else f'{part.name}_{number}'
        fields = {field.name for field in part.field.plan_fields(name)}
        is_reserved = fields & {*locked.reserved.names} and not fields & locked.fields.keys()
        if name not in taken and not is_reserved:
            return name
    raise LockError(f'no name is left for {part.name!r}')


def _keep_unchanged_fields(
    locked: LockedMessage, wanted: Mapping[str, FieldPlan], names: Names
) -> dict[str, LockedField]:
    """Return the fields whose type and pin let them keep their numbers."""
    kept = {}
    for name, field in wanted.items():
        old = locked.fields.get(name)
        if old and old.type == type_text(field, names) and field.pin in (None, old.number):
            kept[name] = old
    return kept


def _number_fields(
    locked: LockedMessage,
    wanted: Mapping[str, FieldPlan],
    kept: Mapping[str, LockedField],
    names: Names,
) -> dict[str, LockedField]:
    pins = {field.pin for field in wanted.values() if field.pin is not None}
    taken = {field.number for field in kept.values()} | {*locked.reserved.numbers} | pins
    fields: dict[str, LockedField] = {}
    for name, field in wanted.items():
        if field.pin is not None:
            number = _validate_pin(locked, name, field.pin, kept)
        elif name in kept:
            number = kept[name].number
        else:
            number = locked.next = next_number(locked.next, taken)
            locked.next += 1
        type_ = type_text(field, names)
        fields[name] = LockedField(number, type_, field.means, field.absent, field.oneof)
    return fields


def _validate_pin(
    locked: LockedMessage, name: str, pin: int, kept: Mapping[str, LockedField]
) -> int:
    others = {field.number for other, field in kept.items() if other != name}
    if pin in others or pin in locked.reserved.numbers:
        raise LockError(f'{locked.of}: {name} is pinned to {pin}, which is or was another field')
    return pin


def next_number(number: int, taken: Collection[int]) -> int:
    """Return the first free field number from ``number`` on.

    :raises LockError: when there is none.
    """
    while number in taken or number in IMPLEMENTATION_NUMBERS:
        number += 1
    if number > LARGEST_NUMBER:
        raise LockError('no field number is left')
    return number


def _reserve(reserved: Reserved, numbers: Iterator[int]) -> None:
    reserved.numbers = sorted({*reserved.numbers, *numbers})


def _normalize(reserved: Reserved, used: Collection[str]) -> None:
    """Sort the reserved names, without those that are in use again."""
    reserved.names = sorted({*reserved.names} - {*used})


def _update_enum(locked: LockedEnum, enum: EnumPlan, name: str) -> None:
    members = [_value_name(name, value.member) for value in enum.values[1:]]
    names = {name: locked.names[name] for name in members if name in locked.names}
    for name in members:
        if name not in names and name in locked.reserved.names:
            names[name] = _append_number(name, {*locked.reserved.names, *members, *names.values()})
    locked.names = names
    wanted = [names.get(name, name) for name in members]
    gone = locked.values.keys() - {*wanted}
    _reserve(locked.reserved, (locked.values[name] for name in gone))
    locked.reserved.names = sorted({*locked.reserved.names, *gone})
    values = {}
    for name in wanted:
        if name in locked.values:
            values[name] = locked.values[name]
        else:
            values[name], locked.next = locked.next, locked.next + 1
    locked.values = values


def _append_number(name: str, taken: Collection[str]) -> str:
    return next(f'{name}_{number}' for number in range(2, 1000) if f'{name}_{number}' not in taken)


# --- services ------------------------------------------------------------------------------------


def _update_service(lock: Lock, plan: Plan, names: Names) -> None:
    service = lock.services.setdefault(plan.service, LockedService(plan.class_name, plan.package))
    service.of, service.package = plan.class_name, plan.package
    methods = {
        method.rpc: LockedMethod(
            method.member,
            names[method.request.key],
            names[method.response.key],
            method.client_streaming,
            method.server_streaming,
        )
        for method in plan.methods
    }
    gone = {rpc: old for rpc, old in service.methods.items() if rpc not in methods}
    service.removed = {
        rpc: old for rpc, old in {**service.removed, **gone}.items() if rpc not in methods
    }
    service.methods = methods


# --- the text of types ---------------------------------------------------------------------------


def type_text(field: FieldPlan, names: Names) -> str:
    """Return the type of a field as a ``.proto`` writes it."""
    text = _value_type_text(field, names)
    if field.key_type is not None:
        return f'map<{field.key_type}, {text}>'
    return f'repeated {text}' if field.repeated else text


def _value_type_text(field: FieldPlan, names: Names) -> str:
    if isinstance(field.type, str):
        return field.type
    if isinstance(field.type, (EnumPlan, OwnMessage)):
        return names[field.type.key]
    return field.type.name
