"""uActor 0.1.1, in an environment of its own: it has the same import name."""

from __future__ import annotations

from typing import Any

import uactor
from benchmarks.peer import Base, Work


class Actor(Work, uactor.Actor):
    _exposed_ = ('add', 'take', 'give', 'items', 'count', 'pid', 'limit', 'shutdown')
    _method_to_typeid_ = {'items': 'list', 'count': 'Iterator'}


class Peer(Base):
    def __enter__(self) -> Peer:
        self._actor: Any = Actor()
        self.call, self.argument, self.result = self._actor.add, self._actor.take, self._actor.give
        self.item = self._actor.items().__getitem__
        return self

    def __exit__(self, *exception: object) -> None:
        self._actor.shutdown()

    def attribute(self) -> int:
        return int(self._actor.limit)

    def pid(self) -> int:
        return int(self._actor.pid())

    def start(self) -> None:
        actor = Actor()
        actor.add(1)
        actor.shutdown()

    def further(self) -> Any:
        return type(self)()

    def stream(self, count: int) -> int:
        return sum(1 for _ in self._actor.count(count))
