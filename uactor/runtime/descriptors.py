"""Keep descriptors in reserve, to receive those that messages pass.

The system drops a passed descriptor when the receiving process has no number left for it. The
data behind it is lost then. So this process holds two descriptors in reserve. It closes them for
a moment when it has to receive one. The receiver copies the data and closes the descriptor at once.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Iterator

from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.locks import is_owned, release_fully, synchronized
from uactor.runtime.system_errors import is_own

_COUNT = 2
"""One for the received descriptor, and one for its mapping: before Python 3.13, a mapping keeps a
descriptor of its own."""

SHORTAGE = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
"""Error numbers that say that this process, or the machine, has no more descriptors or memory."""


class Reserve:
    """Spare descriptors that this process closes to make room for others."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: list[int] = []
        at_fork(in_child=self._unlock)

    def _unlock(self) -> None:
        """Replace the lock: another thread may have held it at the fork."""
        self._lock = threading.RLock()

    @synchronized
    def fill(self) -> None:
        """Fill the reserve, as far as descriptors are available."""
        self._open_missing()

    def _open_missing(self) -> None:
        try:
            while len(self._kept) < _COUNT:
                self._kept.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:  # none is available; the next call tries again
            if not is_own(error):
                raise

    @contextlib.contextmanager
    def room(self, like: int) -> Iterator[bool]:
        """Make room for a descriptor; yield whether the block must close it.

        Another thread of the program may be faster, and take the number that this frees.

        :param like: any open descriptor. To duplicate it is the fastest test for a shortage.
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
