"""Proxies of queues, pools and their results."""

from __future__ import annotations

import types

from uactor.proxies.base import BaseProxy, ProxyMethod


class QueueProxy(BaseProxy):
    """Stands for a :class:`queue.Queue`, :class:`queue.LifoQueue` or the like."""

    _exposed_ = tuple(
        ['__getattribute__', 'empty', 'full', 'get', 'get_nowait', 'join', 'put', 'put_nowait', 'qsize', 'shutdown', 'task_done']
    )

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
        return int(self._connection.get_attribute(self._id, 'maxsize', self._manager._proxy))


class SimpleQueueProxy(BaseProxy):
    """Stands for a :class:`queue.SimpleQueue`."""

    _exposed_ = ('empty', 'get', 'get_nowait', 'put', 'put_nowait', 'qsize')

    empty = ProxyMethod('empty')
    get = ProxyMethod('get')
    get_nowait = ProxyMethod('get_nowait')
    put = ProxyMethod('put')
    put_nowait = ProxyMethod('put_nowait')
    qsize = ProxyMethod('qsize')


class AsyncResultProxy(BaseProxy):
    """Stands for a :class:`multiprocessing.pool.AsyncResult`."""

    _exposed_ = ('get', 'ready', 'successful', 'wait')

    get = ProxyMethod('get')
    ready = ProxyMethod('ready')
    successful = ProxyMethod('successful')
    wait = ProxyMethod('wait')


class PoolProxy(BaseProxy):
    """Stands for a :class:`multiprocessing.pool.Pool` or ``ThreadPool``."""

    _exposed_ = tuple(
        ['apply', 'apply_async', 'close', 'imap', 'imap_unordered', 'join', 'map', 'map_async', 'starmap', 'starmap_async', 'terminate']
    )
    _method_to_typeid_ = {
        'apply_async': 'AsyncResult',
        'map_async': 'AsyncResult',
        'starmap_async': 'AsyncResult',
        'imap': 'Iterator',
        'imap_unordered': 'Iterator',
    }

    apply = ProxyMethod('apply')
    apply_async = ProxyMethod('apply_async')
    close = ProxyMethod('close')
    imap = ProxyMethod('imap')
    imap_unordered = ProxyMethod('imap_unordered')
    join = ProxyMethod('join')
    map = ProxyMethod('map')
    map_async = ProxyMethod('map_async')
    starmap = ProxyMethod('starmap')
    starmap_async = ProxyMethod('starmap_async')
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
