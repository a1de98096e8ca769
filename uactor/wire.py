"""gRPC, loaded when it is needed.

Importing it takes some 70 ms and 15 MiB, which only those shall pay who connect.
And it writes notes for its own developers to standard error, about forks and
closed connections, unless it is told at that moment to keep to errors.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any, Protocol, TypeVar

_VERBOSITY = 'GRPC_VERBOSITY'

# Python 3.10 has been seen to give a second thread the module half imported.
_loading = threading.Lock()


_TOGETHER = 1 << 16
_MOST = 128
"""Most bytes, and messages, that are sent as one where single ones would do."""
_ENVELOPE = 8
"""Most bytes that a message of that size takes more as a part of another."""
_NOTHING: Any = object()


class Message(Protocol):
    """A message of a pipelined session, in either direction."""

    @property
    def more(self) -> Any:
        """The messages that follow it."""
        ...

    def ByteSize(self) -> int:
        """Return how many bytes it takes."""
        ...


T = TypeVar('T', bound=Message)
S = TypeVar('S', covariant=True)


class Waiting(Protocol[S]):
    """Messages that wait to be sent: a queue of one consumer."""

    def get(self) -> S | None:
        """Wait for the next one; None at the end."""
        ...

    def empty(self) -> bool:
        """Tell whether there is none."""
        ...


def load_grpc() -> ModuleType:
    """Import gRPC and return it; what the user says in ``GRPC_VERBOSITY`` holds."""
    with _loading:
        if 'grpc' in sys.modules or _VERBOSITY in os.environ:
            import grpc

            return grpc
        os.environ[_VERBOSITY] = 'ERROR'
        try:
            import grpc
        finally:
            del os.environ[_VERBOSITY]  # not for this process's children
        return grpc


def load_all() -> None:
    """Import also what gRPC imports when a server is made."""
    load_grpc()
    for name in ('grpc._interceptor', 'grpc._server'):
        importlib.import_module(name)


def environment() -> dict[bytes, bytes]:
    """Return the environment of this process, without what is there while gRPC is loaded."""
    with _loading:
        return dict(os.environb)


def together(messages: Waiting[T], limit: int = -1) -> Iterator[T]:
    """Yield queued messages until there is a None, those that have gathered as one.

    Nothing is waited for but the first: a single message goes out at once.

    :param limit: most bytes that a message may have; -1 for any number.
    """
    largest = _TOGETHER if limit < 0 else min(_TOGETHER, limit - _MOST * _ENVELOPE)
    first = messages.get()
    while first is not None:
        size = first.ByteSize()
        following = None
        while len(first.more) < _MOST:
            if messages.empty():
                following = _NOTHING
                break
            following = messages.get()
            if following is None or (size := size + following.ByteSize()) > largest:
                break
            first.more.append(following)
            following = _NOTHING
        yield first
        first = messages.get() if following is _NOTHING else following
