"""The host of this process, if it is an actor process.

The host sets it; proxies and connections read it, so that an object of this very process is
reached without a wire. Neither imports the other.
"""

from __future__ import annotations

from uactor.core.interfaces import Host
from uactor.runtime.fork_hooks import at_fork

host: Host | None = None
"""The host of this process, or None outside actor processes."""

constructing: type | None = None
"""The actor class whose instance this process is about to make."""


def _forget() -> None:
    global host, constructing
    host = constructing = None


at_fork(in_child=_forget)
