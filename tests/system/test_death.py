"""Rules 1, 4 and 5: holds end with their client, actors with their owner, calls with the actor."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import uactor
from tests.support import Actor, descendants, eventually, get_own_host, is_running
from tests.support.peers import Peer

pytestmark = [pytest.mark.doors]

SOON = 20.0
"""Within how many seconds what a killed process had is free, and its actors have ended. It takes
two at most, but on a machine that is busy."""


class Store(Actor):
    """Shares new things of any kind, and tells how many are held and how many threads it has."""

    _exposed_ = (
        'new',
        'held',
        'threads',
        'pid',
        'sleep',
        'sleeping',
        'call',
    )
    sleeping = False

    def new(self, typeid: str, *args: Any) -> Any:
        return uactor.proxy(MAKERS[typeid](*args), typeid)

    def held(self) -> int:
        return len(get_own_host().table)

    def threads(self) -> int:
        return threading.active_count()

    def pid(self) -> int:
        return os.getpid()

    def sleep(self, seconds: float) -> None:
        self.sleeping = True
        time.sleep(seconds)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


MAKERS: dict[str, Callable[..., Any]] = {
    'list': list,
    'Lock': threading.Lock,
    'RLock': threading.RLock,
    'Semaphore': threading.Semaphore,
    'BoundedSemaphore': threading.BoundedSemaphore,
    'Condition': threading.Condition,
    'Event': threading.Event,
    'Barrier': threading.Barrier,
    'Queue': queue.Queue,
    'LifoQueue': queue.LifoQueue,
    'PriorityQueue': queue.PriorityQueue,
    'SimpleQueue': queue.SimpleQueue,
}
LOCKS = ('Lock', 'RLock', 'Semaphore', 'BoundedSemaphore', 'Condition')
QUEUES = ('Queue', 'LifoQueue', 'PriorityQueue', 'SimpleQueue')


@pytest.fixture(scope='module')
def store() -> Iterator[Any]:
    with Store() as actor:
        yield actor


# --- the end of a client -------------------------------------------------------------------------


def test_a_killed_client_loses_its_locks(store: Any) -> None:
    locks = [store.new(kind) for kind in LOCKS]
    body = """
    for lock in given:
        lock.acquire()
    say('locked')
    listen()
    """
    with Peer(body, *locks) as peer:
        assert peer.read_line() == 'locked'
        assert not any(lock.acquire(blocking=False) for lock in locks)
        peer.kill()
        assert all(lock.acquire(timeout=SOON) for lock in locks)


def test_a_killed_client_releases_only_permits_that_it_still_had(store: Any) -> None:
    semaphore = store.new('Semaphore', 3)
    body = """
    (semaphore,) = given
    for _ in range(3):
        semaphore.acquire()
    semaphore.release(2)
    say('released')
    listen()
    """
    with Peer(body, semaphore) as peer:
        assert peer.read_line() == 'released'
        peer.kill()
        assert [semaphore.acquire(timeout=SOON) for _ in range(3)] == [True] * 3
        assert not semaphore.acquire(blocking=False)


def test_locks_of_several_threads_of_a_killed_client_are_free(store: Any) -> None:
    locks = [store.new('RLock') for _ in range(10)]
    body = """
    import threading
    def take(lock):
        lock.acquire()
        lock.acquire()
        taken.release()
        threading.Event().wait()
    taken = threading.Semaphore(0)
    for lock in given:
        threading.Thread(target=take, args=(lock,), daemon=True).start()
    for lock in given:
        taken.acquire()
    say('locked')
    listen()
    """
    with Peer(body, *locks) as peer:
        assert peer.read_line() == 'locked'
        peer.kill()
        assert all(lock.acquire(timeout=SOON) for lock in locks)


def test_a_killed_client_loses_its_handles(store: Any) -> None:
    before = store.held()
    body = """
    (actor,) = given
    things = [actor.new('list') for _ in range(1000)]
    say('made')
    listen()
    """
    with Peer(body, store) as peer:
        assert peer.read_line() == 'made'
        assert store.held() >= 1000
        peer.kill()
        eventually(lambda: store.held() <= before, timeout=SOON)


def test_a_forked_child_that_outlives_a_killed_client_does_not_keep_its_locks(store: Any) -> None:
    lock = store.new('Lock')
    body = """
    (lock,) = given
    lock.acquire()
    child = os.fork()
    if child:
        say(child)
    listen()
    listen()
    """
    with Peer(body, lock) as peer:
        child = int(peer.read_line())
        peer.kill()
        assert lock.acquire(timeout=SOON)
        assert is_running(child)


WAIT = """
import threading
def wait_there(proxy, method, *args):
    threading.Thread(target=getattr(proxy, method), args=args, daemon=True).start()
def wait_for(condition):
    with condition:
        condition.wait()
for proxy, method, *args in given:
    wait_there(proxy, method, *args)
say('waiting')
listen()
"""


def test_a_killed_client_gets_nothing_that_it_waited_for(store: Any) -> None:
    threads = store.threads()
    locks = [store.new(kind) for kind in LOCKS]
    queues = [store.new(kind) for kind in QUEUES]
    event, barrier, full = store.new('Event'), store.new('Barrier', 2), store.new('Queue', 1)
    full.put('first')
    for lock in locks:
        lock.acquire()
    waits = [
        *((lock, 'acquire') for lock in locks),
        *((items, 'get') for items in queues),
        (event, 'wait'),
        (barrier, 'wait'),
        (full, 'put', 'second'),
    ]
    with Peer(WAIT, *waits) as peer:
        peer.read_line()
        eventually(lambda: store.threads() >= threads + len(waits))
        eventually(lambda: barrier.n_waiting == 1)
        peer.kill()
        eventually(lambda: store.threads() <= threads, timeout=SOON)
    for lock in locks:
        lock.release()
        assert lock.acquire(timeout=SOON)
    for items in queues:
        items.put('item')
        assert items.get(timeout=SOON) == 'item'
    assert barrier.n_waiting == 0
    assert full.get() == 'first'
    assert full.empty()


def test_a_notification_passes_over_a_killed_client(store: Any) -> None:
    condition, barrier = store.new('Condition'), store.new('Barrier', 2)
    body = """
    condition, barrier = given
    with condition:
        say('waiting')
        condition.wait()
    """

    def wait_for_it() -> bool:
        with condition:
            return bool(condition.wait(timeout=SOON))

    threads = store.threads()
    with Peer(body, condition, barrier) as peer, ThreadPoolExecutor(1) as pool:
        peer.read_line()
        with condition:  # the peer is in wait() now
            eventually(lambda: store.threads() > threads)
        waiter = pool.submit(wait_for_it)
        peer.kill()
        eventually(lambda: store.threads() <= threads + 1, timeout=SOON)

        def notified() -> bool:
            with condition:
                condition.notify()
            return waiter.done()

        assert eventually(notified)
        assert waiter.result()


# --- the end of an owner -------------------------------------------------------------------------


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    """A temporary directory for the processes of a test, with a short path."""
    with tempfile.TemporaryDirectory(prefix='t', dir='/tmp') as path:
        yield pathlib.Path(path)


FAMILY = """
import uactor
from tests.support import Actor

class Child(Actor):
    def pid(self):
        return os.getpid()

class Parent(Actor):
    def __init__(self):
        self.children = Child(), Child()
    def pids(self):
        return [os.getpid(), *(child.pid() for child in self.children)]

parent = Parent()
say(*parent.pids())
listen()
"""

ENDS = {
    'normally': ('', 0),
    'by sys.exit': ('sys.exit(3)', 3),
    'by an exception': ('1 / 0', 1),
    'by os._exit': ('os._exit(4)', 4),
    'by an exit in a thread': (
        'import threading; threading.Thread(target=os._exit, args=(5,)).start(); listen()',
        5,
    ),
}


def has_ended(peer: Peer, pids: list[int], directory: pathlib.Path) -> None:
    """Assert that nothing remains of a family of actors."""
    eventually(lambda: not any(map(is_running, pids)), timeout=SOON)
    eventually(lambda: not list(directory.iterdir()), timeout=SOON)


def family(body: str, directory: pathlib.Path) -> Peer:
    return Peer(body, variables={'TMPDIR': str(directory)}, stderr=subprocess.DEVNULL)


@pytest.mark.usefixtures('launcher')
@pytest.mark.parametrize('end', ENDS)
def test_actors_end_with_an_owner_that_ends(end: str, directory: pathlib.Path) -> None:
    code, status = ENDS[end]
    with family(FAMILY + code, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        assert len(pids) == 3
        assert owner.end() == status
        has_ended(owner, pids, directory)


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_actors_end_with_an_owner_that_is_killed(
    number: signal.Signals, directory: pathlib.Path
) -> None:
    with family(FAMILY, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        owner.kill(number)
        has_ended(owner, pids, directory)


def test_actors_that_are_busy_end_with_an_owner_that_is_killed(directory: pathlib.Path) -> None:
    body = """
    import threading, time
    from tests.support import Actor

    class Busy(Actor):
        def __init__(self, *others):
            self.others = others
        def sleep(self):
            os.write(1, b'%d\\n' % os.getpid())
            time.sleep(60)
        def spin(self):
            os.write(1, b'%d\\n' % os.getpid())
            while True:
                pass
        def forward(self):
            os.write(1, b'%d\\n' % os.getpid())
            self.others[0].wait()
        def event(self):
            return threading.Event()
        _method_to_typeid_ = {'event': 'Event'}

    actors = [Busy(), Busy()]
    actors.append(Busy(actors[0].event()))
    for actor, call in zip(actors, ('sleep', 'spin', 'forward')):
        threading.Thread(target=getattr(actor, call), daemon=True).start()
    listen()
    """
    with family(body, directory) as owner:
        pids = [int(owner.read_line()) for _ in range(3)]
        owner.kill()
        has_ended(owner, pids, directory)


@pytest.mark.usefixtures('usual_launcher')
def test_an_actor_under_construction_ends_with_an_owner_that_is_killed(
    directory: pathlib.Path,
) -> None:
    body = """
    import time
    from tests.support import Actor

    class Inner(Actor):
        def __init__(self):
            print(os.getpid(), os.getppid(), flush=True)
            time.sleep(60)

    class Outer(Actor):
        def __init__(self):
            Inner()

    Outer()
    """
    with family(body, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        owner.kill()
        has_ended(owner, pids, directory)


def test_an_actor_whose_end_hangs_ends_with_an_owner_that_is_killed(
    directory: pathlib.Path,
) -> None:
    body = """
    import atexit, time
    from tests.support import Actor

    class Hanging(Actor):
        def __init__(self, generations):
            atexit.register(time.sleep, 60)
            self.inner = Hanging(generations - 1) if generations else None
        def pids(self):
            return [os.getpid(), *(self.inner.pids() if self.inner else [])]

    hanging = Hanging(1)
    say(*hanging.pids())
    listen()
    """
    with family(body, directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        owner.kill()
        has_ended(owner, pids, directory)


@pytest.mark.usefixtures('usual_launcher')
def test_a_forked_child_that_outlives_a_killed_owner_does_not_keep_its_actors(
    directory: pathlib.Path,
) -> None:
    code = """
    if os.fork() == 0:
        listen()
    os.kill(os.getpid(), 9)
    """
    with family(FAMILY + textwrap.dedent(code), directory) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        owner.resume()
        owner.process.wait()
        has_ended(owner, pids, directory)


# --- the end of an actor -------------------------------------------------------------------------

AT_ONCE = 10.0
"""Within how many seconds callers hear of the end of their actor. They are told by the end of a
connection, not by a timer, and only a machine that is busy makes them wait."""


class Workers(Store):
    """An actor with forked processes of its own, which have what it had open."""

    def __init__(self) -> None:
        context = multiprocessing.get_context('fork')
        self._pool = context.Pool(2)
        self._sleeper = context.Process(target=time.sleep, args=(60,), daemon=True)
        self._sleeper.start()

    _exposed_ = ('squares', 'command', 'pids')  # type: ignore[assignment]

    def squares(self, numbers: list[int]) -> list[int]:
        return self._pool.map(square, numbers)

    def command(self) -> int:
        """Start a program that keeps what it inherits; return its process id."""
        return subprocess.Popen(['sleep', '60'], close_fds=False).pid

    def pids(self) -> list[int]:
        return [process.pid for process in descendants()]


def square(number: int) -> int:
    return number * number


def outcome(call: Callable[..., Any], *args: Any) -> tuple[type[BaseException], float] | None:
    """Return what ``call`` raises, and when; None when it raises nothing."""
    try:
        call(*args)
    except Exception as error:
        return type(error), time.monotonic()
    return None


def kill_while_waited_for(actor: Any, calls: list[tuple[Any, ...]]) -> None:
    """Kill an actor and assert that all calls hear of it at once, one to sleep() among them."""
    before = actor.threads()
    pid = actor.pid()
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(outcome, *call) for call in calls]
        eventually(lambda: actor.sleeping and actor.threads() >= before + len(calls))
        killed = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        for future in futures:
            result = future.result(timeout=10)
            assert result is not None
            error, ended = result
            assert issubclass(error, uactor.ActorDiedError)
            assert ended - killed < AT_ONCE


def all_waits(actor: Any) -> list[tuple[Any, ...]]:
    lock = actor.new('Lock')
    lock.acquire()
    return [
        *[(actor.sleep, 60)] * 5,
        (actor.new('Event').wait,),
        (actor.new('Queue').get,),
        (actor.new('SimpleQueue').get,),
        (actor.new('Barrier', 2).wait,),
        (lock.acquire,),
    ]


def test_all_callers_hear_at_once_of_the_end_of_an_actor() -> None:
    actor = Store()
    kill_while_waited_for(actor, all_waits(actor))
    actor._manager.process.join()  # until then, the system may take a call that nobody gets
    with pytest.raises(uactor.ActorDiedError) as caught:
        actor.pid()
    assert caught.value.executed == 'no'
    assert actor._manager.process.exitcode == -signal.SIGKILL


def test_all_callers_hear_at_once_of_the_end_of_an_actor_with_children() -> None:
    with Workers() as actor:
        assert actor.squares([1, 2]) == [1, 4]
        pids = [actor.command(), *actor.pids()]
        assert len(pids) >= 4
        try:
            kill_while_waited_for(actor, all_waits(actor))
        finally:
            for pid in filter(is_running, pids):
                os.kill(pid, signal.SIGKILL)


def test_an_actor_without_a_thread_left_refuses_calls_and_goes_on() -> None:
    with Store() as actor, ThreadPoolExecutor(2) as pool:
        actor.call(threading.stack_size, 1 << 46)  # no thread gets that much
        error = pool.submit(actor.pid).exception()
        assert isinstance(error, uactor.ActorUnreachableError)  # and not that it has died
        assert 'no more threads' in str(error)
        actor.call(threading.stack_size, 0)
        assert pool.submit(actor.pid).result() == actor.pid()


def test_an_actor_that_has_closed_its_descriptors_ends() -> None:
    actor = Store()
    with pytest.raises(uactor.ActorDiedError):
        actor.call(os.closerange, 3, 1000)
    process = actor._manager.process
    process.join(20)
    assert not process.is_alive()


def test_a_template_whose_owner_has_ended_ends_in_silence() -> None:
    ours, theirs = socket.socketpair()
    code = (
        'import socket, sys; from uactor import bootstrap;'
        'bootstrap.run_template(socket.socket(fileno=int(sys.argv[1])))'
    )
    command = [sys.executable, '-c', code, str(theirs.fileno())]
    ours.close()
    done = subprocess.run(
        command, pass_fds=[theirs.fileno()], capture_output=True, text=True, check=False, timeout=60
    )
    theirs.close()
    assert (done.returncode, done.stderr) == (1, '')


def test_daemonic_children_of_an_actor_end_with_it() -> None:
    with Workers() as actor:
        pids = actor.pids()
        assert len(pids) == 3
    assert not any(map(is_running, pids))


def test_other_processes_hear_at_once_of_the_end_of_an_actor() -> None:
    body = """
    import time, uactor
    store, event = given
    say('waiting')
    try:
        event.wait()
    except uactor.ActorDiedError as error:
        say(time.monotonic())
    try:
        store.pid()
    except uactor.ActorDiedError as error:
        say(error.executed)
    """
    with Store() as actor:
        threads = actor.threads()
        with Peer(body, actor, actor.new('Event')) as peer:
            assert peer.read_line() == 'waiting'
            eventually(lambda: actor.threads() > threads)
            killed = time.monotonic()
            os.kill(actor.pid(), signal.SIGKILL)
            assert float(peer.read_line()) - killed < AT_ONCE
            assert peer.read_line() == 'no'
            assert peer.end() == 0


def test_an_actor_hears_of_the_end_of_an_actor_that_it_calls(store: Any) -> None:
    with Store() as callee:
        kill_while_waited_for(callee, [(store.call, callee.sleep, 60)])
    assert store.call(abs, -1) == 1


def test_a_client_that_dies_of_sigpipe_hears_of_the_end_of_an_actor() -> None:
    body = """
    import signal, uactor
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    store, = given
    store.pid()
    say('ready')
    listen()
    for _ in range(3):
        try:
            store.pid()
        except uactor.ActorDiedError:
            say('ended')
    """
    with Store() as actor, Peer(body, actor) as peer:
        assert peer.read_line() == 'ready'
        pid = actor.pid()
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))
        peer.resume()
        assert [peer.read_line() for _ in range(3)] == ['ended'] * 3
        assert peer.end() == 0
