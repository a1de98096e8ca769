"""Classes and functions that travel by value: what a session remembers, and what it must not."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor, eventually
from uactor.codec import definitions as definitions_module
from uactor.codec import pickling, values

pytestmark = [pytest.mark.pythons('code objects')]


FACTOR = 2
COUNT = 0


class Keeper(Actor):
    """Knows none of the classes of these tests."""

    _method_to_typeid_ = {'shared': 'list'}

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def echo(self, value: Any) -> Any:
        return value

    def keep(self, value: Any) -> int:
        self._kept.append(value)
        return len(self._kept)

    def classes(self) -> int:
        """Tell how many classes the values have that were kept."""
        return len({type(value) for value in self._kept})

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def identity(self, value: Any) -> int:
        return id(value)

    def fail(self, value: Any) -> None:
        raise LookupError(value)

    def shared(self) -> list[int]:
        return [1, 2]


@pytest.fixture
def keeper() -> Iterator[Any]:
    with Keeper() as actor:
        yield actor


def memory_of(actor: Any) -> Any:
    """Return what this thread's session with an actor remembers."""
    return actor._manager.connection.link.session().definitions


def unsent(actor: Any) -> list[int]:
    """Return the numbers whose definitions still go along with messages."""
    sent = memory_of(actor).sent.values()
    return [known.number for known in sent if known.data is not None]


def memory_of_pipeline(actor: Any) -> Any:
    """Return what the session for calls that nobody waits for remembers, once it is open."""
    return actor._manager.connection.link.pipeline().definitions


def has_another_memory(actor: Any, before: Any) -> bool:
    return memory_of_pipeline(actor) not in (None, before)


def new_class(name: str = 'Point') -> Any:
    return dataclasses.make_dataclass(name, ['x', 'y'])


# --- classes ---------------------------------------------------------------------------------


def test_a_class_goes_once_and_then_by_number(keeper: Any) -> None:
    point_class = new_class()
    assert keeper.echo(point_class(1, 2)) == point_class(1, 2)
    assert unsent(keeper) == []
    (known,) = memory_of(keeper).sent.values()
    assert keeper.echo([point_class(3, 4), point_class]) == [point_class(3, 4), point_class]
    assert list(memory_of(keeper).sent.values()) == [known]


def test_a_class_is_the_same_in_all_calls_threads_and_ways(keeper: Any) -> None:
    point_class = new_class()
    keeper.keep(point_class(0, 0))

    def work() -> None:
        for number in range(20):
            keeper.keep(point_class(number, number))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keeper.keep.future(point_class(1, 1)).result()
    list(keeper.keep.map([point_class(2, 2)] * 3))
    assert keeper.classes() == 1


def test_an_instance_comes_back_with_the_class_that_was_sent(keeper: Any) -> None:
    point_class = new_class()
    for number in range(3):
        found = keeper.echo(point_class(number, 0))
        assert type(found) is point_class
        assert found == point_class(number, 0)
    assert type(keeper.echo.future(point_class(1, 2)).result()) is point_class


def test_classes_of_one_name_stay_distinct(keeper: Any) -> None:
    one, other = new_class(), new_class()
    for _ in range(3):
        assert type(keeper.echo(one(1, 2))) is one
        assert type(keeper.echo(other(1, 2))) is other


def test_a_number_is_never_used_for_another_class(keeper: Any) -> None:
    for number in range(50):
        point_class = new_class(f'Point{number}')
        assert type(keeper.echo(point_class(number, 0))) is point_class
        del point_class
        gc.collect()


def test_a_session_keeps_no_class_of_the_sender_alive(keeper: Any) -> None:
    point_class = new_class()
    keeper.keep([point_class(1, 2)])
    gone = weakref.ref(point_class)
    del point_class
    gc.collect()
    assert gone() is None


def test_a_session_remembers_so_many_and_sends_the_others_in_full(
    keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(definitions_module, '_MOST', 5)
    classes = [new_class(f'Point{number}') for number in range(12)]
    for _ in range(2):
        for point_class in classes:
            assert type(keeper.echo(point_class(1, 2))) is point_class
    assert len(memory_of(keeper).sent) == 5


def test_a_class_with_a_proxy_goes_in_full(keeper: Any) -> None:
    class Holder:
        shared = keeper.shared()

    assert list(keeper.echo(Holder).shared) == [1, 2]
    assert memory_of(keeper).sent == {}


# --- calls that do not wait for each other -------------------------------------------------------


def test_a_class_goes_once_with_calls_that_do_not_wait(keeper: Any) -> None:
    point_class = new_class()
    points = [point_class(number, 0) for number in range(300)]
    assert list(keeper.echo.map(points)) == points
    memory = memory_of_pipeline(keeper)
    (known,) = memory.sent.values()
    assert known.data is None
    assert keeper.echo.future(points).result() == points
    assert list(memory.sent.values()) == [known]


def test_the_class_of_results_comes_once_to_who_does_not_wait(keeper: Any) -> None:
    point_class = new_class()
    assert keeper.echo.future(point_class(1, 2)).result() == point_class(1, 2)
    memory = memory_of_pipeline(keeper)
    came: list[int] = []
    receive = memory.receive

    def counted(definitions: Any) -> None:
        came.extend(known.number for known in definitions)
        receive(definitions)

    memory.receive = counted
    other_class = new_class('Other')
    others = [other_class(number, 0) for number in range(20)]
    for other in others:
        assert keeper.echo.future(other).result() == other
        assert type(keeper.echo.future([other]).result()[0]) is other_class
    assert came in ([2], [2, 2])  # it is taken by who reads, and by who decodes it


@pytest.mark.parametrize('streamed', [True, False], ids=['stream', 'future'])
def test_threads_may_send_classes_at_the_same_time(keeper: Any, streamed: bool) -> None:
    classes = [new_class(f'Point{number}') for number in range(5)]
    wrong: list[Any] = []

    def work() -> None:
        for number in range(100):
            point = classes[number % 5](number, number)
            if streamed:
                (found,) = keeper.echo.stream([point])
            else:
                found = keeper.echo.future(point).result()
            if type(found) is not type(point) or found != point:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert all(known.data is None for known in memory_of_pipeline(keeper).sent.values())


def test_a_class_in_a_call_that_has_been_given_up_goes_with_the_next() -> None:
    class Single(Keeper):
        _options_ = {**Actor._options_, 'concurrency': 1}

        async def wait(self) -> None:
            await asyncio.Event().wait()

    point_class = new_class()
    keeper: Any = Single()
    with keeper:
        assert keeper.echo.future(1).result() == 1
        waiting = keeper.wait.future()
        given_up = keeper.keep.future(point_class(0, 0))
        given_up.cancel()
        waiting.cancel()
        assert keeper.echo.future(point_class(1, 2)).result() == point_class(1, 2)
        assert keeper.echo.future(point_class(3, 4)).result() == point_class(3, 4)


def test_where_the_session_of_calls_that_do_not_wait_is_new_so_is_what_it_remembers(
    keeper: Any,
) -> None:
    point_class = new_class()
    for _ in range(2):
        assert keeper.echo.future(point_class(1, 2)).result() == point_class(1, 2)
        before = memory_of_pipeline(keeper)
        keeper._manager.connection.link.pipeline().session.abandon()
        eventually(functools.partial(has_another_memory, keeper, before))
        assert keeper.echo.future(point_class(3, 4)).result() == point_class(3, 4)


# --- when messages are lost --------------------------------------------------------------------


def test_a_class_in_a_message_that_was_too_large_goes_with_the_next() -> None:
    class Small(Keeper):
        _options_ = {'max_message_size': 100_000}

    point_class = new_class()
    with Small() as keeper:
        with pytest.raises(uactor.SerializationError):
            keeper.keep(point_class(bytes(1), ['x' * 200_000]))
        assert keeper.echo(point_class(1, 2)) == point_class(1, 2)


def test_a_class_in_a_call_that_failed_goes_with_the_next(keeper: Any) -> None:
    point_class = new_class()
    with pytest.raises(LookupError):
        keeper.fail(point_class(1, 2))
    with pytest.raises(uactor.NotExposedError):
        keeper._callmethod('missing', (point_class(1, 2),))
    assert len(unsent(keeper)) == 1
    assert keeper.echo(point_class(1, 2)) == point_class(1, 2)
    assert unsent(keeper) == []


class Unmakeable:
    """Can be pickled, but not made again."""

    def __reduce__(self) -> Any:
        return int, ('no number',)


def test_a_class_beside_what_cannot_be_rebuilt_goes_with_the_next(keeper: Any) -> None:
    point_class = new_class()
    with pytest.raises(uactor.SerializationError):
        keeper.keep([Unmakeable(), point_class(1, 2)])
    assert keeper.echo(point_class(1, 2)) == point_class(1, 2)


def test_a_result_whose_class_has_been_lost_says_so_and_the_next_call_works(keeper: Any) -> None:
    point_class = new_class()
    for _ in range(2):
        keeper.echo(point_class(1, 2))
    memory_of(keeper).rebuilt.clear()  # as if an interrupt had come before they were taken
    with pytest.raises(uactor.SerializationError, match='lost on its way') as caught:
        keeper.echo(point_class(1, 2))
    assert caught.value.executed == 'yes'
    assert keeper.echo(point_class(1, 2)) == point_class(1, 2)


@pytest.mark.parametrize('serializer', ['pickle', 'native'])
def test_nothing_is_remembered_where_nothing_travels_by_value(serializer: str) -> None:
    class Plain(Keeper):
        _options_ = {'serializer': serializer}

    with Plain() as keeper:
        assert keeper.echo(1) == 1
        assert memory_of(keeper) is None


# --- functions ---------------------------------------------------------------------------------


def test_a_function_that_takes_nothing_along_is_remembered(keeper: Any) -> None:
    def double(number: int, times: int = 2) -> int:
        return number * times

    assert [keeper.call(double, number) for number in range(3)] == [0, 2, 4]
    assert len(memory_of(keeper).sent) == 1
    assert keeper.identity(double) == keeper.identity(double)


def test_a_function_that_sees_another_value_is_another_one(
    keeper: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = lambda number: number * FACTOR  # noqa: E731
    assert keeper.call(scale, 5) == 10
    for factor in (3, True, 1, 1.0, -0.0):
        monkeypatch.setattr(f'{__name__}.FACTOR', factor)
        found = keeper.call(scale, 5)
        assert (type(found), repr(found)) == (type(5 * factor), repr(5 * factor))


def test_a_function_with_changed_defaults_is_another_one(keeper: Any) -> None:
    def add(number: int, to: int = 1) -> int:
        return number + to

    assert keeper.call(add, 1) == 2
    add.__defaults__ = (10,)
    assert keeper.call(add, 1) == 11


def test_a_function_with_changed_keyword_defaults_is_another_one(keeper: Any) -> None:
    def scaled(value: int, *, factor: int = 2) -> int:
        return value * factor

    assert keeper.call(scaled, 3) == 6
    scaled.__kwdefaults__ = {'factor': 5}
    assert keeper.call(scaled, 3) == 15


def test_a_native_sender_sends_no_numbered_definitions_either(keeper: Any) -> None:
    point = new_class()(1, 2)
    assert keeper.echo(point) == point
    strict: Any = Keeper.connect(keeper.connection_address, serializer='pickle')
    assert strict.echo([1, 2]) == [1, 2]
    with pytest.raises(uactor.SerializationError, match='only travels by value'):
        strict.echo(point)


def test_a_value_that_travels_in_full_brings_no_definitions_along() -> None:
    """A pickle by numbers is begun, and then there is something that has none."""
    seen, remembered = [1], pickling.create_definitions()
    message = values.encode([new_class(), lambda: seen], definitions=remembered)
    assert not message.pickle.definitions


def test_a_closure_takes_along_what_it_sees_now(keeper: Any) -> None:
    total = 0

    def current() -> int:
        return total

    assert keeper.call(current) == 0
    total = 5
    assert keeper.call(current) == 5
    assert memory_of(keeper).sent == {}


def test_a_function_has_no_memory_of_its_own_in_the_actor(keeper: Any) -> None:
    def collect(number: int, seen: list[int] = []) -> list[int]:  # noqa: B006
        seen.append(number)
        return seen

    def count() -> int:
        global COUNT
        COUNT += 1
        return COUNT

    def count_otherwise() -> int:
        globals()['COUNT'] = globals().get('COUNT', 0) + 1
        return COUNT

    for _ in range(3):
        assert keeper.call(collect, 1) == [1]
        assert keeper.call(count) == 1
    assert keeper.call(count_otherwise) == keeper.call(count_otherwise)
    assert memory_of(keeper).sent == {}


def test_attributes_of_a_function_travel_with_it(keeper: Any) -> None:
    def told() -> Any:
        return None

    told.note = 'first'  # type: ignore[attr-defined]
    assert keeper.echo(told).note == 'first'
    told.note = 'second'  # type: ignore[attr-defined]
    assert keeper.echo(told).note == 'second'
