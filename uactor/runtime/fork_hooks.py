"""Who has something to do when this process is forked."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

from uactor.runtime.threads import report

# Logging is imported first: the holder of a lock may log.
log = logging.getLogger('uactor.runtime')

Call = Callable[[], object]

_before: list[Call] = []
_in_parent: list[Call] = []
_in_child: list[Call] = []

blank = False
"""Whether this process has begun nothing yet of which a child would have to know.

A template has not. What is called there changes memory that it would share with its children."""


def at_fork(
    before: Call | None = None, in_parent: Call | None = None, in_child: Call | None = None
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


def _make(calls: list[Call]) -> None:
    if blank:
        return
    for call in tuple(calls):
        try:
            call()
        except BaseException:  # nobody else would hear of it, and the others have their part to do
            report('what was to be done at a fork has failed', to=log)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=functools.partial(_make, _before),
        after_in_parent=functools.partial(_make, _in_parent),
        after_in_child=functools.partial(_make, _in_child),
    )
