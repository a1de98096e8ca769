"""Reads the exposed members of an actor class, and plans its service."""

from __future__ import annotations

import collections.abc as abc
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, get_args, get_origin

from uactor.errors import get_text
from uactor.service.codecs.fields import Field, MapField, RepeatedField
from uactor.service.codecs.methods import RESULT, ServiceMethod
from uactor.service.codecs.part import MessagePlan, Part, validate_names
from uactor.service.codecs.plan import Plan
from uactor.service.errors import UnsupportedTypeError
from uactor.service.mapping import docstrings, hints
from uactor.service.mapping.annotations import TypeReader
from uactor.service.mapping.models import doc_of
from uactor.service.model import Kind
from uactor.service.naming import pascal, service_of, snake

log = logging.getLogger('uactor.service')

_STREAMS = (abc.Iterator, abc.Generator)
_ASYNC_STREAMS = (abc.AsyncIterator, abc.AsyncGenerator)
_LOOSE_STREAMS = (abc.Iterable, abc.AsyncIterable)
_NOTHING = (None, type(None), NoReturn)


def plan_service(actor_class: type, package: str | None = None) -> Plan:
    """Return the plan of the typed service of an actor class.

    :param package: the package, without its version; by default ``_package_`` of the class, or
        its module.
    """
    planner = _Planner(actor_class)
    planner.run()
    package, service = service_of(actor_class, package)
    return Plan(
        package=package,
        service=service,
        class_name=actor_class.__qualname__,
        doc=doc_of(actor_class),
        methods=planner.methods,
        unmapped=planner.unmapped,
        known=planner.types.externals.all(),
    )


class _Planner:
    """Plans the methods of one actor class."""

    def __init__(self, cls: Any) -> None:
        self._cls = cls
        self._typeids: Mapping[str, str] = cls.proxy_class._method_to_typeid_ or {}
        self._owners = hints.variables_of(cls)
        self.types = TypeReader(cls)
        self._taken: dict[str, str] = {}
        self.methods: list[ServiceMethod] = []
        self.unmapped: dict[str, str] = {}

    def run(self) -> None:
        names = list(_list_exposed_names(self._cls))
        methods = [name for name in names if _function(self._member(name)) is not None]
        for name in methods:
            self._try(name, lambda name=name: self._add_call(name))  # type: ignore[misc]
        for name in names:
            if name not in methods:
                self._try(name, lambda name=name: self._add_attribute(name))  # type: ignore[misc]
        order = {name: index for index, name in enumerate(names)}
        self.methods.sort(key=lambda method: order[method.member])

    def _try(self, name: str, add: Callable[[], None]) -> None:
        try:
            with self.types.attempt():
                add()
        except UnsupportedTypeError as error:
            self.unmapped[name] = str(error)
        except Exception as error:  # annotations are the user's code
            log.warning('cannot tell the types of %s', name, exc_info=True)
            self.unmapped[name] = f'{type(error).__name__}: {get_text(error)}'

    def _member(self, name: str) -> Any:
        return inspect.getattr_static(self._cls, name, None)

    def _owner(self, name: str) -> type:
        bases: tuple[type, ...] = self._cls.__mro__
        return next((base for base in bases if name in vars(base)), self._cls)

    # --- methods ---------------------------------------------------------------------------------

    def _add_call(self, name: str) -> None:
        member, owner = self._member(name), self._owner(name)
        function = _function(member)
        signature = self._signature(function, owner, bound=not isinstance(member, staticmethod))
        rpc = pascal(name)
        doc = inspect.getdoc(getattr(self._cls, name)) or ''
        self._add(rpc, name, 'call', doc, signature, function)

    def _signature(self, function: Any, owner: type, bound: bool) -> inspect.Signature:
        """Return the signature of a function, with its annotations resolved and concrete."""
        try:
            signature = inspect.signature(function)
        except (ValueError, TypeError) as error:
            raise UnsupportedTypeError(f'it has no signature: {error}') from error
        resolved = hints.resolve(function, owner)
        variables = self._owners.get(owner, {})
        missing = inspect.Parameter.empty

        def concrete(name: str) -> Any:
            return hints.substitute(resolved[name], variables) if name in resolved else missing

        parameters = list(signature.parameters.values())[1 if bound else 0 :]
        return signature.replace(
            parameters=[each.replace(annotation=concrete(each.name)) for each in parameters],
            return_annotation=concrete('return'),
        )

    def _add(
        self,
        rpc: str,
        member: str,
        kind: Kind,
        doc: str,
        signature: inspect.Signature,
        function: Any = None,
    ) -> None:
        self._validate_rpc(rpc)
        request = MessagePlan(f'request of {self._cls.__qualname__}.{rpc}', f'{rpc}Request')
        response = MessagePlan(f'response of {self._cls.__qualname__}.{rpc}', f'{rpc}Response')
        stream, is_async = self._plan_request(rpc, request, signature, docstrings.parse_fields(doc))
        streaming = self._plan_response(rpc, member, kind, response, signature, function)
        request.doc = f'Request of {rpc}.'
        response.doc = f'{"Item" if streaming else "Response"} of {rpc}.'
        method = ServiceMethod(
            rpc, member, kind, doc, signature, request, response, stream, streaming, is_async
        )
        self._taken[rpc] = member
        self.methods.append(method)

    def _validate_rpc(self, rpc: str) -> None:
        if rpc in self._taken:
            raise UnsupportedTypeError(f'{self._taken[rpc]!r} has become {rpc} already')

    def _plan_request(
        self, rpc: str, request: MessagePlan, signature: inspect.Signature, docs: dict[str, str]
    ) -> tuple[Part | None, bool]:
        """Add the parameters to a request.

        :returns: the parameter that is a stream, and whether it is asynchronous.
        """
        stream, is_async = None, False
        for parameter in signature.parameters.values():
            try:
                part, kind = self._read_parameter(parameter, rpc)
            except UnsupportedTypeError as error:
                raise UnsupportedTypeError(f'parameter {parameter.name!r}: {error}') from error
            part.doc = docs.get(parameter.name, '')
            request.parts.append(part)
            if kind and stream is not None:
                raise UnsupportedTypeError('two parameters are iterators')
            if kind:
                stream, is_async = part, kind == 'async'
        validate_names(request.parts)
        return stream, is_async

    def _read_parameter(self, parameter: inspect.Parameter, rpc: str) -> tuple[Part, str]:
        hint, name, kind = parameter.annotation, parameter.name, parameter.kind
        if hint is parameter.empty:
            raise UnsupportedTypeError('it has no annotation')
        bare, _, _ = hints.strip_qualifiers(hint)
        origin = get_origin(bare) or bare
        if kind is parameter.VAR_POSITIONAL:
            codec = self.types.read_codec(hint, rpc + pascal(name))
            field: Field = RepeatedField(codec, 'tuple_of_any_length', (tuple,), tuple)
            return Part(name, snake(name), field, 'default'), ''
        if kind is parameter.VAR_KEYWORD:
            keys = self.types.read_codec(str, '')
            values = self.types.read_codec(hint, rpc + pascal(name))
            field = MapField(keys, values, 'dict', dict, dict)
            return Part(name, snake(name), field, 'default'), ''
        if origin in (*_STREAMS, *_ASYNC_STREAMS):
            part = self._read_stream_part(name, bare, rpc)
            return part, 'async' if origin in _ASYNC_STREAMS else 'sync'
        default = ... if parameter.default is parameter.empty else parameter.default
        return self.types.read_part(name, hint, rpc, default), ''

    def _read_stream_part(self, name: str, hint: Any, rpc: str) -> Part:
        where = rpc + pascal(name)
        field = self.types.read_field(_item_hint(hint), where)
        return Part(name, snake(name), self.types.ensure_presence(field, where), 'default')

    def _plan_response(
        self,
        rpc: str,
        member: str,
        kind: Kind,
        response: MessagePlan,
        signature: inspect.Signature,
        function: Any,
    ) -> bool:
        """Add the result to a response; return whether it is a stream."""
        hint = signature.return_annotation
        if kind != 'set' and member in self._typeids:
            field = self.types.create_handle_field(hint, self._typeids[member])
            response.parts.append(Part(RESULT, RESULT, field))
            return False
        if hint is signature.empty:
            raise UnsupportedTypeError('its result has no annotation')
        bare, _, _ = hints.strip_qualifiers(hint)
        streaming = kind == 'call' and _is_stream(bare, function)
        if bare in _NOTHING or getattr(bare, '_name', '') in ('Never', 'NoReturn'):
            return False
        try:
            value = _item_hint(bare) if streaming else hint
            response.parts.append(self.types.read_part(RESULT, value, rpc))
        except UnsupportedTypeError as error:
            raise UnsupportedTypeError(f'result: {error}') from error
        return streaming

    # --- attributes ------------------------------------------------------------------------------

    def _add_attribute(self, name: str) -> None:
        member = self._member(name)
        if isinstance(member, property):
            self._add_property(name, member)
        elif isinstance(member, functools.cached_property):
            signature = self._signature(member.func, self._owner(name), bound=True)
            doc = inspect.getdoc(member) or ''
            self._add(f'Get{pascal(name)}', name, 'get', doc, signature)
        elif isinstance(member, type):
            raise UnsupportedTypeError('it is a class')
        else:
            self._add_plain(name)

    def _add_property(self, name: str, member: property) -> None:
        owner, doc = self._owner(name), inspect.getdoc(member) or ''
        if member.fget is None:
            raise UnsupportedTypeError('it can not be read')
        getter = self._signature(member.fget, owner, bound=True)
        self._add(f'Get{pascal(name)}', name, 'get', doc, getter)
        if member.fset is None:
            return
        setter = self._signature(member.fset, owner, bound=True)
        hint = next(iter(setter.parameters.values())).annotation
        if hint is inspect.Parameter.empty:
            hint = getter.return_annotation
        self._try(f'{name} (writing)', lambda: self._add_setter(name, hint, doc))

    def _add_plain(self, name: str) -> None:
        hint, owner = hints.attribute_hint(self._cls, name)
        hint = hints.substitute(hint, self._owners.get(owner, {}))
        bare, qualifiers, _ = hints.strip_qualifiers(hint)
        fixed = qualifiers & {'ClassVar', 'Final'}
        hint = bare if fixed else hint
        self._add(f'Get{pascal(name)}', name, 'get', '', inspect.Signature(return_annotation=hint))
        if not fixed:
            self._try(f'{name} (writing)', lambda: self._add_setter(name, hint, ''))

    def _add_setter(self, name: str, hint: Any, doc: str) -> None:
        value = inspect.Parameter('value', inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=hint)
        signature = inspect.Signature([value], return_annotation=None)
        self._add(f'Set{pascal(name)}', name, 'set', doc, signature)


def _list_exposed_names(cls: Any) -> Iterator[str]:
    """Yield the exposed names of ``cls``, without the names of every actor.

    Special names, like ``__len__``, are left out.
    """
    root = next(base for base in reversed(cls.__mro__) if 'proxy_class' in vars(base))
    for name in dict.fromkeys(cls.proxy_class._exposed_ or ()):
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        is_special = name.startswith('__') and name.endswith('__')
        if not is_special and owner is not root:
            yield name


def _function(member: Any) -> Any:
    """Return the function behind a method, None for any other member."""
    if isinstance(member, (staticmethod, classmethod)):
        return member.__func__
    is_method = callable(member) and not isinstance(member, type)
    return member if is_method else None


def _is_stream(hint: Any, function: Any) -> bool:
    origin = get_origin(hint) or hint
    if origin in (*_STREAMS, *_ASYNC_STREAMS):
        return True
    function = inspect.unwrap(function) if function is not None else None
    is_generator = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
    return is_generator and origin in _LOOSE_STREAMS


def _item_hint(hint: Any) -> Any:
    """Return the annotation of the items of an iterator."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if not args:
        raise UnsupportedTypeError('the iterator has no type for its items')
    is_generator = origin in (abc.Generator, abc.AsyncGenerator)
    if is_generator and any(arg not in (None, type(None), Any) for arg in args[1:]):
        raise UnsupportedTypeError('what is sent to a generator, or returned by it, would be lost')
    return args[0]
