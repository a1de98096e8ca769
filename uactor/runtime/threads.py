"""Run threads that survive the exceptions of their items, and log them.

A process depends on these threads. A callback, a finalizer, a log handler or a pickle may raise
anything on them. That includes SystemExit, which :mod:`threading` takes for a quiet end.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from uactor.errors import ResourceError
from uactor.runtime.locks import start_thread
from uactor.runtime.system_errors import is_interruption

log = logging.getLogger('uactor.runtime')

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 1.0
"""Pause of a thread between steps that fail one after the other. Without it the thread would use
a whole core, and fill the log."""


def report(text: str, *args: object, to: logging.Logger = log) -> None:
    """Log the current exception as an error; raise nothing.

    Log handlers are the user's, and may raise as well.
    """
    try:
        to.error(text, *args, exc_info=True)
    except BaseException as broken:  # only standard error remains
        out: Any = sys.__stderr__
        with contextlib.suppress(BaseException):  # the process may have none
            out.write(f'uactor: {text % args}; a log handler raised {broken!r}\n')


def attempt(what: str, item: Callable[..., object], /, *args: Any) -> bool:
    """Run one item of a thread; return whether it raised nothing.

    :param what: names the item in the log.
    """
    try:
        item(*args)
    except BaseException:  # SystemExit too: other threads depend on this one
        report('%s has failed on the thread %s', what, threading.current_thread().name)
        return False
    return True


def start_daemon(
    name: str,
    run: Callable[..., object],
    /,
    *args: Any,
    failed: Callable[[BaseException], object] | None = None,
) -> None:
    """Start a daemon thread, and log an exception that ends it.

    :param failed: is called with that exception, to fail callers that wait for the thread's work.
    :raises ResourceError: when the process can start no more threads.
    """
    # In a list that the thread empties: a thread keeps its arguments until it ends.
    work = [(run, args)]
    given = name, work, failed
    make = functools.partial(threading.Thread, target=_run, args=given, name=name, daemon=True)
    try:
        start_thread(make)
    except RuntimeError as error:
        if is_interruption(error):
            raise
        raise ResourceError(f'this process can start no more threads ({error})') from error


def _run(
    name: str,
    work: list[tuple[Callable[..., object], tuple[Any, ...]]],
    failed: Callable[[BaseException], object] | None,
) -> None:
    # The traceback of an error refers to the thread, and a caller may drop the last reference.
    # Then threading runs a callback in Python, in which a signal handler could raise.
    threading._dangling.discard(threading.current_thread())  # type: ignore[attr-defined]
    run, args = work.pop()
    try:
        run(*args)
    except BaseException as error:
        report('the thread %s has ended', name)
        if failed is not None:
            attempt(f'to tell of the end of {name}', failed, error)


class OnDemandThread:
    """A daemon thread that runs its steps while it has work.

    The thread logs the exception of a step, and runs the next one. The owner has a lock. With it,
    the owner calls :meth:`ensure_running`, and :meth:`mark_finished` before a step returns False.

    :param step: does one piece of work, or waits for it; returns False when no work is left.
    """

    def __init__(self, name: str, step: Callable[[], bool]) -> None:
        self.name = name
        self._step = step
        self._runs = False

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._runs

    def ensure_running(self) -> None:
        """Start the thread if it does not run.

        :raises ResourceError: when the process can start no more threads.
        """
        if not self._runs:
            start_daemon(self.name, self._run)
            self._runs = True  # only now: a signal handler may raise before the thread has started

    def mark_finished(self) -> None:
        """Mark the current step as the last one."""
        self._runs = False

    def _run(self) -> None:
        pause = 0.0
        while True:
            try:
                if not self._step():
                    return
                pause = 0.0
            except BaseException:  # SystemExit too
                report('a step of the thread %s has failed', self.name)
                pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            if pause:
                time.sleep(pause)
