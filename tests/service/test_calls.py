"""Requests and arguments: defaults, kinds of parameters, streams, handles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable, Iterator, Sequence
from typing import Any, NoReturn

import pytest

import uactor
from tests.service.models import Point
from tests.service.support import from_json, method, schema, to_json, transfer
from tests.support import Actor
from uactor.service.errors import ConversionError, ResultConversionError
from uactor.service.schema import schema_of
from uactor.v1 import actor_pb2 as pb

pytestmark = pytest.mark.quick


def with_defaults(
    self: Any,
    needed: int,
    number: int = 3,
    maybe: int | None = None,
    five: int | None = 5,
    items: Sequence[int] = (),
    some: list[int] = [1, 2],  # noqa: B006
    implicit: int = None,  # type: ignore[assignment]  # noqa: RUF013
    either: int | str = 'x',
    either_or_none: int | str | None = 7,
    point: Point = Point(1),  # noqa: B008
    table: dict[str, int] | None = {'a': 1},  # noqa: B006
) -> None: ...


def test_absent_means_the_default_of_python() -> None:
    assert from_json(method(with_defaults), {'needed': 1}) == {'needed': 1}


def test_none_is_expressible_beside_another_default() -> None:
    values: dict[str, Any] = {'needed': 1, 'five': None, 'either_or_none': None, 'table': None}
    made = method(with_defaults)
    message = transfer(made.write_request((), values))
    assert made.read_request(message) == ((), values)
    assert to_json(message) == {'needed': '1', 'five': {}, 'either_or_none': {}, 'table': {}}


def test_empty_is_expressible_beside_another_default() -> None:
    values: dict[str, Any] = {'needed': 1, 'some': [], 'table': {}}
    made = method(with_defaults)
    assert made.read_request(transfer(made.write_request((), values))) == ((), values)


def test_each_default_can_be_overridden() -> None:
    values = {
        'needed': 0,
        'number': 0,
        'maybe': 0,
        'five': 0,
        'items': [0],
        'some': [0],
        'implicit': 0,
        'either': 0,
        'either_or_none': '',
        'point': Point(0),
        'table': {'b': 0},
    }
    made = method(with_defaults)
    assert made.read_request(transfer(made.write_request((), values))) == ((), values)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ConversionError) as error:
        from_json(method(with_defaults), {'number': 1})
    assert error.value.path == 'needed'
    assert error.value.reason == 'missing'


def kinds(
    self: Any, a: int, b: int = 2, /, c: int = 3, *rest: int, d: int = 4, **more: int
) -> object:
    return a, b, c, rest, d, more


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((1,), {}),
    ((1, 5), {}),
    ((1, 5, 6), {}),
    ((1,), {'c': 6}),
    ((1, 5, 6, 7, 8), {}),
    ((1, 5, 6, 7), {'d': 9}),
    ((1,), {'d': 9, 'x': 1, 'y': 2}),
    ((1,), {'x': 8}),
]


@pytest.mark.parametrize(('args', 'kwargs'), CALLS)
def test_all_kinds_of_parameters_are_honoured(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    made = method(kinds)
    got_args, got_kwargs = made.read_request(transfer(made.write_request(args, kwargs)))
    assert kinds(None, *got_args, **got_kwargs) == kinds(None, *args, **kwargs)


def test_defaults_fill_the_gap_before_further_positions() -> None:
    made = method(kinds)
    message = made.request_class(a=1, rest=[9])
    args, kwargs = made.read_request(message)
    assert kinds(None, *args, **kwargs) == kinds(None, 1, 2, 3, 9)


def test_a_keyword_may_be_called_like_a_parameter_that_goes_by_position() -> None:
    made = method(kinds)
    args, kwargs = made.read_request(made.request_class(a=1, more={'a': 5}))
    assert kinds(None, *args, **kwargs) == kinds(None, 1, **{'a': 5})


def test_a_keyword_can_not_be_smuggled_over_a_parameter() -> None:
    made = method(kinds)
    with pytest.raises(ConversionError) as error:
        made.read_request(made.request_class(a=1, more={'c': 5}))
    assert error.value.path == 'more'


def test_names_become_snake_case_and_lose_underscores_at_their_ends() -> None:
    def call(self: Any, byValue: int, from_: int, _private: int) -> None: ...

    made = method(call)
    assert [field.name for field in made.request.fields] == ['by_value', 'from', 'private']
    values = {'byValue': 1, 'from_': 2, '_private': 3}
    assert made.read_request(transfer(made.write_request((), values))) == ((), values)


def test_parameters_that_json_would_confuse_are_left_out() -> None:
    def call(self: Any, item_0: int, item0: int) -> None: ...

    assert 'both become' in schema(call).unmapped['call']


def test_no_result_is_an_empty_response() -> None:
    def call(self: Any) -> None: ...

    def never(self: Any) -> NoReturn: ...

    made = schema(call, never=never).methods
    assert made['Call'].response_class() == made['Call'].write_response(None)
    assert made['Call'].read_response(made['Call'].response_class()) is None
    assert not made['Never'].response.fields
    with pytest.raises(ResultConversionError):
        made['Call'].write_response(0)


# --- streams -------------------------------------------------------------------------------------


def count(self: Any, to: int) -> Iterator[int]: ...
def generate(self: Any) -> Generator[str, None, None]: ...
async def agenerate(self: Any) -> AsyncIterator[int | None]: ...
def collect(self: Any) -> Iterable[int]: ...


def loose(self: Any) -> Iterable[int]:
    yield 1


def test_iterators_are_server_streams() -> None:
    made = schema(
        count, generate=generate, agenerate=agenerate, collect=collect, loose=loose
    ).methods
    streaming = {rpc for rpc, each in made.items() if each.server_streaming}
    assert streaming == {'Call', 'Generate', 'Agenerate', 'Loose'}
    service = schema(count).file.service[0]
    assert service.method[0].server_streaming
    assert made['Call'].read_response(transfer(made['Call'].write_response(3))) == 3
    assert made['Agenerate'].read_response(made['Agenerate'].write_response(None)) is None
    assert made['Collect'].read_response(made['Collect'].write_response([1, 2])) == [1, 2]


def test_a_generator_that_is_sent_values_is_left_out() -> None:
    def sending(self: Any) -> Generator[int, str, None]: ...
    def bare(self: Any) -> Iterator: ...  # type: ignore[type-arg]

    unmapped = schema(sending, bare=bare).unmapped
    assert set(unmapped) == {'call', 'bare'}


def feed(self: Any, scale: int, items: Iterator[int | None], offset: int = 0) -> int: ...
async def afeed(self: Any, items: AsyncIterator[int]) -> AsyncIterator[int]: ...


def test_an_iterator_parameter_is_a_client_stream() -> None:
    made = method(feed)
    assert made.client_streaming
    messages = map(transfer, made.write_request_stream((2, [1, None, 3]), {'offset': 5}))
    args, kwargs = made.read_request_stream(next(messages), messages)
    assert list(kwargs.pop('items')) == [1, None, 3]
    assert (args, kwargs) == ((), {'scale': 2, 'offset': 5})


def test_the_first_message_may_carry_an_item_already() -> None:
    made = method(feed)
    first = made.request_class(scale=1)
    first.items.value = 7
    _, kwargs = made.read_request_stream(first, iter(()))
    assert list(kwargs['items']) == [7]


def test_a_stream_may_be_empty() -> None:
    _, kwargs = method(afeed).read_request_stream(None, iter(()))
    assert asyncio.run(_collect(kwargs['items'])) == []
    with pytest.raises(ConversionError) as error:
        method(feed).read_request_stream(None, iter(()))
    assert error.value.path == 'scale'


def test_later_messages_carry_items_and_nothing_else() -> None:
    made = method(feed)
    first = made.request_class(scale=1)
    _, kwargs = made.read_request_stream(first, iter([made.request_class()]))
    with pytest.raises(ConversionError) as error:
        next(kwargs['items'])
    assert error.value.path == 'items'
    wrong = made.request_class(scale=1)
    wrong.items.SetInParent()
    _, kwargs = made.read_request_stream(first, iter([wrong]))
    with pytest.raises(ConversionError) as error:
        next(kwargs['items'])
    assert error.value.path == 'scale'


async def _collect(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _each(items: list[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


@pytest.mark.parametrize('wrap', [iter, _each])
def test_an_asynchronous_parameter_gets_an_asynchronous_iterator(wrap: Any) -> None:
    made = method(afeed)
    assert made.is_async
    assert made.client_streaming
    assert made.server_streaming
    first, *rest = made.write_request_stream(([1, 2],))
    _, kwargs = made.read_request_stream(first, wrap(rest))
    assert asyncio.run(_collect(kwargs['items'])) == [1, 2]


# --- handles -------------------------------------------------------------------------------------


class Shelf:
    """Handles of the objects on it."""

    def __init__(self) -> None:
        self.objects: list[object] = []

    def write_handle(self, value: object, typeid: str | None) -> pb.Handle:
        self.objects.append(value)
        return pb.Handle(id=str(len(self.objects) - 1), typeid=typeid or '')

    def read_handle(self, handle: pb.Handle, hint: Any) -> object:
        return self.objects[int(handle.id)]


class Other(Actor):
    pass


class Sharing(Actor):
    _method_to_typeid_ = {'items': 'list', 'name': 'Value'}
    _exposed_ = ('items', 'name', 'join', 'itself', 'all')

    def items(self) -> list[complex]: ...
    @property
    def name(self): ...  # type: ignore[no-untyped-def]
    def join(self, other: Other, proxy: uactor.BaseProxy | None = None) -> None: ...
    def itself(self) -> Sharing: ...
    def all(self) -> dict[str, Other]: ...


def test_results_with_a_typeid_are_handles_whatever_they_hold() -> None:
    made, shelf = schema_of(Sharing), Shelf()
    assert not made.unmapped
    value = [1j]
    message = transfer(made.methods['Items'].write_response(value, shelf))
    assert message.result.typeid == 'list'
    assert made.methods['Items'].read_response(message, shelf) is value
    assert made.methods['GetName'].write_response('a', shelf).result.typeid == 'Value'
    assert 'uactor/v1/actor.proto' in made.file.dependency


def test_actors_and_proxies_are_handles() -> None:
    made, shelf = schema_of(Sharing).methods, Shelf()
    other = object()
    message = transfer(made['Join'].write_request((other,), {}, shelf))
    assert made['Join'].read_request(message, shelf)[1]['other'] is other
    assert made['Itself'].write_response(other, shelf).result.typeid == 'actor'
    both = {'a': other, 'b': 'c'}
    assert made['All'].read_response(made['All'].write_response(both, shelf), shelf) == both


def test_without_handles_a_handle_is_a_mismatch() -> None:
    made = schema_of(Sharing).methods
    with pytest.raises(ResultConversionError):
        made['Itself'].write_response(object())
    with pytest.raises(ConversionError):
        made['Join'].read_request(made['Join'].request_class(other={'id': 'a'}))
