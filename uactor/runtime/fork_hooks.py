"""Who has something to do when this process is forked."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

from uactor.runtime.threads import report

# Logging is imported first: the holder of a lock may log.
log = logging.getLogger('uactor.runtime')

ForkHook = Callable[[], object]

_before: list[ForkHook] = []
_in_parent: list[ForkHook] = []
_in_child: list[ForkHook] = []

is_blank = False
"""Whether this process has begun nothing yet of which a child would have to know.

A template has not. What is called there changes memory that it would share with its children."""


def at_fork(
    before: ForkHook | None = None,
    in_parent: ForkHook | None = None,
    in_child: ForkHook | None = None,
) -> None:
    """Have calls made at forks, like :func:`os.register_at_fork`; where there are none, never.

    :param before: is called in the parent, before those that were registered earlier.
    :param in_parent: is called after the fork, after those that were registered earlier.
    :param in_child: the same in the child.
    """
    if before is not None:
        _before.insert(0, before)
    if in_parent is not None:
        _in_parent.append(in_parent)
    if in_child is not None:
        _in_child.append(in_child)


def _run_hooks(calls: list[ForkHook]) -> None:
    if is_blank:
        return
    for call in tuple(calls):
        try:
            call()
        except BaseException:  # nobody else would hear of it, and the others have their part to do
            report('what was to be done at a fork has failed', to=log)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=functools.partial(_run_hooks, _before),
        after_in_parent=functools.partial(_run_hooks, _in_parent),
        after_in_child=functools.partial(_run_hooks, _in_child),
    )
