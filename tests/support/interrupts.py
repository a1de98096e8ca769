"""Exceptions at any moment: raised between two bytecodes, as a signal handler raises them."""

from __future__ import annotations

import concurrent.futures._base
import contextlib
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uactor

_PACKAGE = os.path.dirname(uactor.__file__) + os.sep
_USED = threading.__file__, concurrent.futures._base.__file__, contextlib.__file__
"""What it waits and locks by: an exception there may leave something locked, too."""


class Interruption(TimeoutError):
    """What a handler raises. As an ``OSError`` it looks like the error of a system call."""


class Interrupter:
    """Raises before one of the bytecodes that this thread runs of the package, and what it uses.

    :param at: before which one, from 1.
    :ivar raised: what it has raised; None when there are fewer bytecodes.
    """

    def __init__(self, at: int, kind: type[BaseException] = Interruption) -> None:
        self.raised: BaseException | None = None
        self.place = ''
        self._left = at
        self._kind = kind

    def __enter__(self) -> Interrupter:
        sys.settrace(self._enter)
        return self

    def __exit__(self, *exception: object) -> None:
        sys.settrace(None)

    def forget_frames(self) -> None:
        """Let what was raised hold nothing any more: frames that were traced refer to this."""
        if self.raised is not None:
            self.raised.__traceback__ = None

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith((_PACKAGE, *_USED)):
            return None
        frame.f_trace_opcodes = True
        return self._look

    def _look(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == 'opcode':
            self._left -= 1
            if not self._left:
                name = os.path.relpath(frame.f_code.co_filename, _PACKAGE)
                self.place = f'{name}:{frame.f_lineno} ({frame.f_code.co_name}, {frame.f_lasti})'
                self.raised = self._kind(110, 'too late')
                raise self.raised
        return self._look


@contextlib.contextmanager
def nothing_swallowed() -> Iterator[list[Any]]:
    """Yield a list of what the interpreter could not raise.

    What other tests have left goes before: its finalizers may be in Python. So are callbacks of the
    collector, as hypothesis has one.
    """
    gc.collect()
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    swallowed: list[Any] = []

    def note(unraisable: Any) -> None:
        swallowed.append((unraisable.exc_value, repr(unraisable.object), unraisable.err_msg))

    usual, sys.unraisablehook = sys.unraisablehook, note
    try:
        yield swallowed
    finally:
        sys.unraisablehook = usual
        gc.callbacks[:] = callbacks


def in_thread(call: Callable[[], Any], timeout: float = 20.0) -> Any:
    """Return what a call returns on a thread of its own, or raise what it raises."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout)
    assert outcome, f'a call hangs: {call}'
    ((value, error),) = outcome
    if error is not None:
        raise error
    return value
