"""The ``.proto`` file: what buf says of it, and what people read in it."""

from __future__ import annotations

import datetime
import enum
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
from google.protobuf import descriptor_pb2

from tests.service.buf import buf, write
from tests.service.models import Box, Color, Computed, Labelled, Movie, Node, Pair, Point, Point3
from tests.service.support import schema
from tests.service.test_lock import history, locked, make_class
from tests.support import Actor
from uactor.service.contract.proto_text import proto_text
from uactor.service.naming import camel, pascal, snake, upper
from uactor.service.schema import schema_of, schema_text

pytestmark = pytest.mark.quick


class HTTPStatus2xx(enum.Enum):
    OKAndMore = 1
    no_content = 2
    UNSPECIFIED = 3


class Everything(Actor):
    """Uses every row of the table.

    More of that: "quoted" */ and // and \\ back.
    """

    _method_to_typeid_ = {'shared': 'list'}

    def scalars(self, a: int, b: bool, c: float, d: str, e: bytes) -> None:
        """Take scalars.

        :param a: the first.
        """

    def nested(self, xs: list[list[int | None]], y: dict[str, list[Node]]) -> list[Point3]: ...
    def keys(self, by_color: dict[Color, int], by_float: dict[float, Movie]) -> None: ...
    def union(self, value: int | Point | list[str] | None) -> Color | Pair: ...
    def literal(self, mode: Literal['r', 'w+b', 'rW'] = 'r') -> list[Literal['x']]: ...
    def when(self, at: datetime.datetime, after: datetime.timedelta) -> datetime.date: ...
    def anything(self, value: Any, table: dict[str, Any], items: list) -> object: ...  # type: ignore[type-arg]
    def stream(self, to: int) -> Iterator[Box[int]]: ...
    def feed(self, items: AsyncIterator[int | None], last: bool) -> AsyncIterator[Node]: ...
    def rest(self, *args: int, **kwargs: Point) -> Computed: ...
    def labelled(self, x: Labelled[int, str], five: int | None = 5) -> tuple[int, str]: ...
    def shared(self) -> list[complex]: ...
    def status(self, HTTPCode: HTTPStatus2xx, item_2: int, message: str, option: int) -> None: ...
    def getHTTP2URLs(self) -> Sequence[str]: ...
    def unmapped(self, x: complex) -> int: ...


@pytest.mark.processes
def test_buf_has_nothing_to_say_to_the_file(tmp_path: Path) -> None:
    schema = schema_of(Everything)
    assert set(schema.unmapped) == {'unmapped'}
    write(schema, tmp_path)
    assert buf('lint', folder=tmp_path) == ''
    assert buf('format', '--diff', folder=tmp_path) == ''


@pytest.mark.processes
@pytest.mark.parametrize('package', ['google.type', 'uactor.v1', 'shop.uactor', 'x'])
def test_packages_that_stand_in_the_way_of_names(package: str, tmp_path: Path) -> None:
    write(schema_of(Everything, package=package), tmp_path)
    assert buf('lint', folder=tmp_path) == ''


@pytest.mark.processes
def test_reserved_names_and_numbers_are_printed(tmp_path: Path) -> None:
    def first(self: Any, a: int, b: int, c: int, d: int, e: int) -> None: ...
    def then(self: Any, b: int) -> None: ...

    made_then = make_class(call=then)
    made_schema = schema_of(made_then, locked(made_then, history(first)))
    write(made_schema, tmp_path)
    assert buf('lint', folder=tmp_path) == ''
    assert buf('format', '--diff', folder=tmp_path) == ''
    text = schema_text(made_schema)
    assert 'reserved 1, 3 to 5;' in text
    assert 'reserved "a", "c", "d", "e";' in text


@pytest.mark.processes
def test_the_text_compiles_to_the_descriptor_that_is_served(tmp_path: Path) -> None:
    made_schema = schema_of(Everything)
    write(made_schema, tmp_path)
    output = tmp_path / 'image.binpb'
    assert buf('build', '--as-file-descriptor-set', '-o', str(output), folder=tmp_path) == ''
    files = descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file
    compiled = next(file for file in files if file.name == made_schema.file.name)
    compiled.ClearField('source_code_info')
    served = descriptor_pb2.FileDescriptorProto()
    served.CopyFrom(made_schema.file)
    served.ClearField('source_code_info')
    assert str(compiled) == str(served)


def test_the_header_says_how_far_to_rely_on_the_numbers() -> None:
    plain = schema_of(Everything)
    head = schema_text(plain).partition('syntax')[0]
    assert 'UNSTABLE' in head
    assert plain.fingerprint in head
    head = schema_text(schema_of(Everything, plain.lock)).partition('syntax')[0]
    assert 'UNSTABLE' not in head
    assert plain.fingerprint in head


def test_comments_are_the_docstrings() -> None:
    text = schema_text(schema_of(Everything))
    assert '// Uses every row of the table.\n' in text
    assert '  // Take scalars.\n  //\n  // :param a: the first.\n  rpc Scalars(' in text
    assert '  // the first.\n  optional int64 a = 1;' in text
    assert '// A point of the plane.\n' in text
    assert '  // how far to the right.\n' in text
    assert '// Colors of things.\nenum Color {' in text


def test_the_service_lists_the_methods_that_it_leaves_out() -> None:
    text = schema_text(schema_of(Everything))
    assert "//   unmapped: parameter 'x': complex has no form in Protobuf\n" in text


def test_the_same_class_gives_the_same_text() -> None:
    first = schema_text(schema_of(Everything))
    schema_of.cache_clear()
    assert schema_text(schema_of(Everything)) == first


def test_comments_are_in_the_descriptor() -> None:
    def call(self: Any) -> None:
        """Say something."""

    file = schema(call).file
    comments = {tuple(each.path): each.leading_comments for each in file.source_code_info.location}
    assert comments[6, 0, 2, 0] == ' Say something.\n'
    assert '// Say something.' in proto_text(file)


NAMES = [
    ('byValue', 'by_value', 'ByValue', 'BY_VALUE'),
    ('HTTPServer', 'http_server', 'HTTPServer', 'HTTP_SERVER'),
    ('http2URL', 'http2url', 'Http2URL', 'HTTP2URL'),
    ('_a__b_', 'a_b', 'AB', 'A_B'),
    ('item_0', 'item_0', 'Item0', 'ITEM_0'),
    ('X', 'x', 'X', 'X'),
]


@pytest.mark.parametrize(('name', 'snaked', 'pascaled', 'uppered'), NAMES)
def test_names(name: str, snaked: str, pascaled: str, uppered: str) -> None:
    assert snake(name) == snaked
    assert pascal(name) == pascaled
    assert upper(name) == uppered


def test_names_in_json() -> None:
    assert camel('item_0') == 'item0'
    assert camel('by_value_now') == 'byValueNow'
