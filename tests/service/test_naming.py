"""Names of Protobuf made of names of Python."""

from __future__ import annotations

import pytest

from uactor.service.errors import UnsupportedTypeError
from uactor.service.naming import camel, file_of, package_of, pascal, service_of, snake, upper

pytestmark = pytest.mark.quick

NAMES = [
    ('add', 'add', 'Add', 'ADD'),
    ('add_all', 'add_all', 'AddAll', 'ADD_ALL'),
    ('__len__', 'len', 'Len', 'LEN'),
    ('HTTPServer', 'http_server', 'HTTPServer', 'HTTP_SERVER'),
    ('getURL', 'get_url', 'GetURL', 'GET_URL'),
    ('Utf8Text', 'utf8_text', 'Utf8Text', 'UTF8_TEXT'),
    ('V2Point', 'v2_point', 'V2Point', 'V2_POINT'),
    ('a__b', 'a_b', 'AB', 'A_B'),
    ('item_0', 'item_0', 'Item0', 'ITEM_0'),
    ('list[int]', 'list_int', 'ListInt', 'LIST_INT'),
]


@pytest.mark.parametrize(('name', 'in_snake', 'in_pascal', 'in_upper'), NAMES)
def test_words_begin_where_buf_sees_them(
    name: str, in_snake: str, in_pascal: str, in_upper: str
) -> None:
    assert (snake(name), pascal(name), upper(name)) == (in_snake, in_pascal, in_upper)
    assert snake(in_snake) == in_snake


@pytest.mark.parametrize('name', ['', '_', '__', '1st', 'größe', 'añadir', '名前'])
def test_a_name_without_an_identifier_is_refused(name: str) -> None:
    for convert in (snake, pascal):
        with pytest.raises(UnsupportedTypeError, match='can not be a name in Protobuf'):
            convert(name)


@pytest.mark.parametrize(
    ('name', 'json_name'),
    [('a', 'a'), ('a_b', 'aB'), ('a__b', 'aB'), ('item_0', 'item0'), ('a_', 'a_'), ('_a', 'A')],
)
def test_json_has_names_in_camel_case(name: str, json_name: str) -> None:
    assert camel(name) == json_name


@pytest.mark.parametrize(
    ('module', 'package'),
    [
        ('shop', 'shop.v1'),
        ('shop.counters', 'shop.counters.v1'),
        ('Shop.HTTPCounters', 'shop.http_counters.v1'),
        ('__main__', 'main.v1'),
        ('__mp_main__', 'main.v1'),
        ('shop._private', 'shop.private.v1'),
        ('shop.2fast', 'shop.m2fast.v1'),
        ('größe.名前', 'gre.m.v1'),
    ],
)
def test_a_package_is_that_of_the_module(module: str, package: str) -> None:
    assert package_of(module) == package


def test_a_file_is_named_after_the_last_part_of_its_package() -> None:
    assert file_of('shop.counters.v1') == 'shop/counters/v1/counters.proto'
    assert file_of('shop.back.counters.v1') == 'shop/back/counters/v1/counters.proto'


def test_the_package_of_a_service_can_be_configured() -> None:
    counter = type('Counter', (), {'__module__': 'shop', '_package_': None})
    configured = type('counter', (counter,), {'_package_': 'market.stalls'})
    assert service_of(counter) == ('shop.v1', 'CounterService')
    assert service_of(counter, 'other') == ('other.v1', 'CounterService')
    assert service_of(configured) == ('market.stalls.v1', 'CounterService')
    assert service_of(configured, 'other') == ('other.v1', 'CounterService')
    with pytest.raises(UnsupportedTypeError):
        service_of(type('Größe', (counter,), {}))
