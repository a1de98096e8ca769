"""Threads for the calls of a pipelined session, more while calls block.

Problem: a call may wait for a call that comes later, so a bounded number of threads can deadlock.
A thread for each call would take more time than a small call.

Mechanism: calls begin in the order in which they came, and one worker runs them one after the
other. When no call has begun for a few milliseconds, another thread adds workers: first one, then
twice as many each time. Workers that have had no call for a second end.
"""

from __future__ import annotations

import collections
import logging
import threading
import time
from collections.abc import Callable

from uactor.runtime.threads import OnDemandThread, attempt, start_daemon

log = logging.getLogger('uactor.host')

PATIENCE_S = 0.005
"""How long calls may wait before another worker is added, in seconds."""
_BUSY_PATIENCE_S = 0.2
"""The same while the process computes, in seconds: more threads would not make that faster."""
_IDLE_S = 1.0
"""How long a worker stays without a call, in seconds."""
_MAX_ADDED = 64
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
        self._watch = OnDemandThread('uactor-watch', self._grow)

    def put(self, job: Job) -> None:
        """Run a job after those that came before.

        :raises RuntimeError: when no thread can be started; the job does not run.
        """
        with self._ready:
            if not self._count:
                self._add()
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._ready.notify()
            else:
                self._ensure_watch()

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
        """Wait for a job and return it, or None after a while."""
        with self._ready:
            while not self._jobs:
                if not self._ready.wait(_IDLE_S) and not self._jobs:
                    self._count -= 1
                    self._idle -= 1
                    return None
            self._begun += 1
            self._idle -= 1
            return self._jobs.popleft()

    @property
    def are_idle(self) -> bool:
        """Whether no job waits for a worker."""
        return not self._jobs

    # --- growing -----------------------------------------------------------------------------

    def _ensure_watch(self) -> None:
        self._behind.notify()
        try:
            self._watch.ensure_running()
        except RuntimeError as error:  # the worker that there is may return
            log.warning('calls may have to wait: %s', error)

    def _grow(self) -> bool:
        """Add workers when no call begins.

        This runs on a thread that lives while calls wait.
        """
        step, added, since = 1, 0, time.monotonic()
        with self._behind:
            while True:
                if not self._jobs and not self._behind.wait(_IDLE_S) and not self._jobs:
                    self._watch.mark_finished()
                    return False
                begun, computed = self._begun, time.process_time()
                self._behind.release()
                time.sleep(PATIENCE_S)
                self._behind.acquire()
                now = time.monotonic()
                if self._begun - begun > added or not self._jobs:
                    step, added, since = 1, 0, now
                    continue
                computing = time.process_time() - computed > PATIENCE_S / 2
                if computing and now - since < _BUSY_PATIENCE_S:
                    added = 0
                    continue
                added = self.add_workers(min(step, len(self._jobs)))
                step, since = min(step * 2, _MAX_ADDED), now

    def add_workers(self, count: int) -> int:
        """Start workers; return how many threads the system allowed.

        The caller has the lock.
        """
        for number in range(count):
            try:
                self._add()
            except RuntimeError as error:
                log.warning('calls have to wait: %s', error)
                return number
        return count
