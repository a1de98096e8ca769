"""What an actor process takes over from its owner, as a forked one would have it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class HandlerCopy:
    """A logging handler that can be made again: to a standard stream or a file."""

    level: int
    format: tuple[str | None, str | None] | None
    stream: str = ''
    path: str = ''
    encoding: str | None = None


@dataclass(frozen=True)
class LoggerCopy:
    """How a logger is set up."""

    level: int
    propagate: bool
    disabled: bool
    handlers: tuple[HandlerCopy, ...]


@dataclass(frozen=True)
class Surroundings:
    """Of the owner: import path, arguments, directory, warnings, logging, family key."""

    path: list[str]
    argv: list[str]
    directory: str | None
    authkey: bytes = field(repr=False)
    filters: list[Any] = field(default_factory=list)
    loggers: dict[str, LoggerCopy] = field(default_factory=dict)
    log_disabled: int = 0


def capture() -> Surroundings:
    """Return the surroundings of this process."""
    loggers = {'': _copy(logging.getLogger())}
    for name, logger in list(logging.Logger.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            loggers[name] = _copy(logger)
    return Surroundings(
        path=[os.fspath(entry) for entry in sys.path],
        argv=list(sys.argv),
        directory=_directory(),
        authkey=bytes(multiprocessing.current_process().authkey),
        filters=_filters(),
        loggers={name: copy for name, copy in loggers.items() if copy != _usual(name)},
        log_disabled=logging.Logger.manager.disable,
    )


def apply(surroundings: Surroundings) -> None:
    """Give this process the surroundings of another one."""
    sys.path[:] = surroundings.path
    sys.argv[:] = surroundings.argv
    if surroundings.directory is not None and surroundings.directory != _directory():
        os.chdir(surroundings.directory)
    multiprocessing.current_process().authkey = surroundings.authkey
    if _filters() != surroundings.filters:
        _filter([], surroundings)
    # Both make all loggers forget what they are enabled for, which takes time.
    if logging.Logger.manager.disable != surroundings.log_disabled:
        logging.disable(surroundings.log_disabled)
    for name, copy in surroundings.loggers.items():
        logger = logging.getLogger(name)
        if logger.level != copy.level:
            logger.setLevel(copy.level)
        logger.propagate, logger.disabled = copy.propagate, copy.disabled
        for handler in copy.handlers:
            logger.addHandler(_made(handler))


def apply_again(surroundings: Surroundings) -> None:
    """Take over what depends on modules, now that those of the actor are imported."""
    before = _filters()
    if before == surroundings.filters:
        return
    own = [_known(entry) for entry in before if entry not in surroundings.filters]
    _filter([entry for entry in own if entry is not None], surroundings)


def _filter(own: list[Any], surroundings: Surroundings) -> None:
    """Filter warnings as the owner does, as far as their categories are imported here."""
    taken = [entry for entry in map(_known, surroundings.filters) if entry is not None]
    warnings.resetwarnings()  # also makes modules forget what they have warned of
    warnings.filters.extend([*own, *taken])  # type: ignore[attr-defined]  # it is a list


def _filters() -> list[Any]:
    """Return the filters of warnings of this process."""
    return [_named(entry) for entry in warnings.filters]


def _named(entry: Any) -> tuple[Any, ...]:
    """Return a filter of warnings that names its category.

    Numpy adds some when it is imported. Taking their categories over would make every actor import
    it, too, which takes longer than all else.
    """
    action, message, category, *rest = entry
    return action, message, (category.__module__, category.__qualname__), *rest


def _known(entry: Any) -> tuple[Any, ...] | None:
    """Return a filter with its category; None when that is of a module that is not imported."""
    action, message, (module, name), *rest = entry
    found: Any = sys.modules.get(module)
    for part in name.split('.'):
        found = getattr(found, part, None)
    return None if found is None else (action, message, found, *rest)


def _directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it has been removed
        return None


def _usual(name: str) -> LoggerCopy:
    """Return how a logger is set up that nobody has changed."""
    return LoggerCopy(logging.NOTSET if name else logging.WARNING, True, False, ())


def _copy(logger: logging.Logger) -> LoggerCopy:
    copies = (_handler_copy(handler) for handler in logger.handlers)
    return LoggerCopy(
        logger.level,
        logger.propagate,
        logger.disabled,
        tuple(copy for copy in copies if copy is not None),
    )


def _handler_copy(handler: logging.Handler) -> HandlerCopy | None:
    """Return what it takes to make the handler again, or None where only the owner can have it."""
    formatter = handler.formatter
    layout = None if formatter is None else (formatter._fmt, formatter.datefmt)
    if type(handler) is logging.FileHandler:
        return HandlerCopy(
            handler.level, layout, path=handler.baseFilename, encoding=handler.encoding
        )
    if type(handler) is logging.StreamHandler:
        for stream in ('stderr', 'stdout'):
            if handler.stream in (getattr(sys, stream), getattr(sys, f'__{stream}__')):
                return HandlerCopy(handler.level, layout, stream=stream)
    return None


def _made(copy: HandlerCopy) -> logging.Handler:
    handler: logging.Handler
    if copy.path:
        handler = logging.FileHandler(copy.path, encoding=copy.encoding)
    else:
        handler = logging.StreamHandler(getattr(sys, copy.stream))
    handler.setLevel(copy.level)
    if copy.format is not None:
        handler.setFormatter(logging.Formatter(*copy.format))
    return handler
