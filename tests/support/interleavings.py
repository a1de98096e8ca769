"""Run threads in all orders of their steps, one step at a time.

Each line of the traced functions is a step. The threads that are chosen for the steps determine a
run. :func:`explore` tries all choices with a limited number of interruptions, which are switches
from a thread that could go on. Nearly all errors of such programs need one or two interruptions.
"""

from __future__ import annotations

import math
import random
import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from tests.support import seed

_MOST_STEPS = 5000


class Stuck(AssertionError):
    """All threads wait for each other."""


class _Abandoned(BaseException):
    """Ends a thread of a run that has failed."""


class _Thread:
    def __init__(self, number: int, target: Callable[[], None]) -> None:
        self.number = number
        self.turn = threading.Semaphore(0)
        self.target = target
        self.ended = False
        self.is_ready: Callable[[], bool] = lambda: True


class Scheduler:
    """Runs threads one at a time, each until the next step.

    :param choices: which thread is chosen, for the first steps.
    :param functions: functions whose lines are steps, as ends of their files and their names.
    :ivar steps: which threads could have been chosen at each step, and which one was running.
    :ivar errors: what threads have ended with.
    """

    def __init__(self, choices: Iterable[int], functions: Iterable[tuple[str, str]]) -> None:
        self._choices = list(choices)
        self._functions = frozenset(functions)
        self._threads: list[_Thread] = []
        self._current: _Thread | None = None
        self._over = threading.Event()
        self.steps: list[tuple[list[int], int, int]] = []
        self.errors: list[BaseException] = []
        self._failed = False

    def start(self, target: Callable[[], None]) -> None:
        """Add a thread."""
        thread = _Thread(len(self._threads), target)
        self._threads.append(thread)
        threading.Thread(target=self._run, args=(thread,), daemon=True).start()

    def run(self) -> None:
        """Run all threads to their ends, and raise what went wrong."""
        self._choose(-1)
        if not self._over.wait(30):
            raise Stuck('a thread waits for something that is no step')
        for error in self.errors:
            raise error

    def step(self) -> None:
        """Let another thread run, if the choices say so."""
        self.wait(lambda: True)

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Wait until a condition holds; other threads run meanwhile."""
        me = self._current
        if self._over.is_set():
            return
        if me is None or self._failed:
            raise _Abandoned
        me.is_ready = is_ready
        if self._choose(me.number) != me.number:
            me.turn.acquire()
        if self._failed:
            raise _Abandoned

    def _run(self, thread: _Thread) -> None:
        thread.turn.acquire()
        try:
            if not self._failed:
                sys.settrace(self._traced)
                thread.target()
        except _Abandoned:
            pass
        except BaseException as error:
            self.errors.append(error)
        finally:
            sys.settrace(None)
            thread.ended = True
            self._choose(-1)

    def _traced(self, frame: FrameType, event: str, argument: Any) -> Any:
        code = frame.f_code
        place = code.co_filename.rpartition('/')[2], code.co_name
        return self._line if place in self._functions else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == 'line':
            self.step()
        return self._line

    def _choose(self, running: int) -> int:
        """Let a thread run the next step and return its number, or -1."""
        alive = [thread for thread in self._threads if not thread.ended]
        ready = [thread.number for thread in alive if thread.is_ready()]
        if not alive:
            self._over.set()
            return -1
        if not self._failed and (not ready or len(self.steps) > _MOST_STEPS):
            self.errors.append(Stuck('all threads wait for each other'))
            self._failed = True
        if self._failed:
            for thread in alive:
                thread.turn.release()
            return -1
        place = len(self.steps)
        if place < len(self._choices):
            chosen = self._choices[place]
        else:
            chosen = running if running in ready else ready[0]
        self.steps.append((ready, running, chosen))
        self._current = self._threads[chosen]
        if chosen != running:
            self._threads[chosen].turn.release()
        return chosen


def explore(
    run: Callable[[list[int]], Scheduler], interruptions: int, most: float = math.inf
) -> int:
    """Try all interleavings up to a number of interruptions, and return how many were tried.

    :param run: makes a run that begins with these choices, and raises the errors that it finds.
    :param most: how many to try; they are chosen at random if there are more.
    """
    count, todo = 0, [list[int]()]
    chance = random.Random(seed()) if most < math.inf else None
    while todo and count < most:
        begun = todo.pop(chance.randrange(len(todo)) if chance else -1)
        steps = run(begun).steps
        count += 1
        used = sum(_interrupts(*step) for step in steps[: len(begun)])
        chosen = [step[2] for step in steps]
        for place in range(len(begun), len(steps)):
            ready, running, taken = steps[place]
            for other in ready:
                cost = used + _interrupts(ready, running, other)
                if other != taken and cost <= interruptions:
                    todo.append([*chosen[:place], other])
    return count


def _interrupts(ready: list[int], running: int, chosen: int) -> bool:
    return chosen != running and running in ready
