"""Items: the shapes that can stand anywhere in a message.

An item is one scalar, enum or message on the wire. What a field can hold beyond that (nothing,
many, a map, one of several) is a slot: see :mod:`uactor.service.codecs.fields`.
"""

from __future__ import annotations

import abc
import reprlib
from typing import Any, Protocol

from uactor.service.errors import ConversionError
from uactor.service.model import FieldType

# How well a value fits a shape. In a union the best one takes it.
NOT, ANYTHING, CONVERTED, DERIVED, EXACT, NAMED = range(6)


class Handles(Protocol):
    """How whoever serves a call makes handles of objects, and finds what handles stand for."""

    def write_handle(self, value: object, typeid: str | None) -> Any:
        """Return a ``uactor.v1.Handle`` of ``value``; ``typeid`` is None for a proxy's own."""
        ...

    def read_handle(self, handle: Any, hint: Any) -> object:
        """Return what ``handle`` stands for, where the annotation ``hint`` is.

        :raises ConversionError: when it is something else.
        """
        ...


class NoHandles:
    """Refuses handles: for schemas that need none."""

    def write_handle(self, value: object, typeid: str | None) -> Any:
        """Refuse."""
        raise ConversionError('handles have no meaning here')

    def read_handle(self, handle: Any, hint: Any) -> object:
        """Refuse."""
        raise ConversionError('handles have no meaning here')


NO_HANDLES = NoHandles()


class Codec(abc.ABC):
    """One value of Python as one value on the wire.

    :ivar hint: the annotation that it comes from.
    :ivar label: its name as an arm of a union, and in names of wrappers.
    :ivar key: what it is made of, the same in all runs.
    :ivar proto: what it is on the wire.
    :ivar class_: the Python class that no other arm of a union can have beside it, if there is
        one.
    """

    hint: Any
    label: str
    key: str
    proto: FieldType
    class_: type | None = None

    @abc.abstractmethod
    def pack(self, value: Any, handles: Handles) -> Any:
        """Return what stands for ``value`` on the wire.

        :raises ConversionError: when it does not fit.
        """

    @abc.abstractmethod
    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value that ``wire`` stands for.

        :raises ConversionError: when there is none.
        """

    @abc.abstractmethod
    def match(self, value: Any) -> int:
        """Tell how well ``value`` fits, :data:`NOT` to :data:`NAMED`."""


def misfit(value: Any, expected: str) -> ConversionError:
    """Return the error for a value that is something else."""
    return ConversionError(f'{reprlib.repr(value)} ({type(value).__qualname__}) is not {expected}')


def by_class(value: Any, class_: type) -> int:
    """Tell how well ``value`` fits a class."""
    if type(value) is class_:
        return EXACT
    return DERIVED if isinstance(value, class_) else NOT


class MessageCodec(Codec):
    """A value that is a message; helper for those that are."""

    def make(self, **fields: Any) -> Any:
        """Return a message."""
        return self.proto.bound(**fields)  # type: ignore[union-attr]  # is bound by now
