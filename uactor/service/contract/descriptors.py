"""Writes the plan of a service as a file descriptor, with comments.

Its names and numbers are those that :mod:`uactor.service.contract.numbering` has assigned.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
)

from uactor.service.codecs.methods import ServiceMethod
from uactor.service.codecs.part import MessagePlan
from uactor.service.codecs.plan import Plan
from uactor.service.model import EnumPlan, FieldPlan, Reserved
from uactor.service.naming import camel, file_of, pascal
from uactor.v1 import actor_pb2

File = descriptor_pb2.FileDescriptorProto
_Field = descriptor_pb2.FieldDescriptorProto
Path = tuple[int, ...]

_SCALARS: dict[str, Any] = {
    name.removeprefix('TYPE_').lower(): number for name, number in _Field.Type.items()
}
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
"""Fields of FileDescriptorProto, with which the paths of comments begin."""


@functools.cache
def importable_files() -> dict[str, File]:
    """Return the files that a service's file may import, by name."""
    modules = (timestamp_pb2, duration_pb2, struct_pb2, actor_pb2)
    files = []
    for module in modules:
        file = File()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return {file.name: file for file in files}


def list_dependencies(file: File) -> list[File]:
    """Return all files that ``file`` imports, directly or not.

    Each file comes after the files that it imports itself.
    """
    found: dict[str, File] = {}

    def visit(names: Sequence[str]) -> None:
        for name in names:
            if name not in found:
                dependency = importable_files()[name]
                visit(dependency.dependency)
                found[name] = dependency

    visit(file.dependency)
    return list(found.values())


def create_file(*plans: Plan) -> File:
    """Return the file of a package's plans, numbered by one lock."""
    package = plans[0].package
    file = File(name=file_of(package), package=package, syntax='proto3')
    file.dependency.extend(sorted({each.file for plan in plans for each in plan.externals()}))
    writer = _Writer(file)
    for plan in plans:
        writer.add_service(plan)
    messages = {message.name: message for plan in plans for message in plan.messages()}
    for message in messages.values():
        writer.add_message(message)
    enums = {enum.name: enum for plan in plans for enum in plan.enums()}
    for enum in enums.values():
        writer.add_enum(enum)
    return file


class _Writer:
    """Adds services, messages and enums to a file, with their comments."""

    def __init__(self, file: File) -> None:
        self._file = file

    def _add_comment(self, path: Path, text: str) -> None:
        if text:
            lines = ''.join(f' {line}'.rstrip() + '\n' for line in text.splitlines())
            self._file.source_code_info.location.add(
                path=path, span=[0, 0, 0], leading_comments=lines
            )

    def _type_name(self, kind: MessagePlan | EnumPlan | Any) -> str:
        is_own = isinstance(kind, (MessagePlan, EnumPlan))
        return f'.{self._file.package}.{kind.name}' if is_own else f'.{kind.name}'

    def add_service(self, plan: Plan) -> None:
        path = (_SERVICE, len(self._file.service))
        service = self._file.service.add(name=plan.service)
        self._add_comment(path, describe_service(plan))
        for index, method in enumerate(plan.methods):
            service.method.add(
                name=method.rpc,
                input_type=self._type_name(method.request),
                output_type=self._type_name(method.response),
                client_streaming=method.client_streaming or None,
                server_streaming=method.server_streaming or None,
            )
            self._add_comment((*path, 2, index), describe_method(method))

    def add_enum(self, plan: EnumPlan) -> None:
        path = (_ENUM, len(self._file.enum_type))
        enum = self._file.enum_type.add(name=plan.name)
        self._add_comment(path, plan.doc)
        for value in plan.values:
            enum.value.add(name=value.name, number=value.number)
        for start, end in _ranges(plan.reserved):
            enum.reserved_range.add(start=start, end=end)
        enum.reserved_name.extend(plan.reserved.names)

    def add_message(self, plan: MessagePlan) -> None:
        path = (_MESSAGE, len(self._file.message_type))
        message = self._file.message_type.add(name=plan.name)
        self._add_comment(path, plan.doc)
        oneofs = list(dict.fromkeys(field.oneof for field in plan.fields if field.oneof))
        synthetic = [f'_{field.name}' for field in plan.fields if field.is_optional]
        for name in (*oneofs, *synthetic):
            message.oneof_decl.add(name=name)
        index = {name: number for number, name in enumerate((*oneofs, *synthetic))}
        for number, field in enumerate(plan.fields):
            descriptor = self._add_field(message, field)
            if field.oneof:
                descriptor.oneof_index = index[field.oneof]
            elif field.is_optional:
                descriptor.proto3_optional = True
                descriptor.oneof_index = index[f'_{field.name}']
            self._add_comment((*path, 2, number), field.doc)
        for start, end in _ranges(plan.reserved):
            message.reserved_range.add(start=start, end=end + 1)
        message.reserved_name.extend(plan.reserved.names)

    def _add_field(self, message: descriptor_pb2.DescriptorProto, field: FieldPlan) -> _Field:
        descriptor = message.field.add(
            name=field.name, number=field.number, json_name=camel(field.name)
        )
        many = field.repeated or field.key_type is not None
        descriptor.label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
        if field.key_type is None:
            self._set_type(descriptor, field)
            return descriptor
        entry = message.nested_type.add(name=f'{pascal(field.name)}Entry')
        entry.options.map_entry = True
        optional = _Field.LABEL_OPTIONAL
        entry.field.add(
            name='key', json_name='key', number=1, label=optional, type=_SCALARS[field.key_type]
        )
        value = entry.field.add(name='value', json_name='value', number=2, label=optional)
        self._set_type(value, field)
        descriptor.type = _Field.TYPE_MESSAGE
        descriptor.type_name = f'.{self._file.package}.{message.name}.{entry.name}'
        return descriptor

    def _set_type(self, descriptor: _Field, field: FieldPlan) -> None:
        if isinstance(field.type, str):
            descriptor.type = _SCALARS[field.type]
            return
        is_enum = isinstance(field.type, EnumPlan)
        descriptor.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
        descriptor.type_name = self._type_name(field.type)


def _ranges(reserved: Reserved) -> list[tuple[int, int]]:
    """Return the reserved numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for number in reserved.numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    return ranges


def describe_service(plan: Plan) -> str:
    """Return the comment of a service: docstring and unmapped members."""
    parts = [plan.doc or f'{plan.service} is the typed service of the actor {plan.class_name}.']
    if plan.unmapped:
        lines = [f'  {name}: {reason}' for name, reason in plan.unmapped.items()]
        parts.append('\n'.join(['Not in this service, but callable through ActorService:', *lines]))
    return '\n\n'.join(parts)


def describe_method(method: ServiceMethod) -> str:
    """Return the comment of an RPC."""
    if method.doc:
        return method.doc
    verbs = {
        'call': 'calls the method',
        'get': 'reads the attribute',
        'set': 'writes the attribute',
    }
    return f'{method.rpc} {verbs[method.kind]} {method.member}.'


def bind_classes(plan: Plan, file: File) -> dict[str, Any]:
    """Create a plan's message classes, and bind its messages to them.

    The classes have a pool of their own.

    :returns: the classes by name.
    """
    pool = descriptor_pool.DescriptorPool()
    for dependency in list_dependencies(file):
        pool.Add(dependency)  # type: ignore[no-untyped-call,unused-ignore]
    pool.Add(file)  # type: ignore[no-untyped-call,unused-ignore]

    def find(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    files = {dependency.name for dependency in list_dependencies(file)}
    for external in plan.known:
        if external.file in files:
            external.bound = find(external.name)
    classes = {message.name: find(f'{file.package}.{message.name}') for message in plan.messages()}
    for message in plan.messages():
        message.bound = classes[message.name]
    return classes
