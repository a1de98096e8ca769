"""Actors with a ``concurrency``: so many methods at a time, in the order of the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import uactor
from tests.support import Actor, eventually, rpc
from tests.support.bench import Bench


class Mailbox(Bench):
    _options_ = {'concurrency': 1}


class Pair(Bench):
    _options_ = {'concurrency': 2}


class Chain(Actor):
    """Calls others, and is called by them."""

    _options_ = {'concurrency': 1}

    def __init__(self) -> None:
        self._last = None

    def ask(self, others: list[Any]) -> str:
        first, *rest = others
        answer: str = first.ask(rest) if rest else first.name()
        return answer

    async def ask_async(self, others: list[Any]) -> str:
        first, *rest = others
        answer: str = await (first.ask_async.aio(rest) if rest else first.name.aio())
        return answer

    def name(self) -> str:
        return type(self).__name__

    def begin(self, other: Any, back: Any) -> None:
        other.call_back.future(back)

    def call_back(self, back: Any) -> None:
        back.note('called back')

    def note(self, value: Any) -> None:
        self._last = value

    def last(self) -> Any:
        return self._last

    def meet(self, barrier: Any) -> int:
        index: int = barrier.wait(20)
        return index


@pytest.fixture
def mailbox() -> Iterator[Any]:
    with Mailbox() as actor:
        yield actor


def begin(actor: Any, told: Any, gate: str) -> Any:
    """Have a method run that waits for a gate."""
    running = actor.wait_for.future(gate)
    assert told.get() == f'begun {gate}'
    return running


def arrive(told: Any) -> None:
    """Have what has been sent arrive: the calls of a pipeline do in their order.

    That of a result proxy is not counted, and does not wait.
    """
    told.empty.future().result()


def test_one_method_runs_at_a_time_in_order_over_all_doors(mailbox: Any) -> None:
    told, event = mailbox.told(), mailbox.event('gate')
    running = begin(mailbox, told, 'gate')
    futures = [mailbox.note.future('future')]
    arrive(told)
    with rpc.client_of(rpc.get_dial_address(mailbox)) as client, ThreadPoolExecutor() as threads:
        request = rpc.call_request('note', 'rpc')
        calls: list[Any] = [client.stub.Call.future(request, metadata=client.metadata)]
        calls.append(threads.submit(mailbox.note, 'thread'))
        futures += [mailbox.note.future(number) for number in range(10)]
        arrive(told)
        event.set()
        for future in [running, *futures, *calls]:
            future.result()
    noted = mailbox.noted()
    assert noted[0] == 'future'
    assert [value for value in noted if isinstance(value, int)] == [*range(10)]
    assert {'rpc', 'thread'} < {*noted}


def test_result_proxies_are_not_counted(mailbox: Any) -> None:
    told, event, queue = mailbox.told(), mailbox.event('gate'), mailbox.queue()
    running = begin(mailbox, told, 'gate')
    queue.put('item')
    assert queue.get() == 'item'
    assert queue.qsize.future().result() == 0
    event.set()
    running.result()


def test_calls_that_wait_need_no_thread_each(mailbox: Any) -> None:
    told, event = mailbox.told(), mailbox.event('gate')
    running = begin(mailbox, told, 'gate')
    futures = [mailbox.note.future(number) for number in range(2000)]
    event.set()
    running.result()
    for future in futures:
        future.result()
    assert mailbox.noted() == [*range(2000)]
    assert mailbox.threads() < 20


def test_two_run_at_a_time_and_a_third_waits() -> None:
    with Pair() as pair:
        actor: Any = pair
        told = actor.told()
        gates = {name: actor.event(name) for name in ('one', 'other', 'third')}
        first, second = begin(actor, told, 'one'), begin(actor, told, 'other')
        third = actor.wait_for.future('third')
        arrive(told)
        assert told.empty()
        gates['other'].set()
        second.result()
        assert {told.get(), told.get()} == {False, 'begun third'}
        for gate in gates.values():
            gate.set()
        first.result()
        third.result()


def test_a_coroutine_has_its_turn_until_it_ends(mailbox: Any) -> None:
    told, event = mailbox.told(), mailbox.event('gate')
    running = mailbox.later.future('gate')
    assert told.get() == 'begun gate'
    queued = mailbox.note.future('after')
    arrive(told)
    assert not queued.done()
    event.set()
    running.result()
    queued.result()


def test_a_stream_lets_others_run_while_it_waits_for_its_consumer(mailbox: Any) -> None:
    rows = mailbox.count.options(window=2).stream(100)
    assert next(rows) == 0
    assert mailbox.note.future('between').result() == 'between'
    assert list(rows) == [*range(1, 100)]


def test_a_call_that_fails_passes_its_turn_on(mailbox: Any) -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            mailbox.divide(1, 0)
        with pytest.raises(ZeroDivisionError):
            mailbox.divide.future(1, 0).result()
        with pytest.raises(LookupError):
            mailbox.breaks()
        with pytest.raises(uactor.NotExposedError):
            mailbox._callmethod('missing')
    assert mailbox.echo(1) == 1


def test_an_actor_uses_a_proxy_of_its_own_in_a_method() -> None:
    class Selfish(Mailbox):
        def twice(self) -> Any:
            return uactor.proxy(self, 'actor').echo('itself')

    with Selfish() as selfish:
        assert selfish.twice() == 'itself'


# --- deadlocks -----------------------------------------------------------------------------------


def test_a_chain_of_calls_is_no_cycle() -> None:
    with Chain() as one, Chain() as two, Chain() as three:
        assert one.ask([two, three]) == 'Chain'


@pytest.mark.parametrize('way', ['blocking', 'future', 'aio'])
def test_a_cycle_of_calls_is_an_error_that_shows_the_path(way: str) -> None:
    with Chain() as one, Chain() as two:
        ask: Any = one.ask
        with pytest.raises(uactor.DeadlockError) as caught:
            if way == 'blocking':
                ask([two, one])
            elif way == 'future':
                ask.future([two, one]).result()
            else:
                asyncio.run(ask.aio([two, one]))
        assert 'Chain.ask → Chain.ask → Chain.name' in str(caught.value)
        assert one.name() == two.name() == 'Chain'


def test_a_cycle_of_coroutines_is_found_too() -> None:
    path = r'Chain\.ask_async → Chain\.ask_async → Chain\.name'
    with Chain() as one, Chain() as two, pytest.raises(uactor.DeadlockError, match=path):
        one.ask_async([two, one])  # type: ignore[unused-coroutine]


def test_a_cycle_through_an_attribute_is_found_too() -> None:
    class Tower(Actor):
        _options_ = {'concurrency': 1}
        _exposed_ = ('ask', 'measure', 'height')
        height = 10

        def ask(self, other: Any, back: Any) -> Any:
            return other.measure(back)

        def measure(self, other: Any) -> Any:
            return other.height

    path = r'Tower\.ask → Tower\.measure → Tower\.height'
    with Tower() as one, Tower() as two:
        with pytest.raises(uactor.DeadlockError, match=path):
            one.ask(two, one)
        assert two.height == 10


def test_a_cycle_through_an_actor_without_a_mailbox_is_found() -> None:
    path = r'Chain\.ask → Bench\.ask → Chain\.name'
    with Chain() as one, Bench() as free, pytest.raises(uactor.DeadlockError, match=path):
        one.ask([Through(free, one)])


class Through:
    """Has an actor ask another one."""

    def __init__(self, by: Any, other: Any) -> None:
        self.by, self.other = by, other

    def name(self) -> Any:
        return self.by.ask(self.other.name)


def test_a_cycle_that_nobody_waits_in_is_none() -> None:
    with Chain() as one, Chain() as two:
        one.begin(two, one)
        eventually(lambda: one.last() == 'called back')


def test_a_cycle_with_a_turn_to_spare_is_none() -> None:
    class Roomy(Chain):
        _options_ = {'concurrency': 2}

    with Roomy() as one, Chain() as two:
        assert one.ask([two, one]) == 'Roomy'


@pytest.mark.parametrize('concurrency', [0, -1])
def test_a_concurrency_is_one_or_more(concurrency: int) -> None:
    class Unlimited(Bench):
        _options_ = {'concurrency': concurrency}

    with pytest.raises(ValueError, match='1 or more'):
        Unlimited()
