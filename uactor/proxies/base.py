"""Proxies of objects in other processes: base class, creation and pickling."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from uactor import _wire
from uactor.codec import pickling, transfer
from uactor.codec.pickling import find_attribute, is_importable
from uactor.codec.transfer import GRANTED
from uactor.codec.values import DEFAULT_SERIALIZER
from uactor.core import current_host, interfaces
from uactor.core.addresses import Address, Token
from uactor.errors import ProxyError, StaleHandleError
from uactor.manager import (
    ActorManager,
    Trust,
    create_foreign_proxy,
    create_reached_proxy,
    get_manager,
)
from uactor.proxies.lazy import create_lazy_proxy, resolve_proxy
from uactor.proxies.remote_method import RemoteMember
from uactor.v1 import actor_pb2 as pb

P = TypeVar('P', bound='BaseProxy')


class BaseProxy:
    """Base of all proxies; derive from it for proxies of your own.

    It is modelled on :class:`multiprocessing.managers.BaseProxy`. A method of a derived class calls
    its object by :meth:`_callmethod`, or is a :func:`ProxyMethod`. Proxies can be pickled and
    sent anywhere: the receiver reaches the same object.

    :cvar _exposed_: names that callers may use; None for all public methods.
    :cvar _method_to_typeid_: methods whose result is returned as a proxy, with its typeid.
    """

    _exposed_: ClassVar[tuple[str, ...] | None] = None
    _method_to_typeid_: ClassVar[Mapping[str, str] | None] = None
    _isauto: ClassVar[bool] = False
    _is_owned: ClassVar[bool] = False  # calls need a host thread that belongs to their thread
    _timeout: ClassVar[float | None] = None  # of methods, unless a call has its own

    def __init__(
        self,
        token: Token,
        serializer: str = DEFAULT_SERIALIZER,
        manager: ActorManager | None = None,
        authkey: bytes | None = None,
        exposed: Sequence[str] | None = None,
        incref: bool = True,
        manager_owned: bool = False,
    ) -> None:
        """Create a proxy. Programs don't: they get proxies from actors.

        :param incref: whether to take a hold on the object; False if this process has one for it.
        """
        self._token = token
        self._id = token.id
        self._serializer = serializer
        if manager is None:
            manager = get_manager(ActorManager, token.address, token.id)
        self._manager = manager
        self._connection = connection = self._manager.connection
        if incref:
            connection.retain(token.id)
        connection.hold(self, token.id)

    def _callmethod(
        self, methodname: str, args: Sequence[Any] = (), kwds: Mapping[str, Any] = {}
    ) -> Any:
        """Call a method of the object and return its result.

        :raises BaseException: what the method raises, with the remote traceback as cause.
        :raises ActorDiedError: if the actor has ended, or ends meanwhile.
        :raises NotExposedError: if the object does not expose the method.
        """
        return self._connection.call(
            self._id, methodname, args, kwds, self._manager.create_proxy, None, self._is_owned
        )

    def _get_attribute(self, name: str) -> Any:
        """Read an attribute of the object."""
        return self._connection.get_attribute(
            self._id, name, self._manager.create_proxy, self._timeout
        )

    def _set_attribute(self, name: str, value: Any) -> None:
        """Write an attribute of the object."""
        self._connection.set_attribute(self._id, name, value, self._timeout)

    def _lease(self) -> None:
        """Lease the object for the receiver of a handle."""
        self._connection.lease(self._id)

    def _getvalue(self) -> Any:
        """Return a copy of the object."""
        return self._callmethod('#GETVALUE')

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Pickle the names of actor and object; see :func:`_rebuild_proxy`."""
        token = self._token
        claim = '' if token.typeid == 'actor' else self._connection.claim(token.id)
        proxytype = None if self._isauto else type(self)
        classes: Any = type(self._manager), proxytype
        passing = transfer.current_transfer()
        if passing is not None:
            passing.has_proxies = True
        elif not all(map(_is_importable, classes)):
            classes = pickling.dumps(classes)  # for picklers that know names only
        exposed = self._exposed_ if self._isauto else None
        return _wire.rebuild_proxy, (
            classes,
            token.typeid,
            token.address,
            token.id,
            self._serializer,
            exposed,
            claim,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self._getvalue()

    def __repr__(self) -> str:
        return f'<{type(self).__name__} object, typeid {self._token.typeid!r} at {id(self):#x}>'

    def __str__(self) -> str:
        """Return the repr() of the object itself, as multiprocessing does."""
        return str(self._callmethod('__repr__'))

    def __eq__(self, other: object) -> bool:
        """Return whether both are proxies of the same object."""
        if not isinstance(other, BaseProxy):
            return NotImplemented
        return self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)


def _is_importable(cls: type | None) -> bool:
    """Return whether a class can be pickled by its name.

    A class of ``__main__`` can be, too: multiprocessing imports the main module again.
    """
    if cls is None or is_importable(cls):
        return True
    return find_attribute(inspect.getmodule(cls), cls.__qualname__) is cls


@_wire.implements(_wire.rebuild_proxy)
def _rebuild_proxy(
    classes: Any,
    typeid: str,
    address: Address,
    ident: str,
    serializer: str,
    exposed: tuple[str, ...] | None,
    claim: str,
) -> Any:
    """Create a proxy from its pickle, and hold its object.

    :param claim: the hold that the pickle brings: granted with the message, a lease, or none.
    :raises AuthkeyError: if this process does not know the actor's authkey.
    """
    manager_class, proxytype = pickling.loads(classes) if isinstance(classes, bytes) else classes
    manager = get_manager(manager_class, address, ident)
    connection = manager.connection
    if typeid == 'actor':
        if connection.actor.id != ident:
            raise StaleHandleError(f'another actor now runs at {address}')
    elif claim == GRANTED:
        connection.adopt(ident)
    else:
        connection.retain(ident, claim)
    token = Token(typeid, manager.address or address, ident)
    make = auto_proxy if proxytype is None else proxytype
    return make(token, serializer, manager=manager, exposed=exposed, incref=False)


def create_handle_proxy(handle: pb.Handle, manager_class: type[ActorManager] = ActorManager) -> Any:
    """Create the proxy for a native handle, and hold its object.

    :param manager_class: the manager class with the proxy classes for objects of other actors.
    """
    here = current_host.host
    if here is not None and (not handle.address or here.has_object(handle.id)):
        shared = here.share_again(handle.id)
        return _create_own_proxy(here, shared)
    token = Token(handle.typeid, handle.address, handle.id)
    return create_foreign_proxy(manager_class, token, handle.methods, _get_trust_in_callers())


def _get_trust_in_callers() -> Trust:
    """Return how far this actor trusts the handles that its callers send.

    All callers know its key. If the actor reads pickles of its callers, they can run any code here
    anyway. If it does not, a handle must not lead it to an actor whose pickles run such code.
    """
    serializer = 'native' if current_host.host is None else current_host.host.serializer
    return Trust(serializer, is_family=serializer != 'native')


# --- proxies of actors that this process doesn't know --------------------------------------------


def _create_unreached_proxy(
    manager_class: type[ActorManager], token: Token, methods: tuple[str, ...], trust: Trust
) -> Any:
    """Create a proxy that connects to its actor at its first use.

    Until then it can be compared, shown, pickled and passed on.
    """
    make: Any = manager_class.find_proxy_type(token.typeid)
    cls: type[BaseProxy] = make if isinstance(make, type) else _get_auto_type(token.typeid, methods)
    token = Token(token.typeid, token.target, token.id)
    members = {
        '__getattr__': _get_resolved,
        '__reduce__': _reduce_unreached,
        '_lease': lambda _self: None,  # its sender has taken one
    }
    return create_lazy_proxy(
        cls,
        members,
        lambda: create_reached_proxy(manager_class, token, methods, trust),
        _token=token,
        _id=token.id,
        _serializer=trust.serializer,
        _reaching=(manager_class, methods, trust),
    )


def _get_resolved(self: Any, name: str) -> Any:
    """Return an attribute of the reached proxy, such as its connection."""
    if name.startswith('__') and name.endswith('__'):  # Python looks for a protocol
        raise AttributeError(name)
    resolve_proxy(self)
    return getattr(self, name)


def _reduce_unreached(self: BaseProxy) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Pickle the handle, and how far this process trusts it.

    The receiver trusts it as far.
    """
    passing = transfer.current_transfer()
    if passing is not None:
        passing.has_proxies = True
    token, (manager_class, methods, trust) = self._token, vars(self)['_reaching']
    named: Any = manager_class
    if passing is None and not _is_importable(manager_class):
        named = pickling.dumps(manager_class)  # for picklers that know names only
    return _wire.rebuild_unreached_proxy, (
        *(named, token.typeid, token.address, token.id, methods),
        *(trust.serializer, trust.is_family),
    )


@_wire.implements(_wire.rebuild_unreached_proxy)
def _rebuild_unreached_proxy(
    manager_class: Any,
    typeid: str,
    address: Address,
    ident: str,
    methods: tuple[str, ...],
    serializer: str,
    is_family: bool,
) -> Any:
    """Rebuild a proxy that had not reached its actor."""
    if isinstance(manager_class, bytes):
        manager_class = pickling.loads(manager_class)
    here = current_host.host
    if here is not None and here.has_object(ident):
        return _create_own_proxy(here, here.share_again(ident))
    trust = Trust(serializer, is_family)
    return create_foreign_proxy(manager_class, Token(typeid, address, ident), methods, trust)


ActorManager._create_unreached = staticmethod(_create_unreached_proxy)


# --- methods -------------------------------------------------------------------------------------


@_wire.implements(_wire.make_proxy_method)
def ProxyMethod(name: str) -> Any:  # noqa: N802  # the name that uActor documents
    """Return a proxy class's method that calls ``name`` of the object."""

    def method(self: BaseProxy, /, *args: Any, **kwargs: Any) -> Any:
        return self._callmethod(name, args, kwargs)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f'Call ``{name}`` of the object in the actor.'
    return RemoteMember(name, method, is_plain=True)


def arrange_arguments(arrange: Callable[..., tuple[Any, ...]]) -> Any:
    """Return a remote method; the decorated function returns its positional arguments."""
    name = arrange.__name__

    @functools.wraps(arrange)
    def method(self: BaseProxy, /, *args: Any, **kwargs: Any) -> Any:
        return self._callmethod(name, arrange(self, *args, **kwargs))

    return RemoteMember(name, method, lambda *args, **kwargs: (arrange(None, *args, **kwargs), {}))


def expose(*others: str) -> Callable[[type[P]], type[P]]:
    """Return a decorator that exposes the names which a proxy class calls.

    :param others: further names that its methods use.
    """

    def decorate(cls: type[P]) -> type[P]:
        members = (getattr(cls, name) for name in dir(cls) if name != '_exposed_')
        called = {member.name for member in members if isinstance(member, RemoteMember)}
        cls._exposed_ = tuple(sorted(called.union(others)))
        return cls

    return decorate


# --- proxies of any object -----------------------------------------------------------------------

_auto_types: dict[tuple[str, tuple[str, ...]], type[BaseProxy]] = {}


def auto_proxy(
    token: Token,
    serializer: str = DEFAULT_SERIALIZER,
    manager: ActorManager | None = None,
    authkey: bytes | None = None,
    exposed: Sequence[str] | None = None,
    incref: bool = True,
    manager_owned: bool = False,
) -> BaseProxy:
    """Create a proxy with all public methods of its object."""
    if manager is None:
        manager = get_manager(ActorManager, token.address, token.id)
    if not exposed:
        exposed = manager.connection.call(token.id, '#METHODS', (), {}, manager.create_proxy)
    cls = _get_auto_type(token.typeid, tuple(exposed or ()))
    return cls(token, serializer, manager=manager, incref=incref)


_HOOKS = frozenset(
    ['__del__', '__getattr__', '__set_name__', '__slots__', '__weakref__', '__dict__']
)
"""Names that Python itself calls on an object, or reads of its class."""


def _is_free(name: str) -> bool:
    """Return whether a proxy may have a method of this name.

    Another process has chosen the name.
    """
    return name not in _HOOKS and not hasattr(BaseProxy, name)


def _get_auto_type(typeid: str, names: tuple[str, ...]) -> type[BaseProxy]:
    """Return the class of proxies with these methods."""
    key = typeid, names
    cls = _auto_types.get(key)
    if cls is None:
        methods: dict[str, Any] = {name: ProxyMethod(name) for name in names if _is_free(name)}
        methods.update(_exposed_=names, _isauto=True, __module__=__name__)
        cls = _auto_types[key] = type(f'AutoProxy[{typeid}]', (BaseProxy,), methods)
    return cls


# --- sharing from within the actor ---------------------------------------------------------------


def proxy(value: Any, typeid: str = 'auto', serializer: str = DEFAULT_SERIALIZER) -> Any:
    """Return a proxy of ``value``, which the actor can return or send.

    :param typeid: kind of the proxy; one of ``manager_class.typeids()`` of the actor class.
    :raises ProxyError: outside an actor process, for an unknown typeid, for an object that is
        shared under another typeid, and for ``'actor'`` if ``value`` is not the actor.
    """
    if current_host.host is None:
        raise ProxyError(
            'proxies can only be made inside an actor process; '
            'return uactor.proxy(…) from a method of the actor'
        )
    return _create_own_proxy(current_host.host, current_host.host.share(value, typeid))


def _create_own_proxy(host: interfaces.Host, shared: interfaces.SharedObject) -> Any:
    manager_class: type[ActorManager] = host.actor_class.manager_class
    return get_manager(manager_class, shared.token.address).create_proxy(shared)


def typeid(proxy: Any) -> str:
    """Return the typeid of a proxy.

    :raises ValueError: if ``proxy`` is not a proxy.
    :raises ProxyError: if it has no token.
    """
    token = getattr(proxy, '_token', None)
    if isinstance(token, Token):
        return token.typeid
    if isinstance(proxy, BaseProxy):
        raise ProxyError('the proxy has no token, and so no typeid')
    raise ValueError(f'{proxy!r} is not a proxy')
