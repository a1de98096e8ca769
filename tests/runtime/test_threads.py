"""The threads on which an actor process runs RPCs."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import eventually
from uactor.host.grpc import executor as host_threads
from uactor.host.grpc.executor import ThreadPerCall, retire

pytestmark = pytest.mark.quick


class Argument:
    """What a call may be the last to hold."""


def test_a_thread_that_is_through_takes_the_next_call() -> None:
    threads = ThreadPerCall()
    first = threads.submit(threading.get_ident).result(10)
    eventually(lambda: threads.idle)
    assert threads.submit(threading.get_ident).result(10) == first


def test_no_call_waits_for_the_thread_of_another() -> None:
    threads = ThreadPerCall()
    opened = threading.Event()
    waiting = [threads.submit(opened.wait, 10) for _ in range(50)]
    assert threads.submit(int).result(10) == 0
    opened.set()
    assert all(future.result(10) for future in waiting)


def test_a_thread_that_has_served_a_session_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_threads, '_IDLE_TIMEOUT_S', 60.0)
    threads = ThreadPerCall()

    def session() -> threading.Thread:
        retire()
        return threading.current_thread()

    thread = threads.submit(session).result(10)
    thread.join(10)
    assert not thread.is_alive()


def test_a_call_that_comes_as_a_thread_gives_up_waiting_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gives_up, has_come = threading.Event(), threading.Event()

    class Late(queue.SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            if timeout is None:
                return super().get()
            gives_up.set()
            assert has_come.wait(20)
            raise queue.Empty

    monkeypatch.setattr(host_threads, 'queue', SimpleNamespace(SimpleQueue=Late, Empty=queue.Empty))
    threads = ThreadPerCall()
    assert threads.submit(int).result(10) == 0
    assert gives_up.wait(20)
    future = threads.submit(int, 5)
    has_come.set()
    assert future.result(10) == 5


def test_an_idle_thread_keeps_nothing_of_its_call_alive() -> None:
    threads = ThreadPerCall()
    argument = Argument()
    kept = weakref.ref(argument)
    threads.submit(id, argument).result(10)
    del argument
    eventually(lambda: threads.idle)
    gc.collect()
    assert kept() is None
