"""Decode responses into values, proxies and exceptions."""

from __future__ import annotations

from typing import Any

from uactor.client.holds import Holds
from uactor.client.session import ClientSession, leave_with_process
from uactor.codec import failures, fastpath, messages, pickling, values
from uactor.codec.arguments import decode_plain
from uactor.codec.definitions import UnknownDefinitionError
from uactor.core.addresses import Token
from uactor.core.interfaces import Resolve, SharedObject
from uactor.errors import ActorDiedError, SerializationError
from uactor.runtime.system_errors import is_interruption
from uactor.v1 import actor_pb2 as pb


def raise_failure(holds: Holds, session: ClientSession, response: pb.SessionResponse) -> None:
    """Raise the exception that a response carries, if it carries one."""
    if response.HasField('failure'):
        with holds.granting(response.failure.pickle.granted):
            error = failures.decode(response.failure, session.serializer != 'native')
        if isinstance(error, ActorDiedError):
            leave_with_process()
        try:
            raise error
        finally:
            del error  # else it would form a cycle with its traceback


class ResponseDecoder:
    """Decodes the responses of a connection.

    :param address: address by which this process reaches the actor.
    :param actor_id: names the actor of the connection.
    :param holds: receives the holds that a response grants.
    """

    def __init__(self, address: str, actor_id: str, holds: Holds) -> None:
        self._address = address
        self._process = actor_id.partition('.')[0]
        self._holds = holds

    def owns(self, handle: str) -> bool:
        """Return whether ``handle`` belongs to the actor process of the connection."""
        return handle.partition('.')[0] == self._process

    def decode_answer(
        self, answer: pb.SessionResponse | tuple[int, Any], session: ClientSession, resolve: Resolve
    ) -> Any:
        """Decode the answer to a fast request, or raise its failure."""
        if isinstance(answer, tuple):
            value = answer[1]
            return (
                value
                if type(value) is not fastpath.PickledResult
                else self._unpickle(value, session)
            )
        raise_failure(self._holds, session, answer)
        return self.decode_result(answer.result, session, resolve)

    def decode_result(self, result: pb.Value, session: ClientSession, resolve: Resolve) -> Any:
        """Decode a result that a session of this thread has received."""
        kind = result.WhichOneof('kind')
        if kind in messages.SCALAR_FORMS:
            return getattr(result, kind)  # most results: a scalar needs no decoder
        try:
            return self._decode_value(result, session, resolve)
        except UnknownDefinitionError:
            session.abandon()  # the next session begins without definitions
            raise

    def decode_pipelined(self, response: Any, resolve: Resolve, session: ClientSession) -> Any:
        """Decode a response of the pipeline, or raise its failure.

        :param response: a response, or the value that a fast response carries.
        """
        if type(response) is fastpath.PickledResult:
            return self._unpickle(response, session)
        if not isinstance(response, pb.SessionResponse):
            return response
        kind = response.WhichOneof('kind')
        if kind == 'result':
            form = response.result.WhichOneof('kind')
            if form in messages.SCALAR_FORMS:
                return getattr(response.result, form)  # most results: a scalar needs no decoder
        if kind == 'failure':
            with self._holds.granting(response.failure.pickle.granted):
                raise failures.decode(response.failure, session.serializer != 'native')
        if kind == 'results':
            return decode_plain(response.results, session.serializer != 'native')
        if kind == 'end':
            return None
        value = response.item if kind == 'item' else response.result
        return self._decode_value(value, session, resolve)

    @staticmethod
    def _unpickle(pickled: fastpath.PickledResult, session: ClientSession) -> Any:
        """Unpickle the value of a fast response."""
        try:
            return pickling.loads_with(session.definitions, pickled.data)
        except SerializationError as error:
            if not is_interruption(error):
                error.executed = 'yes'
            if isinstance(error, UnknownDefinitionError):
                session.abandon()  # the next session begins without definitions
            raise

    def _decode_value(self, value: pb.Value, session: ClientSession, resolve: Resolve) -> Any:
        def resolve_handle(handle: pb.Handle) -> Any:
            address = handle.address
            if address == self._address or self.owns(handle.id):
                self._holds.take_granted(handle.id)
                address = self._address
            token = Token(handle.typeid, address, handle.id)
            return resolve(SharedObject(token, tuple(handle.methods)))

        unpickle = session.serializer != 'native'
        beside = session.memory, session.definitions
        granted = [handle for handle in messages.list_granted_handles(value) if self.owns(handle)]
        try:
            if not granted:
                return values.decode(value, resolve_handle, unpickle, *beside)
            with self._holds.granting(granted):
                return values.decode(value, resolve_handle, unpickle, *beside)
        except SerializationError as error:
            if not is_interruption(error):
                error.executed = 'yes'
            raise
