"""Optionals, collections in one another, and JSON."""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence
from typing import Any

import uactor


class Store(uactor.Actor):
    _package_ = 'corpus.optionals_collections'
    _exposed_ = (
        *('maybe', 'lists', 'nested', 'gaps', 'tables', 'keyed', 'pairs', 'sets', 'default'),
        *('abstract', 'counted', 'anything', 'loose', 'same'),
    )

    def maybe(self, value: int | None = None) -> str | None:
        return None if value is None else str(value)

    def lists(self, value: list[int] | None) -> list[int] | None:
        return value

    def nested(self, value: list[list[int]]) -> list[list[int]]:
        return value

    def gaps(self, value: list[int | None]) -> list[int | None]:
        return value

    def tables(self, value: dict[str, list[float]]) -> dict[str, list[float]]:
        return value

    def keyed(self, value: dict[tuple[int, int], str]) -> dict[tuple[int, int], str]:
        return value

    def pairs(self, value: tuple[int, str | None]) -> tuple[int, str | None]:
        return value

    def sets(self, value: set[int]) -> frozenset[int]:
        return frozenset(value)

    def default(self, value: tuple[int, ...] = (1, 2)) -> tuple[int, ...]:
        return value

    def abstract(self, value: Sequence[int], names: Mapping[int, str]) -> Sequence[str]:
        return [names[number] for number in value]

    def counted(self, words: collections.deque[str]) -> collections.Counter[str]:
        return collections.Counter(words)

    def anything(self, value: Any) -> Any:
        return value

    def loose(self, value: dict[str, Any], items: list) -> dict[str, Any]:  # type: ignore[type-arg]
        return {**value, 'items': items}

    def same(self, value: collections.OrderedDict[str, int]) -> collections.OrderedDict[str, int]:
        return value
