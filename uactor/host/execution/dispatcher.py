"""The dispatcher: the only place that runs the user's code.

It takes a decoded request and returns a value, or raises what the method raised. It knows no
transport. There is one exception: a burst of calls runs plain methods itself, because to begin each
here takes 0.3 µs of 1.0 (:mod:`uactor.host.sessions.bursts`).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import CoroutineType
from typing import Any

from uactor.core.current_call import CurrentCall, current, run_in
from uactor.errors import NotExposedError
from uactor.host.arguments import validate_arguments
from uactor.host.callers import Caller
from uactor.host.execution.event_loop import FINISHED, EventLoop, is_unfinished
from uactor.host.execution.gate import Gate
from uactor.host.execution.mailbox import Mailbox
from uactor.host.holders import LOCAL
from uactor.host.objects import primitives
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import Entry, ObjectTable

Fallback = Callable[[Entry], Any]

FALLBACKS: dict[str, Fallback] = {
    '#GETVALUE': lambda entry: entry.object,
    '#METHODS': lambda entry: tuple(sorted(entry.exposed)),
    '__str__': lambda entry: str(entry.object),
    '__repr__': lambda entry: repr(entry.object),
}
"""What can be called of each object, exposed or not; as in multiprocessing.managers."""

_NO_PLACE = nullcontext()
_END: Any = object()


class Dispatcher:
    """Runs methods of shared objects.

    :param concurrency: how many of the actor's own methods may run at a time; None for any number.
    :ivar loop: runs coroutines.
    :ivar gate: counts the calls that run.
    :ivar has_mailbox: whether the actor's own methods wait in a mailbox.
    """

    def __init__(self, table: ObjectTable, locks: Locks, concurrency: int | None = None) -> None:
        self._table = table
        self._locks = locks
        self._mailbox = None if concurrency is None else Mailbox(concurrency)
        self.loop = EventLoop()
        self.gate = Gate()
        self.has_mailbox = self._mailbox is not None

    # --- calls -------------------------------------------------------------------------------

    def call(
        self,
        caller: Caller,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, str]:
        """Run a method; return its result and typeid, or ''.

        A result with a typeid is to be shared.

        :raises BaseException: whatever the method raises.
        """
        if self._mailbox is None:  # without a context manager, which takes time
            result, typeid = self.begin(caller, handle, method, args, kwargs)
            if type(result) not in FINISHED:
                result = self.finish(caller, result)
            return result, typeid
        with self.hold_place(caller, handle, method):
            result, typeid = self.begin(caller, handle, method, args, kwargs)
            return self.finish(caller, result), typeid

    def begin(
        self,
        caller: Caller,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> tuple[Any, str]:
        """Run a method outside the mailbox, but not its coroutine or generator."""
        entry = self._table.find(handle) or self._table.get(handle)
        shared, call = entry.object, caller.call
        if call is not None:
            call.runs = type(shared), method
        if method not in entry.exposed:
            return self._run_fallback(caller, entry, method, args), ''
        if entry.is_primitive:
            result = primitives.call(shared, method, args, kwargs, caller, self._locks)
            caller.stage = 'done'
        elif not caller.validated or (call is not None and current() is not call):
            result = self._begin_function(caller, getattr(shared, method), args, kwargs)
        else:  # as _begin_function() does, in one piece: calling it takes a twentieth of a call
            caller.stage = 'running'
            function = getattr(shared, method)
            result = function(*args, **kwargs) if kwargs else function(*args)
            if type(result) is not CoroutineType:
                caller.stage = 'done'
        return result, entry.method_to_typeid.get(method, '')

    def find_plain_object(self, caller: Caller, handle: str, method: str) -> Any:
        """Return the object whose method a caller may run repeatedly without :meth:`begin`.

        None when :meth:`begin` would do more than to run it, or its result is to be shared.
        """
        entry, call = self._table.find(handle or self._table.actor_id), caller.call
        if entry is None or entry.is_primitive or method in entry.method_to_typeid:
            return None
        if method not in entry.exposed or not caller.validated or call is None:
            return None
        call.runs = type(entry.object), method
        return entry.object

    def mailbox_for(self, caller: Caller, handle: str, method: str) -> Mailbox | None:
        """Return the mailbox in which a call has to wait, or None.

        Calls of the actor's own methods wait, except calls by the actor itself: it would wait for
        the call that it is in.
        """
        if self._mailbox is None or caller.holder == LOCAL or method in FALLBACKS:
            return None
        return self._mailbox if self._table.get(handle).permanent else None

    def is_uninterruptible(self, caller: Caller, handle: str) -> bool:
        """Return whether a call runs code that may outlast its cancellation.

        All code may, except that of shared primitives.
        """
        entry = self._table.find(handle or self._table.actor_id)
        return caller.stage == 'running' and not (entry is not None and entry.is_primitive)

    def record_target(self, call: CurrentCall, handle: str, method: str) -> None:
        """Record at a call which method it runs, before it runs."""
        call.runs = type(self._table.get(handle).object), method

    def hold_place(self, caller: Caller, handle: str, method: str) -> AbstractContextManager[None]:
        """Return the context in which a method or generator step may run."""
        mailbox = self.mailbox_for(caller, handle, method)
        if mailbox is None or caller.call is None:
            return _NO_PLACE
        self.record_target(caller.call, handle, method)
        return mailbox.hold_place(caller.call, caller.cancel_token)

    def run(
        self,
        caller: Caller,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Run a function and any coroutine that it returns; return the result.

        :raises InvalidArgumentError: when it does not take these arguments, and the caller is not
            validated.
        :raises BaseException: whatever the function raises.
        """
        return self.finish(caller, self._begin_function(caller, function, args, kwargs))

    def _begin_function(
        self,
        caller: Caller,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        if not caller.validated:
            validate_arguments(function, args, kwargs)
        caller.stage = 'running'
        result = run_in(caller.call, function, *args, **kwargs)
        if type(result) is not CoroutineType:
            caller.stage = 'done'
        return result

    def finish(self, caller: Caller, result: Any) -> Any:
        """Return a result, after running it if it is a coroutine."""
        if not is_unfinished(result):
            return result
        finished = run_in(caller.call, self.loop.finish, result, caller.cancel_token)
        caller.stage = 'done'
        return finished

    def iterate(
        self, caller: Caller, handle: str, method: str, result: Any
    ) -> Generator[Any, None, None]:
        """Iterate over the result of a method as part of its call.

        Each step waits for the mailbox by itself.
        """
        items = iter(result)
        try:
            while True:
                caller.stage = 'running'
                with self.hold_place(caller, handle, method):
                    item = run_in(caller.call, next, items, _END)
                caller.cancel_token.raise_if_cancelled()
                caller.stage = 'done'
                if item is _END:
                    return
                yield item
        finally:
            close = getattr(items, 'close', None)
            if close is not None:
                run_in(caller.call, close)

    def _run_fallback(self, caller: Caller, entry: Entry, method: str, args: Sequence[Any]) -> Any:
        fallback = FALLBACKS.get(method)
        if fallback is not None:
            return self.run(caller, fallback, (entry,), {})
        if method == '__getattribute__' and len(args) == 1:
            return self._get(caller, entry, args[0])
        if method == '__setattr__' and len(args) == 2:
            return self._set(caller, entry, *args)
        raise _not_exposed_error(entry, method)

    def get_attribute(self, caller: Caller, handle: str, name: str) -> tuple[Any, str]:
        """Read an attribute; return its value and typeid, or ''."""
        entry = self._table.get(handle)
        with self.hold_place(caller, handle, name):
            return self._get(caller, entry, name), entry.method_to_typeid.get(name, '')

    def set_attribute(self, caller: Caller, handle: str, name: str, value: Any) -> None:
        """Write an attribute."""
        entry = self._table.get(handle)
        with self.hold_place(caller, handle, name):
            self._set(caller, entry, name, value)

    def _get(self, caller: Caller, entry: Entry, name: str) -> Any:
        if not _is_attribute(entry, name, '__getattribute__'):
            raise _not_exposed_error(entry, name)
        return self.run(caller, getattr, (entry.object, name), {})

    def _set(self, caller: Caller, entry: Entry, name: str, value: Any) -> None:
        if not _is_attribute(entry, name, '__setattr__'):
            raise _not_exposed_error(entry, name)
        self.run(caller, setattr, (entry.object, name, value), {})


def _is_attribute(entry: Entry, name: str, accessor: str) -> bool:
    if name in entry.exposed:
        return not callable(getattr(type(entry.object), name, None))
    return accessor in entry.exposed and not name.startswith('_')


def _not_exposed_error(entry: Entry, name: str) -> NotExposedError:
    return NotExposedError(f'{type(entry.object).__name__!r} object exposes no {name!r}')
