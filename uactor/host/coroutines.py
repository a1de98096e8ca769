"""Coroutines and asynchronous iterators of the actor, run to their end for one call."""

from __future__ import annotations

from collections.abc import Iterator
from types import CoroutineType
from typing import Any

from uactor.host.clients import Caller


def finished(result: Any, caller: Caller) -> Any:
    """Return what a method returned; of a coroutine, what comes of it.

    :raises BaseException: whatever the coroutine raises.
    """
    if not isinstance(result, CoroutineType):
        return result
    import asyncio

    caller.stage = 'running'
    result = asyncio.run(result)
    caller.stage = 'done'
    return result


def iterable(result: Any) -> Any:
    """Return what a method returned; of an asynchronous iterable, an iterator over its items."""
    return _items(result) if hasattr(type(result), '__aiter__') else result


def _items(result: Any) -> Iterator[Any]:
    import asyncio

    loop = asyncio.new_event_loop()
    iterator = aiter(result)
    try:
        while True:
            try:
                item = loop.run_until_complete(anext(iterator))
            except StopAsyncIteration:
                return
            yield item
    finally:
        if hasattr(iterator, 'aclose'):
            loop.run_until_complete(iterator.aclose())
        loop.close()
