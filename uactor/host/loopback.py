"""Proxies of an actor's own objects, inside that actor: no wire, no copies."""

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
from uactor.core.futures import CallFuture, IndexedReceiver, disown
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
from uactor.host.cancellation import Interrupted
from uactor.host.context import HostContext
from uactor.host.execution.workers import Workers
from uactor.host.holders import LOCAL
from uactor.host.typeids import Typeids
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.timers import timers

_COPIES = '#GETVALUE'


class LoopbackConnection:
    """The way of this process to its own objects.

    In a forked child the actor is another process, and is dialled like any other.

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
        self._outside: interfaces.Connection | None = None
        self._holds: set[Hold] = set()
        self._caller = Caller(LOCAL, validated=True, owns_thread=True)
        self._workers = Workers()
        self._under_way: set[_Submitted] = set()
        at_fork(in_child=self._disown)
        self.actor = Token('actor', context.target, context.table.actor_id)

    @property
    def serializer(self) -> str:
        """How values travel to and from this actor, by any other way."""
        return self._requests.serializer

    @property
    def has_family_key(self) -> bool:
        """It is this process itself."""
        return True

    def _elsewhere(self) -> interfaces.Connection | None:
        """Return how to reach the actor from a forked child, or None in the actor itself."""
        if os.getpid() == self._pid:
            return None
        if self._outside is None:
            self._outside = self._dial(self.actor.target)
        return self._outside

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
        """Call a method on this very thread, or on another one when that is not waited for."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.call(handle, method, args, kwargs, resolve, timeout, on_own_thread)
        if timeout is not None and not on_own_thread:
            call = ClientCall(handle, method, args, kwargs, resolve, limit_to_call(timeout))
            return CallFuture.start(self.submit, call).wait()
        result, typeid = self._dispatcher.call(self._caller, handle, method, args, kwargs)
        if method == _COPIES:
            return pickling.loads(pickling.dumps(result))
        return self.resolved(result, typeid, resolve)

    def submit(self, call: ClientCall, receiver: Receiver) -> CallHandle:
        """Call a method on another thread of this process."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.submit(call, receiver)
        return self._submitted(call, receiver, functools.partial(self._begin, call))

    def _begin(self, call: ClientCall, caller: Caller) -> tuple[Any, str]:
        return self._dispatcher.call(caller, call.handle, call.method, call.args, call.kwargs)

    def _submitted(
        self, call: ClientCall, receiver: Receiver, begin: Callable[[Caller], tuple[Any, str]]
    ) -> _Submitted:
        """Run ``begin`` on another thread of this process."""
        caller = Caller(LOCAL, validated=True)
        submitted = _Submitted(self, call, receiver, caller, begin, self._under_way.discard)
        context = contextvars.copy_context()
        if call.timeout is not None:
            timers.at(time.monotonic() + call.timeout, submitted.expire)
        self._under_way.add(submitted)
        try:
            self._workers.put(lambda: context.run(submitted.run))
        except BaseException:
            self._under_way.discard(submitted)
            raise
        return submitted

    def _disown(self) -> None:
        """End the calls that are the parent's, in a forked child."""
        for submitted in tuple(self._under_way):
            submitted.disown()
        self._under_way.clear()

    def _within(
        self,
        timeout: float | None,
        resolve: Resolve,
        begin: Callable[[Caller], tuple[Any, str]],
    ) -> Any:
        """Return the result of ``begin``: of this thread, or of another when it is limited."""
        if timeout is None:
            return self.resolved(*begin(self._caller), resolve)
        call = ClientCall('', '', (), {}, resolve, limit_to_call(timeout))
        submit = lambda call, receiver: self._submitted(call, receiver, begin)  # noqa: E731
        return CallFuture.start(submit, call).wait()

    def submit_all(
        self, call: ClientCall, arguments: Sequence[Sequence[Any]], receiver: BurstReceiver
    ) -> BurstHandle:
        """Call a method on other threads of this process, in order."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.submit_all(call, arguments, receiver)
        tickets = [
            self.submit(call.with_args(args), IndexedReceiver(receiver, index))
            for index, args in enumerate(arguments)
        ]
        return CallHandles(tickets)

    def get_attribute(
        self, handle: str, name: str, resolve: Resolve, timeout: float | None = None
    ) -> Any:
        """Read an attribute."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.get_attribute(handle, name, resolve, timeout)

        def get(caller: Caller) -> tuple[Any, str]:
            return self._dispatcher.get_attribute(caller, handle, name)

        return self._within(timeout, resolve, get)

    def set_attribute(
        self, handle: str, name: str, value: Any, timeout: float | None = None
    ) -> None:
        """Write an attribute."""
        outside = self._elsewhere()
        if outside is not None:
            outside.set_attribute(handle, name, value, timeout)
            return

        def set_(caller: Caller) -> tuple[Any, str]:
            self._dispatcher.set_attribute(caller, handle, name, value)
            return None, ''

        self._within(timeout, lambda shared: shared, set_)

    def create(
        self,
        typeid: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        resolve: Resolve,
        timeout: float | None = None,
    ) -> Any:
        """Make a new object."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.create(typeid, args, kwargs, resolve, timeout)
        factory = self._typeids.factory(typeid)

        def make(caller: Caller) -> tuple[Any, str]:
            return self._dispatcher.run(caller, factory, args, kwargs), typeid

        return self._within(timeout, resolve, make)

    def resolved(self, value: Any, typeid: str, resolve: Resolve) -> Any:
        """Return a result as its caller gets it: the object itself, or a proxy."""
        if not typeid or isinstance(getattr(value, '_token', None), Token):
            return value
        return resolve(self.share(value, typeid))

    def share(self, value: Any, typeid: str) -> SharedObject:
        """Put an object into the table, held by this process.

        :raises ProxyError: when no proxy is registered with the typeid.
        """
        self._typeids.require(typeid)
        return self._held(value, typeid)

    def share_again(self, handle: str) -> SharedObject:
        """Return an object that is shared already, held once more by this process."""
        entry = self._table.get(handle)
        return self._held(entry.object, entry.typeid)

    def _held(self, value: Any, typeid: str) -> SharedObject:
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
        outside = self._elsewhere()
        if outside is not None:
            outside.retain(handle, lease)
        else:
            self._table.expect_releases()
            self._table.retain([handle], LOCAL, lease)

    def adopt(self, handle: str) -> None:
        """Do nothing: holds inside are counted by the table."""

    def hold(self, proxy: object, handle: str) -> None:
        """Give a hold up, later, when ``proxy`` is gone: the table may be locked at that moment."""
        outside = self._elsewhere()
        if outside is not None:
            outside.hold(proxy, handle)
            return
        hold = Hold(proxy, self._release)
        hold.handle = handle
        self._holds.add(hold)

    def _release(self, hold: Hold) -> None:
        self._holds.discard(hold)
        if os.getpid() == self._pid:
            self._table.release_later(hold.handle)

    def lease(self, handle: str) -> None:
        """Have an object held for a while, for whoever gets a handle of it."""
        outside = self._elsewhere()
        if outside is not None:
            outside.lease(handle)
        else:
            self._table.lease([handle])

    def claim(self, handle: str) -> str:
        """Have the receiver's hold granted with the message, or take a lease."""
        outside = self._elsewhere()
        if outside is not None:
            return outside.claim(handle)
        passage = transfer.current_transfer()
        if passage is None:
            return self._table.lease([handle])
        if passage.grants is None:
            return ''
        passage.grants.append(handle)
        return transfer.GRANTED


class _Submitted:
    """A call that another thread of this process makes; a :class:`CallHandle`."""

    def __init__(
        self,
        inside: LoopbackConnection,
        call: ClientCall,
        receiver: Receiver,
        caller: Caller,
        begin: Callable[[Caller], tuple[Any, str]],
        ended: Callable[[_Submitted], None],
    ) -> None:
        self._ended = ended
        self._inside = inside
        self._begin = begin
        self._call = call
        self._receiver: Any = receiver
        self._caller = caller
        self._credit = threading.Semaphore(call.window)

    def cancel(self) -> None:
        self._caller.cancel_token.cancel('cancelled')
        self._credit.release()

    def expire(self) -> None:
        """Be given up at the deadline. Nothing happens when it has ended."""
        self._caller.cancel_token.cancel('deadline')
        self._credit.release()
        self._receiver.fail(self._caller.cancel_error())

    def disown(self) -> None:
        """End in a forked child: the call is the parent's."""
        disown(self._receiver, ForkedError())

    def grant(self, items: int) -> None:
        self._credit.release(items)

    def flush(self) -> None:
        """Do nothing: the call knows."""

    def run(self) -> None:
        try:
            self._run()
        finally:
            self._ended(self)

    def _run(self) -> None:
        try:
            self._caller.cancel_token.raise_if_cancelled()
            result, typeid = self._begin(self._caller)
            if self._call.window:
                self._send(result)
            else:
                self._receiver.receive(self._inside.resolved(result, typeid, self._call.resolve))
        except Interrupted:
            self._receiver.fail(self._caller.cancel_error())
        except BaseException as error:  # also SystemExit: it is the caller's to see
            self._receiver.fail(error)

    def _send(self, items: Any) -> None:
        with contextlib.closing(self._items(iter(items))) as steps:
            for item in steps:
                self._receiver.item(item)
        self._receiver.receive(None)

    def _items(self, items: Iterator[Any]) -> Generator[Any, None, None]:
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
