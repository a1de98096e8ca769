"""The actor of this process, if this process is one.

The host fills the slot; proxies and connections look into it, so that an object
of this very process is reached without a wire. Neither imports the other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from uactor.handles import Token


class Shared:
    """A result that stays in the actor: what names it, held once by this process."""

    __slots__ = ('methods', 'token')

    def __init__(self, token: Token, methods: tuple[str, ...]) -> None:
        self.token = token
        self.methods = methods


Resolve = Callable[[Shared], Any]
"""Makes the proxy for a shared object."""


class Connection(Protocol):
    """How a proxy reaches its object: through a wire, or inside this process."""

    actor: Token
    """Names the actor at the other end."""

    def call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
    ) -> Any:
        """Call a method and return its result, handles made into proxies by ``resolve``."""
        ...

    def get_attribute(self, handle: str, name: str, resolve: Resolve) -> Any:
        """Read an attribute."""
        ...

    def set_attribute(self, handle: str, name: str, value: Any) -> None:
        """Write an attribute."""
        ...

    def create(
        self, typeid: str, args: Sequence[Any], kwargs: Mapping[str, Any], resolve: Resolve
    ) -> Any:
        """Make a new object of a typeid, held once."""
        ...

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold, out of a lease if there is one."""
        ...

    def adopt(self, handle: str) -> None:
        """Have the hold that came along with a pickle."""
        ...

    def release(self, handle: str) -> None:
        """Give a hold up. Safe in finalizers: never blocks, never calls."""
        ...

    def claim(self, handle: str) -> str:
        """Return what a pickled proxy must present to be held by its receiver."""
        ...


class Host(Protocol):
    """What the rest of uactor needs of the actor process that it runs in."""

    @property
    def connection(self) -> Connection:
        """The way to this process's own objects."""
        ...

    @property
    def actor_class(self) -> Any:
        """The class of the actor."""
        ...

    def share(self, value: Any, typeid: str) -> Shared:
        """Put an object into the table; held once by this process."""
        ...

    def known(self, handle: str) -> Shared:
        """Return an object that is in the table already; held once more by this process."""
        ...

    def serves(self, address: str) -> bool:
        """Tell whether ``address`` is one of this process's own."""
        ...

    def owns(self, handle: str) -> bool:
        """Tell whether ``handle`` is of this process, by whatever address it came."""
        ...


host: Host | None = None
"""The host of this process, or None outside actor processes."""

constructing: type | None = None
"""The actor class whose instance this process is about to make."""


def _forget() -> None:
    global host, constructing
    host = constructing = None


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)
