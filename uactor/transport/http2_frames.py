"""Build and read frames of HTTP/2 (RFC 9113, sections 4 and 6).

Nothing here has a state: functions take bytes and return bytes, or what the bytes say.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from typing import NamedTuple

PREFACE = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'
"""What a client sends before its first frame."""


class FrameType(enum.IntEnum):
    """The frames that mean something to a client.

    A client skips frames of other types.
    """

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY = 0x4, 0x8, 0x20
"""Flags of frames. What 0x1 means depends on the type."""


class Setting(enum.IntEnum):
    """Settings that a client sends or obeys."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class ErrorCode(enum.IntEnum):
    """Why a stream is reset, as far as gRPC distinguishes codes."""

    REFUSED_STREAM = 7
    CANCEL = 8
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12


CONNECTION, STREAM = 0, 1
"""Stream identifiers: of the connection itself, and of the first stream of a client."""

MAX_31_BITS = 0x7FFFFFFF
"""The largest window in bytes, and the largest stream identifier."""

DEFAULT_WINDOW_BYTES = 65_535
DEFAULT_MAX_FRAME_BYTES = 16_384
"""What holds until a peer's settings say otherwise."""

LARGEST_MAX_FRAME_BYTES = 0xFFFFFF
"""The largest MAX_FRAME_SIZE that the length of a frame has room for."""

_HEAD = struct.Struct('!HBBBI')  # the last byte of the length stands by itself
HEAD_BYTES = _HEAD.size
_SETTING = struct.Struct('!HI')
_NUMBER = struct.Struct('!I')
_NUMBERS = struct.Struct('!II')
_PRIORITY_BYTES = 5


class FrameError(Exception):
    """The content of a frame is too short for its type."""


FrameHead = tuple[int, int, int, int]
"""What stands before the content of a frame: its length in bytes, its type, flags, and stream.

The type is a :class:`FrameType`, or a number that is none. A plain tuple takes a third of the time
of a named one, and each answer comes with three heads.
"""


class GoAway(NamedTuple):
    """The content of a GOAWAY frame.

    :ivar last_stream: streams with a larger identifier have not been processed.
    """

    last_stream: int
    code: int
    reason: str


# --- building ------------------------------------------------------------------------------------


def build_head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Build the head of a frame."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def build_frame(kind: int, flags: int, stream: int, content: bytes = b'') -> bytes:
    """Build a frame."""
    return build_head(len(content), kind, flags, stream) + content


def build_settings(settings: Mapping[Setting, int]) -> bytes:
    """Build a SETTINGS frame."""
    content = b''.join(_SETTING.pack(*setting) for setting in settings.items())
    return build_frame(FrameType.SETTINGS, 0, CONNECTION, content)


def build_window_update(stream: int, more_bytes: int) -> bytes:
    """Build the frame that lets the peer send more."""
    return build_frame(FrameType.WINDOW_UPDATE, 0, stream, _NUMBER.pack(more_bytes))


# --- reading -------------------------------------------------------------------------------------


def read_head(data: bytes, at: int = 0) -> FrameHead:
    """Read the head of a frame, all of which is there."""
    high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
    return high << 8 | low, kind, flags, stream & MAX_31_BITS


def strip_padding(flags: int, content: bytes) -> bytes:
    """Return the content of a DATA or HEADERS frame without its padding.

    :raises FrameError: if there is less content than padding.
    """
    if not flags & PADDED:
        return content
    if not content or content[0] >= len(content):
        raise FrameError('there is less content than padding')
    return content[1 : len(content) - content[0]]


def read_header_fragment(flags: int, content: bytes) -> bytes:
    """Return the part of a header block that a HEADERS frame has.

    :raises FrameError: if there is less content than padding.
    """
    return strip_padding(flags, content)[_PRIORITY_BYTES if flags & PRIORITY else 0 :]


def read_settings(content: bytes) -> dict[int, int]:
    """Read the content of a SETTINGS frame.

    :raises FrameError: if it ends within a setting.
    """
    if len(content) % _SETTING.size:
        raise FrameError('the content ends within a setting')
    return dict(_SETTING.iter_unpack(content))


def read_number(content: bytes) -> int:
    """Read the content of an RST_STREAM frame, which is an error code.

    :raises FrameError: if it is no number.
    """
    if len(content) != _NUMBER.size:
        raise FrameError('the content is no number')
    number: int = _NUMBER.unpack(content)[0]
    return number


def read_window_update(content: bytes) -> int:
    """Read the content of a WINDOW_UPDATE frame.

    It says how many more bytes may be sent.

    :raises FrameError: if it is no number.
    """
    return read_number(content) & MAX_31_BITS


def read_goaway(content: bytes) -> GoAway:
    """Read the content of a GOAWAY frame.

    :raises FrameError: if it is shorter than its two numbers.
    """
    if len(content) < _NUMBERS.size:
        raise FrameError('the content is shorter than two numbers')
    last_stream, code = _NUMBERS.unpack_from(content)
    reason = content[_NUMBERS.size :].decode(errors='replace')
    return GoAway(last_stream & MAX_31_BITS, code, reason)
