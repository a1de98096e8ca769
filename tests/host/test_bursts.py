"""Calls of a map travel together, and are calls like any others."""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import uactor
from tests.client.test_handshake import KEY, FalseActor, listening, welcome
from tests.support import Actor
from tests.support.bench import Bench
from tests.support.rpc import KEYED, Client, client_of, get_dial_address
from uactor.codec.arguments import encode_plain_bursts
from uactor.v1 import actor_pb2 as pb


class Burst(Bench):
    """Knows how its calls come."""

    _method_to_typeid_ = {'shared': 'list'}

    def __init__(self) -> None:
        super().__init__()
        self._same: list[int] = []
        self._barrier = threading.Barrier(6)

    def gather(self, number: int) -> list[int]:
        """Return one and the same list, longer each time."""
        self._same.append(number)
        return self._same

    def shared(self, number: int) -> list[int]:
        return [number]

    def meet(self, number: int) -> int:  # type: ignore[override]
        self._barrier.wait(20)
        return number

    def nap(self, number: int, seconds: float) -> int:
        """Take as long as that: whether it is noticed is what the test is about."""
        time.sleep(seconds)
        return number

    def nap_until_noted(self, number: int) -> bool:
        """Tell whether anything has been noted, after a moment."""
        time.sleep(0.0005)
        return bool(self.noted())

    def caller(self, number: int) -> str:  # type: ignore[override]
        return uactor.current_call().caller

    def name(self, number: int) -> str:
        return uactor.current_call().name

    def all_kinds(self, number: int) -> Any:
        return [None, True, 7, 10**30, 1.5, 'text', 'ü' * 5000, b'bytes', b'x' * 5000, [1], {1: 2}][
            number
        ]

    async def later(self, number: int) -> int:  # type: ignore[override]
        return number

    def steps(self, number: int) -> Iterator[int]:
        yield from range(number)

    def die_at(self, number: int) -> int:
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number


@pytest.fixture
def actor() -> Iterator[Any]:
    with Burst() as started:
        yield started


@pytest.mark.parametrize(
    ('count', 'size', 'is_one_message'),
    [
        (1000, 1, True),
        (1000, 1000, True),
        (1000, 2000, False),
        (10, 12_000, True),
        (2, 1 << 17, False),
    ],
)
def test_small_arguments_of_many_calls_travel_as_one_pickle(
    count: int, size: int, is_one_message: bool
) -> None:
    arguments = [(f'{number:{size}}',) for number in range(count)]
    data = encode_plain_bursts(arguments)
    assert (data is not None) is is_one_message
    if data is not None:
        assert pickle.loads(data) == arguments


@pytest.mark.parametrize('size', [1, 1000, 2000, 200_000])
def test_arguments_of_any_length_arrive(actor: Any, size: int) -> None:
    texts = [f'{number:{size}}' for number in range(300)]
    assert list(actor.echo.map(texts, window=150)) == texts


def test_results_of_any_kind_come_from_a_burst(actor: Any) -> None:
    expected = [None, True, 7, 10**30, 1.5, 'text', 'ü' * 5000, b'bytes', b'x' * 5000, [1], {1: 2}]
    found = list(actor.all_kinds.map(range(len(expected))))
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


def test_a_result_is_as_it_was_when_its_call_returned(actor: Any) -> None:
    assert list(actor.gather.map(range(5))) == [[*range(length)] for length in range(1, 6)]


def test_results_of_a_burst_may_be_proxies(actor: Any) -> None:
    lists = list(actor.shared.map(range(70)))
    assert [proxy[0] for proxy in lists] == [*range(70)]


def test_coroutines_and_generators_may_be_called_in_a_burst(actor: Any) -> None:
    assert list(actor.later.map(range(200))) == [*range(200)]
    assert [list(steps) for steps in actor.steps.map(range(5))] == [[*range(n)] for n in range(5)]


def test_calls_of_a_burst_that_wait_for_each_other_run_at_the_same_time(actor: Any) -> None:
    assert list(actor.meet.map(range(12))) == [*range(12)]


def test_results_come_while_a_later_call_of_the_burst_runs(actor: Any) -> None:
    actor.event('first').set()
    results = actor.wait_for.map(['first', 'second'], [1, 2])
    assert next(results) == 1
    actor.event('second').set()
    assert next(results) == 2


def test_no_call_is_lost_that_takes_about_as_long_as_it_takes_to_notice(actor: Any) -> None:
    """Another thread goes on with a burst when a call has not come back by then."""
    chance = random.Random(7)
    for _ in range(40):
        count = chance.choice([1, 5, 64, 150])
        times = [chance.choice([0] * 20 + [chance.uniform(0.002, 0.02)]) for _ in range(count)]
        assert list(actor.nap.map(range(count), times)) == [*range(count)]


def test_each_call_of_a_burst_knows_what_it_is(actor: Any) -> None:
    names = list(actor.name.map(range(3)))
    assert names == ['Burst.name'] * 3
    assert set(actor.caller.map(range(3))) == {actor.caller(0)}


def test_the_error_of_one_call_of_a_burst_is_no_other_ones(actor: Any) -> None:
    results = actor.divide.map(range(70), [*range(35, 0, -1), 0, *range(1, 35)])
    outcomes = []
    for _ in range(70):
        try:
            outcomes.append(next(results))
        except ZeroDivisionError:
            outcomes.append('error')
    assert outcomes.index('error') == 35
    assert outcomes.count('error') == 1
    assert outcomes[36] == 36


def test_arguments_that_do_not_fit_fail_in_each_call(actor: Any) -> None:
    results = actor.echo.map([1, 2], [3, 4])
    for _ in range(2):
        with pytest.raises(TypeError):
            next(results)


def test_threads_of_one_client_can_map_at_the_same_time(actor: Any) -> None:
    def work(offset: int) -> None:
        for number in range(200):
            assert list(actor.echo.map(range(number, number + 5))) == [*range(number, number + 5)]
        done.append(offset)

    done: list[int] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


def test_calls_of_a_burst_keep_their_order_beside_others(actor: Any) -> None:
    before = actor.note.future('before')
    results = actor.note.map(range(300), window=300)
    after = actor.note.future('after')
    assert list(results) == [*range(300)]
    assert (before.result(), after.result()) == ('before', 'after')
    assert actor.noted() == ['before', *range(300), 'after']


def test_calls_not_begun_when_a_map_is_closed_never_run() -> None:
    class Single(Burst):
        _options_ = {**Actor._options_, 'concurrency': 1}

    single: Any = Single()
    with single:
        told, gate = single.told(), single.event('gate')
        results = single.wait_for.map(['gate', *['never'] * 20])
        assert told.get() == 'begun gate'
        results.close()
        assert gate.is_set.future().result() is False  # which does not overtake that
        gate.set()
        assert told.get() is True
        assert single.echo(1) == 1  # after all of the burst, had it been called
        assert told.empty()


def test_calls_of_a_burst_run_in_order_with_concurrency_one() -> None:
    class Single(Burst):
        _options_ = {**Actor._options_, 'concurrency': 1}

    single: Any = Single()
    with single:
        assert list(single.note.map(range(200))) == [*range(200)]
        assert single.noted() == [*range(200)]


def test_the_calls_of_a_burst_in_which_the_actor_dies_may_have_run(actor: Any) -> None:
    results = actor.die_at.map(range(20))
    errors = []
    for _ in range(20):
        try:
            next(results)
        except uactor.ActorDiedError as error:
            errors.append(error.executed)
    assert errors
    assert set(errors) == {'maybe'}


def test_calls_made_by_a_burst_are_made_by_the_method(actor: Any) -> None:
    class Relay(Actor):
        def ask(self, other: Any, number: int) -> str:
            return str(other.caller(number))

    relay: Any = Relay()
    with relay:
        assert list(relay.ask.map([actor] * 3, range(3))) == ['Relay.ask'] * 3


def test_an_actor_without_pickles_is_called_one_by_one() -> None:
    class Native(Burst):
        _options_ = {**Actor._options_, 'serializer': 'native'}

    native: Any = Native()
    with native:
        assert list(native.add.map(range(100), range(100))) == [*range(0, 200, 2)]


# --- by hand -------------------------------------------------------------------------------------


def session(
    client: Client, *requests: pb.SessionRequest, count: int | None = None
) -> Iterator[pb.SessionResponse]:
    """Make requests in a pipelined session, and yield all responses.

    :param count: how many calls the actor answers: by default, as many as the requests make.
    """
    hello = pb.Hello(protocol_version=1, client_id='by hand', nonce=b'n' * 16, pipelined=True)
    goodbye = pb.SessionRequest(goodbye=pb.Goodbye())
    sent = [pb.SessionRequest(id=1, hello=hello), *requests]
    answered = threading.Event()

    def outgoing() -> Iterator[pb.SessionRequest]:
        yield from sent
        answered.wait(20)
        yield goodbye

    responses = client.stub.Session(outgoing(), metadata=KEYED, timeout=30)
    assert next(responses).HasField('welcome')
    every = [one for request in requests for one in (request, *request.more)]
    if count is None:
        count = sum(request.call_all.count or 1 for request in every)
    for response in responses:
        for one in (response, *response.more):
            count -= len(pickle.loads(one.results.data)) if one.HasField('results') else 1
            yield one
        if not count:
            answered.set()


def call_all(number: int, method: str, arguments: Any, count: int) -> pb.SessionRequest:
    data = arguments if isinstance(arguments, bytes) else pickle.dumps(arguments)
    request = pb.CallAllRequest(method=method, arguments=pb.Pickle(data=data), count=count)
    return pb.SessionRequest(id=number, call_all=request)


@pytest.fixture
def client(actor: Any) -> Iterator[Client]:
    with client_of(get_dial_address(actor)) as connected:
        yield connected


def test_scalars_are_answered_together_and_others_by_themselves(client: Client) -> None:
    values = [(1,), ('two',), ([3],), (4,)]
    responses = {
        response.id: response for response in session(client, call_all(5, 'echo', values, 4))
    }
    assert sorted(responses) == [5, 7, 8]
    assert pickle.loads(responses[5].results.data) == [1, 'two']
    assert pickle.loads(responses[7].result.pickle.data) == [3]
    assert pickle.loads(responses[8].results.data) == [4]


def test_a_long_result_is_answered_by_itself(client: Client) -> None:
    values = [('x' * 1024,), ('y' * 1025,), ('z',)]
    found = {response.id: response for response in session(client, call_all(5, 'echo', values, 3))}
    assert pickle.loads(found[5].results.data) == ['x' * 1024]
    assert found[6].result.string == 'y' * 1025
    assert pickle.loads(found[7].results.data) == ['z']


def test_results_come_before_a_long_burst_has_ended(actor: Any) -> None:
    results = actor.nap_until_noted.map(range(1000), window=1000)
    assert next(results) is False
    actor.note(1)
    assert list(results)[-1] is True  # half a second later at least


def test_results_come_together_with_those_of_the_same_burst_only(client: Client) -> None:
    second = call_all(7, 'echo', [(3,), (4,)], 2)
    together = call_all(5, 'echo', [(1,), (2,)], 2)
    together.more.append(second)
    responses = list(session(client, together))
    found = {response.id: pickle.loads(response.results.data) for response in responses}
    assert found == {5: [1, 2], 7: [3, 4]}


@pytest.mark.parametrize(
    ('arguments', 'count'), [(b'nonsense', 3), ([(1,)], 3), ([(1,)] * 4, 3), (5, 2), ([], 1)]
)
def test_each_call_of_a_burst_that_cannot_be_read_is_told_so(
    client: Client, arguments: Any, count: int
) -> None:
    request = call_all(5, 'echo', arguments, count)
    responses = list(session(client, request))
    assert sorted(response.id for response in responses) == [*range(5, 5 + count)]
    for response in responses:
        assert response.failure.executed == pb.EXECUTED_NO


def test_no_more_calls_are_answered_than_what_has_come_can_be(client: Client) -> None:
    """A call takes a byte at least, whatever the request says."""
    responses = list(session(client, call_all(5, 'echo', b'x!', 1000), count=2))
    assert sorted(response.id for response in responses) == [5, 6]


def test_an_actor_without_pickles_loads_none_of_a_burst() -> None:
    class Native(Burst):
        _options_ = {**Actor._options_, 'serializer': 'native'}

    with Native() as native, client_of(get_dial_address(native)) as client:
        [response] = session(client, call_all(5, 'echo', [(1,)], 1))
        assert 'pickle' in response.failure.message


@pytest.mark.parametrize('count', [3, 5])
def test_an_actor_that_answers_calls_that_were_not_made_is_none(count: int) -> None:
    def answers(request: pb.SessionRequest) -> pb.SessionResponse:
        if request.HasField('hello'):
            return pb.SessionResponse(welcome=welcome(request, KEY))
        return pb.SessionResponse(results=pb.Pickle(data=pickle.dumps([*range(count)])))

    with listening(FalseActor(answers)) as address:
        actor: Any = Burst.connect(address, KEY)
        with pytest.raises(uactor.VersionError, match='calls that were not made'):
            list(actor.echo.map([1, 2]))


def test_a_burst_is_for_pipelined_sessions(client: Client) -> None:
    hello = pb.Hello(protocol_version=1, client_id='by hand', nonce=b'n' * 16)
    requests = [
        pb.SessionRequest(id=1, hello=hello),
        call_all(2, 'echo', [(1,)], 1),
        pb.SessionRequest(goodbye=pb.Goodbye()),
    ]
    _, response = client.stub.Session(iter(requests), metadata=KEYED, timeout=20)
    assert "does not accept 'call_all'" in response.failure.message
