"""The typed service: created from the annotations of the actor's class.

Its creation takes ten milliseconds or more, and modules that nothing else needs. So the first RPC
that needs it has it created.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2

from uactor.host.describe import typed_service_name
from uactor.v1 import actor_pb2 as pb

if TYPE_CHECKING:
    from uactor.service.schema import Schema

log = logging.getLogger('uactor.host')


class TypedService:
    """The typed service of an actor class.

    Field numbers come from the lock file beside the module. Without one they follow the order of
    declaration. If the lock file cannot be read, or contradicts the class, there is no service:
    deployed clients would read other fields than the actor has written.

    :param on_failure: called when the service cannot be created.
    """

    def __init__(self, actor_class: Any, on_failure: Callable[[], None]) -> None:
        self._actor_class = actor_class
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._created: tuple[Schema | None, str] | None = None

    @functools.cached_property
    def name(self) -> str:
        """Its full name; '' when the name of the class allows none."""
        return typed_service_name(self._actor_class)

    def schema(self) -> Schema | None:
        """Return its schema, or None if it cannot be served."""
        return self._schema_or_error()[0]

    @property
    def error(self) -> str:
        """Why it cannot be served; '' when it can."""
        return self._schema_or_error()[1]

    def _schema_or_error(self) -> tuple[Schema | None, str]:
        with self._lock:
            if self._created is None:
                self._created = (
                    self._create() if self.name else (None, 'its class has no ASCII name')
                )
            return self._created

    def _create(self) -> tuple[Schema | None, str]:
        from uactor.service.contract.lock import find_lock
        from uactor.service.errors import LockError
        from uactor.service.schema import schema_of

        try:
            lock = find_lock(self._actor_class.__module__)
            schema = schema_of(self._actor_class, lock)
        except Exception as error:  # a lock file, or the user's annotations, may hold anything
            log.error(  # noqa: TRY400  # what is wrong with a lock needs no traceback
                'the typed service %s is not served: %s',
                self.name,
                error,
                exc_info=not isinstance(error, LockError),
            )
            self._on_failure()
            return None, str(error) or type(error).__name__
        if lock is not None and not schema.is_locked:
            log.warning(
                'the lock file does not have all of %s: run uactor-codegen %s:%s',
                self.name,
                self._actor_class.__module__,
                self._actor_class.__qualname__,
            )
        if schema.unmapped:
            log.info('not in %s: %s', self.name, ', '.join(schema.unmapped))
        return schema, ''

    def files(self) -> Sequence[descriptor_pb2.FileDescriptorProto]:
        """Return the descriptors of the service, with comments, and of their imports."""
        schema = self.schema()
        return [] if schema is None else [*schema.dependencies, schema.file]

    def describe(self, response: pb.DescribeResponse) -> None:
        """Add the typed service to the description of the actor."""
        if not self.name:
            return
        schema, error = self._schema_or_error()
        response.typed_service.name = self.name
        response.typed_service.error = error
        if schema is None:
            return
        response.typed_service.fingerprint = schema.fingerprint
        response.typed_service.locked = schema.is_locked
        for name, reason in schema.unmapped.items():
            response.typed_service.unmapped.add(name=name, reason=reason)
        rpcs = {(method.member, method.kind): method.rpc for method in schema.methods.values()}
        for described in response.methods:
            described.rpc = rpcs.get((described.name, 'call'), '')
        for attribute in response.attributes:
            attribute.get_rpc = rpcs.get((attribute.name, 'get'), '')
            attribute.set_rpc = rpcs.get((attribute.name, 'set'), '')
