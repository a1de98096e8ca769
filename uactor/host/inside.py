"""Proxies of an actor's own objects, inside that actor: no wire, no copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uactor import local, values
from uactor.handles import Token
from uactor.host.clients import Caller
from uactor.host.objects import LOCAL
from uactor.local import Resolve, Shared

if TYPE_CHECKING:
    from uactor.host.server import Host

_COPIES = '#GETVALUE'


class InsideConnection:
    """The way of this process to its own objects.

    In a forked child the actor is another process, and is dialled like any other.

    :param dial: connects to an actor process by its address.
    """

    def __init__(self, host: Host, dial: Callable[[str], local.Connection]) -> None:
        self._host = host
        self._dial = dial
        self._pid = os.getpid()
        self._outside: local.Connection | None = None
        self._caller = Caller(LOCAL, in_session=True)
        self.actor = Token('actor', host.target, host.table.actor_id)

    def _elsewhere(self) -> local.Connection | None:
        """Return how to reach the actor from a forked child, or None in the actor itself."""
        if os.getpid() == self._pid:
            return None
        if self._outside is None:
            self._outside = self._dial(self._host.target)
        return self._outside

    def call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
    ) -> Any:
        """Call a method on this very thread."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.call(handle, method, args, kwargs, resolve)
        result, typeid = self._host.dispatcher.call(self._caller, handle, method, args, kwargs)
        if method == _COPIES:
            return values.loads(values.dumps(result))
        return self._resolved(result, typeid, resolve)

    def get_attribute(self, handle: str, name: str, resolve: Resolve) -> Any:
        """Read an attribute."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.get_attribute(handle, name, resolve)
        value, typeid = self._host.dispatcher.get_attribute(self._caller, handle, name)
        return self._resolved(value, typeid, resolve)

    def set_attribute(self, handle: str, name: str, value: Any) -> None:
        """Write an attribute."""
        outside = self._elsewhere()
        if outside is not None:
            outside.set_attribute(handle, name, value)
        else:
            self._host.dispatcher.set_attribute(self._caller, handle, name, value)

    def create(
        self, typeid: str, args: Sequence[Any], kwargs: Mapping[str, Any], resolve: Resolve
    ) -> Any:
        """Make a new object."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.create(typeid, args, kwargs, resolve)
        made = self._host.factory(typeid)(*args, **kwargs)
        return resolve(self._host.share(made, typeid))

    def _resolved(self, value: Any, typeid: str, resolve: Resolve) -> Any:
        if not typeid or isinstance(getattr(value, '_token', None), Token):
            return value
        return resolve(self._host.share(value, typeid))

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold."""
        outside = self._elsewhere()
        if outside is not None:
            outside.retain(handle, lease)
        else:
            self._host.table.retain([handle], LOCAL, lease)

    def adopt(self, handle: str) -> None:
        """Do nothing: holds inside are counted by the table."""

    def release(self, handle: str) -> None:
        """Give a hold up, later: finalizers may run while the table is locked."""
        if os.getpid() == self._pid:
            self._host.table.release_later(handle)
        elif self._outside is not None:
            self._outside.release(handle)

    def claim(self, handle: str) -> str:
        """Have the receiver's hold granted with the message, or take a lease."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.claim(handle)
        passage = values.current_passage()
        if passage is None:
            return self._host.table.lease([handle])
        if passage.grants is None:
            return ''
        passage.grants.append(handle)
        return values.GRANTED


def share_in(host: Host, value: Any, typeid: str) -> Shared:
    """Put an object into the host's table, held by this process."""
    if typeid == 'actor':
        entry = host.exchange.actor_entry(value)
        entry.holds[LOCAL] += 1
    else:
        entry = host.table.share(value, typeid, LOCAL)
    token = Token(entry.typeid, host.target, entry.id)
    methods = tuple(sorted(entry.exposed)) if entry.typeid == 'auto' else ()
    return Shared(token, methods)
