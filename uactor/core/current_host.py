"""Hold the host of this process, if it is an actor process.

The host sets it. Proxies and connections read it, so that they reach an object of this very process
without a wire. Neither side imports the other.
"""

from __future__ import annotations

from uactor.core.interfaces import Host
from uactor.runtime.fork_hooks import at_fork

host: Host | None = None
"""The host of this process, or None outside actor processes."""

constructing: type | None = None
"""The actor class that this process is about to instantiate."""


def _forget() -> None:
    global host, constructing
    host = constructing = None


at_fork(in_child=_forget)
