"""Threads for the calls of a pipelined session: few while they keep up, as many as have to wait.

Calls begin in the order in which they came. One worker runs them one after the other.
When it does not come back from the actor's code, because that waits, another one is
added: without a fixed bound, since what is waited for may be a call that comes later.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from collections.abc import Callable

from uactor.threads import ServiceThread, attempt, start_daemon
from uactor.timers import timers

log = logging.getLogger('uactor.host')

_PATIENCE = 0.005
"""How long no call may begin before there is another worker, in seconds."""
_BUSY_PATIENCE = 0.2
"""The same while this process computes: more threads would not make that faster."""
_IDLE = 1.0
"""How long a worker stays without a call, in seconds."""
_QUIET = 20
"""How many looks show nothing before there is no more looking."""
_FASTEST = 64
"""How many workers are added at once, at most."""

Job = Callable[[], None]


def run(job: Job) -> None:
    """Run a job on a thread that is needed afterwards."""
    attempt('to answer a call', job)


class Workers:
    """Runs jobs on daemon threads; jobs raise nothing."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self._ready = threading.Condition(lock)
        self._behind = threading.Condition(lock)
        self._jobs: collections.deque[Job] = collections.deque()
        self._count = 0
        self._idle = 0
        self._begun = 0
        self._watch = ServiceThread('uactor-watch', self._grow)

    def put(self, job: Job) -> None:
        """Have a job run, after those that came before.

        :raises RuntimeError: when there is no thread to be had; the job does not run.
        """
        with self._ready:
            if not self._count:
                self._add()
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._ready.notify()
            else:
                self._note_behind()

    def _add(self) -> None:
        start_daemon('uactor-worker', self._work)
        self._count += 1
        self._idle += 1

    def _work(self) -> None:
        job = self._next()
        while job is not None:
            run(job)
            del job  # and what it holds, while this thread waits for the next
            with self._ready:
                self._idle += 1
            job = self._next()

    def _next(self) -> Job | None:
        """Wait for a job; None when there has been none for a while."""
        with self._ready:
            while not self._jobs:
                if not self._ready.wait(_IDLE) and not self._jobs:
                    self._count -= 1
                    self._idle -= 1
                    return None
            self._begun += 1
            self._idle -= 1
            return self._jobs.popleft()

    @property
    def are_idle(self) -> bool:
        """Whether no job waits to begin."""
        return not self._jobs

    # --- growing -----------------------------------------------------------------------------

    def _note_behind(self) -> None:
        self._behind.notify()
        try:
            self._watch.ensure()
        except RuntimeError as error:  # the worker that there is may come back
            log.warning('calls may have to wait: %s', error)

    def _grow(self) -> bool:
        """Add workers when none begins a call. A thread that lives while calls are waiting."""
        step, added, since = 1, 0, time.monotonic()
        with self._behind:
            while True:
                if not self._jobs and not self._behind.wait(_IDLE) and not self._jobs:
                    self._watch.rest()
                    return False
                begun, computed = self._begun, time.process_time()
                self._behind.release()
                time.sleep(_PATIENCE)
                self._behind.acquire()
                now = time.monotonic()
                if self._begun - begun > added or not self._jobs:
                    step, added, since = 1, 0, now
                    continue
                computing = time.process_time() - computed > _PATIENCE / 2
                if computing and now - since < _BUSY_PATIENCE:
                    added = 0
                    continue
                added = self._add_some(min(step, len(self._jobs)))
                step, since = min(step * 2, _FASTEST), now

    def _add_some(self, count: int) -> int:
        for number in range(count):
            try:
                self._add()
            except RuntimeError as error:
                log.warning('calls have to wait: %s', error)
                return number
        return count


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
            timers.at(time.monotonic() + _PATIENCE, self._look)
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
