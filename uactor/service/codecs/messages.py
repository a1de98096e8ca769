"""The codecs of the service's own messages: wrappers, tuples and models."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

from uactor.service.codecs.base import EXACT, NAMED, NOT, Codec, Handles, mismatch_error
from uactor.service.codecs.fields import NOTHING, Field
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.errors import ConversionError


class Layout:
    """Reads and writes a message part by part.

    The parts are the parameters of a method, or the fields of a class.

    :param parts: the parts to read and write, if not all of the message.
    """

    def __init__(self, message: MessagePlan, parts: list[Part] | None = None) -> None:
        self.message = message
        self._parts = parts

    @property
    def parts(self) -> list[Part]:
        """The parts that it reads and writes."""
        return self.message.parts if self._parts is None else self._parts

    def write(self, values: Mapping[str, Any], handles: Handles) -> Any:
        """Return the message with these values.

        :param values: by their names in Python.
        :raises ConversionError: when one is missing, unknown, or does not fit.
        """
        wire: dict[str, Any] = {}
        count = 0
        for part in self.parts:
            value = values.get(part.python, NOTHING)
            if value is NOTHING:
                if not part.has_default:
                    raise ConversionError('missing', part.wire_name)
                continue
            count += 1
            try:
                part.field.write(part.wire_name, value, wire, handles)
            except ConversionError as error:
                raise error.under(part.wire_name) from None
        if count < len(values):
            known = {part.python for part in self.parts}
            raise ConversionError(f'unknown: {", ".join(map(str, values.keys() - known))}')
        return self.message.bound(**wire)

    def read(self, message: Any, handles: Handles) -> dict[str, Any]:
        """Return the values of a message, by their names in Python.

        A part that is absent and has a default is left out.

        :raises ConversionError: when a value is missing, a field unknown, or one stands for no
            value.
        """
        refuse_unknown_fields(message)
        values: dict[str, Any] = {}
        for part in self.parts:
            value = part.field.read(part.wire_name, message, handles)
            if value is not NOTHING:
                values[part.python] = value
            elif not part.has_default:
                values[part.python] = read_absence(part)
        return values


def read_absence(part: Part) -> Any:
    """Return the value that a message without a part stands for.

    :raises ConversionError: when there is none.
    """
    value = part.field.absent_value()
    if value is NOTHING:
        raise ConversionError('missing', part.wire_name)
    return value


def refuse_unknown_fields(message: Any) -> None:
    """Refuse fields that the schema lacks, which would be lost.

    A peer with a newer schema sends them.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        numbers = ', '.join(str(field.field_number) for field in iter(unknown))
        raise ConversionError(f'unknown field number {numbers}')


class WrapperCodec(Codec):
    """A field in a message of its own."""

    def __init__(self, field: Field, message: MessagePlan, label: str) -> None:
        self.field, self.message, self.label = field, message, label
        self.proto = message
        self.hint = self.key = message.key
        self._layout = Layout(message)
        message.parts = [Part(field.inner_name, field.inner_name, field)]

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message around the field."""
        try:
            return self._layout.write({self.field.inner_name: value}, handles)
        except ConversionError as error:
            raise _strip_step(error, self.field.inner_name) from None

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value of the field."""
        return self._layout.read(wire, handles)[self.field.inner_name]

    def match(self, value: Any) -> int:
        """Return how well the field fits."""
        return self.field.match(value)


def _strip_step(error: ConversionError, step: str) -> ConversionError:
    """Remove ``step``, which Python does not know, from an error's path."""
    error.path = error.path.removeprefix(step).removeprefix('.')
    return error


class TupleCodec(Codec):
    """A tuple of fixed length, or an entry of a map."""

    def __init__(self, message: MessagePlan, label: str) -> None:
        self.proto = self.message = message
        self.label = label
        self.hint, self.key = tuple, message.key
        self._layout = Layout(message)

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message; refuse a tuple of another length."""
        parts = self.message.parts
        if type(value) is not tuple:
            raise mismatch_error(value, 'a tuple')
        if len(value) != len(parts):
            raise mismatch_error(value, f'a tuple of {len(parts)}')
        names = (part.python for part in parts)
        return self._layout.write(dict(zip(names, value, strict=True)), handles)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the tuple."""
        return tuple(self._layout.read(wire, handles).values())

    def match(self, value: Any) -> int:
        """Return the fit of the worst element, if the length is right."""
        parts = self.message.parts
        if type(value) is not tuple or len(value) != len(parts):
            return NOT
        pairs = zip(parts, value, strict=True)
        fits = min((part.field.match(element) for part, element in pairs), default=EXACT)
        return NAMED if fits == EXACT else fits


@dataclasses.dataclass
class Maker:
    """Creates the instances of a class.

    :ivar class_: the class; None for a dict.
    :ivar make: the constructor, by keywords.
    :ivar later: the fields that the constructor does not take; they are set afterwards.
    """

    class_: type | None
    make: Callable[..., Any]
    later: frozenset[str] = frozenset()

    def create(self, values: dict[str, Any]) -> Any:
        """Return an instance with these values."""
        later = {name: values.pop(name) for name in self.later & values.keys()}
        instance = self.make(**values)
        for name, value in later.items():
            object.__setattr__(instance, name, value)
        return instance


class ModelCodec(Codec):
    """An instance of a class with named fields, or of a TypedDict."""

    def __init__(self, hint: Any, message: MessagePlan, label: str, is_generic: bool) -> None:
        self.hint, self.label = hint, label
        self.proto = self.message = message
        self.key = message.key
        self.maker = Maker(None, dict)
        self._layout = Layout(message)
        self._is_generic = is_generic

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message; refuse a derived class, which would lose data."""
        return self._layout.write(self._values(value), handles)

    def _values(self, value: Any) -> Mapping[str, Any]:
        class_ = self.maker.class_
        if class_ is None:
            if not isinstance(value, dict):
                raise mismatch_error(value, f'a dict, which {self.label} is')
            return value
        if not _is_exactly(value, class_):
            raise mismatch_error(value, f'a {class_.__qualname__} itself')
        if getattr(value, '__pydantic_extra__', None):
            raise mismatch_error(value, 'without extra fields')
        found = {part.python: getattr(value, part.python, NOTHING) for part in self.message.parts}
        return {name: item for name, item in found.items() if item is not NOTHING}

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return an instance; refuse values that its constructor refuses."""
        values = self._layout.read(wire, handles)
        try:
            return self.maker.create(values)
        except Exception as error:  # the constructor is the user's
            text = f'{type(error).__name__}: {error}'
            raise ConversionError(f'not a valid {self.label}: {text}') from error

    def match(self, value: Any) -> int:
        """Return the fit of the class, or that of its fields.

        Only a dict, or an instance of a generic class, is matched by its fields.
        """
        class_ = self.maker.class_
        if class_ is not None and not self._is_generic:
            return NAMED if _is_exactly(value, class_) else NOT
        if class_ is not None and not _is_exactly(value, class_):
            return NOT
        if class_ is None and not isinstance(value, dict):
            return NOT
        return self._match_fields(self._values(value))

    def _match_fields(self, values: Mapping[str, Any]) -> int:
        parts = {part.python: part for part in self.message.parts}
        if values.keys() - parts.keys():
            return NOT
        needed = {name for name, part in parts.items() if not part.has_default}
        if needed - values.keys():
            return NOT
        fits = min((parts[name].field.match(item) for name, item in values.items()), default=EXACT)
        return NAMED if fits >= EXACT else fits


def _is_exactly(value: Any, class_: type) -> bool:
    """Return whether ``value`` is of exactly this class.

    In pydantic, a generic class with arguments is a class of its own, which counts too.
    """
    if type(value) is class_:
        return True
    metadata = getattr(type(value), '__pydantic_generic_metadata__', None)
    return metadata is not None and metadata.get('origin') is class_
