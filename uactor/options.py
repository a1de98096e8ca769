"""The options of an actor.

``_options_`` of its class takes them, and so does its manager.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from uactor.client.connection import check_transport
from uactor.codec import values
from uactor.codec.values import DEFAULT_SERIALIZER
from uactor.core.addresses import Address, target
from uactor.runtime.limits import validate_count, validate_seconds, validate_timeout

_DEFAULT_SHUTDOWN_TIMEOUT_S = 5.0
_MAX_INT64 = (1 << 63) - 1

_HOST_FIELDS = ('serializer', 'max_message_size', 'insecure', 'transport', 'concurrency')


@dataclasses.dataclass(frozen=True)
class ActorOptions:
    """The options of an actor, validated; :class:`uactor.ActorManager` documents each."""

    address: Address | None = None
    authkey: bytes | None = dataclasses.field(default=None, repr=False)
    serializer: str = DEFAULT_SERIALIZER
    shutdown_timeout: float | None = None
    max_message_size: int = -1
    insecure: bool = False
    transport: str = 'auto'
    concurrency: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Validate each option, and normalize times and counts.

        :raises AddressError: if ``address`` is not an address.
        :raises TypeError: if a time is not a number, a size or count not an integer, or a switch
            not a bool.
        :raises ValueError: if the serializer or transport is unknown, a ``concurrency`` or size is
            below 1, or a time is NaN.
        """
        if self.address is not None:
            target(self.address)
        if self.authkey is not None and not isinstance(self.authkey, bytes):
            raise TypeError(f'authkey must be bytes, not {type(self.authkey).__name__}')
        values.validate_serializer(self.serializer)
        if self.shutdown_timeout is not None:
            seconds = validate_seconds(self.shutdown_timeout, 'the shutdown_timeout')
            self._normalize('shutdown_timeout', seconds)
        if type(self.max_message_size) is not int or self.max_message_size != -1:
            size = validate_count(self.max_message_size, 'the max_message_size', _MAX_INT64)
            self._normalize('max_message_size', size)
        if not isinstance(self.insecure, bool):  # 'no' from a file of settings would mean yes
            raise TypeError(f'insecure is True or False, not {self.insecure!r}')
        check_transport(self.transport)
        if self.concurrency is not None:
            count = validate_count(self.concurrency, 'the concurrency of an actor')
            self._normalize('concurrency', count)
        self._normalize('timeout', validate_timeout(self.timeout))

    def _normalize(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def select(cls, options: Mapping[str, Any]) -> ActorOptions:
        """Return a class's options, except those that its manager class adds."""
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in names})

    @property
    def process_timeout_s(self) -> float:
        """The time that the process may take to end, in seconds.

        It may be infinity.
        """
        if self.shutdown_timeout is None:
            return _DEFAULT_SHUTDOWN_TIMEOUT_S
        return self.shutdown_timeout

    def for_host(self) -> dict[str, Any]:
        """Return the options that the settings of the host contain, too."""
        return {name: getattr(self, name) for name in _HOST_FIELDS}
