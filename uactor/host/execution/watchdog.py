"""Notice that a method blocks the leader of a session."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from uactor.host.execution.workers import PATIENCE_S
from uactor.runtime.threads import attempt
from uactor.runtime.timers import timers

log = logging.getLogger('uactor.host')

_MAX_QUIET_LOOKS = 20
"""After how many looks that show nothing the watch stops."""


class Watch(contextlib.AbstractContextManager[None]):
    """The context of jobs, which reports a job that does not end.

    The thread that runs the jobs has other work. A timer looks at the job every few milliseconds,
    and stops after a while without jobs. So a job costs two additions, and no system call.

    :param overdue: is called, once for a job that does not end, on the thread of the timer.
    :param going: is called at looks that find another job than before.
    :param part: returns the number of the part of the job that runs; each part counts as a job.
    :ivar is_watching: whether the timer is set.
    """

    def __init__(
        self, overdue: Callable[[], None], going: Callable[[], None], part: Callable[[], int]
    ) -> None:
        self._overdue = overdue
        self._going = going
        self._part = part
        self._begun = self._ended = 0
        self._seen = self._reported = (0, 0)
        self._quiet = 0
        self.is_watching = False

    @property
    def has_job(self) -> bool:
        """Whether a job is running."""
        return self._begun != self._ended

    def __enter__(self) -> None:
        self._begun += 1
        if not self.is_watching:
            self.is_watching = True
            self._look_soon()

    def __exit__(self, *exception: object) -> None:
        self._ended += 1

    def _look_soon(self) -> None:
        try:
            timers.at(time.monotonic() + PATIENCE_S, self._look)
        except BaseException as error:
            self.is_watching = False  # the next job tries again
            if not isinstance(error, RuntimeError):
                raise
            log.warning('calls may have to wait: %s', error)

    def _look(self) -> None:
        """Look at the job, and again later, whatever the callbacks raise."""
        latest = self._begun, self._part()
        if self._seen != latest:
            self._seen, self._quiet = latest, 0
            attempt('to send what has been answered', self._going)
        elif not self.has_job or self._reported == latest:
            self._quiet += 1
            if self._quiet >= _MAX_QUIET_LOOKS:
                # A thread that begins a job now either sees this, or is seen by the next line.
                self.is_watching = False
                if self._seen == (self._begun, self._part()):
                    return
                self.is_watching = True
        else:
            attempt('to have another thread take calls', self._report)
        self._look_soon()

    def _report(self) -> None:
        self._reported = self._seen
        try:
            self._overdue()
        except RuntimeError as error:  # tried again at the next look
            self._reported = 0, 0
            log.warning('calls have to wait: %s', error)
