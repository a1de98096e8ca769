"""A settled plan as the descriptor of a file, comments included."""

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
"""Numbers of what a file holds, which paths of comments begin with."""


@functools.cache
def known_files() -> dict[str, File]:
    """Return the files that those of services may need, by name."""
    modules = (timestamp_pb2, duration_pb2, struct_pb2, actor_pb2)
    files = []
    for module in modules:
        file = File()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    return {file.name: file for file in files}


def dependencies_of(file: File) -> list[File]:
    """Return the files that ``file`` needs, each after those that it needs itself."""
    found: dict[str, File] = {}

    def visit(names: Sequence[str]) -> None:
        for name in names:
            if name not in found:
                dependency = known_files()[name]
                visit(dependency.dependency)
                found[name] = dependency

    visit(file.dependency)
    return list(found.values())


def file_for(*plans: Plan) -> File:
    """Return the file of settled plans of one package, which one lock has settled."""
    package = plans[0].package
    file = File(name=file_of(package), package=package, syntax='proto3')
    file.dependency.extend(sorted({each.file for plan in plans for each in plan.externals()}))
    writer = _Writer(file)
    for plan in plans:
        writer.service(plan)
    messages = {message.name: message for plan in plans for message in plan.messages()}
    for message in messages.values():
        writer.message(message)
    enums = {enum.name: enum for plan in plans for enum in plan.enums()}
    for enum in enums.values():
        writer.enum(enum)
    return file


class _Writer:
    """Adds to a file, and writes down the comments."""

    def __init__(self, file: File) -> None:
        self._file = file

    def _comment(self, path: Path, text: str) -> None:
        if text:
            lines = ''.join(f' {line}'.rstrip() + '\n' for line in text.splitlines())
            self._file.source_code_info.location.add(
                path=path, span=[0, 0, 0], leading_comments=lines
            )

    def _type(self, kind: MessagePlan | EnumPlan | Any) -> str:
        is_own = isinstance(kind, (MessagePlan, EnumPlan))
        return f'.{self._file.package}.{kind.name}' if is_own else f'.{kind.name}'

    def service(self, plan: Plan) -> None:
        path = (_SERVICE, len(self._file.service))
        service = self._file.service.add(name=plan.service)
        self._comment(path, service_comment(plan))
        for index, method in enumerate(plan.methods):
            service.method.add(
                name=method.rpc,
                input_type=self._type(method.request),
                output_type=self._type(method.response),
                client_streaming=method.client_streaming or None,
                server_streaming=method.server_streaming or None,
            )
            self._comment((*path, 2, index), method_comment(method))

    def enum(self, plan: EnumPlan) -> None:
        path = (_ENUM, len(self._file.enum_type))
        enum = self._file.enum_type.add(name=plan.name)
        self._comment(path, plan.doc)
        for value in plan.values:
            enum.value.add(name=value.name, number=value.number)
        for start, end in _ranges(plan.reserved):
            enum.reserved_range.add(start=start, end=end)
        enum.reserved_name.extend(plan.reserved.names)

    def message(self, plan: MessagePlan) -> None:
        path = (_MESSAGE, len(self._file.message_type))
        message = self._file.message_type.add(name=plan.name)
        self._comment(path, plan.doc)
        oneofs = list(dict.fromkeys(field.oneof for field in plan.fields if field.oneof))
        synthetic = [f'_{field.name}' for field in plan.fields if field.is_optional]
        for name in (*oneofs, *synthetic):
            message.oneof_decl.add(name=name)
        index = {name: number for number, name in enumerate((*oneofs, *synthetic))}
        for number, field in enumerate(plan.fields):
            written = self._field(message, field)
            if field.oneof:
                written.oneof_index = index[field.oneof]
            elif field.is_optional:
                written.proto3_optional = True
                written.oneof_index = index[f'_{field.name}']
            self._comment((*path, 2, number), field.doc)
        for start, end in _ranges(plan.reserved):
            message.reserved_range.add(start=start, end=end + 1)
        message.reserved_name.extend(plan.reserved.names)

    def _field(self, message: descriptor_pb2.DescriptorProto, field: FieldPlan) -> _Field:
        written = message.field.add(
            name=field.name, number=field.number, json_name=camel(field.name)
        )
        many = field.repeated or field.key_type is not None
        written.label = _Field.LABEL_REPEATED if many else _Field.LABEL_OPTIONAL
        if field.key_type is None:
            self._set_type(written, field)
            return written
        entry = message.nested_type.add(name=f'{pascal(field.name)}Entry')
        entry.options.map_entry = True
        optional = _Field.LABEL_OPTIONAL
        entry.field.add(
            name='key', json_name='key', number=1, label=optional, type=_SCALARS[field.key_type]
        )
        value = entry.field.add(name='value', json_name='value', number=2, label=optional)
        self._set_type(value, field)
        written.type = _Field.TYPE_MESSAGE
        written.type_name = f'.{self._file.package}.{message.name}.{entry.name}'
        return written

    def _set_type(self, written: _Field, field: FieldPlan) -> None:
        if isinstance(field.type, str):
            written.type = _SCALARS[field.type]
            return
        is_enum = isinstance(field.type, EnumPlan)
        written.type = _Field.TYPE_ENUM if is_enum else _Field.TYPE_MESSAGE
        written.type_name = self._type(field.type)


def _ranges(reserved: Reserved) -> list[tuple[int, int]]:
    """Return the reserved numbers as ranges, both ends included."""
    ranges: list[tuple[int, int]] = []
    for number in reserved.numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = ranges[-1][0], number
        else:
            ranges.append((number, number))
    return ranges


def service_comment(plan: Plan) -> str:
    """Return what is said of a service: what it is, and what it leaves out."""
    parts = [plan.doc or f'{plan.service} is the typed service of the actor {plan.class_name}.']
    if plan.unmapped:
        lines = [f'  {name}: {reason}' for name, reason in plan.unmapped.items()]
        parts.append('\n'.join(['Not in this service, but callable through ActorService:', *lines]))
    return '\n\n'.join(parts)


def method_comment(method: Any) -> str:
    """Return what is said of an RPC."""
    if method.doc:
        return str(method.doc)
    verbs = {
        'call': 'calls the method',
        'get': 'reads the attribute',
        'set': 'writes the attribute',
    }
    return f'{method.rpc} {verbs[method.kind]} {method.member}.'


def bind(plan: Plan, file: File) -> dict[str, Any]:
    """Make the message classes of a settled plan, in a pool of their own; return them by name."""
    pool = descriptor_pool.DescriptorPool()
    for dependency in dependencies_of(file):
        pool.Add(dependency)  # type: ignore[no-untyped-call,unused-ignore]
    pool.Add(file)  # type: ignore[no-untyped-call,unused-ignore]

    def find(name: str) -> Any:
        return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))

    files = {dependency.name for dependency in dependencies_of(file)}
    for external in plan.known:
        if external.file in files:
            external.bound = find(external.name)
    classes = {message.name: find(f'{file.package}.{message.name}') for message in plan.messages()}
    for message in plan.messages():
        message.bound = classes[message.name]
    return classes
