"""Reading handles, pickles, definitions and sizes out of messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from uactor.v1 import actor_pb2 as pb

SCALAR_FORMS = frozenset(['int64', 'string', 'bool', 'double', 'bytes'])
"""Kinds of values that are plain scalars."""


def list_granted_handles(value: pb.Value) -> Iterable[str]:
    """Return the ids of the handles that ``value`` grants.

    Each id occurs once per hold that the receiver gets.
    """
    return () if value.WhichOneof('kind') in SCALAR_FORMS else _walk_handles(value)


def _walk_handles(value: pb.Value) -> Iterator[str]:
    kind = value.WhichOneof('kind')
    if kind == 'pickle':
        yield from value.pickle.granted
    elif kind == 'handle':
        yield value.handle.id
    elif kind == 'list':
        for item in value.list.items:
            yield from list_granted_handles(item)
    elif kind == 'map':
        for entry in value.map.entries:
            yield from list_granted_handles(entry.key)
            yield from list_granted_handles(entry.value)


def _list_pickles(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Pickle]:
    kind = message.WhichOneof('kind')
    if isinstance(message, pb.SessionResponse):
        if kind == 'item':
            return [message.item.pickle]
        return [message.result.pickle] if kind == 'result' else []
    if kind == 'call':
        return [message.call.arguments]
    if kind == 'open_stream':
        return [message.open_stream.call.arguments]
    if kind == 'set_attribute':
        return [message.set_attribute.value.pickle]
    if kind == 'create_handle':
        created = message.create_handle
        return [value.pickle for value in (*created.args, *created.kwargs.values())]
    return []


def list_memories(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Memory]:
    """Return the memory beside a message that this process has made."""
    return [found.memory for found in _list_pickles(message) if found.HasField('memory')]


def list_definitions(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Definition]:
    """Return the definitions in a message that this process has made."""
    return [known for found in _list_pickles(message) for known in found.definitions]


def measure_size(message: pb.SessionRequest | pb.SessionResponse) -> int:
    """Return a message's size in bytes, with the memory beside it."""
    return message.ByteSize() + sum(sum(memory.sizes) for memory in list_memories(message))
