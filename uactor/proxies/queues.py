"""Proxies of queues, pools and their results."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import ClassVar

from uactor.proxies.base import BaseProxy, ProxyMethod, expose
from uactor.proxies.containers import create_gathering_method


@expose('maxsize')
class QueueProxy(BaseProxy):
    """A proxy of a :class:`queue.Queue`, :class:`queue.LifoQueue` or the like."""

    empty = ProxyMethod('empty')
    full = ProxyMethod('full')
    get = ProxyMethod('get')
    get_nowait = ProxyMethod('get_nowait')
    join = ProxyMethod('join')
    put = ProxyMethod('put')
    put_nowait = ProxyMethod('put_nowait')
    qsize = ProxyMethod('qsize')
    shutdown = ProxyMethod('shutdown')
    task_done = ProxyMethod('task_done')

    @property
    def maxsize(self) -> int:
        """How many items fit; 0 for any number."""
        return int(self._get_attribute('maxsize'))


@expose()
class SimpleQueueProxy(BaseProxy):
    """A proxy of a :class:`queue.SimpleQueue`."""

    empty = ProxyMethod('empty')
    get = ProxyMethod('get')
    get_nowait = ProxyMethod('get_nowait')
    put = ProxyMethod('put')
    put_nowait = ProxyMethod('put_nowait')
    qsize = ProxyMethod('qsize')


@expose()
class AsyncResultProxy(BaseProxy):
    """A proxy of a :class:`multiprocessing.pool.AsyncResult`."""

    get = ProxyMethod('get')
    ready = ProxyMethod('ready')
    successful = ProxyMethod('successful')
    wait = ProxyMethod('wait')


@expose()
class PoolProxy(BaseProxy):
    """A proxy of a :class:`multiprocessing.pool.Pool` or ``ThreadPool``."""

    _method_to_typeid_: ClassVar[Mapping[str, str] | None] = {
        'apply_async': 'AsyncResult',
        'map_async': 'AsyncResult',
        'starmap_async': 'AsyncResult',
        'imap': 'Iterator',
        'imap_unordered': 'Iterator',
    }

    apply = ProxyMethod('apply')
    apply_async = ProxyMethod('apply_async')
    close = ProxyMethod('close')
    imap = create_gathering_method('imap')
    imap_unordered = create_gathering_method('imap_unordered')
    join = ProxyMethod('join')
    map = create_gathering_method('map')
    map_async = create_gathering_method('map_async')
    starmap = create_gathering_method('starmap')
    starmap_async = create_gathering_method('starmap_async')
    terminate = ProxyMethod('terminate')

    def __enter__(self) -> PoolProxy:
        """Return the proxy itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        """Terminate the pool."""
        self._callmethod('terminate')
