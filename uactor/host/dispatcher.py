"""The dispatcher: the only place that runs user code.

It takes a decoded request and gives a value, or raises what the method raised.
It knows no gRPC.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from uactor.errors import ActorDiedError, NotExposedError
from uactor.host import arguments, primitives
from uactor.host.clients import Caller
from uactor.host.objects import Entry, ObjectTable
from uactor.host.primitives import Locks

Fallback = Callable[[Entry], Any]

FALLBACKS: dict[str, Fallback] = {
    '#GETVALUE': lambda entry: entry.object,
    '#METHODS': lambda entry: tuple(sorted(entry.exposed)),
    '__str__': lambda entry: str(entry.object),
    '__repr__': lambda entry: repr(entry.object),
}
"""What every shared object answers, exposed or not; as in multiprocessing.managers."""


class _Gate(AbstractContextManager[None]):
    """The context of calls: counts those that are running, and refuses them once it is closed.

    Accepting and closing are decided in one critical section. Not made by contextlib, which sets
    attributes of the exceptions that pass: one that is a frozen dataclass does not let it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._running = 0
        self._closed = False

    def __enter__(self) -> None:
        with self._lock:
            if self._closed:
                raise ActorDiedError('the actor is shutting down', 'no')
            self._running += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._running -= 1
            if self._closed and not self._running:
                self._idle.notify_all()

    def close(self) -> None:
        with self._lock:
            self._closed = True

    def wait_idle(self, timeout: float) -> bool:
        with self._lock:
            return self._idle.wait_for(lambda: not self._running, timeout)


class Dispatcher:
    """Runs methods of shared objects."""

    def __init__(self, table: ObjectTable, locks: Locks) -> None:
        self._table = table
        self._locks = locks
        self._gate = _Gate()

    def accepted(self) -> AbstractContextManager[None]:
        """Return a context for a call, which is accepted and counted when it is entered.

        Accepting and refusing are decided in one critical section with :meth:`close`.

        :raises ActorDiedError: when the actor is ending; the call has not run.
        """
        return self._gate

    def close(self) -> None:
        """Accept no more calls."""
        self._gate.close()

    def wait_idle(self, timeout: float) -> bool:
        """Wait until no call is running, after :meth:`close`; tell whether it came to that.

        :param timeout: in seconds.
        """
        return self._gate.wait_idle(timeout)

    def call(
        self,
        caller: Caller,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, str]:
        """Run a method; return its result and the typeid to share it as, or ''.

        :raises BaseException: whatever the method raises.
        """
        entry = self._table.get(handle)
        if method not in entry.exposed:
            return self._unexposed(caller, entry, method, args), ''
        if entry.is_primitive:
            result = primitives.call(entry.object, method, args, kwargs, caller, self._locks)
            caller.stage = 'done'
        else:
            result = self.run(caller, getattr(entry.object, method), args, kwargs)
        return result, entry.method_to_typeid.get(method, '')

    def run(
        self,
        caller: Caller,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Run a function and return its result.

        :raises InvalidArgument: when it does not take such arguments, unless that has been checked.
        :raises BaseException: whatever the function raises.
        """
        if not caller.checked:
            arguments.check(function, args, kwargs)
        caller.stage = 'running'
        result = function(*args, **kwargs)
        caller.stage = 'done'
        return result

    def _unexposed(self, caller: Caller, entry: Entry, method: str, args: Sequence[Any]) -> Any:
        fallback = FALLBACKS.get(method)
        if fallback is not None:
            return self.run(caller, fallback, (entry,), {})
        if method == '__getattribute__' and len(args) == 1:
            return self._get(caller, entry, args[0])
        if method == '__setattr__' and len(args) == 2:
            return self._set(caller, entry, *args)
        raise not_exposed(entry, method)

    def get_attribute(self, caller: Caller, handle: str, name: str) -> tuple[Any, str]:
        """Read an attribute; return its value and the typeid to share it as, or ''."""
        entry = self._table.get(handle)
        return self._get(caller, entry, name), entry.method_to_typeid.get(name, '')

    def set_attribute(self, caller: Caller, handle: str, name: str, value: Any) -> None:
        """Write an attribute."""
        self._set(caller, self._table.get(handle), name, value)

    def _get(self, caller: Caller, entry: Entry, name: str) -> Any:
        if not _is_attribute(entry, name, '__getattribute__'):
            raise not_exposed(entry, name)
        return self.run(caller, getattr, (entry.object, name), {})

    def _set(self, caller: Caller, entry: Entry, name: str, value: Any) -> None:
        if not _is_attribute(entry, name, '__setattr__'):
            raise not_exposed(entry, name)
        self.run(caller, setattr, (entry.object, name, value), {})


def _is_attribute(entry: Entry, name: str, accessor: str) -> bool:
    if name in entry.exposed:
        return not callable(getattr(type(entry.object), name, None))
    return accessor in entry.exposed and not name.startswith('_')


def not_exposed(entry: Entry, name: str) -> NotExposedError:
    """Return the error for a name that the object does not expose."""
    return NotExposedError(f'{type(entry.object).__name__!r} object exposes no {name!r}')
