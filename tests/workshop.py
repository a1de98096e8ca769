"""An actor that makes objects of any kind and shares them, for the tests of proxies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uactor
from tests.support import Actor
from uactor import local


class Workshop(Actor):
    """Makes objects, shares them, and looks into them from the inside."""

    def make(self, typeid: str, make: Callable[..., Any], *args: Any) -> Any:
        """Return a proxy of what ``make(*args)`` returns in the actor process."""
        return uactor.proxy(make(*args), typeid)

    def share(self, typeid: str, value: Any) -> Any:
        """Return a proxy of the copy of ``value`` that has arrived here."""
        return uactor.proxy(value, typeid)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what ``function(*args)`` returns in the actor process."""
        return function(*args)

    def shared(self) -> int:
        """Return how many objects are shared, the actor itself not counted."""
        return len(local.host.table) - 1  # type: ignore[union-attr, attr-defined]


def outcome(code: str, **names: Any) -> tuple[Any, Any]:
    """Return the value of an expression, or None for a statement; and the exception's type."""
    try:
        try:
            compiled = compile(code, code, 'eval')
        except SyntaxError:
            exec(compile(code, code, 'exec'), names)
            return None, None
        return eval(compiled, names), None
    except Exception as error:
        return None, type(error)
