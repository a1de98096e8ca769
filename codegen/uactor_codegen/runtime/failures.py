"""Reads how an RPC has failed: the status and its details."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory

from uactor_codegen.runtime.root import UActorException

_DETAILS = 'grpc-status-details-bin'
_FieldType = descriptor_pb2.FieldDescriptorProto

# The messages of google.rpc that actors use, with the number and type of each field. They are in a
# pool of their own, so that they never clash with the messages of the program.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    'Status': {'code': (1, 'int32'), 'message': (2, 'string'), 'details': (3, '*Any')},
    'ErrorInfo': {'reason': (1, 'string'), 'domain': (2, 'string'), 'metadata': (3, '*Entry')},
    'Entry': {'key': (1, 'string'), 'value': (2, 'string')},
    'BadRequest': {'field_violations': (1, '*Violation')},
    'Violation': {'field': (1, 'string'), 'description': (2, 'string')},
    'DebugInfo': {'stack_entries': (1, '*string'), 'detail': (2, 'string')},
}


def _create_classes() -> dict[str, Any]:
    package = 'uactor.client.rpc'
    file = descriptor_pb2.FileDescriptorProto(name='rpc.proto', package=package, syntax='proto3')
    file.dependency.append(any_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            added = message.field.add(name=field, number=number)
            repeated = kind.startswith('*')
            added.label = _FieldType.LABEL_REPEATED if repeated else _FieldType.LABEL_OPTIONAL
            kind = kind.removeprefix('*')
            if kind[0].isupper():
                added.type = _FieldType.TYPE_MESSAGE
                added.type_name = f'.{"google.protobuf" if kind == "Any" else package}.{kind}'
            else:
                added.type = _FieldType.TYPE_INT32 if kind == 'int32' else _FieldType.TYPE_STRING
    known = descriptor_pb2.FileDescriptorProto()
    any_pb2.DESCRIPTOR.CopyToProto(known)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(known)  # type: ignore[no-untyped-call,unused-ignore]
    pool.Add(file)  # type: ignore[no-untyped-call,unused-ignore]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f'{package}.{name}'))
        for name in _MESSAGES
    }


_CLASSES = _create_classes()


class ActorError(UActorException):
    """An RPC has failed.

    :ivar code: gRPC's status code.
    :ivar message: what went wrong, in one line.
    :ivar reason: the name of the reason; '' if the actor sent none, or was not reached.
    :ivar executed: whether the method has run: 'yes', 'no' or 'maybe'; '' if unknown.
    :ivar py_type: the class of the exception in the actor; '' if unknown.
    :ivar violations: the fields of the request that are wrong, and what is wrong with them.
    :ivar traceback: the traceback in the actor, if the caller may see it.
    """

    def __init__(self, code: grpc.StatusCode, message: str, details: bytes = b'') -> None:
        super().__init__(code, message, details)
        self.code, self.message = code, message
        self.reason = self.executed = self.py_type = self.traceback = ''
        self.violations: tuple[tuple[str, str], ...] = ()
        for packed in _CLASSES['Status'].FromString(details).details:
            self._add_detail(packed.type_url.rpartition('/')[2], packed.value)

    def _add_detail(self, name: str, data: bytes) -> None:
        if name == 'google.rpc.ErrorInfo':
            info = _CLASSES['ErrorInfo'].FromString(data)
            metadata = {entry.key: entry.value for entry in info.metadata}
            self.reason = info.reason
            self.executed = metadata.get('executed', '')
            self.py_type = metadata.get('py_type', '')
        elif name == 'google.rpc.BadRequest':
            request = _CLASSES['BadRequest'].FromString(data)
            self.violations = tuple(
                (each.field, each.description) for each in request.field_violations
            )
        elif name == 'google.rpc.DebugInfo':
            self.traceback = _CLASSES['DebugInfo'].FromString(data).detail

    def __str__(self) -> str:
        return f'{self.code.name}: {self.message}'


def error_of(code: grpc.StatusCode, text: str | None, trailers: Iterable[Any] | None) -> ActorError:
    """Return the error for a status.

    :param trailers: the trailing metadata, as pairs.
    """
    data = next((value for key, value in trailers or () if key == _DETAILS), b'')
    return ActorError(code, text or '', data)
