"""Attributes, and objects that stay in the actor."""

from __future__ import annotations

from typing import ClassVar

import uactor
from uactor.proxies.containers import ListProxy


class Desk(uactor.Actor):
    _package_ = 'corpus.properties_handles'
    _exposed_ = ('limit', 'size', 'VERSION', 'basket', 'fill', 'close', 'me')
    _method_to_typeid_ = {'basket': 'list', 'me': 'actor'}

    VERSION: ClassVar[str] = 'one'
    size: int

    def __init__(self) -> None:
        self.size = 3
        self._limit = 5
        self._basket: list[int] = [1]

    @property
    def limit(self) -> int:
        """Most that there may be."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit

    def basket(self) -> list[int]:
        """Share the basket."""
        return self._basket

    def fill(self, basket: ListProxy[int], number: int) -> int:
        basket.append(number)
        return len(basket)

    def me(self) -> object:
        return self

    def close(self) -> str:
        """Close the desk."""
        return 'closed'
