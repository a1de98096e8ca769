"""Room for the descriptors that come along with messages, in a process that has used up its own.

The system drops a descriptor for which the receiver has no number left, and what it was of is lost.
So this process keeps two in reserve, and gives them up for a moment when one has to be received.
What has come then is copied and closed at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.locks import is_owned, locked, release_fully
from uactor.runtime.system_errors import is_own

_COUNT = 2
"""One to be received, and one for what maps it: before Python 3.13, that keeps its own."""

SHORTAGE = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
"""What the system says when this process, or the machine, has no more descriptors or memory."""


class Reserve:
    """Descriptors that are there to be given up."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: list[int] = []
        at_fork(in_child=self._unlock)

    def _unlock(self) -> None:
        """Replace the lock, which another thread may have held when this process was forked."""
        self._lock = threading.RLock()

    @locked
    def fill(self) -> None:
        """Open what is missing, as far as there are descriptors."""
        self._open_missing()

    def _open_missing(self) -> None:
        try:
            while len(self._kept) < _COUNT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:  # there are none: the next time, perhaps
            if not is_own(error):
                raise

    @contextlib.contextmanager
    def room(self, like: int) -> Iterator[bool]:
        """Have room for a descriptor meanwhile; yield whether it has to be closed within.

        Another thread of the program may be faster, and take what is given up.

        :param like: any descriptor that is open: to duplicate it is the fastest way to find out.
        """
        if not is_short(like):
            yield False
            return
        outer = is_owned(self._lock)
        try:
            with self._lock:
                while self._kept:
                    os.close(self._kept.pop())
                try:
                    yield True
                finally:
                    self._open_missing()
        except BaseException:
            if not outer:
                release_fully(self._lock)
            raise


def is_short(like: int) -> bool:
    """Return whether this process can open no further descriptor."""
    try:
        descriptor = os.dup(like)
    except OSError as error:
        if not is_own(error):
            raise
        return error.errno in SHORTAGE
    os.close(descriptor)
    return False


reserve = Reserve()
"""The reserve of this process."""
