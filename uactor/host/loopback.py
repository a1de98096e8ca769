"""The connection of an actor process to itself, without a wire.

Proxies of an actor's own objects use it, inside that actor. Arguments and results are not copied.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from uactor.codec import pickling, transfer
from uactor.core import interfaces
from uactor.core.addresses import Token
from uactor.core.current_call import limit_to_call
from uactor.core.futures import AwaitedCall, IndexedReceiver, disown
from uactor.core.interfaces import (
    BurstHandle,
    BurstReceiver,
    CallHandle,
    CallHandles,
    ClientCall,
    Hold,
    Receiver,
    Resolve,
    SharedObject,
)
from uactor.errors import ForkedError
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError
from uactor.host.context import HostContext
from uactor.host.execution.workers import Workers
from uactor.host.holders import LOCAL
from uactor.host.typeids import Typeids
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.timers import timers

_GET_VALUE = '#GETVALUE'
"""The method whose result is a copy of the object, as it is for other processes."""

_Begin = Callable[[Caller], tuple[Any, str]]
"""Runs a request for a caller; returns its result and typeid."""


class LoopbackConnection:
    """Reaches the objects of this very process.

    In a forked child the actor is another process. The child dials it as any other.

    :param dial: connects to an actor process by its address.
    """

    def __init__(
        self,
        context: HostContext,
        typeids: Typeids,
        dial: Callable[[str], interfaces.Connection],
    ) -> None:
        self._table = context.table
        self._dispatcher = context.dispatcher
        self._requests = context.requests
        self._typeids = typeids
        self._dial = dial
        self._pid = os.getpid()
        self._remote: interfaces.Connection | None = None
        self._holds: set[Hold] = set()
        self._caller = Caller(LOCAL, validated=True, owns_thread=True)
        self._workers = Workers()
        self._calls: set[_LoopbackCall] = set()
        at_fork(in_child=self._disown)
        self.actor = Token('actor', context.target, context.table.actor_id)

    @property
    def serializer(self) -> str:
        """How values travel to and from this actor, by any other way."""
        return self._requests.serializer

    @property
    def has_family_key(self) -> bool:
        """Whether the actor knows the key of this process family.

        It always does, since it is this process.
        """
        return True

    def _remote_connection(self) -> interfaces.Connection | None:
        """Return a forked child's connection to the actor; None in the actor."""
        if os.getpid() == self._pid:
            return None
        if self._remote is None:
            self._remote = self._dial(self.actor.target)
        return self._remote

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
        """Call a method, on another thread if there is a timeout.

        With ``on_own_thread`` the call runs on this thread, and no timeout ends it.
        """
        remote = self._remote_connection()
        if remote is not None:
            return remote.call(handle, method, args, kwargs, resolve, timeout, on_own_thread)
        if timeout is not None and not on_own_thread:
            call = ClientCall(handle, method, args, kwargs, resolve, limit_to_call(timeout))
            return AwaitedCall.start(self.submit, call).wait()
        result, typeid = self._dispatcher.call(self._caller, handle, method, args, kwargs)
        if method == _GET_VALUE:
            return pickling.loads(pickling.dumps(result))
        return self._resolve_result(result, typeid, resolve)

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Call a method on another thread of this process."""
        remote = self._remote_connection()
        if remote is not None:
            return remote.submit(call, receiver)
        return self._start(call, receiver, functools.partial(self._dispatch, call))

    def _dispatch(self, call: ClientCall, caller: Caller) -> tuple[Any, str]:
        return self._dispatcher.call(caller, call.handle, call.method, call.args, call.kwargs)

    def _start(self, call: ClientCall, receiver: Receiver, begin: _Begin) -> _LoopbackCall:
        """Run ``begin`` on another thread of this process."""
        caller = Caller(LOCAL, validated=True)
        resolve = functools.partial(self._resolve_result, resolve=call.resolve)
        started = _LoopbackCall(call, receiver, caller, begin, resolve, self._calls.discard)
        context = contextvars.copy_context()
        if call.timeout is not None:
            timers.at(time.monotonic() + call.timeout, started.expire)
        self._calls.add(started)
        try:
            self._workers.put(lambda: context.run(started.run))
        except BaseException:
            self._calls.discard(started)
            raise
        return started

    def _disown(self) -> None:
        """Fail the calls of the parent, in a forked child."""
        for call in tuple(self._calls):
            call.disown()
        self._calls.clear()

    def _run(self, timeout: float | None, resolve: Resolve, begin: _Begin) -> Any:
        """Run ``begin``, on another thread if there is a timeout."""
        if timeout is None:
            return self._resolve_result(*begin(self._caller), resolve)
        call = ClientCall('', '', (), {}, resolve, limit_to_call(timeout))
        submit = lambda call, receiver: self._start(call, receiver, begin)  # noqa: E731
        return AwaitedCall.start(submit, call).wait()

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Call a method on other threads of this process, in order."""
        remote = self._remote_connection()
        if remote is not None:
            return remote.submit_all(call, arguments, receiver)
        handles = [
            self.submit(call.with_args(args), IndexedReceiver(receiver, index))
            for index, args in enumerate(arguments)
        ]
        return CallHandles(handles)

    def get_attribute(
        self, handle: str, name: str, resolve: Resolve, timeout: float | None = None
    ) -> Any:
        """Read an attribute."""
        remote = self._remote_connection()
        if remote is not None:
            return remote.get_attribute(handle, name, resolve, timeout)

        def get(caller: Caller) -> tuple[Any, str]:
            return self._dispatcher.get_attribute(caller, handle, name)

        return self._run(timeout, resolve, get)

    def set_attribute(
        self, handle: str, name: str, value: Any, timeout: float | None = None
    ) -> None:
        """Write an attribute."""
        remote = self._remote_connection()
        if remote is not None:
            remote.set_attribute(handle, name, value, timeout)
            return

        def set_(caller: Caller) -> tuple[Any, str]:
            self._dispatcher.set_attribute(caller, handle, name, value)
            return None, ''

        self._run(timeout, lambda shared: shared, set_)

    def create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
    ) -> Any:
        """Create an object."""
        remote = self._remote_connection()
        if remote is not None:
            return remote.create(typeid, args, kwargs, resolve, timeout)
        factory = self._typeids.factory(typeid)

        def create(caller: Caller) -> tuple[Any, str]:
            return self._dispatcher.run(caller, factory, args, kwargs), typeid

        return self._run(timeout, resolve, create)

    def _resolve_result(self, value: Any, typeid: str, resolve: Resolve) -> Any:
        """Return a result itself, or its proxy if it is shared."""
        if not typeid or isinstance(getattr(value, '_token', None), Token):
            return value
        return resolve(self.share(value, typeid))

    def share(self, value: Any, typeid: str) -> SharedObject:
        """Put an object into the table, held by this process.

        :raises ProxyError: when no proxy is registered with the typeid.
        """
        self._typeids.require(typeid)
        return self._share(value, typeid)

    def share_again(self, handle: str) -> SharedObject:
        """Take one more hold of this process on a shared object."""
        entry = self._table.get(handle)
        return self._share(entry.object, entry.typeid)

    def _share(self, value: Any, typeid: str) -> SharedObject:
        self._table.expect_releases()
        if typeid == 'actor':
            entry = self._requests.actor_entry(value)
            entry.holds[LOCAL] += 1
        else:
            entry = self._table.share(value, typeid, LOCAL)
        token = Token(entry.typeid, self.actor.target, entry.id)
        methods = tuple(sorted(entry.exposed)) if entry.typeid == 'auto' else ()
        return SharedObject(token, methods)

    def retain(self, handle: str, lease: str = '') -> None:
        """Take a hold."""
        remote = self._remote_connection()
        if remote is not None:
            remote.retain(handle, lease)
        else:
            self._table.expect_releases()
            self._table.retain([handle], LOCAL, lease)

    def adopt(self, handle: str) -> None:
        """Do nothing: the table has counted the hold already."""

    def hold(self, proxy: object, handle: str) -> None:
        """Queue the release of a hold for when ``proxy`` is gone.

        The table may be locked at that moment.
        """
        remote = self._remote_connection()
        if remote is not None:
            remote.hold(proxy, handle)
            return
        hold = Hold(proxy, self._release)
        hold.handle = handle
        self._holds.add(hold)

    def _release(self, hold: Hold) -> None:
        self._holds.discard(hold)
        if os.getpid() == self._pid:
            self._table.release_later(hold.handle)

    def lease(self, handle: str) -> None:
        """Hold an object for a while, for the receiver of its handle."""
        remote = self._remote_connection()
        if remote is not None:
            remote.lease(handle)
        else:
            self._table.lease([handle])

    def claim(self, handle: str) -> str:
        """Grant the receiver a hold with the message, or take a lease.

        :returns: what the pickled proxy presents: the grant, the id of the lease, or ''.
        """
        remote = self._remote_connection()
        if remote is not None:
            return remote.claim(handle)
        context = transfer.current_transfer()
        if context is None:
            return self._table.lease([handle])
        if context.grants is None:
            return ''
        context.grants.append(handle)
        return transfer.GRANTED


class _LoopbackCall:
    """A call on another thread of this process; a :class:`CallHandle`."""

    def __init__(
        self,
        call: ClientCall,
        receiver: Receiver,
        caller: Caller,
        begin: _Begin,
        resolve: Callable[[Any, str], Any],
        on_end: Callable[[_LoopbackCall], None],
    ) -> None:
        self._on_end = on_end
        self._resolve = resolve
        self._begin = begin
        self._call = call
        self._receiver: Any = receiver
        self._caller = caller
        self._credit = threading.Semaphore(call.window)

    def cancel(self) -> None:
        self._caller.cancel_token.cancel('cancelled')
        self._credit.release()

    def expire(self) -> None:
        """Give the call up at its deadline, unless it has ended."""
        self._caller.cancel_token.cancel('deadline')
        self._credit.release()
        self._receiver.fail(self._caller.cancel_error())

    def disown(self) -> None:
        """Fail in a forked child: the call is the parent's."""
        disown(self._receiver, ForkedError())

    def grant(self, items: int) -> None:
        self._credit.release(items)

    def flush(self) -> None:
        """Do nothing: nothing is queued."""

    def run(self) -> None:
        try:
            self._run()
        finally:
            self._on_end(self)

    def _run(self) -> None:
        try:
            self._caller.cancel_token.raise_if_cancelled()
            result, typeid = self._begin(self._caller)
            if self._call.window:
                self._send_items(result)
            else:
                self._receiver.receive(self._resolve(result, typeid))
        except CallCancelledError:
            self._receiver.fail(self._caller.cancel_error())
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._receiver.fail(error)

    def _send_items(self, items: Any) -> None:
        with contextlib.closing(self._pace_items(iter(items))) as steps:
            for item in steps:
                self._receiver.item(item)
        self._receiver.receive(None)

    def _pace_items(self, items: Iterator[Any]) -> Generator[Any, None, None]:
        """Yield items, each once the receiver has granted it."""
        try:
            while True:
                self._credit.acquire()
                self._caller.cancel_token.raise_if_cancelled()
                try:
                    item = next(items)
                except StopIteration:
                    return
                yield item
        finally:
            close = getattr(items, 'close', None)
            if close is not None:
                close()
