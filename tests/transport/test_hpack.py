"""Header blocks, held against those of the library hpack."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uactor.transport.hpack import HeaderError, decode_headers, encode_headers

pytestmark = pytest.mark.quick

NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=300)
VALUES = st.text(st.characters(max_codepoint=255), max_size=300)
OWN = NAMES.map(lambda name: f'x-{name}')  # which the static table has not


@settings(deadline=None)
@given(st.dictionaries(OWN, VALUES), st.booleans())
@example({f'x-{size}': size * 'v' for size in (126, 127, 128, 255, 400)}, False)
@example({'x-': 20_000 * 'v'}, True)
def test_headers_encoded_by_another_library_are_decoded(
    fields: dict[str, str], huffman: bool
) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    given = [(name.encode(), value.encode('latin-1')) for name, value in fields.items()]
    assert decode_headers(encoder.encode(given, huffman=huffman)) == fields


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES.map(lambda text: text.encode('ascii', 'ignore').decode()))))
@example([('name', size * 'v') for size in (126, 127, 128, 255, 20_000)])
def test_others_decode_what_is_encoded(fields: list[tuple[str, str]]) -> None:
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    decoded: Any = decoder.decode(encode_headers(fields))
    assert list(map(tuple, decoded)) == fields


@pytest.mark.parametrize('status', ['200', '204', '206', '304', '400', '404', '500', '503', '100'])
@pytest.mark.parametrize('huffman', [True, False])
def test_a_status_is_found_by_its_place_in_the_table_or_by_its_name(
    status: str, huffman: bool
) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    given = [(':status', status), ('content-type', 'application/grpc'), ('grpc-status', '0')]
    block = encoder.encode(given, huffman=huffman)
    assert decode_headers(block) == {':status': status, 'grpc-status': '0'}


@pytest.mark.parametrize(
    'block',
    [
        b'\x81',
        b'\xbd',
        b'\x7a\x01x',
        b'\x0f\x2b\x01x',
        b'\x1f\x2b\x01x',
        b'\x20',
        b'\x3f\xe1\x1f',
        b'\x3f\xff\xff\xff\xff\x0f',
    ],
    ids=[
        *('first of the table', 'last of the table', 'added to the table', 'not added'),
        *('never added', 'no table', 'another table', 'the largest table'),
    ],
)
def test_fields_of_the_static_table_and_sizes_of_the_dynamic_one_are_skipped(block: bytes) -> None:
    assert decode_headers(block + b'\x00\x01a\x01b') == {'a': 'b'}


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_any_bytes_are_decoded_or_refused(block: bytes) -> None:
    try:
        decode_headers(block)
    except HeaderError:
        return


@pytest.mark.parametrize(
    ('block', 'why'),
    [
        (b'\x80', 'refers to field 0'),
        (b'\xbe', 'refers to field 62'),
        (b'\x7e\x01x', 'refers to field 62'),
        (b'\x00\x05abc', 'too soon'),
        (b'\x00\x01a', 'too soon'),
        (b'\x00\x7f', 'too soon'),
        (b'\x00\x7f\xff\xff\xff\xff\xff\x01', 'too large'),
        (b'\x00\x81\x00\x00', 'does not end with its code'),
        (b'\x00\x82\xff\xff\x00', 'does not end with its code'),
        (b'\x00\x82\xf8\xff\x00', 'does not end with its code'),
        (b'\x00\x84\xff\xff\xff\xff\x00', 'ends within its code'),
    ],
)
def test_bytes_that_are_no_header_block_are_refused(block: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        decode_headers(block)
