"""Proxies of synchronization primitives.

The calls of one client thread all run on one thread of the actor process, so that
locks which belong to a thread work through proxies as they do without. What a
client holds is released when it dies.
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
    """Stands for a lock or semaphore."""

    _is_owned: ClassVar[bool] = True

    locked = ProxyMethod('locked')
    release = ProxyMethod('release')

    @arrange_arguments
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> tuple[Any, ...]:
        """Acquire it; tell whether that succeeded.

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

        A lock that belongs to a thread has been released already when an interrupt has ended a
        call in the block, and with it this thread's session; that must not mask the interrupt.
        """
        try:
            self._callmethod('release')
        except RuntimeError:
            if exc_type is None:
                raise


@expose()
class ConditionProxy(AcquirerProxy):
    """Stands for a :class:`threading.Condition`."""

    notify_all = ProxyMethod('notify_all')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until notified; tell whether that came in time."""
        return (timeout,)

    @arrange_arguments
    def notify(self, n: int = 1) -> tuple[Any, ...]:
        """Wake ``n`` of those who wait."""
        return (n,)

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        """Wait until ``predicate``, which runs in this process, is true; return its result."""
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
    """Stands for a :class:`threading.Event`."""

    is_set = ProxyMethod('is_set')
    set = ProxyMethod('set')
    clear = ProxyMethod('clear')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until it is set; tell whether it was in time."""
        return (timeout,)


@expose('parties', 'n_waiting', 'broken')
class BarrierProxy(BaseProxy):
    """Stands for a :class:`threading.Barrier`."""

    abort = ProxyMethod('abort')
    reset = ProxyMethod('reset')

    @arrange_arguments
    def wait(self, timeout: float | None = None) -> tuple[Any, ...]:
        """Wait until all parties have come; return which of them this one is."""
        return (timeout,)

    @property
    def parties(self) -> int:
        """How many have to come."""
        return int(self._get_attribute('parties'))

    @property
    def n_waiting(self) -> int:
        """How many have come."""
        return int(self._get_attribute('n_waiting'))

    @property
    def broken(self) -> bool:
        """Whether it is broken."""
        return bool(self._get_attribute('broken'))
