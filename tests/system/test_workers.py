"""Proxies work in the workers of multiprocessing, and in processes that were forked."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gc
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.proxies.test_sharing import Parcel, Shop, handles
from tests.support import TRANSPORT, eventually, get_own_host, is_running
from uactor.host.holders import LOCAL
from uactor.runtime.deferred import deferred

METHODS = ('fork', 'spawn', 'forkserver')
FORK = multiprocessing.get_context('fork')

pytestmark = [
    pytest.mark.pythons('multiprocessing'),
    pytest.mark.oldest_python,
    pytest.mark.filterwarnings('ignore:.*multi-threaded.*:DeprecationWarning'),
]


@pytest.fixture(scope='module', autouse=True)
def helpers() -> None:
    """Start the helper processes of multiprocessing, which stay until the end."""
    multiprocessing.resource_tracker.ensure_running()
    multiprocessing.forkserver.ensure_running()


@pytest.fixture(scope='module')
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture(autouse=True)
def nothing_stays_shared(shop: Any) -> Iterator[None]:
    """Check after each test that what it has shared is gone."""
    yield
    gc.collect()
    eventually(lambda: shop.shared() == 0)


def wait_for_exit(process: Any) -> int | None:
    """Wait for the end of a process and return its exit code."""
    process.join(30)
    code: int | None = process.exitcode
    return code


# --- workers of multiprocessing ------------------------------------------------------------------


def use_all(shop: Any, items: Any, parcel: Parcel, append: Callable[[Any], None]) -> None:
    """Use each kind of proxy; runs in a worker."""
    assert shop.relay('hello') == 'hello'
    with parcel.content:
        items.append('worker')
    parcel.more['event'].set()
    append('callback')


@pytest.mark.parametrize('method', METHODS)
def test_a_worker_uses_the_proxies_that_it_is_given(shop: Any, method: str) -> None:
    items, event = shop._manager.list(), shop._manager.Event()
    parcel = Parcel(shop._manager.RLock(), {'event': event})
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=use_all, args=(shop, items, parcel, items.append))
    process.start()
    assert event.wait(30)
    assert wait_for_exit(process) == 0
    assert list(items) == ['worker', 'callback']


def square(items: Any, number: int) -> Any:
    """Return a number by way of a proxy; runs in a worker."""
    items.append(number * number)
    return items, items.pop


@pytest.mark.parametrize('method', METHODS)
def test_the_workers_of_a_pool_take_and_return_proxies(shop: Any, method: str) -> None:
    lists = [shop._manager.list() for _ in range(4)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.starmap(square, zip(lists, range(4), strict=True), chunksize=1)
    assert [items for items, _ in results] == lists
    assert [pop() for _, pop in results] == [0, 1, 4, 9]


def make_and_send(shop: Any, pipe: Any) -> None:
    """Send the proxy of an object that only this worker holds, and end."""
    pipe.send(Parcel(shop.share('list', [1])))


@pytest.mark.parametrize('method', METHODS)
def test_an_object_that_a_worker_has_made_outlives_it(shop: Any, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with ours, theirs:
        process = context.Process(target=make_and_send, args=(shop, theirs))
        process.start()
        assert wait_for_exit(process) == 0
        assert shop.shared() == 1
        assert list(ours.recv().content) == [1]


def start_an_actor(pipe: Any) -> None:
    """Start an actor in a worker and say who it is."""
    actor = Shop()
    pipe.send((actor.run(os.getpid), actor, actor.share('list', [1])))
    assert pipe.recv() == 'end'


@pytest.mark.parametrize('method', METHODS)
def test_an_actor_of_a_worker_is_reached_from_outside_and_ends_with_it(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with ours, theirs:
        process = context.Process(target=start_an_actor, args=(theirs,))
        process.start()
        pid, actor, items = ours.recv()
        assert actor.relay(5) == 5
        assert list(items) == [1]
        ours.send('end')
        assert wait_for_exit(process) == 0
    eventually(lambda: not is_running(pid))
    with pytest.raises(uactor.ActorDiedError):
        items.pop()


def start_and_end(pipe: Any) -> None:
    """Start an actor in a worker, say who it is, and end."""
    pipe.send(Shop().run(os.getpid))


@pytest.mark.parametrize('method', METHODS)
def test_a_worker_ends_after_the_actors_that_it_has_started(shop: Any, method: str) -> None:
    """Also one that was forked of a process that has started some itself."""
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with ours, theirs:
        process = context.Process(target=start_and_end, args=(theirs,))
        process.start()
        pid = ours.recv()
        assert wait_for_exit(process) == 0
    assert not is_running(pid)


def echo(value: Any) -> Any:
    return value


def test_an_executor_passes_proxies_on(shop: Any) -> None:
    items = shop._manager.list([1])
    spawn = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(1, spawn) as executor:
        assert executor.submit(echo, {'x': items}).result() == {'x': items}
        assert executor.submit(items.pop).result() == 1


def test_a_queue_of_multiprocessing_passes_proxies_on(shop: Any) -> None:
    source: Any = FORK.Queue()
    source.put(shop._manager.list([1]))
    gc.collect()
    assert list(source.get(timeout=30)) == [1]
    source.close()
    source.join_thread()


# --- forks ---------------------------------------------------------------------------------------


class Child:
    """A forked child that does as it is told, with the proxies that it has inherited.

    It is forked by ``os.fork()``, and leaves by ``os._exit()`` without any ado.
    """

    def __init__(self, *inherited: Any) -> None:
        self._pipe, theirs = FORK.Pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                self._serve(theirs, inherited)
            finally:
                os._exit(1)
        theirs.close()

    def _serve(self, pipe: Any, inherited: Any) -> None:
        self._pipe.close()
        for function in iter(pipe.recv, None):
            try:
                pipe.send(function(*inherited))
            except Exception as error:
                pipe.send(error)
        os._exit(0)

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with self._pipe, contextlib.suppress(BrokenPipeError):  # the status will tell
            self._pipe.send(None)
        _, status = os.waitpid(self.pid, 0)
        assert status == 0

    def do(self, function: Callable[..., Any]) -> Any:
        """Return what ``function(*inherited)`` returns in the child, or raise what it raises."""
        self._pipe.send(function)
        assert self._pipe.poll(30)
        result = self._pipe.recv()
        if isinstance(result, Exception):
            raise result
        return result


def append_own_pid(items: Any) -> int:
    items.append(os.getpid())
    return len(items)


def forget(items: Any) -> None:
    """Drop the holds of a proxy, as its finalizer does."""
    items._manager.connection.hold(Gone(), items._id)


class Gone:
    """What has a hold no longer than it is made."""


def test_parent_and_child_both_use_what_was_shared_before_the_fork(shop: Any) -> None:
    items = shop._manager.list()
    items.append(os.getpid())
    with Child(items) as child:
        assert child.do(append_own_pid) == 2
        assert append_own_pid(items) == 3
        assert child.do(append_own_pid) == 4
    assert list(items) == [os.getpid(), child.pid, os.getpid(), child.pid]


def test_a_forked_child_has_holds_of_its_own(shop: Any) -> None:
    items = shop._manager.list()
    ident = items._token.id
    with Child(items) as child:
        assert child.do(append_own_pid) == 1
        assert handles(shop)[ident] == (2, 2)
        del items
        eventually(lambda: handles(shop)[ident] == (1, 1))
        assert child.do(append_own_pid) == 2
    eventually(lambda: ident not in handles(shop))


def test_a_child_that_has_not_called_yet_goes_on_after_its_parent_has_let_go(shop: Any) -> None:
    items = shop._manager.list()
    with Child(items) as child:
        del items
        gc.collect()
        assert shop.shared() == 1
        assert child.do(append_own_pid) == 1
    eventually(lambda: shop.shared() == 0)


def test_a_child_that_ends_without_a_call_leaves_nothing_behind(shop: Any) -> None:
    items = shop._manager.list()
    ident = items._token.id
    with Child(items), Child(items):
        assert handles(shop)[ident] == (3, 1)  # two are kept for the children
    eventually(lambda: handles(shop)[ident] == (1, 1))


def end_leases() -> None:
    """End all leases, as if their time was up; runs in the actor."""
    table = get_own_host().table
    table.release(list(table.leases), LOCAL)


def test_a_child_that_calls_too_late_holds_what_is_still_there(shop: Any) -> None:
    items, others = shop._manager.list(), shop._manager.list()
    ident = items._token.id
    with Child(items) as child:
        shop.run(end_leases)
        del others
        eventually(lambda: shop.shared() == 1)
        assert child.do(append_own_pid) == 1
        assert handles(shop)[ident] == (2, 2)


def test_a_child_holds_nothing_that_its_parent_is_about_to_let_go(shop: Any) -> None:
    items, others = shop._manager.list(), shop._manager.list()
    ident = items._token.id
    is_busy, gate = threading.Event(), threading.Event()

    def wait() -> None:
        is_busy.set()
        gate.wait(20)

    deferred.submit(wait)  # so that it can't send
    assert is_busy.wait(20)
    del others
    try:
        with Child(items) as child:
            assert child.do(append_own_pid) == 1
            assert handles(shop)[ident] == (2, 2)
    finally:
        gate.set()


def test_a_parent_keeps_an_object_that_its_child_lets_go(shop: Any) -> None:
    items = shop._manager.list()
    ident = items._token.id
    with Child(items) as child:
        child.do(append_own_pid)
        child.do(forget)
        eventually(lambda: handles(shop)[ident] == (1, 1))
        assert append_own_pid(items) == 2


def test_a_child_that_never_calls_leaves_its_parent_alone(shop: Any) -> None:
    items = shop._manager.list()
    with Child(items):
        assert append_own_pid(items) == 1
    assert append_own_pid(items) == 2


def append_in_a_child(items: Any) -> Any:
    """Append from a child of the child, which alone holds the list then."""
    with Child(items) as grandchild:
        forget(items)
        return grandchild.do(append_own_pid)


def test_a_child_of_a_child_has_holds_of_its_own(shop: Any) -> None:
    items = shop._manager.list()
    with Child(items) as child:
        del items
        assert child.do(append_own_pid) == 1
        assert child.do(append_in_a_child) == 2
    eventually(lambda: shop.shared() == 0)


def nest(lock: Any, items: Any) -> None:
    with lock, lock:
        items.append(os.getpid())
        assert items[-1] == os.getpid()


def test_several_children_at_once_have_sessions_of_their_own(shop: Any) -> None:
    lock, items = shop._manager.RLock(), shop._manager.list()
    children = [FORK.Process(target=nest, args=(lock, items)) for _ in range(4)]
    for child in children:
        child.start()
    nest(lock, items)
    assert [wait_for_exit(child) for child in children] == [0] * 4
    assert sorted(items) == sorted([os.getpid(), *(child.pid or 0 for child in children)])


def test_a_thread_that_has_called_may_fork(shop: Any) -> None:
    items = shop._manager.list()
    codes: list[int | None] = []

    def fork() -> None:
        items.append('thread')
        process = FORK.Process(target=items.append, args=('child',))
        process.start()
        codes.append(wait_for_exit(process))

    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    assert codes == [0]
    assert list(items) == ['thread', 'child']


def try_to_end(actor: Any) -> bool:
    """Do what would end the actor if it were this process's own; tell whether it is."""
    with actor:
        pass
    actor.shutdown()
    return actor._manager.process is not None


def test_a_child_does_not_own_the_actors_of_its_parent() -> None:
    with Shop() as actor:
        with Child(actor) as child:
            assert child.do(try_to_end) is False
        assert actor.relay(5) == 5


def call(actor: Any) -> type[Exception] | None:
    """Call an actor and return the type of the exception."""
    try:
        actor.shared()
    except Exception as error:
        return type(error)
    return None


def test_a_child_hears_of_the_end_of_an_actor_of_its_parent() -> None:
    actor = Shop()
    with Child(actor) as child:
        assert child.do(call) is None
        actor.shutdown()
        lost = uactor.ConnectionLostError if TRANSPORT == 'tcp' else uactor.ActorDiedError
        assert child.do(call) is lost  # a network can't tell why nothing comes any more
        assert child.do(call) is uactor.ActorDiedError
