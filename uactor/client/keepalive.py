"""Streams that nobody receives from for the time being.

The other end asks now and then whether this one is there, and takes it for dead when nobody
answers. While a thread waits for a message, that thread answers. Else the one here does, which
sleeps until something comes; it also notices when a stream ends.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import threading
import time
from typing import Protocol

from uactor.runtime.locks import locked
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.threads import OnDemandThread, report

log = logging.getLogger('uactor.client')

_PERIOD_S = 1.0
"""A stream by which nothing has been sent and received for this long is idle, in seconds."""


class Attended(Protocol):
    """A stream that there may be nobody for.

    :ivar ended: whether it has ended, as far as this side has noticed.
    """

    ended: bool

    @property
    def progress(self) -> int:
        """A number that changes with all that is sent and received."""
        ...

    def fileno(self) -> int:
        """Return the descriptor at which something may come; negative when it is closed."""
        ...

    def attend(self) -> bool:
        """Act upon what has come, without waiting, unless another thread does; tell if none did."""
        ...


class IdleStreams:
    """The thread that attends to idle streams, which lives while there are streams."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._moving: dict[Attended, int] = {}  # and their progress, when that was looked at
        self._idle: set[Attended] = set()
        self._wake_pipe: tuple[int, int] | None = None  # a pipe, while the thread lives
        self._due = 0.0  # when idle ones are looked for

    def reset(self) -> None:
        """Start afresh, in a process that was forked: its parent goes on with what it has."""
        if self._wake_pipe is not None:
            self._close(self._wake_pipe)
        self.__init__()  # type: ignore[misc]  # nothing else refers to what it has

    @locked
    def add(self, stream: Attended) -> None:
        """Attend to a stream, when it is idle, until it has ended."""
        self._moving[stream] = -1
        if self._wake_pipe is None:
            self._start()
        else:
            os.write(self._wake_pipe[1], b'.')

    def _start(self) -> None:
        pipe = os.pipe()
        try:
            step = functools.partial(self._step, *pipe)
            self._due = time.monotonic() + _PERIOD_S
            OnDemandThread('uactor-idle', step).ensure_running()
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            if is_interruption(error):
                raise
            log.debug('nobody attends to idle streams: %s', error)
            self._close(pipe)
        else:
            self._wake_pipe = pipe

    @staticmethod
    def _close(pipe: tuple[int, int]) -> None:
        for descriptor in pipe:
            os.close(descriptor)

    def _step(self, wake_read: int, wake_write: int) -> bool:
        if not self._forget_ended():
            self._close((wake_read, wake_write))
            return False
        left = max(0.0, self._due - time.monotonic()) if self._moving else None
        self._wait(wake_read, left)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PERIOD_S
            self._find_idle()
        return True

    def _forget_ended(self) -> bool:
        """Forget streams that have ended; tell whether there are others."""
        with self._lock:
            self._moving = {
                stream: progress for stream, progress in self._moving.items() if not stream.ended
            }
            self._idle = {stream for stream in self._idle if not stream.ended}
            if self._moving or self._idle:
                return True
            self._wake_pipe = None
            return False

    def _wait(self, wake_read: int, timeout: float | None) -> None:
        """Wait until something comes by an idle stream, for so long at most; act upon it."""
        poll = select.poll()
        poll.register(wake_read, select.POLLIN)
        by_number = {number: stream for stream in self._idle if (number := stream.fileno()) >= 0}
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(None if timeout is None else timeout * 1000):
            if number == wake_read:
                os.read(wake_read, 1 << 10)
            elif not self._try_attend(by_number[number]):
                self._note_moving(by_number[number])

    def _try_attend(self, stream: Attended) -> bool:
        """Attend to a stream; tell whether no other thread does, and it has not failed."""
        try:
            return stream.attend()
        except BaseException:  # the others are not to suffer for it
            report('an idle stream could not be attended to')
            return False

    def _note_moving(self, stream: Attended) -> None:
        with self._lock:
            self._idle.discard(stream)
            self._moving[stream] = -1

    def _find_idle(self) -> None:
        with self._lock:
            before = self._moving.copy()
        now = {stream: stream.progress for stream in before}
        idle = {
            stream
            for stream in before
            if now[stream] == before[stream] and self._try_attend(stream)
        }
        self._idle |= idle
        with self._lock:
            self._moving.update(now)
            for stream in idle:
                self._moving.pop(stream, None)


idle_streams = IdleStreams()
"""The idle streams of this process."""
