"""The base class of actors, and how a class's configuration is read."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from uactor.codec.values import DEFAULT_SERIALIZER
from uactor.core import current_host
from uactor.core.addresses import Address, Token
from uactor.core.futures import run_in_thread
from uactor.errors import STATUS_CODES
from uactor.launch import module_starts
from uactor.manager import ActorManager, connect_to
from uactor.options import ActorOptions
from uactor.proxies.actor import ActorProxy, create_member, is_generated
from uactor.proxies.base import BaseProxy, proxy
from uactor.proxies.stand_ins import create_stand_in
from uactor.proxies.standard import PROXIES
from uactor.runtime.limits import validate_timeout

if TYPE_CHECKING:
    from typing_extensions import Self

_RESERVED = ('actor', 'auto')


class Actor:
    """A class whose instance lives in a process of its own.

    Instantiating a derived class starts a process, creates the instance there, and returns a
    proxy of it. The process ends when its last proxy in the owner process has gone, when it is
    shut down, and with its owner.

    :cvar manager_class: base of the manager class that is created for each actor class.
    :cvar proxy_class: base of the proxy class that is created for each actor class.
    :cvar _options_: arguments of :class:`uactor.ActorManager`: ``address``, ``authkey``,
        ``serializer``, ``shutdown_timeout``, ``max_message_size``, ``insecure``,
        ``transport``, ``concurrency``, ``timeout``.
    :cvar _exposed_: methods and attributes that the proxy has; None for all public methods.
    :cvar _proxies_: proxy classes by typeid, in addition to the standard ones.
    :cvar _method_to_typeid_: methods and properties whose result is returned as a proxy.
    :cvar _errors_: names of gRPC status codes by exception classes. Callers outside Python get
        that status when a method raises one, instead of ``UNKNOWN``.
    :cvar _package_: the Protobuf package of the typed service, without its version; None for
        that of the module.

    All but the first two and the last are merged along the class hierarchy. Names that
    uActor 0.1.1 has, too, have the same meaning.
    """

    manager_class: ClassVar[type[ActorManager]] = ActorManager
    proxy_class: ClassVar[type[ActorProxy]] = ActorProxy
    _options_: ClassVar[Mapping[str, Any]] = {}
    _exposed_: ClassVar[Sequence[str] | None] = ('__enter__', '__exit__', 'shutdown')
    _proxies_: ClassVar[Mapping[str, type[BaseProxy]]] = PROXIES
    _method_to_typeid_: ClassVar[Mapping[str, str | None]] = {'__enter__': 'actor'}
    _errors_: ClassVar[Mapping[type[BaseException], str]] = {}
    _package_: ClassVar[str | None] = None

    if TYPE_CHECKING:  # attributes of the proxy, which instantiating returns
        _manager: ActorManager
        _token: Token
        connection_address: Address

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Create the manager and proxy classes of an actor class.

        :raises TypeError: if a typeid is reserved or not defined, if ``_options_`` names an option
            that there is not, if ``_errors_`` has a key that is not an exception class or a value
            that is not a status code, or if the timeout is not a number.
        :raises ValueError: if the timeout is NaN.
        """
        super().__init_subclass__(**kwargs)
        _configure(cls)

    def __new__(cls, /, *args: Any, **kwargs: Any) -> Self:
        """Start a process with an actor in it and return its proxy.

        :raises BaseException: what the constructor raises in the actor process.
        :raises ActorStartError: if the process ends before the actor is constructed, or if a start
            would multiply processes.

        An actor process imports modules to find a class. An instantiation there starts nothing: it
        returns a stand-in for the actor that the owner has started
        (:mod:`uactor.launch.module_starts`).
        """
        if current_host.constructing is cls:  # in the actor process: create the instance itself
            current_host.constructing = None
            return super().__new__(cls)
        site = module_starts.find_current_site()
        if site is not None and module_starts.is_on_behalf_of_a_start(site):
            return cast('Self', create_stand_in(cls, site))
        start = None if site is None else module_starts.register_start(site, cls)
        try:
            manager = cls.manager_class(**read_options(cls))
            manager.start(cls, args, kwargs, lineage=module_starts.get_lineage(site))
        except BaseException:
            if start is not None:
                start.fail()
            raise
        if start is not None:
            start.succeed(manager)
        return cast('Self', manager.actor())

    def __init__(self) -> None:
        """Initialize the actor.

        This runs once, in the main thread of the actor process.
        """

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Travel as a proxy of this actor, not as a copy."""
        reduced: str | tuple[Any, ...] = proxy(self, 'actor').__reduce__()
        return reduced

    def __enter__(self) -> Self:
        """Enter the context.

        This runs in the actor; the caller gets a proxy of the result.
        """
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> bool | None:
        """Leave the context.

        This runs in the actor; a true result swallows the exception.

        :param exc_value: the exception of the block, as far as it can be sent.
        :param traceback: always None, since tracebacks can't be sent.
        """
        return None

    def shutdown(self) -> None:
        """Prepare for the end.

        This runs in the actor when ``shutdown`` of a proxy is called, and when the owner leaves the
        context, after ``__exit__``. Derived classes may give it another meaning.
        """

    @classmethod
    def connect(
        cls,
        address: Address,
        authkey: bytes | None = None,
        serializer: str = DEFAULT_SERIALIZER,
        capture: Sequence[Address] = (),
        transport: str = 'auto',
        timeout: float | None = None,
    ) -> Self:
        """Return a proxy of the running actor at ``address``.

        :param authkey: the actor's authkey; None for the key that this process knows for
            ``address``, or else the default key of this process and its children.
        :param serializer: how values travel, if that is stricter than the actor's own serializer.
            With ``'native'`` this process unpickles nothing that the actor sends.
        :param capture: further addresses under which proxies of the same actor may appear.
        :param transport: ``'grpc'`` to avoid the local lane of an actor on this machine.
        :param timeout: how long the actor may take to answer, in seconds; None for 20, infinity for
            any time. If this process is connected to the actor already, it waits for an answer only
            if a timeout is given.
        :raises AuthkeyError: if the actor has another authkey.
        :raises ActorUnreachableError: if nothing listens there, or the actor does not answer in
            time.
        :raises TypeError: if the timeout is not a number.
        :raises ValueError: if the transport is unknown, or the timeout is NaN.
        """
        manager = connect_to(
            cls.manager_class, address, authkey, serializer, capture, transport, timeout
        )
        return cast('Self', manager.actor())

    @classmethod
    async def aio(cls, /, *args: Any, **kwargs: Any) -> Self:
        """Instantiate the class without blocking the event loop.

        While a module is being imported, the event loop does block.
        """
        if module_starts.find_current_site() is not None:
            # Another thread can't pickle a class whose module this thread is importing.
            return cls(*args, **kwargs)
        return await run_in_thread(lambda: cls(*args, **kwargs))

    if TYPE_CHECKING:

        async def __aenter__(self) -> Self:
            """Enter the context, of the proxy."""
            ...

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc_value: BaseException | None,
            traceback: types.TracebackType | None,
        ) -> bool | None:
            """Leave the context, of the proxy."""
            ...


# --- reading a class -----------------------------------------------------------------------------


def read_options(cls: type[Actor]) -> dict[str, Any]:
    """Return the ``_options_`` of a class, merged with those of its bases.

    :raises TypeError: if they are no mapping, or have an option that there is not.
    """
    for base in cls.__mro__:
        own = vars(base).get('_options_', {})
        if not isinstance(own, Mapping):
            raise TypeError(f'{base.__qualname__}._options_ is a mapping of options, not {own!r}')
    options = _merge_attribute(cls, '_options_')
    if cls.manager_class.__init__ is ActorManager.__init__:  # else a manager class of the user
        known = [field.name for field in dataclasses.fields(ActorOptions)]
        for name in options:
            if name not in known:
                raise TypeError(
                    f'{cls.__qualname__}._options_: there is no option {name!r}; '
                    f'the options are {", ".join(known)}'
                )
    return options


def _merge_attribute(cls: type, name: str) -> dict[Any, Any]:
    """Merge a mapping attribute along the hierarchy, the most derived class last."""
    merged: dict[Any, Any] = {}
    for base in reversed(cls.__mro__):
        merged.update(vars(base).get(name) or {})
    return merged


def _list_exposed_names(cls: type) -> Iterator[str]:
    """Yield the names that each class of the hierarchy exposes.

    These are the names in its ``_exposed_``, or its public methods.
    """
    for base in reversed(cls.__mro__):
        listed = vars(base).get('_exposed_')
        if listed is None:
            listed = (
                name
                for name in vars(base)
                if not name.startswith('_') and callable(getattr(base, name, None))
            )
            listed = tuple(name for name in listed if name not in _NOT_METHODS)
        yield from listed
        yield from vars(base).get('_method_to_typeid_') or ()


_NOT_METHODS = ('manager_class', 'proxy_class')


def _configure(cls: type[Actor]) -> None:
    """Create the manager and proxy classes of ``cls``."""
    mapping = {
        method: typeid
        for method, typeid in _merge_attribute(cls, '_method_to_typeid_').items()
        if typeid is not None
    }
    read_options(cls)
    manager_class = _create_manager_class(cls)
    for method, typeid in mapping.items():
        if typeid not in _RESERVED and manager_class.find_registration(typeid) is None:
            raise TypeError(
                f'{cls.__qualname__}._method_to_typeid_: the typeid {typeid!r} of {method!r} '
                'is not defined; add it to _proxies_'
            )
    cls.proxy_class = _create_proxy_class(
        cls, tuple(dict.fromkeys(_list_exposed_names(cls))), mapping
    )
    manager_class.register('actor', proxytype=cls.proxy_class, create_method=False)
    manager_class._errors = _read_errors(cls)
    cls.manager_class = manager_class


def _read_errors(cls: type[Actor]) -> Mapping[type[BaseException], str]:
    errors = _merge_attribute(cls, '_errors_')
    for error, code in errors.items():
        if not isinstance(error, type) or not issubclass(error, BaseException):
            raise TypeError(f'{cls.__qualname__}._errors_: {error!r} is not an exception class')
        if code not in STATUS_CODES:
            raise TypeError(
                f'{cls.__qualname__}._errors_: {code!r} of {error.__qualname__} is no status code '
                f'of gRPC for errors; choose one of {", ".join(STATUS_CODES)}'
            )
    return errors


def _create_proxy_class(
    cls: type[Actor], exposed: tuple[str, ...], mapping: Mapping[str, str]
) -> type[ActorProxy]:
    base = cls.proxy_class
    members = {name: create_member(cls, name) for name in exposed if not _is_taken(base, name)}
    members.update(
        __module__=cls.__module__,
        __qualname__=f'{cls.__qualname__}.proxy_class',
        __doc__=f'Proxy of {cls.__qualname__}.',
        _exposed_=exposed,
        _method_to_typeid_=mapping,
        _timeout=validate_timeout(
            read_options(cls).get('timeout'), f"{cls.__qualname__}._options_['timeout']"
        ),
    )
    return type(f'{cls.__qualname__}.proxy_class', (base,), members)


def _is_taken(cls: type, name: str) -> bool:
    """Return whether a class has a member that is not generated.

    It does not use getattr(), which would find ``__call__`` and ``mro`` in the metaclass.
    """
    for base in cls.__mro__:
        if name in vars(base):
            return not is_generated(vars(base)[name])
    return False


def _create_manager_class(cls: type[Actor]) -> type[ActorManager]:
    name = f'{cls.__qualname__}.manager_class'
    namespace = {'__module__': cls.__module__, '__qualname__': name}
    manager_class: type[ActorManager] = type(name, (cls.manager_class,), namespace)
    for base in reversed(cls.__mro__):
        if base is Actor:  # every manager has the standard typeids
            continue
        for typeid, proxytype in (vars(base).get('_proxies_') or {}).items():
            if typeid in _RESERVED:
                raise TypeError(f'{cls.__qualname__}._proxies_: the typeid {typeid!r} is reserved')
            known = manager_class.find_registration(typeid)
            if known is None or known.proxytype is not proxytype:
                manager_class.register(typeid, proxytype=proxytype, create_method=False)
    return manager_class


_configure(Actor)
