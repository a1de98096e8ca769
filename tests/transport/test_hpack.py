"""Header blocks, held against those of the library hpack."""

from __future__ import annotations

from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uactor.transport.hpack import HeaderError, decode_headers, encode_headers

pytestmark = pytest.mark.quick

NAMES = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=300)
VALUES = st.text(st.characters(max_codepoint=255), max_size=300)
OWN = NAMES.map(lambda name: f'x-{name}')  # which the static table has not


@settings(deadline=None)
@given(st.dictionaries(OWN, VALUES), st.booleans())
def test_what_others_encode_is_decoded(fields: dict[str, str], huffman: bool) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    given = [(name.encode(), value.encode('latin-1')) for name, value in fields.items()]
    assert decode_headers(encoder.encode(given, huffman=huffman)) == fields


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, VALUES.map(lambda text: text.encode('ascii', 'ignore').decode()))))
def test_others_decode_what_is_encoded(fields: list[tuple[str, str]]) -> None:
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    decoded: Any = decoder.decode(encode_headers(fields))
    assert list(map(tuple, decoded)) == fields


@pytest.mark.parametrize('status', ['200', '204', '404', '500', '503', '100'])
@pytest.mark.parametrize('huffman', [True, False])
def test_a_status_is_found_by_its_place_in_the_table_or_by_its_name(
    status: str, huffman: bool
) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    given = [(':status', status), ('content-type', 'application/grpc'), ('grpc-status', '0')]
    block = encoder.encode(given, huffman=huffman)
    assert decode_headers(block) == {':status': status, 'grpc-status': '0'}


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
def test_what_is_no_header_block_is_refused(block: bytes, why: str) -> None:
    with pytest.raises(HeaderError, match=why):
        decode_headers(block)
