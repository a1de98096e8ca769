"""The typed door: the service that is made from the annotations of the actor's class.

Making it takes some ten milliseconds, and modules that nothing else needs: that is done for the
first who asks.
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

    Numbers come from the lock file beside the module; without one they follow the order of
    declaration. With one that can't be read, or contradicts the class, there is no service:
    other numbers would give deployed clients something else than they ask for.

    :param failed: called when it turns out that there is no service.
    """

    def __init__(self, actor_class: Any, failed: Callable[[], None]) -> None:
        self._actor_class = actor_class
        self._failed = failed
        self._lock = threading.Lock()
        self._made: tuple[Schema | None, str] | None = None

    @functools.cached_property
    def name(self) -> str:
        """Its full name; '' when none can be made of that of the class."""
        return typed_service_name(self._actor_class)

    def schema(self) -> Schema | None:
        """Return its schema; None when it can't be served."""
        return self._outcome()[0]

    @property
    def error(self) -> str:
        """Why it can't be served; '' when it can."""
        return self._outcome()[1]

    def _outcome(self) -> tuple[Schema | None, str]:
        with self._lock:
            if self._made is None:
                self._made = self._make() if self.name else (None, 'its class has no ASCII name')
            return self._made

    def _make(self) -> tuple[Schema | None, str]:
        from uactor.service.contract.lock import find_lock
        from uactor.service.errors import LockError
        from uactor.service.schema import schema_of

        try:
            lock = find_lock(self._actor_class.__module__)
            schema = schema_of(self._actor_class, lock)
        except Exception as error:  # a lock file, or the user's annotations, may hold anything
            log.error(
                'the typed service %s is not served: %s',
                self.name,
                error,
                exc_info=not isinstance(error, LockError),
            )
            self._failed()
            return None, str(error) or type(error).__name__
        if lock is not None and not schema.is_locked:
            log.warning('the lock file does not have all of %s: write it anew', self.name)
        if schema.unmapped:
            log.info('not in %s: %s', self.name, ', '.join(schema.unmapped))
        return schema, ''

    def files(self) -> Sequence[descriptor_pb2.FileDescriptorProto]:
        """Return the files of the service, comments included, and those that they need."""
        schema = self.schema()
        return [] if schema is None else [*schema.dependencies, schema.file]

    def describe(self, response: pb.DescribeResponse) -> None:
        """Add to the description of the actor what it is in the typed service."""
        if not self.name:
            return
        schema, error = self._outcome()
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
