"""Send log records from an actor process to handlers of its owner.

A thread that logs must not wait for another process. So it puts its record into a queue. A sender
thread, which starts with the first record, sends a batch, and the next one when the owner has
handled it. So records wait in this queue, which is bounded, and nowhere else. Records that find
the queue full are counted, and a notice with their number follows as soon as there is room. The
order of records is kept. After the end of the owner, records go to standard error.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import marshal
import pickle
import sys
import threading
import traceback
from typing import NoReturn, Protocol

from uactor.codec.pickling import loads
from uactor.errors import ActorDiedError, ResourceError
from uactor.launch import lifeline
from uactor.launch.log_records import SentRecord, encode_record, rebuild_record
from uactor.launch.log_targets import ARE_HANDLED, RECORDS
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.threads import start_daemon

MAX_RECORDS = 10_000
MAX_BYTES = 64 << 20
"""Limits of the queue. A single larger record enters when the queue is empty."""
_MAX_BATCH_BYTES = 256 << 10
_FLUSH_TIMEOUT_S = 3.0
"""How long a flush waits for an owner that doesn't read: less than the default time for an end."""

_DEFAULT = logging.Formatter(logging.BASIC_FORMAT)


class Sender(Protocol):
    """Represents a handler or logger of the owner in this process."""

    def show(self, record: logging.LogRecord) -> str:
        """Return the line for standard error that shows the record."""
        ...


class LogChannel:
    """The queue of this process, and the thread that empties it."""

    def __init__(self) -> None:
        self._senders: dict[int, Sender] = {}
        self.reset()

    def reset(self) -> None:
        """Empty the queue in a forked process.

        Its records belong to the parent.
        """
        # A finalizer or signal handler may log while its thread is here.
        self._changed = threading.Condition(threading.RLock())
        self._waiting: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._lost: collections.Counter[int] = collections.Counter()
        self._on_the_way: list[tuple[int, bytes]] = []
        self._is_begun = False
        self._is_cut = False

    def register(self, number: int, sender: Sender) -> None:
        """Register the sender of the records with this number.

        It shows them after the owner's end.
        """
        self._senders[number] = sender

    def send(self, sent: SentRecord) -> None:
        """Queue a record, or write it to standard error without an owner."""
        data = pickle.dumps(sent)
        if self._is_cut or lifeline.get_current() is None:
            self._show([(sent.number, data)])
            return
        with self._changed:
            is_full = len(self._waiting) >= MAX_RECORDS or self._bytes + len(data) > MAX_BYTES
            if self._waiting and is_full:
                self._lost[sent.number] += 1
                return
            self._put(sent.number, data)
            if not self._is_begun:
                self._start_thread()
            self._changed.notify_all()

    def _put(self, number: int, data: bytes) -> None:
        self._waiting.append((number, data))
        self._bytes += len(data)

    def flush(self, timeout: float = _FLUSH_TIMEOUT_S) -> bool:
        """Wait until the owner has handled all records; return whether it has.

        :param timeout: how long at most, in seconds.
        """
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout)

    def finish(self) -> None:
        """Send the queued records at exit, or write them to standard error."""
        if not self.flush():
            self._is_cut = True
            with self._changed:
                rest = [*self._on_the_way, *self._waiting]
                self._waiting.clear()
            self._show(rest)

    def _is_idle(self) -> bool:
        return not self._waiting and not self._on_the_way

    # --- the thread ------------------------------------------------------------------------------

    def _start_thread(self) -> None:
        try:
            start_daemon('uactor-log', self._run)
            self._is_begun = True
        except ResourceError:  # there are no threads left to be had, or the process ends
            self._send_waiting()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
            try:
                self._send_waiting(is_patient=True)
            except BaseException:  # SystemExit too; to log it would put it into this queue
                _write(traceback.format_exc())

    def _send_waiting(self, is_patient: bool = False) -> None:
        """Send all records that wait.

        :param is_patient: whether to wait until the owner has handled them.
        """
        while self._take_batch():
            try:
                if not self._send_batch(is_patient):
                    self._is_cut = True
                    self._show(self._on_the_way)
            finally:
                with self._changed:
                    self._on_the_way = []
                    self._changed.notify_all()

    def _take_batch(self) -> bool:
        """Take the next batch out of the queue.

        Return whether there is a batch to send.
        """
        size = 0
        with self._changed:
            while self._waiting and size < _MAX_BATCH_BYTES:
                taken = self._waiting.popleft()
                size += len(taken[1])
                self._on_the_way.append(taken)
            self._bytes -= size
            lost, self._lost = self._lost, collections.Counter()
            for number, count in lost.items():  # these records came after those in the queue
                self._put(number, pickle.dumps(_create_notice(number, count)))
            return bool(self._on_the_way)

    def _send_batch(self, is_patient: bool) -> bool:
        """Send the batch and return whether the owner has received it."""
        owner = lifeline.get_current()
        if owner is None:
            return False
        try:
            owner.send(RECORDS, marshal.dumps([data for _, data in self._on_the_way]))
        except OSError:
            return False
        if is_patient:
            try:
                owner.request(ARE_HANDLED, b'')
            except ActorDiedError:
                return _is_reading(owner)
        return True

    # --- without an owner ----------------------------------------------------------------------

    def _show(self, records: list[tuple[int, bytes]]) -> None:
        for number, data in records:
            record = rebuild_record(pickle.loads(data))
            try:
                line = self._senders[number].show(record)
            except Exception:  # of a formatter of the user
                line = f'{_DEFAULT.format(record)}\n{traceback.format_exc()}'
            _write(f'{line}\n')


def _write(text: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):  # nobody reads it
            sys.stderr.write(text)
            sys.stderr.flush()


def _is_reading(owner: lifeline.Lifeline) -> bool:
    """Return whether the owner still reads.

    It answers no request after it has closed its side.
    """
    try:
        owner.send(RECORDS, marshal.dumps([]))
    except OSError:
        return False
    return True


def _create_notice(number: int, count: int) -> SentRecord:
    message = f'{count} log records of this process were lost: its owner takes them too slowly'
    record = logging.LogRecord('uactor.launch', logging.WARNING, __file__, 0, message, (), None)
    return encode_record(record, SentRecord(number, is_notice=True), _DEFAULT.formatException)


channel = LogChannel()
"""The channel of this process."""

at_fork(in_child=channel.reset)


class OwnerHandler(logging.Handler):
    """Represents a handler of the owner that can't be copied.

    :ivar formatter_pickle: pickle of the owner's formatter, until it is needed here.
    :ivar formats_exceptions: whether the formatter has its own way to format exceptions.
    :param number: number of the owner's handler.
    :param applied: how many filters of the owner's handler this handler has.
    :param is_filtered: whether the owner applies further filters.
    :param is_raw: whether this process creates records without the owner's factory.
    """

    def __init__(
        self,
        number: int,
        level: int,
        *,
        formatter: bytes | None,
        formats_exceptions: bool,
        applied: int,
        is_filtered: bool,
        is_raw: bool,
    ) -> None:
        super().__init__(level)
        self.formatter_pickle = formatter
        self.formats_exceptions = formats_exceptions
        self._is_filtered = is_filtered
        self._target = SentRecord(number, applied, is_raw=is_raw)
        channel.register(number, self)

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record to the owner's handler."""
        try:
            formatter = self._formatter() if self.formats_exceptions else _DEFAULT
            channel.send(encode_record(record, self._target, formatter.formatException))
        except Exception as error:  # of formatting: logging reports it where the record is created
            if is_interruption(error):
                raise
            self.handleError(record)

    def flush(self) -> None:
        """Wait until the owner has handled all records."""
        channel.flush()

    def show(self, record: logging.LogRecord) -> str:
        """See :class:`Sender`."""
        return _describe_withheld(record) if self._is_filtered else self._formatter().format(record)

    def _formatter(self) -> logging.Formatter:
        """Return the owner's formatter, or the default if it can't be loaded."""
        if self.formatter is None and self.formatter_pickle is not None:
            data, self.formatter_pickle = self.formatter_pickle, None
            with contextlib.suppress(Exception):  # the default takes its place
                self.formatter = loads(data)
        return self.formatter or _DEFAULT


class OwnerFilter:
    """Represents filters of an owner's logger that can't be copied.

    It passes no record. The owner's logger gets each record and applies its filters.
    """

    def __init__(self, number: int, is_raw: bool) -> None:
        self._target = SentRecord(number, is_raw=is_raw)
        channel.register(number, self)

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        The actors of this process send their records here instead.
        """
        raise TypeError('the filters are those of the owner')

    def filter(self, record: logging.LogRecord) -> bool:
        """Send the record to the owner's logger."""
        try:
            channel.send(encode_record(record, self._target, _DEFAULT.formatException))
        except Exception as error:  # of formatting
            if is_interruption(error):
                raise
            logging.Handler().handleError(record)
        return False

    def show(self, record: logging.LogRecord) -> str:
        """See :class:`Sender`."""
        return _describe_withheld(record)


def _describe_withheld(record: logging.LogRecord) -> str:
    """Return a notice about a record that can't be filtered.

    The record itself may contain secrets.
    """
    return (
        f'a log record of level {record.levelname} by logger {record.name!r} '
        f'({record.pathname}:{record.lineno}) is not shown: '
        'its filters were those of the owner, which has ended'
    )
