"""Stand-ins for actors that modules start, where imports must start nothing.

:mod:`uactor.launch.module_starts` says why. At its first use, a stand-in requests the actor from
the owner of this process, over the lifeline. An owner that has not imported the module passes the
request on to its own owner.
"""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cloudpickle

from uactor import _wire, errors
from uactor.codec import pickling, transfer
from uactor.core.addresses import Address, Token
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    SerializationError,
    StaleHandleError,
)
from uactor.launch import actor_process, lifeline, module_starts, start_guard
from uactor.launch.module_starts import ImportStopped, Site, StartId, StartState
from uactor.launch.start_guard import Phase
from uactor.manager import ActorManager, get_manager
from uactor.proxies.base import BaseProxy
from uactor.proxies.lazy import create_lazy_proxy, resolve_proxy

_START, _MODULE = b'S', b'M'
"""Requests to the owner: for the actor of a start, and for the names of a module."""

_RESOLVED_ATTRIBUTES = frozenset(['_token', '_id', '_serializer', '_manager', '_connection'])
"""Attributes of a proxy that a stand-in gets at its first use."""


def _get_resolved(self: Any, name: str) -> Any:
    """Return an attribute of a stand-in, as its ``__getattr__``."""
    if name in _RESOLVED_ATTRIBUTES:
        resolve_proxy(self)
        return getattr(self, name)
    raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')


def _format_stand_in(self: Any) -> str:
    """Return the repr() of a stand-in."""
    return f'<{type(self).__name__} object, not used yet, for {vars(self)["_start"]}>'


def _shut_down(self: Any) -> Any:
    """Shut the actor of a stand-in down, except at exit.

    Many modules call this at exit.
    """
    if start_guard.get_phase() is Phase.LEAVING:  # the owner has the module, too, and does it
        return None
    resolve_proxy(self)
    return self.shutdown()


def create_stand_in(actor_class: Any, site: Site) -> Any:
    """Return a stand-in for the actor that a module would start there."""
    start = module_starts.register_start(site, actor_class)
    members = {'__getattr__': _get_resolved, '__repr__': _format_stand_in, 'shutdown': _shut_down}
    proxy = create_lazy_proxy(
        actor_class.proxy_class,
        members,
        lambda: _find_proxy(start.ident, actor_class),
        _start=start.ident,
    )
    start.succeed(proxy)
    return proxy


def _find_proxy(ident: StartId, actor_class: Any) -> BaseProxy:
    """Return a proxy of the actor that the owner has started there."""
    site = module_starts.find_current_site()
    if site is not None and module_starts.is_on_behalf_of_a_start(site):
        raise ImportStopped(f'line {site.line} of {site.module} uses {ident}')
    found = _request_start(ident)
    token = Token('actor', found.address, found.handle)
    manager = get_manager(actor_class.manager_class, token.address, token.id)
    if manager.connection.actor.id != token.id:
        raise StaleHandleError(f'another actor now runs at {token.address}')
    proxy: BaseProxy = actor_class.proxy_class(
        token, found.serializer, manager=manager, incref=False
    )
    return proxy


# --- the actor of a start ------------------------------------------------------------------------


@dataclass(frozen=True)
class _StartReport:
    """What an owner reports about a start.

    It contains no class. Another thread of the owner may be importing the module, and pickling a
    class of the module would wait for that import.

    :ivar problem: why there is no actor, in words that follow the name of the start; '' if there
        is one.
    """

    problem: str = ''
    address: Address = ''
    handle: str = ''
    serializer: str = ''


def _request_start(ident: StartId) -> _StartReport:
    own = lifeline.get_current()
    if own is None:  # a forked child of an actor process
        raise ActorUnreachableError(f'{ident} is not known in a forked child')
    answer = own.request(_START, pickle.dumps(ident))
    found: _StartReport = pickle.loads(answer) if answer else _StartReport('could not be looked up')
    if found.problem:
        raise ActorUnreachableError(
            f'{ident} {found.problem} in the process that has started this one; '
            'it is not started again here, where the module is imported to find a class'
        )
    return found


def _handle_start(_sender: object, data: bytes) -> bytes:
    """Handle an actor process's request for the actor of a start."""
    ident: StartId = pickle.loads(data)
    start = module_starts.find_start(ident)
    own = lifeline.get_current()
    if start is None and own is not None:
        return own.request(_START, data)
    return pickle.dumps(_report_start(ident, start))


def _report_start(ident: StartId, start: module_starts.Start | None) -> _StartReport:
    if ident.module not in sys.modules:
        return _StartReport(f'is not there: {ident.module} has not been imported')
    if start is None:
        return _StartReport(f'is not there: {ident.module} has started nothing like it')
    if start.state is StartState.FAILED:
        return _StartReport('has failed to start')
    if start.state is StartState.PENDING:
        return _StartReport('is still being started')
    proxy = _get_proxy(start.find_holder())
    if proxy is None:
        return _StartReport('has ended')
    token = proxy._token
    return _StartReport('', token.address, token.id, proxy._serializer)


def _get_proxy(holder: Any) -> BaseProxy | None:
    """Return a proxy of a start's actor, or None after its end."""
    if not isinstance(holder, ActorManager):
        return holder  # type: ignore[no-any-return]  # a stand-in, or None
    if holder.process is None or not holder.process.is_alive():
        return None
    return holder.actor()  # type: ignore[no-any-return]


# --- modules whose import has stopped ------------------------------------------------------------


def complete_module(module: types.ModuleType) -> None:
    """Complete a module, whose import has stopped, from the owner's module.

    Names that the owner's module gets later are requested when they are used.
    """
    here = vars(module)

    def get(name: str) -> Any:
        if not name.startswith('__'):
            problem = _take_names(module, name)
            if name in here:
                return here[name]
            if problem:
                raise SerializationError(
                    f'module {module.__name__!r} has {name!r} only in the process that has started '
                    f'this one, which can not send it ({problem}), because its import ended here '
                    f'where it uses an actor; define {name!r} above that, or use the actor later'
                )
        raise AttributeError(
            f'module {module.__name__!r} has no attribute {name!r} here: its import ended '
            'where it uses an actor, and the process that has started this one has none to send'
        )

    here.setdefault('__getattr__', get)  # loading a name may need a later one
    _take_names(module, '')


def _take_names(module: types.ModuleType, name: str) -> str:
    """Copy a name that this module lacks from the owner's module.

    If ``name`` is empty, copy all such names.

    :returns: why a name of the owner's module can't be copied; '' otherwise.
    """
    own = lifeline.get_current()
    if own is None:
        return ''
    here, problem = vars(module), ''
    lacking = [] if name else list(here)
    answer = own.request(_MODULE, pickle.dumps((module.__name__, name, lacking)))
    found: Mapping[str, bytes | str] = pickle.loads(answer) if answer else {}
    for key, data in found.items():
        if key in here:  # loading another name has needed it
            continue
        if isinstance(data, str):
            problem = data
            continue
        try:
            here.setdefault(key, _rebind(pickling.loads(data), module))
        except (SerializationError, ActorDiedError) as error:  # this module lacks it, then
            problem = str(error)
    return problem


def _rebind(value: Any, module: types.ModuleType) -> Any:
    """Return a function with the globals of this process's module.

    A value that is not a function of the module is returned as it is.
    """
    if not isinstance(value, types.FunctionType) or value.__module__ != module.__name__:
        return value
    made = types.FunctionType(
        value.__code__, vars(module), value.__name__, value.__defaults__, value.__closure__
    )
    made.__kwdefaults__ = value.__kwdefaults__
    made.__qualname__, made.__doc__ = value.__qualname__, value.__doc__
    made.__annotations__ = value.__annotations__
    made.__dict__.update(value.__dict__)
    return made


def _handle_names(_sender: object, data: bytes) -> bytes:
    """Handle an actor process's request for the names of a module."""
    module_name, wanted, lacking = pickle.loads(data)
    module = sys.modules.get(module_name)
    own = lifeline.get_current()
    if module is None:
        return b'' if own is None else own.request(_MODULE, data)
    names = [wanted] if wanted else [name for name in vars(module) if name not in lacking]
    found: dict[str, bytes | str] = {}
    for name in names:
        if name in vars(module) and not name.startswith('__'):
            try:
                found[name] = _pickle_name(name, vars(module)[name], module)
            except Exception as error:  # reducers are code of the program
                found[name] = errors.get_text(error)
    return pickle.dumps(found)


class _UnfinishedPickler(pickling.ValuePickler):
    """Pickles a value of a module while imports may be in progress.

    Pickling by name imports the module. That would wait for an importing thread, which may wait
    for the actor that has sent this request. So the receiver looks up what a module in progress
    only has by name.

    :param module: the module whose definitions are pickled by value.
    :param name: the name of the value in that module.
    """

    def __init__(self, module: types.ModuleType, name: str, *args: Any) -> None:
        super().__init__(*args)
        self._module, self._name = module.__name__, name

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled; see :mod:`pickle`."""
        if isinstance(obj, (type, types.FunctionType)):
            if obj.__module__ != self._module and self._is_unfinished(obj.__module__):
                return _wire.look_up, (obj.__module__, obj.__qualname__)
            return super().reducer_override(obj)
        reduced = super().reducer_override(obj)
        if reduced is not NotImplemented or type(obj) in self.dispatch_table:
            return reduced
        reduced = obj.__reduce_ex__(pickling.PROTOCOL)
        if not isinstance(reduced, str):
            return reduced
        module = pickle.whichmodule(obj, reduced)  # type: ignore[attr-defined]  # it has no stub
        if not self._is_unfinished(module):
            return NotImplemented
        if (module, reduced) == (self._module, self._name):  # the requested value itself
            return object.__new__, (type(obj),), getattr(obj, '__dict__', None) or None
        return _wire.look_up, (module, reduced)

    def _is_unfinished(self, module: str) -> bool:
        return module == self._module or module_starts.is_being_imported(module)


def _pickle_name(name: str, value: Any, module: types.ModuleType) -> bytes:
    """Pickle the value that a module has under a name.

    :raises Exception: the reason why it can't be pickled.
    """
    with _pickle_by_value(module), transfer.transfer():
        return pickling.pickle_with(functools.partial(_UnfinishedPickler, module, name), value)


@contextlib.contextmanager
def _pickle_by_value(module: types.ModuleType) -> Iterator[None]:
    if module.__name__ in cloudpickle.list_registry_pickle_by_value():  # as the program wants
        yield
        return
    cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        cloudpickle.unregister_pickle_by_value(module)


_HANDLERS: Mapping[bytes, Callable[[object, bytes], bytes]] = {
    _START: _handle_start,
    _MODULE: _handle_names,
}
for _kind, _handler in _HANDLERS.items():
    actor_process.handle_requests(_kind, _handler)
