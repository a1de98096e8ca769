"""Create example calls of an actor, as lines for the shell."""

from __future__ import annotations

import inspect
import json
import shlex
import typing
from collections.abc import Callable, Iterator
from operator import itemgetter
from typing import Any

from uactor.actor import Actor
from uactor.core.addresses import to_socket_path
from uactor.service.codecs.methods import ServiceMethod
from uactor.service.model import EnumPlan
from uactor.service.schema import Schema

_EXAMPLE_VALUES: dict[Any, dict[str, Any]] = {
    bool: {'bool': True},
    int: {'int64': 3},
    float: {'double': 1.5},
    str: {'string': 'text'},
    bytes: {'bytes': 'dGV4dA=='},
    list: {'list': {}},
    dict: {'map': {}},
}
"""Example values by annotation, as JSON of ``uactor.v1.Value``."""

_EXAMPLE_FIELDS: dict[str, Any] = {
    'bool': True,
    'string': 'text',
    'bytes': 'dGV4dA==',
    'double': 1.5,
}
"""Example values by type of Protobuf, as JSON. Values of all other types are numbers."""


def create_examples(
    instance: Actor, schema: Schema | None, target: str, header: str
) -> Iterator[str]:
    """Yield command lines that call an actor's typed service, and ActorService.

    :param schema: schema of its typed service, if it has one.
    :param target: address of the actor.
    :param header: option of grpcurl that sends the authkey.
    """
    typed = None if schema is None else _choose_typed_request(schema)
    if typed is not None:
        yield _format_line(target, header, *typed)
    request = _choose_request(instance)
    rpc = 'uactor.v1.ActorService/' + ('Describe' if request is None else 'Call')
    yield _format_line(target, header, request, rpc)


def _format_line(target: str, header: str, request: Any, rpc: str) -> str:
    path = to_socket_path(target)
    options = [] if request is None else ['-d', json.dumps(request)]
    return ' '.join(
        [
            'grpcurl -plaintext' if path is None else 'grpcurl -plaintext -unix',
            header,
            shlex.join([*options, path or target, rpc]),
        ]
    )


# --- the generic service -------------------------------------------------------------------------


def _choose_request(instance: Actor) -> dict[str, Any] | None:
    """Return a request that calls a method of the class, or None.

    Methods that all actors have are left out.
    """
    candidates = [
        _create_request(name, getattr(instance, name))
        for name in type(instance).proxy_class._exposed_ or ()
        if not hasattr(Actor, name) and callable(getattr(type(instance), name, None))
    ]
    request, _ = min(candidates, key=itemgetter(1), default=(None, 0))
    return request


def _create_request(name: str, method: Callable[..., Any]) -> tuple[dict[str, Any], int]:
    """Return a request that calls ``method``, and how many arguments are guesses."""
    request: dict[str, Any] = {'method': name}
    guesses = 0
    for parameter in _list_required(method):
        annotation = _read_hints(method).get(parameter.name)
        value = _EXAMPLE_VALUES.get(typing.get_origin(annotation) or annotation)
        guesses += value is None
        if parameter.kind is parameter.KEYWORD_ONLY:
            request.setdefault('kwargs', {})[parameter.name] = value or _EXAMPLE_VALUES[int]
        else:
            request.setdefault('args', []).append(value or _EXAMPLE_VALUES[int])
    return request, guesses


def _list_required(method: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(method).parameters.values()
    except ValueError:  # implemented in C, without a signature
        return []
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        parameter
        for parameter in parameters
        if parameter.default is parameter.empty and parameter.kind not in variadic
    ]


def _read_hints(method: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(method)
    except Exception:  # annotations can be anything
        return {}


# --- the typed service ---------------------------------------------------------------------------


def _choose_typed_request(schema: Schema) -> tuple[dict[str, Any], str] | None:
    """Return a request and an RPC, or None without a suitable method."""
    candidates = [
        (*_create_typed_request(method), f'{schema.service}/{method.rpc}')
        for method in schema.methods.values()
        if method.kind == 'call' and not method.client_streaming
    ]
    if not candidates:
        return None
    request, _, rpc = min(candidates, key=itemgetter(1))
    return request, rpc


def _create_typed_request(method: ServiceMethod) -> tuple[dict[str, Any], int]:
    """Return a request for ``method``, and how many fields are guesses."""
    request: dict[str, Any] = {}
    guesses = 0
    for part in method.request.parts:
        field = part.plan_fields()[0]
        if field.absent != 'error':
            continue
        kind = field.type
        if isinstance(kind, EnumPlan):
            request[field.name] = kind.values[-1].name
        elif isinstance(kind, str):
            request[field.name] = _EXAMPLE_FIELDS.get(kind, 3)
        else:
            request[field.name] = {}
            guesses += 1
    return request, guesses
