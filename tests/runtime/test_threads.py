"""The threads on which an actor process runs RPCs."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from tests.support import eventually
from uactor.host.grpc.executor import ThreadPerCall, retire

pytestmark = pytest.mark.quick


class Argument:
    """What a call may be the last to hold."""


def test_a_thread_that_is_through_takes_the_next_call() -> None:
    threads = ThreadPerCall()
    first = threads.submit(threading.get_ident).result(10)
    eventually(lambda: threads._idle)
    assert threads.submit(threading.get_ident).result(10) == first


def test_no_call_waits_for_the_thread_of_another() -> None:
    threads = ThreadPerCall()
    opened = threading.Event()
    waiting = [threads.submit(opened.wait, 10) for _ in range(50)]
    assert threads.submit(int).result(10) == 0
    opened.set()
    assert all(future.result(10) for future in waiting)


def test_a_thread_that_has_served_a_session_ends_with_it() -> None:
    threads = ThreadPerCall()

    def session() -> threading.Thread:
        retire()
        return threading.current_thread()

    thread = threads.submit(session).result(10)
    thread.join(10)
    assert not thread.is_alive()


def test_an_idle_thread_keeps_nothing_of_its_call_alive() -> None:
    threads = ThreadPerCall()
    argument = Argument()
    kept = weakref.ref(argument)
    threads.submit(id, argument).result(10)
    del argument
    eventually(lambda: threads._idle)
    gc.collect()
    assert kept() is None
