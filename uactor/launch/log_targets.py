"""What the owner does with the log records of its actor process.

The process has copies of those handlers and filters of its owner that work there as well. For each
other one it sends its records, with a number that says whom they are for.
"""

from __future__ import annotations

import logging
import marshal
import pickle
import sys
import traceback
from dataclasses import dataclass

from uactor.launch.log_records import SentRecord, rebuild_record

RECORDS = b'L'
"""Kind of a message with records: each a pickle, all in a list."""
ARE_HANDLED = b'H'
"""Kind of the question whether the records before it have been handled."""


@dataclass(frozen=True)
class HandlerTarget:
    """A handler that can't be copied.

    :ivar filters: what it had when the process was started.
    :ivar decides: whether its class filters or handles records in a way of its own.
    """

    handler: logging.Handler
    filters: tuple[object, ...]
    decides: bool

    def handle(self, sent: SentRecord, record: logging.LogRecord) -> None:
        """Do what the handler would have done, but for the filters that were applied already."""
        if sent.is_notice:
            self._emit(record)
        elif self.decides:
            self.handler.handle(record)
        else:
            filterer = logging.Filterer()
            filterer.filters = list(self.filters[sent.applied :])  # type: ignore[arg-type]
            passed = filterer.filter(record)
            if passed:  # from Python 3.12 on, filters may put another record in its place
                self._emit(passed if isinstance(passed, logging.LogRecord) else record)

    def _emit(self, record: logging.LogRecord) -> None:
        self.handler.acquire()
        try:
            self.handler.emit(record)
        finally:
            self.handler.release()


@dataclass(frozen=True)
class LoggerTarget:
    """A logger whose filters can't be copied: they stand before all handlers."""

    logger: logging.Logger

    def handle(self, sent: SentRecord, record: logging.LogRecord) -> None:
        """Have the logger handle the record as one of this process."""
        if sent.is_notice:
            self.logger.callHandlers(record)
        else:
            self.logger.handle(record)


class LogTargets:
    """For whom the records of one actor process are, by number."""

    def __init__(self) -> None:
        self._targets: list[HandlerTarget | LoggerTarget] = []

    def add(self, target: HandlerTarget | LoggerTarget) -> int:
        """Add a handler or logger and return its number."""
        self._targets.append(target)
        return len(self._targets) - 1

    def handle(self, message: bytes) -> None:
        """Handle the records of a message. What one raises does not concern the others."""
        for data in marshal.loads(message):
            sent: SentRecord = pickle.loads(data)
            target = self._targets[sent.number]
            record = rebuild_record(sent)
            try:
                target.handle(sent, record)
            except Exception:  # whatever filters and handlers of the user raise
                _report(target, record)


def _report(target: HandlerTarget | LoggerTarget, record: logging.LogRecord) -> None:
    """Print what a handler has raised, as logging does: it may be the one to log that."""
    handler = target.handler if isinstance(target, HandlerTarget) else logging.Handler()
    try:
        handler.handleError(record)
    except Exception:  # some have a method of their own, which raises
        if sys.stderr is not None:
            traceback.print_exc()
