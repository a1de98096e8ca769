"""The base of asyncio clients, and their calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from uactor_codegen.runtime.client import OPTIONS, failure, metadata_of, time_limit
from uactor_codegen.runtime.schema import DEFAULT, Rpc, Schema

T = TypeVar('T')
Self = TypeVar('Self', bound='AsyncClient')


class AsyncRequests:
    """The messages of a client's stream: the other arguments, then the items.

    :ivar error: the error of the iterator, or of an item that does not fit.
    """

    def __init__(
        self, rpc: Rpc, values: Mapping[str, Any], items: Iterable[Any] | AsyncIterable[Any]
    ) -> None:
        self.error: BaseException | None = None
        self._messages = self._iterate(rpc, rpc.request(values), items)

    async def _iterate(
        self, rpc: Rpc, head: Any, items: Iterable[Any] | AsyncIterable[Any]
    ) -> AsyncIterator[Any]:
        yield head
        try:
            if isinstance(items, AsyncIterable):
                async for item in items:
                    yield rpc.item(item)
            else:
                for item in items:
                    yield rpc.item(item)
        except Exception as error:
            self.error = error
            raise

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._messages


def _error_to_raise(error: BaseException, requests: AsyncRequests | None) -> BaseException:
    """Return the error to raise.

    gRPC cancels the waiting task if the client's stream fails.
    """
    has_failed = requests is not None and requests.error is not None
    is_cancelled = isinstance(error, asyncio.CancelledError)
    return error if is_cancelled and not has_failed else failure(error, requests)


class AsyncStream(Generic[T]):
    """An asynchronous iterator over the results of a call, as they arrive.

    Leaving it as a context manager, or :meth:`cancel`, ends the call, which closes the actor's
    generator.
    """

    def __init__(self, rpc: Rpc, call: Any, requests: AsyncRequests | None) -> None:
        self._rpc, self._call, self._requests = rpc, call, requests
        self._responses = call.__aiter__()

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            response = await self._responses.__anext__()
        except (grpc.RpcError, asyncio.CancelledError) as error:
            raise _error_to_raise(error, self._requests) from None
        result: T = self._rpc.result(response)
        return result

    def cancel(self) -> None:
        """End the call."""
        self._call.cancel()

    async def __aenter__(self) -> AsyncStream[T]:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.cancel()


class AsyncClient:
    """Base of the clients for asyncio.

    A client belongs to one event loop.

    :param target: an address as gRPC dials it, or an open channel, which is left open.
    :param authkey: the actor's authkey, which all calls need.
    :param timeout: the timeout, in seconds, of each call that has none of its own.
    """

    _schema: Schema

    def __init__(
        self,
        target: str | grpc.aio.Channel,
        *,
        authkey: bytes | None = None,
        timeout: float | None = None,
    ) -> None:
        self._owns = isinstance(target, str)
        self._channel = (
            grpc.aio.insecure_channel(target, OPTIONS) if isinstance(target, str) else target
        )
        self._metadata = metadata_of(authkey)
        self._timeout = time_limit(timeout)

    async def close_channel(self) -> None:
        """Close the channel, unless the client was given one."""
        if self._owns:
            await self._channel.close()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close_channel()

    def _start(
        self, rpc: Rpc, timeout: float | None, values: Mapping[str, Any], items: Any
    ) -> tuple[Any, AsyncRequests | None]:
        """Start a call; return it and its streamed messages, if any."""
        requests = None if items is DEFAULT else AsyncRequests(rpc, values, items)
        request = rpc.request(values) if requests is None else requests
        timeout = self._timeout if timeout is None else time_limit(timeout)
        start = rpc.bind(self._channel)
        return start(request, timeout=timeout, metadata=self._metadata), requests

    async def _call(
        self, name: str, timeout: float | None, values: Mapping[str, Any], items: Any = DEFAULT
    ) -> Any:
        """Make a call with one response; return the result.

        :param items: the items that the client streams, if any.
        """
        rpc = self._schema.rpcs[name]
        call, requests = self._start(rpc, timeout, values, items)
        try:
            response = await call
        except (grpc.RpcError, asyncio.CancelledError) as error:
            raise _error_to_raise(error, requests) from None
        return rpc.result(response)

    def _stream(
        self, name: str, timeout: float | None, values: Mapping[str, Any], items: Any = DEFAULT
    ) -> AsyncStream[Any]:
        """Make a call with a stream of responses."""
        rpc = self._schema.rpcs[name]
        return AsyncStream(rpc, *self._start(rpc, timeout, values, items))
