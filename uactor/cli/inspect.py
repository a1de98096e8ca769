"""Inspect and call actors for the command line, by plain gRPC."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf import json_format

from uactor.codec import values
from uactor.core import auth
from uactor.core.addresses import target
from uactor.errors import SerializationError
from uactor.runtime.grpc_loader import load_grpc
from uactor.v1 import actor_pb2 as pb

_ITERATOR = 'Iterator'
_UNLIMITED_WIDTH = 10_000


class CallError(Exception):
    """The actor or gRPC has answered with an error."""


@contextlib.contextmanager
def connect(address: str, authkey: bytes) -> Iterator[RunningActor]:
    """Connect to the actor at ``address``.

    :raises AddressError: if ``address`` is not an address.
    :raises CallError: if an RPC fails.
    """
    grpc = load_grpc()
    from uactor.v1 import actor_pb2_grpc

    name = target(address)
    options = [('grpc.enable_http_proxy', 0), ('grpc.max_receive_message_length', -1)]
    try:
        with grpc.insecure_channel(name, options) as channel:
            yield RunningActor(
                actor_pb2_grpc.ActorServiceStub(channel), auth.call_metadata(authkey)
            )
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE and not error.trailing_metadata():
            raise CallError(f'nothing answers at {name}') from None
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            raise CallError(f'the actor at {name} has another authkey') from None
        raise CallError(f'{error.details()} ({error.code().name})') from None


class RunningActor:
    """A client of a running actor.

    :param stub: stub of its ActorService.
    :param metadata: metadata for each RPC.
    """

    def __init__(self, stub: Any, metadata: Any) -> None:
        self._stub = stub
        self._metadata = metadata

    def _rpc(self, rpc: str, /, **fields: Any) -> Any:
        request = getattr(pb, f'{rpc}Request')(**fields)
        return getattr(self._stub, rpc)(request, metadata=self._metadata)

    # --- descriptions ----------------------------------------------------------------------------

    def describe(self) -> str:
        """Return a description of the actor, for people."""
        found: pb.DescribeResponse = self._rpc('Describe')
        parts = [f'{_format_bold(found.class_name)} at {found.handle.address}']
        parts += [f'  {line}'.rstrip() for line in found.doc.splitlines()]
        methods = [
            [_format_method(method), method.rpc, _cut_first_line(method.doc)]
            for method in found.methods
            if not method.name.startswith('__')
        ]
        parts += _format_table('Methods', ['', 'typed', ''], methods)
        attributes = [
            [
                _format_attribute(each),
                ' '.join(filter(None, [each.get_rpc, each.set_rpc])),
                each.doc,
            ]
            for each in found.attributes
        ]
        parts += _format_table('Attributes', ['', 'typed', ''], attributes)
        parts += self._format_handles('Handles')
        parts += _format_typed_service(found.typed_service)
        return '\n'.join(parts)

    def describe_as_json(self) -> str:
        """Return the responses to Describe and ListHandles, as JSON."""
        data = _convert_message(self._rpc('Describe')) | _convert_message(self._rpc('ListHandles'))
        return json.dumps(data, indent=2, ensure_ascii=False)

    def handles(self) -> str:
        """Return a table of the objects that the actor shares, for people."""
        return '\n'.join(self._format_handles(''))

    def _format_handles(self, title: str) -> Iterator[str]:
        rows = [
            [
                *(info.handle.id, info.handle.typeid, str(info.holds), str(info.clients)),
                _cut_first_line(info.handle.repr),
            ]
            for info in self._rpc('ListHandles').handles
        ]
        return _format_table(title, ['id', 'typeid', 'holds', 'clients', ''], rows)

    def list_handles_as_json(self) -> str:
        """Return the response to ListHandles, as JSON."""
        return json.dumps(_convert_message(self._rpc('ListHandles')), indent=2, ensure_ascii=False)

    # --- calls -----------------------------------------------------------------------------------

    def call(
        self, handle: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Iterator[str]:
        """Call a method or access an attribute; yield the result as JSON.

        If the result is an iterator, yield each of its items as soon as it arrives.
        """
        described = self._rpc('Describe', handle=handle)
        if name in {attribute.name for attribute in described.attributes}:
            yield from self._access_attribute(handle, name, args, kwargs)
            return
        request = {
            'args': [_encode(value) for value in args],
            'kwargs': {key: _encode(value) for key, value in kwargs.items()},
        }
        result = self._rpc('Call', handle=handle, method=name, **request).result
        if result.WhichOneof('kind') != 'handle' or result.handle.typeid != _ITERATOR:
            yield _format_value(result)
            return
        try:
            yield from self._iterate(result.handle.id)
        finally:
            self._rpc('ReleaseHandle', handles=[result.handle.id])

    def _access_attribute(
        self, handle: str, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Iterator[str]:
        if kwargs or len(args) > 1:
            raise CallError(f'{name!r} is an attribute: give one value, to set it, or none')
        if args:
            self._rpc('SetAttribute', handle=handle, name=name, value=_encode(args[0]))
        else:
            yield _format_value(self._rpc('GetAttribute', handle=handle, name=name).value)

    def _iterate(self, handle: str) -> Iterator[str]:
        grpc = load_grpc()
        while True:
            try:
                item = self._rpc('Call', handle=handle, method='__next__').result
            except grpc.RpcError as error:
                if _read_exception_name(error) == 'StopIteration':
                    return
                raise
            yield _format_value(item)


def _read_exception_name(error: Any) -> str:
    """Return the name of the exception that ended an RPC, or ''."""
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    status = rpc_status.from_call(error)
    info = error_details_pb2.ErrorInfo()
    found = status is not None and any(detail.Unpack(info) for detail in status.details)
    return info.metadata['py_type'] if found else ''


# --- values --------------------------------------------------------------------------------------


def _encode(value: Any) -> pb.Value:
    if isinstance(value, pb.Handle):
        return pb.Value(handle=value)
    try:
        return values.encode_native(value, values.refuse_to_share)
    except SerializationError as error:
        raise CallError(str(error)) from None


def _format_value(value: pb.Value) -> str:
    plain = values.decode(value, _describe_handle, unpickle=False)
    return json.dumps(_convert_dicts(plain), indent=2, ensure_ascii=False, default=_encode_bytes)


def _describe_handle(handle: pb.Handle) -> dict[str, str]:
    return {'handle': f'@{handle.id}', 'typeid': handle.typeid, 'repr': handle.repr}


def _convert_dicts(value: Any) -> Any:
    """Return ``value`` with dicts that JSON can't represent as lists of pairs."""
    if isinstance(value, list):
        return [_convert_dicts(item) for item in value]
    if not isinstance(value, dict):
        return value
    if all(isinstance(key, str) for key in value):
        return {key: _convert_dicts(item) for key, item in value.items()}
    return [[_convert_dicts(key), _convert_dicts(item)] for key, item in value.items()]


def _encode_bytes(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _convert_message(message: Any) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


# --- text ----------------------------------------------------------------------------------------


def _format_method(method: pb.Method) -> str:
    signature = f'{method.name}{method.signature or "(…)"}'
    return f'{signature}, a handle: {method.typeid}' if method.typeid else signature


def _format_attribute(attribute: pb.Attribute) -> str:
    return f'{attribute.name}: {attribute.type}' if attribute.type else attribute.name


def _format_typed_service(service: pb.TypedService) -> Iterator[str]:
    if not service.name:
        return
    yield from ('', _format_bold('Typed service'))
    if service.error:
        yield f'  {service.name} is not served: {service.error}'
        return
    numbers = (
        'locked' if service.locked else 'not locked: they follow the order of the declarations'
    )
    yield f'  {service.name}, numbers {numbers}'
    rows = [[member.name, member.reason] for member in service.unmapped]
    yield from _format_table('Not in the typed service', ['', ''], rows)


def _cut_first_line(text: str) -> str:
    return text.partition('\n')[0]


def _format_table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, cut to the terminal's width."""
    if not rows:
        return
    if title:
        yield from ('', _format_bold(title))
    if any(heads):
        rows = [heads, *rows]
    rows = [row for row in rows if any(row)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _UNLIMITED_WIDTH
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        line = '  ' + '  '.join(cells).rstrip()
        yield line if len(line) <= width else f'{line[: width - 1]}…'


def _format_bold(text: str) -> str:
    return f'\x1b[1m{text}\x1b[0m' if sys.stdout is not None and sys.stdout.isatty() else text
