"""Members that the typed service can't have."""

from __future__ import annotations

import uactor


class Odd(uactor.Actor):
    """Has a few oddities."""

    _package_ = 'corpus.unmapped'
    _exposed_ = ('fine', 'untyped', 'complex_', 'clash', 'Clash')

    def fine(self) -> str:
        return 'fine'

    def untyped(self, value):  # type: ignore[no-untyped-def]
        return value

    def complex_(self, value: complex) -> None: ...

    def clash(self, value: int | bool | Odd) -> None: ...

    def Clash(self) -> None: ...


class Even(uactor.Actor):
    """Stands in the same file as :class:`Odd`."""

    _package_ = 'corpus.unmapped'
    _exposed_ = ('fine',)

    def fine(self) -> int:
        return 2
