"""Noticing that the leader of a session is blocked by a method."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable

from uactor.host.execution.workers import PATIENCE_S
from uactor.runtime.threads import attempt
from uactor.runtime.timers import timers

log = logging.getLogger('uactor.host')

_QUIET = 20
"""How many looks show nothing before there is no more looking."""


class Watch(contextlib.AbstractContextManager[None]):
    """The context of jobs on a thread that has other things to do: notices one that does not end.

    :param overdue: is called then, once for the job, on a thread of its own.
    :param going: is called on that thread once in a while as long as other jobs begin.
    :param part: returns the number of the part of the job that is running: each is looked at as a
        job of its own.
    """

    def __init__(
        self, overdue: Callable[[], None], going: Callable[[], None], part: Callable[[], int]
    ) -> None:
        self._overdue = overdue
        self._going = going
        self._part = part
        self._begun = self._ended = 0
        self._seen = self._told = (0, 0)
        self._quiet = 0
        self._watched = False

    @property
    def has_job(self) -> bool:
        """Whether a job is running."""
        return self._begun != self._ended

    def __enter__(self) -> None:
        self._begun += 1
        if not self._watched:
            self._watched = True
            self._look_soon()

    def __exit__(self, *exception: object) -> None:
        self._ended += 1

    def _look_soon(self) -> None:
        try:
            timers.at(time.monotonic() + PATIENCE_S, self._look)
        except BaseException as error:
            self._watched = False  # the next job tries again
            if not isinstance(error, RuntimeError):
                raise
            log.warning('calls may have to wait: %s', error)

    def _look(self) -> None:
        """Look at the job; again after a while, whatever comes of that."""
        latest = self._begun, self._part()
        if self._seen != latest:
            self._seen, self._quiet = latest, 0
            attempt('to send what has been answered', self._going)
        elif not self.has_job or self._told == latest:
            self._quiet += 1
            if self._quiet >= _QUIET:
                # Whoever begins a job now either sees that, or is seen here.
                self._watched = False
                if self._seen == (self._begun, self._part()):
                    return
                self._watched = True
        else:
            attempt('to have another thread take calls', self._tell)
        self._look_soon()

    def _tell(self) -> None:
        self._told = self._seen
        try:
            self._overdue()
        except RuntimeError as error:  # tried again at the next look
            self._told = 0, 0
            log.warning('calls have to wait: %s', error)
