"""Exceptions at any moment: raised between two bytecodes, as a signal handler raises them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dis
import gc
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import uactor

_PACKAGE = str(Path(uactor.__file__).parent) + os.sep
_USED = threading.__file__, inspect.getfile(concurrent.futures.Future), contextlib.__file__
"""Modules that uactor waits and locks by, where an exception may leave a lock taken, too."""


_POP_EXCEPT = dis.opmap['POP_EXCEPT']


class Interruption(TimeoutError):
    """The exception of a handler. As an ``OSError`` it looks like the error of a system call."""


class Interrupter:
    """Raises before a bytecode that this thread runs in the package, or in what it waits by.

    :param at: number of the bytecode, from 1.
    :ivar raised: the exception that it has raised; None if there are fewer bytecodes.
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
        """Drop the traceback of the exception, whose frames refer to this object."""
        if self.raised is not None:
            self.raised.__traceback__ = None

    def _enter(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith((_PACKAGE, *_USED)):
            return None
        frame.f_trace_opcodes = True
        return self._look

    def _look(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == 'opcode' and not _moves_a_handled_exception(frame):
            self._left -= 1
            if not self._left:
                name = os.path.relpath(frame.f_code.co_filename, _PACKAGE)
                self.place = f'{name}:{frame.f_lineno} ({frame.f_code.co_name}, {frame.f_lasti})'
                self.raised = self._kind(110, 'too late')
                raise self.raised
        return self._look


def _moves_a_handled_exception(frame: FrameType) -> bool:
    """Return whether the next bytecode begins or ends the handling of an exception.

    A signal handler never runs there. A tracer that raises there leaves the exception handled for
    ever, which later tests see as the context of theirs. Such bytecodes that the compiler adds
    belong to no line.
    """
    return frame.f_lineno is None or frame.f_code.co_code[frame.f_lasti] == _POP_EXCEPT


@contextlib.contextmanager
def nothing_swallowed() -> Iterator[list[Any]]:
    """Yield a list of the exceptions that the interpreter could not raise.

    Objects that other tests have left are collected before, since their finalizers may be in
    Python. So are callbacks of the collector, such as that of hypothesis.
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
    """Make a call on a thread of its own, and return its result or raise its exception."""
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
