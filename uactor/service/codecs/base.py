"""The base of all codecs: one Python value as one Protobuf value.

A codec converts one scalar, enum or message. A field can hold more than that: nothing, many
values, a map, or one of several values: see :mod:`uactor.service.codecs.fields`.
"""

from __future__ import annotations

import abc
import reprlib
from typing import Any, Protocol

from uactor.service.errors import ConversionError
from uactor.service.model import FieldType

# How well a value fits a codec. In a union the arm with the best fit takes the value.
NOT, ANYTHING, CONVERTED, DERIVED, EXACT, NAMED = range(6)


class Handles(Protocol):
    """Makes handles of objects and finds objects by handle, during one call."""

    def write_handle(self, value: object, typeid: str | None) -> Any:
        """Return a ``uactor.v1.Handle`` of ``value``; ``typeid`` is None for a proxy's own."""
        ...

    def read_handle(self, handle: Any, hint: Any) -> object:
        """Return the object that ``handle`` stands for.

        :param hint: the annotation that the object must fit.
        :raises ConversionError: when it does not fit.
        """
        ...


class NoHandles:
    """Refuses handles, for schemas that have none."""

    def write_handle(self, value: object, typeid: str | None) -> Any:
        """Refuse to make a handle."""
        raise ConversionError('handles have no meaning here')

    def read_handle(self, handle: Any, hint: Any) -> object:
        """Refuse to read a handle."""
        raise ConversionError('handles have no meaning here')


NO_HANDLES = NoHandles()


class Codec(abc.ABC):
    """Converts one Python value to one value of Protobuf, and back.

    :ivar hint: the annotation that it comes from.
    :ivar label: its name as an arm of a union, and in names of wrappers.
    :ivar key: describes its content, the same in all runs.
    :ivar proto: the scalar type, enum or message that it writes.
    :ivar class_: the Python class of its values. No other arm of a union may have the same. None
        if its values can be told apart otherwise.
    """

    hint: Any
    label: str
    key: str
    proto: FieldType
    class_: type | None = None

    @abc.abstractmethod
    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the value of Protobuf for ``value``.

        :raises ConversionError: when ``value`` does not fit.
        """

    @abc.abstractmethod
    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the Python value that ``wire`` stands for.

        :raises ConversionError: when it stands for none.
        """

    @abc.abstractmethod
    def match(self, value: Any) -> int:
        """Return how well ``value`` fits, from :data:`NOT` to :data:`NAMED`."""


def mismatch_error(value: Any, expected: str) -> ConversionError:
    """Return the error for a value that is not as expected."""
    return ConversionError(f'{reprlib.repr(value)} ({type(value).__qualname__}) is not {expected}')


def match_class(value: Any, class_: type) -> int:
    """Return how well ``value`` fits a class."""
    if type(value) is class_:
        return EXACT
    return DERIVED if isinstance(value, class_) else NOT


class MessageCodec(Codec):
    """Base of the codecs that write a message."""

    def make(self, **fields: Any) -> Any:
        """Return a message with these fields."""
        return self.proto.bound(**fields)  # type: ignore[union-attr]  # is bound by now
