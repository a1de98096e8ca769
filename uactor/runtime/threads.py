"""Threads that a process depends on: what one item raises does not end them, nor in silence.

A callback, a finalizer, a log handler or a pickle may raise anything on such a thread, SystemExit
too, which :mod:`threading` takes for a quiet end.
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
"""How long a thread whose steps fail one after the other rests before the next: it would take all
of a core, and fill the log."""


def report(text: str, *args: object, to: logging.Logger = log) -> None:
    """Log the exception that is being handled, as an error; raise nothing.

    Handlers of loggers are the user's, and may raise as well.
    """
    try:
        to.error(text, *args, exc_info=True)
    except BaseException as broken:  # standard error is left
        out: Any = sys.__stderr__
        with contextlib.suppress(BaseException):  # there may be none
            out.write(f'uactor: {text % args}; a log handler raised {broken!r}\n')


def attempt(what: str, item: Callable[..., object], /, *args: Any) -> bool:
    """Do one item of a thread that others depend on; return whether it raised nothing.

    :param what: names the item in the log.
    """
    try:
        item(*args)
    except BaseException:  # SystemExit too: it is not this thread's to end for
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
    """Start a daemon thread, of which an end by an exception is logged.

    :param failed: is called with that exception, for those who wait for what the thread does.
    :raises ResourceError: when there is no thread to be had.
    """
    # Not as arguments of the thread, which it would keep until it ends.
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
    # An error that comes from here keeps the thread by its frames, and a caller may drop it last:
    # threading has a callback in Python for that moment, in which a signal handler could raise.
    threading._dangling.discard(threading.current_thread())  # type: ignore[attr-defined]
    run, args = work.pop()
    try:
        run(*args)
    except BaseException as error:
        report('the thread %s has ended', name)
        if failed is not None:
            attempt(f'to tell of the end of {name}', failed, error)


class OnDemandThread:
    """A daemon thread that does one step after the other while there is something to do.

    A step that raises is logged, and the next one is done. Its owner has a lock, under which it
    calls :meth:`ensure_running`, and :meth:`mark_finished` before its step returns False.

    :param step: does one thing, or waits for it; returns False when there is nothing left to do.
    """

    def __init__(self, name: str, step: Callable[[], bool]) -> None:
        self.name = name
        self._step = step
        self._runs = False

    @property
    def is_running(self) -> bool:
        """Whether there is a thread."""
        return self._runs

    def ensure_running(self) -> None:
        """Start the thread if there is none.

        :raises ResourceError: when there is no thread to be had.
        """
        if not self._runs:
            start_daemon(self.name, self._run)
            self._runs = True  # only now: an interrupt may come before it has started

    def mark_finished(self) -> None:
        """Note that the step that is being done is the last one."""
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
