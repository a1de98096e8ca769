"""What a session needs of the transport that carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Protocol

from uactor.errors import UActorException
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

Send = Callable[['bytes | pb.SessionResponse'], None]
"""Sends a response: in its wire form, or as a message with which large data goes."""


class SessionEndpoint(Protocol):
    """The host's end of the connection that a session comes by.

    :ivar authorized: whether the client has proved already that it knows the authkey. Otherwise it
        has to prove that before the host looks at anything that it sends.
    """

    authorized: bool

    @property
    def memory(self) -> Carrier | None:
        """The carrier of large data, or None.

        It is used only if the client can receive large data, too.
        """
        ...

    @property
    def put(self) -> Send | None:
        """What sends a message, from any thread, one at a time.

        None when only the thread of the session can send.
        """
        ...

    def has_more(self) -> bool:
        """Return whether a message is known to have arrived.

        The reading thread calls this.
        """
        ...

    def refuse(self, error: UActorException) -> NoReturn:
        """End the session and tell the client why.

        The thread of the session calls this.
        """
        ...

    def admit(self) -> None:
        """Lift the limits for a client that has proved itself."""
        ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the client has gone, at once if it has.

        Any thread may make that call.
        """
        ...
