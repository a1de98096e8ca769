"""Define the interfaces between the calling side and the actor process."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from uactor.core.addresses import Token


class SharedObject:
    """Names a result that stays in the actor.

    This process has one hold on it.
    """

    __slots__ = ('methods', 'token')

    def __init__(self, token: Token, methods: tuple[str, ...]) -> None:
        self.token = token
        self.methods = methods


Resolve = Callable[[SharedObject], Any]
"""Makes the proxy for a shared object."""


class ClientCall:
    """A call for a client to make without blocking.

    :ivar resolve: makes the proxies in its result.
    :ivar timeout: how long the caller waits, in seconds; None for any time.
    :ivar proxy: the called proxy, which has to live until the host has answered.
    :ivar waits: whether the calling method, if it is an actor's, waits for the call.
    :ivar window: how many items of a stream may be on their way; 0 for a call with one result.
    """

    __slots__ = (
        *('args', 'handle', 'kwargs', 'method', 'proxy'),
        *('resolve', 'timeout', 'waits', 'window'),
    )

    def __init__(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
        *,
        proxy: object = None,
        waits: bool = True,
        window: int = 0,
    ) -> None:
        self.handle = handle
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.resolve = resolve
        self.timeout = timeout
        self.proxy = proxy
        self.waits = waits
        self.window = window

    def with_args(self, args: Sequence[Any]) -> ClientCall:
        """Return the same call with other arguments."""
        call = copy.copy(self)
        call.args = args
        return call


class Receiver(Protocol):
    """Receives the result of a call, on any thread, without blocking."""

    def receive(self, value: Any) -> None:
        """Receive the result, or the end of a stream."""
        ...

    def fail(self, error: BaseException) -> None:
        """Receive the exception that ended the call."""
        ...


class BurstReceiver(Protocol):
    """Receives the results of a burst, on any thread, without blocking."""

    def receive_all(self, first: int, values: Sequence[Any]) -> None:
        """Receive the results of calls with adjacent indices.

        :param first: index of the first call.
        """
        ...

    def fail(self, index: int, error: BaseException) -> None:
        """Receive the exception that ended a call."""
        ...


class StreamReceiver(Receiver, Protocol):
    """Receives the items of a stream as well."""

    def item(self, value: Any) -> None:
        """Receive an item."""
        ...


class _NoReceiver:
    def receive(self, value: Any) -> None:
        """Do nothing: the call has ended already."""

    def fail(self, error: BaseException) -> None:
        """Do nothing: the call has ended already."""


NO_RECEIVER: Receiver = _NoReceiver()


class CallHandle(Protocol):
    """The handle of a call that is under way."""

    def cancel(self) -> None:
        """Cancel the call in the host. Safe in finalizers."""
        ...

    def grant(self, items: int) -> None:
        """Allow the host to send more items of a stream."""
        ...

    def flush(self) -> None:
        """Send the queued messages to the host. Not for finalizers."""
        ...


class _NoHandle:
    def cancel(self) -> None:
        """Do nothing: the call has ended, or not begun."""

    def grant(self, items: int) -> None:
        """Do nothing: no stream is open."""

    def flush(self) -> None:
        """Do nothing: no message is queued."""


NO_HANDLE: CallHandle = _NoHandle()


class BurstHandle(Protocol):
    """The handle of a burst of calls."""

    def cancel_from(self, first: int) -> None:
        """Cancel the calls from index ``first`` on. Safe in finalizers."""
        ...


class CallHandles:
    """The handles of single calls, used like that of a burst."""

    def __init__(self, call_handles: Sequence[CallHandle]) -> None:
        self._call_handles = call_handles

    def cancel_from(self, first: int) -> None:
        """Cancel the calls from index ``first`` on. See :class:`BurstHandle`."""
        for call_handle in self._call_handles[first:]:
            call_handle.cancel()


NO_BURST: BurstHandle = CallHandles(())


class Connection(Protocol):
    """The way from a proxy to its object.

    It goes through a wire, or stays inside this process.
    """

    actor: Token
    """Names the actor at the other end."""

    @property
    def serializer(self) -> str:
        """The name of the serializer for values."""
        ...

    @property
    def has_family_key(self) -> bool:
        """Whether the actor has proved its knowledge of the family's key."""
        ...

    def call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
        on_own_thread: bool = False,
    ) -> Any:
        """Call a method and return its result.

        :param resolve: makes the proxies in the result.
        :param timeout: how long to wait, in seconds; None for any time.
        :param on_own_thread: whether it has to run on the host thread that belongs to this one.
        :raises DeadlineError: when the result has not arrived by then.
        """
        ...

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Make a call without blocking; ``receiver`` gets the result."""
        ...

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Make one call for each set of arguments, and send them together.

        It does not block, like :meth:`submit`.
        """
        ...

    def get_attribute(
        self, handle: str, name: str, resolve: Resolve, timeout: float | None = None
    ) -> Any:
        """Read an attribute; see :meth:`call` for the timeout."""
        ...

    def set_attribute(
        self, handle: str, name: str, value: Any, timeout: float | None = None
    ) -> None:
        """Write an attribute; see :meth:`call` for the timeout."""
        ...

    def create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
    ) -> Any:
        """Create an object of a typeid, and hold it once.

        See :meth:`call` for the timeout.
        """
        ...

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold on an object, out of a lease if given."""
        ...

    def adopt(self, handle: str) -> None:
        """Take over the hold that came with a pickle."""
        ...

    def hold(self, proxy: object, handle: str) -> None:
        """Release a hold once ``proxy`` is gone, without blocking or calling."""
        ...

    def lease(self, handle: str) -> None:
        """Keep an object for a while, for any receiver of its handle."""
        ...

    def claim(self, handle: str) -> str:
        """Return the claim that lets a pickled proxy hold its object."""
        ...


class Hold(weakref.ref[Any]):
    """The hold of a proxy on its object.

    :ivar handle: names the object.
    """

    __slots__ = ('handle',)
    __hash__ = object.__hash__  # two proxies of one object have two holds
    __eq__ = object.__eq__

    handle: str


class Host(Protocol):
    """The actor process, as the rest of uactor sees it from inside."""

    @property
    def connection(self) -> Connection:
        """The connection to this process's own objects."""
        ...

    @property
    def actor_class(self) -> Any:
        """The class of the actor."""
        ...

    @property
    def owner(self) -> str:
        """Address of the actor that started this one; '' without one."""
        ...

    @property
    def serializer(self) -> str:
        """The name of the serializer for values to and from this actor."""
        ...

    def share(self, value: Any, typeid: str) -> SharedObject:
        """Put an object into the table, held once by this process."""
        ...

    def share_again(self, handle: str) -> SharedObject:
        """Return an object of the table, held once more by this process."""
        ...

    def is_own_address(self, address: str) -> bool:
        """Return whether ``address`` is one of this process's own."""
        ...

    def has_object(self, handle: str) -> bool:
        """Return whether ``handle`` is of this process, whatever address came with it."""
        ...
