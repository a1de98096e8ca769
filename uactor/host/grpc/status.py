"""End a failed RPC with a status that fits into its trailers.

The status is a code, a line, and a ``google.rpc.Status``.
"""

from __future__ import annotations

import dataclasses
import urllib.parse
from collections.abc import Mapping

import grpc
from google.protobuf import any_pb2, message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from uactor import errors
from uactor.codec import failures
from uactor.errors import ActorDiedError, Executed
from uactor.host.arguments import InvalidArgumentError
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError

_MAX_TRAILERS_BYTES = 4096
"""The limit of all trailers together. Past 8 KiB the code itself is lost on the way."""

_MAX_LINE_BYTES, _MAX_NAME_BYTES, _MAX_TEXT_BYTES = 1024, 128, 384
_OVERHEAD_BYTES = 192  # the keys of the trailers, and the envelope of the traceback


@dataclasses.dataclass(frozen=True)
class ErrorReporting:
    """How the RPCs of one service report errors.

    :ivar service: its name.
    :ivar error_codes: the codes that the actor's class declares for its errors.
    :ivar shows_tracebacks: whether callers are sent tracebacks of the actor.
    """

    service: str
    error_codes: Mapping[type[BaseException], str]
    shows_tracebacks: bool


def abort(
    context: grpc.ServicerContext, error: BaseException, caller: Caller, reporting: ErrorReporting
) -> None:
    """End the RPC with the status of ``error``."""
    reason, name, executed = _classify(error, caller, reporting.error_codes)
    code = getattr(grpc.StatusCode, name)
    failure = failures.encode(reason, executed, pickles=False)
    line = _format_line(f'{failure.type_name}: {failure.message}')
    status = status_pb2.Status(code=code.value[0], message=line)
    metadata = {'py_type': _shorten(failure.type_name, _MAX_NAME_BYTES), 'executed': executed}
    _add_detail(
        status,
        error_details_pb2.ErrorInfo(reason=name, domain=reporting.service, metadata=metadata),
    )
    if isinstance(error, InvalidArgumentError):
        request = error_details_pb2.BadRequest()
        request.field_violations.add(
            field=_shorten(error.field, _MAX_NAME_BYTES),
            description=_shorten(error.description or failure.message, _MAX_TEXT_BYTES),
        )
        _add_detail(status, request)
    elif reporting.shows_tracebacks:
        room = _MAX_TRAILERS_BYTES - _OVERHEAD_BYTES - _percent_size(line)
        detail = _shorten(failure.traceback, room * 3 // 4 - status.ByteSize())  # goes as base64
        _add_detail(status, error_details_pb2.DebugInfo(detail=detail))
    context.abort_with_status(rpc_status.to_status(status))


def _classify(
    error: BaseException, caller: Caller, error_codes: Mapping[type[BaseException], str]
) -> tuple[BaseException, str, Executed]:
    """Return the error to report, its code, and whether the call ran."""
    if isinstance(error, InvalidArgumentError):
        return error.reason, 'INVALID_ARGUMENT', caller.executed
    if isinstance(error, CallCancelledError):  # or the client has gone, and gets no status
        return ActorDiedError('the actor ended while the call was waiting'), 'ABORTED', 'maybe'
    return error, errors.find_status(error, caller.stage, error_codes), caller.executed


def _add_detail(status: status_pb2.Status, detail: message.Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _format_line(text: str) -> str:
    """Return the line of a status, short enough once it is percent-encoded."""
    line = ' '.join(text.splitlines())
    short = _shorten(line, _MAX_LINE_BYTES)
    return (
        short if _percent_size(short) <= _MAX_LINE_BYTES else _shorten(line, _MAX_LINE_BYTES // 3)
    )


def _percent_size(text: str) -> int:
    return len(urllib.parse.quote(text, safe=_PLAIN))


_PLAIN = ''.join(chr(code) for code in range(0x20, 0x7F) if chr(code) != '%')


def _shorten(text: str, limit: int) -> str:
    """Return ``text`` without its middle, if it has more than ``limit`` bytes."""
    data = text.encode('utf-8', 'backslashreplace')
    if len(data) <= limit:
        return text
    half = max(0, (limit - 5) // 2)
    start, end = data[:half].decode('utf-8', 'ignore'), data[-half:].decode('utf-8', 'ignore')
    return f'{start} … {end}' if half else ''
