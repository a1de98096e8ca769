"""Parts of the host by themselves, without processes: what they do when something comes between."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from uactor.core.current_call import CurrentCall
from uactor.errors import ActorDiedError, HandleError
from uactor.host import cancellation
from uactor.host.callers import Caller
from uactor.host.cancellation import CancelToken, Interrupted, Waiter, make_interruptible
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.execution.gate import Gate
from uactor.host.execution.mailbox import Mailbox
from uactor.host.holders import of_client
from uactor.host.objects.primitives import Locks
from uactor.host.objects.table import ObjectTable
from uactor.host.sessions.pipeline import HostPipeline
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
    with pytest.raises(Interrupted), mailbox.hold_place(calls[1], cancel_token):
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
    with pytest.raises(Interrupted), mailbox.hold_place(second, cancel_token):
        pytest.fail('a call runs for which nobody waits')
    mailbox.leave(first)
    assert mailbox.enter(third, lambda: None)


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
    with gone.bind_to_thread(), condition, pytest.raises(Interrupted):
        condition.wait()
    other.join(20)
    assert got.is_set()


def test_what_a_result_holds_that_comes_too_late_is_taken_back() -> None:
    taken: list[tuple[Any, pb.SessionResponse]] = []
    pipeline: Any = object.__new__(HostPipeline)
    pipeline.calls, pipeline.caller = {}, Caller()
    pipeline.requests = SimpleNamespace(take_back=lambda *given: taken.append(given))
    late = pb.SessionResponse(id=5, result=pb.Value(handle=pb.Handle(id='a.1')))
    pipeline.end(5, late)  # which has been answered at its deadline
    assert taken == [(pipeline.caller, late)]
