"""Run registered hooks when this process forks."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable

from uactor.runtime.threads import report

# Logging is imported first: a hook that holds a lock may log.
log = logging.getLogger('uactor.runtime')

ForkHook = Callable[[], object]

_before: list[ForkHook] = []
_in_parent: list[ForkHook] = []
_in_child: list[ForkHook] = []

is_blank = False
"""Whether this process has begun nothing yet that concerns a child.

A template is blank. Hooks that ran there would change memory that it shares with its children."""


def at_fork(
    before: ForkHook | None = None,
    in_parent: ForkHook | None = None,
    in_child: ForkHook | None = None,
) -> None:
    """Register hooks that run at forks, like :func:`os.register_at_fork`.

    On a system without forks they never run.

    :param before: runs in the parent before the fork, ahead of hooks that were registered earlier.
    :param in_parent: runs in the parent after the fork, behind hooks that were registered earlier.
    :param in_child: runs in the child, in the same order.
    """
    if before is not None:
        _before.insert(0, before)
    if in_parent is not None:
        _in_parent.append(in_parent)
    if in_child is not None:
        _in_child.append(in_child)


def run_hooks(hooks: list[ForkHook]) -> None:
    """Run all hooks, and log the exceptions of those that fail."""
    if is_blank:
        return
    for hook in tuple(hooks):
        try:
            hook()
        except BaseException:  # no caller would see it, and the other hooks have to run
            report('what was to be done at a fork has failed', to=log)


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(
        before=functools.partial(run_hooks, _before),
        after_in_parent=functools.partial(run_hooks, _in_parent),
        after_in_child=functools.partial(run_hooks, _in_child),
    )
