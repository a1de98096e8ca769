"""Queue messages, and join all that have gathered into one write."""

from __future__ import annotations

import collections
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

from uactor.runtime.system_errors import is_own
from uactor.transport.varint import encode_varint

_MAX_BATCH_BYTES = 1 << 16
"""The largest message that results from joining others. A single message may be larger."""
_MAX_BATCH_MESSAGES = 128
"""The most messages that are joined into one."""
_ENVELOPE_BYTES = 8
"""The most bytes that a message needs in addition as a part of another one."""
_LENGTH_DELIMITED = 2
"""Protobuf's wire type of messages in messages."""


Message = TypeVar('Message')
"""A message that is not in its wire form. It has to be sent by itself."""


class Outbox(Generic[Message]):
    """Queues messages for one sending thread at a time, in order.

    Messages are in their wire form, except those that carry large data beside them.
    """

    def __init__(self) -> None:
        self._messages: collections.deque[bytes | Message | int] = collections.deque()
        self._by_number: dict[int, bytes | Message] = {}
        self._asleep = threading.Lock()  # its release wakes the sender
        self._asleep.acquire()
        self._is_awaited = False
        self._ended = False

    def put(self, message: bytes | Message) -> None:
        """Queue a message, without waking the sender. Safe in finalizers."""
        self._messages.append(message)

    def put_numbered(self, number: int, message: bytes | Message) -> None:
        """Queue a message that can be withdrawn, without waking the sender."""
        self._by_number[number] = message
        self._messages.append(number)

    def recall(self, number: int) -> bytes | Message | None:
        """Withdraw a queued message and return it.

        Return None if sending has begun.
        """
        return self._by_number.pop(number, None)

    def get(self) -> bytes | Message | None:
        """Dequeue the next message and return it; None without one."""
        while True:
            try:
                found = self._messages.popleft()
            except IndexError:
                return None
            if not isinstance(found, int):
                return found
            message = self._by_number.pop(found, None)
            if message is not None:  # else a thread has withdrawn it
                return message

    def wake(self) -> None:
        """Wake the sender. Safe in finalizers."""
        if self._is_awaited:
            try:
                self._asleep.release()  # and nothing else: a signal handler may raise here
            except RuntimeError as error:  # another thread has woken the sender
                if not is_own(error):
                    raise

    def end(self) -> None:
        """End the wait of the sender, now and later."""
        self._ended = True
        self.wake()

    def wait(self) -> bool:
        """Wait for messages; return False at the end."""
        while not self._messages and not self._ended:
            # A thread that puts a message now sees the flag, or this thread sees the message.
            self._is_awaited = True
            if not self._messages and not self._ended:
                self._asleep.acquire()
            self._is_awaited = False
        return bool(self._messages)


def coalesce(messages: Outbox[Message], field: int, limit: int = -1) -> Iterator[bytes | Message]:
    """Yield all queued messages, joining adjacent ones into one.

    A message that is not in its wire form is yielded as it is.

    :param field: number of the field in which a message has the ones that follow it.
    :param limit: the most bytes that a message may have; -1 for any number.
    """
    tag = encode_varint(field << 3 | _LENGTH_DELIMITED)
    largest = _MAX_BATCH_BYTES
    if limit >= 0:
        largest = min(largest, limit - _MAX_BATCH_MESSAGES * _ENVELOPE_BYTES)
    first = messages.get()
    while first is not None:
        if not isinstance(first, bytes):
            yield first
            first = messages.get()
            continue
        parts, size = [first], len(first)
        following = messages.get()
        while isinstance(following, bytes) and len(parts) < 3 * _MAX_BATCH_MESSAGES:
            size += len(following)
            if size > largest:
                break
            parts += tag, encode_varint(len(following)), following
            following = messages.get()
        yield b''.join(parts)
        first = following
