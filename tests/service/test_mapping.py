"""The mapping table: each row from Python to the wire and back, and as JSON both ways."""

# The annotations under test are written in all ways.
# ruff: noqa: RUF036, UP006, UP007, UP045

from __future__ import annotations

import collections
import collections.abc
import datetime
import decimal
import fractions
import ipaddress
import math
import pathlib
import struct
import typing
import uuid
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from tests.service.models import (
    Box,
    Color,
    Computed,
    Labelled,
    Level,
    Movie,
    Node,
    Pair,
    Partial,
    Point,
    Point3,
    Words,
)
from tests.service.support import back, echo, from_json, there, to_json, transfer
from uactor.service.mapping import markers

pytestmark = pytest.mark.quick

UTC = datetime.timezone.utc
NOON = datetime.datetime(2024, 2, 29, 12, 0, 0, 5, tzinfo=UTC)
UUID = uuid.UUID('12345678-1234-5678-1234-567812345678')

SCALARS: list[tuple[Any, Any, Any]] = [
    (bool, True, True),
    (bool, False, False),
    (int, 0, '0'),
    (int, -(2**63), str(-(2**63))),
    (int, 2**63 - 1, str(2**63 - 1)),
    (float, 0.1, 0.1),
    (float, -0.0, -0.0),
    (float, math.inf, 'Infinity'),
    (str, 'grün', 'grün'),
    (str, '', ''),
    (bytes, b'\0\xff', 'AP8='),
    (bytearray, bytearray(b'a'), 'YQ=='),
    (Annotated[int, markers.UInt64], 2**64 - 1, str(2**64 - 1)),
    (Annotated[int, markers.Int64], -1, '-1'),
    (Annotated[int, markers.Int32], -(2**31), -(2**31)),
    (Annotated[int, markers.UInt32], 2**32 - 1, 2**32 - 1),
    (Annotated[int, markers.SInt32], -5, -5),
    (Annotated[int, markers.SInt64], -5, '-5'),
    (Annotated[int, markers.Fixed32], 5, 5),
    (Annotated[int, markers.Fixed64], 5, '5'),
    (Annotated[int, markers.SFixed32], -5, -5),
    (Annotated[int, markers.SFixed64], -5, '-5'),
    (Annotated[int, markers.BigInt], 10**50, str(10**50)),
    (Annotated[float, markers.Float32], 0.5, 0.5),
    (Annotated[int, 'anything else'], 5, '5'),
    (typing.NewType('Meters', int), 5, '5'),
    (Color, Color.RED, 'COLOR_RED'),
    (Color, Color.darkGreen, 'COLOR_DARK_GREEN'),
    (Color, Color.CRIMSON, 'COLOR_RED'),
    (Level, Level.LOW, 'LEVEL_LOW'),
    (Literal['a', 'text/plain'], 'text/plain', 'CALL_VALUE_TEXT_PLAIN'),
    (datetime.datetime, NOON, '2024-02-29T12:00:00.000005Z'),
    (datetime.timedelta, datetime.timedelta(seconds=-1.5), '-1.500s'),
    (datetime.date, datetime.date(2024, 2, 29), '2024-02-29'),
    (datetime.time, datetime.time(1, 2, 3, 4), '01:02:03.000004'),
    (datetime.time, datetime.time(1, 2, tzinfo=UTC), '01:02:00+00:00'),
    (decimal.Decimal, decimal.Decimal('1.50'), '1.50'),
    (decimal.Decimal, decimal.Decimal('-Infinity'), '-Infinity'),
    (fractions.Fraction, fractions.Fraction(1, 3), '1/3'),
    (uuid.UUID, UUID, str(UUID)),
    (pathlib.Path, pathlib.Path('/a/b c'), '/a/b c'),
    (pathlib.PureWindowsPath, pathlib.PureWindowsPath('c:\\x'), 'c:\\x'),
    (ipaddress.IPv4Address, ipaddress.IPv4Address('127.0.0.1'), '127.0.0.1'),
    (ipaddress.IPv6Address, ipaddress.IPv6Address('::1'), '::1'),
    (ipaddress.IPv4Network, ipaddress.IPv4Network('10.0.0.0/8'), '10.0.0.0/8'),
    (ipaddress.IPv6Interface, ipaddress.IPv6Interface('::1/64'), '::1/64'),
]

CONTAINERS: list[tuple[Any, Any, Any]] = [
    (list[int], [3, 1, 3], ['3', '1', '3']),
    (typing.List[int], [3], ['3']),
    (collections.abc.Sequence[str], ['b', 'a'], ['b', 'a']),
    (tuple[int, ...], (1, 2), ['1', '2']),
    (collections.deque[int], collections.deque([1]), ['1']),
    (set[str], {'b', 'a'}, ['a', 'b']),
    (frozenset[int], frozenset({2, 1}), ['1', '2']),
    (collections.abc.Set[int], frozenset({2, 1}), ['1', '2']),
    (list[Point], [Point(1, 2)], [{'x': '1', 'y': '2'}]),
    (list[Color], [Color.RED], ['COLOR_RED']),
    (list[list[int]], [[1], []], [{'items': ['1']}, {}]),
    (list[int | None], [1, None], [{'value': '1'}, {}]),
    (list[list[int] | None], [[1], None, []], [{'value': {'items': ['1']}}, {}, {'value': {}}]),
    (list[int | str], [1, 'a'], [{'value_int': '1'}, {'value_str': 'a'}]),
    (dict[str, int], {'a': 1}, {'a': '1'}),
    (dict[int, str], {-1: 'a'}, {'-1': 'a'}),
    (dict[bool, float], {True: 0.5}, {'true': 0.5}),
    (dict[Annotated[int, markers.UInt32], int], {5: 6}, {'5': '6'}),
    (collections.abc.Mapping[str, Point], {'a': Point(1)}, {'a': {'x': '1', 'y': '0'}}),
    (dict[str, list[int]], {'a': [1], 'b': []}, {'a': {'items': ['1']}, 'b': {}}),
    (dict[str, int | None], {'a': None}, {'a': {}}),
    (dict[str, dict[str, int]], {'a': {'b': 1}}, {'a': {'entries': {'b': '1'}}}),
    (dict[float, int], {0.5: 1}, [{'key': 0.5, 'value': '1'}]),
    (dict[Color, list[int]], {Color.RED: [1]}, [{'key': 'COLOR_RED', 'value': ['1']}]),
    (
        dict[tuple[int, int], str],
        {(1, 2): 'a'},
        [{'key': {'item_0': '1', 'item_1': '2'}, 'value': 'a'}],
    ),
    (dict[uuid.UUID, int], {UUID: 1}, [{'key': str(UUID), 'value': '1'}]),
    (dict[datetime.date, None | int], {datetime.date(2024, 1, 1): None}, [{'key': '2024-01-01'}]),
    (
        collections.OrderedDict[str, int],
        collections.OrderedDict(b=1, a=2),
        [{'key': 'b', 'value': '1'}, {'key': 'a', 'value': '2'}],
    ),
    (collections.Counter[str], collections.Counter('aab'), {'a': '2', 'b': '1'}),
    (tuple[int, str], (1, 'a'), {'item_0': '1', 'item_1': 'a'}),
    (tuple[int, str | None], (1, None), {'item_0': '1'}),
    (list[tuple[int, tuple[bool]]], [(1, (True,))], [{'item_0': '1', 'item_1': {'item_0': True}}]),
]

MODELS: list[tuple[Any, Any, Any]] = [
    (Point, Point(1, 2), {'x': '1', 'y': '2'}),
    (Point3, Point3(1, 2), {'x': '1', 'y': '2', 'z': {'value': '7'}}),
    (Point3, Point3(1, 2, None), {'x': '1', 'y': '2', 'z': {}}),
    (
        Node,
        Node('a', [Node('b')], Node('c'), {'d': Node('d')}),
        {
            'name': 'a',
            'children': [{'name': 'b'}],
            'next': {'name': 'c'},
            'by_name': {'d': {'name': 'd'}},
        },
    ),
    (Computed, Computed(3), {'side': '3', 'area': '9', 'tags': {'items': ['new']}}),
    (Box[int], Box(1, [2]), {'item': '1', 'more': ['2']}),
    (Box[Box[str]], Box(Box('a')), {'item': {'item': 'a'}}),
    (Labelled[int, str], Labelled(1, [2], 'x'), {'item': '1', 'more': ['2'], 'label': 'x'}),
    (Words, Words('a', ['b']), {'item': 'a', 'more': ['b']}),
    (Movie, {'title': 'a'}, {'title': 'a'}),
    (Movie, {'title': 'a', 'year': None, 'tags': []}, {'title': 'a', 'year': {}, 'tags': {}}),
    (Partial, {}, {}),
    (Pair, Pair(1), {'left': '1', 'right_str': 'r'}),
    (Pair, Pair(1, 2), {'left': '1', 'right_int': '2'}),
]

JSON: list[tuple[Any, Any, Any]] = [
    (Any, None, None),
    (Any, [1, 0.5, 'a', True, None, {'b': []}], [1, 0.5, 'a', True, None, {'b': []}]),
    (object, 2**53, 2**53),
    (dict[str, Any], {'a': [1]}, {'a': [1]}),
    (dict, {'a': [1]}, {'a': [1]}),
    (list, [1, {'a': None}], [1, {'a': None}]),
    (list[Any], [1, None], [1, None]),
    (dict[str, dict[str, Any]], {'a': {'b': 1}}, {'a': {'b': 1}}),
    (dict[int, Any], {1: None}, {'1': None}),
    (Optional[Any], None, None),
]


@pytest.mark.parametrize(('hint', 'value', 'json'), SCALARS + CONTAINERS + MODELS + JSON)
def test_a_value_comes_through_both_ways_and_has_its_form_in_json(
    hint: Any, value: Any, json: Any
) -> None:
    method = echo(hint)
    assert repr(there(method, value)) == repr(value) or there(method, value) == value
    assert type(there(method, value)) is type(value)
    assert back(method, value) == value
    assert type(back(method, value)) is type(value)
    assert to_json(method.write_request((value,))) == {'value': json}
    assert from_json(method, {'value': json})['value'] == value


OPTIONAL: list[tuple[Any, Any]] = [
    (Optional[int], 0),
    (Optional[bool], False),
    (Optional[str], ''),
    (Optional[Color], Color.RED),
    (Optional[Literal['a']], 'a'),
    (Literal['a', None], 'a'),
    (Optional[Point], Point(1)),
    (Optional[datetime.datetime], NOON),
    (Optional[list[int]], []),
    (Optional[list[int]], [1]),
    (Optional[dict[str, int]], {}),
    (Optional[set[int]], set()),
    (Optional[dict[float, int]], {}),
    (Optional[list[int | None]], [None]),
    (Optional[list], []),
    (Optional[tuple[()]], ()),
    (int | None, 5),
    (Union[None, int, str], 'a'),
]


@pytest.mark.parametrize(('hint', 'value'), OPTIONAL)
def test_none_differs_from_every_value(hint: Any, value: Any) -> None:
    method = echo(hint)
    for each in (value, None):
        assert there(method, each) == each
        assert back(method, each) == each
    assert from_json(method, {}) == {'value': None}


UNIONS: list[tuple[Any, Any, str]] = [
    (Union[int, str], 1, 'value_int'),
    (Union[int, str], '1', 'value_str'),
    (Union[int, bool], True, 'value_bool'),
    (Union[bool, int], 1, 'value_int'),
    (Union[int, float], 1, 'value_int'),
    (Union[float, int], 1.0, 'value_float'),
    (Union[str, Literal['a']], 'a', 'value_call_value'),
    (Union[str, Literal['a']], 'b', 'value_str'),
    (Union[datetime.date, datetime.datetime], NOON, 'value_datetime'),
    (Union[datetime.date, datetime.datetime], datetime.date(2024, 1, 1), 'value_date'),
    (Union[str, decimal.Decimal, uuid.UUID], UUID, 'value_uuid'),
    (Union[Point, Point3], Point3(1), 'value_point3'),
    (Union[Point, Point3], Point(1), 'value_point'),
    (Union[Level, int], Level.HIGH, 'value_level'),
    (Union[int, list[int]], [1], 'value_int_list'),
    (Union[list[int], list[str]], ['a'], 'value_str_list'),
    (Union[dict[str, int], Movie], {'title': 'a'}, 'value_movie'),
    (Union[Box[int], Box[str]], Box('a'), 'value_str_box'),
    (Union[Pair, tuple[int, int]], (1, 2), 'value_int_int_tuple'),
    (Union[Pair, tuple[int, int]], Pair(1, 2), 'value_pair'),
    (Union[int, Any], [1], 'value_any'),
    (Union[int, Any], 1, 'value_int'),
    (Union[bytes, bytearray], bytearray(b'a'), 'value_bytearray'),
]


@pytest.mark.parametrize(('hint', 'value', 'arm'), UNIONS)
def test_the_most_specific_arm_of_a_union_takes_the_value(hint: Any, value: Any, arm: str) -> None:
    method = echo(hint)
    message = transfer(method.write_request((value,)))
    assert message.WhichOneof('value') == arm
    for each in (there(method, value), back(method, value)):
        assert each == value
        assert type(each) is type(value)


def test_an_aware_datetime_comes_back_in_utc() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    value = datetime.datetime(2024, 1, 1, 12, tzinfo=zone)
    got = there(echo(datetime.datetime), value)
    assert got == value
    assert got.tzinfo is UTC


def test_memoryview_counts_as_bytes() -> None:
    assert there(echo(memoryview), memoryview(b'a')).tobytes() == b'a'
    assert there(echo(bytes), memoryview(b'a')) == b'a'
    assert there(echo(bytes), bytearray(b'a')) == b'a'


def test_nan_is_a_float() -> None:
    assert math.isnan(there(echo(float), math.nan))


def test_a_whole_number_in_json_is_an_int() -> None:
    value = there(echo(Any), [3, 3.5, -0.0, 1e300])
    assert [type(each) for each in value] == [int, float, float, float]


def test_an_int_is_a_float_where_it_is_one_exactly() -> None:
    assert there(echo(float), 3) == 3.0


def test_float32_is_rounded_since_that_was_asked_for() -> None:
    single = there(echo(Annotated[float, markers.Float32]), 0.1)
    assert single == struct.unpack('f', struct.pack('f', 0.1))[0]
    assert single != 0.1
