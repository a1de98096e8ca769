"""Frames, held against those of the library hyperframe, and what is no frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes, Settings
from hyperframe import frame as frames
from hypothesis import given, settings
from hypothesis import strategies as st

from uactor.transport.http2_frames import (
    ACK,
    DEFAULT_MAX_FRAME_BYTES,
    DEFAULT_WINDOW_BYTES,
    END_HEADERS,
    END_STREAM,
    HEAD_BYTES,
    LARGEST_MAX_FRAME_BYTES,
    MAX_31_BITS,
    PADDED,
    PRIORITY,
    ErrorCode,
    FrameError,
    FrameType,
    GoAway,
    Setting,
    build_frame,
    build_head,
    build_settings,
    build_window_update,
    read_goaway,
    read_head,
    read_header_fragment,
    read_number,
    read_settings,
    read_window_update,
    strip_padding,
)

pytestmark = pytest.mark.quick

NUMBERS = st.integers(0, MAX_31_BITS)
OTHERS: Any = frames


# --- numbers -------------------------------------------------------------------------------------


def test_frames_have_the_types_that_others_give_them() -> None:
    types = {
        kind.__name__.replace('Frame', '').upper(): kind.type for kind in frames.FRAMES.values()
    }
    assert {kind.name.replace('_', ''): kind.value for kind in FrameType}.items() <= types.items()


def test_flags_have_the_bits_that_others_give_them() -> None:
    bits = {flag.name: flag.bit for kind in frames.FRAMES.values() for flag in kind.defined_flags}
    own = {'END_STREAM': END_STREAM, 'ACK': ACK, 'END_HEADERS': END_HEADERS, 'PADDED': PADDED}
    assert bits.items() >= {**own, 'PRIORITY': PRIORITY}.items()


def test_settings_and_errors_have_the_numbers_that_others_give_them() -> None:
    for setting in Setting:
        assert SettingCodes[setting.name].value == setting.value
    for code in ErrorCode:
        assert ErrorCodes[code.name].value == code.value


def test_defaults_and_limits_are_those_of_others() -> None:
    defaults = Settings(client=True)
    assert defaults.initial_window_size == DEFAULT_WINDOW_BYTES
    assert defaults.max_frame_size == DEFAULT_MAX_FRAME_BYTES
    defaults.max_frame_size = LARGEST_MAX_FRAME_BYTES
    with pytest.raises(ValueError, match='invalid value 16777216'):
        defaults.max_frame_size = LARGEST_MAX_FRAME_BYTES + 1


# --- building ------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFF), st.integers(0, 255), st.integers(0, 255), NUMBERS)
def test_a_head_is_read_as_it_was_built(length: int, kind: int, flags: int, stream: int) -> None:
    head = build_head(length, kind, flags, stream)
    assert len(head) == HEAD_BYTES
    assert read_head(head) == (length, kind, flags, stream)
    assert read_head(b'before' + head + b'behind', 6) == read_head(head)


def test_the_reserved_bit_of_a_head_is_ignored() -> None:
    assert read_head(build_head(0, 0, 0, 0xFFFFFFFF))[3] == MAX_31_BITS


@settings(deadline=None)
@given(st.binary(max_size=300), NUMBERS)
def test_data_is_built_as_others_build_it(content: bytes, stream: int) -> None:
    stream = max(1, stream)
    assert (
        build_frame(FrameType.DATA, 0, stream, content)
        == OTHERS.DataFrame(stream, content).serialize()
    )


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(Setting), st.integers(0, 0xFFFFFFFF)))
def test_settings_are_built_as_others_build_them(settings: dict[Setting, int]) -> None:
    plain = {int(setting): value for setting, value in settings.items()}
    frame = build_settings(settings)
    assert frame == OTHERS.SettingsFrame(settings=plain).serialize()
    assert read_settings(frame[HEAD_BYTES:]) == settings


@settings(deadline=None)
@given(st.integers(1, MAX_31_BITS), st.sampled_from([0, 1]))
def test_windows_are_opened_as_others_open_them(more: int, stream: int) -> None:
    frame = build_window_update(stream, more)
    assert frame == OTHERS.WindowUpdateFrame(stream, window_increment=more).serialize()
    assert read_window_update(frame[HEAD_BYTES:]) == more


def test_an_acknowledgement_is_an_empty_frame() -> None:
    built = build_frame(FrameType.SETTINGS, ACK, 0)
    assert built == OTHERS.SettingsFrame(flags=['ACK']).serialize()


# --- reading -------------------------------------------------------------------------------------


def content_of(frame: frames.Frame) -> tuple[int, bytes]:
    """Return the flags of a frame of others, and its content."""
    data = frame.serialize()
    return read_head(data)[2], data[HEAD_BYTES:]


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 255))
def test_padding_is_stripped(content: bytes, pad: int) -> None:
    flags, padded = content_of(OTHERS.DataFrame(1, content, flags=['PADDED'], pad_length=pad))
    assert strip_padding(flags, padded) == content
    assert strip_padding(0, content) == content


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 255), st.booleans(), st.booleans())
def test_headers_are_read_without_padding_and_priority(
    block: bytes, pad: int, is_padded: bool, has_priority: bool
) -> None:
    flags = [name for name, has in [('PADDED', is_padded), ('PRIORITY', has_priority)] if has]
    frame = OTHERS.HeadersFrame(1, block, flags=flags, pad_length=pad if is_padded else 0)
    assert read_header_fragment(*content_of(frame)) == block


@settings(deadline=None)
@given(NUMBERS, st.integers(0, 0xFFFFFFFF), st.text(max_size=50))
def test_a_farewell_is_read(last: int, code: int, reason: str) -> None:
    frame = OTHERS.GoAwayFrame(
        0, last_stream_id=last, error_code=code, additional_data=reason.encode()
    )
    assert read_goaway(content_of(frame)[1]) == GoAway(last, code, reason)


def test_a_farewell_that_is_no_text_is_read_nevertheless() -> None:
    assert read_goaway(bytes(8) + b'\xff!') == GoAway(0, 0, '\N{REPLACEMENT CHARACTER}!')


@settings(deadline=None)
@given(st.integers(0, 0xFFFFFFFF))
def test_an_error_code_is_read(code: int) -> None:
    assert read_number(content_of(OTHERS.RstStreamFrame(1, error_code=code))[1]) == code


def test_the_reserved_bit_of_a_window_is_ignored() -> None:
    assert read_window_update(b'\x80\0\0\x05') == 5


TOO_SHORT: list[Any] = [
    *(pytest.param(read_number, bytes(size), id=f'number-{size}') for size in (0, 1, 3, 5)),
    *(pytest.param(read_window_update, bytes(size), id=f'window-{size}') for size in (0, 2, 5)),
    *(pytest.param(read_goaway, bytes(size), id=f'goaway-{size}') for size in (0, 4, 7)),
    *(pytest.param(read_settings, bytes(size), id=f'settings-{size}') for size in (1, 5, 7, 13)),
    pytest.param(lambda data: strip_padding(PADDED, data), b'', id='data'),
    pytest.param(lambda data: read_header_fragment(PADDED | PRIORITY, data), b'', id='headers'),
    *(
        pytest.param(lambda data: strip_padding(PADDED, data), bytes([pad]) + b'some', id=f'{pad}')
        for pad in (5, 6, 255)
    ),
]


@pytest.mark.parametrize(('read', 'content'), TOO_SHORT)
def test_content_of_another_length_is_refused(
    read: Callable[[bytes], object], content: bytes
) -> None:
    with pytest.raises(FrameError):
        read(content)
