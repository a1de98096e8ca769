"""Codecs of times, and of the values that travel as strings."""

from __future__ import annotations

import datetime
import decimal
import fractions
import ipaddress
import pathlib
import re
import uuid
from typing import Any, cast

from uactor.service.codecs.base import Handles, MessageCodec, match_class, mismatch_error
from uactor.service.codecs.scalars import StringFormCodec
from uactor.service.errors import ConversionError
from uactor.service.model import External

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_SECOND = datetime.timedelta(seconds=1)
_MAX_DURATION_S = 315_576_000_000
"""The longest Duration."""


class ExternalMessages:
    """The messages of other files that one schema may use."""

    def __init__(self) -> None:
        self._known: dict[str, External] = {}

    def get(self, name: str, file: str) -> External:
        """Return the plan of the message ``name``, the same each time."""
        return self._known.setdefault(name, External(name, file))

    def all(self) -> list[External]:
        """Return all of them."""
        return list(self._known.values())

    def protobuf(self, name: str) -> External:
        """Return the plan of one of the messages that come with Protobuf."""
        file = 'struct' if name in ('Value', 'Struct', 'ListValue') else name.lower()
        return self.get(f'google.protobuf.{name}', f'google/protobuf/{file}.proto')


# --- times ---------------------------------------------------------------------------------------


def _to_microseconds(wire: Any) -> int:
    micros, rest = divmod(wire.nanos, 1000)
    if rest:
        raise ConversionError(f'{wire.nanos} nanoseconds are not whole microseconds')
    return cast('int', micros)


class TimestampCodec(MessageCodec):
    """An aware datetime, as a Timestamp; it comes back in UTC."""

    hint = class_ = datetime.datetime
    label = key = 'datetime'

    def __init__(self, externals: ExternalMessages) -> None:
        self.proto = externals.protobuf('Timestamp')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the Timestamp of an aware datetime."""
        if not isinstance(value, datetime.datetime):
            raise mismatch_error(value, 'a datetime')
        if value.utcoffset() is None:
            raise mismatch_error(value, 'aware: give it a time zone')
        if getattr(value, 'nanosecond', 0):  # pandas
            raise mismatch_error(value, 'whole microseconds')
        since = value - _EPOCH
        seconds = since // _SECOND
        if not -62135596800 <= seconds < 253402300800:
            raise mismatch_error(value, 'in the years 1 to 9999 in UTC')
        return self.make(seconds=seconds, nanos=since.microseconds * 1000)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the datetime, in UTC."""
        if not 0 <= wire.nanos < 10**9:
            raise ConversionError(f'{wire.nanos} is no number of nanoseconds in a Timestamp')
        since = {'seconds': wire.seconds, 'microseconds': _to_microseconds(wire)}
        try:
            return _EPOCH + datetime.timedelta(**since)
        except OverflowError as error:
            raise ConversionError(
                f'{wire.seconds} seconds are out of the range of datetime'
            ) from error

    def match(self, value: Any) -> int:
        """Return the fit of the class."""
        return match_class(value, datetime.datetime)


class DurationCodec(MessageCodec):
    """A timedelta, as a Duration."""

    hint = class_ = datetime.timedelta
    label = key = 'timedelta'

    def __init__(self, externals: ExternalMessages) -> None:
        self.proto = externals.protobuf('Duration')

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the Duration, whose seconds and nanoseconds have the same sign."""
        if not isinstance(value, datetime.timedelta):
            raise mismatch_error(value, 'a timedelta')
        if getattr(value, 'nanoseconds', 0):  # pandas
            raise mismatch_error(value, 'whole microseconds')
        sign = -1 if value < datetime.timedelta() else 1
        seconds, rest = divmod(abs(value), _SECOND)
        if seconds > _MAX_DURATION_S:
            raise mismatch_error(value, 'in the range of Duration, which ends at 10000 years')
        return self.make(seconds=sign * seconds, nanos=sign * rest.microseconds * 1000)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the timedelta."""
        if wire.seconds * wire.nanos < 0 or abs(wire.nanos) >= 10**9:
            raise ConversionError('seconds and nanoseconds of a Duration must have the same sign')
        if abs(wire.seconds) > _MAX_DURATION_S:
            raise ConversionError('longer than 10000 years')
        return datetime.timedelta(seconds=wire.seconds, microseconds=_to_microseconds(wire))

    def match(self, value: Any) -> int:
        """Return the fit of the class."""
        return match_class(value, datetime.timedelta)


# --- canonical strings ---------------------------------------------------------------------------


def _parse_time(text: str) -> datetime.time:
    if re.search(r'[.,][0-9]{7}', text):
        raise ValueError('whole microseconds are needed')
    return datetime.time.fromisoformat(text)


def _format_time(value: datetime.time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise mismatch_error(value, 'a time of day with an offset of its own')
    return value.isoformat()


def create_string_codecs() -> dict[type, StringFormCodec]:
    """Return the codecs of the values that travel as strings, by class."""
    codecs = [
        StringFormCodec(datetime.date, datetime.date.fromisoformat, datetime.date.isoformat),
        StringFormCodec(datetime.time, _parse_time, _format_time),
        StringFormCodec(decimal.Decimal, decimal.Decimal),
        StringFormCodec(fractions.Fraction, fractions.Fraction),
        StringFormCodec(uuid.UUID, uuid.UUID),
        *(StringFormCodec(class_, class_, label=label) for class_, label in _PATHS.items()),
        *(StringFormCodec(class_, class_, label=label) for class_, label in _ADDRESSES.items()),
    ]
    return {cast('type', codec.hint): codec for codec in codecs}


_PATHS = {
    pathlib.Path: 'path',
    pathlib.PurePath: 'pure_path',
    pathlib.PosixPath: 'posix_path',
    pathlib.PurePosixPath: 'pure_posix_path',
    pathlib.PureWindowsPath: 'pure_windows_path',
}
_ADDRESSES = {
    ipaddress.IPv4Address: 'ipv4_address',
    ipaddress.IPv6Address: 'ipv6_address',
    ipaddress.IPv4Network: 'ipv4_network',
    ipaddress.IPv6Network: 'ipv6_network',
    ipaddress.IPv4Interface: 'ipv4_interface',
    ipaddress.IPv6Interface: 'ipv6_interface',
}
