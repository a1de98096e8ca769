"""Handle the log records of an actor process, in its owner.

The process has copies of those handlers and filters of its owner that work there, too. For all
others it sends its records, with the number of the handler or logger.
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

    :ivar filters: its filters when the process was started.
    :ivar decides: whether its class has its own way to filter or handle records.
    """

    handler: logging.Handler
    filters: tuple[object, ...]
    decides: bool

    def handle(self, sent: SentRecord, record: logging.LogRecord) -> None:
        """Handle a record as the handler would.

        The filters that the record has passed do not apply again.
        """
        if sent.is_notice:
            self._emit(record)
        elif self.decides:
            self.handler.handle(record)
        else:
            filterer = logging.Filterer()
            filterer.filters = list(self.filters[sent.applied :])  # type: ignore[arg-type]
            passed = filterer.filter(record)
            if passed:  # from Python 3.12 on, filters may return another record
                self._emit(passed if isinstance(passed, logging.LogRecord) else record)

    def _emit(self, record: logging.LogRecord) -> None:
        self.handler.acquire()
        try:
            self.handler.emit(record)
        finally:
            self.handler.release()


@dataclass(frozen=True)
class LoggerTarget:
    """A logger with filters that can't be copied.

    They apply before all its handlers.
    """

    logger: logging.Logger

    def handle(self, sent: SentRecord, record: logging.LogRecord) -> None:
        """Handle the record by the logger, as a record of this process."""
        if sent.is_notice:
            self.logger.callHandlers(record)
        else:
            self.logger.handle(record)


class LogTargets:
    """The numbered handlers and loggers that get an actor process's records."""

    def __init__(self) -> None:
        self._targets: list[HandlerTarget | LoggerTarget] = []

    def add(self, target: HandlerTarget | LoggerTarget) -> int:
        """Add a handler or logger and return its number."""
        self._targets.append(target)
        return len(self._targets) - 1

    def handle(self, message: bytes) -> None:
        """Handle the records of a message.

        An exception for a record does not affect the others.
        """
        for data in marshal.loads(message):
            sent: SentRecord = pickle.loads(data)
            target = self._targets[sent.number]
            record = rebuild_record(sent)
            try:
                target.handle(sent, record)
            except Exception:  # what filters and handlers of the program raise
                _report(target, record)


def _report(target: HandlerTarget | LoggerTarget, record: logging.LogRecord) -> None:
    """Print the exception of a handler, as logging does.

    The handler may not be able to log its own exception.
    """
    handler = target.handler if isinstance(target, HandlerTarget) else logging.Handler()
    try:
        handler.handleError(record)
    except Exception:  # of a handler's own handleError()
        if sys.stderr is not None:
            traceback.print_exc()
