"""Keep streams alive while no thread receives from them.

The host sends a ping now and then, and takes a client that does not answer for dead. A thread that
waits for a message answers pings meanwhile. For all other streams, the thread of this module does.
It sleeps until data arrives, and also notices the end of a stream.
"""

from __future__ import annotations

import functools
import logging
import os
import select
import threading
import time
from typing import Protocol

from uactor.runtime.locks import synchronized
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.threads import OnDemandThread, report

log = logging.getLogger('uactor.client')

_PERIOD_S = 1.0
"""A stream that carries no data for this long is idle."""


class KeepaliveStream(Protocol):
    """A stream that is kept alive while no thread receives from it.

    :ivar ended: whether the stream has ended, as far as this side has noticed.
    """

    ended: bool

    @property
    def progress(self) -> int:
        """A number that changes whenever data is sent or received."""
        ...

    def fileno(self) -> int:
        """Return the descriptor of the connection; negative if it is closed."""
        ...

    def attend(self) -> bool:
        """Handle the data that has arrived, without waiting.

        :returns: whether this thread did; false if another thread receives.
        """
        ...


class IdleStreams:
    """The idle streams, and their thread, which lives while there are streams.

    :ivar moving: the other streams, with the progress that was last seen.
    :ivar idle: the idle streams.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self.moving: dict[KeepaliveStream, int] = {}
        self.idle: set[KeepaliveStream] = set()
        self._wake_pipe: tuple[int, int] | None = None  # open while the thread lives
        self._due = 0.0  # time of the next search for idle streams

    def reset(self) -> None:
        """Forget all streams, in a forked child: they belong to the parent."""
        if self._wake_pipe is not None:
            self._close(self._wake_pipe)
        self._reset()

    @synchronized
    def add(self, stream: KeepaliveStream) -> None:
        """Attend to a stream whenever it is idle, until it has ended."""
        self.moving[stream] = -1
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
            log.debug('no thread attends to idle streams: %s', error)
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
        left = max(0.0, self._due - time.monotonic()) if self.moving else None
        self._wait(wake_read, left)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + _PERIOD_S
            self._find_idle()
        return True

    def _forget_ended(self) -> bool:
        """Forget streams that have ended; return whether others are left."""
        with self._lock:
            self.moving = {
                stream: progress for stream, progress in self.moving.items() if not stream.ended
            }
            self.idle = {stream for stream in self.idle if not stream.ended}
            if self.moving or self.idle:
                return True
            self._wake_pipe = None
            return False

    def _wait(self, wake_read: int, timeout: float | None) -> None:
        """Wait until data arrives on idle streams, and handle it.

        :param timeout: longest wait, in seconds; None for any time.
        """
        poll = select.poll()
        poll.register(wake_read, select.POLLIN)
        by_number = {number: stream for stream in self.idle if (number := stream.fileno()) >= 0}
        for number in by_number:
            poll.register(number, select.POLLIN)
        for number, _ in poll.poll(None if timeout is None else timeout * 1000):
            if number == wake_read:
                os.read(wake_read, 1 << 10)
            elif not self._try_attend(by_number[number]):
                self._note_moving(by_number[number])

    def _try_attend(self, stream: KeepaliveStream) -> bool:
        """Attend to a stream; return whether this thread could."""
        try:
            return stream.attend()
        except BaseException:  # the other streams still need this thread
            report('an idle stream could not be attended to')
            return False

    def _note_moving(self, stream: KeepaliveStream) -> None:
        with self._lock:
            self.idle.discard(stream)
            self.moving[stream] = -1

    def _find_idle(self) -> None:
        with self._lock:
            before = self.moving.copy()
        now = {stream: stream.progress for stream in before}
        idle = {
            stream
            for stream in before
            if now[stream] == before[stream] and self._try_attend(stream)
        }
        self.idle |= idle
        with self._lock:
            self.moving.update(now)
            for stream in idle:
                self.moving.pop(stream, None)


idle_streams = IdleStreams()
"""The idle streams of this process."""
