"""Set up logging in an actor process as its owner has it.

The process gets levels, switches, filters, formatters, and copies of the handlers that work as well
in another process. These write to a standard stream, a file or a socket by `emit` of the standard
library, or their class defines how they are pickled. Records for all other handlers travel to the
owner: only one process may rotate a file, and a list in memory must fill in the owner. Each part is
pickled by itself, so that a part that can't be pickled prevents no other part, and no actor.
"""

from __future__ import annotations

import collections
import contextlib
import contextvars
import io
import logging
import multiprocessing.util
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeGuard

from uactor.codec.pickling import NamelessPickler, loads, pickle_with
from uactor.errors import get_text
from uactor.launch.log_channel import OwnerFilter, OwnerHandler
from uactor.launch.log_targets import HandlerTarget, LoggerTarget, LogTargets
from uactor.runtime.system_errors import is_interruption

log = logging.getLogger('uactor.launch')

_SWITCHES = 'raiseExceptions', 'logThreads', 'logMultiprocessing', 'logProcesses', 'logAsyncioTasks'
"""Variables of :mod:`logging` that are part of its interface."""

_FORMATTER_DEFAULTS = {
    'converter': time.localtime,
    'default_time_format': '%Y-%m-%d %H:%M:%S',
    'default_msec_format': '%s,%03d',
}
"""Attributes of :class:`logging.Formatter` that programs set for all formatters."""

_LEVELS = {
    **{'CRITICAL': 50, 'FATAL': 50, 'ERROR': 40, 'WARNING': 30, 'WARN': 30},
    **{'INFO': 20, 'DEBUG': 10, 'NOTSET': 0},
}
_LEVEL_NAMES = {level: name for name, level in _LEVELS.items() if name not in ('FATAL', 'WARN')}
"""The levels that :mod:`logging` begins with."""

_PICKLING_METHODS = '__getstate__', '__reduce__', '__reduce_ex__'

_LEFT_OUT = 'level', 'formatter', 'filters', 'lock', '_name'
"""Attributes that are left out of the pickles of handlers."""

_LAST_RESORT = logging._StderrHandler  # type: ignore[attr-defined]
_NO_NUMBER = -1

_STANDARD_STREAMS = {1: 'stdout', 2: 'stderr'}


@dataclass(frozen=True)
class HandlerSetup:
    """How a handler is set up.

    :ivar number: number for its records if it isn't copied.
    :ivar data: pickle of the handler, without formatter and filters; None if it isn't copied.
    :ivar is_whole: whether the pickle contains formatter, filters and level.
    :ivar formatter: pickle of its formatter, or None.
    :ivar filters: places of its filters, up to the first that can't be copied.
    :ivar is_filtered: whether it has further filters.
    """

    number: int
    name: str | None
    level: int
    data: bytes | None
    is_whole: bool
    formatter: bytes | None
    formats_exceptions: bool
    filters: tuple[int, ...]
    is_filtered: bool


@dataclass(frozen=True)
class LoggerSetup:
    """How a logger is set up.

    :ivar handlers: places of its handlers in their table.
    :ivar filters: places of its filters in their table; None if the owner has to apply them.
    :ivar number: number for its records in that case.
    """

    name: str
    level: int
    propagate: bool
    disabled: bool
    handlers: tuple[int, ...]
    filters: tuple[int, ...] | None
    number: int


@dataclass(frozen=True)
class LogSetup:
    """How logging is set up.

    :ivar factory: pickle of the factory of records; None for the default.
    :ivar is_raw: whether the factory can't be pickled.
    :ivar last_resort: place of the handler for records without a handler; -1 for none, None for the
        default.
    """

    disabled: int = logging.NOTSET
    switches: dict[str, bool] = field(default_factory=dict)
    level_names: dict[int, str] = field(default_factory=dict)
    levels: dict[str, int] = field(default_factory=dict)
    formatter_defaults: dict[str, bytes] = field(default_factory=dict)
    logger_class: bytes | None = None
    factory: bytes | None = None
    is_raw: bool = False
    captures_warnings: bool = False
    has_multiprocessing: bool = False
    last_resort: int | None = None
    loggers: tuple[LoggerSetup, ...] = ()
    handlers: tuple[HandlerSetup, ...] = ()
    filters: tuple[bytes, ...] = ()


_DEFAULT_SETUP = LogSetup()

_NULL_HANDLER = HandlerSetup(
    number=_NO_NUMBER,
    name=None,
    level=logging.NOTSET,
    data=pickle.dumps((logging.NullHandler, {}, '')),
    is_whole=False,
    formatter=None,
    formats_exceptions=False,
    filters=(),
    is_filtered=False,
)
"""The set-up of handlers that have no effect."""


# --- pickles -------------------------------------------------------------------------------------


def _create_context_variable(name: str, *default: Any) -> contextvars.ContextVar[Any]:
    return contextvars.ContextVar(name, **dict(zip(['default'], default, strict=False)))


def _reduce_context_variable(variable: contextvars.ContextVar[Any]) -> tuple[Any, ...]:
    try:
        default = contextvars.Context().run(variable.get)
    except LookupError:
        return _create_context_variable, (variable.name,)
    return _create_context_variable, (variable.name, default)


_REDUCERS: dict[Any, Any] = {
    type(threading.Lock()): lambda _lock: (threading.Lock, ()),
    type(threading.RLock()): lambda _lock: (threading.RLock, ()),
    threading.local: lambda _values: (threading.local, ()),
    contextvars.ContextVar: _reduce_context_variable,
}


class _SetupPickler(NamelessPickler):
    """Pickles parts of a set-up. Locks and thread-local data become new ones."""

    dispatch_table: ClassVar[Mapping[Any, Any]] = collections.ChainMap(
        _REDUCERS, dict(NamelessPickler.dispatch_table)
    )


def _pickle(value: Any) -> bytes:
    """Pickle a part of the set-up; raise the reason if that fails."""
    return pickle_with(_SetupPickler, value)


def _pickle_if_possible(value: Any) -> bytes | None:
    try:
        return _pickle(value)
    except Exception as error:  # whatever reducers raise
        if is_interruption(error):
            raise
        log.debug('actors do without %s: %s', type(value).__qualname__, get_text(error))
        return None


# --- the owner -----------------------------------------------------------------------------------


def capture_logging(targets: LogTargets) -> LogSetup | None:
    """Return the set-up of logging, or None if it is the default.

    :param targets: gets the handlers and loggers to which records travel.
    """
    try:
        setup = _capture(targets)
    except Exception as error:  # of an unusual logger or handler
        if is_interruption(error):
            raise
        log.warning("actors start without the owner's set-up of logging", exc_info=True)
        return None
    return None if setup == _DEFAULT_SETUP else setup


def _capture(targets: LogTargets) -> LogSetup:
    default = logging.getLogRecordFactory() is logging.LogRecord
    factory = None if default else _pickle_if_possible(logging.getLogRecordFactory())
    is_raw = not default and factory is None
    tables = _Tables(targets, copies=not is_raw)
    logger_class = logging.getLoggerClass()
    return LogSetup(
        disabled=_convert_level(logging.Logger.manager.disable),
        switches=_find_switches(),
        level_names=_find_level_names(),
        levels=_find_levels(),
        formatter_defaults=_pickle_formatter_defaults(),
        logger_class=None if logger_class is logging.Logger else _pickle_if_possible(logger_class),
        factory=factory,
        is_raw=is_raw,
        captures_warnings=_is_capturing_warnings(),
        has_multiprocessing=_has_multiprocessing(),
        loggers=tuple(tables.add_logger(logger) for logger in _find_changed_loggers()),
        last_resort=_capture_last_resort(tables),
        handlers=tuple(tables.handlers),
        filters=tuple(tables.filters),
    )


def _find_changed_loggers() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    if root.level != logging.WARNING or root.handlers or root.filters or root.disabled:
        yield root
    for logger in tuple(root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger) and (
            logger.handlers
            or logger.level
            or logger.filters
            or logger.disabled
            or not logger.propagate
        ):
            yield logger


def _find_switches() -> dict[str, bool]:
    """Return the switches that differ from their defaults."""
    return {name: False for name in _SWITCHES if not getattr(logging, name, True)}


def _find_level_names() -> dict[int, str]:
    return {
        level: str(name)
        for level, name in tuple(logging._levelToName.items())
        if _LEVEL_NAMES.get(level) != name
    }


def _find_levels() -> dict[str, int]:
    return {
        str(name): level
        for name, level in tuple(logging._nameToLevel.items())
        if _LEVELS.get(name) != level
    }


def _convert_level(value: Any) -> int:
    """Return a level as a plain number.

    The program may use a class of its own.
    """
    try:
        return int(value)
    except (TypeError, ValueError):  # which logging can't use, either
        return logging.NOTSET


def _pickle_formatter_defaults() -> dict[str, bytes]:
    now = vars(logging.Formatter)
    changed = {
        name: _pickle_if_possible(now.get(name))
        for name, default in _FORMATTER_DEFAULTS.items()
        if now.get(name) != default
    }
    return {name: data for name, data in changed.items() if data is not None}


def _is_capturing_warnings() -> bool:
    return getattr(logging, '_warnings_showwarning', None) is not None


def _has_multiprocessing() -> bool:
    """Return whether multiprocessing logs, as it does once its logger is requested."""
    return getattr(multiprocessing.util, '_logger', None) is not None


def _capture_last_resort(tables: _Tables) -> int | None:
    handler = logging.lastResort
    if handler is None:
        return _NO_NUMBER
    if type(handler) is _LAST_RESORT and handler.level == logging.WARNING:
        return None
    return tables.add_handler(handler)


class _Tables:
    """Tables of handlers and filters, with each object once.

    :param copies: whether handlers and filters are copied. If not, only their numbers are used.
    """

    def __init__(self, targets: LogTargets, copies: bool) -> None:
        self.handlers: list[HandlerSetup] = []
        self.filters: list[bytes] = []
        self._targets = targets
        self._copies = copies
        self._places: dict[int, int | None] = {}

    def add_logger(self, logger: logging.Logger) -> LoggerSetup:
        """Return how a logger is set up."""
        filters = self._add_filters(logger.filters)
        is_filtered = len(filters) < len(logger.filters)
        return LoggerSetup(
            name=str(logger.name),
            level=_convert_level(logger.level),
            propagate=bool(logger.propagate),
            disabled=bool(logger.disabled),
            handlers=tuple(map(self.add_handler, logger.handlers)),
            filters=None if is_filtered else filters,
            number=self._targets.add(LoggerTarget(logger)) if logger.filters else _NO_NUMBER,
        )

    def add_handler(self, handler: logging.Handler) -> int:
        """Return the place of a handler in the table."""
        place = self._places.get(id(handler))
        if place is None:
            place = self._places[id(handler)] = len(self.handlers)
            self.handlers.append(self._describe_handler(handler))
        return place

    def _describe_handler(self, handler: logging.Handler) -> HandlerSetup:
        if _has_no_effect(handler):
            return _NULL_HANDLER
        all_filters = tuple(getattr(handler, 'filters', ()))
        decides = not (
            _has_method(handler, 'handle', logging.Handler.handle)
            and _has_method(handler, 'filter', logging.Filterer.filter)
        )
        filters = () if decides else self._add_filters(all_filters)
        formatter = getattr(handler, 'formatter', None)
        formatter_data = _pickle_formatter(handler, formatter)
        data, is_whole = None, False
        has_formatter = formatter is None or formatter_data is not None
        if self._copies and has_formatter and len(filters) == len(all_filters):
            data, is_whole = _pickle_handler(handler)
        name = getattr(handler, 'name', None)
        return HandlerSetup(
            number=self._targets.add(HandlerTarget(handler, all_filters, decides)),
            name=name if type(name) is str else None,
            level=_convert_level(getattr(handler, 'level', logging.NOTSET)),
            data=data,
            is_whole=is_whole,
            formatter=formatter_data,
            formats_exceptions=_has_own_exception_format(handler, formatter),
            filters=filters,
            is_filtered=decides or len(filters) < len(all_filters),
        )

    def _add_filters(self, filters: Sequence[Any]) -> tuple[int, ...]:
        """Add filters before the first that can't be copied; return their places."""
        places = []
        for one in filters:
            place = self._add_filter(one) if self._copies else None
            if place is None:
                break
            places.append(place)
        return tuple(places)

    def _add_filter(self, one: Any) -> int | None:
        if id(one) not in self._places:
            data = _pickle_if_possible(one)
            if data is None:
                self._places[id(one)] = None
            else:
                self._places[id(one)] = len(self.filters)
                self.filters.append(data)
        return self._places[id(one)]


def _has_method(handler: Any, name: str, function: Any) -> bool:
    """Return whether a method of an object is the standard library's."""
    return getattr(getattr(handler, name, None), '__func__', None) is function


def _pickle_formatter(handler: Any, formatter: Any) -> bytes | None:
    if formatter is None and isinstance(handler, OwnerHandler):
        return handler.formatter_pickle
    return None if formatter is None else _pickle_if_possible(formatter)


def _has_own_exception_format(handler: Any, formatter: Any) -> bool:
    if formatter is None:
        return isinstance(handler, OwnerHandler) and handler.formats_exceptions
    usual = logging.Formatter.formatException
    return not _has_method(formatter, 'formatException', usual)


def _pickle_handler(handler: logging.Handler) -> tuple[bytes | None, bool]:
    """Return a handler's pickle, or None, and whether it is complete.

    It is None if the handler would not work in another process.
    """
    if _has_own_pickling(handler):
        return _pickle_if_possible(handler), True
    found = _copy_state(handler)
    return (None if found is None else _pickle_if_possible(found)), False


def _has_own_pickling(handler: logging.Handler) -> bool:
    """Return whether the class of a handler defines how it is pickled.

    The classes of :mod:`logging` don't, and can't be pickled.
    """
    for base in type(handler).__mro__:
        if base in (logging.Handler, object):
            return False
        if not vars(base).keys().isdisjoint(_PICKLING_METHODS):
            return True
    return False


def _has_no_effect(handler: Any) -> bool:
    """Return whether a handler has no effect.

    Its class need not be imported then.
    """
    if _has_method(handler, 'handle', logging.NullHandler.handle):
        return True
    is_file = _has_method(handler, 'emit', logging.FileHandler.emit)
    return is_file and handler.baseFilename == os.devnull and not handler.filters


def _copy_state(handler: logging.Handler) -> tuple[type, dict[str, Any], str] | None:
    """Return class, attributes and stream of a handler, or None.

    It is None if the handler would not work in another process.
    """
    state = {name: value for name, value in vars(handler).items() if name not in _LEFT_OUT}
    if _has_method(handler, 'emit', logging.StreamHandler.emit):
        if 'stream' not in state:
            return type(handler), state, ''
        stream = _find_standard_stream(state.pop('stream'))
        return (type(handler), state, stream) if stream else None
    if _is_appending(handler):
        return type(handler), {**state, 'stream': None}, ''
    for emit, forgotten in _list_connecting():
        if _has_method(handler, 'emit', emit):
            return type(handler), {**state, **forgotten}, ''
    return None


def _find_standard_stream(stream: Any) -> str:
    """Return 'stdout' or 'stderr' if a stream is that, else ''.

    A stream of another class may also write to other places.
    """
    if type(stream) is not io.TextIOWrapper or stream.closed:
        return ''
    return _STANDARD_STREAMS.get(stream.fileno(), '')


def _is_appending(handler: logging.Handler) -> TypeGuard[logging.FileHandler]:
    """Return whether a handler appends to a file.

    In another mode, it would overwrite what another process has written meanwhile.
    """
    if not isinstance(handler, logging.FileHandler) or 'a' not in handler.mode:
        return False
    handlers = sys.modules.get('logging.handlers')
    emits = [logging.FileHandler.emit]
    if handlers is not None:
        emits.append(handlers.WatchedFileHandler.emit)
    is_usual = any(_has_method(handler, 'emit', emit) for emit in emits)
    return is_usual and _has_method(handler, '_open', logging.FileHandler._open)


def _list_connecting() -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield `emit` and forgotten state of handlers that connect on demand.

    A copy loses that state.
    """
    handlers = sys.modules.get('logging.handlers')
    if handlers is None:  # so there are none
        return
    yield handlers.SocketHandler.emit, {'sock': None, 'retryTime': None}
    if hasattr(handlers.SysLogHandler, 'createSocket'):  # from Python 3.11 on
        yield handlers.SysLogHandler.emit, {'socket': None}
    yield handlers.HTTPHandler.emit, {}
    yield handlers.SMTPHandler.emit, {}


# --- the actor process ---------------------------------------------------------------------------


def apply_logging(setup: LogSetup) -> Callable[[], None]:
    """Set up logging as in the owner, except what can't be loaded.

    :returns: a function that sets up all loggers again. A module that is imported for a class of
        the actor or of a filter may set up logging itself, as it has done before in the owner.
    """
    loader = _Loader(setup)
    for apply in _apply_switches, _apply_levels, _apply_formatter_defaults:
        loader.attempt(apply, setup)
    if setup.logger_class is not None:
        loader.attempt(_set_logger_class, setup.logger_class)
    if setup.factory is not None and not loader.attempt(_set_factory, setup.factory):
        loader.is_raw = True
    if setup.has_multiprocessing:
        loader.attempt(multiprocessing.util.get_logger)
    if setup.last_resort is not None:
        loader.attempt(loader.set_last_resort, setup.last_resort)
    for logger in setup.loggers:
        loader.attempt(loader.prepare, logger)
    loader.set_up()
    if setup.captures_warnings:
        logging.captureWarnings(True)
    loader.report()
    return loader.set_up


def _apply_switches(setup: LogSetup) -> None:
    for name, value in setup.switches.items():
        setattr(logging, name, value)
    # It clears the caches of all loggers, which takes time.
    if logging.Logger.manager.disable != setup.disabled:
        logging.disable(setup.disabled)


def _apply_levels(setup: LogSetup) -> None:
    for name, level in setup.levels.items():
        logging.addLevelName(level, name)
    for level, name in setup.level_names.items():
        logging.addLevelName(level, name)


def _apply_formatter_defaults(setup: LogSetup) -> None:
    for name, data in setup.formatter_defaults.items():
        setattr(logging.Formatter, name, loads(data))


def _set_logger_class(data: bytes) -> None:
    logging.setLoggerClass(loads(data))


def _set_factory(data: bytes) -> None:
    logging.setLogRecordFactory(loads(data))


class _Loader:
    """Creates handlers and filters, each once.

    :ivar is_raw: whether records lack attributes that the owner's factory sets. Then only the owner
        can filter and format them.
    """

    def __init__(self, setup: LogSetup) -> None:
        self._setup = setup
        self.is_raw = setup.is_raw
        self._filters: dict[int, Any] = {}
        self._handlers: dict[int, logging.Handler] = {}
        self._prepared: list[tuple[LoggerSetup, list[Any], list[logging.Handler]]] = []
        self._problems: list[str] = []

    def attempt(self, apply: Callable[..., object], *args: Any) -> bool:
        """Apply a part of the set-up and return whether that succeeded."""
        try:
            apply(*args)
        except Exception as error:  # of code of the program that doesn't work here
            self._problems.append(f'{type(error).__name__}: {get_text(error)}')
            return False
        return True

    def report(self) -> None:
        """Log the parts that failed, now that there are handlers."""
        for problem in self._problems:
            log.warning("a part of the owner's set-up of logging fails here: %s", problem)

    def set_last_resort(self, place: int) -> None:
        """Set the handler for records without a handler."""
        logging.lastResort = None if place == _NO_NUMBER else self.load_handler(place)

    def prepare(self, setup: LoggerSetup) -> None:
        """Create filters and handlers of a logger, which may import modules."""
        filters = self._load_filters(setup)
        self._prepared.append(
            (setup, filters, [self.load_handler(place) for place in setup.handlers])
        )

    def set_up(self) -> None:
        """Set up all loggers."""
        for setup, filters, handlers in self._prepared:
            logger = logging.getLogger(setup.name)
            if logger.level != setup.level:
                logger.setLevel(setup.level)
            logger.propagate, logger.disabled = setup.propagate, setup.disabled
            logger.filters[:] = filters
            if logger.handlers != handlers:
                for handler in tuple(logger.handlers):
                    logger.removeHandler(handler)
                for handler in handlers:
                    logger.addHandler(handler)

    def _load_filters(self, setup: LoggerSetup) -> list[Any]:
        if setup.filters is not None and not self.is_raw:
            with contextlib.suppress(Exception):  # of loading: the owner applies them
                return [self._load_filter(place) for place in setup.filters]
        return [] if setup.number == _NO_NUMBER else [OwnerFilter(setup.number, self.is_raw)]

    def _load_filter(self, place: int) -> Any:
        if place not in self._filters:
            self._filters[place] = loads(self._setup.filters[place])
        return self._filters[place]

    def load_handler(self, place: int) -> logging.Handler:
        """Return the handler at a place of the table."""
        if place not in self._handlers:
            setup = self._setup.handlers[place]
            handler = self._handlers[place] = self._create_handler(setup)
            if setup.name is not None:
                handler.set_name(setup.name)
        return self._handlers[place]

    def _create_handler(self, setup: HandlerSetup) -> logging.Handler:
        is_usable = not self.is_raw or setup.number == _NO_NUMBER
        if setup.data is not None and is_usable:
            try:
                return self._copy(setup, setup.data)
            except Exception as error:  # of code of the program that doesn't work here
                log.debug('records go to a handler of the owner: %s', get_text(error))
        return self._create_owner_handler(setup)

    def _copy(self, setup: HandlerSetup, data: bytes) -> logging.Handler:
        if setup.is_whole:
            whole: logging.Handler = loads(data)
            if getattr(whole, 'lock', None) is None:
                whole.createLock()
            return whole
        handler = _rebuild_handler(*loads(data))
        handler.level = setup.level
        handler.formatter = None if setup.formatter is None else loads(setup.formatter)
        handler.filters = [self._load_filter(place) for place in setup.filters]
        return handler

    def _create_owner_handler(self, setup: HandlerSetup) -> OwnerHandler:
        filters: list[Any] = []
        if not self.is_raw:
            with contextlib.suppress(Exception):  # of loading: the owner applies them
                for place in setup.filters:
                    filters.append(self._load_filter(place))  # noqa: PERF401  # kept after an error
        made = OwnerHandler(
            setup.number,
            setup.level,
            formatter=setup.formatter,
            formats_exceptions=setup.formats_exceptions,
            applied=len(filters),
            is_filtered=setup.is_filtered or len(filters) < len(setup.filters),
            is_raw=self.is_raw,
        )
        made.filters = filters
        return made


def _rebuild_handler(
    cls: type[logging.Handler], state: dict[str, Any], stream: str
) -> logging.Handler:
    handler = cls.__new__(cls)
    logging.Handler.__init__(handler)
    vars(handler).update(state)
    if stream:
        found = getattr(sys, stream)
        if found is None:
            raise LookupError(f'sys.{stream} is closed')
        handler.stream = found  # type: ignore[attr-defined]  # of a StreamHandler
    return handler
