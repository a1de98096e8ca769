"""Validate the time limits and counts that users or peers give."""

from __future__ import annotations

import math
import operator
from typing import Any, Protocol

MAX_WAIT_S = 1e9
"""The longest time limit, 31 years: a longer one counts as none. Every system can wait that long,
and add it to its clock."""

_MAX_DURATION_S = 315_576_000_000
"""The most seconds that a ``google.protobuf.Duration`` may have, by its definition."""

_NANOS_PER_S = 1_000_000_000


_MAX_COUNT = (1 << 31) - 1
"""The largest count that every message has room for."""


def validate_count(value: Any, what: str, most: int = _MAX_COUNT) -> int:
    """Return a value as a whole number of 1 or more.

    :param what: names the value in an error.
    :param most: the largest number that is allowed.
    :raises TypeError: when it is no whole number.
    :raises ValueError: when it is less than 1, or too large.
    """
    if isinstance(value, bool) or not hasattr(type(value), '__index__'):
        raise TypeError(f'{what} is a whole number, not {value!r} ({type(value).__name__})')
    count = operator.index(value)
    if count < 1:
        raise ValueError(f'{what} is 1 or more, not {count}')
    if count > most:
        raise ValueError(f'{what} is {most} at most, not {count}')
    return count


class ProtoDuration(Protocol):
    """A ``google.protobuf.Duration``."""

    @property
    def seconds(self) -> int:
        """Whole seconds."""
        ...

    @property
    def nanos(self) -> int:
        """Billionths of a second, with the same sign."""
        ...


def validate_seconds(value: Any, what: str = 'a timeout') -> float:
    """Return a value as seconds; infinity beyond :data:`MAX_WAIT_S`.

    A negative number becomes 0: its time has passed.

    :param what: names the value in an error.
    :raises TypeError: when it is no number.
    :raises ValueError: when it is NaN.
    """
    kind = type(value)
    is_number = hasattr(kind, '__float__') or hasattr(kind, '__index__')
    if isinstance(value, (bool, str, bytes)) or not is_number:
        raise TypeError(f'{what} is a number of seconds, or None, not {value!r} ({kind.__name__})')
    try:
        seconds = float(value)
    except OverflowError:  # an integer of more than 308 digits
        seconds = math.inf if value > 0 else 0.0
    if math.isnan(seconds):
        raise ValueError(f'{what} is a number of seconds, or None, not {value!r}')
    return math.inf if seconds > MAX_WAIT_S else max(seconds, 0.0)


def validate_timeout(value: Any, what: str = 'a timeout') -> float | None:
    """Return a time limit in seconds, or None for no limit.

    Infinity, and a time longer than :data:`MAX_WAIT_S`, are no limit either.

    :param what: names the value in an error.
    :raises TypeError: when it is no number.
    :raises ValueError: when it is NaN.
    """
    if value is None:
        return None
    seconds = validate_seconds(value, what)
    return None if seconds == math.inf else seconds


def duration_to_seconds(duration: ProtoDuration) -> float:
    """Convert a ``Duration`` of the wire to seconds.

    :raises ValueError: when it is out of the range that its definition gives.
    """
    seconds, nanos = duration.seconds, duration.nanos
    if abs(seconds) > _MAX_DURATION_S or abs(nanos) >= _NANOS_PER_S:
        raise ValueError(f'a Duration of {seconds} s and {nanos} ns is out of range')
    if seconds * nanos < 0:
        raise ValueError(f'the {seconds} s and {nanos} ns of a Duration differ in sign')
    return seconds + nanos / _NANOS_PER_S


def duration_to_timeout(duration: ProtoDuration) -> float | None:
    """Convert a ``Duration`` of the wire to a time limit; see :func:`validate_timeout`.

    :raises ValueError: when it is out of the range that its definition gives.
    """
    return validate_timeout(duration_to_seconds(duration))


def clamp_timeout(value: Any) -> Any:
    """Clamp a timeout for :mod:`threading`, which fails for very long timeouts.

    A value that is no number is returned as it is, so that :mod:`threading` refuses it.

    :raises ValueError: when it is NaN.
    """
    if not isinstance(value, (int, float)):
        return value
    if value != value:
        raise ValueError('a timeout is a number of seconds, or None, not nan')
    return value if -MAX_WAIT_S <= value <= MAX_WAIT_S else math.copysign(MAX_WAIT_S, value)
