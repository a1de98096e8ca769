"""What a session asks of the transport that it comes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn, Protocol

from uactor.errors import UActorException
from uactor.host.sessions.pipeline import Send
from uactor.transport.shm_buffers import Carrier

if TYPE_CHECKING:
    pass


class SessionEndpoint(Protocol):
    """What a session needs of the wire that it is on.

    :ivar authorized: whether the client has shown already that it knows the authkey; otherwise it
        has to prove that before anything that it sends is looked at.
    """

    authorized: bool

    @property
    def memory(self) -> Carrier | None:
        """What it can take large data by, if the client can, too; None when it can't."""
        ...

    @property
    def put(self) -> Send | None:
        """What sends a message in its wire form, from any thread, one at a time.

        None when only the thread of the session can send.
        """
        ...

    def has_more(self) -> bool:
        """Return whether a message has arrived, as far as can be told. On the reading thread."""
        ...

    def refuse(self, error: UActorException) -> NoReturn:
        """End the session and tell the client why. Called on the session's thread."""
        ...

    def opened(self) -> None:
        """Know that the client has been let in."""
        ...

    def on_end(self, callback: Callable[[], None]) -> None:
        """Have ``callback`` called when the client has gone, on any thread; at once if it has."""
        ...
