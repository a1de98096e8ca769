"""Items that are messages of the service's own: layouts, wrappers, tuples, and records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from uactor.service.codecs.base import EXACT, NAMED, NOT, Codec, Handles, misfit
from uactor.service.codecs.fields import NOTHING, Field
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.errors import ConversionError


class Layout:
    """How parameters, or the fields of a class, stand in a message.

    :ivar parts: those of the message, unless it has some that are for others.
    """

    def __init__(self, message: MessagePlan, parts: list[Part] | None = None) -> None:
        self.message = message
        self._parts = parts

    @property
    def parts(self) -> list[Part]:
        """The parts that are read and written."""
        return self.message.parts if self._parts is None else self._parts

    def write(self, values: Mapping[str, Any], handles: Handles) -> Any:
        """Return the message of these values, by their names in Python.

        :raises ConversionError: when one is missing, unknown, or does not fit.
        """
        wire: dict[str, Any] = {}
        count = 0
        for part in self.parts:
            value = values.get(part.python, NOTHING)
            if value is NOTHING:
                if not part.has_default:
                    raise ConversionError('missing', part.wire)
                continue
            count += 1
            try:
                part.slot.write(part.wire, value, wire, handles)
            except ConversionError as error:
                raise error.under(part.wire) from None
        if count < len(values):
            known = {part.python for part in self.parts}
            raise ConversionError(f'unknown: {", ".join(map(str, values.keys() - known))}')
        return self.message.bound(**wire)

    def read(self, message: Any, handles: Handles) -> dict[str, Any]:
        """Return the values of a message, by their names in Python.

        What is absent and has a default is left out.

        :raises ConversionError: when one is missing, unknown, or stands for no value.
        """
        check_known(message)
        values: dict[str, Any] = {}
        for part in self.parts:
            value = part.slot.read(part.wire, message, handles)
            if value is not NOTHING:
                values[part.python] = value
            elif not part.has_default:
                values[part.python] = absent(part)
        return values


def absent(part: Part) -> Any:
    """Return the value that the absence of a part stands for."""
    value = part.slot.empty()
    if value is NOTHING:
        raise ConversionError('missing', part.wire)
    return value


def check_known(message: Any) -> None:
    """Refuse fields that would be lost, as they come from a caller with a newer schema."""
    unknown = UnknownFieldSet(message)
    if len(unknown):
        numbers = ', '.join(str(field.field_number) for field in iter(unknown))
        raise ConversionError(f'unknown field number {numbers}')


class WrappedCodec(Codec):
    """A slot in a message of its own."""

    def __init__(self, slot: Field, message: MessagePlan, label: str) -> None:
        self.slot, self.proto, self.label = slot, message, label
        self.hint = self.key = message.key
        self._layout = Layout(message)
        message.parts = [Part(slot.inner, slot.inner, slot)]

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message around the slot."""
        try:
            return self._layout.write({self.slot.inner: value}, handles)
        except ConversionError as error:
            raise _without(error, self.slot.inner) from None

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return what the slot holds."""
        return self._layout.read(wire, handles)[self.slot.inner]

    def match(self, value: Any) -> int:
        """Let the slot tell."""
        return self.slot.match(value)


def _without(error: ConversionError, step: str) -> ConversionError:
    """Take the name of the wrapper's field off the path of an error about a value of Python."""
    error.path = error.path.removeprefix(step).removeprefix('.')
    return error


class TupleCodec(Codec):
    """A tuple of fixed length, and the entry of a map."""

    def __init__(self, message: MessagePlan, label: str) -> None:
        self.proto, self.label = message, label
        self.hint, self.key = tuple, message.key
        self._layout = Layout(message)

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message; a tuple of another length does not fit."""
        parts = self.proto.parts  # type: ignore[union-attr]  # a MessagePlan
        if type(value) is not tuple:
            raise misfit(value, 'a tuple')
        if len(value) != len(parts):
            raise misfit(value, f'a tuple of {len(parts)}')
        names = (part.python for part in parts)
        return self._layout.write(dict(zip(names, value, strict=True)), handles)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the tuple."""
        return tuple(self._layout.read(wire, handles).values())

    def match(self, value: Any) -> int:
        """Go by the length, and by the items."""
        parts = self.proto.parts  # type: ignore[union-attr]
        if type(value) is not tuple or len(value) != len(parts):
            return NOT
        pairs = zip(parts, value, strict=True)
        fits = min((part.slot.match(item) for part, item in pairs), default=EXACT)
        return NAMED if fits == EXACT else fits


@dataclasses.dataclass
class Maker:
    """How instances of a class are made, and taken apart.

    :ivar class_: None for a dict.
    :ivar later: fields that the constructor does not take; they are set afterwards.
    """

    class_: type | None
    make: Callable[..., Any]
    later: frozenset[str] = frozenset()

    def made(self, values: dict[str, Any]) -> Any:
        """Return an instance."""
        later = {name: values.pop(name) for name in self.later & values.keys()}
        instance = self.make(**values)
        for name, value in later.items():
            object.__setattr__(instance, name, value)
        return instance


class RecordCodec(Codec):
    """An instance of a class with named fields, or a dict that a TypedDict describes."""

    def __init__(self, hint: Any, message: MessagePlan, label: str, is_generic: bool) -> None:
        self.hint, self.proto, self.label = hint, message, label
        self.key = message.key
        self.maker = Maker(None, dict)
        self._layout = Layout(message)
        self._is_generic = is_generic

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message. A derived class has more to say, and so does not fit."""
        return self._layout.write(self._values(value), handles)

    def _values(self, value: Any) -> Mapping[str, Any]:
        class_ = self.maker.class_
        if class_ is None:
            if not isinstance(value, dict):
                raise misfit(value, f'a dict, which {self.label} is')
            return value
        if not _is_exactly(value, class_):
            raise misfit(value, f'a {class_.__qualname__} itself')
        if getattr(value, '__pydantic_extra__', None):
            raise misfit(value, 'without extra fields')
        parts = self.proto.parts  # type: ignore[union-attr]
        found = {part.python: getattr(value, part.python, NOTHING) for part in parts}
        return {name: item for name, item in found.items() if item is not NOTHING}

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return an instance; what its constructor says against it is a misfit."""
        values = self._layout.read(wire, handles)
        try:
            return self.maker.made(values)
        except Exception as error:  # validation of the user
            text = f'{type(error).__name__}: {error}'
            raise ConversionError(f'not a valid {self.label}: {text}') from error

    def match(self, value: Any) -> int:
        """Go by the class; by the fields too, where the class does not say enough."""
        class_ = self.maker.class_
        if class_ is not None and not self._is_generic:
            return NAMED if _is_exactly(value, class_) else NOT
        if class_ is not None and not _is_exactly(value, class_):
            return NOT
        if class_ is None and not isinstance(value, dict):
            return NOT
        return self._match_fields(self._values(value))

    def _match_fields(self, values: Mapping[str, Any]) -> int:
        parts = {part.python: part for part in self.proto.parts}  # type: ignore[union-attr]
        if values.keys() - parts.keys():
            return NOT
        needed = {name for name, part in parts.items() if not part.has_default}
        if needed - values.keys():
            return NOT
        fits = min((parts[name].slot.match(item) for name, item in values.items()), default=EXACT)
        return NAMED if fits >= EXACT else fits


def _is_exactly(value: Any, class_: type) -> bool:
    """Tell whether ``value`` is of the class, generic classes of pydantic included."""
    if type(value) is class_:
        return True
    metadata = getattr(type(value), '__pydantic_generic_metadata__', None)
    return metadata is not None and metadata.get('origin') is class_
