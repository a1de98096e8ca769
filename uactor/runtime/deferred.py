"""The one thread that does what finalizers must not: send.

A finalizer may run at any point of any thread, also inside gRPC's own locks, and
so it only appends to a queue that is safe to re-enter. The reaper sends what has
been queued, in batches.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from uactor.runtime.locks import locked
from uactor.runtime.threads import ServiceThread, attempt

_BATCH = 0.01
"""How long releases are gathered before they are sent, in seconds. A call that goes to
the same actor meanwhile takes them along."""


class _End(weakref.ref[Any]):
    """Has the reaper do a job once an object is gone.

    A callback in C queues it, since a signal handler could raise in one in Python. In a forked
    child it goes to the queue of the parent's reaper, where nobody looks: the job is the parent's.
    """

    __slots__ = ('_job',)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    _job: Callable[[], None]

    def __call__(self) -> None:
        """Do the job, on the reaper's thread."""
        _ends.discard(self)
        deferred.closed()
        self._job()


_ends: set[_End] = set()


class DeferredWork:
    """Runs queued jobs on a thread of its own, which lives while there is something open.

    :ivar later: queues a job, by C code alone: a callback of a weak reference, for one.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, in a process that was forked."""
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.later = self._jobs.put
        self._lock = threading.RLock()  # a finalizer may interrupt who has it
        self._open = 0
        self._thread = ServiceThread('uactor-reaper', self._step)

    def put(self, job: Callable[[], None]) -> None:
        """Queue a job. Safe in finalizers."""
        self._jobs.put(job)

    def when_gone(self, item: object, job: Callable[[], None]) -> None:
        """Do a job once nobody has ``item`` any more. The job doesn't refer to it.

        :raises ResourceError: when there is no thread to be had.
        """
        end = _End(item, self.later)
        end._job = job
        self.opened()
        _ends.add(end)

    @locked
    def opened(self) -> None:
        """Keep the thread alive until :meth:`closed` has been called as often.

        :raises ResourceError: when there is no thread to be had; nothing is open then.
        """
        self._thread.ensure()
        self._open += 1

    def closed(self) -> None:
        """Let the thread end when nothing is left open."""
        self._count_closed()
        self._jobs.put(lambda: None)

    @locked
    def _count_closed(self) -> None:
        self._open -= 1

    def _step(self) -> bool:
        """Wait for jobs, and do them; return whether something is open still."""
        job = self._jobs.get()
        time.sleep(_BATCH)
        attempt('a queued release', job)
        del job  # and what it holds, while this thread waits for the next
        while not self._jobs.empty():
            attempt('a queued release', self._jobs.get())
        with self._lock:
            if self._open or not self._jobs.empty():
                return True
            self._thread.rest()
            return False


deferred = DeferredWork()
"""The reaper of this process."""
