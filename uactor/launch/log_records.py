"""Log records in transit from an actor process to its owner.

A record may contain values that can't be pickled, or can't be rebuilt in another process. So plain
attributes travel as they are. Each other attribute travels as a pickle of its own, with a text that
replaces it if the pickle can't be created or loaded. Message and arguments stay apart, for handlers
that look at them, if the owner creates the same text from them.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from uactor.codec.pickling import NamelessPickler, loads, pickle_with
from uactor.errors import SerializationError
from uactor.runtime.system_errors import is_interruption

_SCALARS = frozenset([type(None), bool, int, float, complex, str, bytes])
_MAX_PICKLE_BYTES = 1 << 20
"""Largest pickle of an attribute. A larger one is replaced by its text, which handlers show."""

_MESSAGE_ATTRIBUTES = frozenset(['msg', 'args'])
"""Attributes that form the message. Only the message itself can replace them."""

_ORIGIN_ATTRIBUTES = frozenset(
    [
        *('created', 'msecs', 'relativeCreated', 'exc_text', 'taskName'),
        *('thread', 'threadName', 'process', 'processName'),
    ]
)
"""Attributes that say where and when a record was created, which a new object must not change."""


@dataclass(frozen=True)
class SentRecord:
    """A record in transit.

    :ivar number: number of the owner's handler or logger that gets it.
    :ivar applied: how many of the handler's filters it has passed in the actor process.
    :ivar plain: attributes that are plain data.
    :ivar pickled: pickles of other attributes.
    :ivar texts: texts that replace pickled attributes which can't be loaded.
    :ivar message: the message, if the attributes may not result in the same text.
    :ivar is_raw: whether it was created without the owner's factory of records.
    :ivar is_notice: whether it reports lost records; it passes all filters.
    """

    number: int
    applied: int = 0
    plain: dict[str, Any] = field(default_factory=dict)
    pickled: dict[str, bytes] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    message: str | None = None
    is_raw: bool = False
    is_notice: bool = False


# --- the actor process ---------------------------------------------------------------------------


def encode_record(
    record: logging.LogRecord, target: SentRecord, format_exception: Callable[[Any], str]
) -> SentRecord:
    """Encode a record for its transit.

    Later changes of its values don't affect the result.

    :param target: has the number of its handler or logger.
    :raises Exception: what formatting the message raises.
    """
    attributes = dict(record.__dict__)
    for name in ('message', 'asctime'):  # set by a formatter
        attributes.pop(name, None)
    if attributes.get('exc_info'):
        if not attributes.get('exc_text'):
            attributes['exc_text'] = format_exception(attributes['exc_info'])
        attributes['exc_info'] = None
    plain: dict[str, Any] = {}
    pickled: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    for name, value in attributes.items():
        if _is_plain(value):
            plain[name] = value
            continue
        texts[name] = _format_repr(value)
        data = _pickle(value)
        if data is not None:
            pickled[name] = data
    message = _format_message(record, target.is_raw)
    if message is not None and _has_plain_message(record, plain):
        message = None
    return replace(target, plain=plain, pickled=pickled, texts=texts, message=message)


def _format_message(record: logging.LogRecord, is_raw: bool) -> str | None:
    """Format a record's message; return None if only the owner's factory can."""
    try:
        return record.getMessage()
    except Exception:
        if is_raw:
            return None
        raise


def _has_plain_message(record: logging.LogRecord, plain: dict[str, Any]) -> bool:
    """Return whether any process creates the same text from message and arguments."""
    is_usual = type(record).getMessage is logging.LogRecord.getMessage
    return is_usual and 'msg' in plain and 'args' in plain


def _is_plain(value: Any) -> bool:
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is tuple or kind is list:
        return all(type(item) in _SCALARS for item in value)
    if kind is dict:
        return all(type(key) in _SCALARS and type(value[key]) in _SCALARS for key in value)
    return False


class _RecordPickler(NamelessPickler):
    """Pickles values of a record without a request to another process."""

    def reducer_override(self, obj: Any) -> Any:
        if hasattr(type(obj), '_callmethod'):
            raise pickle.PicklingError('a proxy would be leased for the record')
        return super().reducer_override(obj)


def _pickle(value: Any) -> bytes | None:
    try:
        data = pickle_with(_RecordPickler, value)
    except Exception as error:  # whatever reducers raise
        if is_interruption(error):
            raise
        return None
    return data if len(data) <= _MAX_PICKLE_BYTES else None


def _format_repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:
        if is_interruption(error):
            raise
        return f'<{type(value).__qualname__} object, whose repr() raises {type(error).__name__}>'


# --- the owner -----------------------------------------------------------------------------------


def rebuild_record(sent: SentRecord) -> logging.LogRecord:
    """Create the record that was sent, by this process's factory of records."""
    attributes = {**sent.plain, **sent.texts}
    lost = set(sent.texts)
    for name, data in sent.pickled.items():
        try:
            attributes[name] = loads(data)
            lost.discard(name)
        except SerializationError:
            lost.add(name)
    if not lost.isdisjoint(_MESSAGE_ATTRIBUTES):
        said = f'{attributes.get("msg")} {attributes.get("args")}'
        attributes.update(msg=said if sent.message is None else sent.message, args=None)
    record = _create_raw_record(attributes) if sent.is_raw else _create_record(attributes)
    return record if sent.message is None else _ensure_message(sent.message, record)


def _create_record(attributes: dict[str, Any]) -> logging.LogRecord:
    record = _call_factory(attributes, '', ())
    record.__dict__.update(attributes)
    return record


def _create_raw_record(attributes: dict[str, Any]) -> logging.LogRecord:
    """Create a record by the owner's factory, as the actor process would."""
    args = attributes.get('args') or ()
    record = _call_factory(
        attributes, attributes.get('msg'), (args,) if type(args) is dict else args
    )
    for name, value in attributes.items():
        if name in _ORIGIN_ATTRIBUTES or name not in record.__dict__:
            setattr(record, name, value)
    return record


def _call_factory(attributes: dict[str, Any], msg: Any, args: Any) -> logging.LogRecord:
    names = 'name', 'levelno', 'pathname', 'lineno'
    where = [attributes.get(name) for name in names]
    more = attributes.get('funcName'), attributes.get('stack_info')
    try:
        record: logging.LogRecord = logging.getLogRecordFactory()(*where, msg, args, None, *more)
    except Exception:  # what a factory raises, for whatever reason
        return logging.LogRecord(*where, msg, args, None, *more)  # type: ignore[arg-type, call-arg]
    return record


def _ensure_message(message: str, record: logging.LogRecord) -> logging.LogRecord:
    """Return the record, or another one if its message differs."""
    if _has_message(record, message):
        return record
    record.msg, record.args = message, None
    if _has_message(record, message):
        return record
    usual = logging.LogRecord('', 0, '', 0, '', (), None)  # a class of the user's formats otherwise
    usual.__dict__.update(record.__dict__)
    return usual


def _has_message(record: logging.LogRecord, message: str) -> bool:
    try:
        return record.getMessage() == message
    except Exception:  # of arguments that differ after their transit
        return False
