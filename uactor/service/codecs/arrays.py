"""The codec of numpy's arrays.

This module never imports numpy: an annotation that names an array has done so.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from uactor.service.codecs.base import (
    EXACT,
    NAMED,
    NOT,
    Codec,
    Handles,
    MessageCodec,
    mismatch_error,
)
from uactor.service.codecs.wellknown import ExternalMessages
from uactor.service.errors import ConversionError, UnsupportedTypeError


class ArrayCodec(MessageCodec):
    """A numpy array."""

    label = key = 'ndarray'

    def __init__(self, externals: ExternalMessages, hint: Any, dtype: Any) -> None:
        self.proto = externals.get('uactor.v1.NdArray', 'uactor/v1/actor.proto')
        self.hint, self.dtype = hint, dtype

    def pack(self, value: Any, handles: Handles) -> Any:
        """Return the elements of the array, in C order."""
        if not self.match(value):
            wanted = f' of {self.dtype.__name__}' if self.dtype else ''
            raise mismatch_error(value, f'an ndarray{wanted}')
        dtype = self._validate_dtype(value.dtype)
        return self.make(dtype=dtype.str, shape=value.shape, data=value.tobytes())

    def unpack(self, wire: Any, handles: Handles) -> Any:
        """Return a writable array with memory of its own."""
        numpy = sys.modules['numpy']
        try:
            dtype = self._validate_dtype(numpy.dtype(wire.dtype))
            if any(length < 0 for length in wire.shape):
                raise ConversionError(f'{list(wire.shape)} is no shape')
            flat = numpy.frombuffer(wire.data, dtype) if wire.data else numpy.empty(0, dtype)
            array = flat.reshape(tuple(wire.shape)).copy()
        except (TypeError, ValueError, SyntaxError) as error:
            raise (
                error if isinstance(error, ConversionError) else ConversionError(str(error))
            ) from error
        if self.dtype is not None and not issubclass(dtype.type, self.dtype):
            raise ConversionError(f'{dtype} is not {self.dtype.__name__}')
        return array

    def _validate_dtype(self, dtype: Any) -> Any:
        if dtype.hasobject or dtype.fields is not None or dtype.str == '':
            raise ConversionError(f'elements of {dtype} have no form of their own on the wire')
        return dtype

    def match(self, value: Any) -> int:
        """Accept an array whose elements have the right class."""
        is_array = type(value) is sys.modules['numpy'].ndarray
        if is_array and self.dtype is not None:
            return NAMED if issubclass(value.dtype.type, self.dtype) else NOT
        return EXACT if is_array else NOT


def create_array_codec(
    externals: ExternalMessages, hint: Any, args: tuple[Any, ...]
) -> Codec | None:
    """Return the codec of an annotation if that is numpy's, else None."""
    numpy = sys.modules.get('numpy')
    origin = hint if not args else getattr(hint, '__origin__', None)
    if numpy is None or origin is not numpy.ndarray:
        return None
    return ArrayCodec(externals, hint, _element_class(numpy, args))


def _element_class(numpy: Any, args: tuple[Any, ...]) -> Any:
    """Return the class of elements that ``NDArray[numpy.float64]`` names, or None."""
    inner: Any = getattr(args[1], '__args__', [Any])[0] if len(args) == 2 else Any
    if inner is Any or isinstance(inner, TypeVar):
        return None
    if isinstance(inner, type) and issubclass(inner, numpy.generic):
        return inner
    raise UnsupportedTypeError(f'{inner!r} is no class of array elements')
