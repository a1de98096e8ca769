"""uactor as it comes: same-host calls take the local lane."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import uactor
from benchmarks.peer import Base, Work


class Actor(Work, uactor.Actor):
    _exposed_ = ('add', 'take', 'give', 'items', 'count', 'pid', 'limit')
    _method_to_typeid_ = {'items': 'list', 'count': 'Iterator'}


class Peer(Base):
    actor_class: Any = Actor

    def __enter__(self) -> Peer:
        self._actor: Any = self.actor_class()
        self._bind()
        return self

    def _bind(self) -> None:
        self.call, self.argument, self.result = self._actor.add, self._actor.take, self._actor.give
        self._items = self._actor.items()
        self.item = self._items.__getitem__

    def __exit__(self, *exception: object) -> None:
        self._actor.shutdown()

    @classmethod
    def connected(cls, address: Any) -> Peer:
        """Return the peer of an actor that another process has started."""
        peer = cls()
        where, authkey = address
        peer._actor = cls.actor_class.connect(where, authkey)
        peer._bind()
        return peer

    def address(self) -> Any:
        import multiprocessing

        return self._actor.connection_address, bytes(multiprocessing.current_process().authkey)

    @contextlib.contextmanager
    def typed(self) -> Iterator[Callable[[int], int]]:
        import grpc

        from uactor.service.schema import schema_of

        schema = schema_of(self.actor_class)
        add = schema.methods['Add']
        request, response = add.request_class, add.response_class
        # One of its own: a server of grpcio wakes up even when nothing happens.
        with self.further() as peer, grpc.insecure_channel(peer.address()[0]) as channel:
            key = uactor.call_metadata(peer.address()[1])
            stub = channel.unary_unary(
                f'/{schema.service}/Add', request.SerializeToString, response.FromString
            )
            stub(request(number=1), metadata=key)
            yield lambda number: stub(request(number=number), metadata=key).result

    def attribute(self) -> int:
        return int(self._actor.limit)

    def pid(self) -> int:
        return int(self._actor.pid())

    def start(self) -> None:
        with self.actor_class() as actor:
            actor.add(1)

    def further(self) -> Any:
        return type(self)()

    def pipelined(self, count: int) -> list[int]:
        return list(self._actor.add.map(range(count)))

    def stream(self, count: int) -> int:
        return sum(1 for _ in self._actor.count.stream(count))
