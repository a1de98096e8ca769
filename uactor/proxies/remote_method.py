"""Remote methods, such as ``actor.add``, and the ways to call them."""

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
    """Options of a call.

    :ivar timeout: how long the call may take, in seconds; None for any time.
    :ivar window: how many items of a stream may be in transit.
    """

    timeout: float | None = None
    window: int = 64

    def __post_init__(self) -> None:
        """Validate the options.

        :raises TypeError: if the timeout is not a number, or the window not an integer.
        :raises ValueError: if the timeout is NaN, or the window is below 1.
        """
        object.__setattr__(self, 'timeout', validate_timeout(self.timeout, 'the timeout of a call'))
        object.__setattr__(self, 'window', validate_count(self.window, 'a window of items'))


_DEFAULT_OPTIONS = CallOptions()


class RemoteObject(Protocol):
    """The part of a proxy that its remote methods use."""

    _id: str
    _manager: Any
    _connection: Connection
    _is_owned: ClassVar[bool]
    _timeout: ClassVar[float | None]

    def _callmethod(
        self, methodname: str, args: Sequence[Any] = ..., kwds: Mapping[str, Any] = ...
    ) -> Any: ...


class RemoteMethod(Generic[P, C, R, T]):
    """A method of a proxy, which calls its object in the actor.

    Its type parameters are its arguments, the result of a plain call, the result of its future and
    coroutine, and the items of its stream.
    """

    __slots__ = ('_member', '_options', '_proxy')

    def __init__(
        self, proxy: RemoteObject, member: RemoteMember, options: CallOptions | None
    ) -> None:
        self._proxy = proxy
        self._member = member
        self._options = options

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> C:
        """Call the method and wait for its result.

        :raises BaseException: what the method raises, with the remote traceback as cause.
        :raises ActorDiedError: if the actor has ended, or ends meanwhile.
        :raises DeadlineError: if the timeout of the call expires.
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
        """Call the method without waiting and return a future of its result.

        The calls of a process begin in their order. While one blocks, others run. Cancelling the
        future takes effect at once; see :meth:`uactor.core.futures.CallFuture.cancel`.
        """
        call = self._call(args, kwargs)
        call.waits = False
        return CallFuture.start(self._proxy._connection.submit, call)

    async def aio(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the method and await its result.

        Cancelling the task cancels the call.
        """
        receiver = LoopFuture()
        call_handle = self._proxy._connection.submit(self._call(args, kwargs), receiver)
        return cast('R', await receiver.wait(call_handle))

    def map(
        self, iterable: Iterable[Any], /, *more: Iterable[Any], window: int | None = None
    ) -> Results[R]:
        """Call the method for each item and return the results in order.

        Iterate by ``for`` or by ``async for``. The exception of a call is raised in its place, and
        the iteration can go on after it. Leaving the iteration cancels the calls in progress.

        :param more: iterables of further arguments; the iteration ends with the shortest.
        :param window: how many calls may be in progress, or done and not fetched. None begins with
            128, and goes up to 1024 while calls take microseconds.
        :raises TypeError: if the window is not an integer.
        :raises ValueError: if the window is below 1.
        """
        call, arrange = self._call_with((), {}), self._member.arrange

        def submit(arguments: Sequence[tuple[Any, ...]], receiver: BurstReceiver) -> BurstHandle:
            arranged = arguments
            if arrange is not None:
                arranged = [tuple(arrange(*args)[0]) for args in arguments]
            return self._proxy._connection.submit_all(call, arranged, receiver)

        return Results(submit, zip(iterable, *more, strict=False), window)

    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        """Call the method and iterate over its items while it yields them.

        Iterate by ``for`` or by ``async for``. The method may be a generator, an asynchronous
        generator, or return any other iterable. Leaving the loop closes the generator.
        """

        def submit(items: StreamBuffer) -> CallHandle:
            return self._proxy._connection.submit(call, items)

        call = self._call(args, kwargs)
        call.window = (self._options or _DEFAULT_OPTIONS).window
        return Stream(submit, call.window)

    def options(
        self, *, timeout: float | None = None, window: int = _DEFAULT_OPTIONS.window
    ) -> RemoteMethod[P, C, R, T]:
        """Return the same method with other options.

        :param timeout: how long a call may take, in seconds; None or infinity for any time. A
            stream has it as a whole. The method can read it, and the calls that the method makes
            inherit it.
        :param window: how many items of a stream may be in transit.
        :raises TypeError: if the timeout is not a number, or the window not an integer.
        :raises ValueError: if the timeout is NaN, or the window is below 1.
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
"""Turns the arguments of a proxy's method into those that are sent."""


class RemoteMember:
    """A descriptor that gives each proxy of a class a :class:`RemoteMethod`.

    :ivar name: name of the method that is called.
    :ivar function: calls it by :meth:`BaseProxy._callmethod`; has name and documentation.
    :ivar is_plain: whether ``function`` does nothing else.
    :ivar arrange: changes arguments as ``function`` does, for all other ways to call the method.
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
        """Pickle a :func:`uactor.ProxyMethod` of a program's class by its name."""
        if type(self) is RemoteMember and self.is_plain:
            return _wire.make_proxy_method, (self.name,)
        return super().__reduce_ex__(protocol)


# --- typing --------------------------------------------------------------------------------------


if TYPE_CHECKING:

    class DeclaredMethod(Generic[P, C, R, T]):
        """The type of a method with the decorator :func:`method`."""

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
    """Declare the type of a remote method, for calls such as ``actor.add.future(5)``.

    This decorator informs type checkers and changes nothing else. Outside the actor, the method is
    a :class:`RemoteMethod` with it or without it. A plain call has the type that the method
    declares.
    """
    return function
