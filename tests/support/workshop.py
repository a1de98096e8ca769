"""An actor that makes objects of any kind and shares them, for the tests of proxies."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import uactor
from tests.support import Actor, count_shared_objects


class Tool:
    """An object with an attribute that can be set, and one that can't."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def label(self) -> str:
        return f'tool {self.name}'


class Workshop(Actor):
    """Makes objects, shares them, and looks into them from the inside."""

    _method_to_typeid_ = {'lists': 'Iterator'}

    def make(self, typeid: str, make: Callable[..., Any], *args: Any) -> Any:
        """Return a proxy of what ``make(*args)`` returns in the actor process."""
        return uactor.proxy(make(*args), typeid)

    def share(self, typeid: str, value: Any) -> Any:
        """Return a proxy of the copy of ``value`` that has arrived here."""
        return uactor.proxy(value, typeid)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Return what ``function(*args)`` returns in the actor process."""
        return function(*args)

    def lists(self, count: int) -> Iterator[Any]:
        """Yield proxies of new lists."""
        for _ in range(count):
            yield uactor.proxy([], 'list')

    def shared(self) -> int:
        """Return how many objects are shared, the actor itself not counted."""
        return count_shared_objects()


def outcome(code: str, **names: Any) -> tuple[Any, Any]:
    """Run statements; return the value of a final expression, and the type of an exception."""
    tree = ast.parse(code)
    last = tree.body[-1]
    try:
        if not isinstance(last, ast.Expr):
            exec(compile(tree, code, 'exec'), names)
            return None, None
        exec(compile(ast.Module(tree.body[:-1], []), code, 'exec'), names)
        return eval(compile(ast.Expression(last.value), code, 'eval'), names), None
    except Exception as error:
        return None, type(error)


def differences(
    table: str,
    plain: Callable[[], Any],
    proxy: Callable[[], Any],
    shown: bool = False,
    **names: Any,
) -> dict[str, tuple[Any, Any]]:
    """Return the code that behaves differently with an object, ``a``, and with its proxy.

    :param table: lines of code, each of which runs with a new object.
    :param shown: whether to compare the repr() of the object afterwards, too.
    """
    found = {}
    for code in filter(None, table.splitlines()):
        outcomes = []
        for value, show in ((plain(), repr), (proxy(), str)):
            result, error = outcome(code, a=value, **names)
            outcomes.append((type(result), result, error, show(value) if shown else ''))
        if outcomes[0] != outcomes[1]:
            found[code] = outcomes[0], outcomes[1]
    return found
