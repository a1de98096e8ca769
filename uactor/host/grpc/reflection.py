"""Server reflection, v1 and v1alpha, with the comments of the ``.proto`` files.

grpcio-reflection speaks v1alpha only, does not find methods, and serves descriptors
that have lost their comments. The v1 service has the same messages under another
name, so one servicer serves both.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import resources
from typing import Any

import grpc
from google.protobuf import descriptor_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2 as pb

File = descriptor_pb2.FileDescriptorProto

_SERVICES = ('grpc.reflection.v1.ServerReflection', 'grpc.reflection.v1alpha.ServerReflection')


@functools.cache
def descriptors() -> tuple[File, ...]:
    """Return the files that every actor process serves, comments included."""
    data = resources.files('uactor.v1').joinpath('actor.binpb').read_bytes()
    files = list(descriptor_pb2.FileDescriptorSet.FromString(data).file)
    for module in (error_details_pb2, health_pb2, pb):  # reflection last, for _as_v1
        file = File()
        module.DESCRIPTOR.CopyToProto(file)
        files.append(file)
    files.append(_as_v1(files[-1]))
    return tuple(files)


def own_services() -> list[str]:
    """Return the names of the services that every actor process has."""
    return sorted(_services(descriptors()))


def _as_v1(alpha: File) -> File:
    """Return the v1 reflection file: the messages of v1alpha under another name."""
    data = alpha.SerializeToString()
    file = File.FromString(data)
    file.name, file.package = 'grpc/reflection/v1/reflection.proto', 'grpc.reflection.v1'

    def rename(name: str) -> str:
        return name.replace('.grpc.reflection.v1alpha.', '.grpc.reflection.v1.')

    for message in file.message_type:
        for field in message.field:
            if field.type_name:  # that of a scalar must stay unset, not become empty
                field.type_name = rename(field.type_name)
    for service in file.service:
        for method in service.method:
            method.input_type = rename(method.input_type)
            method.output_type = rename(method.output_type)
    return file


class Reflection:
    """Serves the descriptors of the services and their messages.

    :param files: those of services that every actor process has.
    :param more: returns further files; called at the first request.
    """

    def __init__(self, files: Sequence[File], more: Callable[[], Sequence[File]]) -> None:
        self._own = files
        self._more = more

    @functools.cached_property
    def _files(self) -> dict[str, File]:
        files = {file.name: file for file in self._more()}
        return files | {file.name: file for file in self._own}  # which have their comments

    @functools.cached_property
    def _by_symbol(self) -> dict[str, str]:
        return {symbol: file.name for file in self._files.values() for symbol in _symbols(file)}

    def handlers(self) -> list[Any]:
        """Return the gRPC handlers for both versions."""
        return [
            grpc.method_handlers_generic_handler(
                name,
                {
                    'ServerReflectionInfo': grpc.stream_stream_rpc_method_handler(
                        self._info,
                        request_deserializer=pb.ServerReflectionRequest.FromString,
                        response_serializer=pb.ServerReflectionResponse.SerializeToString,
                    )
                },
            )
            for name in _SERVICES
        ]

    def _info(
        self, requests: Iterator[pb.ServerReflectionRequest], _context: grpc.ServicerContext
    ) -> Iterator[pb.ServerReflectionResponse]:
        for request in requests:
            response = pb.ServerReflectionResponse(
                valid_host=request.host, original_request=request
            )
            self._fill(request, response)
            yield response

    def _fill(
        self, request: pb.ServerReflectionRequest, response: pb.ServerReflectionResponse
    ) -> None:
        kind = request.WhichOneof('message_request')
        if kind == 'list_services':
            for service in sorted(_services(self._files.values())):
                response.list_services_response.service.add(name=service)
            return
        name: str | None = None
        if kind == 'file_by_filename' and request.file_by_filename in self._files:
            name = request.file_by_filename
        elif kind == 'file_containing_symbol':
            name = self._by_symbol.get(request.file_containing_symbol)
        if name is None:  # there are no extensions in proto3
            code = grpc.StatusCode.NOT_FOUND
            response.error_response.error_code = code.value[0]
            response.error_response.error_message = f'no such {kind}'
            return
        response.file_descriptor_response.file_descriptor_proto.extend(
            file.SerializeToString() for file in self._with_imports(name)
        )

    def _with_imports(self, name: str) -> list[File]:
        found: dict[str, File] = {}
        wanted = [name]
        while wanted:
            current = wanted.pop()
            if current not in found and current in self._files:
                found[current] = self._files[current]
                wanted.extend(found[current].dependency)
        return list(found.values())


def _services(files: Iterable[File]) -> Iterator[str]:
    for file in files:
        yield from (_join_name(file.package, service.name) for service in file.service)


def _join_name(package: str, name: str) -> str:
    return f'{package}.{name}' if package else name


def _symbols(file: File) -> Iterator[str]:
    """Yield the full name of each symbol in a file."""
    for enum in file.enum_type:
        yield _join_name(file.package, enum.name)
    for message in file.message_type:
        yield from _message_symbols(_join_name(file.package, message.name), message)
    for service in file.service:
        name = _join_name(file.package, service.name)
        yield name
        yield from (f'{name}.{method.name}' for method in service.method)


def _message_symbols(name: str, message: descriptor_pb2.DescriptorProto) -> Iterator[str]:
    yield name
    yield from (f'{name}.{field.name}' for field in message.field)
    yield from (f'{name}.{enum.name}' for enum in message.enum_type)
    for nested in message.nested_type:
        yield from _message_symbols(f'{name}.{nested.name}', nested)
