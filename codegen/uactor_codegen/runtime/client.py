"""The base of blocking clients, and their calls."""

from __future__ import annotations

import base64
import concurrent.futures
import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Generic, ParamSpec, TypeVar, cast

import grpc

from uactor_codegen.runtime.failures import error_of
from uactor_codegen.runtime.schema import DEFAULT, Rpc, Schema

P = ParamSpec('P')
T = TypeVar('T')
Self = TypeVar('Self', bound='Client')
Metadata = tuple[tuple[str, str], ...]
OPTIONS = (('grpc.enable_http_proxy', 0), ('grpc.max_receive_message_length', -1))


def metadata_of(authkey: bytes | None) -> Metadata:
    """Return the metadata that authenticates calls."""
    if authkey is None:
        return ()
    token = base64.urlsafe_b64encode(authkey).decode('ascii').rstrip('=')
    return (('authorization', f'Bearer {token}'),)


_MAX_TIMEOUT_S = 1e9
"""A longer timeout, of more than 31 years, means none: gRPC takes it for one that has passed."""


def time_limit(timeout: float | None) -> float | None:
    """Return a timeout in seconds as gRPC takes it.

    None is no limit.

    :raises TypeError: when the timeout is no number.
    :raises ValueError: when the timeout is NaN.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not hasattr(type(timeout), '__float__'):
        raise TypeError(f'a timeout is a number of seconds, or None, not {timeout!r}')
    seconds = float(timeout)
    if seconds != seconds:
        raise ValueError('a timeout is a number of seconds, or None, not nan')
    return None if seconds > _MAX_TIMEOUT_S else seconds


def failure(error: Any, requests: Any = None) -> BaseException:
    """Return the error to raise for an error of gRPC.

    An error of the client's own stream goes first: it is the cause.

    :param requests: the messages of that stream, if there is one.
    """
    if requests is not None and requests.error is not None:
        own: BaseException = requests.error
        return own
    return error_of(error.code(), error.details(), error.trailing_metadata())


class Requests:
    """The messages of a client's stream: the other arguments, then the items.

    If the iterator of the items raises, or an item does not fit, the call is cancelled. An actor
    that saw a regular end of the stream would work with half of the items.

    :ivar error: the error of the iterator, or of an item that does not fit.
    """

    def __init__(self, rpc: Rpc, values: Mapping[str, Any], items: Iterable[Any]) -> None:
        self.error: BaseException | None = None
        self._messages = self._iterate(rpc, rpc.request(values), items)
        self._call: Any = None
        self._has_call = threading.Event()

    def attach(self, call: Any) -> None:
        """Set the call that sends these messages."""
        self._call = call
        self._has_call.set()

    def _iterate(self, rpc: Rpc, head: Any, items: Iterable[Any]) -> Iterator[Any]:
        yield head
        try:
            for item in items:
                yield rpc.item(item)
        except Exception as error:
            self.error = error
            self._has_call.wait()
            self._call.cancel()

    def __iter__(self) -> Iterator[Any]:
        return self._messages


class Stream(Generic[T]):
    """An iterator over the results of a call, as they arrive.

    Leaving it as a context manager, or :meth:`cancel`, ends the call, which closes the actor's
    generator.
    """

    def __init__(self, rpc: Rpc, call: Any, requests: Requests | None) -> None:
        self._rpc, self._call, self._requests = rpc, call, requests

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        try:
            response = next(self._call)
        except grpc.RpcError as error:
            raise failure(error, self._requests) from None
        result: T = self._rpc.result(response)
        return result

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()

    def __enter__(self) -> Stream[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


class CallFuture(concurrent.futures.Future[T]):
    """The future result of a call.

    Cancelling ends the call, even while it runs.
    """

    def __init__(self, rpc: Rpc, call: Any, requests: Requests | None) -> None:
        super().__init__()
        self._rpc, self._call, self._requests = rpc, call, requests
        call.add_done_callback(self._assign_result)

    def cancel(self) -> bool:
        """End the call; return whether its result had not arrived yet."""
        is_cancelled = super().cancel()
        if is_cancelled:
            self._call.cancel()
        return is_cancelled

    def _assign_result(self, call: Any) -> None:
        if not self.set_running_or_notify_cancel():
            return
        try:
            result = self._rpc.result(call.result())
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            self.set_exception(failure(error, self._requests))
        except Exception as error:  # the response stands for no value
            self.set_exception(error)
        else:
            self.set_result(result)


def future(
    method: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
) -> concurrent.futures.Future[T]:
    """Call a method of a blocking client without waiting for its result.

    :param method: a bound method of the client: ``future(client.add, 5)``.
    :raises TypeError: when its result is a stream: such a call never waits.
    """
    bound: Any = method
    client = getattr(bound, '__self__', None)
    if not isinstance(client, Client):
        raise TypeError(f'{method!r} is no method of a blocking client')
    started: list[CallFuture[Any]] = []
    bound.__func__(client._with_futures(started), *args, **kwargs)
    return cast('concurrent.futures.Future[T]', started[0])


class Client:
    """Base of the blocking clients; threads may share a client.

    :param target: an address as gRPC dials it, or an open channel, which is left open.
    :param authkey: the actor's authkey, which all calls need.
    :param timeout: the timeout, in seconds, of each call that has none of its own.
    """

    _schema: Schema

    def __init__(
        self,
        target: str | grpc.Channel,
        *,
        authkey: bytes | None = None,
        timeout: float | None = None,
    ) -> None:
        self._owns = isinstance(target, str)
        self._channel = (
            grpc.insecure_channel(target, OPTIONS) if isinstance(target, str) else target
        )
        self._metadata = metadata_of(authkey)
        self._timeout = time_limit(timeout)

    def close_channel(self) -> None:
        """Close the channel, unless the client was given one."""
        if self._owns:
            self._channel.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close_channel()

    def _start(
        self, rpc: Rpc, timeout: float | None, values: Mapping[str, Any], items: Any
    ) -> tuple[Any, Requests | None]:
        """Start a call; return it and its streamed messages, if any."""
        requests = None if items is DEFAULT else Requests(rpc, values, items)
        request = rpc.request(values) if requests is None else iter(requests)
        timeout = self._timeout if timeout is None else time_limit(timeout)
        callable_ = rpc.bind(self._channel)
        start = callable_ if rpc.server_streaming else callable_.future
        call = start(request, timeout=timeout, metadata=self._metadata)
        if requests is not None:
            requests.attach(call)
        return call, requests

    def _call(
        self, name: str, timeout: float | None, values: Mapping[str, Any], items: Any = DEFAULT
    ) -> Any:
        """Make a call with one response; return the result.

        :param items: the items that the client streams, if any.
        """
        rpc = self._schema.rpcs[name]
        call, requests = self._start(rpc, timeout, values, items)
        try:
            return rpc.result(call.result())
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise failure(error, requests) from None
        finally:
            call.cancel()  # if this thread has been interrupted

    def _stream(
        self, name: str, timeout: float | None, values: Mapping[str, Any], items: Any = DEFAULT
    ) -> Stream[Any]:
        """Make a call with a stream of responses."""
        rpc = self._schema.rpcs[name]
        return Stream(rpc, *self._start(rpc, timeout, values, items))

    def _with_futures(self: Self, started: list[CallFuture[Any]]) -> Self:
        """Return a client that appends its calls to ``started`` without waiting."""

        def call(name: str, timeout: float | None, values: Any, items: Any = DEFAULT) -> None:
            rpc = self._schema.rpcs[name]
            started.append(CallFuture(rpc, *self._start(rpc, timeout, values, items)))

        def stream(name: str, *arguments: Any) -> None:
            raise TypeError(f'{name} has a stream as its result, which needs no future')

        twin: Any = copy.copy(self)
        twin._call, twin._stream = call, stream
        return cast('Self', twin)
