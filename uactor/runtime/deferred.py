"""Run work that finalizers must not do themselves, on one thread.

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

from uactor.runtime.locks import synchronized
from uactor.runtime.threads import OnDemandThread, attempt

_BATCH_S = 0.01
"""How long the thread gathers jobs before it runs them. A call to the same actor that is sent
meanwhile carries the releases, and spares the thread a message."""


class ObjectEnd(weakref.ref[Any]):
    """Submits a job once an object is gone.

    It submits nothing if it is dropped before the object. The callback is C code alone: a signal
    handler could raise in a callback in Python. In a forked child the callback appends to the queue
    of the parent's thread. No thread of the child reads that queue, because the job belongs to the
    parent.

    :ivar job: runs on the thread for deferred work. It must not refer to the object.
    """

    __slots__ = ('job',)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    job: Callable[[], None]

    def __call__(self) -> None:
        """Run the job. The queue's thread calls this."""
        self.job()


class _CountedEnd(ObjectEnd):
    """Keeps itself and the deferred work's thread until the object is gone."""

    __slots__ = ()

    def __call__(self) -> None:
        """Run the job. The queue's thread calls this."""
        _ends.discard(self)
        deferred.remove_user()
        self.job()


_ends: set[_CountedEnd] = set()


class DeferredWork:
    """Runs submitted jobs on its own thread.

    The thread lives while there are users.

    :ivar submit: queues a job. It is C code alone, so it is safe in finalizers and as the callback
        of a weak reference.
    """

    submit: Callable[[Callable[[], object]], None]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start without jobs and users, in a forked child."""
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.submit = self._jobs.put
        self._lock = threading.RLock()  # a finalizer may interrupt the thread that holds it
        self._users = 0
        self._thread = OnDemandThread('uactor-deferred', self._step)

    def submit_when_gone(self, item: object, job: Callable[[], None]) -> None:
        """Run a job once ``item`` is garbage.

        :param job: must not refer to the item.
        :raises ResourceError: when the process can start no more threads.
        """
        end = _CountedEnd(item, self.submit)
        end.job = job
        self.add_user()
        _ends.add(end)

    @synchronized
    def add_user(self) -> None:
        """Keep the thread alive until :meth:`remove_user` is called as often.

        :raises ResourceError: when the process can start no more threads. Then no user is added.
        """
        self._thread.ensure_running()
        self._users += 1

    def remove_user(self) -> None:
        """Remove a user; the thread ends after its last one."""
        self._decrement_users()
        self.submit(lambda: None)  # wakes the thread, which looks at the count

    @synchronized
    def _decrement_users(self) -> None:
        self._users -= 1

    def _step(self) -> bool:
        """Wait for jobs and run them; return whether any users remain."""
        job = self._jobs.get()
        time.sleep(_BATCH_S)
        attempt('a queued release', job)
        del job  # else it keeps its objects alive while this thread waits
        while not self._jobs.empty():
            attempt('a queued release', self._jobs.get())
        with self._lock:
            if self._users or not self._jobs.empty():
                return True
            self._thread.mark_finished()
            return False


deferred = DeferredWork()
"""The deferred work of this process."""
