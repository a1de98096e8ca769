"""Distinguish the package's own system errors from errors of signal handlers.

A signal handler runs between any two bytecodes of the main thread, and inside system calls that
wait. It may raise an ``OSError`` (``TimeoutError`` is one), with any error number or none. It may
also raise one of this package's own classes. So the class of the exception is no evidence, but its
traceback is. The handler has a frame of its own, behind that of the code which it interrupted.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any


def is_own(error: BaseException, *through: Callable[..., Any]) -> bool:
    """Return whether the catching function's own system call raised an error.

    False means that other code raised it, for example a signal handler. The caller raises it again.

    :param through: Python functions that may stand between the catching function and the system
        call.
    """
    trace = error.__traceback__
    codes = {_code(function) for function in through}
    while trace is not None:
        trace = trace.tb_next
        if trace is not None and trace.tb_frame.f_code not in codes:
            return False
    return True


def _code(function: Callable[..., Any]) -> CodeType:
    code: CodeType = inspect.unwrap(function).__code__
    return code


def is_interruption(error: BaseException) -> bool:
    """Return whether a signal handler raised an error.

    This is for code that runs functions of users, whose frames are unknown. See :func:`is_own`.
    """
    trace = error.__traceback__
    while trace is not None:
        interrupted, trace = trace.tb_frame, trace.tb_next
        if trace is not None and _is_given(trace.tb_frame, interrupted):
            return True
    return False


def _is_given(frame: FrameType, interrupted: FrameType) -> bool:
    """Return whether a frame has the interrupted frame as an argument.

    Only the frames of signal handlers do.
    """
    code = frame.f_code
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & inspect.CO_VARARGS)
    found = frame.f_locals
    for name in code.co_varnames[:count]:
        value = found.get(name)
        if value is interrupted:
            return True
        if isinstance(value, tuple) and any(one is interrupted for one in value):
            return True
    return False
