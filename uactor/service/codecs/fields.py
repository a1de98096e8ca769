"""Slots: what a field, or the fields of a oneof, can hold.

A slot holds one item, none or one, many, a map, or one of several. Whatever is more than an item
and has to stand where only items can is wrapped in a message of its own.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Collection, Iterable, MutableMapping
from collections.abc import Set as AbstractSet
from typing import Any

from uactor.service.codecs.base import EXACT, NAMED, NOT, Codec, Handles, misfit
from uactor.service.errors import ConversionError
from uactor.service.model import Absence, FieldPlan

Wire = MutableMapping[str, Any]
"""Fields of a message in the making, by name."""


class Missing:
    """Class of :data:`NOTHING`."""

    def __repr__(self) -> str:
        return 'NOTHING'


NOTHING = Missing()
"""What stands for no value at all."""


class Field(abc.ABC):
    """What a value of Python is in a message, where it has fields of its own.

    :ivar label: its name as an arm of a union, and in names of wrappers.
    :ivar key: what it is made of, the same in all runs.
    :ivar absent: the value that no field at all stands for; :data:`NOTHING` if there is none.
    :ivar inner: name of the field, when it is wrapped.
    """

    label: str
    key: str
    absent: Any = NOTHING
    inner = 'value'

    @abc.abstractmethod
    def fields(self, name: str) -> list[FieldPlan]:
        """Return the fields, without numbers."""

    @abc.abstractmethod
    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Put ``value`` into a message.

        :raises ConversionError: when it does not fit.
        """

    @abc.abstractmethod
    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Return the value; :data:`NOTHING` when the message has none of the fields.

        :raises ConversionError: when what it has stands for no value; its path begins with the
            field.
        """

    @abc.abstractmethod
    def match(self, value: Any) -> int:
        """Tell how well ``value`` fits."""

    def empty(self) -> Any:
        """Return the value that no field at all stands for."""
        return self.absent


class SingleField(Field):
    """An item."""

    _absence: Absence = 'error'

    def __init__(self, item: Codec) -> None:
        self.item = item
        self.label, self.key = item.label, item.key

    def fields(self, name: str) -> list[FieldPlan]:
        """Return one field."""
        return [FieldPlan(name, self.item.proto, self.item.label, self._absence)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the item."""
        wire[name] = self.item.pack(value, handles)

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the item, if it is there."""
        if not message.HasField(name):
            return NOTHING
        try:
            return self.item.unpack(getattr(message, name), handles)
        except ConversionError as error:
            raise error.under(name) from None

    def match(self, value: Any) -> int:
        """Let the item tell."""
        return self.item.match(value)


class OptionalField(SingleField):
    """An item or None."""

    absent = None
    _absence = 'none'

    def __init__(self, item: Codec) -> None:
        super().__init__(item)
        self.label, self.key = f'optional_{item.label}', f'optional {item.key}'

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the item, unless it is None."""
        if value is not None:
            super().write(name, value, wire, handles)

    def match(self, value: Any) -> int:
        """Take None too."""
        return EXACT if value is None else super().match(value)


class RepeatedField(Field):
    """Items in a container.

    :ivar kind: name of what it is.
    :ivar accepts: classes of what is taken.
    :ivar make: makes one of its items.
    """

    inner = 'items'

    def __init__(
        self, item: Codec, kind: str, accepts: tuple[type, ...], make: Callable[[Any], Any]
    ) -> None:
        self.item = item
        self.label, self.key = f'{item.label}_{kind}', f'{kind} of {item.key}'
        self.kind, self.accepts, self.make = kind, accepts, make
        self.absent = make(())

    def empty(self) -> Any:
        """Return a new one, since the caller may change it."""
        return self.make(())

    def fields(self, name: str) -> list[FieldPlan]:
        """Return one repeated field."""
        return [FieldPlan(name, self.item.proto, self.item.label, 'empty', repeated=True)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the items in their order; those of a set sorted, if they can be."""
        if not self._takes(value):
            raise misfit(value, f'a {self.kind}')
        pack, items = self.item.pack, []
        for index, item in enumerate(self._ordered(value)):
            try:
                items.append(pack(item, handles))
            except ConversionError as error:
                raise error.under(f'[{index}]') from None
        wire[name] = items

    def _ordered(self, value: Any) -> Iterable[Any]:
        if isinstance(value, AbstractSet):
            try:
                return sorted(value)
            except TypeError:
                return value
        return value  # type: ignore[no-any-return]  # it is iterable

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the items, if there are any."""
        unpack, items = self.item.unpack, []
        for index, wire in enumerate(getattr(message, name)):
            try:
                items.append(unpack(wire, handles))
            except ConversionError as error:
                raise error.under(f'[{index}]').under(name) from None
        return self._made(name, items) if items else NOTHING

    def _made(self, name: str, items: list[Any]) -> Any:
        try:
            return self.make(items)
        except TypeError as error:  # what a set can't hold
            raise ConversionError(str(error), name) from error

    def _takes(self, value: Any) -> bool:
        is_text = isinstance(value, (str, bytes, bytearray))
        return isinstance(value, self.accepts) and not is_text

    def match(self, value: Any) -> int:
        """Go by the class, and by the items."""
        if not self._takes(value):
            return NOT
        return min((self.item.match(item) for item in value), default=EXACT)


class MapField(Field):
    """A dict whose keys Protobuf's maps can have."""

    absent = {}  # noqa: RUF012  # see empty()
    inner = 'entries'

    def __init__(
        self, key: Codec, item: Codec, kind: str, accepts: type[Any], make: Callable[[Any], Any]
    ) -> None:
        self.keys, self.item = key, item
        self.label = f'{key.label}_{item.label}_{kind}'
        self.key = f'{kind} of {key.key} to {item.key}'
        self.kind, self.accepts, self.make = kind, accepts, make

    def empty(self) -> Any:
        """Return a new one, since the caller may change it."""
        return self.make(())

    def fields(self, name: str) -> list[FieldPlan]:
        """Return one map field."""
        means = f'{self.keys.label} to {self.item.label}'
        key_type = str(self.keys.proto)
        return [FieldPlan(name, self.item.proto, means, 'empty', key_type=key_type)]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the entries."""
        if not isinstance(value, self.accepts):
            raise misfit(value, f'a {self.kind}')
        entries = {}
        for key, item in value.items():
            try:
                entries[self.keys.pack(key, handles)] = self.item.pack(item, handles)
            except ConversionError as error:
                raise error.under(f'[{key!r}]') from None
        if len(entries) != len(value):
            raise misfit(value, 'distinct in its keys once they are written')
        wire[name] = entries

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the entries, if there are any."""
        entries = {}
        for key, wire in getattr(message, name).items():
            try:
                entries[self.keys.unpack(key, handles)] = self.item.unpack(wire, handles)
            except ConversionError as error:
                raise error.under(f'[{key!r}]').under(name) from None
        return self.make(entries) if entries else NOTHING

    def match(self, value: Any) -> int:
        """Go by the class, and by keys and values."""
        if not isinstance(value, self.accepts):
            return NOT
        parts = ((self.keys.match(key), self.item.match(item)) for key, item in value.items())
        return min((fit for pair in parts for fit in pair), default=EXACT)


class PairsField(RepeatedField):
    """A dict as repeated entries: for keys that maps can't have, and where the order counts."""

    inner = 'entries'

    def __init__(
        self, entry: Codec, kind: str, accepts: type[Any], make: Callable[[Any], Any]
    ) -> None:
        super().__init__(entry, kind, (accepts,), make)
        self.label = f'{entry.label.removesuffix("_entry")}_{kind}'

    def _ordered(self, value: Any) -> Iterable[Any]:
        return value.items()  # type: ignore[no-any-return]

    def _made(self, name: str, items: list[Any]) -> Any:
        made = super()._made(name, items)
        if len(made) != len(items):
            raise ConversionError('a key stands twice', name)
        return made

    def match(self, value: Any) -> int:
        """Go by the class, and by keys and values."""
        if not self._takes(value):
            return NOT
        fits = min((self.item.match(pair) for pair in value.items()), default=EXACT)
        return min(fits, EXACT)


class OneofField(Field):
    """One of several items, or None if that is allowed too, as a oneof.

    The arm that a value fits best takes it; two that it fits equally well are an error.
    """

    def __init__(self, arms: Collection[Codec], allows_none: bool) -> None:
        self.arms = {arm.label: arm for arm in arms}
        self.allows_none = allows_none
        self.absent = None if allows_none else NOTHING
        self.label = '_or_'.join(self.arms)
        self.key = ' | '.join(arm.key for arm in arms) + ' | None' * allows_none

    def fields(self, name: str) -> list[FieldPlan]:
        """Return a field for each arm."""
        absent: Absence = 'none' if self.allows_none else 'error'
        return [
            FieldPlan(f'{name}_{label}', arm.proto, label, absent, oneof=name)
            for label, arm in self.arms.items()
        ]

    def write(self, name: str, value: Any, wire: Wire, handles: Handles) -> None:
        """Write the arm that the value fits best."""
        if value is None and self.allows_none:
            return
        label = self._best(value)
        wire[f'{name}_{label}'] = self.arms[label].pack(value, handles)

    def _best(self, value: Any) -> str:
        fits = {label: arm.match(value) for label, arm in self.arms.items()}
        best = max(fits.values())
        if best == NOT:
            raise misfit(value, f'one of {", ".join(fits)}')
        labels = [label for label, fit in fits.items() if fit == best]
        if len(labels) > 1:
            raise ConversionError(f'ambiguous: it may be {" or ".join(labels)}')
        return labels[0]

    def read(self, name: str, message: Any, handles: Handles) -> Any:
        """Read the arm that is there, if there is one."""
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
