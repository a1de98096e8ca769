"""Remote methods: what ``actor.add`` is, and the ways to call it."""

from __future__ import annotations

import dataclasses
from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    SupportsIndex,
    TypeVar,
    cast,
    overload,
)

from uactor import _wire
from uactor.core.futures import CallFuture, LoopFuture, StreamBuffer
from uactor.core.interfaces import ClientCall
from uactor.proxies.iteration import Results, Stream
from uactor.runtime.limits import validate_count, validate_timeout

if TYPE_CHECKING:
    from uactor.core.interfaces import BurstHandle, BurstReceiver, CallHandle, Connection

P = ParamSpec('P')
C = TypeVar('C')
R = TypeVar('R')
T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class CallOptions:
    """How calls are made.

    :ivar timeout: how long they are waited for, in seconds; None for any time.
    :ivar window: how many items of a stream may be on their way.
    """

    timeout: float | None = None
    window: int = 64

    def __post_init__(self) -> None:
        """Check them.

        :raises TypeError: when the timeout is no number, or the window no whole one.
        :raises ValueError: when there is no such window, or the timeout is NaN.
        """
        object.__setattr__(self, 'timeout', validate_timeout(self.timeout, 'the timeout of a call'))
        object.__setattr__(self, 'window', validate_count(self.window, 'a window of items'))


_DEFAULT_OPTIONS = CallOptions()


class RemoteObject(Protocol):
    """What remote methods need of their proxy."""

    _id: str
    _manager: Any
    _connection: Connection
    _is_owned: ClassVar[bool]
    _timeout: ClassVar[float | None]

    def _callmethod(
        self, methodname: str, args: Sequence[Any] = ..., kwds: Mapping[str, Any] = ...
    ) -> Any: ...


class RemoteMethod(Generic[P, C, R, T]):
    """A method of an object in an actor, as its proxy has it: call it, or one of its parts.

    Its type parameters are its arguments, and what it returns when it is called, what its future
    and coroutine have as result, and what its stream has as items.
    """

    __slots__ = ('_member', '_options', '_proxy')

    def __init__(
        self, proxy: RemoteObject, member: RemoteMember, options: CallOptions | None
    ) -> None:
        self._proxy = proxy
        self._member = member
        self._options = options

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call it and wait for its result.

        :raises BaseException: whatever the method raises, with the remote traceback as cause.
        :raises ActorDiedError: when the actor ends meanwhile, or has ended.
        :raises DeadlineError: when there is a timeout and it has passed.
        """
        proxy, member = self._proxy, self._member
        if self._options is None and proxy._timeout is None:
            if member.is_plain:
                return proxy._callmethod(member.name, args, kwargs)  # type: ignore[no-any-return]
            return member.function(proxy, *args, **kwargs)  # type: ignore[no-any-return]
        call = self._call(args, kwargs)
        result = proxy._connection.call(
            *(call.handle, call.method, call.args, call.kwargs, call.resolve, call.timeout),
            proxy._is_owned,
        )
        return cast('C', result)

    def future(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Call it without waiting and return a future of its result.

        Calls of one process begin in their order, and run at the same time where one waits. That
        a future is cancelled is known at once; see :meth:`uactor.core.futures.CallFuture.cancel`.
        """
        call = self._call(args, kwargs)
        call.waits = False
        return CallFuture.start(self._proxy._connection.submit, call)

    async def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call it and await its result; cancelling the task gives the call up."""
        receiver = LoopFuture()
        ticket = self._proxy._connection.submit(self._call(args, kwargs), receiver)
        return cast('R', await receiver.wait(ticket))

    def map(
        self, iterable: Iterable[Any], /, *more: Iterable[Any], window: int | None = None
    ) -> Results[R]:
        """Call it for each of the items, and iterate over the results in order.

        Both by ``for`` and by ``async for``. Where a call has failed, its exception is raised, and
        the iteration can go on. Leaving it gives up what has been called for.

        :param more: iterables of further arguments; the shortest one ends.
        :param window: how many calls may be under way, or done and not fetched yet; None for 128,
            and more, up to 1024, while they take microseconds.
        :raises TypeError: when the window is no whole number.
        :raises ValueError: when it is less than 1.
        """
        call, arrange = self._call_with((), {}), self._member.arrange

        def submit(arguments: Sequence[tuple[Any, ...]], receiver: BurstReceiver) -> BurstHandle:
            arranged = arguments
            if arrange is not None:
                arranged = [tuple(arrange(*args)[0]) for args in arguments]
            return self._proxy._connection.submit_all(call, arranged, receiver)

        return Results(submit, zip(iterable, *more, strict=False), window)

    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        """Call it, and iterate over what it returns as that comes into being.

        Both by ``for`` and by ``async for``. For generators, asynchronous ones too, and methods
        that return any other iterable. Leaving the loop closes the generator in the actor.
        """

        def submit(items: StreamBuffer) -> CallHandle:
            return self._proxy._connection.submit(call, items)

        call = self._call(args, kwargs)
        call.window = (self._options or _DEFAULT_OPTIONS).window
        return Stream(submit, call.window)

    def options(
        self, *, timeout: float | None = None, window: int = _DEFAULT_OPTIONS.window
    ) -> RemoteMethod[P, C, R, T]:
        """Return the same method, called in another way.

        :param timeout: how long a call is waited for, in seconds; None or infinity for any time.
            It is that of a stream as a whole. The method can see it, and calls that it makes take
            it on.
        :param window: how many items of a stream may be on their way.
        :raises TypeError: when the timeout is no number, or the window no whole one.
        :raises ValueError: when the timeout is NaN, or the window less than 1.
        """
        return type(self)(self._proxy, self._member, CallOptions(timeout, window))

    def _call(self, args: Any, kwargs: Any) -> ClientCall:
        if self._member.arrange is not None:
            args, kwargs = self._member.arrange(*args, **kwargs)
        return self._call_with(args, kwargs)

    def _call_with(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> ClientCall:
        member, proxy = self._member, self._proxy
        timeout = proxy._timeout if self._options is None else self._options.timeout
        resolve = proxy._manager.create_proxy
        return ClientCall(proxy._id, member.name, args, kwargs, resolve, timeout, proxy=proxy)

    # --- as a bound method ---------------------------------------------------------------------

    @property
    def __self__(self) -> RemoteObject:
        """The proxy."""
        return self._proxy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._member.function, name)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        """The documentation of the method."""
        return self._member.function.__doc__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, RemoteMethod):
            return NotImplemented
        ours, theirs = (
            (method._proxy, method._member.name, method._options) for method in (self, other)
        )
        return ours == theirs

    def __hash__(self) -> int:
        return hash((self._proxy, self._member.name))

    def __repr__(self) -> str:
        return f'<remote method {self._member.name} of {self._proxy!r}>'

    def __reduce__(self) -> tuple[Any, ...]:
        options = None if self._options is None else dataclasses.astuple(self._options)
        return _wire.rebuild_remote_method, (self._proxy, self._member.function.__name__, options)


Arrange = Callable[..., tuple[Sequence[Any], Mapping[str, Any]]]
"""Makes of arguments, as a method of a proxy takes them, what is sent."""


class RemoteMember:
    """Has the instances of a proxy class have a :class:`RemoteMethod`.

    :ivar name: of the method that is called.
    :ivar function: calls it by :meth:`BaseProxy._callmethod`; has name and documentation.
    :ivar is_plain: whether that is all that ``function`` does.
    :ivar arrange: does, for all other ways to call it, what ``function`` does with arguments.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        arrange: Arrange | None = None,
        is_plain: bool = False,
    ) -> None:
        self.name = name
        self.function = function
        self.arrange = arrange
        self.is_plain = is_plain
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__

    def __get__(self, proxy: Any, owner: Any = None) -> Any:
        if proxy is None:
            return self
        return RemoteMethod(proxy, self, None)

    def __call__(self, proxy: RemoteObject, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method of a proxy, as in ``ListProxy.append(proxy, item)``."""
        return self.__get__(proxy)(*args, **kwargs)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Pickle a method that a user's proxy class has by its name; see :mod:`pickle`."""
        if type(self) is RemoteMember and self.is_plain:
            return _wire.make_proxy_method, (self.name,)
        return super().__reduce_ex__(protocol)


# --- typing --------------------------------------------------------------------------------------


if TYPE_CHECKING:

    class DeclaredMethod(Generic[P, C, R, T]):
        """What :func:`method` makes of a method, for type checkers."""

        @overload
        def __get__(self, instance: None, owner: Any) -> Callable[Concatenate[Any, P], C]: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> RemoteMethod[P, C, R, T]: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...


@overload
def method(
    function: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> DeclaredMethod[P, Coroutine[Any, Any, R], R, Any]: ...
@overload
def method(
    function: Callable[Concatenate[Any, P], AsyncIterator[T]],
) -> DeclaredMethod[P, AsyncIterator[T], Any, T]: ...
@overload
def method(
    function: Callable[Concatenate[Any, P], Iterator[T]],
) -> DeclaredMethod[P, Iterator[T], Iterator[T], T]: ...
@overload
def method(function: Callable[Concatenate[Any, P], R]) -> DeclaredMethod[P, R, R, Any]: ...
def method(function: Any) -> Any:
    """Have type checkers know the remote faces of a method, as ``actor.add.future(5)``.

    A decorator that changes nothing else: inside the actor the method is what it was, and outside
    it is a :class:`RemoteMethod` with it or without. Calling it has the type that it declares.
    """
    return function
