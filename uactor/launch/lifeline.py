"""The lifeline, a socket pair between an owner and its actor process.

Each side sees the end of the other by the end of file. A message is its length in eight bytes, one
byte for its kind, and data. The owner first sends class, arguments and settings
(:mod:`uactor.launch.socket_pair`). The process answers once whether its actor is constructed. After
that the process may send messages and requests at any time. A request has a number, and its answer
has the same.
"""

from __future__ import annotations

import itertools
import os
import queue
import socket
import struct
import threading
from collections.abc import Iterator

from uactor.errors import ActorDiedError
from uactor.runtime.fork_hooks import at_fork

READY, FAILED = b'R', b'F'
"""Kinds of the first answer of an actor process: its actor is constructed, or has failed."""
ANSWER = b'A'
"""Kind of an owner's answer to a request. Modules that send other kinds define them."""

_LENGTH = struct.Struct('!Q')
_NUMBER = struct.Struct('!I')
_HEAD_BYTES = _LENGTH.size + 1


class LifelineReader:
    """Splits bytes into messages, without a socket."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Add bytes and yield kind and data of each complete message."""
        self._data += data
        while len(self._data) >= _HEAD_BYTES:
            end = _LENGTH.size + _LENGTH.unpack_from(self._data)[0]
            if len(self._data) < end:
                return
            message = bytes(self._data[_LENGTH.size : end])
            del self._data[:end]
            yield message[:1], message[1:]


def encode_message(kind: bytes, data: bytes) -> bytes:
    """Return a message as bytes."""
    return _LENGTH.pack(1 + len(data)) + kind + data


def split_request(data: bytes) -> tuple[bytes, bytes]:
    """Return the encoded number of a request, and its content."""
    return data[: _NUMBER.size], data[_NUMBER.size :]


class Lifeline:
    """The actor process's end of the lifeline.

    Threads may use it at the same time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._sending = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[bytes | None]] = {}
        self._ended = False

    def send(self, kind: bytes, data: bytes) -> None:
        """Send a message to the owner.

        :raises OSError: if the owner has ended.
        """
        with self._sending:
            self.socket.sendall(encode_message(kind, data))

    def request(self, kind: bytes, data: bytes) -> bytes:
        """Send a request to the owner and wait for the answer.

        :raises ActorDiedError: if the owner has ended, or ends meanwhile.
        """
        answer: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        number = next(self._numbers)
        self._waiting[number] = answer
        try:
            if self._ended:
                raise _create_ended_error()
            self._send_request(kind, number, data)
            found = answer.get()
        finally:
            self._waiting.pop(number, None)
        if found is None:
            raise _create_ended_error()
        return found

    def _send_request(self, kind: bytes, number: int, data: bytes) -> None:
        try:
            self.send(kind, _NUMBER.pack(number) + data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _create_ended_error() from error

    def deliver_answers(self) -> None:
        """Deliver answers to waiting threads until the owner shuts its end down."""
        reader = LifelineReader()
        try:
            while data := self.socket.recv(1 << 16):
                for kind, content in reader.feed(data):
                    if kind == ANSWER:
                        self._hand_out(content)
        finally:
            self._ended = True
            for answer in tuple(self._waiting.values()):
                answer.put(None)

    def _hand_out(self, content: bytes) -> None:
        number, answer = split_request(content)
        waiting = self._waiting.get(_NUMBER.unpack(number)[0])
        if waiting is not None:  # else the thread was interrupted
            waiting.put(answer)


def _create_ended_error() -> ActorDiedError:
    return ActorDiedError('the owner of this actor has ended', 'no')


_current: tuple[int, Lifeline] | None = None


def get_current() -> Lifeline | None:
    """Return the lifeline of this process, or None outside an actor process."""
    if _current is None or _current[0] != os.getpid():
        return None
    return _current[1]


def set_current(lifeline: Lifeline) -> None:
    """Set the lifeline of this process, which forked children close.

    The copy of a child would keep the lifeline open, and the owner would not see its end.
    """
    global _current
    _current = os.getpid(), lifeline
    at_fork(in_child=lifeline.socket.close)
