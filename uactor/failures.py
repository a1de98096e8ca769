"""Exception ↔ ``uactor.v1.Failure``.

An exception comes back as it was raised, with the remote traceback as its cause.
One that can't be pickled and rebuilt is told as :class:`~uactor.errors.RemoteError`:
the host finds out by rebuilding it itself before it replies.
"""

from __future__ import annotations

import traceback
import types
from typing import Any

from uactor import errors, values
from uactor.errors import RemoteError, RemoteTraceback
from uactor.v1 import actor_pb2 as pb

_EXECUTED = {
    'no': pb.EXECUTED_NO,
    'yes': pb.EXECUTED_YES,
    'maybe': pb.EXECUTED_MAYBE,
}
_SCALARS = (type(None), bool, int, float, str, bytes)


def encode(
    error: BaseException,
    executed: errors.Executed = 'yes',
    pickles: bool = True,
    by_value: bool = True,
) -> pb.Failure:
    """Return the failure that tells of ``error``.

    :param pickles: whether the receiver accepts pickles.
    :param by_value: whether the exception's class may travel by value.
    """
    if isinstance(error, RemoteError):  # from another actor: pass it on as it is
        name, text = error.type_name, error.message
    else:
        name, text = errors.type_name(type(error)), _text(error)
    failure = pb.Failure(
        type_name=name,
        message=_printable(text),
        traceback=_printable(_formatted(error)),
        executed=_EXECUTED[executed],
    )
    data = _pickled(error, by_value) if pickles else None
    if data is not None:
        failure.pickle.data = data
    return failure


def decode(failure: pb.Failure, unpickle: bool) -> BaseException:
    """Return the exception that a failure tells of, with the remote traceback as cause."""
    chain = _unpickled(failure) if unpickle else []
    if not chain:
        name, text, trace = failure.type_name, failure.message, failure.traceback
        chain = [RemoteError(name, text, trace) if unpickle else errors.rebuild(name, text, trace)]
    error: BaseException = chain[0]
    cause: BaseException = RemoteTraceback(failure.traceback)
    error.__cause__ = cause
    for earlier in chain[1:]:
        cause.__cause__ = earlier
        cause = earlier
    return error


def _unpickled(failure: pb.Failure) -> list[BaseException]:
    if not failure.HasField('pickle'):
        return []
    try:
        chain: list[BaseException] = values.loads(failure.pickle.data, failure.pickle.buffers)
    except errors.SerializationError:
        return []  # the host could rebuild it, this process can't: told as RemoteError
    return chain


def _pickled(error: BaseException, by_value: bool) -> bytes | None:
    """Return the pickled chain of causes, or None when the exception can't be rebuilt."""
    for chain in (_chain(error), [error]):
        try:
            with values.passage():
                data = values.dumps(chain, by_value)
            copies = values.loads(data)
        except errors.UActorException:
            continue
        if all(map(_is_same, chain, copies)):
            return data
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception and its causes; tracebacks of other actors are not repeated."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        if not isinstance(current, RemoteTraceback):
            chain.append(current)
        suppressed = current.__suppress_context__ or current.__cause__ is not None
        current = current.__cause__ if suppressed else current.__context__
    return chain


def _is_same(error: BaseException, copy: Any) -> bool:
    """Tell whether a constructor that did its own thing has changed the exception."""
    if type(copy) is not type(error) or len(copy.args) != len(error.args):
        return False
    return all(
        type(ours) is type(theirs) and (not isinstance(ours, _SCALARS) or _equal(ours, theirs))
        for ours, theirs in zip(error.args, copy.args, strict=True)
    )


def _equal(ours: Any, theirs: Any) -> bool:
    return bool(ours == theirs) or (ours != ours and theirs != theirs)  # NaN


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # the user's __str__
        return f'<str() of the exception raised {type(broken).__name__}>'


def _formatted(error: BaseException) -> str:
    trace = _user_frames(error.__traceback__)
    return ''.join(traceback.format_exception(type(error), error, trace))


def _user_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the traceback without the frames of uactor's host that lead to the method."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get('__name__', '').startswith(
        'uactor.host'
    ):
        inner = inner.tb_next
    return inner if inner is not None else trace


def _printable(text: str) -> str:
    """Return ``text`` without what UTF-8 can't carry."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def portable(error: BaseException | None) -> BaseException | None:
    """Return ``error``, or what tells of it when it can't be pickled and rebuilt."""
    if error is None or _pickled(error, by_value=True) is not None:
        return error
    return RemoteError(errors.type_name(type(error)), _text(error), _formatted(error))
