"""What a field or a oneof of a message can hold.

A field holds one value, an optional value, many values, a map, or one of several values. Where
only a single value is possible, anything more gets a wrapper: a message of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Iterable, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any

from uactor.service.codecs.base import EXACT, NAMED, NOT, Codec, Handles, mismatch_error
from uactor.service.errors import ConversionError
from uactor.service.model import Absence, FieldPlan

Wire = MutableMapping[str, Any]
"""The fields of a message under construction, by name."""


class Missing:
    """Class of :data:`NOTHING`."""

    def __repr__(self) -> str:
        return 'NOTHING'


NOTHING = Missing()
"""Stands for the absence of a value."""


class Field(abc.ABC):
    """Reads and writes a Python value as one or more fields.

    :ivar label: its name as an arm of a union, and in names of wrappers.
    :ivar key: describes its content, the same in all runs.
    :ivar absent: the value that a message without the field stands for; :data:`NOTHING` if
        there is none.
    :ivar inner_name: the name of the field in a wrapper.
    """

    label: str
    key: str
    absent: Any = NOTHING
    inner_name = 'value'

    @abc.abstractmethod
    def plan_fields(self, name: str) -> list[FieldPlan]:
        """Return the plans of the fields, without numbers."""

    @abc.abstractmethod
    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write ``value`` into a message.

        :raises ConversionError: when ``value`` does not fit.
        """

    @abc.abstractmethod
    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Return the value; :data:`NOTHING` when the message has none of the fields.

        :raises ConversionError: when the fields stand for no value; its path begins with the
            field.
        """

    @abc.abstractmethod
    def match(self, value: Any) -> int:
        """Return how well ``value`` fits."""

    def absent_value(self) -> Any:
        """Return the value that a message without the field stands for."""
        return self.absent


class SingleField(Field):
    """A value that must be there."""

    _absence: Absence = 'error'

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.label, self.key = codec.label, codec.key

    def plan_fields(self, name: str) -> list[FieldPlan]:
        """Return the plan of one field."""
        return [FieldPlan(name, self.codec.proto, self.codec.label, self._absence)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the value."""
        wire[name] = self.codec.pack(value, handles)

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the value, if the message has it."""
        if not message.HasField(name):
            return NOTHING
        try:
            return self.codec.unpack(getattr(message, name), handles)
        except ConversionError as error:
            raise error.under(name) from None

    def match(self, value: Any) -> int:
        """Return how well the codec fits."""
        return self.codec.match(value)


class OptionalField(SingleField):
    """A value or None."""

    absent = None
    _absence = 'none'

    def __init__(self, codec: Codec) -> None:
        super().__init__(codec)
        self.label, self.key = f'optional_{codec.label}', f'optional {codec.key}'

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the value, unless it is None."""
        if value is not None:
            super().write(name, value, wire, handles)

    def match(self, value: Any) -> int:
        """Accept None too."""
        return EXACT if value is None else super().match(value)


class RepeatedField(Field):
    """The elements of a container.

    :ivar codec: the codec of each element.
    :ivar kind: the name of the kind of container.
    :ivar accepts: the classes of containers that it accepts.
    :ivar make: makes the container of a list of elements.
    """

    inner_name = 'items'

    def __init__(
        self, codec: Codec, kind: str, accepts: tuple[type, ...], make: Callable[[Any], Any]
    ) -> None:
        self.codec = codec
        self.label, self.key = f'{codec.label}_{kind}', f'{kind} of {codec.key}'
        self.kind, self.accepts, self.make = kind, accepts, make
        self.absent = make(())

    def absent_value(self) -> Any:
        """Return a new empty container, since the caller may change it."""
        return self.make(())

    def plan_fields(self, name: str) -> list[FieldPlan]:
        """Return the plan of one repeated field."""
        return [FieldPlan(name, self.codec.proto, self.codec.label, 'empty', repeated=True)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the elements in order, and sort a set if possible."""
        if not self._is_accepted(value):
            raise mismatch_error(value, f'a {self.kind}')
        pack, elements = self.codec.pack, []
        for index, element in enumerate(self._iterate(value)):
            try:
                elements.append(pack(element, handles))
            except ConversionError as error:
                raise error.under(f'[{index}]') from None
        wire[name] = elements

    def _iterate(self, value: Any) -> Iterable[Any]:
        if isinstance(value, AbstractSet):
            try:
                return sorted(value)
            except TypeError:
                return value
        return value  # type: ignore[no-any-return]  # it is iterable

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the elements, if the message has any."""
        unpack, elements = self.codec.unpack, []
        for index, wire in enumerate(getattr(message, name)):
            try:
                elements.append(unpack(wire, handles))
            except ConversionError as error:
                raise error.under(f'[{index}]').under(name) from None
        return self._create(name, elements) if elements else NOTHING

    def _create(self, name: str, elements: list[Any]) -> Any:
        try:
            return self.make(elements)
        except TypeError as error:  # an element of a set is not hashable
            raise ConversionError(str(error), name) from error

    def _is_accepted(self, value: Any) -> bool:
        is_text = isinstance(value, (str, bytes, bytearray))
        return isinstance(value, self.accepts) and not is_text

    def match(self, value: Any) -> int:
        """Return the fit of the class, or that of the worst element."""
        if not self._is_accepted(value):
            return NOT
        return min((self.codec.match(element) for element in value), default=EXACT)


class MapField(Field):
    """A dict whose keys Protobuf's maps can have.

    :ivar key_codec: the codec of the keys.
    :ivar value_codec: the codec of the values.
    """

    absent = {}  # noqa: RUF012  # see absent_value()
    inner_name = 'entries'

    def __init__(
        self,
        key_codec: Codec,
        value_codec: Codec,
        kind: str,
        accepts: type[Any],
        make: Callable[[Any], Any],
    ) -> None:
        self.key_codec, self.value_codec = key_codec, value_codec
        self.label = f'{key_codec.label}_{value_codec.label}_{kind}'
        self.key = f'{kind} of {key_codec.key} to {value_codec.key}'
        self.kind, self.accepts, self.make = kind, accepts, make

    def absent_value(self) -> Any:
        """Return a new empty dict, since the caller may change it."""
        return self.make(())

    def plan_fields(self, name: str) -> list[FieldPlan]:
        """Return the plan of one map field."""
        means = f'{self.key_codec.label} to {self.value_codec.label}'
        key_type = str(self.key_codec.proto)
        return [FieldPlan(name, self.value_codec.proto, means, 'empty', key_type=key_type)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the entries; refuse keys that become one on the wire."""
        if not isinstance(value, self.accepts):
            raise mismatch_error(value, f'a {self.kind}')
        entries = {}
        for key, item in value.items():
            try:
                entries[self.key_codec.pack(key, handles)] = self.value_codec.pack(item, handles)
            except ConversionError as error:
                raise error.under(f'[{key!r}]') from None
        if len(entries) != len(value):
            raise mismatch_error(value, 'distinct in its keys once they are written')
        wire[name] = entries

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the entries, if the message has any."""
        entries = {}
        for key, wire in getattr(message, name).items():
            try:
                entries[self.key_codec.unpack(key, handles)] = self.value_codec.unpack(
                    wire, handles
                )
            except ConversionError as error:
                raise error.under(f'[{key!r}]').under(name) from None
        return self.make(entries) if entries else NOTHING

    def match(self, value: Any) -> int:
        """Return the fit of the worst entry, if the class is accepted."""
        if not isinstance(value, self.accepts):
            return NOT
        pairs = (
            (self.key_codec.match(key), self.value_codec.match(item)) for key, item in value.items()
        )
        return min((fit for pair in pairs for fit in pair), default=EXACT)


class PairsField(RepeatedField):
    """A dict as repeated entries.

    Its keys fit no map, or its order counts.
    """

    inner_name = 'entries'

    def __init__(
        self, codec: Codec, kind: str, accepts: type[Any], make: Callable[[Any], Any]
    ) -> None:
        super().__init__(codec, kind, (accepts,), make)
        self.label = f'{codec.label.removesuffix("_entry")}_{kind}'

    def _iterate(self, value: Any) -> Iterable[Any]:
        return value.items()  # type: ignore[no-any-return]

    def _create(self, name: str, elements: list[Any]) -> Any:
        mapping = super()._create(name, elements)
        if len(mapping) != len(elements):
            raise ConversionError('a key stands twice', name)
        return mapping

    def match(self, value: Any) -> int:
        """Return the fit of the worst entry, if the class is accepted."""
        if not self._is_accepted(value):
            return NOT
        fits = min((self.codec.match(pair) for pair in value.items()), default=EXACT)
        return min(fits, EXACT)


class OneofField(Field):
    """A union as a oneof: one of several values, or None.

    The arm that fits a value best takes it. Two arms that fit equally well are an error.
    """

    def __init__(self, arms: Collection[Codec], allows_none: bool) -> None:
        self.arms = {arm.label: arm for arm in arms}
        self.allows_none = allows_none
        self.absent = None if allows_none else NOTHING
        self.label = '_or_'.join(self.arms)
        self.key = ' | '.join(arm.key for arm in arms) + ' | None' * allows_none

    def plan_fields(self, name: str) -> list[FieldPlan]:
        """Return the plan of a field for each arm."""
        absent: Absence = 'none' if self.allows_none else 'error'
        return [
            FieldPlan(f'{name}_{label}', arm.proto, label, absent, oneof=name)
            for label, arm in self.arms.items()
        ]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the value with the arm that fits it best."""
        if value is None and self.allows_none:
            return
        label = self._choose_arm(value)
        wire[f'{name}_{label}'] = self.arms[label].pack(value, handles)

    def _choose_arm(self, value: Any) -> str:
        fits = {label: arm.match(value) for label, arm in self.arms.items()}
        best = max(fits.values())
        if best == NOT:
            raise mismatch_error(value, f'one of {", ".join(fits)}')
        labels = [label for label, fit in fits.items() if fit == best]
        if len(labels) > 1:
            raise ConversionError(f'ambiguous: it may be {" or ".join(labels)}')
        return labels[0]

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the arm that the message has, if any."""
        field = message.WhichOneof(name)
        if field is None:
            return NOTHING
        try:
            arm = self.arms[field[len(name) + 1 :]]
            return arm.unpack(getattr(message, field), handles)
        except ConversionError as error:
            raise error.under(field) from None

    def match(self, value: Any) -> int:
        """Return the best fit of all arms."""
        if value is None and self.allows_none:
            return NAMED
        return max(arm.match(value) for arm in self.arms.values())
