"""What the typeids of an actor's manager class stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.errors import ProxyError


class Typeids:
    """The typeids that a manager class has registered.

    :param manager_class: a subclass of :class:`uactor.ActorManager`, which the host does not
        import.
    """

    def __init__(self, manager_class: Any) -> None:
        self._manager_class = manager_class

    def names(self) -> Sequence[str]:
        """Return all typeids. Users may register more at any time."""
        names: Sequence[str] = self._manager_class.typeids()
        return names

    def require(self, typeid: str) -> None:
        """Raise an error when a typeid is not registered.

        The error tells the actor's author what to do.

        :raises ProxyError: when it is not.
        """
        if self._manager_class.find_registration(typeid) is None:
            raise ProxyError(
                f'no proxy is registered with typeid {typeid!r}; '
                'add it to _proxies_, or choose one of manager_class.typeids()'
            )

    def factory(self, typeid: str) -> Callable[..., Any]:
        """Return the callable that creates an object of a typeid.

        :raises ProxyError: when clients cannot create such objects.
        """
        registered = self._manager_class.find_registration(typeid)
        if registered is None or registered.callable is None:
            possible = sorted(name for name in self.names() if self._is_creatable(name))
            raise ProxyError(
                f'cannot create a {typeid!r}; what can be created: {", ".join(possible)}'
            )
        factory: Callable[..., Any] = registered.callable
        return factory

    def _is_creatable(self, typeid: str) -> bool:
        return bool(self._manager_class.find_registration(typeid).callable)

    def exposure(self, value: Any, typeid: str) -> tuple[frozenset[str], Mapping[str, str]]:
        """Return an object's exposed names, and the typeids of its methods' results.

        A typeid that lists no names exposes all public methods.

        :raises ProxyError: when the typeid is not registered.
        """
        registered = self._manager_class.find_registration(typeid)
        if registered is None:
            raise ProxyError(f'no proxy is registered with typeid {typeid!r}')
        mapping: Mapping[str, str] = registered.method_to_typeid or {}
        exposed = registered.exposed
        if exposed is None:
            exposed = [
                name
                for name in dir(value)
                if not name.startswith('_') and callable(getattr(value, name, None))
            ]
        return frozenset([*exposed, *mapping]), mapping
