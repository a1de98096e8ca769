"""Schemas of classes that are made for a test, and the way of a value over the wire."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf import json_format

from tests.support import Actor
from uactor.service.codecs.methods import ServiceMethod
from uactor.service.schema import Schema, schema_of

needs_3_12 = pytest.mark.skipif(sys.version_info < (3, 12), reason='Python 3.12')


def actor(**members: Any) -> type:
    """Return an actor class with these members."""
    return type('Made', (Actor,), {'_exposed_': tuple(members), '__module__': 'made', **members})


def schema(function: Callable[..., Any], name: str = 'call', **members: Any) -> Schema:
    """Return the schema of an actor with one method, and more members."""
    return schema_of(actor(**{name: function}, **members))


def method(function: Callable[..., Any]) -> ServiceMethod:
    """Return the method that a function becomes."""
    made = schema(function)
    assert not made.unmapped, made.unmapped
    return made.methods['Call']


def echo(hint: Any, **default: Any) -> ServiceMethod:
    """Return a method that takes, and returns, what ``hint`` says."""

    def call(self, value):  # type: ignore[no-untyped-def]
        return value

    call.__annotations__ = {'value': hint, 'return': hint}
    call.__defaults__ = tuple(default.values()) or None
    return method(call)


def reason_unmapped(hint: Any) -> str:
    """Return why a method that takes ``hint`` has no place in the typed service."""

    def call(self, value) -> None:  # type: ignore[no-untyped-def]
        pass

    call.__annotations__ = {'value': hint, 'return': None}
    return schema(call).unmapped['call']


def transfer(message: Any) -> Any:
    """Return a message as it comes out at the other end, once in bytes and once as JSON."""
    data = type(message).FromString(message.SerializeToString())
    text = json_format.MessageToJson(message)
    parsed = json_format.Parse(text, type(message)())
    assert data == message
    assert parsed == message or 'NaN' in text
    return parsed


def there(method: ServiceMethod, value: Any) -> Any:
    """Return an argument as the actor gets it."""
    args, kwargs = method.read_request(transfer(method.write_request((value,))))
    assert not args
    return kwargs['value']


def back(method: ServiceMethod, value: Any) -> Any:
    """Return a result as the caller gets it."""
    return method.read_response(transfer(method.write_response(value)))


def to_json(message: Any) -> Any:
    """Return a message as grpcurl shows it, with the names of the ``.proto``."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def from_json(method: ServiceMethod, data: Any) -> dict[str, Any]:
    """Return the arguments of a call as grpcurl sends it."""
    return method.read_request(json_format.ParseDict(data, method.request_class()))[1]
