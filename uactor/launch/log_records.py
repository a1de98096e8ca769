"""Log records on their way from an actor process to its owner.

A record may hold what can't be pickled, or can't be rebuilt in another process. So plain attributes
travel as they are, and each other one as a pickle of its own, with a text that stands for it where
the pickle can't be had or rebuilt. Message and arguments stay apart, for handlers that look at
them, as long as the owner makes the same text of them.
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
"""Of an attribute that is not plain. A larger one goes as a text, which is what handlers show."""

_MESSAGE_ATTRIBUTES = frozenset(['msg', 'args'])
"""Attributes that the message is made of. Nothing but the message itself stands for them."""

_ORIGIN_ATTRIBUTES = frozenset(
    [
        *('created', 'msecs', 'relativeCreated', 'exc_text', 'taskName'),
        *('thread', 'threadName', 'process', 'processName'),
    ]
)
"""Attributes that say where and when a record was made, whoever makes the object."""


@dataclass(frozen=True)
class SentRecord:
    """A record as it travels.

    :ivar number: of the handler or logger of the owner that it is for.
    :ivar applied: how many of the handler's filters it has passed in the actor process.
    :ivar plain: attributes that are plain data.
    :ivar pickled: pickles of other attributes.
    :ivar texts: what stands for these.
    :ivar message: what the record says, where the attributes may not say the same.
    :ivar is_raw: whether it was made without the owner's factory of records.
    :ivar is_notice: whether it says that others were lost; it passes all filters.
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
    """Return a record as it travels. Later changes of what it holds don't show.

    :param target: says whom it is for.
    :raises Exception: what formatting the message raises.
    """
    attributes = dict(record.__dict__)
    for name in ('message', 'asctime'):  # a formatter has left them
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
    """Return what a record says, or None where only the owner's factory would know."""
    try:
        return record.getMessage()
    except Exception:
        if is_raw:
            return None
        raise


def _has_plain_message(record: logging.LogRecord, plain: dict[str, Any]) -> bool:
    """Return whether any process makes the same text of message and arguments."""
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
    """Pickles what a record holds. It asks no other process for leave."""

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
    """Return the record that was sent, made by this process's factory of records."""
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
    """Let the factory do what it would have done in the actor process."""
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
    except Exception:  # whatever a factory raises; this one can't be asked on whose behalf it works
        return logging.LogRecord(*where, msg, args, None, *more)  # type: ignore[arg-type, call-arg]
    return record


def _ensure_message(message: str, record: logging.LogRecord) -> logging.LogRecord:
    """Return the record if it says ``message``, else one that does."""
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
    except Exception:  # of arguments that were rebuilt otherwise
        return False
