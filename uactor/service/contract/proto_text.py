"""Prints a file descriptor as a ``.proto`` file.

The layout is that of ``buf format``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf import descriptor_pb2

from uactor.service.naming import camel

_Field = descriptor_pb2.FieldDescriptorProto
_INDENT = '  '
_FIELD, _RPC, _VALUE, _ONEOF = 2, 2, 2, 8
"""Fields of the descriptors of messages, services and enums, in the paths of comments."""
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_Path = tuple[int, ...]


def proto_text(file: descriptor_pb2.FileDescriptorProto, header: str = '') -> str:
    """Return the text of a file, the same for the same descriptor.

    :param header: a comment for the top of the file.
    """
    return '\n'.join(_Printer(file).lines(header)) + '\n'


class _Printer:
    """Prints one file, each method a part of it as lines."""

    def __init__(self, file: descriptor_pb2.FileDescriptorProto) -> None:
        self._file = file
        self._comments = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
        }

    def lines(self, header: str) -> Iterator[str]:
        yield from _comment(header)
        yield f'syntax = "{self._file.syntax}";'
        yield from ('', f'package {self._file.package};')
        if self._file.dependency:
            yield ''
            yield from (f'import "{name}";' for name in sorted(self._file.dependency))
        for index, service in enumerate(self._file.service):
            yield from ('', *self._service(service, (_SERVICE, index)))
        for index, message in enumerate(self._file.message_type):
            yield from ('', *self._message(message, (_MESSAGE, index)))
        for index, enum in enumerate(self._file.enum_type):
            yield from ('', *self._enum(enum, (_ENUM, index)))

    def _comments_at(self, path: _Path) -> Iterator[str]:
        text = self._comments.get(path, '')
        yield from _comment('\n'.join(line.removeprefix(' ') for line in text.splitlines()))

    # --- services --------------------------------------------------------------------------------

    def _service(
        self, service: descriptor_pb2.ServiceDescriptorProto, path: _Path
    ) -> Iterator[str]:
        blocks = [
            [*self._comments_at((*path, _RPC, index)), self._rpc(method)]
            for index, method in enumerate(service.method)
        ]
        yield from self._comments_at(path)
        yield from _block(f'service {service.name}', _separate(blocks))

    def _rpc(self, method: descriptor_pb2.MethodDescriptorProto) -> str:
        request = 'stream ' * method.client_streaming + self._name(method.input_type)
        response = 'stream ' * method.server_streaming + self._name(method.output_type)
        return f'rpc {method.name}({request}) returns ({response});'

    # --- messages --------------------------------------------------------------------------------

    def _message(self, message: descriptor_pb2.DescriptorProto, path: _Path) -> Iterator[str]:
        yield from self._comments_at(path)
        body = [*self._format_reserved_lines(message), *self._fields(message, path)]
        yield from _block(f'message {message.name}', body)

    def _fields(self, message: descriptor_pb2.DescriptorProto, path: _Path) -> Iterator[str]:
        done: set[int] = set()
        for index, field in enumerate(message.field):
            if not field.HasField('oneof_index') or field.proto3_optional:
                yield from self._comments_at((*path, _FIELD, index))
                yield self._field(message, field)
            elif field.oneof_index not in done:
                done.add(field.oneof_index)
                yield from self._oneof(message, path, field.oneof_index)

    def _oneof(
        self, message: descriptor_pb2.DescriptorProto, path: _Path, oneof: int
    ) -> Iterator[str]:
        lines: list[str] = []
        for index, field in enumerate(message.field):
            is_arm = field.HasField('oneof_index') and not field.proto3_optional
            if is_arm and field.oneof_index == oneof:
                lines += [*self._comments_at((*path, _FIELD, index)), self._field(message, field)]
        yield from self._comments_at((*path, _ONEOF, oneof))
        yield from _block(f'oneof {message.oneof_decl[oneof].name}', lines)

    def _field(self, message: descriptor_pb2.DescriptorProto, field: _Field) -> str:
        options = ''
        if field.json_name not in ('', camel(field.name)):
            options = f' [json_name = "{field.json_name}"]'
        return f'{self._type(message, field)} {field.name} = {field.number}{options};'

    def _type(self, message: descriptor_pb2.DescriptorProto, field: _Field) -> str:
        nested = {entry.name: entry for entry in message.nested_type}
        entry = nested.get(field.type_name.rpartition('.')[2])
        if entry and field.type_name == f'.{self._file.package}.{message.name}.{entry.name}':
            key, value = (self._single(each, nested) for each in entry.field)
            return f'map<{key}, {value}>'
        kind = self._single(field, nested)
        if field.label == _Field.LABEL_REPEATED:
            return f'repeated {kind}'
        return f'optional {kind}' if field.proto3_optional else kind

    def _single(self, field: _Field, nested: Iterable[str]) -> str:
        if field.type_name:
            return self._name(field.type_name, nested)
        return _Field.Type.Name(field.type).removeprefix('TYPE_').lower()

    def _name(self, full: str, nested: Iterable[str] = ()) -> str:
        """Return the shortest name that Protobuf resolves from here."""
        own = f'.{self._file.package}.'
        if full.startswith(own):
            short = full.removeprefix(own)
            return full if short in nested else short
        is_hidden = full[1:].partition('.')[0] in self._file.package.split('.')
        return full if is_hidden else full.removeprefix('.')

    def _format_reserved_lines(self, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
        ranges = [(each.start, each.end - 1) for each in message.reserved_range]
        yield from _format_reserved(ranges, message.reserved_name)

    # --- enums -----------------------------------------------------------------------------------

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto, path: _Path) -> Iterator[str]:
        ranges = [(each.start, each.end) for each in enum.reserved_range]
        body = list(_format_reserved(ranges, enum.reserved_name))
        for index, value in enumerate(enum.value):
            body += [*self._comments_at((*path, _VALUE, index)), f'{value.name} = {value.number};']
        yield from self._comments_at(path)
        yield from _block(f'enum {enum.name}', body)


def _comment(text: str) -> Iterator[str]:
    for line in text.splitlines():
        yield f'// {line}'.rstrip()


def _block(head: str, body: Iterable[str]) -> Iterator[str]:
    lines = [f'{_INDENT}{line}' if line else '' for line in body]
    yield from (f'{head} {{', *lines, '}') if lines else (f'{head} {{}}',)


def _separate(blocks: list[list[str]]) -> Iterator[str]:
    for index, block in enumerate(blocks):
        yield from (*([''] if index else []), *block)


def _format_reserved(ranges: list[tuple[int, int]], names: Iterable[str]) -> Iterator[str]:
    numbers = [str(start) if start == end else f'{start} to {end}' for start, end in ranges]
    if numbers:
        yield f'reserved {", ".join(numbers)};'
    quoted: list[Any] = [f'"{name}"' for name in names]
    if quoted:
        yield f'reserved {", ".join(quoted)};'
