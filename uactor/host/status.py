"""How a unary RPC fails: code, one line, and a ``google.rpc.Status`` that fits the trailers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
from google.protobuf import any_pb2, message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from uactor import errors, failures
from uactor.host.sessions import executed_of

if TYPE_CHECKING:
    from uactor.host.server import Host

_LINE, _TRAILERS = 1024, 4096
_SERVICE = 'uactor.v1.ActorService'


def abort(host: Host, context: grpc.ServicerContext, error: BaseException) -> None:
    """End the RPC with the status that tells of ``error``."""
    executed = executed_of(error)
    code = getattr(grpc.StatusCode, errors.status_of(error, executed))
    failure = failures.encode(error, executed, pickles=False)
    line = _shortened(f'{failure.type_name}: {failure.message}'.replace('\n', ' '), _LINE)
    status = status_pb2.Status(code=code.value[0], message=line)
    _add(
        status,
        error_details_pb2.ErrorInfo(
            reason=code.name,
            domain=_SERVICE,
            metadata={'py_type': _shortened(failure.type_name, 256), 'executed': executed},
        ),
    )
    if host.is_local:
        room = _TRAILERS - status.ByteSize() - 128
        detail = _shortened(failure.traceback, max(room, 0))
        _add(status, error_details_pb2.DebugInfo(detail=detail))
    context.abort_with_status(rpc_status.to_status(status))


def _add(status: status_pb2.Status, detail: message.Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _shortened(text: str, limit: int) -> str:
    """Return ``text`` with its middle left out, if it has more than ``limit`` bytes."""
    data = text.encode('utf-8', 'backslashreplace')
    if len(data) <= limit:
        return text
    half = max(0, (limit - 5) // 2)
    start, end = data[:half].decode('utf-8', 'ignore'), data[-half:].decode('utf-8', 'ignore')
    return f'{start} … {end}' if half else ''
