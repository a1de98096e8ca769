"""Reading and writing attributes, and making objects, keep the deadlines that calls keep."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor

SHORT = 0.2
LONG = 60.0


class Slow(Actor):
    """Its property waits for a gate, and tells of it."""

    _exposed_ = ('level', 'limit', 'refuses', 'open', 'seen', 'me', 'shared', 'reads_itself')
    _method_to_typeid_ = {'shared': 'list'}
    limit = 1
    _patience: float | None = None

    def __init__(self) -> None:
        self._gate = threading.Event()
        self._seen: list[Any] = []
        self._shared = [1, 2]

    @property
    def level(self) -> int:
        self._note('get')
        self._gate.wait(self._patience)
        return 5

    @level.setter
    def level(self, value: int) -> None:
        self._note(value)
        self._gate.wait(self._patience)

    @property
    def refuses(self) -> int:
        raise KeyError('on purpose')

    def _note(self, what: Any) -> None:
        call = uactor.current_call()
        self._seen.append((what, None if call.deadline is None else call.deadline > 0))

    @property
    def shared(self) -> list[int]:
        return self._shared

    def open(self) -> None:
        self._gate.set()

    def seen(self) -> list[Any]:
        return self._seen

    def me(self) -> Any:
        return uactor.proxy(self, 'actor')

    def reads_itself(self, way: str) -> Any:
        """Use a proxy of the actor in the actor."""
        itself = self.me()
        try:
            return WAYS[way](itself)
        except uactor.DeadlineError as error:
            return error.executed


class Impatient(Slow):
    _options_ = {'timeout': SHORT}


class Alone(Slow):
    _options_ = {'timeout': SHORT, 'concurrency': 1}
    _patience = 4 * SHORT  # nobody can open the gate meanwhile


class Native(Slow):
    _options_ = {'timeout': SHORT, 'serializer': 'native'}


class Caller(Actor):
    def use(self, other: Any, way: str) -> Any:
        try:
            return WAYS[way](other)
        except uactor.DeadlineError as error:
            return error.executed


def write(proxy: Any) -> None:
    proxy.level = 7


WAYS: dict[str, Callable[[Any], Any]] = {'read': lambda proxy: proxy.level, 'write': write}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def slow() -> Iterator[Any]:
    with Slow() as actor:
        yield actor
        actor.open()


@pytest.mark.parametrize('cls', [Impatient, Alone, Native])
def test_the_timeout_of_a_class_holds_for_its_attributes(cls: type[Slow], way: str) -> None:
    with cls() as actor:
        for _ in range(2):  # the second one may have to wait for the first
            with pytest.raises(uactor.DeadlineError) as caught:
                WAYS[way](actor)
            assert isinstance(caught.value, TimeoutError)
        open_gate(actor)
        assert actor.limit == 1
        WAYS[way](actor)
        assert actor.seen()[0][1] is True, 'the attribute knows the deadline'


def open_gate(actor: Any) -> None:
    actor.open.options(timeout=LONG)()


def test_attributes_within_a_timeout_are_as_any_other() -> None:
    actor: Any = Impatient()
    with actor:
        open_gate(actor)
        assert actor.level == 5
        actor.limit = [1, {'a': b'x' * 100_000}]
        assert actor.limit == [1, {'a': b'x' * 100_000}]
        with pytest.raises(KeyError, match='on purpose'):
            _ = actor.refuses
        assert list(actor.shared) == [1, 2]
        with pytest.raises(uactor.SerializationError):
            actor.limit = threading.Lock()


def test_an_attribute_that_is_not_waited_for_is_not_asked_for(slow: Any) -> None:
    """Else nobody could say whether it has been read, while the actor does not answer."""
    assert slow.open.future().result(20) is None
    connection, pid = slow._manager.connection, slow._manager.parent.process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(uactor.DeadlineError) as caught:
            connection.get_attribute(slow._id, 'level', lambda shared: shared, 0.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert caught.value.executed == 'no'


def test_the_deadline_of_a_method_holds_for_the_attributes_that_it_uses(
    slow: Any, way: str
) -> None:
    with Caller() as caller:
        use: Any = caller.use
        with pytest.raises(uactor.DeadlineError):
            use.options(timeout=SHORT)(slow, way)
        answer = use.future(slow, way)  # without a deadline it is waited for
        open_gate(slow)
        assert answer.result(LONG) in (5, None)
        assert [known for _, known in slow.seen()] == [True, None]


def test_a_method_hears_of_the_deadline_of_an_attribute(slow: Any, way: str) -> None:
    class Impatiently(Caller):
        pass

    with Impatiently() as caller, Impatient() as actor:
        assert caller.use(actor, way) in ('yes', 'maybe')
        open_gate(actor)


def test_the_timeout_of_a_class_holds_inside_its_actor(way: str) -> None:
    with Impatient() as actor:
        reads: Any = actor.reads_itself
        assert reads.options(timeout=LONG)(way) in ('yes', 'maybe')
        open_gate(actor)
        assert reads.options(timeout=LONG)(way) in (5, None)


def test_proxies_of_other_objects_have_no_timeout_but_that_of_the_method() -> None:
    class Sharing(Actor):
        _method_to_typeid_ = {'barrier': 'Barrier'}

        def barrier(self) -> Any:
            return threading.Barrier(3)

    with Sharing() as sharing:
        barrier = sharing.barrier()
        assert (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


# --- making objects ------------------------------------------------------------------------------


def wait(pause: float) -> list[Any]:
    call = uactor.current_call()
    while not call.cancelled:
        if pause:  # otherwise it ends before the thread that cancels it goes on
            time.sleep(pause)
    return []


class Making(Actor):
    """Makes objects that take their time."""

    def make(self, other: Any) -> Any:
        try:
            return other._manager.Waiting(0.001)
        except uactor.DeadlineError as error:
            return error.executed


Making.manager_class.register('Waiting', wait, exposed=('append',))


@pytest.mark.parametrize('pause', [0, 0.001])
def test_the_timeout_of_a_class_holds_for_objects_that_are_made(pause: float) -> None:
    class Hasty(Making):
        _options_ = {'timeout': SHORT}

    with Hasty() as actor:
        manager: Any = actor._manager
        with pytest.raises(uactor.DeadlineError):
            manager.Waiting(pause)
        made = manager.list([1, 2])
        assert list(made) == [1, 2]


def test_the_deadline_of_a_method_holds_for_objects_that_it_makes() -> None:
    with Making() as one, Making() as other, pytest.raises(uactor.DeadlineError):
        one.make.options(timeout=SHORT)(other)  # type: ignore[attr-defined]
