"""Parameters of a method as source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator


def parameters(
    signature: inspect.Signature, text: Callable[[inspect.Parameter], str], last: str = ''
) -> Iterator[str]:
    """Yield the parameters of a method, ``self`` first, with ``/`` and ``*`` where they belong.

    :param text: writes one of them.
    :param last: one more, which goes by keyword.
    """
    yield 'self'
    before, is_open = None, False  # open to what goes by keyword only
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
        yield text(parameter)
        is_open = is_open or kind is parameter.VAR_POSITIONAL
        before = kind
    if before is inspect.Parameter.POSITIONAL_ONLY:
        yield '/'
    if last:
        yield from [] if is_open else ['*']
        yield last
