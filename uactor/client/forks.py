"""Forked children: how their parent hears of their end, and how gRPC lives in them."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import threading
from collections.abc import Callable, Iterator, Sequence

log = logging.getLogger(__name__)

_MIB = 1 << 20
_USUAL_STACK = 8 * _MIB

_forks = 0
"""How many forks this process is away from one that was not forked."""


def note_fork() -> None:
    """Note that this process is a forked child."""
    global _forks
    _forks += 1


def note_beginning() -> None:
    """Note that this process is none: what it may have been forked from has not used gRPC."""
    global _forks
    _forks = 0


@contextlib.contextmanager
def fresh_stacks() -> Iterator[None]:
    """Have threads that start meanwhile not use the stacks of threads that a fork has ended.

    The C library keeps those for new threads of the same size or a smaller one. And what gRPC's
    poller "epoll1" remembers of a thread of the parent is the address of something on its stack:
    it aborted one of four children when a thread of theirs had that too (ev_epoll1_linux.cc,
    "Check failed: g_active_poller"), after a fork during calls of other threads, and after a
    second fork.
    """
    if not _forks:
        yield
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_STACK)
    usual = threading.stack_size()
    threading.stack_size(max(usual, limit, _USUAL_STACK) + _forks * _MIB)
    try:
        yield
    finally:
        threading.stack_size(usual)


class Child:
    """A child that is about to be forked, of whose end its parent hears, however it ends.

    The child holds one end of a pipe as long as it lives.
    """

    def __init__(self) -> None:
        self._parents, self._childs = os.pipe()

    def born_in_child(self) -> None:
        """Be the child."""
        os.close(self._parents)

    def born_in_parent(self, when_it_ends: Sequence[Callable[[], None]]) -> None:
        """Be the parent.

        :param when_it_ends: what to call when the child has ended, or runs another program.
        """
        os.close(self._childs)
        thread = threading.Thread(
            target=self._wait, args=(when_it_ends,), name='uactor-child', daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
            log.debug('the end of a forked child will not be noticed: %s', error)
            os.close(self._parents)

    def _wait(self, when_it_ends: Sequence[Callable[[], None]]) -> None:
        with open(self._parents, 'rb') as pipe:
            pipe.read()
        for call in when_it_ends:
            call()
