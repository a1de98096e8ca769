"""What is to be done at a fork is done in order, by all who have asked for it."""

from __future__ import annotations

import os

import pytest

from tests.support import Actor
from tests.support.programs import get_output, run_python
from uactor.runtime import fork_hooks

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='this system has no forks')

TWO = """
import logging, os, sys
from uactor.runtime import fork_hooks

logging.basicConfig(stream=sys.stdout, format='%(name)s: %(message)s')

def fail():
    raise RuntimeError('on purpose')

def say(word):
    line = (word + os.linesep).encode()
    return lambda: os.write(1, line)  # at once: two processes write

fork_hooks.at_fork(say('first, before'), say('first, parent'), say('first, child'))
{between}
fork_hooks.at_fork(say('second, before'), say('second, parent'), say('second, child'))
if not os.fork():
    os._exit(0)
os.wait()
"""


def fork_and_collect(between: str = '') -> list[str]:
    """Return the lines that are printed at a fork, by both processes."""
    program = run_python('-c', TWO.format(between=between))
    return get_output(program).splitlines()


def test_calls_before_a_fork_are_made_in_reverse_and_those_after_it_in_order() -> None:
    printed = fork_and_collect()
    assert printed[:2] == ['second, before', 'first, before']
    for side in 'parent', 'child':
        assert [line for line in printed if line.endswith(side)] == [
            f'first, {side}',
            f'second, {side}',
        ]


def test_a_call_that_fails_is_logged_and_keeps_no_other_from_being_made() -> None:
    printed = fork_and_collect('fork_hooks.at_fork(fail, fail, fail)')
    assert printed.count('uactor.runtime: what was to be done at a fork has failed') == 3
    assert printed.count('RuntimeError: on purpose') == 3
    assert set(fork_and_collect()) < set(printed)


class Forking(Actor):
    """Counts its forks."""

    def __init__(self) -> None:
        self.forks = 0
        fork_hooks.at_fork(self._count)

    def _count(self) -> None:
        self.forks += 1

    def fork(self) -> tuple[int, bool]:
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        return self.forks, fork_hooks.is_blank


def test_only_a_template_is_blank() -> None:
    """What is called at forks is not called when it forks an actor, and is when that one forks."""
    assert not fork_hooks.is_blank
    with Forking() as actor:
        assert actor.fork() == (1, False)
