"""Messages of any size pass, unless the actor caps them: then the session survives a larger one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor, count_shared_objects, eventually
from uactor.codec import failures, pickling, values
from uactor.v1 import actor_pb2 as pb

LARGE = 200_000_000
CAP = 20_000


class Store(Actor):
    """Takes and returns bytes, plain and in containers."""

    _method_to_typeid_ = {'items': 'list'}

    def __init__(self) -> None:
        self._items = [1, 2]

    def items(self) -> list[int]:
        return self._items

    def make(self, size: int) -> bytes:
        return bytes(size)

    def make_list(self, size: int) -> list[bytes]:
        return [bytes(size)]

    def items_and(self, size: int) -> list[Any]:
        return [uactor.proxy([1], 'list'), bytes(size)]

    def size(self, data: Any) -> int:
        return len(data if isinstance(data, bytes) else data[0])

    def fail(self, size: int) -> None:
        raise ValueError('x' * size)

    def shared(self) -> int:
        """Return how many objects are shared, the actor itself not counted."""
        return count_shared_objects()


@pytest.fixture(scope='module')
def store() -> Iterator[Any]:
    with Store() as actor:
        yield actor


# About a gigabyte of memory each, for the copies on the way.
def test_an_actor_returns_200_mb(store: Any) -> None:
    assert len(store.make(LARGE)) == LARGE


def test_an_actor_takes_200_mb(store: Any) -> None:
    assert store.size(bytes(LARGE)) == LARGE


def test_a_value_too_large_for_one_message_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickling, '_MAX_SIZE', 1000)
    monkeypatch.setattr(values, 'MIN_SEGMENT_BYTES', 1000)
    for value in (bytes(2000), [bytes(2000)]):
        with pytest.raises(uactor.SerializationError, match='too many for one message'):
            values.encode(value)
        with pytest.raises(uactor.SerializationError, match='too many for one message'):
            values.encode_native(value, values.refuse_to_share)


# --- with a cap -----------------------------------------------------------------------------


class Capped(Store):
    _options_ = {'max_message_size': CAP}


class CappedNative(Capped):
    _options_ = {'serializer': 'native'}


@pytest.fixture(scope='module', params=[Capped, CappedNative])
def capped(request: pytest.FixtureRequest) -> Iterator[Any]:
    with request.param() as actor:
        yield actor


@pytest.mark.parametrize(
    'ask',
    [
        lambda actor: actor.size(bytes(CAP)),
        lambda actor: actor.size([bytes(CAP)]),
        lambda actor: actor.items().append('x' * CAP),
    ],
)
def test_a_request_beyond_the_cap_is_refused(capped: Any, ask: Callable[[Any], Any]) -> None:
    with pytest.raises(uactor.SerializationError, match=f'takes {CAP} at most') as caught:
        ask(capped)
    assert caught.value.executed == 'no'


@pytest.mark.parametrize('method', ['make', 'make_list'])
def test_a_result_beyond_the_cap_is_refused(capped: Any, method: str) -> None:
    with pytest.raises(uactor.SerializationError, match=f'sends {CAP} at most') as caught:
        getattr(capped, method)(CAP)
    assert caught.value.executed == 'yes'


def test_objects_shared_by_a_result_beyond_the_cap_are_released(capped: Any) -> None:
    with pytest.raises(uactor.SerializationError, match=f'sends {CAP} at most'):
        capped.items_and(CAP)
    eventually(lambda: capped.shared() == 0)


def test_an_exception_beyond_the_cap_is_shortened(capped: Any) -> None:
    with pytest.raises((uactor.RemoteError, ValueError)) as caught:
        capped.fail(CAP)
    assert 0 < len(str(caught.value)) < CAP


def test_the_session_and_its_handles_survive_what_is_too_large(capped: Any) -> None:
    items = capped.items()
    session = capped._manager.connection.link.session()
    for attempt in (lambda: capped.size(bytes(CAP)), lambda: capped.make(CAP)):
        with pytest.raises(uactor.SerializationError):
            attempt()
    assert capped._manager.connection.link.session() is session
    assert items[1] == 2


def test_a_hold_given_up_along_with_what_is_too_large_is_given_up_later(capped: Any) -> None:
    items = capped.items()
    assert capped.shared() == 1
    del items
    with pytest.raises(uactor.SerializationError):
        capped.size(bytes(CAP))
    eventually(lambda: capped.shared() == 0)


def test_a_value_within_the_cap_passes(capped: Any) -> None:
    assert capped.size(bytes(CAP - 1000)) == len(capped.make(CAP - 1000)) == CAP - 1000


def test_a_failure_is_shortened_to_what_fits() -> None:
    failure = pb.Failure(type_name='ValueError', message='ä' * 5000, traceback='t' * 5000 + 'end')
    failure.pickle.data = bytes(5000)
    whole = pb.Failure.FromString(failure.SerializeToString())
    failures.shorten(failure, -1)
    assert failure == whole
    failures.shorten(failure, 1000)
    assert failure.ByteSize() <= 1000
    assert not failure.HasField('pickle')
    assert failure.message.startswith('ä')
    assert failure.traceback.endswith('tend')
