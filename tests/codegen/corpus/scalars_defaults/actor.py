"""Scalars in all widths, and defaults."""

from __future__ import annotations

from typing import Annotated

import uactor


class Bank(uactor.Actor):
    """Keeps one account."""

    _package_ = 'corpus.scalars_defaults'
    _exposed_ = ('add', 'widths', 'text', 'place', 'join', 'huge', 'nothing')

    def add(self, by: int = 1) -> int:
        """Add to the account.

        :param by: how much.
        """
        return 10 + by

    def widths(
        self,
        a: Annotated[int, uactor.UInt64],
        b: Annotated[int, uactor.Int32] = -1,
        c: Annotated[float, uactor.Float32] = 0.5,
    ) -> float:
        return a + b + c

    def text(self, text: str, flag: bool = True, data: bytes = b'\x00') -> str:
        return f'{text}{flag}{data!r}'

    def place(self, a: int, /, b: int, *, c: int = 3) -> list[int]:
        return [a, b, c]

    def join(self, *parts: str, sep: str = '-', **numbers: int) -> str:
        return sep.join([*parts, *(f'{name}{number}' for name, number in sorted(numbers.items()))])

    def huge(self, number: Annotated[int, uactor.BigInt]) -> Annotated[int, uactor.BigInt]:
        return number * 2

    def nothing(self, timeout: int) -> None:
        """Take a parameter that is called as the deadline is."""
