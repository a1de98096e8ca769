"""Codecs and fields by themselves: how well values fit, and what they become."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
from typing import Any

import pytest

from uactor.service.codecs.base import (
    ANYTHING,
    CONVERTED,
    DERIVED,
    EXACT,
    NAMED,
    NO_HANDLES,
    NOT,
    Codec,
)
from uactor.service.codecs.fields import (
    Field,
    MapField,
    OneofField,
    OptionalField,
    PairsField,
    RepeatedField,
    SingleField,
)
from uactor.service.codecs.json import JsonCodec
from uactor.service.codecs.messages import Layout, Maker, ModelCodec, TupleCodec, WrapperCodec
from uactor.service.codecs.part import MessagePlan, Part, validate_names
from uactor.service.codecs.scalars import (
    BigIntCodec,
    BytesCodec,
    FloatCodec,
    IntCodec,
    ScalarCodec,
    StringFormCodec,
    TextCodec,
)
from uactor.service.codecs.wellknown import ExternalMessages
from uactor.service.errors import ConversionError, UnsupportedTypeError

pytestmark = pytest.mark.quick


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return 'changed'


class Index:
    def __index__(self) -> int:
        return 5


class MyInt(int):
    pass


PATH = StringFormCodec(pathlib.PurePath, pathlib.PurePath)
INT, TEXT = IntCodec(), TextCodec()

FITS: list[tuple[Codec, Any, int]] = [
    (ScalarCodec(bool, 'bool'), True, EXACT),
    (ScalarCodec(bool, 'bool'), 1, NOT),
    (TEXT, 'a', EXACT),
    (TEXT, Text('a'), DERIVED),
    (TEXT, b'a', NOT),
    (INT, 1, EXACT),
    (INT, MyInt(1), DERIVED),
    (INT, Index(), CONVERTED),
    (INT, True, NOT),
    (INT, 2**63 - 1, EXACT),
    (INT, 2**63, NOT),
    (IntCodec('int32'), -(2**31), EXACT),
    (IntCodec('int32'), -(2**31) - 1, NOT),
    (IntCodec('sfixed32'), 2**31 - 1, EXACT),
    (IntCodec('sfixed32'), 2**31, NOT),
    (IntCodec('uint32'), 2**32 - 1, EXACT),
    (IntCodec('uint32'), 2**32, NOT),
    (IntCodec('fixed64'), 2**64 - 1, EXACT),
    (IntCodec('fixed64'), 2**64, NOT),
    (IntCodec('uint64'), -1, NOT),
    (BigIntCodec(), 10**30, EXACT),
    (BigIntCodec(), False, NOT),
    (FloatCodec(), 1.5, EXACT),
    (FloatCodec(), 1, CONVERTED),
    (FloatCodec(), MyInt(1), CONVERTED),
    (FloatCodec(), True, NOT),
    (FloatCodec(), '1', NOT),
    (BytesCodec(bytes), b'a', EXACT),
    (BytesCodec(bytes), bytearray(b'a'), CONVERTED),
    (BytesCodec(bytearray), bytearray(b'a'), EXACT),
    (BytesCodec(bytes), 'a', NOT),
    (PATH, pathlib.PurePosixPath('a'), DERIVED),
    (StringFormCodec(int, int), MyInt(1), NOT),
    (JsonCodec(ExternalMessages(), 'Struct'), {}, EXACT),
    (JsonCodec(ExternalMessages(), 'Struct'), [], NOT),
    (JsonCodec(ExternalMessages(), 'ListValue'), collections.UserList(), NOT),
]


@pytest.mark.parametrize(('codec', 'value', 'fit'), FITS)
def test_a_codec_returns_how_well_a_value_fits(codec: Codec, value: Any, fit: int) -> None:
    assert codec.match(value) == fit


def test_fits_are_ordered_from_worst_to_best() -> None:
    assert NOT < ANYTHING < CONVERTED < DERIVED < EXACT < NAMED
    assert not NOT


PACKED: list[tuple[Codec, Any, Any]] = [
    (TEXT, Text('a'), 'a'),
    (INT, Index(), 5),
    (INT, -(2**63), -(2**63)),
    (IntCodec('uint32'), 2**32 - 1, 2**32 - 1),
    (BigIntCodec(), -(10**30), '-1' + '0' * 30),
    (FloatCodec(), 2**53, float(2**53)),
    (FloatCodec('float'), 0.1, 0.10000000149011612),
    (FloatCodec('float'), float('inf'), float('inf')),
    (BytesCodec(bytes), memoryview(b'ab'), b'ab'),
    (PATH, pathlib.PurePosixPath('a/b'), 'a/b'),
]


@pytest.mark.parametrize(('codec', 'value', 'wire'), PACKED)
def test_a_codec_packs_a_value(codec: Codec, value: Any, wire: Any) -> None:
    packed = codec.pack(value, NO_HANDLES)
    assert packed == wire
    assert type(packed) is type(wire)


REFUSED: list[tuple[Codec, Any, str]] = [
    (TEXT, '\ud800', 'is not UTF-8'),
    (INT, True, 'is not an int'),
    (IntCodec('int32'), 2**31, 'is not in the range of int32'),
    (IntCodec('int32'), -(2**31) - 1, 'is not in the range of int32'),
    (IntCodec('uint32'), 2**32, 'is not in the range of uint32'),
    (IntCodec('uint32'), -1, 'is not in the range of uint32'),
    (FloatCodec(), 2**53 + 1, 'is not exact as a float'),
    (FloatCodec(), 10**400, 'is not exact as a float'),
    (FloatCodec('float'), 1e39, 'is not in the range of float'),
    (BytesCodec(bytes), 'a', 'is not bytes'),
    (PATH, 'a', 'is not a PurePath'),
]


@pytest.mark.parametrize(('codec', 'value', 'reason'), REFUSED)
def test_a_codec_refuses_a_value_that_would_change(codec: Codec, value: Any, reason: str) -> None:
    with pytest.raises(ConversionError, match=reason):
        codec.pack(value, NO_HANDLES)


# --- fields --------------------------------------------------------------------------------------


def write(field: Field, value: Any) -> dict[str, Any]:
    wire: dict[str, Any] = {}
    field.write('a', value, wire, NO_HANDLES)
    return wire


def refusal(field: Field, value: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        write(field, value)
    return str(caught.value)


LIST = RepeatedField(INT, 'list', (list,), list)
SET = RepeatedField(INT, 'set', (set,), set)
DICT = MapField(TEXT, INT, 'dict', dict, dict)
UNION = OneofField([INT, TEXT, FloatCodec()], allows_none=True)


def sequence(codec: Codec) -> RepeatedField:
    return RepeatedField(codec, 'sequence', (collections.abc.Sequence,), list)


def test_fields_write_what_they_hold() -> None:
    assert write(SingleField(INT), 1) == {'a': 1}
    assert write(OptionalField(INT), 1) == {'a': 1}
    assert write(OptionalField(INT), None) == {}
    assert write(LIST, [2, 1]) == {'a': [2, 1]}
    assert write(DICT, {'b': 1}) == {'a': {'b': 1}}
    assert write(UNION, 1) == {'a_int': 1}
    assert write(UNION, 'b') == {'a_str': 'b'}
    assert write(UNION, None) == {}


def test_a_set_is_written_in_order() -> None:
    numbers = {2**61, 3, 2, -1}
    assert list(numbers) != sorted(numbers)
    assert write(SET, numbers) == {'a': sorted(numbers)}


def test_a_set_without_an_order_is_written_all_the_same() -> None:
    mixed = RepeatedField(ScalarCodec(object, 'string'), 'set', (set,), set)
    assert sorted(write(mixed, {1, 'a'})['a'], key=str) == [1, 'a']


@pytest.mark.parametrize('text', ['ab', b'ab', bytearray(b'ab')])
def test_text_is_no_sequence(text: Any) -> None:
    any_element = ScalarCodec(object, 'string')
    assert sequence(any_element).match(text) == NOT
    assert 'is not a sequence' in refusal(sequence(any_element), text)
    assert sequence(any_element).match(('a', 'b')) == DERIVED


def test_a_refusal_says_where_the_value_is() -> None:
    assert refusal(LIST, [1, 'b']).startswith("[1]: 'b' (str) is not an int")
    assert refusal(DICT, {'b': 1, 'c': 'd'}).startswith("['c']: 'd' (str)")


def test_keys_that_are_one_on_the_wire_are_refused() -> None:
    by_path = MapField(PATH, INT, 'dict', dict, dict)
    paths = {pathlib.PurePosixPath('a'): 1, pathlib.PureWindowsPath('a'): 2}
    assert 'distinct in its keys' in refusal(by_path, paths)


def test_ambiguous_arms_are_refused() -> None:
    arms = [sequence(INT), sequence(FloatCodec())]
    codecs = [
        WrapperCodec(field, MessagePlan(field.key, field.label), field.label) for field in arms
    ]
    union = OneofField(codecs, allows_none=False)
    assert 'ambiguous: it may be int_sequence or double' not in refusal(union, [])
    assert refusal(union, []).startswith('ambiguous: it may be int_sequence or float_sequence')
    assert 'is not one of int_sequence, float_sequence' in refusal(union, None)


FIELD_FITS: list[tuple[Field, Any, int]] = [
    (OptionalField(INT), None, EXACT),
    (SingleField(INT), None, NOT),
    (LIST, [], EXACT),
    (LIST, [1, Index()], CONVERTED),
    (LIST, [1, 'a'], NOT),
    (LIST, (1,), NOT),
    (DICT, {}, EXACT),
    (DICT, {Text('a'): 1}, DERIVED),
    (DICT, {'a': 'b'}, NOT),
    (DICT, [], NOT),
    (UNION, None, NAMED),
    (UNION, Index(), CONVERTED),
    (UNION, b'', NOT),
]


@pytest.mark.parametrize(('field', 'value', 'fit'), FIELD_FITS)
def test_a_field_fits_as_well_as_its_worst_element(field: Field, value: Any, fit: int) -> None:
    assert field.match(value) == fit


def pairs(key: Codec) -> PairsField:
    parts = [Part('key', 'key', SingleField(key)), Part('value', 'value', SingleField(INT))]
    entry = TupleCodec(MessagePlan('entry', 'Entry', parts=parts), 'entry')
    return PairsField(entry, 'dict', dict, dict)


def test_a_dict_as_pairs_is_no_better_than_a_dict_as_a_map() -> None:
    assert pairs(TEXT).codec.match(('a', 1)) == NAMED
    assert pairs(TEXT).match({'a': 1}) == DICT.match({'a': 1}) == EXACT
    assert pairs(TEXT).match({1: 1}) == NOT


def test_absence_is_a_new_container_each_time() -> None:
    for field in (LIST, SET, DICT, pairs(TEXT)):
        assert field.absent_value() == field.absent
        assert field.absent_value() is not field.absent_value()


# --- messages ------------------------------------------------------------------------------------


class Bound:
    """Stands for the class of a message, of which the fields alone count."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


def message(*parts: Part) -> MessagePlan:
    return MessagePlan('shop.Point', 'Point', parts=list(parts), bound=Bound)


def part(name: str, codec: Codec = INT, **options: Any) -> Part:
    return Part(name, name, SingleField(codec), **options)


def test_a_layout_writes_the_values_of_its_parts() -> None:
    layout = Layout(message(part('x', wire_name='x_2'), part('y', default='default')))
    assert layout.write({'x': 1}, NO_HANDLES).fields == {'x_2': 1}
    assert layout.write({'x': 1, 'y': 2}, NO_HANDLES).fields == {'x_2': 1, 'y': 2}


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({}, 'x_2: missing'),
        ({'x': 1, 'z': 2}, 'unknown: z'),
        ({'x': 'a'}, "x_2: 'a' (str) is not an int"),
    ],
)
def test_a_layout_refuses_other_values(values: dict[str, Any], reason: str) -> None:
    layout = Layout(message(part('x', wire_name='x_2'), part('y', default='default')))
    with pytest.raises(ConversionError) as caught:
        layout.write(values, NO_HANDLES)
    assert str(caught.value) == reason


def test_an_error_in_a_wrapper_is_at_the_place_that_python_knows() -> None:
    plan = MessagePlan('list', 'IntList', bound=Bound)
    wrapper = WrapperCodec(LIST, plan, 'int_list')
    assert wrapper.pack([1, 2], NO_HANDLES).fields == {'items': [1, 2]}
    with pytest.raises(ConversionError) as caught:
        wrapper.pack([1, 'a'], NO_HANDLES)
    assert caught.value.path == '[1]'


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: int = dataclasses.field(init=False, default=0)


def test_a_maker_sets_later_what_the_constructor_does_not_take() -> None:
    point = Maker(Point, Point, frozenset(['y'])).create({'x': 1, 'y': 2})
    assert (point.x, point.y) == (1, 2)


def model(class_: type | None, *parts: Part, is_generic: bool = False) -> ModelCodec:
    codec = ModelCodec(class_ or dict, message(*parts), 'point', is_generic)
    codec.maker = Maker(class_, class_ or dict)
    return codec


class Derived(Point):
    pass


MODEL_FITS: list[tuple[Codec, Any, int]] = [
    (model(Point, part('x')), Point(1), NAMED),
    (model(Point, part('x')), Derived(1), NOT),
    (model(Point, part('x', TEXT)), Point(1), NAMED),
    (model(Point, part('x'), is_generic=True), Point(1), NAMED),
    (model(Point, part('x', TEXT), is_generic=True), Point(1), NOT),
    (model(Point, part('x', FloatCodec()), is_generic=True), Point(1), CONVERTED),
    (model(None, part('x')), {'x': 1}, NAMED),
    (model(None, part('x')), {'x': Index()}, CONVERTED),
    (model(None, part('x')), {}, NOT),
    (model(None, part('x', default='omitted')), {}, NAMED),
    (model(None, part('x')), {'x': 1, 'y': 2}, NOT),
    (model(None, part('x')), Point(1), NOT),
    (TupleCodec(message(part('x'), part('y')), 'pair'), (1, 2), NAMED),
    (TupleCodec(message(part('x'), part('y')), 'pair'), (1, Index()), CONVERTED),
    (TupleCodec(message(part('x'), part('y')), 'pair'), (1,), NOT),
    (TupleCodec(message(part('x'), part('y')), 'pair'), [1, 2], NOT),
]


@pytest.mark.parametrize(('codec', 'value', 'fit'), MODEL_FITS)
def test_a_message_fits_a_value_of_its_class(codec: Codec, value: Any, fit: int) -> None:
    assert codec.match(value) == fit


def test_extra_fields_of_pydantic_are_refused() -> None:
    point = Point(1)
    object.__setattr__(point, '__pydantic_extra__', {'z': 3})
    with pytest.raises(ConversionError, match='without extra fields'):
        model(Point, part('x')).pack(point, NO_HANDLES)


def test_a_derived_class_is_refused() -> None:
    with pytest.raises(ConversionError, match='is not a Point itself'):
        model(Point, part('x')).pack(Derived(1), NO_HANDLES)


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('parts', 'reason'),
    [
        ([part('a', pin=3), part('b', pin=3)], 'two fields are pinned to the same number'),
        ([part('a_b'), part('a__b')], "'a_b' and 'a__b' both become 'a__b'"),
        ([Part('a', 'a', UNION), part('a_int')], "'a' and 'a_int' both become 'a_int'"),
    ],
)
def test_parts_that_share_a_number_or_a_name_are_refused(parts: list[Part], reason: str) -> None:
    with pytest.raises(UnsupportedTypeError, match=reason):
        validate_names(parts)


def test_parts_may_have_names_of_their_own_and_pins_of_their_own() -> None:
    validate_names([part('a', pin=3), part('b', pin=4), part('c'), Part('d', 'd', UNION)])


def test_a_part_gives_its_pin_its_text_and_its_default_to_its_fields() -> None:
    plans = Part('a', 'a', SingleField(INT), 'default', 7, doc='An int.').plan_fields('b')
    assert [(each.name, each.pin, each.doc, each.absent) for each in plans] == [
        ('b', 7, 'An int.', 'default')
    ]
    (plan,) = Part('a', 'a', OptionalField(INT), 'default').plan_fields()
    assert plan.absent == 'none'
