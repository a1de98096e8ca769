"""Turn requests into calls, and results into values, for all transports."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from uactor._wire import PROTOCOL_VERSION
from uactor.codec import messages, pickling, transfer, values
from uactor.codec.arguments import decode_plain
from uactor.codec.fastpath import Arguments
from uactor.core.addresses import Token
from uactor.errors import ProxyError
from uactor.host.arguments import decode_arguments, decode_pickled_arguments, field
from uactor.host.callers import Caller
from uactor.host.describe import (
    format_annotation,
    format_signature,
    service_name_of_proxy,
    shorten_repr,
)
from uactor.host.execution.dispatcher import Dispatcher
from uactor.host.execution.event_loop import Steps
from uactor.host.holders import ANONYMOUS
from uactor.host.objects.table import LEASE_S, Entry, ObjectTable
from uactor.runtime.limits import MAX_WAIT_S, duration_to_seconds
from uactor.v1 import actor_pb2 as pb

_GENERATORS = (types.GeneratorType, Steps)
NO_KEYWORDS: Mapping[str, Any] = {}

Factory = Callable[[str], Callable[..., Any]]
"""Returns the function that makes a new object of a typeid."""

Run = Callable[[Caller, str, str, Sequence[Any], Mapping[str, Any]], tuple[Any, str]]
"""Runs a method of a handle; returns its result and typeid."""


class RequestHandler:
    """Decodes requests, dispatches them, and encodes their results.

    :param address: address of this process, as handles name it.
    :param service: returns the name of the typed service of this process, or ''.
    :param serializer: name of the way in which values travel.
    :param resolve: makes the proxy for a handle that came as an argument, by the proxy classes of
        a manager class.
    :param factory: returns the function that makes a new object of a typeid.
    :param typeids: returns all typeids.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        table: ObjectTable,
        address: str,
        service: Callable[[], str],
        serializer: str,
        resolve: Callable[..., Any],
        factory: Factory,
        typeids: Callable[[], Sequence[str]],
    ) -> None:
        self._dispatcher = dispatcher
        self._table = table
        self._address = address
        self._service = service
        self.resolve = resolve
        self._factory = factory
        self._typeids = typeids
        self.serializer = serializer
        self.pickles = serializer != 'native'

    # --- requests --------------------------------------------------------------------------

    def call(
        self, caller: Caller, request: pb.CallRequest, result: pb.Value, by_value: bool = False
    ) -> None:
        """Run a request's method, and put its result into ``result``.

        :param by_value: whether a pickle may hold classes and functions by value: only in a
            session, whose Hello contains the version of Python.
        """
        value, typeid = self.dispatch(caller, request)
        self.encode(caller, value, typeid, request.accept_pickle, result, by_value)

    def dispatch(
        self, caller: Caller, request: pb.CallRequest, run: Run | None = None
    ) -> tuple[Any, str]:
        """Run a request's method; return its result and typeid, or ''.

        :param run: runs it; the dispatcher's ``call`` when it is None.
        """
        handle, asked = request.handle, request.typeid
        self._table.renew_lease(handle)
        if request.HasField('arguments'):
            args, kwargs = decode_pickled_arguments(
                request.arguments, self.pickles, caller.memory, caller.definitions
            )
        else:
            args, kwargs = self._decode_arguments(caller, request)
        # Not earlier: the data that has come beside the message must be read in any case.
        if asked and asked not in self._typeids():
            with field('typeid'):
                raise ProxyError(f'there is no typeid {asked!r}; see Describe')
        run = run or self._dispatcher.call
        result, typeid = run(caller, handle, request.method, args, kwargs)
        return result, asked or typeid

    def run(
        self,
        caller: Caller,
        handle: str,
        method: str,
        arguments: Arguments,
        run: Run | None = None,
    ) -> tuple[Any, str]:
        """Run a method; return its result and typeid, or ''.

        :param run: see :meth:`dispatch`.
        """
        self._table.renew_lease(handle)
        if type(arguments) is tuple:
            args, kwargs = arguments, NO_KEYWORDS
        else:
            try:
                args, kwargs = pickling.loads_with(caller.definitions, arguments)
            except Exception:
                with field('arguments'):
                    raise
        return (run or self._dispatcher.call)(caller, handle, method, args, kwargs)

    def arguments_of_all(self, request: pb.CallAllRequest) -> list[tuple[Any, ...]]:
        """Return the arguments of the calls that a request makes."""
        with field('arguments'):
            arguments = decode_plain(request.arguments, self.pickles)
            if len(arguments) != request.count:
                raise ValueError(f'{len(arguments)} calls, not {request.count}')
        return arguments

    def _decode_arguments(
        self, caller: Caller, request: pb.CallRequest | pb.CreateHandleRequest
    ) -> tuple[Sequence[Any], Mapping[str, Any]]:
        return decode_arguments(
            request, self.resolve, self.pickles, caller.memory, caller.definitions
        )

    def get_attribute(
        self,
        caller: Caller,
        request: pb.GetAttributeRequest,
        result: pb.Value,
        by_value: bool = False,
    ) -> None:
        """Read the requested attribute, and put its value into ``result``."""
        value, typeid = self.attribute(caller, request.handle, request.name)
        self.encode(caller, value, typeid, request.accept_pickle, result, by_value)

    def attribute(self, caller: Caller, handle: str, name: str) -> tuple[Any, str]:
        """Read an attribute; return its value and typeid, or ''."""
        self._table.renew_lease(handle)
        return self._dispatcher.get_attribute(caller, handle, name)

    def set_attribute(self, caller: Caller, request: pb.SetAttributeRequest) -> None:
        """Write the attribute that a request names."""
        self._table.renew_lease(request.handle)
        with field('value'):
            value = values.decode(
                *(request.value, self.resolve, self.pickles), caller.memory, caller.definitions
            )
        self._dispatcher.set_attribute(caller, request.handle, request.name, value)

    def create(self, caller: Caller, request: pb.CreateHandleRequest) -> pb.Handle:
        """Make the object that a request asks for and return its handle."""
        args, kwargs = self._decode_arguments(caller, request)
        # Not earlier: the data that has come beside the message must be read in any case.
        seconds = _lease(request)
        with field('typeid'):
            factory = self._factory(request.typeid)
        made = self._dispatcher.run(caller, factory, args, kwargs)
        caller.confirm()  # nobody would get an object that was made too late
        return self.share(caller, made, request.typeid, detailed=True, seconds=seconds)

    def retain(self, caller: Caller, request: pb.RetainHandleRequest) -> pb.RetainHandleResponse:
        """Take the holds or the lease that a request asks for."""
        seconds = _lease(request)
        if request.as_lease:
            return pb.RetainHandleResponse(lease_id=self._table.lease(request.handles, seconds))
        self._table.retain(request.handles, caller.holder, request.lease_id)
        if caller.holder == ANONYMOUS:
            for handle in request.handles:
                self._table.lease_anonymously(handle, seconds)
        return pb.RetainHandleResponse()

    # --- results ---------------------------------------------------------------------------

    def encode(
        self,
        caller: Caller,
        value: Any,
        typeid: str,
        accept_pickle: bool,
        result: pb.Value,
        by_value: bool = False,
    ) -> None:
        """Put ``value`` into ``result``, and hold its shared objects for ``caller``.

        :raises CallCancelledError: when the client has gone meanwhile; nothing is held then.
        """
        if not caller.is_waiting:
            caller.confirm()
        pickles = self.pickles and accept_pickle
        if typeid and not isinstance(getattr(value, '_token', None), Token):
            result.handle.CopyFrom(self.share(caller, value, typeid, detailed=not pickles))
        elif values.put_scalar(result, value, caller.memory if pickles else None):
            return
        elif isinstance(value, _GENERATORS):  # they can be sent in no other way
            result.handle.CopyFrom(self.share(caller, value, 'Iterator', detailed=not pickles))
        elif not pickles:
            result.CopyFrom(self._encode_native(caller, value))
        else:
            with transfer.transfer(granting=True) as context:
                values.put(result, value, by_value, caller.memory, caller.definitions)
            if context.grants:
                self._table.retain(context.grants, caller.holder)
                result.pickle.granted.extend(context.grants)

    def take_back(self, caller: Caller, response: pb.SessionResponse) -> None:
        """Release what ``caller`` holds by a result that it will not receive."""
        for value in (response.result, response.item):
            self._table.release(messages.list_granted_handles(value), caller.holder)
        if caller.memory is not None:
            caller.memory.recall(messages.list_memories(response))

    def _encode_native(self, caller: Caller, value: Any) -> pb.Value:
        shared: list[str] = []

        def share_part(part: Any) -> pb.Handle:
            handle = self.handle_of(caller, part)
            shared.append(handle.id)
            return handle

        try:
            return values.encode_native(value, share_part)
        except BaseException:
            self._table.release(shared, caller.holder)
            raise

    def handle_of(self, caller: Caller, value: Any) -> pb.Handle:
        """Return the handle of a proxy or of a value to share.

        The value is shared because it has no native form.
        """
        token = getattr(value, '_token', None)
        if not isinstance(token, Token):
            known = self._table.entry_of(value)
            natural = 'Iterator' if isinstance(value, Iterator) else 'auto'
            typeid = known.typeid if known is not None else natural
            return self.share(caller, value, typeid, detailed=True)
        if token.target == self._address:
            entry = self._table.get(token.id)
            return self.share(caller, entry.object, entry.typeid, detailed=True)
        value._lease()  # its own actor holds it until a receiver comes, for a while
        return pb.Handle(
            id=token.id,
            address=token.target,
            typeid=token.typeid,
            service=service_name_of_proxy(value),
        )

    def share(
        self, caller: Caller, value: Any, typeid: str, detailed: bool, seconds: float = LEASE_S
    ) -> pb.Handle:
        """Share an object, hold it for ``caller``, and return its handle."""
        if typeid == 'actor':
            entry = self.actor_entry(value)
            entry.holds[caller.holder] += 1
        else:
            entry = self._table.share(value, typeid, caller.holder)
        if caller.holder == ANONYMOUS and not entry.permanent:
            self._table.lease_anonymously(entry.id, seconds)
        return self.handle(entry, detailed)

    def actor_entry(self, value: Any) -> Entry:
        """Return the actor's entry, for a result that becomes its proxy.

        :raises ProxyError: when ``value`` is something else.
        """
        entry = self._table.get('')
        if value is not None and value is not entry.object:
            raise ProxyError("the typeid 'actor' is for the actor of this process alone")
        return entry

    def handle(self, entry: Entry, detailed: bool) -> pb.Handle:
        """Return an entry's handle, with its repr and methods if ``detailed``."""
        handle = pb.Handle(id=entry.id, address=self._address, typeid=entry.typeid)
        if entry.permanent:
            handle.service = self._service()
        if detailed:
            handle.repr = shorten_repr(entry.object)
        if detailed or entry.typeid == 'auto':
            handle.methods.extend(sorted(entry.exposed))
        return handle

    # --- descriptions ----------------------------------------------------------------------

    def describe(self, handle: str) -> pb.DescribeResponse:
        """Describe an object."""
        entry = self._table.get(handle)
        cls = type(entry.object)
        response = pb.DescribeResponse(
            handle=self.handle(entry, detailed=True),
            class_name=f'{cls.__module__}.{cls.__qualname__}',
            doc=_get_own_doc(cls),
            typeids=self._typeids(),
            serializer=self.serializer,
            protocol_version=PROTOCOL_VERSION,
            python_version=pickling.PYTHON_VERSION,
        )
        for name in sorted(entry.exposed):
            member = inspect.getattr_static(cls, name, None)
            value = getattr(cls, name, None)
            doc = inspect.getdoc(value) or '' if member is not None else ''
            if callable(value):
                typeid = entry.method_to_typeid.get(name, '')
                response.methods.add(
                    name=name,
                    signature=format_signature(entry.object, name),
                    doc=doc,
                    typeid=typeid,
                )
            else:
                response.attributes.add(
                    name=name, doc=doc, type=format_annotation(cls, name, member)
                )
        return response


def _get_own_doc(cls: type) -> str:
    """Return a class's docstring, unless a base of uactor has it."""
    doc = inspect.getdoc(cls) or ''
    bases = [base for base in cls.__mro__ if base.__module__.startswith('uactor.')]
    return '' if doc in map(inspect.getdoc, bases) else doc


def _lease(request: pb.CreateHandleRequest | pb.RetainHandleRequest) -> float:
    """Return how long a hold is to last, in seconds."""
    if not request.HasField('lease'):
        return LEASE_S
    with field('lease'):
        seconds = duration_to_seconds(request.lease)
        if seconds <= 0:
            raise ValueError('a lease must be longer than 0 seconds')
    return min(seconds, MAX_WAIT_S)
