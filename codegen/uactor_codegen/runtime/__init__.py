"""The runtime of generated clients, which converts values and makes calls.

uactor-codegen copies it beside the clients. It needs grpcio and protobuf only.
"""

from __future__ import annotations

from uactor_codegen.runtime.aio import AsyncClient, AsyncStream
from uactor_codegen.runtime.client import Client, Stream, future
from uactor_codegen.runtime.failures import ActorError
from uactor_codegen.runtime.schema import DEFAULT, ConversionError, Handle, Schema

__all__ = [
    'DEFAULT',
    'ActorError',
    'AsyncClient',
    'AsyncStream',
    'Client',
    'ConversionError',
    'Handle',
    'Schema',
    'Stream',
    'future',
]
