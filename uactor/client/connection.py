"""A connection: how the proxies of this process reach one actor process.

There is one per (process, actor), shared by all proxies, with one session per thread.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.client.grpc_transport import GrpcTransport
from uactor.client.lane_transport import LaneTransport, leads_to, offered
from uactor.client.link import Link, checked
from uactor.client.pending import CallBurst, PendingCall, RequestDefinitions, RequestMemory
from uactor.client.pipeline import ClientPipeline, Encoded
from uactor.client.session import ClientSession, check_size
from uactor.client.timeouts import FORK_S, GRACE_S, HANDSHAKE_S
from uactor.codec import failures, fastpath, messages, pickling, transfer, values
from uactor.codec.arguments import decode_plain, encode_arguments, plain_arguments, plain_bursts
from uactor.codec.definitions import Definitions, UnknownDefinitionError
from uactor.core import current_call
from uactor.core.addresses import Token
from uactor.core.auth import get_family_key
from uactor.core.futures import CallFuture, IndexedReceiver
from uactor.core.interfaces import (
    NO_HANDLE,
    BurstHandle,
    BurstReceiver,
    CallHandle,
    CallHandles,
    ClientCall,
    Receiver,
    Resolve,
    SharedObject,
)
from uactor.errors import (
    ActorDiedError,
    ActorUnreachableError,
    DeadlineError,
    SerializationError,
    UActorException,
)
from uactor.runtime.deferred import deferred
from uactor.runtime.system_errors import is_interruption
from uactor.transport.interfaces import Transport
from uactor.transport.shm_buffers import Carrier
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.client')

TRANSPORTS = ('auto', 'grpc')
"""``'grpc'``, or ``'auto'`` for an actor's local lane where there is one, and else gRPC."""


def check_transport(name: str) -> str:
    """Return ``name`` if it is a transport.

    :raises ValueError: otherwise.
    """
    if name not in TRANSPORTS:
        raise ValueError(f'unknown transport {name!r}; choose one of {", ".join(TRANSPORTS)}')
    return name


def _opened(
    address: str, keys: Sequence[bytes], serializer: str, patience: float | None, by: Transport
) -> tuple[Link, ClientSession]:
    """Return a new link, and its first session."""
    other_way = functools.partial(GrpcTransport, address) if isinstance(by, LaneTransport) else None
    link = Link(address, keys, serializer, by, other_way)
    try:
        return link, link.session(patience, current_call.limit_to_call(None))
    except BaseException:
        deferred.submit(link.close)
        raise


def _opened_by_lane(
    opened: Callable[[Transport], tuple[Link, ClientSession]], lane: str, address: str
) -> tuple[Link, ClientSession] | None:
    """Return a link by a lane; None when that leads elsewhere, or nowhere, and gRPC is to be tried.

    The lane is found by its name, beside that of the address. It may be left of an actor that was
    killed, and may have been put there: only what the host says of itself, once it has proved that
    it knows the authkey, tells whose lane it is.
    """
    try:
        link, session = opened(LaneTransport(lane))
    except ActorUnreachableError as error:
        if isinstance(error.__cause__, ConnectionRefusedError) and not is_interruption(error):
            return None
        raise
    if leads_to(session.actor.address, address):
        return link, session
    log.debug('the lane at %s leads to %s', lane, session.actor.address)
    deferred.submit(link.close)
    return None


class ClientConnection:
    """This process's way to one actor process.

    :ivar actor: names the actor.
    :param transport: one of :data:`TRANSPORTS`.
    :param patience: how long the actor may take to answer, in seconds; None for any time.
    """

    def __init__(
        self,
        address: str,
        keys: Sequence[bytes],
        serializer: str,
        transport: str = 'auto',
        patience: float | None = HANDSHAKE_S,
    ) -> None:
        self.address = address
        self._keys = tuple(keys)
        lane = offered(address) if transport == 'auto' else None
        opened = functools.partial(_opened, address, keys, serializer, patience)
        found = _opened_by_lane(opened, lane, address) if lane else None
        self._link, session = found or opened(GrpcTransport(address))
        link = self._link
        self.actor = Token('actor', address, session.actor.id)
        link.close_after(self)

    @property
    def reusable(self) -> bool:
        """Whether the actor is there, as far as this process knows."""
        return self._link.connected

    @property
    def serializer(self) -> str:
        """How values travel."""
        return self._link.terms.serializer

    @property
    def has_family_key(self) -> bool:
        """Whether the actor has proved that it knows the key of this process family."""
        return self._link.key == get_family_key()

    def restrict(self, serializer: str) -> None:
        """Have values travel as ``serializer`` allows, if that is stricter."""
        self._link.restrict(serializer)

    def suits(self, transport: str) -> bool:
        """Tell whether this is what ``transport`` asks for."""
        return transport == 'auto' or isinstance(self._link.transport, GrpcTransport)

    def greet(self, patience: float | None) -> None:
        """Find out whether the actor answers.

        :param patience: how long it may take, in seconds; None for any time.
        :raises ActorUnreachableError: when it takes longer.
        """
        self._link.open(patience=patience).say_goodbye()

    def expect_end(self) -> None:
        """Know that this process ends the actor. Safe in finalizers."""
        self._link.expect_end()

    def abandon(self) -> None:
        """Let every caller know that the actor process has ended."""
        self._link.abandon()

    # --- requests --------------------------------------------------------------------------

    def call(
        self,
        handle: str,
        method: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
        on_own_thread: bool = False,
    ) -> Any:
        """Call a method; see :class:`uactor.core.interfaces.Connection`."""
        outer = current_call.current()
        if outer is not None:
            timeout = current_call.limit_to_call(timeout)
        if timeout is not None and not on_own_thread:
            call = ClientCall(handle, method, args, kwargs, resolve, timeout)
            return CallFuture.start(self.submit, call).wait()
        link = self._link
        if timeout is not None:
            return self._call_owned(ClientCall(handle, method, args, kwargs, resolve, timeout))
        session = link.session()
        usually = outer is None and not link.holds.pending
        if usually and session.serializer != 'native':  # as most calls do, without further ado
            plain = None if kwargs else fastpath.scalars(args)
            if plain is None:
                plain = _pickled(args, kwargs)
            if plain is not None:
                answer = session.call(fastpath.called(handle, method), plain)
                if type(answer) is tuple and type(answer[1]) is not fastpath.Pickled:
                    return answer[1]
                return self._answered(answer, session, resolve)
        request = pb.SessionRequest()
        message = request.call
        data = encode_arguments(
            *(lambda: message, args, kwargs, session.serializer, session.by_value, self._handle_of),
            session.memory,
            session.definitions,
        )
        if data is not None:
            if usually:
                part = fastpath.called(handle, method)
                answer = session.call(part, fastpath.pickled(data))
                return self._answered(answer, session, resolve)
            message.arguments.data = data
        message.handle, message.method = handle, method
        message.accept_pickle = session.serializer != 'native'
        _put_context(message, None, outer)
        return self._result(session, request, resolve)

    def _call_owned(self, call: ClientCall) -> Any:
        """Call a method with a timeout on the host thread that belongs to this one.

        The host gives the call up by itself. When it does not even say so, this thread's session
        ends, and with it what belongs to its thread.
        """
        timeout: float = call.timeout  # type: ignore[assignment]  # there is one
        expires = time.monotonic() + timeout
        session = self._link.session(left=timeout)
        request = pb.SessionRequest()
        message = request.call
        data = encode_arguments(
            *(lambda: message, call.args, call.kwargs, session.serializer, session.by_value),
            *(self._handle_of, session.memory, session.definitions),
        )
        if data is not None:
            message.arguments.data = data
        message.handle, message.method = call.handle, call.method
        message.accept_pickle = session.serializer != 'native'
        left = max(0.0, expires - time.monotonic())
        _put_context(message, left, current_call.current())
        return self._result(session, request, call.resolve, left + GRACE_S)

    def _answered(
        self, answer: pb.SessionResponse | tuple[int, Any], session: ClientSession, resolve: Resolve
    ) -> Any:
        """Return what the answer to a usual message brings, or raise it."""
        if isinstance(answer, tuple):
            value = answer[1]
            return value if type(value) is not fastpath.Pickled else self._rebuilt(value, session)
        return self._value(session, checked(self._link, session, answer).result, resolve)

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Make a call without blocking; see :class:`uactor.core.interfaces.Connection`."""
        return self._submitted(call, receiver)

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Make calls without blocking; see :class:`uactor.core.interfaces.Connection`."""
        burst = self._submitted_plain(call, arguments, receiver)
        if burst is None:
            tickets = [
                self._submitted(call.with_args(args), IndexedReceiver(receiver, index), held=True)
                for index, args in enumerate(arguments)
            ]
            burst = CallHandles(tickets)
        self._link.flush()
        return burst

    def _submitted_plain(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle | None:
        """Make calls by one request, if all of them can be."""
        terms = self._link.terms
        if (
            current_call.limit_to_call(call.timeout) is not None
            or current_call.current() is not None
        ):
            return None
        if terms.serializer == 'native' or terms.limit or self._link.holds.pending:
            return None
        data = plain_bursts(arguments)
        if data is None:
            return None
        try:
            pipeline = self._link.pipeline()
            made = CallBurst(pipeline, receiver, self._come, call, len(arguments))
            pipeline.submit(functools.partial(made.request, data), made, held=True)
        except (ActorDiedError, RuntimeError) as error:
            if is_interruption(error):
                raise
            return None  # no thread to be had: each call is told so
        return made

    def _submitted(self, call: ClientCall, receiver: Receiver, held: bool = False) -> CallHandle:
        pending: PendingCall | None = None
        try:
            pipeline = self._link.pipeline()
            pending = PendingCall(pipeline, receiver, self._come, call)
            encoded, timeout = self._encoded(call, pipeline, pending)
            if timeout is not None:
                pending.expire_at(time.monotonic() + timeout, _told(call, timeout))
            pipeline.submit(encoded, pending, held)
            return pending
        except BaseException as error:
            if pending is not None:
                pending.recall_lent()
            if not isinstance(error, Exception) or is_interruption(error):
                raise
            receiver.fail(error)  # what can't be sent ends the call as what can't be done
            return NO_HANDLE

    def _encoded(
        self, call: ClientCall, pipeline: ClientPipeline, pending: PendingCall
    ) -> tuple[Encoded, float | None]:
        """Return what encodes a call, and how long it is waited for, in seconds."""
        timeout = current_call.limit_to_call(call.timeout)
        if timeout is not None and timeout <= 0:
            raise DeadlineError(_told(call, timeout), 'no')
        outer = current_call.current() if call.waits else None
        terms = self._link.terms
        request = pb.SessionRequest()

        def message() -> pb.CallRequest:
            return request.open_stream.call if call.window else request.call

        usually = timeout is None and outer is None and not call.window and not terms.limit
        usually = usually and terms.serializer != 'native' and not self._link.holds.pending
        plain = _plain(call.args, call.kwargs) if usually else None
        defining = RequestDefinitions(pipeline)
        if plain is None:
            pending.memory = RequestMemory(pipeline)
            data = encode_arguments(
                *(
                    message,
                    call.args,
                    call.kwargs,
                    terms.serializer,
                    terms.by_value,
                    self._handle_of,
                ),
                pending.memory,
                defining,
            )
            if data is not None:
                message().arguments.data = data
                plain = fastpath.pickled(data) if usually else None
        if plain is not None:
            part = fastpath.called(call.handle, call.method)
            return functools.partial(fastpath.request, part=part, arguments=plain), None
        if call.window:
            request.open_stream.credit = call.window
        message().handle, message().method = call.handle, call.method
        message().accept_pickle = terms.serializer != 'native'
        _put_context(message(), timeout, outer)
        return self._ready(request, pending, defining), timeout

    def _ready(
        self, request: pb.SessionRequest, pending: PendingCall, defining: RequestDefinitions
    ) -> Encoded:
        """Return what encodes a request that is complete but for its number."""
        terms, memories = self._link.terms, messages.memories(request)
        check_size(request, terms.limit, self.address)
        if defining.known is not None and defining.known.unsure:
            pending.defines = messages.definitions_in(request)
        if self._link.holds.pending:
            request.releases.extend(self._link.holds.drain())

        def encoded(number: int) -> bytes | pb.SessionRequest:
            request.id = number
            return request if memories else request.SerializeToString()

        return encoded

    def _come(self, response: Any, resolve: Resolve, session: ClientSession | None) -> Any:
        """Return what a response of the pipeline carries, or raise it.

        :param response: one, or the value of a usual one.
        :param session: has what stands beside the message.
        """
        if type(response) is fastpath.Pickled:
            return self._rebuilt(response, session)
        if not isinstance(response, pb.SessionResponse):
            return response
        kind = response.WhichOneof('kind')
        if kind == 'result':
            form = response.result.WhichOneof('kind')
            if form in messages.SCALAR_FORMS:
                return getattr(response.result, form)  # as most do, without further ado
        unpickle = self._link.terms.serializer != 'native'
        if kind == 'failure':
            with self._link.holds.granting(response.failure.pickle.granted):
                raise failures.decode(response.failure, unpickle)
        if kind == 'results':
            return decode_plain(response.results, unpickle)
        if kind == 'end':
            return None
        value = response.item if kind == 'item' else response.result
        if session is None:
            return self._decoded(value, resolve, unpickle)
        return self._decoded(value, resolve, unpickle, session.memory, session.definitions)

    # --- requests beside calls -------------------------------------------------------------

    def get_attribute(
        self, handle: str, name: str, resolve: Resolve, timeout: float | None = None
    ) -> Any:
        """Read an attribute; see :class:`uactor.core.interfaces.Connection`."""
        timeout = current_call.limit_to_call(timeout)
        if timeout is not None:
            get = pb.GetAttributeRequest(handle=handle, name=name)
            request = pb.SessionRequest(get_attribute=get)
            return self._within(
                ClientCall(handle, f'reading {name}', (), {}, resolve, timeout), request
            )
        session = self._link.session()
        if (
            session.serializer != 'native'
            and current_call.current() is None
            and not self._link.holds.pending
        ):
            answer = session.call(fastpath.attribute(handle, name), None)
            return self._answered(answer, session, resolve)
        get = pb.GetAttributeRequest(
            handle=handle,
            name=name,
            accept_pickle=session.serializer != 'native',
            context=_context(),
        )
        return self._result(session, pb.SessionRequest(get_attribute=get), resolve)

    def set_attribute(
        self, handle: str, name: str, value: Any, timeout: float | None = None
    ) -> None:
        """Write an attribute; see :class:`uactor.core.interfaces.Connection`."""
        timeout = current_call.limit_to_call(timeout)
        if timeout is not None:
            put = pb.SetAttributeRequest(handle=handle, name=name)
            call = ClientCall(handle, f'writing {name}', (value,), {}, _as_it_is, timeout)
            self._within(call, pb.SessionRequest(set_attribute=put))
            return
        session = self._link.session()
        (encoded,) = _encode_all(session, [value], self._handle_of)
        request = pb.SetAttributeRequest(
            handle=handle,
            name=name,
            value=encoded,
            accept_pickle=session.serializer != 'native',
            context=_context(),
        )
        self._result(session, pb.SessionRequest(set_attribute=request), _as_it_is)

    def create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
    ) -> Any:
        """Make a new object; see :class:`uactor.core.interfaces.Connection`."""
        timeout = current_call.limit_to_call(timeout)
        if timeout is not None:
            made = pb.SessionRequest(create_handle=pb.CreateHandleRequest(typeid=typeid))
            call = ClientCall('', f'making a {typeid}', args, kwargs, resolve, timeout)
            return self._within(call, made)
        session = self._link.session()
        request = pb.CreateHandleRequest(typeid=typeid)
        encoded = _encode_all(session, [*args, *kwargs.values()], self._handle_of)
        request.args.extend(encoded[: len(args)])
        for name, value in zip(kwargs, encoded[len(args) :], strict=True):
            request.kwargs[name].CopyFrom(value)
        return self._result(session, pb.SessionRequest(create_handle=request), resolve)

    def _within(self, call: ClientCall, request: pb.SessionRequest) -> Any:
        """Make a request that is no call of a method, and wait for its result as for one.

        Through the pipeline: a session of a thread could only end at a deadline.

        :param call: what it is, for people, with its values and its timeout.
        """
        timeout: float = call.timeout  # type: ignore[assignment]  # there is one
        if timeout <= 0:
            raise DeadlineError(_told(call, timeout), 'no')
        expires = time.monotonic() + timeout
        pipeline, future = self._link.pipeline(), CallFuture[Any]()
        pending = PendingCall(pipeline, future, self._come, call)
        defining = RequestDefinitions(pipeline)
        message: Any = getattr(request, request.WhichOneof('kind') or '')
        pending.memory = RequestMemory(pipeline)
        try:
            self._put_values(call, message, pending.memory, defining)
            if not isinstance(message, pb.CreateHandleRequest):
                message.accept_pickle = self._link.terms.serializer != 'native'
            _put_context(message, timeout, current_call.current())
            encoded = self._ready(request, pending, defining)
            future.call_handle = pending
            pending.expire_at(expires, _told(call, timeout))
            pipeline.submit(encoded, pending)
        except BaseException:
            pending.recall_lent()
            raise
        return future.wait()

    def _put_values(
        self, call: ClientCall, message: Any, lending: RequestMemory, defining: RequestDefinitions
    ) -> None:
        """Put the values that go with a request into its message."""
        terms = self._link.terms

        def encoded(value: Any) -> pb.Value:
            if terms.serializer == 'native':
                return values.encode_native(value, self._handle_of)
            return values.encode(value, terms.by_value, lending, defining)

        with transfer.transfer():
            if isinstance(message, pb.SetAttributeRequest):
                message.value.CopyFrom(encoded(call.args[0]))
            elif isinstance(message, pb.CreateHandleRequest):
                message.args.extend(encoded(value) for value in call.args)
                for name, value in call.kwargs.items():
                    message.kwargs[name].CopyFrom(encoded(value))

    def _result(
        self,
        session: ClientSession,
        request: pb.SessionRequest,
        resolve: Resolve,
        seconds: float | None = None,
    ) -> Any:
        return self._value(session, self._ask(session, request, seconds).result, resolve)

    def _value(self, session: ClientSession, result: pb.Value, resolve: Resolve) -> Any:
        kind = result.WhichOneof('kind')
        if kind in messages.SCALAR_FORMS:
            return getattr(result, kind)  # as most do, without further ado
        unpickle = session.serializer != 'native'
        try:
            return self._decoded(result, resolve, unpickle, session.memory, session.definitions)
        except UnknownDefinitionError:
            session.abandon()  # the next one begins anew
            raise

    @staticmethod
    def _rebuilt(pickled: fastpath.Pickled, session: ClientSession | None = None) -> Any:
        """Return what a usual response has a pickle of.

        :param session: has what the pickle may name.
        """
        try:
            definitions = session.definitions if session is not None else None
            return pickling.loads_with(definitions, pickled.data)
        except SerializationError as error:
            if not is_interruption(error):
                error.executed = 'yes'
            if session is not None and isinstance(error, UnknownDefinitionError):
                session.abandon()  # the next one begins anew
            raise

    def _decoded(
        self,
        result: pb.Value,
        resolve: Resolve,
        unpickle: bool,
        memory: Carrier | None = None,
        definitions: Definitions | None = None,
    ) -> Any:
        def resolved(handle: pb.Handle) -> Any:
            if handle.address != self.address and not self.owns(handle.id):
                token = Token(handle.typeid, handle.address, handle.id)
                return resolve(SharedObject(token, tuple(handle.methods)))
            self._link.holds.take_granted(handle.id)
            token = Token(handle.typeid, self.address, handle.id)
            return resolve(SharedObject(token, tuple(handle.methods)))

        granted = [handle for handle in messages.granted(result) if self.owns(handle)]
        try:
            if not granted:
                return values.decode(result, resolved, unpickle, memory, definitions)
            with self._link.holds.granting(granted):
                return values.decode(result, resolved, unpickle, memory, definitions)
        except SerializationError as error:
            if not is_interruption(error):
                error.executed = 'yes'
            raise

    def _handle_of(self, value: Any) -> pb.Handle:
        return handle_of(value, self.address)

    def owns(self, handle: str) -> bool:
        """Tell whether ``handle`` is of the actor process at the other end."""
        return handle.partition('.')[0] == self.actor.id.partition('.')[0]

    def _ask(
        self, session: ClientSession, request: pb.SessionRequest, seconds: float | None = None
    ) -> pb.SessionResponse:
        """Return the response to a request.

        :param seconds: how long the host may take; None for any time.
        """
        link = self._link
        if link.holds.pending:
            response = self._ask_releasing(link, session, request, seconds)
        else:
            response = session.request_within(request, seconds)
        if response.HasField('failure'):
            return checked(link, session, response)
        if session.definitions is not None and session.definitions.unsure:
            session.definitions.arrived(messages.definitions_in(request))
        return response

    @staticmethod
    def _ask_releasing(
        link: Link, session: ClientSession, request: pb.SessionRequest, seconds: float | None
    ) -> pb.SessionResponse:
        released = link.holds.drain()
        request.releases.extend(released)
        try:
            return session.request_within(request, seconds)
        except SerializationError:  # too large to be sent
            link.holds.give_back(released)
            raise

    # --- holds -----------------------------------------------------------------------------

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold; see :class:`uactor.core.interfaces.Connection`."""
        retain = pb.RetainHandleRequest(handles=[handle], lease_id=lease)
        self._hold(retain, current_call.limit_to_call(None))
        self._link.holds.add(handle)

    def adopt(self, handle: str) -> None:
        """Have the hold that came along; see :class:`uactor.core.interfaces.Connection`."""
        if not self._link.holds.take_granted(handle):  # it came by another connection
            self.retain(handle)

    def hold(self, proxy: object, handle: str) -> None:
        """Give a hold up when ``proxy`` is gone; see :class:`Connection`."""
        self._link.holds.release_with(proxy, handle)

    def claim(self, handle: str) -> str:
        """Take a lease, unless this process keeps the object alive until it is received."""
        passage = transfer.current_transfer()
        if passage is None:
            return self._lease([handle])
        if passage.grants is None:
            return ''
        lease = passage.leases.get(handle)
        if lease is None:
            lease = passage.leases[handle] = self._lease([handle])
            passage.undo.append(functools.partial(self._link.holds.release, lease))
        return lease

    def lease(self, handle: str) -> None:
        """Have an object held for a while; see :class:`uactor.core.interfaces.Connection`."""
        self._lease([handle])

    def _lease(self, handles: list[str], seconds: float | None = None) -> str:
        """Take a lease.

        :param seconds: how long the host may take, if the call that runs does not say less.
        """
        retain = pb.RetainHandleRequest(handles=handles, as_lease=True)
        return self._hold(retain, current_call.limit_to_call(seconds)).lease_id

    def _hold(self, retain: pb.RetainHandleRequest, left: float | None) -> pb.RetainHandleResponse:
        """Take holds, as long as that is waited for."""
        expires = None if left is None else time.monotonic() + left
        session = self._link.session(left=left)
        if expires is not None:
            left = max(0.0, expires - time.monotonic())
        return self._ask(session, pb.SessionRequest(retain_handle=retain), left).retained

    # --- forks -----------------------------------------------------------------------------

    _fork_lease: tuple[str, list[str]] | None = None

    def before_fork(self) -> bool:
        """Lease what this process holds for the child that is about to be; tell if it could."""
        link = self._link
        handles = link.holds.handles()
        self._fork_lease = None
        if handles and (link.connected or link.inherited is not None):
            try:
                self._fork_lease = self._lease(handles, FORK_S), handles
            except UActorException as error:
                log.debug('the forked child will not hold %s: %s', self.address, error)
        return self._fork_lease is not None

    def fork_lease_release(self) -> Callable[[], None]:
        """Return what ends the lease when the child has ended and may not have used it."""
        if self._fork_lease is None:
            return lambda: None
        lease, _ = self._fork_lease
        return functools.partial(self._link.holds.release, lease)

    def after_fork(self) -> None:
        """Leave the parent's streams alone and get own ones, in the child."""
        parents = self._link
        parents.leave()
        transport = parents.transport.inherited()
        way = parents.other_way
        self._link = link = Link(self.address, self._keys, parents.serializer, transport, way)
        link.actor = parents.actor
        link.terms = parents.terms
        link.inherited = self._fork_lease
        link.holds.inherit(parents.holds)
        link.close_after(self)


def _encode_all(session: ClientSession, sent: Sequence[Any], share: values.Share) -> list[pb.Value]:
    """Encode values that travel in one message."""
    outer = transfer.current_transfer()
    try:
        with transfer.transfer():
            if session.serializer == 'native':
                return [values.encode_native(value, share) for value in sent]
            return [
                values.encode(value, session.by_value, session.memory, session.definitions)
                for value in sent
            ]
    except BaseException:
        transfer.restore_transfer(outer)
        raise


def _plain(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return what a usual request has of arguments that are scalars; None for any other ones."""
    few = None if kwargs else fastpath.scalars(args)
    return _pickled(args, kwargs) if few is None else few


def _pickled(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Return the same by a pickle."""
    data = plain_arguments(args, kwargs)
    return None if data is None else fastpath.pickled(data)


def _told(call: ClientCall, timeout: float) -> str:
    return f'{call.method}() has taken longer than {timeout} seconds'


def _put_context(
    request: pb.CallRequest
    | pb.GetAttributeRequest
    | pb.SetAttributeRequest
    | pb.CreateHandleRequest,
    timeout: float | None,
    outer: current_call.CurrentCall | None,
) -> None:
    """Say in a request how long the call is waited for, and in which call."""
    if timeout is not None:
        request.context.timeout.FromNanoseconds(round(timeout * 1e9))
    if outer is not None:
        request.context.path.extend(outer.path)


def _context() -> pb.CallContext | None:
    """Return what an attribute is asked for in."""
    outer = current_call.current()
    return None if outer is None else pb.CallContext(path=outer.path)


def _as_it_is(shared: SharedObject) -> SharedObject:
    """Make no proxy: there is none in the result."""
    return shared


def handle_of(value: Any, receiver: str) -> pb.Handle:
    """Return the native form of a proxy.

    :param receiver: address of the actor that gets it.
    :raises SerializationError: for anything else.
    """
    token = getattr(value, '_token', None)
    if isinstance(token, Token):
        if token.typeid != 'actor' and token.target != receiver:
            value._lease()  # its receiver may hold it only when it uses it
        return pb.Handle(id=token.id, address=token.target, typeid=token.typeid)
    return values.unshareable(value)
