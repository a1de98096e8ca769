"""Proxies of synchronization primitives.

All calls of a client thread run on one thread of the actor process, so locks that belong to a
thread work through proxies as they do without. When a client dies, its locks are released.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from time import monotonic
from typing import Any, ClassVar

from uactor.proxies.base import BaseProxy, ProxyMethod, arrange_arguments, expose
from uactor.runtime.limits import validate_timeout


@expose()
class AcquirerProxy(BaseProxy):
    """A proxy of a lock or semaphore."""

    _is_owned: ClassVar[bool] = True

    locked = ProxyMethod('locked')
    release = ProxyMethod('release')

    @arrange_arguments
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> tuple[Any, ...]:
        """Acquire it and return whether that succeeded.

        :param timeout: how long to wait at most, in seconds.
        """
        return (blocking,) if timeout is None else (blocking, timeout)

    def __enter__(self) -> bool:
        """Acquire it."""
        return bool(self._callmethod('acquire'))

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        """Release it.

        An interrupt in the block may have ended a call, and with it the session of this thread,
        which has released locks of the thread. The error about that must not hide the interrupt.
        """
        try:
            self._callmethod('release')
        except RuntimeError:
            if exc_type is None:
                raise


@expose()
class ConditionProxy(AcquirerProxy):
    """A proxy of a :class:`threading.Condition`."""

    notify_all = ProxyMethod('notify_all')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until notified and return whether that came in time."""
        return (timeout,)

    @arrange_arguments
    def notify(self, n: int = 1) -> tuple[Any, ...]:
        """Wake up to ``n`` waiting callers."""
        return (n,)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until ``predicate`` is true and return its result.

        It runs in this process.
        """
        timeout = validate_timeout(timeout)
        end = None if timeout is None else monotonic() + timeout
        result = predicate()
        while not result:
            left = None if end is None else end - monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result


@expose()
class EventProxy(BaseProxy):
    """A proxy of a :class:`threading.Event`."""

    is_set = ProxyMethod('is_set')
    set = ProxyMethod('set')
    clear = ProxyMethod('clear')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until it is set and return whether that was in time."""
        return (timeout,)


@expose('parties', 'n_waiting', 'broken')
class BarrierProxy(BaseProxy):
    """A proxy of a :class:`threading.Barrier`."""

    abort = ProxyMethod('abort')
    reset = ProxyMethod('reset')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until all parties have arrived; return this party's number."""
        return (timeout,)

    @property
    def parties(self) -> int:
        """How many parties have to arrive."""
        return int(self._get_attribute('parties'))

    @property
    def n_waiting(self) -> int:
        """How many parties are waiting."""
        return int(self._get_attribute('n_waiting'))

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._get_attribute('broken'))
