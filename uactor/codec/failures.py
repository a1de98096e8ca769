"""Exception ↔ ``uactor.v1.Failure``.

An exception comes back as it was raised, with the remote traceback as its cause.
One that can't be pickled and rebuilt is told as :class:`~uactor.errors.RemoteError`:
the host finds out by rebuilding it itself before it replies.
"""

from __future__ import annotations

import itertools
import logging
import traceback
import types
from collections.abc import Iterator, Sequence
from typing import Any

from uactor import errors
from uactor.codec import pickling, transfer
from uactor.errors import (
    ActorDiedError,
    DeadlineError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
)
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.host')

_EXECUTED_ERRORS = (ActorDiedError, DeadlineError, SerializationError)
"""Errors that say whether their call has run."""

_HOST_MODULES = 'uactor.host', 'uactor.core.current_call'
"""Modules whose frames stand above the user's method in a traceback."""

_EXECUTED = {
    'no': pb.EXECUTED_NO,
    'yes': pb.EXECUTED_YES,
    'maybe': pb.EXECUTED_MAYBE,
}
_EXECUTED_NAMES: dict[int, errors.Executed] = {
    pb.EXECUTED_UNSPECIFIED: 'maybe',
    pb.EXECUTED_NO: 'no',
    pb.EXECUTED_YES: 'yes',
    pb.EXECUTED_MAYBE: 'maybe',
}


def encode(
    error: BaseException,
    executed: errors.Executed = 'yes',
    pickles: bool = True,
    by_value: bool = True,
) -> pb.Failure:
    """Encode an exception as a failure.

    Proxies in it are pickled as the current transfer context says.

    :param pickles: whether the receiver accepts pickles.
    :param by_value: whether the exception's class may travel by value.
    """
    name, text = _describe(error)
    failure = pb.Failure(
        type_name=name,
        message=_escape_surrogates(text),
        traceback=_escape_surrogates(_format_exception(error)),
        executed=_EXECUTED[executed],
    )
    data = _pickle_chain(error, by_value) if pickles else None
    if data is not None:
        failure.pickle.data = data
    return failure


def shorten(failure: pb.Failure, limit: int) -> None:
    """Shorten a failure to ``limit`` bytes; a negative limit is none."""
    if 0 <= limit < failure.ByteSize():
        failure.ClearField('pickle')
        share = limit // 10  # in characters, each four bytes at most
        failure.message, failure.traceback = failure.message[:share], failure.traceback[-share:]


def decode(failure: pb.Failure, unpickle: bool) -> BaseException:
    """Decode a failure into its exception, with the remote traceback as cause."""
    name, text, trace = failure.type_name, failure.message, failure.traceback
    if not unpickle:
        chain = [errors.rebuild_exception(name, text, trace)]
    elif not failure.HasField('pickle'):
        chain = [RemoteError(name, text, trace)]
    else:
        try:
            chain = _loads(failure.pickle.data, failure.pickle.buffers)
        except errors.UActorException as reason:  # the host could rebuild it, this process can't
            chain = [RemoteError(name, text, trace), reason]
    error = chain[0]
    if isinstance(error, _EXECUTED_ERRORS):  # about the call that failed, not about an earlier one
        error.executed = _EXECUTED_NAMES[failure.executed]
    for later, earlier in itertools.pairwise([error, RemoteTraceback(trace), *chain[1:]]):
        BaseException.__setattr__(later, '__cause__', earlier)  # a frozen dataclass has its own
    return error


# --- pickling -------------------------------------------------------------------------------


def _pickle_chain(error: BaseException, by_value: bool) -> bytes | None:
    """Pickle an exception, and its causes if they can be rebuilt.

    Return None if the exception itself can't be rebuilt.

    The trial uses up the proxies in it, so the receiver's pickle is made after the trial.
    """
    try:
        chain = _select_rebuildable(error, by_value)
        return _dumps(chain, by_value) if chain else None
    except BaseException as broken:  # even SystemExit of a user's __reduce__: the caller waits
        log.debug('an exception does not travel', exc_info=broken)
        return None


def _select_rebuildable(error: BaseException, by_value: bool) -> list[BaseException]:
    """Return an exception and its causes, if all can be rebuilt.

    Otherwise return the exception alone, or an empty list if that can't be rebuilt either.
    """
    for chain in (_list_causes(error), [error]):
        try:
            with transfer.transfer():
                copies = _loads(_dumps(chain, by_value))
        except Exception as reason:  # the hooks are the user's: they raise anything
            log.debug('an exception does not travel', exc_info=reason)
        else:
            if list(map(type, copies)) == list(map(type, chain)):
                return chain
    return []


def _dumps(chain: Sequence[BaseException], by_value: bool) -> bytes:
    return pickling.dumps([(error, error.args) for error in chain], by_value)


def _loads(data: bytes, buffers: Sequence[bytes] = ()) -> list[BaseException]:
    """Rebuild exceptions with their original arguments, which constructors may change."""
    chain = []
    for error, args in pickling.loads(data, buffers):
        BaseException.__setattr__(error, 'args', args)
        chain.append(error)
    return chain


def _list_causes(error: BaseException) -> list[BaseException]:
    """Return an exception and its causes, without the tracebacks of other actors."""
    chain: list[BaseException] = []
    seen: set[int] = set()  # by identity: the user defines ==
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if not isinstance(current, RemoteTraceback):
            chain.append(current)
        suppressed = current.__suppress_context__ or current.__cause__ is not None
        current = current.__cause__ if suppressed else current.__context__
    return chain


# --- text -----------------------------------------------------------------------------------


def _describe(error: BaseException) -> tuple[str, str]:
    if isinstance(error, RemoteError):  # of another actor: passed on unchanged
        return error.type_name, error.message
    return errors.get_type_name(type(error)), errors.get_text(error)


def _format_exception(error: BaseException) -> str:
    trace = _user_frames(error.__traceback__)
    try:
        return ''.join(traceback.format_exception(type(error), error, trace))
    except Exception:  # a SyntaxError with odd attributes, for one
        return ''.join(traceback.format_tb(trace)) + ': '.join(_describe(error))


def _user_frames(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Return the part of a traceback that begins with the user's method."""
    inner = trace
    while inner is not None and inner.tb_frame.f_globals.get('__name__', '').startswith(
        _HOST_MODULES
    ):
        inner = inner.tb_next
    return inner if inner is not None else trace


def _escape_surrogates(text: str) -> str:
    """Escape the characters that UTF-8 can't encode."""
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def list_sendable_forms(error: BaseException | None) -> Iterator[tuple[Any, Any]]:
    """Yield ``error`` in ever plainer forms, each as type and value.

    The forms are the exception, if it can be rebuilt, a :class:`RemoteError`, and name and text.
    The last can always be sent, even to an actor that takes no pickles.
    """
    if error is None:
        yield None, None
        return
    if _select_rebuildable(error, by_value=True):
        yield type(error), error
    name, text = _describe(error)
    yield RemoteError, RemoteError(name, text, _format_exception(error))
    yield name, _escape_surrogates(text)
