"""The proxy of an actor."""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Callable
from typing import Any

from uactor import _wire
from uactor.codec import failures
from uactor.core.addresses import Address
from uactor.core.futures import run_in_thread
from uactor.errors import ActorDiedError, SerializationError
from uactor.proxies.base import BaseProxy
from uactor.proxies.remote_method import RemoteMember
from uactor.runtime.system_errors import is_interruption

log = logging.getLogger('uactor.client')


class ActorProxy(BaseProxy):
    """A proxy of an actor, and the base of each ``proxy_class``."""

    @property
    def connection_address(self) -> Address:
        """Where the actor listens: ``'unix:/path'``, ``'host:port'`` or ``('host', port)``."""
        return self._token.address

    def __enter__(self) -> Any:
        """Call :meth:`uactor.Actor.__enter__` in the actor."""
        return self._callmethod('__enter__')

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> bool:
        """Call :meth:`uactor.Actor.__exit__` in the actor, and then end it.

        Only the proxy of the owner, which instantiating the class has returned, ends the actor. The
        exception of the block reaches the caller unchanged, unless the actor's ``__exit__`` returns
        a true value. If the actor has died meanwhile, that adds no error. If the block has shut the
        actor down, leaving it raises a :class:`BrokenPipeError`, as in uActor.
        """
        try:
            swallow = bool(self._manager.run_hook(lambda: self._run_hooks(exc_value)))
        except ActorDiedError as error:
            if is_interruption(error) or (exc_value is None and self._manager.was_shut_down):
                raise
            if not self._manager.was_shut_down:
                log.warning('an actor died before its block was left: %s', error)
            return False
        finally:
            self._manager.shutdown()
        return swallow

    async def __aenter__(self) -> Any:
        """Enter as :meth:`__enter__` does, without blocking the event loop."""
        return await run_in_thread(self.__enter__)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> bool:
        """Leave as :meth:`__exit__` does, without blocking the event loop."""
        return await run_in_thread(lambda: self.__exit__(exc_type, exc_value, traceback))

    def _run_hooks(self, error: BaseException | None) -> bool:
        swallow = bool(self._leave(error))
        if self._manager.process is not None:
            self._callmethod('shutdown')
        return swallow

    def _leave(self, error: BaseException | None) -> Any:
        """Call the actor's ``__exit__`` with what can be sent of the exception."""
        *forms, plainest = failures.list_sendable_forms(error)
        for form in forms:
            try:
                return self._callmethod('__exit__', (*form, None))
            except SerializationError as refusal:
                if refusal.executed != 'no' or is_interruption(refusal):
                    raise
        return self._callmethod('__exit__', (*plainest, None))

    def shutdown(self) -> Any:
        """Call :meth:`uactor.Actor.shutdown` in the actor; the owner's process also ends it."""
        manager = self._manager.parent or self._manager
        try:
            return manager.run_hook(lambda: self._callmethod('shutdown'))
        finally:
            manager.shutdown()


def create_member(actor_class: type, name: str) -> Any:
    """Return a proxy class's member for a member of its actor class."""
    member = getattr(actor_class, name, None)
    if callable(member):
        return _ActorMember(name, member)
    return AttributeProxy(name, getattr(member, '__doc__', None))


class _ActorMember(RemoteMember):
    """A method of an actor class, as its proxy class has it."""

    def __init__(self, name: str, member: Any) -> None:
        def method(self: BaseProxy, /, *args: Any, **kwargs: Any) -> Any:
            return self._callmethod(name, args, kwargs)

        functools.update_wrapper(method, member)
        del method.__wrapped__  # type: ignore[attr-defined]  # pickles would include it
        method.__name__ = name
        super().__init__(name, method, is_plain=True)
        self._arguments = name, member

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, Any]]:
        return _wire.make_remote_member, self._arguments


class AttributeProxy(property):
    """A property that reads and writes an attribute of the actor."""

    def __init__(self, name: str, doc: str | None) -> None:
        def get(self: BaseProxy) -> Any:
            return self._get_attribute(name)

        def set_(self: BaseProxy, value: Any) -> None:
            self._set_attribute(name, value)

        super().__init__(get, set_, doc=doc)
        self._arguments = name, doc

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, str | None]]:
        return _wire.make_remote_attribute, self._arguments


_wire.implements(_wire.make_remote_member)(_ActorMember)
_wire.implements(_wire.make_remote_attribute)(AttributeProxy)


def is_generated(member: Any) -> bool:
    """Return whether :func:`create_member` has created ``member``."""
    return isinstance(member, (AttributeProxy, _ActorMember))
