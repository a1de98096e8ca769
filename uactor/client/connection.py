"""A connection: the way from this process's proxies to an actor.

There is one connection per process and actor. All proxies share it, and each thread has its own
session in it.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uactor.client.decoding import ResponseDecoder, raise_failure
from uactor.client.encoding import PLAIN, CallEncoder, Delivery, FastRequest, select_delivery
from uactor.client.grpc_transport import GrpcTransport
from uactor.client.holds import Holds
from uactor.client.lane_transport import LaneTransport, find_lane, leads_to
from uactor.client.link import Link
from uactor.client.pending import CallBurst, PendingCall, PipelineChannel
from uactor.client.pipeline import EncodeNumbered
from uactor.client.session import ClientSession, check_size
from uactor.client.timeouts import FORK_S, GRACE_S, HANDSHAKE_S
from uactor.codec import fastpath, messages, transfer
from uactor.codec.arguments import encode_plain_bursts
from uactor.core import current_call
from uactor.core.addresses import Token
from uactor.core.auth import get_family_key
from uactor.core.futures import AwaitedCall, IndexedReceiver
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
from uactor.v1 import actor_pb2 as pb

log = logging.getLogger('uactor.client')

TRANSPORTS = ('auto', 'grpc')
"""``'auto'`` is an actor's local lane, or gRPC if it has none."""


def check_transport(name: str) -> str:
    """Return ``name`` if it is the name of a transport.

    :raises ValueError: if it is not.
    """
    if name not in TRANSPORTS:
        raise ValueError(f'unknown transport {name!r}; choose one of {", ".join(TRANSPORTS)}')
    return name


def _open_link(
    address: str, keys: Sequence[bytes], serializer: str, patience: float | None, by: Transport
) -> tuple[Link, ClientSession]:
    """Open a link, and return it with its first session."""
    other_way = functools.partial(GrpcTransport, address) if isinstance(by, LaneTransport) else None
    link = Link(address, keys, serializer, by, other_way)
    try:
        return link, link.session(patience, current_call.limit_to_call(None))
    except BaseException:
        deferred.submit(link.close)
        raise


def _open_by_lane(
    open_link: Callable[[Transport], tuple[Link, ClientSession]], lane: str, address: str
) -> tuple[Link, ClientSession] | None:
    """Open a link by a lane; return None to try gRPC.

    The client finds the lane by its name, beside the socket of the address. A killed actor may have
    left it behind, and another process may have put it there. So the client believes only the host
    itself, once that has proved that it knows the authkey.
    """
    try:
        link, session = open_link(LaneTransport(lane))
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
    """The way from this process to one actor process.

    :ivar actor: names the actor.
    :ivar link: the sessions with it, and the holds on its objects.
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
        lane = find_lane(address) if transport == 'auto' else None
        open_link = functools.partial(_open_link, address, keys, serializer, patience)
        found = _open_by_lane(open_link, lane, address) if lane else None
        link, session = found or open_link(GrpcTransport(address))
        self.actor = Token('actor', address, session.actor.id)
        self._use(link)

    def _use(self, link: Link) -> None:
        """Use a link for all further requests."""
        self.link = link
        self._encoder = CallEncoder(self.address, link.holds)
        self._decoder = ResponseDecoder(self.address, self.actor.id, link.holds)
        link.close_after(self)

    @property
    def reusable(self) -> bool:
        """Whether the actor is reachable, as far as this process knows."""
        return self.link.connected

    @property
    def serializer(self) -> str:
        """The name of the serializer for values."""
        return self.link.terms.serializer

    @property
    def has_family_key(self) -> bool:
        """Whether the actor has proved knowledge of this family's key."""
        return self.link.key == get_family_key()

    def restrict(self, serializer: str) -> None:
        """Use ``serializer`` for values from now on, if it is stricter."""
        self.link.restrict(serializer)

    def suits(self, transport: str) -> bool:
        """Return whether this connection uses the transport that ``transport`` names."""
        return transport == 'auto' or isinstance(self.link.transport, GrpcTransport)

    def greet(self, patience: float | None) -> None:
        """Check that the actor answers, by opening and closing a session.

        :param patience: how long the actor may take, in seconds; None for any time.
        :raises ActorUnreachableError: if the actor takes longer.
        """
        self.link.open(patience=patience).say_goodbye()

    def expect_end(self) -> None:
        """Record that this process ends the actor. Safe in finalizers."""
        self.link.expect_end()

    def abandon(self) -> None:
        """Fail the calls of all callers: the actor process has ended."""
        self.link.abandon()

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
        if timeout is not None:
            call = ClientCall(handle, method, args, kwargs, resolve, timeout)
            if on_own_thread:
                return self._call_on_own_thread(call, timeout)
            return AwaitedCall.start(self.submit, call).wait()
        session = self.link.session()
        delivery = PLAIN if outer is None else Delivery(outer=outer)
        request = self._encoder.encode_call(handle, method, args, kwargs, session, delivery)
        if isinstance(request, tuple):
            part, arguments = request
            answer = session.call(part, arguments)
            if type(answer) is tuple and type(answer[1]) is not fastpath.PickledResult:
                return answer[1]  # most answers: a plain value needs no decoder
            return self._decoder.decode_answer(answer, session, resolve)
        return self._request_result(session, request, resolve)

    def _call_on_own_thread(self, call: ClientCall, timeout: float) -> Any:
        """Call a method with a timeout, on this thread's own host thread.

        The host cancels the call by itself when the timeout expires. If the host does not even
        report that, this thread's session ends. The state of its host thread ends with it.
        """
        expires = time.monotonic() + timeout
        session = self.link.session(left=timeout)
        delivery = Delivery(timeout, current_call.current())
        request: Any = self._encoder.encode_call(
            *(call.handle, call.method, call.args, call.kwargs, session, delivery)
        )
        left = max(0.0, expires - time.monotonic())
        request.call.context.timeout.FromNanoseconds(round(left * 1e9))
        return self._request_result(session, request, call.resolve, left + GRACE_S)

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Start a call without blocking; see :class:`uactor.core.interfaces.Connection`."""
        return self._submit(call, receiver)

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Start calls without blocking; see :class:`uactor.core.interfaces.Connection`."""
        burst = self._submit_burst(call, arguments, receiver)
        if burst is None:
            handles = [
                self._submit(
                    call.with_args(args), IndexedReceiver(receiver, index), await_flush=True
                )
                for index, args in enumerate(arguments)
            ]
            burst = CallHandles(handles)
        self.link.flush()
        return burst

    def _submit_burst(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle | None:
        """Send calls as one request; return None if they can't share one."""
        timeout = current_call.limit_to_call(call.timeout)
        delivery = select_delivery(timeout, current_call.current())
        terms = self.link.terms
        if terms.limit or not self._encoder.is_fast(terms.serializer, delivery):
            return None
        data = encode_plain_bursts(arguments)
        if data is None:
            return None
        try:
            pipeline = self.link.pipeline()
            decode = self._decoder.decode_pipelined
            burst = CallBurst(pipeline, receiver, decode, call, len(arguments))
            pipeline.submit(functools.partial(burst.request, data), burst, await_flush=True)
        except (ActorDiedError, RuntimeError) as error:
            if is_interruption(error):
                raise
            return None  # no thread could be started: each call will fail by itself
        return burst

    def _submit(
        self, call: ClientCall, receiver: Receiver, await_flush: bool = False
    ) -> CallHandle:
        timeout = current_call.limit_to_call(call.timeout)
        outer = current_call.current() if call.waits else None
        delivery = select_delivery(timeout, outer, call.window)

        def encode(channel: PipelineChannel) -> FastRequest | pb.SessionRequest:
            return self._encoder.encode_call(
                *(call.handle, call.method, call.args, call.kwargs, channel, delivery)
            )

        try:
            return self._send(call, receiver, encode, timeout, await_flush)
        except Exception as error:
            if is_interruption(error):
                raise
            receiver.fail(error)  # a call that can't be sent ends like a call that fails
            return NO_HANDLE

    def _send(
        self,
        call: ClientCall,
        receiver: Receiver,
        encode: Callable[[PipelineChannel], FastRequest | pb.SessionRequest],
        timeout: float | None,
        await_flush: bool = False,
    ) -> PendingCall:
        """Encode a request and send it by the pipeline.

        :param timeout: how long the caller waits, in seconds; None for any time.
        """
        if timeout is not None and timeout <= 0:
            raise DeadlineError(_deadline_message(call, timeout), 'no')
        pipeline, terms = self.link.pipeline(), self.link.terms
        pending = PendingCall(pipeline, receiver, self._decoder.decode_pipelined, call)
        channel = PipelineChannel(pipeline, terms.serializer, terms.by_value)
        try:
            request = encode(channel)
            if isinstance(request, tuple):
                encode_numbered = self._number_fast(request, terms.limit)
            else:
                encode_numbered = self._number(request, pending, channel)
            if timeout is not None:
                expires = time.monotonic() + timeout
                pending.expire_at(expires, _deadline_message(call, timeout))
            pipeline.submit(encode_numbered, pending, await_flush)
        except BaseException:
            if not pending.is_queued:
                channel.recall_all()
            raise
        return pending

    def _number_fast(self, request: FastRequest, limit: int) -> EncodeNumbered:
        """Return the function that serializes a fast request with its number."""
        part, arguments = request
        if limit:
            check_size(len(fastpath.encode_request(1, part, arguments)), limit, self.address)
        return functools.partial(fastpath.encode_request, part=part, arguments=arguments)

    def _number(
        self, request: pb.SessionRequest, pending: PendingCall, channel: PipelineChannel
    ) -> EncodeNumbered:
        """Return the function that numbers a request and serializes it."""
        memories = messages.list_memories(request)
        check_size(messages.measure_size(request), self.link.terms.limit, self.address)
        if channel.known is not None and channel.known.unsure:
            pending.defines = messages.list_definitions(request)
        if self.link.holds.pending:
            request.releases.extend(self.link.holds.drain())

        def encode_numbered(number: int) -> bytes | pb.SessionRequest:
            request.id = number
            return request if memories else request.SerializeToString()

        return encode_numbered

    # --- requests beside calls -------------------------------------------------------------

    def get_attribute(
        self, handle: str, name: str, resolve: Resolve, timeout: float | None = None
    ) -> Any:
        """Read an attribute; see :class:`uactor.core.interfaces.Connection`."""
        outer = current_call.current()
        if outer is not None:
            timeout = current_call.limit_to_call(timeout)
        if timeout is not None:
            call = ClientCall(handle, f'reading {name}', (), {}, resolve, timeout)
            encode = functools.partial(self._encoder.encode_get, handle, name)
            return self._wait_within(call, encode, timeout)
        session = self.link.session()
        delivery = select_delivery(None, outer)
        request = self._encoder.encode_get(handle, name, session, delivery)
        if isinstance(request, tuple):
            part, arguments = request
            return self._decoder.decode_answer(session.call(part, arguments), session, resolve)
        return self._request_result(session, request, resolve)

    def set_attribute(
        self, handle: str, name: str, value: Any, timeout: float | None = None
    ) -> None:
        """Write an attribute; see :class:`uactor.core.interfaces.Connection`."""
        timeout = current_call.limit_to_call(timeout)
        encode = functools.partial(self._encoder.encode_set, handle, name, value)
        if timeout is not None:
            call = ClientCall(handle, f'writing {name}', (value,), {}, _keep_shared, timeout)
            self._wait_within(call, encode, timeout)
            return
        session = self.link.session()
        delivery = select_delivery(None, current_call.current())
        self._request_result(session, encode(session, delivery), _keep_shared)

    def create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
    ) -> Any:
        """Create an object; see :class:`uactor.core.interfaces.Connection`."""
        timeout = current_call.limit_to_call(timeout)
        encode = functools.partial(self._encoder.encode_create, typeid, args, kwargs)
        if timeout is not None:
            call = ClientCall('', f'making a {typeid}', args, kwargs, resolve, timeout)
            return self._wait_within(call, encode, timeout)
        session = self.link.session()
        return self._request_result(session, encode(session, PLAIN), resolve)

    def _wait_within(
        self,
        call: ClientCall,
        encode: Callable[[PipelineChannel, Delivery], FastRequest | pb.SessionRequest],
        timeout: float,
    ) -> Any:
        """Send a request other than a call, and wait for its result.

        The request goes by the pipeline. In a session of a thread, an expired deadline could only
        end the whole session.

        :param call: describes the request in error messages.
        """
        delivery = Delivery(timeout, current_call.current())
        future = AwaitedCall[Any]()
        future.call_handle = self._send(
            call, future, lambda channel: encode(channel, delivery), timeout
        )
        return future.wait()

    def _request_result(
        self,
        session: ClientSession,
        request: pb.SessionRequest,
        resolve: Resolve,
        seconds: float | None = None,
    ) -> Any:
        response = self._request(session, request, seconds)
        return self._decoder.decode_result(response.result, session, resolve)

    def owns(self, handle: str) -> bool:
        """Return whether ``handle`` belongs to the actor process of this connection."""
        return self._decoder.owns(handle)

    def _request(
        self, session: ClientSession, request: pb.SessionRequest, seconds: float | None = None
    ) -> pb.SessionResponse:
        """Send a request and return its response.

        :param seconds: how long the host may take; None for any time.
        """
        holds = self.link.holds
        if holds.pending:
            response = self._request_releasing(holds, session, request, seconds)
        else:
            response = session.request_within(request, seconds)
        raise_failure(holds, session, response)
        if session.definitions is not None and session.definitions.unsure:
            session.definitions.confirm(messages.list_definitions(request))
        return response

    @staticmethod
    def _request_releasing(
        holds: Holds, session: ClientSession, request: pb.SessionRequest, seconds: float | None
    ) -> pb.SessionResponse:
        released = holds.drain()
        request.releases.extend(released)
        try:
            return session.request_within(request, seconds)
        except SerializationError:  # the request was too large to be sent
            holds.give_back(released)
            raise

    # --- holds -----------------------------------------------------------------------------

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold; see :class:`uactor.core.interfaces.Connection`."""
        retain = pb.RetainHandleRequest(handles=[handle], lease_id=lease)
        self._hold(retain, current_call.limit_to_call(None))
        self.link.holds.add(handle)

    def adopt(self, handle: str) -> None:
        """Take the granted hold; see :class:`uactor.core.interfaces.Connection`."""
        if not self.link.holds.take_granted(handle):  # another connection brought the handle
            self.retain(handle)

    def hold(self, proxy: object, handle: str) -> None:
        """Release a hold once ``proxy`` is gone; see :class:`uactor.core.interfaces.Connection`."""
        self.link.holds.release_with(proxy, handle)

    def claim(self, handle: str) -> str:
        """Take a lease, and return its id; '' if none is needed.

        None is needed if this process keeps the object alive until the receiver has it.
        """
        context = transfer.current_transfer()
        if context is None:
            return self._lease([handle])
        if context.grants is None:
            return ''
        lease = context.leases.get(handle)
        if lease is None:
            lease = context.leases[handle] = self._lease([handle])
            context.undo.append(functools.partial(self.link.holds.release, lease))
        return lease

    def lease(self, handle: str) -> None:
        """Take a lease of an object; see :class:`uactor.core.interfaces.Connection`."""
        self._lease([handle])

    def _lease(self, handles: list[str], seconds: float | None = None) -> str:
        """Take a lease of objects and return its id.

        :param seconds: how long the host may take, unless the running call has less time left.
        """
        retain = pb.RetainHandleRequest(handles=handles, as_lease=True)
        return self._hold(retain, current_call.limit_to_call(seconds)).lease_id

    def _hold(self, retain: pb.RetainHandleRequest, left: float | None) -> pb.RetainHandleResponse:
        """Take holds.

        :param left: how long the caller still waits, in seconds; None for any time.
        """
        expires = None if left is None else time.monotonic() + left
        session = self.link.session(left=left)
        if expires is not None:
            left = max(0.0, expires - time.monotonic())
        return self._request(session, pb.SessionRequest(retain_handle=retain), left).retained

    # --- forks -----------------------------------------------------------------------------

    _fork_lease: tuple[str, list[str]] | None = None

    def before_fork(self) -> bool:
        """Lease the objects that the child inherits; return whether that worked."""
        link = self.link
        handles = link.holds.handles()
        self._fork_lease = None
        if handles and (link.connected or link.inherited is not None):
            try:
                self._fork_lease = self._lease(handles, FORK_S), handles
            except UActorException as error:
                log.debug('the forked child will not hold %s: %s', self.address, error)
        return self._fork_lease is not None

    def release_of_fork_lease(self) -> Callable[[], None]:
        """Return the function that releases the lease after the child's end.

        The child may have ended before it used the lease.
        """
        if self._fork_lease is None:
            return lambda: None
        lease, _ = self._fork_lease
        return functools.partial(self.link.holds.release, lease)

    def after_fork(self) -> None:
        """Replace the parent's link by an own one, in a forked child.

        The child leaves the parent's streams alone.
        """
        parents = self.link
        parents.leave()
        transport = parents.transport.reopen_after_fork()
        way = parents.other_way
        link = Link(self.address, self._keys, parents.serializer, transport, way)
        link.actor = parents.actor
        link.terms = parents.terms
        link.inherited = self._fork_lease
        link.holds.inherit(parents.holds)
        self._use(link)


def _deadline_message(call: ClientCall, timeout: float) -> str:
    if timeout <= 0:
        return f'{call.method}() was not called: its timeout of {timeout} seconds leaves no time'
    return f'{call.method}() has taken longer than {timeout} seconds'


def _keep_shared(shared: SharedObject) -> SharedObject:
    """Return the object itself: the result contains no proxy."""
    return shared
