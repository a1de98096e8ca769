"""A Python class becomes a process that is called like an object.

The process is a gRPC service, too.
"""

import types as _types

from uactor.actor import Actor
from uactor.codec.values import DEFAULT_SERIALIZER
from uactor.core.auth import call_metadata
from uactor.core.current_call import CurrentCall, current_call
from uactor.errors import (
    ActorDiedError,
    ActorStartError,
    ActorUnreachableError,
    AddressError,
    AuthKeyError,
    AuthkeyError,
    ConnectionLostError,
    DeadlineError,
    DeadlockError,
    ForkedError,
    HandleError,
    NotExposedError,
    ProxyError,
    RemoteError,
    RemoteTraceback,
    ResourceError,
    SerializationError,
    StaleHandleError,
    ThreadOwnedError,
    UActorException,
    VersionError,
)
from uactor.frozen import freeze_support
from uactor.manager import ActorManager
from uactor.proxies.actor import ActorProxy
from uactor.proxies.base import BaseProxy, ProxyMethod, proxy, typeid
from uactor.proxies.iteration import Results, Stream
from uactor.proxies.remote_method import RemoteMethod, method
from uactor.service.mapping.markers import (
    BigInt,
    Fixed32,
    Fixed64,
    Float32,
    Int32,
    Int64,
    SFixed32,
    SFixed64,
    SInt32,
    SInt64,
    UInt32,
    UInt64,
    field,
    renamed_from,
)

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
    'BigInt',
    'ConnectionLostError',
    'CurrentCall',
    'DeadlineError',
    'DeadlockError',
    'Fixed32',
    'Fixed64',
    'Float32',
    'ForkedError',
    'HandleError',
    'Int32',
    'Int64',
    'NotExposedError',
    'ProxyError',
    'ProxyMethod',
    'RemoteError',
    'RemoteMethod',
    'RemoteTraceback',
    'ResourceError',
    'Results',
    'SFixed32',
    'SFixed64',
    'SInt32',
    'SInt64',
    'SerializationError',
    'StaleHandleError',
    'Stream',
    'ThreadOwnedError',
    'UActorException',
    'UInt32',
    'UInt64',
    'VersionError',
    'call_metadata',
    'current_call',
    'field',
    'freeze_support',
    'method',
    'proxy',
    'renamed_from',
    'typeid',
]

__version__ = '0.2.0.dev0'

for _name in __all__:
    if isinstance(_public := globals()[_name], _types.FunctionType):
        _public.__module__ = 'uactor'  # pickles name it, and modules may be renamed
