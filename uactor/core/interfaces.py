"""What the calling side and the actor process know of each other."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from uactor.core.addresses import Token


class SharedObject:
    """A result that stays in the actor: what names it, held once by this process."""

    __slots__ = ('methods', 'token')

    def __init__(self, token: Token, methods: tuple[str, ...]) -> None:
        self.token = token
        self.methods = methods


Resolve = Callable[[SharedObject], Any]
"""Makes the proxy for a shared object."""


class ClientCall:
    """A call that is to be made without blocking.

    :ivar resolve: makes the proxies in its result.
    :ivar timeout: how long it is waited for, in seconds; None for any time.
    :ivar proxy: what is called: it has to live until the call is answered.
    :ivar waits: whether the method that makes the call, if it is an actor's, waits for it.
    :ivar window: how many items of a stream may be on their way; 0 for a call that has one result.
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
    """Takes what comes of a call, on any thread, without blocking."""

    def receive(self, value: Any) -> None:
        """Take the result, or the end of a stream."""
        ...

    def fail(self, error: BaseException) -> None:
        """Take the exception that the call ended with."""
        ...


class BurstReceiver(Protocol):
    """Takes what comes of calls that are made together, on any thread, without blocking."""

    def receive_all(self, first: int, values: Sequence[Any]) -> None:
        """Take the results of calls, the first of which has such an index."""
        ...

    def fail(self, index: int, error: BaseException) -> None:
        """Take the exception that a call ended with."""
        ...


class StreamReceiver(Receiver, Protocol):
    """Takes the items of a stream as well."""

    def item(self, value: Any) -> None:
        """Take an item."""
        ...


class _NoReceiver:
    def receive(self, value: Any) -> None:
        """Do nothing: the call has ended before."""

    def fail(self, error: BaseException) -> None:
        """Do nothing."""


NO_RECEIVER: Receiver = _NoReceiver()


class CallHandle(Protocol):
    """A call that is under way."""

    def cancel(self) -> None:
        """Have the host give it up. Safe in finalizers."""
        ...

    def grant(self, items: int) -> None:
        """Let the host send more items of a stream."""
        ...

    def flush(self) -> None:
        """Have sent what the host is to know. Not for finalizers."""
        ...


class _NoHandle:
    def cancel(self) -> None:
        """Do nothing: the call has ended, or not begun."""

    def grant(self, items: int) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing: there is nothing to know."""


NO_HANDLE: CallHandle = _NoHandle()


class BurstHandle(Protocol):
    """Calls that have been made together."""

    def cancel_from(self, first: int) -> None:
        """Have the host give up the calls from such an index on. Safe in finalizers."""
        ...


class CallHandles:
    """Calls that have been made one by one, as a burst."""

    def __init__(self, tickets: Sequence[CallHandle]) -> None:
        self._tickets = tickets

    def cancel_from(self, first: int) -> None:
        """See :class:`BurstHandle`."""
        for ticket in self._tickets[first:]:
            ticket.cancel()


NO_BURST: BurstHandle = CallHandles(())


class Connection(Protocol):
    """How a proxy reaches its object: through a wire, or inside this process."""

    actor: Token
    """Names the actor at the other end."""

    @property
    def serializer(self) -> str:
        """How values travel."""
        ...

    @property
    def has_family_key(self) -> bool:
        """Whether the actor has proved that it knows the key of this process family."""
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
        """Call a method and return its result, handles made into proxies by ``resolve``.

        :param timeout: how long it is waited for, in seconds; None for any time.
        :param on_own_thread: whether it has to run on the host thread that belongs to this one.
        :raises DeadlineError: when that takes too long.
        """
        ...

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Make a call, without blocking; what comes of it goes to ``receiver``."""
        ...

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Make a call with one set of arguments after the other, as :meth:`submit` does.

        They are sent together.
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
        """Make a new object of a typeid, held once; see :meth:`call` for the timeout."""
        ...

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold, out of a lease if there is one."""
        ...

    def adopt(self, handle: str) -> None:
        """Have the hold that came along with a pickle."""
        ...

    def hold(self, proxy: object, handle: str) -> None:
        """Give a hold up as soon as ``proxy`` is gone. That never blocks, never calls."""
        ...

    def lease(self, handle: str) -> None:
        """Have an object held for a while, for whoever gets a handle of it."""
        ...

    def claim(self, handle: str) -> str:
        """Return what a pickled proxy must present to be held by its receiver."""
        ...


class Hold(weakref.ref[Any]):
    """What a proxy holds.

    :ivar handle: names it.
    """

    __slots__ = ('handle',)
    __hash__ = object.__hash__  # two proxies of one object have two holds
    __eq__ = object.__eq__

    handle: str


class Host(Protocol):
    """What the rest of uactor needs of the actor process that it runs in."""

    @property
    def connection(self) -> Connection:
        """The way to this process's own objects."""
        ...

    @property
    def actor_class(self) -> Any:
        """The class of the actor."""
        ...

    @property
    def owner(self) -> str:
        """Where the actor listens that has started this one; '' when none has."""
        ...

    @property
    def serializer(self) -> str:
        """How values travel to and from this actor."""
        ...

    def share(self, value: Any, typeid: str) -> SharedObject:
        """Put an object into the table; held once by this process."""
        ...

    def share_again(self, handle: str) -> SharedObject:
        """Return an object that is in the table already; held once more by this process."""
        ...

    def is_own_address(self, address: str) -> bool:
        """Tell whether ``address`` is one of this process's own."""
        ...

    def has_object(self, handle: str) -> bool:
        """Tell whether ``handle`` is of this process, by whatever address it came."""
        ...
