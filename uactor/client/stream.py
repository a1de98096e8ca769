"""The gRPC stream under a session, kept away from signals.

Signal handlers run on the main thread, between any two steps of its Python code, and
what they raise, KeyboardInterrupt for one, is raised there. Inside gRPC that can leave
a lock taken, upon which all later calls on that channel hang. So the main thread never
enters it: another one reads the streams of its sessions.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Protocol

from uactor.client.nesting import Inside, serves
from uactor.errors import ActorDiedError
from uactor.reaper import reaper
from uactor.v1 import actor_pb2 as pb

Begin = Callable[[], Any]
"""Calls the stub and returns gRPC's call object."""


class Stream(Protocol):
    """What a session receives from."""

    def receive(self) -> pb.SessionResponse:
        """Wait for the next response.

        :raises StopIteration: when the host has ended the stream.
        :raises grpc.RpcError: when it has ended otherwise.
        """
        ...

    def cancel(self) -> None:
        """Break the stream off."""
        ...


def begun(begin: Begin, channel: int) -> Stream:
    """Return a new stream, for the sessions of this thread.

    :param channel: number of the channel that it is on.
    """
    if threading.current_thread() is threading.main_thread():
        return _Relayed(begin, channel)
    return _Direct(begin, channel)


class _Direct:
    """A stream that its own thread reads."""

    def __init__(self, begin: Begin, channel: int) -> None:
        self._channel = channel
        with Inside(channel):
            self._call = begin()

    def receive(self) -> pb.SessionResponse:
        """See :class:`Stream`."""
        with Inside(self._channel):
            response: pb.SessionResponse = next(self._call)
        return response

    def cancel(self) -> None:
        """See :class:`Stream`."""
        with Inside(self._channel):
            self._call.cancel()


class _Relayed:
    """A stream of the main thread, which only touches queues that signals leave in order.

    The thread that reads is inside gRPC only while the main thread waits for it: not when that
    forks.
    """

    def __init__(self, begin: Begin, channel: int) -> None:
        self._begin = begin
        self._channel = channel
        self._call: Any = None
        self._cancelled = False
        self._wanted: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._received: queue.SimpleQueue[pb.SessionResponse | BaseException] = queue.SimpleQueue()
        try:
            threading.Thread(target=self._relay, name='uactor-relay', daemon=True).start()
        except BaseException:
            self.cancel()
            raise

    def _relay(self) -> None:
        serves(self._channel)
        try:
            self._call = call = self._begin()
            if self._cancelled:
                call.cancel()
            if not call.add_callback(self._want):  # the end of the stream
                self._want()
            while True:
                self._wanted.get()
                self._received.put(next(call))
        except SystemExit:  # of a daemon thread, which the main thread is not
            self._received.put(ActorDiedError('this process ends', 'no'))
        except BaseException as error:
            self._received.put(error)

    def _want(self) -> None:
        self._wanted.put(None)

    def receive(self) -> pb.SessionResponse:
        """See :class:`Stream`."""
        self._want()
        response = self._received.get()
        if isinstance(response, BaseException):
            raise response
        return response

    def cancel(self) -> None:
        """See :class:`Stream`."""
        self._cancelled = True
        reaper.put(self._cancel)

    def _cancel(self) -> None:
        if self._call is not None:
            with Inside(self._channel):
                self._call.cancel()
