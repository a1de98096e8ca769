"""The codec of JSON values: for ``Any``, bare lists and bare dicts."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from uactor.service.codecs.base import (
    ANYTHING,
    EXACT,
    NOT,
    Handles,
    MessageCodec,
    mismatch_error,
)
from uactor.service.codecs.scalars import validate_utf8
from uactor.service.codecs.wellknown import ExternalMessages
from uactor.service.errors import ConversionError

_MAX_EXACT_INT = 2**53
"""A double holds each int up to this one exactly."""
_MAX_DEPTH = 30
"""Deepest JSON value: Protobuf reads 100 nested messages, and an object takes three."""


class JsonCodec(MessageCodec):
    """A JSON value, as ``Value``, ``Struct`` or ``ListValue``."""

    _FORMS: ClassVar[dict[str, tuple[Any, str]]] = {
        'Value': (Any, 'any'),
        'Struct': (dict, 'object'),
        'ListValue': (list, 'array'),
    }

    def __init__(self, externals: ExternalMessages, form: str) -> None:
        self.hint, self.label = self._FORMS[form]
        self.key, self._form = self.label, form
        self.proto = externals.protobuf(form)
        self._value, self._struct, self._list = (
            externals.protobuf(name) for name in ('Value', 'Struct', 'ListValue')
        )

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the message; refuse anything that JSON has no exact form for."""
        if self._form == 'Value':
            return self._pack_value(value, 0)
        if type(value) is not self.hint:
            raise mismatch_error(value, f'a {self.hint.__name__}')
        return self._pack_struct(value, 0) if self._form == 'Struct' else self._pack_list(value, 0)

    def _pack_value(self, value: Any, depth: int) -> Any:
        make, kind = self._value.bound, type(value)
        if depth > _MAX_DEPTH:
            raise ConversionError('too deep for Protobuf')
        if value is None:
            return make(null_value=0)
        if kind is bool:
            return make(bool_value=value)
        if kind is str:
            return make(string_value=validate_utf8(value))
        if kind in (int, float):
            return make(number_value=_validate_number(value))
        if kind is list:
            return make(list_value=self._pack_list(value, depth))
        if kind is dict:
            return make(struct_value=self._pack_struct(value, depth))
        raise mismatch_error(value, 'a value of JSON')

    def _pack_list(self, value: list[Any], depth: int) -> Any:
        elements = []
        for index, element in enumerate(value):
            try:
                elements.append(self._pack_value(element, depth + 1))
            except ConversionError as error:
                raise error.under(f'[{index}]') from None
        return self._list.bound(values=elements)

    def _pack_struct(self, value: dict[Any, Any], depth: int) -> Any:
        fields = {}
        for key, item in value.items():
            if type(key) is not str:
                raise mismatch_error(key, 'a str, which keys of JSON are')
            try:
                fields[validate_utf8(key)] = self._pack_value(item, depth + 1)
            except ConversionError as error:
                raise error.under(f'[{key!r}]') from None
        return self._struct.bound(fields=fields)

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return the value."""
        if self._form == 'Struct':
            return {key: _unpack_value(item) for key, item in wire.fields.items()}
        if self._form == 'ListValue':
            return [_unpack_value(element) for element in wire.values]
        return _unpack_value(wire)

    def match(self, value: Any) -> int:
        """Accept a JSON value, with the worst fit that is one."""
        if self._form != 'Value':
            return EXACT if type(value) is self.hint else NOT
        try:
            self._pack_value(value, 0)
        except ConversionError:
            return NOT
        return ANYTHING


def _validate_number(value: float) -> float:
    if isinstance(value, int) and abs(value) > _MAX_EXACT_INT:
        raise mismatch_error(value, 'exact as a number of JSON, whose ints end at 2**53')
    if not math.isfinite(value):
        raise mismatch_error(value, 'a number of JSON')
    return value


def _unpack_value(wire: Any) -> Any:
    kind = wire.WhichOneof('kind')
    if kind == 'struct_value':
        return {key: _unpack_value(item) for key, item in wire.struct_value.fields.items()}
    if kind == 'list_value':
        return [_unpack_value(element) for element in wire.list_value.values]
    if kind == 'number_value':
        return _unpack_number(wire.number_value)
    if kind is None:
        raise ConversionError('a google.protobuf.Value that holds nothing')
    return None if kind == 'null_value' else getattr(wire, kind)


def _unpack_number(number: float) -> float:
    """Return the number, as an int if it is whole.

    JSON has only one kind of number. A negative zero, or a number too large to be exact, stays a
    float.
    """
    is_whole = number.is_integer() and abs(number) <= _MAX_EXACT_INT
    if is_whole and math.copysign(1, number) == math.copysign(1, int(number)):
        return int(number)
    return number
