"""Proxies of queues, pools and their results do what these do."""

from __future__ import annotations

import functools
import math
import multiprocessing
import multiprocessing.pool
import operator
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support import eventually, is_running
from tests.workshop import Workshop, outcome

FORK = multiprocessing.get_context('fork')


@pytest.fixture(scope='module')
def workshop() -> Iterator[Workshop]:
    with Workshop() as actor:
        yield actor


# --- the same operation on the object and on its proxy ----------------------------------------

SIMPLE = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.put(1); a.put(2); a.qsize()
a.put(item=1); a.get(block=True)
a.put(None); a.get()
a.put(1); a.get(True, 5)
a.empty()
a.put(1); a.empty()
a.put_nowait(1); a.get_nowait()
a.get_nowait()
a.get(False)
a.get(block=False)
a.get(timeout=0.01)
a.get(True, 0)
a.get(timeout=-1)
a.get(False, -1)
a.put()
a.nothing
bool(a)
"""

QUEUE = f"""{SIMPLE}
a.full()
a.put(1); a.put(2); a.full()
a.put(1); a.put(2); a.put(3, False)
a.put(1); a.put(2); a.put(3, timeout=0.01)
a.put(1); a.put(2); a.put_nowait(3)
a.put(1, timeout=-1)
a.put(2); a.put(1); [a.get(), a.get()]
a.maxsize
a.task_done()
a.put(1); a.get(); a.task_done(); a.join()
a.put(1); a.get(); a.task_done(); a.task_done()
a.join()
a.shutdown(); a.put(1)
a.shutdown(); a.get()
a.put(1); a.shutdown(); [a.get(), a.qsize()]
a.put(1); a.shutdown(); a.get(); a.get()
a.put(1); a.shutdown(immediate=True); a.get()
"""

OTHER_PROCESS = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.put(1); a.get(timeout=5)
a.put(1); a.put(2); a.qsize()
a.put(1); a.put(2); a.put(3, timeout=0.01)
a.put(1); a.put(2); a.put_nowait(3)
a.put(1); a.put(2); a.full()
a.empty()
a.full()
a.get(timeout=0.01)
a.get(False)
a.get_nowait()
"""

JOINABLE = f"""{OTHER_PROCESS}
a.join()
a.put(1); a.get(); a.task_done(); a.join()
a.task_done()
"""

PIPE = """
a.put(1); a.put('x'); [a.get(), a.get()]
a.empty()
a.put(1); a.empty()
a.get(timeout=1)
a.get_nowait()
"""

TABLES: list[tuple[str, str, Callable[[], Any]]] = [
    ('Queue', QUEUE, lambda: queue.Queue(2)),
    ('Queue', OTHER_PROCESS, lambda: FORK.Queue(2)),
    ('JoinableQueue', QUEUE, lambda: queue.Queue(2)),
    ('JoinableQueue', JOINABLE, lambda: FORK.JoinableQueue(2)),
    ('LifoQueue', QUEUE, lambda: queue.LifoQueue(2)),
    ('PriorityQueue', QUEUE, lambda: queue.PriorityQueue(2)),
    ('SimpleQueue', SIMPLE, queue.SimpleQueue),
    ('SimpleQueue', PIPE, FORK.SimpleQueue),
]


@pytest.mark.parametrize(
    ('typeid', 'table', 'make'),
    TABLES,
    ids=[f'{typeid}-{number}' for number, (typeid, *_) in enumerate(TABLES)],
)
def test_a_method_does_the_same_to_a_queue_and_to_its_proxy(
    workshop: Workshop, typeid: str, table: str, make: Callable[[], Any]
) -> None:
    differences = {}
    for code in filter(None, table.splitlines()):
        expected = outcome(code, a=make())
        found = outcome(code, a=workshop.make(typeid, make))
        if found != expected:
            differences[code] = expected, found
    assert differences == {}
