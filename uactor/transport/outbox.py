"""Messages that wait to be written: all that have gathered go in one write."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from uactor.runtime.system_errors import is_own
from uactor.transport.varint import encode_varint

_TOGETHER = 1 << 16
_MOST = 128
"""Most bytes, and messages, that are sent as one where single ones would do."""
_ENVELOPE = 8
"""Most bytes that a message of that size takes more as a part of another."""
_IN_BYTES = 2
"""Protobuf's wire type of messages in messages."""


Message = TypeVar('Message')
"""A message that is not in its wire form: it has to be sent by itself."""


class Outbox(Generic[Message]):
    """Messages that wait to be sent, in order, by one thread at a time.

    They are in their wire form, but for those with which something else goes.
    """

    def __init__(self) -> None:
        self._messages: collections.deque[bytes | Message | int] = collections.deque()
        self._by_number: dict[int, bytes | Message] = {}
        self._asleep = threading.Lock()  # released to wake who waits
        self._asleep.acquire()
        self._is_awaited = False
        self._ended = False

    def put(self, message: bytes | Message) -> None:
        """Add a message; wake nobody. Safe in finalizers."""
        self._messages.append(message)

    def put_numbered(self, number: int, message: bytes | Message) -> None:
        """Add a message that can be taken back; wake nobody."""
        self._by_number[number] = message
        self._messages.append(number)

    def recall(self, number: int) -> bytes | Message | None:
        """Have a message not sent, and return it; None when it is being sent, or has been."""
        return self._by_number.pop(number, None)

    def get(self) -> bytes | Message | None:
        """Take out the next message; None when there is none."""
        while True:
            try:
                found = self._messages.popleft()
            except IndexError:
                return None
            if not isinstance(found, int):
                return found
            message = self._by_number.pop(found, None)
            if message is not None:  # else it has been taken back
                return message

    def wake(self) -> None:
        """Wake who waits for messages. Safe in finalizers."""
        if self._is_awaited:
            try:
                self._asleep.release()  # and nothing else: a signal handler may raise here
            except RuntimeError as error:  # it has been woken
                if not is_own(error):
                    raise

    def end(self) -> None:
        """Have nobody wait any more."""
        self._ended = True
        self.wake()

    def wait(self) -> bool:
        """Wait until there are messages; tell whether there are, or this is the end."""
        while not self._messages and not self._ended:
            # Whoever puts a message now either sees that it is awaited, or is seen here.
            self._is_awaited = True
            if not self._messages and not self._ended:
                self._asleep.acquire()
            self._is_awaited = False
        return bool(self._messages)


def coalesce(messages: Outbox[Message], field: int, limit: int = -1) -> Iterator[bytes | Message]:
    """Take out all messages, and yield them, those that have gathered as one.

    Those that are not in their wire form are yielded as they are.

    :param field: number of the field in which a message has those that follow it.
    :param limit: most bytes that a message may have; -1 for any number.
    """
    tag = encode_varint(field << 3 | _IN_BYTES)
    largest = _TOGETHER if limit < 0 else min(_TOGETHER, limit - _MOST * _ENVELOPE)
    first = messages.get()
    while first is not None:
        if not isinstance(first, bytes):
            yield first
            first = messages.get()
            continue
        parts, size = [first], len(first)
        following = messages.get()
        while isinstance(following, bytes) and len(parts) < 3 * _MOST:
            size += len(following)
            if size > largest:
                break
            parts += tag, encode_varint(len(following)), following
            following = messages.get()
        yield b''.join(parts)
        first = following
