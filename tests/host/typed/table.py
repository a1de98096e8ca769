"""An actor with a method for each row of the mapping table."""

from __future__ import annotations

from typing import Any

from tests.service import test_mapping as mapping
from tests.support import Actor

ROWS: list[tuple[Any, Any]] = [
    *((hint, value) for hint, value, _ in mapping.SCALARS + mapping.CONTAINERS),
    *((hint, value) for hint, value, _ in mapping.MODELS + mapping.JSON),
    *mapping.OPTIONAL,
    *((hint, None) for hint, _ in mapping.OPTIONAL),
    *((hint, value) for hint, value, _ in mapping.UNIONS),
]


def echo(hint: Any, expected: Any) -> Any:
    """Return a method that takes what one row has, and nothing else, and returns it."""

    def call(self: Any, value: Any) -> Any:
        assert type(value) is type(expected), value
        assert value == expected
        return value

    call.__annotations__ = {'value': hint, 'return': hint}
    return call


class Table(Actor):
    """Has a method for each row."""

    _exposed_ = tuple(f'row_{index}' for index in range(len(ROWS)))


for index, (hint, value) in enumerate(ROWS):
    setattr(Table, f'row_{index}', echo(hint, value))
