"""The standard typeids, with the classes of objects and their proxies.

They are those of :class:`multiprocessing.managers.SyncManager`, more queues, and a set.
"""

from __future__ import annotations

import multiprocessing.managers
import multiprocessing.pool
import queue
import threading

from uactor.manager import ActorManager, Registration
from uactor.proxies import containers, queues, sync
from uactor.proxies.base import BaseProxy, auto_proxy

STANDARD = {
    'list': (list, containers.ListProxy),
    'dict': (dict, containers.DictProxy),
    'set': (set, containers.SetProxy),
    'Namespace': (multiprocessing.managers.Namespace, containers.NamespaceProxy),
    'Value': (multiprocessing.managers.Value, containers.ValueProxy),  # type: ignore[attr-defined]
    'Array': (multiprocessing.managers.Array, containers.ArrayProxy),  # type: ignore[attr-defined]
    'Iterator': (iter, containers.IteratorProxy),
    'Queue': (queue.Queue, queues.QueueProxy),
    'JoinableQueue': (queue.Queue, queues.QueueProxy),
    'LifoQueue': (queue.LifoQueue, queues.QueueProxy),
    'PriorityQueue': (queue.PriorityQueue, queues.QueueProxy),
    'SimpleQueue': (queue.SimpleQueue, queues.SimpleQueueProxy),
    'Event': (threading.Event, sync.EventProxy),
    'Lock': (threading.Lock, sync.AcquirerProxy),
    'RLock': (threading.RLock, sync.AcquirerProxy),
    'Semaphore': (threading.Semaphore, sync.AcquirerProxy),
    'BoundedSemaphore': (threading.BoundedSemaphore, sync.AcquirerProxy),
    'Condition': (threading.Condition, sync.ConditionProxy),
    'Barrier': (threading.Barrier, sync.BarrierProxy),
    'Pool': (multiprocessing.pool.Pool, queues.PoolProxy),
    'AsyncResult': (None, queues.AsyncResultProxy),
}

ActorManager._registry['auto'] = Registration(None, None, None, auto_proxy)
for _typeid, (_callable, _proxytype) in STANDARD.items():
    ActorManager.register(_typeid, _callable, _proxytype)

PROXIES: dict[str, type[BaseProxy]] = {
    typeid: proxytype for typeid, (_, proxytype) in STANDARD.items()
}
"""The standard proxy classes by typeid."""
