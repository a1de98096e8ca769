"""Managers, which start or connect to actors and create their proxies."""

from __future__ import annotations

import dataclasses
import itertools
import pickle
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from uactor import _wire
from uactor.client.registry import connections
from uactor.client.timeouts import HANDSHAKE_S
from uactor.codec import failures, pickling, transfer
from uactor.codec.values import DEFAULT_SERIALIZER
from uactor.core import current_host, interfaces
from uactor.core.addresses import Address, Token, target
from uactor.core.auth import get_family_key, keyring
from uactor.core.interfaces import SharedObject
from uactor.errors import ActorDiedError, AuthkeyError, ProxyError
from uactor.launch import module_starts, start_guard
from uactor.launch.actor_process import ActorProcess, end_interrupted_start
from uactor.launch.import_path import copy_own_path
from uactor.launch.inherited_state import capture_state
from uactor.launch.log_targets import LogTargets
from uactor.launch.start import choose_private_directory, start
from uactor.options import ActorOptions
from uactor.runtime.deferred import deferred
from uactor.runtime.limits import validate_timeout
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.weakrefs import WeakValues
from uactor.v1 import actor_pb2 as pb

T = TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Registration:
    """The objects and proxies that a typeid names.

    :ivar callable: creates a new object; None if the typeid has no way to.
    :ivar exposed: names that callers may use; None for all public methods.
    :ivar method_to_typeid: methods whose result is returned as a proxy, with its typeid.
    :ivar proxytype: creates the proxy.
    """

    callable: Callable[..., Any] | None
    exposed: tuple[str, ...] | None
    method_to_typeid: Mapping[str, str] | None
    proxytype: Callable[..., Any]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        fields = self.callable, self.exposed, self.method_to_typeid, self.proxytype
        return _wire.make_registration, fields


_wire.implements(_wire.make_registration)(Registration)


class ActorManager:
    """Starts one actor process, or connects to one.

    It mirrors :class:`multiprocessing.managers.BaseManager` as uActor uses it. Programs rarely
    create one: :class:`uactor.Actor` does, with the ``_options_`` of the class.

    :param address: where the actor listens or is to listen: ``'unix:/path'``, ``'host:port'``
        or ``('host', port)``; None for a Unix socket in a private directory.
    :param authkey: the secret that callers must know; None for the default key of this process and
        its children.
    :param serializer: ``'cloudpickle'``, ``'pickle'`` or ``'native'``.
    :param parent: the manager that owns the actor process; this one keeps it alive.
    :param shutdown_timeout: how long the process may take to end in order, in seconds, and its
        ``__exit__`` and ``shutdown`` methods before that. Infinity sets no limit. None gives the
        process 5 seconds, and the methods any time.
    :param max_message_size: size of the largest message that the actor accepts, in bytes; -1 for
        no limit.
    :param insecure: whether the actor may listen beyond this machine without TLS.
    :param transport: ``'auto'``, or ``'grpc'`` for an actor without a local lane, or for a
        connection that does not use it.
    :param concurrency: how many methods of the actor may run at once, while others wait in the
        order of their arrival; None for any number.
    :param timeout: how long a call of the actor's methods may take, in seconds, unless the call
        has a timeout of its own; None for any time. The proxies of the class apply it.
    :raises AddressError: if ``address`` is not an address.
    :raises TypeError: if a time is not a number, or a size or count not an integer.
    :raises ValueError: if the serializer or transport is unknown, a ``concurrency`` or size is
        below 1, or a time is NaN.
    """

    _registry: ClassVar[dict[str, Registration]] = {}  # of this class alone; each base has its own
    _errors: ClassVar[Mapping[type[BaseException], str]] = {}
    _create_unreached: ClassVar[Callable[..., Any]]  # set by uactor.proxies.base

    def __init__(
        self,
        address: Address | None = None,
        authkey: bytes | None = None,
        serializer: str = DEFAULT_SERIALIZER,
        *,
        parent: ActorManager | None = None,
        shutdown_timeout: float | None = None,
        max_message_size: int = -1,
        insecure: bool = False,
        transport: str = 'auto',
        concurrency: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self.parent = parent
        self._options = ActorOptions(
            address=address,
            authkey=authkey,
            serializer=serializer,
            shutdown_timeout=shutdown_timeout,
            max_message_size=max_message_size,
            insecure=insecure,
            transport=transport,
            concurrency=concurrency,
            timeout=timeout,
        )
        self._address = address  # once the actor listens, where it does
        self._process: ActorProcess | None = None
        self._link: interfaces.Connection | None = None
        self._view: weakref.ref[ActorManager] | None = None
        self._shut_down = False

    # --- typeids -------------------------------------------------------------------------------

    @classmethod
    def typeids(cls) -> tuple[str, ...]:
        """Return all typeids that are registered."""
        registries = (vars(base).get('_registry', ()) for base in reversed(cls.__mro__))
        return tuple(dict.fromkeys(itertools.chain.from_iterable(registries)))

    @classmethod
    def find_registration(cls, typeid: str) -> Registration | None:
        """Return the registration of a typeid, or None without one."""
        for base in cls.__mro__:
            registry = vars(base).get('_registry')
            if registry is not None and typeid in registry:
                found: Registration = registry[typeid]
                return found
        return None

    @classmethod
    def find_proxy_type(cls, typeid: str) -> Callable[..., Any]:
        """Return the callable that creates the proxies of a typeid.

        Proxies of an unknown typeid have all public methods of their object.
        """
        registered = cls.find_registration(typeid)
        return cls.find_proxy_type('auto') if registered is None else registered.proxytype

    @classmethod
    def register(
        cls,
        typeid: str,
        callable: Callable[..., Any] | None = None,
        proxytype: Callable[..., Any] | None = None,
        exposed: Sequence[str] | None = None,
        method_to_typeid: Mapping[str, str] | None = None,
        create_method: bool = True,
    ) -> None:
        """Register a typeid, as :meth:`multiprocessing.managers.BaseManager.register` does.

        :param callable: creates a new object in the actor process.
        :param proxytype: creates the proxy; None for a proxy with all public methods.
        :param exposed: names that callers may use; by default those that ``proxytype`` declares.
        :param method_to_typeid: methods whose result is returned as a proxy; by default those that
            ``proxytype`` declares.
        :param create_method: whether the manager gets a method of that name, which creates an
            object.
        """
        if '_registry' not in vars(cls):
            cls._registry = {}
        if proxytype is None:
            proxytype = cls.find_proxy_type('auto')
        exposed = exposed or getattr(proxytype, '_exposed_', None)
        cls._registry[typeid] = Registration(
            callable,
            None if exposed is None else tuple(exposed),
            method_to_typeid or getattr(proxytype, '_method_to_typeid_', None),
            proxytype,
        )
        if create_method and callable is not None:

            def create(self: ActorManager, /, *args: Any, **kwargs: Any) -> Any:
                return self.connection.create(
                    typeid, args, kwargs, self.create_proxy, self._time_limit()
                )

            create.__name__ = typeid
            create.__qualname__ = f'{cls.__qualname__}.{typeid}'
            create.__doc__ = f'Create a new {typeid} in the actor process and return its proxy.'
            setattr(cls, typeid, create)

    def _time_limit(self) -> float | None:
        """Return the time limit of the actor's calls, for creating an object."""
        if self._options.timeout is not None:
            return self._options.timeout
        limit: float | None = getattr(self.find_proxy_type('actor'), '_timeout', None)
        return limit

    # --- the actor process -----------------------------------------------------------------------

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds; None for any time."""
        return self._options.timeout

    @property
    def serializer(self) -> str:
        """How values travel."""
        return self._options.serializer

    @property
    def address(self) -> Address | None:
        """Where the actor listens."""
        return self._address

    @property
    def process(self) -> ActorProcess | None:
        """The actor process, if this manager has started it, else None."""
        process = self._process
        return process if process is not None and process.is_owned else None

    def start(
        self,
        actor_class: type,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        lineage: Sequence[str] | None = None,
    ) -> None:
        """Start a process with an actor of ``actor_class`` in it.

        :param lineage: the modules whose imports have led to this start; None to find them.
        :raises BaseException: what the constructor raises; no process is left then.
        :raises ActorStartError: if the process ends before its actor is constructed.
        :raises SerializationError: if the class or the arguments can't be sent.
        """
        if self._process is not None or self._link is not None:
            raise ProxyError('this manager has an actor already')
        start_guard.check_start()
        log_targets = LogTargets()
        try:
            if lineage is None:
                lineage = module_starts.get_lineage(module_starts.find_current_site())
            self._start(actor_class, args, kwargs or {}, lineage, log_targets)
        except BaseException:  # also KeyboardInterrupt, at any moment
            end_interrupted_start(log_targets)
            raise

    def _start(
        self,
        actor_class: type,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        lineage: Sequence[str],
        log_targets: LogTargets,
    ) -> None:
        with transfer.transfer():
            actor = pickling.dumps((actor_class, tuple(args), dict(kwargs)))
        state = capture_state(log_targets)
        directory = choose_private_directory() if self._address is None else None
        settings = self._settings(directory, lineage)
        messages = [pickle.dumps(state), settings, actor]
        self._process, ready = start(
            actor_class.__qualname__,
            copy_own_path(),
            messages,
            directory,
            self._options.process_timeout_s,
            _decode_failure,
            log_targets,
        )
        self._address, _ = pickle.loads(ready)
        address = target(self._address)
        if self._options.authkey is not None:
            keyring.add(address, self._options.authkey)
        deferred.submit_when_gone(self, self._process.end_soon)  # at exit launch ends what is left
        _owners[address] = self
        self._link = connections.get(address, self._options.transport)
        self._process.on_ending(lambda: connections.expect_end(address))
        self._process.on_exit(lambda: connections.abandon(address))

    def _settings(self, directory: str | None, lineage: Sequence[str]) -> bytes:
        authkey = self._options.authkey
        settings = {
            **self._options.for_host(),
            'address': self._address if directory is None else f'unix:{directory}/s',
            'authkey': get_family_key() if authkey is None else authkey,
            'owner': '' if current_host.host is None else current_host.host.connection.actor.target,
        }
        return pickle.dumps((directory, settings, tuple(lineage)))

    def connect(self) -> None:
        """Connect to the actor at ``address``.

        :raises AuthkeyError: if the actor has another authkey.
        :raises ActorUnreachableError: if nothing listens there.
        """
        if self._address is None:
            raise ProxyError('a manager without an address has nothing to connect to')
        self._open(())

    def _open(
        self,
        aliases: Sequence[str],
        patience: float | None = HANDSHAKE_S,
        greets: bool = False,
    ) -> None:
        name = target(self._address)  # type: ignore[arg-type]  # checked by the caller
        authkey, transport = self._options.authkey, self._options.transport
        connections.restrict(name, self._options.serializer)
        if authkey is not None:
            self._link = connections.open(name, authkey, aliases, transport, patience)
        else:
            self._link = connections.get(name, transport, patience, greets)
            if aliases:
                keyring.add(name, get_family_key(), aliases)

    @property
    def connection(self) -> interfaces.Connection:
        """The connection to the actor.

        :raises ProxyError: if the manager has neither started an actor nor connected to one.
        """
        if self._link is None:
            raise ProxyError('the manager is not connected; call connect() first')
        return self._link

    def shutdown(self) -> None:
        """End the actor process that this manager has started.

        Wait until it has ended.
        """
        if self._process is None or self.process is None:
            return
        self._shut_down = True
        self._process.end()
        if self._address is not None:
            keyring.forget(target(self._address))

    def run_hook(self, hook: Callable[[], T]) -> T | None:
        """Call ``hook``, and end the actor process when it takes too long.

        The hook calls a method of the actor. Without a ``shutdown_timeout`` it may take any time,
        as in uActor.
        """
        process, timeout = self.process, self._options.shutdown_timeout
        if process is None or timeout is None:
            return hook()
        with process.end_after(timeout) as expired:
            try:
                return hook()
            except ActorDiedError as error:
                if not expired.is_set() or is_interruption(error):
                    raise
                return None

    @property
    def was_shut_down(self) -> bool:
        """Whether :meth:`shutdown` has ended the process."""
        return self._shut_down

    def join(self, timeout: float | None = None) -> None:
        """Wait until the actor process that this manager has started has ended."""
        if self._process is not None:
            self._process.join(timeout)

    # --- proxies ---------------------------------------------------------------------------------

    def actor(self) -> Any:
        """Return a proxy of the actor."""
        token = Token('actor', _require_address(self._address), self.connection.actor.id)
        make = self.find_proxy_type('actor')
        return make(token, self.serializer, manager=self, incref=False)

    def view(self) -> ActorManager:
        """Return the manager for proxies that the actor returns.

        It keeps this manager alive, and owns no process.
        """
        if self._process is None:
            return self
        view = self._view() if self._view is not None else None
        if view is None:
            view = type(self)(self._address, self._options.authkey, self.serializer, parent=self)
            view._link = self._link
            self._view = weakref.ref(view)
        return view

    def create_proxy(self, shared: SharedObject) -> Any:
        """Create the proxy of a shared object that the actor has returned."""
        token = shared.token
        if token.target != self.connection.actor.target:
            trust = Trust(self.connection.serializer, self.connection.has_family_key)
            return create_foreign_proxy(ActorManager, token, shared.methods, trust)
        make = self.find_proxy_type(token.typeid)
        token.address = _require_address(self._address)
        return make(
            token,
            self.serializer,
            manager=self.view(),
            exposed=shared.methods or None,
            incref=False,
        )

    def __repr__(self) -> str:
        return f'<{type(self).__name__} of the actor at {self._address!r}>'


def _require_address(address: Address | None) -> Address:
    if address is None:
        raise ProxyError('the manager has no address yet')
    return address


def _decode_failure(data: bytes) -> BaseException:
    return failures.decode(pb.Failure.FromString(data), unpickle=True)


# --- managers of this process --------------------------------------------------------------------

_owners: WeakValues[str, ActorManager] = WeakValues()
_by_address: WeakValues[tuple[type, str], ActorManager] = WeakValues()


def find_owner(address: str) -> ActorManager | None:
    """Return this process's manager that has started the actor at ``address``."""
    owner = _owners.get(address)
    return owner if owner is not None and owner.process is not None else None


def get_manager(
    manager_class: type[ActorManager], address: Address, handle: str = ''
) -> ActorManager:
    """Return a manager that knows the actor at ``address``, connected.

    :param handle: an object of the actor, by which the actor is known under any address.
    :raises AuthkeyError: if this process does not know the actor's authkey.
    """
    name = connections.find_address(handle) or keyring.resolve(target(address))
    owner = find_owner(name)
    if owner is not None:
        return owner.view()
    known = _by_address.get((manager_class, name))
    if known is not None and _is_current(known, name):
        return known
    manager = manager_class(address if name == target(address) else name)
    manager.connect()
    _by_address[manager_class, name] = manager
    return manager


def _is_current(manager: ActorManager, name: str) -> bool:
    return manager.connection is connections.get(name)


def connect_to(
    manager_class: type[ActorManager],
    address: Address,
    authkey: bytes | None,
    serializer: str,
    capture: Sequence[Address],
    transport: str,
    timeout: float | None = None,
) -> ActorManager:
    """Connect with an explicit authkey; see :meth:`uactor.Actor.connect`."""
    name = target(address)
    patience = HANDSHAKE_S if timeout is None else validate_timeout(timeout)
    manager = manager_class(
        address, authkey, serializer, parent=find_owner(name), transport=transport
    )
    aliases = [target(alias) for alias in capture]
    manager._open(aliases, patience, greets=timeout is not None)
    if authkey is None:
        keyring.add(name, get_family_key())  # the user has named it: its handles are trusted
    _by_address[manager_class, name] = manager
    return manager


def _create_proxy(
    manager_class: type[ActorManager], token: Token, methods: Sequence[str] = ()
) -> Any:
    """Create the proxy for another process's token, and hold its object."""
    manager = get_manager(manager_class, token.address, token.id)
    make = manager.find_proxy_type(token.typeid)
    token = Token(token.typeid, _require_address(manager.address), token.id)
    return make(token, manager.serializer, manager=manager, exposed=tuple(methods) or None)


# --- handles -------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Trust:
    """How far this process trusts the handle of an unknown actor.

    :ivar serializer: how values may travel to and from that actor.
    :ivar is_family: whether the handle came from an actor that has proved to know the family's
        key. Only then is that key used.
    """

    serializer: str
    is_family: bool


def is_known(address: Address, handle: str = '') -> bool:
    """Return whether this process knows an address, under any name.

    It knows its own, that of its owner, those of actors that it has started or is connected to, and
    those in its keyring.
    """
    name, here = keyring.resolve(target(address)), current_host.host
    if here is not None and (here.is_own_address(name) or name == here.owner):
        return True
    if keyring.knows(name) or find_owner(name) is not None or connections.has_connection(name):
        return True
    return connections.find_address(handle) is not None


def create_foreign_proxy(
    manager_class: type[ActorManager], token: Token, methods: Sequence[str], trust: Trust
) -> Any:
    """Create the proxy for a native handle of another actor.

    If this process knows the address, the proxy holds its object at once. Any client can write any
    address into a handle, so other addresses are connected to at the first use only.
    """
    if is_known(token.address, token.id):
        here = current_host.host
        if here is not None and here.owner == token.target:
            connections.restrict(token.target, trust.serializer)
        return _create_proxy(manager_class, token, methods)
    return ActorManager._create_unreached(manager_class, token, tuple(methods), trust)


def create_reached_proxy(
    manager_class: type[ActorManager], token: Token, methods: Sequence[str], trust: Trust
) -> Any:
    """Create the proxy for a handle at its first use.

    :raises AuthkeyError: if this process knows no authkey for its address.
    """
    if not is_known(token.address, token.id):
        if not trust.is_family:
            raise AuthkeyError(
                f'this process knows no authkey for {token.target}, which a handle names; connect '
                f'to that actor first: connect({token.target!r}, authkey)'
            )
        connections.restrict(token.target, trust.serializer)
    return _create_proxy(manager_class, token, methods)
