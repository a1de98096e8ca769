"""The codec of handles, for proxies and for objects in the actor."""

from __future__ import annotations

from typing import Any

from uactor.service.codecs.base import EXACT, NOT, Handles, MessageCodec
from uactor.service.codecs.wellknown import ExternalMessages
from uactor.v1 import actor_pb2 as pb


class HandleCodec(MessageCodec):
    """A proxy or an object of the actor, as a handle.

    The object stays in the actor.
    """

    label = key = 'handle'

    def __init__(self, externals: ExternalMessages, hint: Any, typeid: str | None) -> None:
        self.proto = externals.get('uactor.v1.Handle', 'uactor/v1/actor.proto')
        self.hint, self._typeid = hint, typeid

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the handle of a proxy or object."""
        handle = handles.write_handle(value, self._typeid)
        return self.proto.bound.FromString(handle.SerializeToString())  # type: ignore[union-attr]

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the object that the handle stands for."""
        return handles.read_handle(pb.Handle.FromString(wire.SerializeToString()), self.hint)

    def match(self, value: Any) -> int:
        """Accept proxies and actors; with a typeid, accept any value."""
        is_ours = isinstance(value, self.hint) if isinstance(self.hint, type) else False
        return EXACT if is_ours or hasattr(value, '_callmethod') or self._typeid else NOT
