"""Handle the requests of a session, independent of their order."""

from __future__ import annotations

from typing import Any

from uactor.codec import failures, fastpath, messages, transfer, values
from uactor.errors import SerializationError
from uactor.host.arguments import InvalidArgumentError, field
from uactor.host.callers import Caller
from uactor.host.cancellation import CallCancelledError
from uactor.host.context import HostContext
from uactor.host.requests import NO_KEYWORDS
from uactor.runtime.limits import duration_to_timeout
from uactor.v1 import actor_pb2 as pb

_IN_CONTEXT = ('call', 'get_attribute', 'set_attribute')
"""Requests that have a context, and say whether the client accepts pickles."""

_MAX_BRIEF_LENGTH = 1 << 10
"""Characters or bytes of a result that goes together with others, at most."""


class Responder:
    """Runs requests of one session, and makes the responses.

    :param by_value: whether the client accepts classes and functions by value.
    :ivar read_call: parses the request of a call on the fast path; returns None for other messages.
    :ivar read_attribute: parses the request of an attribute likewise.
    :ivar brief: types whose instances always can go together with other results.
    """

    def __init__(self, host: HostContext, by_value: bool) -> None:
        self._requests = host.requests
        self._table = host.table
        self._run = host.requests.run
        self._leases = host.table.leases
        self._dispatcher = dispatcher = host.dispatcher
        self._gate = dispatcher.gate
        self._begin = dispatcher.call if dispatcher.has_mailbox else dispatcher.begin
        self._limit = host.max_message_size
        self.brief = values.OF_A_SIZE if self._limit < 0 else frozenset[type]()
        pickles = host.requests.pickles
        self.read_call = fastpath.RequestReader().read if pickles else _no_request
        self.read_attribute = fastpath.decode_attribute if pickles else _no_request
        self.by_value = by_value and host.requests.serializer == 'cloudpickle'

    def run_call(
        self, caller: Caller, number: int, handle: str, method: str, arguments: fastpath.Arguments
    ) -> pb.SessionResponse | bytes:
        """Run a call of the fast path, and return the response.

        The response is in its wire form if it fits the fast path, too.

        :raises CallCancelledError: when the client has gone, and no response can reach it.
        """
        gate = self._gate
        try:
            gate.running.append(None)  # as the context of the gate does, in fewer steps
            try:
                if gate.closed:
                    raise gate.refusal()
                if type(arguments) is tuple and handle not in self._leases:  # as _run() does
                    value, typeid = self._begin(caller, handle, method, arguments, NO_KEYWORDS)
                else:
                    value, typeid = self._run(caller, handle, method, arguments, self._begin)
                # As encode() does for most: calling it takes three hundredths of a call.
                if not typeid and self._limit < 0 and caller.is_waiting:
                    response = fastpath.encode_result(number, value)
                    if response is not None:
                        return response
                value = self._dispatcher.finish(caller, value)
                return self._encode(caller, number, value, typeid, True)
            finally:
                gate.running.pop()
                if gate.closed:
                    gate.notify_end()
        except BaseException as error:  # also SystemExit: the caller is to see it
            return self._respond_error(caller, number, error)

    def get_attribute(
        self, caller: Caller, number: int, handle: str, name: str
    ) -> pb.SessionResponse | bytes:
        """Read an attribute on the fast path, and return the response.

        :raises CallCancelledError: when the client has gone, and no response can reach it.
        """
        try:
            with self._gate:
                value, typeid = self._requests.attribute(caller, handle, name)
                return self.encode(caller, number, value, typeid, True)
        except BaseException as error:  # also SystemExit: the caller is to see it
            return self._respond_error(caller, number, error)

    def _respond_error(
        self, caller: Caller, number: int, error: BaseException
    ) -> pb.SessionResponse:
        """Return the response with the error of a request; see :meth:`fail`.

        The request is of the fast path.
        """
        response = pb.SessionResponse(id=number)
        self.fail(caller, True, response, error)
        return response

    def encode(
        self,
        caller: Caller,
        number: int,
        value: Any,
        typeid: str,
        pickles: bool,
        is_item: bool = False,
    ) -> pb.SessionResponse | bytes:
        """Return the response with a result.

        It is in its wire form if it fits the fast path.

        :param pickles: whether the client accepts pickles.
        :param is_item: whether the result is an item of a stream.
        :raises CallCancelledError: when the call has been cancelled; nothing is held then.
        """
        if not typeid and self._limit < 0 and caller.is_waiting:
            encode = fastpath.encode_item if is_item else fastpath.encode_result
            response = encode(number, value)
            if response is not None:
                return response
        return self._encode(caller, number, value, typeid, pickles, is_item)

    def _encode(
        self,
        caller: Caller,
        number: int,
        value: Any,
        typeid: str,
        pickles: bool,
        is_item: bool = False,
    ) -> pb.SessionResponse:
        response = pb.SessionResponse(id=number)
        place = response.item if is_item else response.result
        self._requests.encode(caller, value, typeid, pickles, place, self.by_value)
        self.check_size(caller, response)
        return response

    def is_brief(self, value: Any) -> bool:
        """Return whether a result can go together with others."""
        kind = type(value)
        if kind in self.brief:
            return True
        return self._limit < 0 and kind in values.OF_ANY_LENGTH and len(value) <= _MAX_BRIEF_LENGTH

    def answer(self, caller: Caller, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        """Run a request and return the response, whatever the outcome.

        :raises CallCancelledError: when the client has gone, and no response can reach it.
        """
        try:
            caller.cancel_token.raise_if_cancelled()  # its deadline may have passed on the way
            with self._gate:
                return self.respond(caller, request, kind)
        except BaseException as error:  # also SystemExit: the caller is to see it
            return self.respond_error(caller, request, error)

    def respond(self, caller: Caller, request: pb.SessionRequest, kind: str) -> pb.SessionResponse:
        """Run a request and return the response with its result."""
        response = pb.SessionResponse()
        response.id = request.id
        if kind == 'call':
            self._requests.call(caller, request.call, response.result, self.by_value)
        else:
            self._fill(caller, request, kind, response)
        if self._limit >= 0:
            self.check_size(caller, response)
        return response

    def respond_error(
        self, caller: Caller, request: pb.SessionRequest, error: BaseException
    ) -> pb.SessionResponse:
        """Return the response with the error of a request.

        :raises CallCancelledError: when the client has gone, and no response can reach it.
        """
        # In a pipelined session, data with the same number may belong to another call.
        if caller.memory is not None and caller.owns_thread:
            caller.memory.ignore(messages.list_memories(request))
        response = pb.SessionResponse(id=request.id)
        self.fail(caller, accepts_pickle(request), response, error)
        return response

    def _fill(
        self, caller: Caller, request: pb.SessionRequest, kind: str, response: pb.SessionResponse
    ) -> None:
        requests = self._requests
        if kind == 'get_attribute':
            get = request.get_attribute
            requests.get_attribute(caller, get, response.result, self.by_value)
        elif kind == 'set_attribute':
            requests.set_attribute(caller, request.set_attribute)
            response.result.null = 0  # type: ignore[assignment]  # enum value as int
        elif kind == 'create_handle':
            response.result.handle.CopyFrom(requests.create(caller, request.create_handle))
        elif kind == 'retain_handle':
            response.retained.CopyFrom(requests.retain(caller, request.retain_handle))
        else:
            raise SerializationError(f'this session does not accept {kind!r}')

    def check_size(self, caller: Caller, response: pb.SessionResponse) -> None:
        """Refuse a response that is too large, and release its objects.

        :raises SerializationError: when it is too large.
        """
        if 0 <= self._limit < (size := messages.measure_size(response)):
            self._requests.take_back(caller, response)
            raise SerializationError(
                f'the result has {size} bytes, and this actor sends {self._limit} at most '
                '(its option max_message_size)'
            )

    def fail(
        self,
        caller: Caller,
        pickles: bool,
        response: pb.SessionResponse,
        error: BaseException,
    ) -> None:
        """Put an error into a response.

        :param pickles: whether the client accepts pickles.
        :raises CallCancelledError: when the client has gone, and no response can reach it.
        """
        reason = caller.cancel_error() if isinstance(error, CallCancelledError) else error
        response.failure.CopyFrom(self._encode_failure(caller, reason, pickles))
        BaseException.with_traceback(error, None)  # its setter may be a frozen dataclass's

    def _encode_failure(self, caller: Caller, error: BaseException, pickles: bool) -> pb.Failure:
        if isinstance(error, InvalidArgumentError):
            error = error.reason
        pickles = pickles and self._requests.pickles
        with transfer.transfer(granting=True) as context:
            failure = failures.encode(error, caller.executed, pickles, self.by_value)
        failures.shorten(failure, self._limit)
        if context.grants and failure.HasField('pickle'):
            self._table.retain(context.grants, caller.holder)
            failure.pickle.granted.extend(context.grants)
        return failure


def _no_request(_message: bytes) -> None:
    """Return None: all messages go to Protobuf where pickles are not accepted."""
    return None


def begin_in_context(caller: Caller, context: pb.CallContext | None) -> None:
    """Begin a call in the context that its request has, if any.

    :raises InvalidArgumentError: when the timeout is invalid; the call has begun without one.
    """
    caller.begin_call(() if context is None else context.path)
    if context is not None and context.HasField('timeout'):
        with field('context.timeout'):
            timeout = duration_to_timeout(context.timeout)
        caller.begin_call(context.path, timeout)


def context_of(request: pb.SessionRequest, kind: str) -> pb.CallContext | None:
    """Return the context of a request, if it has one."""
    if kind in _IN_CONTEXT or kind in ('open_stream', 'create_handle'):
        asked = request.open_stream.call if kind == 'open_stream' else getattr(request, kind)
        if asked.HasField('context'):
            context: pb.CallContext = asked.context
            return context
    return None


def accepts_pickle(request: pb.SessionRequest) -> bool:
    """Return whether the response to a request may have a pickle."""
    kind = request.WhichOneof('kind')
    if kind == 'open_stream':
        return request.open_stream.call.accept_pickle
    if kind in _IN_CONTEXT:
        accepts: bool = getattr(request, kind).accept_pickle
        return accepts
    return True
