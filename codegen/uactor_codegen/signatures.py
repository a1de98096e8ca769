"""Writes the parameters of a method."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator


def write_parameters(
    signature: inspect.Signature, write: Callable[[inspect.Parameter], str], last: str = ''
) -> Iterator[str]:
    """Yield a method's parameters, with ``self``, ``/`` and ``*`` in place.

    :param write: returns the text of one parameter.
    :param last: the text of one more parameter, which is keyword-only.
    """
    yield 'self'
    before, is_open = None, False  # after `*` or `*args`
    for parameter in signature.parameters.values():
        kind = parameter.kind
        if before is parameter.POSITIONAL_ONLY is not kind:
            yield '/'
        is_end = bool(last) and kind is parameter.VAR_KEYWORD
        if not is_open and (is_end or kind is parameter.KEYWORD_ONLY):
            yield '*'
            is_open = True
        if is_end:
            yield last
            last = ''
        yield write(parameter)
        is_open = is_open or kind is parameter.VAR_POSITIONAL
        before = kind
    if before is inspect.Parameter.POSITIONAL_ONLY:
        yield '/'
    if last:
        yield from [] if is_open else ['*']
        yield last
