"""uactor: a Python class becomes a process that is called like an object, and a gRPC service."""

from uactor.actor import Actor
from uactor.auth import call_metadata
from uactor.calls import CurrentCall, current_call
from uactor.errors import (
    ActorDiedError,
    ActorStartError,
    ActorUnreachableError,
    AddressError,
    AuthKeyError,
    AuthkeyError,
    DeadlineError,
    DeadlockError,
    HandleError,
    NotExposedError,
    ProxyError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    StaleHandleError,
    ThreadOwnedError,
    UActorException,
    VersionError,
)
from uactor.manager import ActorManager
from uactor.proxies.actors import ActorProxy
from uactor.proxies.base import BaseProxy, ProxyMethod, proxy, typeid
from uactor.proxies.methods import RemoteMethod, method
from uactor.proxies.results import Results, Stream
from uactor.values import DEFAULT_SERIALIZER

__all__ = [
    'DEFAULT_SERIALIZER',
    'Actor',
    'ActorDiedError',
    'ActorManager',
    'ActorProxy',
    'ActorStartError',
    'ActorUnreachableError',
    'AddressError',
    'AuthKeyError',
    'AuthkeyError',
    'BaseProxy',
    'CurrentCall',
    'DeadlineError',
    'DeadlockError',
    'HandleError',
    'NotExposedError',
    'ProxyError',
    'ProxyMethod',
    'RemoteError',
    'RemoteMethod',
    'RemoteTraceback',
    'Results',
    'SerializationError',
    'StaleHandleError',
    'Stream',
    'ThreadOwnedError',
    'UActorException',
    'VersionError',
    'call_metadata',
    'current_call',
    'method',
    'proxy',
    'typeid',
]

__version__ = '0.2.0.dev0'
