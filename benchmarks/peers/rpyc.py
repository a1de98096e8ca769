"""RPyC over a Unix socket, with pickles allowed for what it would else pass by reference."""

from __future__ import annotations

import tempfile
from typing import Any

from benchmarks.peer import Base, Server, Work

CONFIG = {'allow_public_attrs': True, 'allow_pickle': True, 'sync_request_timeout': None}

AT_ONCE = 100
"""How many calls are under way at most: beyond that it exceeds the recursion limit."""


def serve(path: str) -> None:
    """Serve until this process is killed."""
    import rpyc
    from rpyc.utils.server import ThreadedServer

    class Exposed(rpyc.Service):  # type: ignore[misc]
        def __init__(self) -> None:
            self._work = Work()

        def exposed_work(self) -> Work:
            return self._work

        def exposed_take(self, data: Any) -> int:
            return len(rpyc.classic.obtain(data))

    server = ThreadedServer(Exposed(), socket_path=path, protocol_config=CONFIG)
    server._listen()  # else who has been told is faster than start()
    print('ready', flush=True)
    server.start()


class Peer(Base):
    def __enter__(self) -> Peer:
        self._directory = tempfile.TemporaryDirectory()
        path = f'{self._directory.name}/s'
        code = f'from benchmarks.peers.rpyc import serve; serve({path!r})'
        self._server = Server(code)
        self._open(path)
        return self

    def _open(self, path: str) -> None:
        from rpyc.utils.factory import unix_connect

        self._path = path
        self._connection = unix_connect(path, config=CONFIG)
        self._work = self._connection.root.work()
        self.call = self._work.add
        self.item = self._work.items().__getitem__

    def client(self) -> Peer:
        """Return a peer with a connection of its own, as its documentation advises for threads."""
        return self.connected(self._path)

    @classmethod
    def connected(cls, address: str) -> Peer:
        peer = cls()
        peer._open(address)
        return peer

    def address(self) -> str:
        return self._path

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        self._server.end()
        self._directory.cleanup()

    def attribute(self) -> int:
        return int(self._work.limit)

    def argument(self, data: Any) -> int:
        return int(self._connection.root.take(data))

    def result(self, size: int) -> Any:
        import rpyc

        return rpyc.classic.obtain(self._work.give(size))

    def pipelined(self, count: int) -> list[int]:
        import rpyc

        add = rpyc.async_(self._work.add)
        found: list[int] = []
        for first in range(0, count, AT_ONCE):
            calls = [add(number) for number in range(first, min(count, first + AT_ONCE))]
            found += [call.value for call in calls]
        return found

    def stream(self, count: int) -> int:
        return sum(1 for _ in self._work.count(count))

    def start(self) -> None:
        with type(self)() as peer:
            peer.call(1)
