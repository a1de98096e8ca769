"""Parts of the host by themselves, without processes: what they do when something comes between."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from uactor.core.current_call import CurrentCall
from uactor.errors import ActorDiedError, HandleError
from uactor.host import admission, callers, cancellation
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError, CancelToken, Waiter, make_interruptible
from uactor.host.describe import shorten_repr
from uactor.host.execution import workers as host_workers
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.execution.gate import Gate
from uactor.host.execution.mailbox import Mailbox
from uactor.host.holders import ANONYMOUS, of_client
from uactor.host.objects import primitives
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.requests import RequestHandler
from uactor.host.sessions.pipeline import HostPipeline
from uactor.host.sessions.revocable import RevocableResults
from uactor.v1 import actor_pb2 as pb

pytestmark = pytest.mark.quick


def table() -> ObjectTable:
    """Return a table that exposes one method of each object."""
    made = ObjectTable(lambda _, __: (frozenset(['get', 'acquire']), {}))
    made.set_actor(object())
    return made


def test_a_closed_gate_says_that_a_call_has_not_run() -> None:
    gate = Gate()
    gate.close()
    with pytest.raises(ActorDiedError) as caught:
        gate.enter()
    assert caught.value.executed == 'no'
    assert not gate.running


def test_only_the_code_of_users_is_uninterruptible() -> None:
    objects, holder = table(), of_client('one')
    dispatcher = Dispatcher(objects, Locks())
    lock = objects.share(threading.Lock(), 'Lock', holder)
    plain = objects.share(object(), 'auto', holder)
    caller = Caller(holder)
    assert not dispatcher.is_uninterruptible(caller, plain.id)  # it has not begun
    caller.stage = 'running'
    assert dispatcher.is_uninterruptible(caller, plain.id)
    assert dispatcher.is_uninterruptible(caller, '')
    assert not dispatcher.is_uninterruptible(caller, lock.id)


def test_all_objects_are_held_or_none() -> None:
    objects, holder = table(), of_client('one')
    entry = objects.share(object(), 'auto', holder)
    other = of_client('other')
    with pytest.raises(HandleError):
        objects.retain([entry.id, f'{objects.incarnation}.999'], other)
    assert other not in entry.holds
    objects.retain([entry.id, entry.id], other)
    assert entry.holds[other] == 2


def test_a_call_that_is_given_up_in_its_turn_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = Mailbox(1)
    calls = [CurrentCall(name, CancelToken()) for name in ('first', 'second', 'third')]
    cancel_token = CancelToken()
    assert mailbox.enter(calls[0], lambda: None)

    def come_and_give_up(waiter: Waiter, timeout: float | None) -> None:
        mailbox.leave(calls[0])  # upon which it is the turn of the second
        cancel_token.cancel('cancelled')

    monkeypatch.setattr(Waiter, 'wait', come_and_give_up)
    with pytest.raises(CallCancelledError), mailbox.hold_place(calls[1], cancel_token):
        pytest.fail('a call runs for which nobody waits')
    assert mailbox.enter(calls[2], lambda: None)


def test_a_call_that_is_given_up_before_its_turn_takes_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mailbox = Mailbox(1)
    first, second, third = (CurrentCall(name, CancelToken()) for name in ('1', '2', '3'))
    cancel_token = CancelToken()
    assert mailbox.enter(first, lambda: None)
    monkeypatch.setattr(Waiter, 'wait', lambda waiter, timeout: cancel_token.cancel('cancelled'))
    with pytest.raises(CallCancelledError), mailbox.hold_place(second, cancel_token):
        pytest.fail('a call runs for which nobody waits')
    mailbox.leave(first)
    assert mailbox.enter(third, lambda: None)


def test_a_release_counts_for_all_sessions_of_a_client() -> None:
    locks, semaphore = Locks(), threading.Semaphore(2)
    one, other, third = (Caller(of_client(name)) for name in ('one', 'other', 'other'))
    for caller in (one, other):
        assert semaphore.acquire(blocking=False)
        locks.record_acquire(semaphore, caller)
    semaphore.release()
    locks.record_release(semaphore, third, 1)
    locks.release_all(other.holder)  # which has nothing any more
    assert semaphore.acquire(blocking=False)
    assert not semaphore.acquire(blocking=False)
    locks.release_all(one.holder)
    assert semaphore.acquire(blocking=False)


def test_a_client_that_has_come_back_has_as_much_time_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due: list[Any] = []
    gone: list[Any] = []
    timers = SimpleNamespace(at=lambda when, call: due.append(call))
    monkeypatch.setattr(callers, 'timers', timers)
    monkeypatch.setattr(callers, 'start_daemon', lambda name, run: run())
    known, holder = callers.ClientRegistry(gone.append), of_client('one')
    for _ in range(2):
        caller = Caller(holder)
        known.add_session(caller)
        known.remove_session(caller, has_said_goodbye=False, process_ends=False)
    first, second = due
    first()
    assert gone == []
    second()
    assert gone == [holder]


@pytest.mark.parametrize('timeout', [None, -1])
def test_a_wait_for_any_time_goes_on_until_there_is_something(timeout: int | None) -> None:
    found = iter(['', '', 'found'])
    assert CancelToken().wait_in_slices(lambda seconds: next(found), timeout) == 'found'


def test_a_waiter_of_a_gate_goes_on_after_the_last_call() -> None:
    gate = Gate()
    over = [gate.enter(), gate.enter()]
    gate.close()
    waits = threading.Thread(target=gate.wait_idle, args=(120,))
    waits.start()
    for end in over:
        end()
    waits.join(20)
    assert not waits.is_alive()


def test_an_authenticated_client_may_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled: list[str] = []
    timer = SimpleNamespace(cancel=lambda: cancelled.append('the end'))
    monkeypatch.setattr(admission, 'timers', SimpleNamespace(at=lambda when, end: timer))
    known = admission.Admission()
    assert known.admit('a client', lambda: pytest.fail('it has been ended'))
    assert cancelled == []
    known.remove('a client')
    assert cancelled == ['the end']


def test_the_timeout_of_who_gets_from_a_queue_is_one_that_can_be_waited_for() -> None:
    caller, items = Caller(of_client('one')), queue.Queue[int]()
    make_interruptible(items)
    caller.cancel_token.cancel()
    with pytest.raises(CallCancelledError):
        primitives.call(items, 'get', (True, 1e300), {}, caller, Locks())


def test_a_long_repr_is_cut() -> None:
    assert shorten_repr('x' * 198) == repr('x' * 198)
    assert shorten_repr('x' * 199) == f"'{'x' * 199}…"


def test_a_worker_that_has_ended_is_not_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_workers, '_IDLE_S', 0.001)
    before, pool = set(threading.enumerate()), host_workers.Workers()
    pool.put(lambda: None)
    for thread in set(threading.enumerate()) - before:
        thread.join(20)
    gate, waited = threading.Event(), queue.SimpleQueue[bool]()
    pool.put(lambda: waited.put(gate.wait(10)))
    pool.put(gate.set)
    assert waited.get(timeout=20)


def test_the_lease_of_an_anonymous_hold_ends_with_it() -> None:
    objects = table()
    entry = objects.share(object(), 'auto', ANONYMOUS)
    objects.lease_anonymously(entry.id, 600)
    assert objects.leases
    objects.release([entry.id], ANONYMOUS)
    assert not objects.leases


def test_a_client_whose_process_ends_is_not_waited_for_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even where a session of it has been lost just now."""
    gone: list[Any] = []
    monkeypatch.setattr(callers, 'timers', SimpleNamespace(at=lambda when, call: None))
    known, holder = callers.ClientRegistry(gone.append), of_client('one')
    one, other = Caller(holder), Caller(holder)
    known.add_session(one)
    known.add_session(other)
    known.remove_session(one, has_said_goodbye=False, process_ends=False)
    known.remove_session(other, has_said_goodbye=True, process_ends=True)
    assert gone == [holder]


def test_a_notification_of_nobody_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    condition: Any = threading.Condition()
    make_interruptible(condition)
    gone, waits, got = CancelToken(), threading.Event(), threading.Event()

    def wait_for_it() -> None:
        with CancelToken().bind_to_thread(), condition:
            if condition.wait(20):
                got.set()

    other = threading.Thread(target=wait_for_it)
    usual = Waiter.wait

    def wait(waiter: Waiter, timeout: float | None) -> None:
        if threading.current_thread() is other:
            waits.set()
            usual(waiter, timeout)
            return
        other.start()  # and stands behind this one
        assert waits.wait(20)
        with condition:
            condition.notify()
        gone.cancel()

    monkeypatch.setattr(cancellation.Waiter, 'wait', wait)
    with gone.bind_to_thread(), condition, pytest.raises(CallCancelledError):
        condition.wait()
    other.join(20)
    assert got.is_set()


def test_objects_of_a_result_that_comes_too_late_are_taken_back() -> None:
    taken: list[tuple[Any, pb.SessionResponse]] = []
    pipeline: Any = object.__new__(HostPipeline)
    pipeline.calls, pipeline.caller = {}, Caller()
    pipeline.revocable = RevocableResults()
    undone: list[int] = []
    pipeline.revocable.add(5, lambda: undone.append(5), b'')
    pipeline.requests = SimpleNamespace(take_back=lambda *given: taken.append(given))
    late = pb.SessionResponse(id=5, result=pb.Value(handle=pb.Handle(id='a.1')))
    pipeline.end(5, late)  # which has been answered at its deadline
    assert taken == [(pipeline.caller, late)]
    assert undone == [5]


def test_an_object_that_is_made_too_late_is_not_shared() -> None:
    caller, table = Caller(validated=True), ObjectTable(lambda value, typeid: (frozenset(), {}))

    def make() -> list[int]:
        caller.cancel_token.cancel('deadline')
        return []

    requests = RequestHandler(
        *(Dispatcher(table, Locks(), None), table, 'unix:/none', str, 'cloudpickle'),
        *(lambda handle: handle, lambda typeid: make, tuple),
    )
    with pytest.raises(CallCancelledError):
        requests.create(caller, pb.CreateHandleRequest(typeid='list'))
    assert not len(table)
