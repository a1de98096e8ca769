"""Pickling of values for Python peers.

The C pickler pickles by name whatever can be imported by name. That is four times as fast as
cloudpickle, which is used where something has to travel by value: functions and classes of
``__main__``, lambdas, closures.
"""

from __future__ import annotations

import collections
import functools
import io
import pickle
import platform
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import cloudpickle

from uactor import _wire, errors
from uactor.codec.annotation_names import collect_names, remember_names
from uactor.codec.definitions import Definitions, Numbering
from uactor.codec.transfer import current_transfer, restore_transfer, transfer
from uactor.errors import SerializationError, UActorException
from uactor.runtime.system_errors import is_interruption
from uactor.runtime.weakrefs import WeakBag
from uactor.transport.segments import MIN_SEGMENT_BYTES

PROTOCOL = 5
_MAX_SIZE = 2**31 - 2**16
"""Largest pickle, since a message of Protobuf has at most 2 GiB."""
_UNNAMED = (type(None), type(NotImplemented), type(...))
"""Classes without a name in any module. Pickle knows them."""
_CACHED: Any = type(functools.lru_cache(lambda: None))
_NAMED = (type, types.FunctionType, TypeVar, typing.NewType, _CACHED)
"""Types of objects that are pickled by name, if they have one."""
_MAINS = ('__main__', '__mp_main__')
_MAPPINGS: tuple[Mapping[Any, Any], ...] = ({}, collections.OrderedDict())
VIEWS = tuple(
    type(view) for empty in _MAPPINGS for view in (empty.keys(), empty.values(), empty.items())
)


PYTHON_VERSION = platform.python_version()
"""The version of this interpreter, looked up once: each session sends it."""


def can_travel_by_value(python_version: str, cloudpickle_version: str) -> bool:
    """Return whether classes and functions can go by value to a peer.

    They can't between minor versions of Python, whose code objects crash each other's interpreter,
    nor between major versions of cloudpickle, whose pickles name its own functions.
    """
    here = PYTHON_VERSION.split('.')[:2]
    major = cloudpickle.__version__.partition('.')[0]
    return python_version.split('.')[:2] == here and cloudpickle_version.partition('.')[0] == major


# --- pickling ----------------------------------------------------------------------------


class _NeedsValueError(Exception):
    """The pickle needs an object that can't be imported by name."""


def is_importable(obj: Any) -> bool:
    """Return whether another process can import an object by name."""
    module_name = getattr(obj, '__module__', None)
    if module_name is None or module_name in _MAINS or _is_registered(module_name):
        return False
    name = getattr(obj, '__qualname__', None) or getattr(obj, '__name__', None)
    found = find_attribute(sys.modules.get(module_name), str(name))
    return found is obj or any(obj is known for known in _UNNAMED)


def find_attribute(owner: Any, path: str) -> Any:
    """Return the attribute under a dotted path.

    Return None if a part of the path is missing.
    """
    for name in path.split('.'):
        owner = getattr(owner, name, None)
    return owner


def _is_registered(module_name: str) -> bool:
    """Return whether the user has registered a module with cloudpickle.

    Its classes and functions then travel by value.
    """
    registered = cloudpickle.list_registry_pickle_by_value()
    if not registered:  # nearly always; a generator would take a third of the caller's time
        return False
    return any(f'{module_name}.'.startswith(f'{name}.') for name in registered)


class _NamePickler(pickle.Pickler):
    """Pickles by name only; raises :class:`_NeedsValueError` where names do not suffice."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _NAMED):
            if not is_importable(obj):
                return self.reduce_unnamed(obj)
        elif isinstance(obj, VIEWS):  # as multiprocessing.managers does
            return list, (list(obj),)
        return NotImplemented

    def reduce_unnamed(self, _obj: Any) -> Any:
        """Return how to reduce an object without a name.

        :raises _NeedsValueError: when there is no way.
        """
        raise _NeedsValueError


class _NumberPickler(_NamePickler):
    """Pickles by number what a session remembers, and all else by name.

    :param numbers: receives the numbers in the pickle.
    """

    def __init__(self, definitions: Numbering, numbers: Numbers, *args: Any) -> None:
        super().__init__(*args)
        self._definitions = definitions
        self._numbers = numbers

    def reducer_override(self, obj: Any) -> Any:
        """See :class:`_NamePickler`. Most objects that come here have a number."""
        if isinstance(obj, type):
            number = self._definitions.find_number(obj)
            if number is not None:
                self._numbers[number] = None
                return _wire.get_definition, (number,)
        elif obj is _wire.get_definition:
            return NotImplemented
        return super().reducer_override(obj)

    def reduce_unnamed(self, obj: Any) -> Any:
        """See :class:`_NamePickler`."""
        if not isinstance(obj, TypeVar):
            number = self._definitions.number(obj)
            if number is not None:
                self._numbers[number] = None
                return _wire.get_definition, (number,)
        raise _NeedsValueError


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # untyped base
    """Pickles by value where names do not suffice.

    The receiver fills each class only once.

    :cvar with_names: whether classes bring along what their annotations name.
    """

    with_names = True

    def __init__(self, file: Any, protocol: int, _fix_imports: bool, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled; see :mod:`pickle`."""
        if isinstance(obj, VIEWS):
            return list, (list(obj),)
        if isinstance(obj, _CACHED) and not is_importable(obj):
            return _wire.make_cached_function, (obj.__wrapped__, *obj.cache_parameters().values())
        if isinstance(obj, typing.NewType) and not is_importable(obj):
            place = obj.__module__, obj.__qualname__  # type: ignore[attr-defined]  # it has
            return _wire.make_new_type, (obj.__name__, obj.__supertype__, *place)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            with _filling:
                _filled.add(obj)
            make, args, state, *items, fill = reduced
            names = collect_names(obj) if self.with_names else {}
            return make, args, (fill, state, names), *items, _wire.fill_class
        return reduced


_filled: WeakBag[type] = WeakBag()
_filling = threading.RLock()


class NamelessPickler(ValuePickler):
    """Pickles by value, without the names in annotations."""

    with_names = False


@_wire.implements(_wire.fill_class)
def _fill_class_once(
    cls: type, state: tuple[Callable[[type, Any], None], Any, dict[str, Any]]
) -> None:
    """Set the attributes of a received class, unless it has them already.

    cloudpickle would set them anew at each load, and so undo whatever this process has
    done to the class since it first came.
    """
    fill, attributes, names = state
    with _filling:
        if cls not in _filled:
            fill(cls, attributes)
            _filled.add(cls)
            remember_names(cls, names)


def dumps(value: Any, by_value: bool = True) -> bytes:
    """Pickle ``value``.

    :param by_value: whether classes and functions that can't be imported may travel by value.
    :raises SerializationError: when it can't be pickled.
    """
    return validate_data(dump(value, by_value, None))


def pickle_definition(value: Any) -> bytes | None:
    """Pickle a class or function by value.

    Return None if the pickle serves only once, since it contains a proxy.
    """
    outer = current_transfer()
    try:
        with transfer() as made:
            data = _pickle_by_value(value, None)
    except BaseException:
        restore_transfer(outer)
        raise
    return None if made.has_proxies else data


def create_definitions() -> Definitions:
    """Create the memory of a new session."""
    return Definitions(pickle_definition, loads)


Buffers = list[pickle.PickleBuffer]
Numbers = dict[int, None]


def dump(
    value: Any,
    by_value: bool,
    buffers: Buffers | None,
    definitions: Numbering | None = None,
    numbers: Numbers | None = None,
) -> bytes:
    """Pickle ``value``.

    :param buffers: receives the large buffers, which the pickle then only refers to.
    :param definitions: the definitions that the session remembers.
    :param numbers: receives the numbers of the definitions that the pickle uses.
    :raises SerializationError: when it can't be pickled.
    """
    try:
        data = _pickle_by_name(value, by_value, buffers, definitions, numbers)
        return _pickle_by_value(value, buffers) if data is None else data
    except UActorException:
        raise
    except _NeedsValueError:
        raise SerializationError(
            f'cannot send {describe_type(value)}: it contains a class or function that '
            'only travels by value. The serializer, or a different Python version at the other '
            'side, does not allow that; move it into a module that both sides can import'
        ) from None
    except Exception as error:
        if is_interruption(error):
            raise
        reason = errors.get_text(error)
        raise SerializationError(f'cannot send {describe_type(value)}: {reason}') from error


def _pickle_by_name(
    value: Any,
    quits: bool,
    buffers: Buffers | None,
    definitions: Numbering | None,
    numbers: Numbers | None,
) -> bytes | None:
    """Pickle by name and number alone.

    Where these do not suffice, return None if ``quits`` is set; raise the error otherwise.
    """
    grants = _current_grants()
    count = len(grants)
    pickler: Callable[..., pickle.Pickler] = _NamePickler
    if definitions is not None and numbers is not None:
        pickler = functools.partial(_NumberPickler, definitions, numbers)
    try:
        return _run_pickler(pickler, value, buffers)
    except (_NeedsValueError, TypeError, AttributeError, pickle.PicklingError) as error:
        del grants[count:]  # they belong to a pickle that is not sent
        if numbers is not None:
            numbers.clear()
        if not quits or is_interruption(error):
            raise
        return None


def pickle_with(pickler: Callable[..., pickle.Pickler], value: Any) -> bytes:
    """Pickle ``value`` with a pickler derived from :class:`ValuePickler`.

    Errors of the pickler are raised unchanged.
    """
    _send_worker_main_by_value()
    return _run_pickler(pickler, value, None)


def _send_worker_main_by_value() -> None:
    """Send classes of the main module of a multiprocessing worker by value."""
    worker_main = sys.modules.get('__mp_main__')
    if worker_main is not None:
        cloudpickle.register_pickle_by_value(worker_main)


def _pickle_by_value(value: Any, buffers: Buffers | None) -> bytes:
    _send_worker_main_by_value()
    grants = _current_grants()
    count = len(grants)
    try:
        return _run_pickler(ValuePickler, value, buffers)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        del grants[count:]
        if is_interruption(error):
            raise
    # A name in an annotation may be what can not be pickled.
    return _run_pickler(NamelessPickler, value, buffers)


def _run_pickler(
    pickler: Callable[..., pickle.Pickler], value: Any, buffers: Buffers | None
) -> bytes:
    stream = io.BytesIO()
    keep: Callable[[pickle.PickleBuffer], bool] | None = None
    if buffers is not None:
        del buffers[:]  # of an attempt that failed

        def keep_small(buffer: pickle.PickleBuffer) -> bool:
            large = _is_large(buffer)
            if large:
                buffers.append(buffer)
            return not large

        keep = keep_small

    pickler(stream, PROTOCOL, True, keep).dump(value)  # keyword arguments would take longer
    return stream.getvalue()


def _is_large(buffer: pickle.PickleBuffer) -> bool:
    try:
        return buffer.raw().nbytes >= MIN_SEGMENT_BYTES
    except BufferError:  # not contiguous: pickle raises a clear error
        return False


def _current_grants() -> list[str]:
    current = current_transfer()
    return current.grants if current is not None and current.grants is not None else []


def validate_data(data: bytes) -> bytes:
    """Check that a message can hold the data, and return it.

    See :func:`validate_size`.
    """
    validate_size(len(data))
    return data


def validate_size(size: int) -> None:
    """Check that a message can hold so many bytes.

    :raises SerializationError: when it can't.
    """
    if size > _MAX_SIZE:
        raise SerializationError(
            f'{size} bytes are too many for one message, which holds {_MAX_SIZE} at most; '
            'send them in parts'
        )


def describe_type(value: Any) -> str:
    """Return how an error names a value: by its type."""
    return f'a value of type {type(value).__qualname__}'


def loads(data: Any, buffers: Iterable[Any] = ()) -> Any:
    """Rebuild a pickled value.

    :raises SerializationError: when it can't be rebuilt in this process.
    """
    try:
        return pickle.loads(data, buffers=buffers) if buffers else pickle.loads(data)
    except UActorException:
        raise
    except Exception as error:
        if is_interruption(error):
            raise
        raise SerializationError(
            f'cannot rebuild a value that was sent here: {type(error).__name__}: '
            f'{errors.get_text(error)}'
        ) from error


class _Bulk:
    """Large bytes, or a bytearray, that are pickled out of band.

    The receiver rebuilds an object of the same type.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def __reduce__(self) -> tuple[type, tuple[pickle.PickleBuffer]]:
        return type(self._data), (pickle.PickleBuffer(self._data),)


BULKY = frozenset([bytes, bytearray])


def bulk(value: Any) -> Any:
    """Wrap large bytes, which pickle would copy more than once.

    Return any other value unchanged.
    """
    return _Bulk(value) if type(value) in BULKY and len(value) >= MIN_SEGMENT_BYTES else value


def loads_with(definitions: Definitions | None, data: Any, buffers: Iterable[Any] = ()) -> Any:
    """Rebuild a pickle that may use definitions of the session; see :func:`loads`."""
    if definitions is None or not definitions.has_any:
        return loads(data, buffers)
    return definitions.use_while(loads, data, buffers)
