"""Plain grpcio: a server written by hand, unary calls over a Unix socket."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from benchmarks.peer import Base, Server, Work

OPTIONS = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]


def serve(address: str) -> None:
    """Serve until this process is killed."""
    import grpc
    from google.protobuf.wrappers_pb2 import Int64Value

    work = Work()

    def add(request: bytes, _context: Any) -> bytes:
        return str(work.add(int(request))).encode()

    def add_typed(request: Int64Value, _context: Any) -> Int64Value:
        return Int64Value(value=work.add(request.value))

    def take(request: bytes, _context: Any) -> bytes:
        return str(work.take(request)).encode()

    def give(request: bytes, _context: Any) -> bytes:
        return bytes(memoryview(work.give(int(request))))

    def count(request: bytes, _context: Any) -> Iterator[bytes]:
        return (str(number).encode() for number in work.count(int(request)))

    handlers = {
        'Add': grpc.unary_unary_rpc_method_handler(add),
        'AddTyped': grpc.unary_unary_rpc_method_handler(
            add_typed, Int64Value.FromString, Int64Value.SerializeToString
        ),
        'Take': grpc.unary_unary_rpc_method_handler(take),
        'Give': grpc.unary_unary_rpc_method_handler(give),
        'Count': grpc.unary_stream_rpc_method_handler(count),
    }
    server = grpc.server(futures.ThreadPoolExecutor(16), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler('Work', handlers),))
    server.add_insecure_port(address)
    server.start()
    print('ready', flush=True)
    server.wait_for_termination()


class Peer(Base):
    def __enter__(self) -> Peer:
        self._directory = tempfile.TemporaryDirectory()
        address = f'unix:{self._directory.name}/s'
        code = f'from benchmarks.peers.grpcio import serve; serve({address!r})'
        self._server = Server(code)
        self._open(address)
        return self

    def _open(self, address: str) -> None:
        import grpc

        self._address = address
        channel = grpc.insecure_channel(address, OPTIONS)
        self._add: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary('/Work/Add')
        self._take: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary('/Work/Take')
        self._give: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary('/Work/Give')
        self._count: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            '/Work/Count'
        )

    def __exit__(self, *exception: object) -> None:
        self._server.end()
        self._directory.cleanup()

    def address(self) -> str:
        return self._address

    @classmethod
    def connected(cls, address: str) -> Peer:
        peer = cls()
        peer._open(address)
        return peer

    def call(self, number: int) -> int:
        return int(self._add(str(number).encode()))

    @contextlib.contextmanager
    def typed(self) -> Iterator[Callable[[int], int]]:
        import grpc
        from google.protobuf.wrappers_pb2 import Int64Value

        with grpc.insecure_channel(self._address) as channel:
            stub = channel.unary_unary(
                '/Work/AddTyped', Int64Value.SerializeToString, Int64Value.FromString
            )
            stub(Int64Value(value=1))
            yield lambda number: stub(Int64Value(value=number)).value

    def argument(self, data: Any) -> int:
        if not hasattr(data, 'dtype'):
            raise NotImplementedError('it takes bytes')
        return int(self._take(data.tobytes()))

    def result(self, size: int) -> Any:
        import numpy

        return numpy.frombuffer(self._give(str(size).encode()), dtype=numpy.uint8)

    def pipelined(self, count: int) -> list[int]:
        calls = [self._add.future(str(number).encode()) for number in range(count)]
        return [int(call.result()) for call in calls]

    def stream(self, count: int) -> int:
        return sum(1 for _ in self._count(str(count).encode()))
