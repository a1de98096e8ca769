"""Notice the end of forked children, by a pipe for each."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from uactor.runtime.threads import attempt, start_daemon

log = logging.getLogger('uactor.client')


class ForkedChild:
    """A child about to be forked, whose end its parent notices.

    The child holds one end of a pipe as long as it lives. However the child ends, the system closes
    that end. A thread of the parent reads the other one, and so notices.

    :ivar parent_end: the descriptor that the parent reads.
    :ivar child_end: the descriptor that the child holds.
    """

    def __init__(self) -> None:
        self.parent_end, self.child_end = os.pipe()

    def keep_child_end(self) -> None:
        """Keep only the child's end of the pipe, in the forked child."""
        os.close(self.parent_end)

    def watch_in_parent(self, when_it_ends: Sequence[Callable[[], None]]) -> None:
        """Keep only the parent's end of the pipe, and start its reader.

        :param when_it_ends: called once the child has ended, or runs another program.
        """
        os.close(self.child_end)
        try:
            start_daemon('uactor-child', self._wait, when_it_ends)
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            log.debug('the end of a forked child will not be noticed: %s', error)
            os.close(self.parent_end)

    def _wait(self, when_it_ends: Sequence[Callable[[], None]]) -> None:
        with os.fdopen(self.parent_end, 'rb') as pipe:
            pipe.read()
        for call in when_it_ends:
            attempt('what follows the end of a forked child', call)
