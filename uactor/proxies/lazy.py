"""Proxies that reach their object at their first use.

Until then the proxy has a class of its own, derived from the class that it gets later. It has no
connection and holds nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any


def create_lazy_proxy(
    proxy_class: Any, members: Mapping[str, Any], resolve: Callable[[], Any], **state: Any
) -> Any:
    """Create a proxy that :func:`resolve_proxy` turns into a real one.

    :param members: what its class overrides until then.
    :param resolve: returns the real proxy; called once, unless it raises.
    :param state: attributes that the lazy proxy has from the beginning.
    """
    # A second base class would change the layout, and the class could not be left again.
    namespace = {
        '__module__': proxy_class.__module__,
        '__qualname__': proxy_class.__qualname__,
        **members,
    }
    proxy: Any = object.__new__(type(proxy_class.__name__, (proxy_class,), namespace))
    vars(proxy).update(state, _resolve=resolve, _resolving=threading.RLock())
    return proxy


def resolve_proxy(proxy: Any) -> None:
    """Turn a lazy proxy into a proxy that holds its object."""
    state = vars(proxy)
    with state['_resolving']:
        if '_resolved' in state:  # another thread was faster
            return
        resolved = state['_resolve']()
        # The hold belongs to the resolved proxy, and so ends with this one.
        state.update(vars(resolved), _resolved=resolved)
        proxy.__class__ = type(resolved)
