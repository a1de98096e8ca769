"""What would lose something is an error that says where, or has no place in the service."""

# The annotations under test are written in all ways.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import uuid
from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Optional, TypeVar, Union

import pytest
from google.protobuf import json_format

from tests.service.models import Box, Color, Computed, Level, Movie, Node, Pair, Point, Point3
from tests.service.support import echo, from_json, reason_unmapped
from uactor.service.errors import ConversionError, ResultConversionError
from uactor.service.mapping import markers

pytestmark = pytest.mark.quick

T = TypeVar('T')
NOON = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.timezone.utc)

OUTBOUND: list[tuple[Any, Any, str]] = [
    (int, True, 'result'),
    (int, 1.0, 'result'),
    (int, '1', 'result'),
    (int, None, 'result'),
    (int, 2**63, 'result'),
    (int, -(2**63) - 1, 'result'),
    (bool, 1, 'result'),
    (bool, None, 'result'),
    (float, True, 'result'),
    (float, 2**53 + 1, 'result'),
    (float, 10**400, 'result'),
    (float, decimal.Decimal('0.1'), 'result'),
    (str, b'a', 'result'),
    (str, '\ud800', 'result'),
    (bytes, 'a', 'result'),
    (pathlib.Path, pathlib.Path('\udcff'), 'result'),
    (Annotated[int, markers.UInt64], -1, 'result'),
    (Annotated[int, markers.Int32], 2**31, 'result'),
    (Annotated[int, markers.UInt32], 2**32, 'result'),
    (Annotated[float, markers.Float32], 1e300, 'result'),
    (Annotated[int, markers.BigInt], True, 'result'),
    (Annotated[int, markers.BigInt], 1.5, 'result'),
    (Color, 'r', 'result'),
    (Color, Level.LOW, 'result'),
    (Literal['a'], 'b', 'result'),
    (datetime.datetime, NOON.replace(tzinfo=None), 'result'),
    (datetime.datetime, NOON.date(), 'result'),
    (datetime.date, NOON, 'result'),
    (datetime.timedelta, datetime.timedelta.max, 'result'),
    (uuid.UUID, str(uuid.UUID(int=1)), 'result'),
    (decimal.Decimal, 1, 'result'),
    (list[int], (1,), 'result'),
    (list[int], [1, None], 'result[1]'),
    (list[str], 'ab', 'result'),
    (collections.abc.Sequence[str], 'ab', 'result'),
    (set[int], [1], 'result'),
    (tuple[int, ...], [1], 'result'),
    (tuple[int, str], (1,), 'result'),
    (tuple[int, str], (1, 'a', 2), 'result'),
    (tuple[int, str], (1, 2), 'result.item_1'),
    (tuple[int, int], Pair(1, 2), 'result'),
    (dict[str, int], {1: 1}, 'result[1]'),
    (dict[str, int], {'a': None}, "result['a']"),
    (dict[str, list[int]], {'a': ['b']}, "result['a'][0]"),
    (list[list[int]], [[1], [2, 'a']], 'result[1][1]'),
    (Point, Point3(1), 'result'),
    (Point, {'x': 1}, 'result'),
    (Point, Point('a'), 'result.x'),  # type: ignore[arg-type]
    (Node, Node('a', [Node('b', [Node(5)])]), 'result.children[0].children[0].name'),  # type: ignore[arg-type]
    (Movie, {'title': 'a', 'more': 1}, 'result'),
    (Movie, {'year': 1}, 'result.title'),
    (Movie, {'title': 'a', 'year': 'b'}, 'result.year'),
    (Union[int, str], None, 'result'),
    (Union[int, str], 1.5, 'result'),
    (Union[int, str], True, 'result'),
    (Union[list[int], list[str]], [], 'result'),
    (Optional[list[int] | list[str]], [], 'result'),
    (Any, math.nan, 'result'),
    (Any, math.inf, 'result'),
    (Any, [2**53 + 1], 'result[0]'),
    (Any, {'a': b''}, "result['a']"),
    (Any, (1,), 'result'),
    (Any, {1: 2}, 'result'),
    (Any, Level.LOW, 'result'),
    (Any, '\ud800', 'result'),
    (dict[str, Any], {'a': [math.nan]}, "result['a'][0]"),
    (dict, {1: 2}, 'result'),
    (list, (1,), 'result'),
    (None, 1, 'result'),
]


@pytest.mark.parametrize(('hint', 'value', 'path'), OUTBOUND)
def test_a_result_that_does_not_fit_is_an_error_that_says_where(
    hint: Any, value: Any, path: str
) -> None:
    method = echo(hint) if hint is not None else _returns_none()
    with pytest.raises(ResultConversionError) as error:
        method.write_response(value)
    assert error.value.path == path
    assert error.value.reason
    if hint is not None:
        with pytest.raises(ConversionError) as sent:
            method.write_request((value,))
        assert sent.value.path == path.replace('result', 'value', 1)


def _returns_none() -> Any:
    from tests.service.support import method

    def call(self) -> None:  # type: ignore[no-untyped-def]
        pass

    return method(call)


def _too_deep() -> Any:
    value: Any = []
    for _ in range(40):
        value = [value]
    return value


def test_json_that_protobuf_could_not_read_is_not_sent() -> None:
    with pytest.raises(ResultConversionError, match='deep'):
        echo(Any).write_response(_too_deep())


INBOUND: list[tuple[Any, Any, str]] = [
    (int, {}, 'value'),
    (str, {}, 'value'),
    (Point, {}, 'value'),
    (Point, {'value': {}}, 'value.x'),
    (Point, {'value': {'y': 1}}, 'value.x'),
    (list[Point], {'value': [{'x': 1}, {}]}, 'value[1].x'),
    (dict[str, Point], {'value': {'a': {}}}, "value['a'].x"),
    (list[list[Point]], {'value': [{'items': [{}]}]}, 'value[0].items[0].x'),
    (Union[int, str], {}, 'value'),
    (Union[Point, str], {'value_point': {}}, 'value_point.x'),
    (list[int | str], {'value': [{}]}, 'value[0].value'),
    (dict[float, int], {'value': [{'key': 1}]}, 'value[0].value'),
    (dict[float, int], {'value': [{'key': 1, 'value': 1}, {'key': 1, 'value': 2}]}, 'value'),
    (Color, {'value': 0}, 'value'),
    (Color, {'value': 99}, 'value'),
    (list[Color], {'value': ['COLOR_RED', 'COLOR_UNSPECIFIED']}, 'value[1]'),
    (Literal['a'], {'value': 7}, 'value'),
    (Annotated[int, markers.BigInt], {'value': '0x1'}, 'value'),
    (Annotated[int, markers.BigInt], {'value': ' 1'}, 'value'),
    (Annotated[int, markers.BigInt], {'value': '1 '}, 'value'),
    (Annotated[int, markers.BigInt], {'value': '1_000'}, 'value'),
    (Annotated[int, markers.BigInt], {'value': ''}, 'value'),
    (datetime.date, {'value': 'today'}, 'value'),
    (datetime.time, {'value': '01:02:03.0000001'}, 'value'),
    (decimal.Decimal, {'value': 'x'}, 'value'),
    (uuid.UUID, {'value': 'x'}, 'value'),
    (datetime.datetime, {'value': '2024-01-01T00:00:00.000000001Z'}, 'value'),
    (datetime.timedelta, {'value': '0.000000001s'}, 'value'),
    (Computed, {'value': {'side': -1}}, 'value'),
    (Movie, {'value': {}}, 'value.title'),
    (tuple[int, str], {'value': {'item_0': 1}}, 'value.item_1'),
    (Any, {}, 'value'),
    (dict[str, Any], {}, 'value'),
]


@pytest.mark.parametrize(('hint', 'data', 'path'), INBOUND)
def test_a_request_that_means_nothing_is_an_error_that_says_where(
    hint: Any, data: Any, path: str
) -> None:
    with pytest.raises(ConversionError) as error:
        from_json(echo(hint), data)
    assert error.value.path == path


def test_the_error_of_a_constructor_about_an_argument_is_reported() -> None:
    with pytest.raises(ConversionError, match='a side is never negative'):
        from_json(echo(Computed), {'value': {'side': -1}})


def test_a_json_value_that_holds_nothing_is_no_none() -> None:
    method = echo(Any)
    message = method.request_class()
    message.value.SetInParent()
    with pytest.raises(ConversionError, match='holds nothing'):
        method.read_request(message)


def test_fields_of_a_newer_schema_are_not_dropped() -> None:
    newer, older = echo(Point3), echo(Point)
    data = newer.write_request((Point3(1, 2, 3),)).SerializeToString()
    with pytest.raises(ConversionError, match='unknown field') as error:
        older.read_request(older.request_class.FromString(data))
    assert error.value.path == 'value'


def test_json_with_an_unknown_field_is_refused_by_protobuf() -> None:
    with pytest.raises(json_format.ParseError):
        from_json(echo(int), {'value': 1, 'other': 2})


class OwnText(str):
    """Equals only itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class OwnNumber(int):
    """Equals only itself."""

    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ('hint', 'value'),
    [
        (dict[str, int], {OwnText('a'): 1, OwnText('a'): 2}),
        (dict[int, int], {OwnNumber(1): 1, OwnNumber(1): 2}),
    ],
)
def test_keys_that_are_one_on_the_wire_are_a_mismatch(hint: Any, value: Any) -> None:
    with pytest.raises(ConversionError, match='not distinct in its keys'):
        echo(hint).write_request((value,))


def test_a_timestamp_out_of_range_is_a_mismatch() -> None:
    method = echo(datetime.datetime)
    message = method.request_class()
    message.value.seconds = 2**60
    with pytest.raises(ConversionError):
        method.read_request(message)
    message.value.seconds = 0
    for nanos in (-1000, 10**9):
        message.value.nanos = nanos
        with pytest.raises(ConversionError):
            method.read_request(message)
    first = datetime.datetime.min.replace(tzinfo=datetime.timezone.utc)
    assert method.write_response(first).result.seconds == -62135596800
    early = datetime.datetime.min.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    with pytest.raises(ResultConversionError):
        method.write_response(early)


class Option(enum.Flag):
    A = 1


class Twice(enum.Enum):
    ab = 1
    AB = 2


@dataclasses.dataclass
class Clash:
    itemName: int
    item_name: int


@dataclasses.dataclass
class Kept:
    value: dataclasses.InitVar[int]


@dataclasses.dataclass
class Deep:
    inner: list[complex]


class Bare(NamedTuple):
    größe: int


UNMAPPABLE: list[tuple[Any, str]] = [
    (complex, 'complex'),
    (list[complex], 'complex'),
    (Deep, 'Deep: inner: complex'),
    (collections.abc.Callable[[], int], 'Callable'),
    (type, 'type'),
    (T, 'type variable'),
    (list[T], 'type variable'),  # type: ignore[valid-type]
    (Box, 'generic'),
    (Option, 'Flag'),
    (Twice, 'same name'),
    (Clash, 'both become'),
    (Kept, 'InitVar'),
    (Bare, 'größe'),
    (Literal[1, 2], 'Literal'),
    (Literal['a', b'a'], 'Literal'),
    (Literal['a', 'für'], 'can not be the name of an enum value'),
    (collections.defaultdict[str, int], 'defaultdict'),
    (set[list[int]], 'hashable'),
    (dict[Point, int], 'hashable'),
    (Union[int, Annotated[int, markers.UInt64]], 'ambiguous'),
    (Union[int, Annotated[int, markers.BigInt]], 'ambiguous'),
    (Annotated[str, markers.UInt64], 'width'),
    (Annotated[int, markers.Float32], 'width'),
    (list[Annotated[int, markers.field(5)]], 'whole annotation'),
    (Annotated[int | str, markers.field(5)], 'pin'),
    (Union[int, complex], 'complex'),
    (list[Iterator[int]], 'Iterator'),
    (Optional[Iterator[int]], 'Iterator'),
    (None, 'None'),
]


@pytest.mark.parametrize(('hint', 'reason'), UNMAPPABLE)
def test_a_type_without_a_form_is_left_out_with_its_reason(hint: Any, reason: str) -> None:
    assert reason in reason_unmapped(hint)


@pytest.mark.parametrize('number', [0, -1, 19000, 19999, 2**29])
def test_a_pin_is_a_number_that_protobuf_has(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        markers.field(number)
