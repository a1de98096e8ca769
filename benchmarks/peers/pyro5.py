"""Pyro5, with its default serializer serpent; large data as bytes, as its documentation advises."""

from __future__ import annotations

from typing import Any

from benchmarks.peer import Base, Server, Work


def serve() -> None:
    """Serve until this process is killed."""
    import Pyro5.api

    @Pyro5.api.expose
    class Exposed(Pyro5.api.expose(Work)):  # type: ignore[misc]
        @property
        def limit(self) -> int:
            return 7

        @limit.setter
        def limit(self, value: int) -> None: ...

        def take(self, data: Any) -> int:
            return len(data)

        def give(self, size: int) -> bytes:
            return bytes(memoryview(super().give(size)))

        def item(self, index: int) -> int:
            return int(self._items[index])

        def count(self, stop: int) -> Any:
            return super().count(stop)

    daemon = Pyro5.api.Daemon()
    print(daemon.register(Exposed()), flush=True)
    daemon.requestLoop()


class Peer(Base):
    def __enter__(self) -> Peer:
        code = 'from benchmarks.peers.pyro5 import serve; serve()'
        self._server = Server(code)
        self._open(self._server.said)
        return self

    def _open(self, uri: str) -> None:
        import Pyro5.api

        self._uri = uri
        self._proxy = Pyro5.api.Proxy(uri)
        self.call = self._proxy.add
        self.item = self._proxy.item

    def client(self) -> Peer:
        """Return a peer with a proxy of its own: a proxy of Pyro5 belongs to one thread."""
        return self.connected(self._uri)

    @classmethod
    def connected(cls, address: str) -> Peer:
        peer = cls()
        peer._open(address)
        return peer

    def address(self) -> str:
        return self._uri

    def __exit__(self, *exception: object) -> None:
        self._server.end()

    def attribute(self) -> int:
        return int(self._proxy.limit)

    def argument(self, data: Any) -> int:
        if not hasattr(data, 'dtype'):
            raise NotImplementedError('serpent does not bring classes back')
        return int(self._proxy.take(data.tobytes()))

    def result(self, size: int) -> Any:
        import numpy
        import serpent

        return numpy.frombuffer(serpent.tobytes(self._proxy.give(size)), dtype=numpy.uint8)

    def pipelined(self, count: int) -> list[int]:
        import Pyro5.api

        batch = Pyro5.api.BatchProxy(self._proxy)
        for number in range(count):
            batch.add(number)
        return list(batch())

    def stream(self, count: int) -> int:
        return sum(1 for _ in self._proxy.count(count))

    def start(self) -> None:
        with type(self)() as peer:
            peer.call(1)
