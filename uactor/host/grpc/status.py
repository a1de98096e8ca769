"""How a unary RPC fails: code, one line, and a ``google.rpc.Status`` that fits the trailers."""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2, message
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from uactor import errors
from uactor.codec import failures
from uactor.errors import ActorDiedError, Executed
from uactor.host.arguments import InvalidArgument
from uactor.host.callers import Caller
from uactor.host.cancellation import Interrupted

_TRAILERS = 4096
"""Most that all trailers may take, in bytes. Past 8 KiB the code itself is lost on the way."""

_LINE, _NAME, _TEXT = 1024, 128, 384
_OVERHEAD = 192  # keys of the trailers, and the envelope of the traceback


@dataclasses.dataclass(frozen=True)
class Telling:
    """How the RPCs of one service tell of errors.

    :ivar service: its name.
    :ivar declared: codes that the actor's class declares for what its code raises.
    :ivar tracebacks: whether callers may see where in the actor an error was raised.
    """

    service: str
    declared: Mapping[type[BaseException], str]
    tracebacks: bool


def abort(
    context: grpc.ServicerContext, error: BaseException, caller: Caller, telling: Telling
) -> None:
    """End the RPC with the status that tells of ``error``."""
    reason, name, executed = _told(error, caller, telling.declared)
    code = getattr(grpc.StatusCode, name)
    failure = failures.encode(reason, executed, pickles=False)
    line = _one_line(f'{failure.type_name}: {failure.message}')
    status = status_pb2.Status(code=code.value[0], message=line)
    metadata = {'py_type': _shortened(failure.type_name, _NAME), 'executed': executed}
    _add(
        status, error_details_pb2.ErrorInfo(reason=name, domain=telling.service, metadata=metadata)
    )
    if isinstance(error, InvalidArgument):
        request = error_details_pb2.BadRequest()
        request.field_violations.add(
            field=_shortened(error.field, _NAME),
            description=_shortened(error.description or failure.message, _TEXT),
        )
        _add(status, request)
    elif telling.tracebacks:
        room = _TRAILERS - _OVERHEAD - _encoded_size(line)
        detail = _shortened(failure.traceback, room * 3 // 4 - status.ByteSize())  # goes as base64
        _add(status, error_details_pb2.DebugInfo(detail=detail))
    context.abort_with_status(rpc_status.to_status(status))


def _told(
    error: BaseException, caller: Caller, declared: Mapping[type[BaseException], str]
) -> tuple[BaseException, str, Executed]:
    """Return the error to tell of, the name of its status code, and whether the call has run."""
    if isinstance(error, InvalidArgument):
        return error.reason, 'INVALID_ARGUMENT', caller.executed
    if isinstance(error, Interrupted):  # or the client has gone, and hears nothing
        return ActorDiedError('the actor ended while the call was waiting'), 'ABORTED', 'maybe'
    return error, errors.find_status(error, caller.stage, declared), caller.executed


def _add(status: status_pb2.Status, detail: message.Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _one_line(text: str) -> str:
    """Return the text of a status, which travels percent-encoded."""
    line = ' '.join(text.splitlines())
    short = _shortened(line, _LINE)
    return short if _encoded_size(short) <= _LINE else _shortened(line, _LINE // 3)


def _encoded_size(text: str) -> int:
    return len(urllib.parse.quote(text, safe=_PLAIN))


_PLAIN = ''.join(chr(code) for code in range(0x20, 0x7F) if chr(code) != '%')


def _shortened(text: str, limit: int) -> str:
    """Return ``text`` with its middle left out, if it has more than ``limit`` bytes."""
    data = text.encode('utf-8', 'backslashreplace')
    if len(data) <= limit:
        return text
    half = max(0, (limit - 5) // 2)
    start, end = data[:half].decode('utf-8', 'ignore'), data[-half:].decode('utf-8', 'ignore')
    return f'{start} … {end}' if half else ''
