"""Run work that finalizers must not do themselves, on one thread of this process.

A finalizer may run at any point of any thread, also inside gRPC's own locks. So it must not send:
it appends a job to a queue that is safe to re-enter. One thread runs the queued jobs, in batches.
"""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from uactor.runtime.locks import locked
from uactor.runtime.threads import OnDemandThread, attempt

_BATCH_S = 0.01
"""How long the thread gathers jobs before it runs them. A call that goes to the same actor
meanwhile takes the releases along, and spares the thread a message."""


class _End(weakref.ref[Any]):
    """Submits a job once an object is gone.

    The callback is C code alone: a signal handler could raise in a callback in Python. In a forked
    child the callback appends to the queue of the parent's thread, which nobody reads there: the
    job is the parent's.
    """

    __slots__ = ('_job',)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    _job: Callable[[], None]

    def __call__(self) -> None:
        """Run the job, on the thread of the queue."""
        _ends.discard(self)
        deferred.remove_user()
        self._job()


_ends: set[_End] = set()


class DeferredWork:
    """Runs submitted jobs on a thread of its own, which lives while it has users.

    :ivar submit: queues a job. C code alone: safe in finalizers and as a weak reference's callback.
    """

    submit: Callable[[Callable[[], object]], None]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start afresh, in a process that was forked."""
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.submit = self._jobs.put
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that has it
        self._users = 0
        self._thread = OnDemandThread('uactor-deferred', self._step)

    def submit_when_gone(self, item: object, job: Callable[[], None]) -> None:
        """Run a job once ``item`` is garbage. The job must not refer to it.

        :raises ResourceError: when the process can start no more threads.
        """
        end = _End(item, self.submit)
        end._job = job
        self.add_user()
        _ends.add(end)

    @locked
    def add_user(self) -> None:
        """Keep the thread alive until :meth:`remove_user` has been called as often.

        :raises ResourceError: when the process can start no more threads. No user is added then.
        """
        self._thread.ensure_running()
        self._users += 1

    def remove_user(self) -> None:
        """Let the thread end if this was its last user."""
        self._decrement_users()
        self.submit(lambda: None)  # wakes the thread, which looks at the count

    @locked
    def _decrement_users(self) -> None:
        self._users -= 1

    def _step(self) -> bool:
        """Wait for jobs and run them; return whether users are left."""
        job = self._jobs.get()
        time.sleep(_BATCH_S)
        attempt('a queued release', job)
        del job  # and what it refers to, while this thread waits for the next
        while not self._jobs.empty():
            attempt('a queued release', self._jobs.get())
        with self._lock:
            if self._users or not self._jobs.empty():
                return True
            self._thread.mark_finished()
            return False


deferred = DeferredWork()
"""The deferred work of this process."""
