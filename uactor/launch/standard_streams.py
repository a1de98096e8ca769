"""The file descriptors of standard input, output and error.

Some of them may be closed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

_NUMBERS = range(3)


def is_open(descriptor: int) -> bool:
    """Return whether a file descriptor is open."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def is_inheritable(descriptor: int) -> bool:
    """Return whether a new program would inherit a file descriptor.

    It inherits no closed stream: the number of one soon belongs to another file of this process,
    which is not inheritable.
    """
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


def reserve_closed() -> None:
    """Open ``/dev/null`` under the numbers of those standard streams that are closed.

    A socket with such a number would break as soon as a child process writes to its standard
    stream.
    """
    reserve(number for number in _NUMBERS if not is_open(number))


def reserve(numbers: Iterable[int]) -> None:
    """Open ``/dev/null`` under these numbers."""
    for number in numbers:
        opened = os.open(os.devnull, os.O_RDWR)
        os.dup2(opened, number)
        if opened != number:
            os.close(opened)
