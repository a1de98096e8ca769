"""Proxies may be dropped anywhere and at any time, up to the very end of the interpreter."""

from __future__ import annotations

import gc
import pickle
import textwrap
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor, count_shared_objects, eventually
from tests.support.programs import get_output, run_python
from uactor.runtime.deferred import DeferredWork

pytestmark = [pytest.mark.pythons('the end of an interpreter')]

MANY = 10_000


class Holder(Actor):
    """Hands out proxies and counts what is held."""

    _method_to_typeid_ = {'item': 'list'}

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def ping(self, value: int = 0) -> int:
        return value

    def item(self) -> list[int]:
        return [1, 2]

    def items(self, count: int) -> list[Any]:
        return [uactor.proxy([], 'list') for _ in range(count)]

    def shared(self) -> int:
        """Return how many objects are shared, the actor itself not counted."""
        return count_shared_objects()

    def keep(self, item: Any) -> None:
        self._kept.append(item)

    def drop(self) -> None:
        self._kept.clear()

    def litter(self, make: Callable[[], Any]) -> int:
        """Drop proxies in cycles: own ones, and those of the actor that ``make`` belongs to."""
        for _ in range(10):
            cycle: list[Any] = [uactor.proxy([], 'list'), make()]
            cycle.append(cycle)
        del cycle
        return gc.collect()

    def have_littered(self, litter: Callable[..., int], make: Callable[[], Any]) -> int:
        """Call back."""
        return litter(make)


@pytest.fixture(scope='module')
def holder() -> Iterator[Any]:
    with Holder() as actor:
        yield actor


def nothing_is_held(holder: Any) -> bool:
    return bool(eventually(lambda: holder.shared() == 0, timeout=20))


def test_proxies_dropped_in_a_loop_are_all_released(holder: Any) -> None:
    proxies = holder.items(MANY)
    assert holder.shared() == MANY
    while proxies:
        proxies.pop()
    assert nothing_is_held(holder)


def test_proxies_dropped_between_calls_are_all_released(holder: Any) -> None:
    for _ in range(500):
        holder.item()
    assert nothing_is_held(holder)


def test_proxies_dropped_by_many_threads_are_all_released(holder: Any) -> None:
    proxies = holder.items(1000)

    def drop() -> None:
        while proxies:
            proxies.pop()

    threads = [threading.Thread(target=drop) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert nothing_is_held(holder)


def test_proxies_in_cycles_are_released_when_the_cycles_are_found(holder: Any) -> None:
    for item in holder.items(100):
        cycle = [item]
        cycle.append(cycle)
    del item, cycle
    gc.collect()
    assert nothing_is_held(holder)


def test_proxies_in_cycles_may_be_found_inside_a_callback(holder: Any) -> None:
    with Holder() as other:
        assert other.have_littered(holder.litter, other.item) >= 10
        assert nothing_is_held(other)
    assert nothing_is_held(holder)


def test_an_actor_releases_its_proxies_of_itself(holder: Any) -> None:
    for _ in range(100):
        holder.keep(holder.item())
    assert holder.shared() == 100
    holder.drop()
    assert nothing_is_held(holder)


def test_deferred_work_that_is_done_is_not_kept() -> None:
    class Thing:
        def see_to_it(self) -> None: ...

    thing, reaper = Thing(), DeferredWork()
    gone = weakref.ref(thing)
    reaper.add_user()
    reaper.submit(thing.see_to_it)
    del thing
    eventually(lambda: gone() is None)
    reaper.remove_user()


def test_an_interrupt_before_its_thread_has_started_does_not_stop_a_reaper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == 'uactor-deferred':
            raise KeyboardInterrupt
        start(thread)

    reaper, done = DeferredWork(), threading.Event()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, 'start', interrupted)
        reaper.add_user()
    reaper.add_user()
    reaper.submit(done.set)
    assert done.wait(10)
    reaper.remove_user()
    reaper.remove_user()


def test_a_hold_ends_with_the_last_proxy_of_its_object(holder: Any) -> None:
    item = holder.items(1)[0]
    copy = pickle.loads(pickle.dumps(item))
    del item
    copy.append(1)
    assert holder.shared() == 1
    del copy
    assert nothing_is_held(holder)


# --- finalizers that call ----------------------------------------------------------------------

CALLING = textwrap.dedent(
    '''
    import gc, threading
    from tests.system.test_finalizers import Holder

    class Calling:
        """Calls an actor when it is found in a cycle, at any point of any thread."""
        done = 0
        def __init__(self, actor, item):
            self.actor, self.item, self.cycle = actor, item, self
        def __del__(self):
            assert self.actor.ping(7) == 7
            assert self.item[1] == 2
            Calling.done += 1

    def work(actor, other, item, other_item):
        for number in range(60):
            Calling(actor, other_item)
            Calling(other, item)
            actor.item()
            assert actor.ping(number) == number

    with Holder() as actor, Holder() as other:
        gc.set_threshold(40)
        arguments = actor, other, actor.item(), other.item()
        threads = [threading.Thread(target=work, args=arguments) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while Calling.done < 480:  # another thread may be collecting
            gc.collect()
        print('done')
    '''
)


def test_finalizers_may_call_actors_at_any_point_of_any_thread() -> None:
    assert get_output(run_python('-c', CALLING)) == 'done\n'


# --- the end of the interpreter ----------------------------------------------------------------

BEGIN = textwrap.dedent(
    """
    import atexit, gc, os, sys, threading
    import uactor

    class Actor(uactor.Actor):
        _method_to_typeid_ = {'item': 'list', 'event': 'Event'}
        def item(self):
            return [1, 2]
        def event(self):
            return threading.Event()
        def ping(self):
            return 1
        def inner(self):
            self._inner = Actor()
            return self._inner

    actor = Actor()
    item = actor.item()
    """
)

ENDS = {
    'in globals': '',
    'in cycles, classes, default arguments and modules torn down late': """
        cycle = [actor, actor.item()]
        cycle.append(cycle)
        class Kept:
            attribute = actor.item()
            def method(self, argument=actor.item()):
                pass
        sys.kept = actor, actor.item()
        del actor, item, cycle
    """,
    'with a sub-actor': """
        inner = actor.inner()
        inner_item = inner.item()
    """,
    'after shutdown': """
        actor.shutdown()
    """,
    'after the proxy of the actor': """
        del actor
    """,
    'with a daemon thread that calls': """
        started = threading.Event()
        def work():
            while True:
                item[:]
                started.set()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
    """,
    'with a daemon thread that waits in a call': """
        event, entered = actor.event(), threading.Event()
        def work():
            assert not event.is_set()
            entered.set()
            event.wait()
        threading.Thread(target=work, daemon=True).start()
        entered.wait()
    """,
    'with a daemon thread that owns an actor': """
        started, forever = threading.Event(), threading.Event()
        def work():
            own = Actor()
            items = own.item()
            started.set()
            forever.wait()
        threading.Thread(target=work, daemon=True).start()
        started.wait()
    """,
    'with a thread that ends later': """
        entered = threading.Event()
        def work():
            assert item[1] == 2  # opens its session: 3.12 starts no threads at the end
            entered.set()
            threading.main_thread().join()
            assert item[1] == 2
        threading.Thread(target=work).start()
        entered.wait()
    """,
    'in an exit handler': """
        atexit.register(lambda: item.append(3))
        atexit.register(lambda: actor.ping())
    """,
    'by sys.exit': """
        with actor:
            sys.exit(0)
    """,
    'with many proxies': """
        items = [actor.item() for _ in range(200)]
        kept, items = items[::2], None
    """,
}


@pytest.mark.parametrize('end', ENDS.values(), ids=list(ENDS))
def test_a_program_ends_well_with_live_proxies(end: str) -> None:
    assert get_output(run_python('-', stdin=BEGIN + textwrap.dedent(end))) == ''


def test_a_finalizer_that_calls_too_late_does_not_hinder_the_end() -> None:
    end = """
        class Late:
            def __init__(self, item):
                self.item = item
            def __del__(self, write=os.write):
                try:
                    self.item.append(3)
                except Exception:
                    write(1, b'too late')
        sys.late = Late(item)
    """
    assert get_output(run_python('-', stdin=BEGIN + textwrap.dedent(end))) == 'too late'


def keep_in_globals(actor: Any, item: Any) -> None:
    globals()['kept'] = actor, item, actor.item()
    assert item[1] == 2


def test_a_multiprocessing_worker_ends_well_with_live_proxies() -> None:
    program = """
        import multiprocessing
        from tests.system.test_finalizers import Holder, keep_in_globals

        with Holder() as actor:
            for method in ('spawn', 'forkserver'):
                context = multiprocessing.get_context(method)
                worker = context.Process(target=keep_in_globals, args=(actor, actor.item()))
                worker.start()
                worker.join()
                print(worker.exitcode)
    """
    assert get_output(run_python('-c', textwrap.dedent(program))) == '0\n0\n'
