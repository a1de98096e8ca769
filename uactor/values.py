"""Python value ↔ ``uactor.v1.Value``.

Between Python peers, plain scalars travel in their native form and all else as a
pickle: by the C pickler when everything in it can be imported by name, which is
four times as fast, and by cloudpickle when something has to travel by value
(functions and classes of ``__main__``, lambdas, closures).

For callers that take no pickles, plain data is mapped to the native forms, and
anything else to a handle.
"""

from __future__ import annotations

import ast
import collections
import contextlib
import functools
import io
import itertools
import pickle
import platform
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import cloudpickle

from uactor import _wire, errors
from uactor.definitions import Definitions, Numbering
from uactor.errors import SerializationError, UActorException
from uactor.memory import LARGE, Carrier, Lender
from uactor.system_errors import is_interruption
from uactor.v1 import actor_pb2 as pb
from uactor.weakrefs import WeakBag, WeakKeys

DEFAULT_SERIALIZER = 'cloudpickle'
"""Name of the default serializer."""

SERIALIZERS = ('cloudpickle', 'pickle', 'native')
"""``'cloudpickle'`` sends anything, ``'pickle'`` only what can be imported by name,
``'native'`` only plain data and handles, without any pickle. In order: each allows less."""

PROTOCOL = 5
GRANTED = 'granted'
"""Claim of a proxy whose hold the host has given to the receiver already."""

_INT64 = range(-(2**63), 2**63)
_MAX_SIZE = 2**31 - 2**16
"""Largest pickle, in bytes: Protobuf's messages end at 2 GiB."""
_MAX_DEPTH = 30
"""Deepest native value: Protobuf reads 100 messages in one another, and a dict takes three."""
_UNNAMED = (type(None), type(NotImplemented), type(...))
"""Classes that have no name in any module; pickle knows them."""
_CACHED: Any = type(functools.lru_cache(lambda: None))
_NAMED = (type, types.FunctionType, TypeVar, typing.NewType, _CACHED)
"""What is pickled by its name, if it has one."""
_MAINS = ('__main__', '__mp_main__')
_MAPPINGS: tuple[Mapping[Any, Any], ...] = ({}, collections.OrderedDict())
_VIEWS = tuple(
    type(view) for empty in _MAPPINGS for view in (empty.keys(), empty.values(), empty.items())
)


def check_serializer(name: str) -> str:
    """Return ``name`` if it is a serializer.

    :raises ValueError: otherwise.
    """
    if name not in SERIALIZERS:
        raise ValueError(f'unknown serializer {name!r}; choose one of {", ".join(SERIALIZERS)}')
    return name


def stricter(one: str, other: str) -> str:
    """Return which of two serializers allows less."""
    return max(one, other, key=SERIALIZERS.index)


PYTHON_VERSION = platform.python_version()
"""Of this process; what it takes to find it out is not worth it for each session."""


def travel_by_value(python_version: str, cloudpickle_version: str) -> bool:
    """Tell whether classes and functions can go by value to a peer with these versions.

    Not between minor versions of Python, whose code objects crash each other's interpreter, nor
    between major versions of cloudpickle, whose pickles name its own functions.
    """
    here = PYTHON_VERSION.split('.')[:2]
    major = cloudpickle.__version__.partition('.')[0]
    return python_version.split('.')[:2] == here and cloudpickle_version.partition('.')[0] == major


# --- what a pickle of a proxy may rely on -----------------------------------------------


class Passage:
    """Says how the pickle that this thread is making will be received.

    :ivar grants: ids of this process's objects whose holds the receiver gets along with
        the pickle; None when the receiver takes its holds itself.
    :ivar leases: those taken on objects of other actors, by their ids. One will do for all
        proxies of an object in the message, and for the second try where names won't do.
    :ivar undo: gives these leases up, when there is no message after all.
    :ivar has_proxies: whether the pickle holds any, whose receiver takes a hold when it comes.
    """

    def __init__(self, granting: bool = False) -> None:
        self.grants: list[str] | None = [] if granting else None
        self.leases: dict[str, str] = {}
        self.undo: list[Callable[[], None]] = []
        self.has_proxies = False


class _Passages(threading.local):
    current: Passage | None = None


_passages = _Passages()


def current_passage() -> Passage | None:
    """Return how the pickle in the making travels; None for one that uactor doesn't send.

    In a passage the sender keeps its proxies alive until the receiver has them.
    """
    return _passages.current


def restore_passage(outer: Passage | None) -> None:
    """Let go of a passage that a signal handler left between two bytecodes of its ``with``."""
    _passages.current = outer


class passage:  # a generator would take four times as long, for each call
    """Say that what this thread pickles meanwhile is sent in one message by uactor."""

    __slots__ = ('_passage', '_previous')

    def __init__(self, granting: bool = False) -> None:
        self._passage = Passage(granting)

    def __enter__(self) -> Passage:
        self._previous, _passages.current = _passages.current, self._passage
        return self._passage

    def __exit__(self, kind: object, *exception: object) -> None:
        _passages.current = self._previous
        if kind is not None:
            for undo in self._passage.undo:
                undo()


# --- pickling ----------------------------------------------------------------------------


class _NeedsValue(Exception):
    """Something in the pickle can't be imported by name."""


def importable(obj: Any) -> bool:
    """Tell whether a class, function or the like can be found by its name in another process."""
    module_name = getattr(obj, '__module__', None)
    if module_name is None or module_name in _MAINS or _is_registered(module_name):
        return False
    found: Any = sys.modules.get(module_name)
    name = getattr(obj, '__qualname__', None) or getattr(obj, '__name__', None)
    for part in str(name).split('.'):
        found = getattr(found, part, None)
    return found is obj or any(obj is known for known in _UNNAMED)


def _is_registered(module_name: str) -> bool:
    """Tell whether the user has told cloudpickle to send this module's contents by value."""
    registered = cloudpickle.list_registry_pickle_by_value()
    if not registered:  # as nearly always; a generator would take a third of importable()'s time
        return False
    return any(f'{module_name}.'.startswith(f'{name}.') for name in registered)


class _NamePickler(pickle.Pickler):
    """Pickles by name only, and says when that is not enough."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, _NAMED):
            if not importable(obj):
                return self.unnamed(obj)
        elif isinstance(obj, _VIEWS):  # as multiprocessing.managers does
            return list, (list(obj),)
        return NotImplemented

    def unnamed(self, obj: Any) -> Any:
        """Return how to reduce what has no name.

        :raises _NeedsValue: when there is no way.
        """
        raise _NeedsValue


class _NumberPickler(_NamePickler):
    """Pickles by number what a session remembers, and all else by name.

    :param numbers: gets those that the pickle has.
    """

    def __init__(self, definitions: Numbering, numbers: Numbers, *args: Any) -> None:
        super().__init__(*args)
        self._definitions = definitions
        self._numbers = numbers

    def reducer_override(self, obj: Any) -> Any:
        """See :class:`_NamePickler`. Most that it is asked about has a number."""
        if isinstance(obj, type):
            number = self._definitions.numbered(obj)
            if number is not None:
                self._numbers[number] = None
                return _wire.get_definition, (number,)
        elif obj is _wire.get_definition:
            return NotImplemented
        return super().reducer_override(obj)

    def unnamed(self, obj: Any) -> Any:
        """See :class:`_NamePickler`."""
        if not isinstance(obj, TypeVar):
            number = self._definitions.number(obj)
            if number is not None:
                self._numbers[number] = None
                return _wire.get_definition, (number,)
        raise _NeedsValue


class ValuePickler(cloudpickle.Pickler):  # type: ignore[misc]  # untyped base
    """Pickles by value where names won't do, filling each class only once per process.

    :cvar with_names: whether classes bring along what their annotations name.
    """

    with_names = True

    def __init__(self, file: Any, protocol: int, fix_imports: bool, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback)

    def reducer_override(self, obj: Any) -> Any:
        """Return how an object is pickled; see :mod:`pickle`."""
        if isinstance(obj, _VIEWS):
            return list, (list(obj),)
        if isinstance(obj, _CACHED) and not importable(obj):
            return _wire.make_cached_function, (obj.__wrapped__, *obj.cache_parameters().values())
        if isinstance(obj, typing.NewType) and not importable(obj):
            place = obj.__module__, obj.__qualname__  # type: ignore[attr-defined]  # it has
            return _wire.make_new_type, (obj.__name__, obj.__supertype__, *place)
        reduced = super().reducer_override(obj)
        if isinstance(obj, type) and isinstance(reduced, tuple) and len(reduced) == 6:
            with _filling:
                _filled.add(obj)
            make, args, state, *items, fill = reduced
            names = _annotation_names(obj) if self.with_names else {}
            return make, args, (fill, state, names), *items, _wire.fill_class
        return reduced


_filled: WeakBag[type] = WeakBag()
_filling = threading.RLock()


class NamelessPickler(ValuePickler):
    """Pickles by value, without what annotations name."""

    with_names = False


@_wire.implements(_wire.fill_class)
def _fill_class_once(
    cls: type, state: tuple[Callable[[type, Any], None], Any, dict[str, Any]]
) -> None:
    """Give a class that came by value its attributes, unless it has them already.

    cloudpickle would set them anew at each load, and so undo whatever this process has
    done to the class since it first came.
    """
    fill, attributes, names = state
    with _filling:
        if cls not in _filled:
            fill(cls, attributes)
            _filled.add(cls)
            _names[cls] = names


# --- what annotations name ----------------------------------------------------------------

_names: WeakKeys[type, dict[str, Any]] = WeakKeys()


def named_in(cls: type, name: str) -> Any:
    """Return what ``name`` stands for in annotations of a class that came here by value, or None.

    Its module is not here, and annotations that are strings name what is in it.
    """
    found = ((_names.get(base) or {}).get(name) for base in cls.__mro__)
    return next((value for value in found if value is not None), None)


def _annotation_names(cls: type) -> dict[str, Any]:
    """Return what the annotations of a class and its methods name, as far as they are strings."""
    module = getattr(sys.modules.get(cls.__module__), '__dict__', {})
    found: dict[str, Any] = {}
    for annotated in (cls, *map(_function_of, vars(cls).values())):
        known = getattr(annotated, '__globals__', module)
        for annotation in getattr(annotated, '__annotations__', {}).values():
            for text in _texts(annotation):
                found.update((name, known[name]) for name in _names_in(text) if name in known)
    return found


def _function_of(member: Any) -> Any:
    for name in ('fget', 'func', '__func__'):  # properties, class methods
        member = getattr(member, name, member)
    return member if isinstance(member, types.FunctionType) else None


def _texts(annotation: Any) -> Iterator[str]:
    """Yield the strings that an annotation is, or has somewhere in it."""
    text = getattr(annotation, '__forward_arg__', annotation)
    if isinstance(text, str):
        yield text
    for argument in getattr(annotation, '__args__', ()):
        yield from _texts(argument)


@functools.lru_cache(maxsize=1024)
def _names_in(text: str) -> frozenset[str]:
    try:
        tree = ast.parse(text, mode='eval')
    except SyntaxError:  # an annotation need not mean anything
        return frozenset()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= _names_in(node.value)
    return frozenset(found)


def dumps(value: Any, by_value: bool = True) -> bytes:
    """Pickle ``value``.

    :param by_value: whether classes and functions that can't be imported may travel by value.
    :raises SerializationError: when it can't be pickled.
    """
    return _checked(_dumped(value, by_value, None))


def definition(value: Any) -> bytes | None:
    """Pickle a class or function by value; None when it has to be pickled anew each time."""
    outer = _passages.current
    try:
        with passage() as made:
            data = _by_value(value, None)
    except BaseException:
        restore_passage(outer)
        raise
    return None if made.has_proxies else data


def new_definitions() -> Definitions:
    """Return what a new session remembers: nothing so far."""
    return Definitions(definition, loads)


Buffers = list[pickle.PickleBuffer]
Numbers = dict[int, None]


def _dumped(
    value: Any,
    by_value: bool,
    buffers: Buffers | None,
    definitions: Numbering | None = None,
    numbers: Numbers | None = None,
) -> bytes:
    """Pickle ``value``.

    :param buffers: gets the large buffers, which are not in the pickle then.
    :param definitions: what the session remembers.
    :param numbers: gets what is used of that.
    :raises SerializationError: when it can't be pickled.
    """
    try:
        data = _by_name(value, by_value, buffers, definitions, numbers)
        return _by_value(value, buffers) if data is None else data
    except UActorException:
        raise
    except _NeedsValue:
        raise SerializationError(
            f'cannot send {_described(value)}: it holds a class or function that only travels '
            'by value, which this serializer, or another Python version at the other side, '
            'does not allow; put it into a module'
        ) from None
    except Exception as error:
        if is_interruption(error):
            raise
        reason = errors.text(error)
        raise SerializationError(f'cannot send {_described(value)}: {reason}') from error


def _by_name(
    value: Any,
    quits: bool,
    buffers: Buffers | None,
    definitions: Numbering | None,
    numbers: Numbers | None,
) -> bytes | None:
    """Return the pickle, or, with ``quits``, None where names and numbers won't do."""
    grants = _granted()
    count = len(grants)
    pickler: Callable[..., pickle.Pickler] = _NamePickler
    if definitions is not None and numbers is not None:
        pickler = functools.partial(_NumberPickler, definitions, numbers)
    try:
        return _pickled(pickler, value, buffers)
    except (_NeedsValue, TypeError, AttributeError, pickle.PicklingError) as error:
        del grants[count:]  # of a pickle that nobody gets
        if numbers is not None:
            numbers.clear()
        if not quits or is_interruption(error):
            raise
        return None


def pickle_with(pickler: Callable[..., pickle.Pickler], value: Any) -> bytes:
    """Pickle ``value`` with a pickler derived from :class:`ValuePickler`.

    What goes wrong is raised as it is.
    """
    _send_worker_main_by_value()
    return _pickled(pickler, value, None)


def _send_worker_main_by_value() -> None:
    """Send classes of the main module of a multiprocessing worker by value."""
    worker_main = sys.modules.get('__mp_main__')
    if worker_main is not None:
        cloudpickle.register_pickle_by_value(worker_main)


def _by_value(value: Any, buffers: Buffers | None) -> bytes:
    _send_worker_main_by_value()
    grants = _granted()
    count = len(grants)
    try:
        return _pickled(ValuePickler, value, buffers)
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        del grants[count:]
        if is_interruption(error):
            raise
    # What annotations name may be what does not travel.
    return _pickled(NamelessPickler, value, buffers)


def _pickled(pickler: Callable[..., pickle.Pickler], value: Any, buffers: Buffers | None) -> bytes:
    stream = io.BytesIO()
    keep: Callable[[pickle.PickleBuffer], bool] | None = None
    if buffers is not None:
        del buffers[:]  # of a try where names would not do

        def keep_small(buffer: pickle.PickleBuffer) -> bool:
            large = _is_large(buffer)
            if large:
                buffers.append(buffer)
            return not large

        keep = keep_small

    pickler(stream, PROTOCOL, True, keep).dump(value)  # by position: names take time
    return stream.getvalue()


def _is_large(buffer: pickle.PickleBuffer) -> bool:
    try:
        return buffer.raw().nbytes >= LARGE
    except BufferError:  # not in one piece; pickle says what is wrong with that
        return False


def _granted() -> list[str]:
    current = _passages.current
    return current.grants if current is not None and current.grants is not None else []


def _checked(data: bytes) -> bytes:
    _checked_size(len(data))
    return data


def _checked_size(size: int) -> None:
    if size > _MAX_SIZE:
        raise SerializationError(
            f'{size} bytes are too many for one message, which holds {_MAX_SIZE} at most; '
            'send them in parts'
        )


def _described(value: Any) -> str:
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
            f'{errors.text(error)}'
        ) from error


# --- values for Python peers ----------------------------------------------------------------


OF_A_SIZE = frozenset([type(None), bool, int, float])
OF_ANY_LENGTH = frozenset([str, bytes])
SCALARS = OF_A_SIZE | OF_ANY_LENGTH


def put_scalar(message: pb.Value, value: Any, channel: Lender | None = None) -> bool:
    """Put a scalar into ``message``, where its native form is exact, and tell whether it was one.

    It is cheaper than a pickle, too; but for large bytes, when there is a ``channel`` for them.
    """
    kind = type(value)
    if kind is int:
        if value not in _INT64:
            return False
        message.int64 = value
    elif kind is str:
        try:
            message.string = value
        except UnicodeEncodeError:  # lone surrogates
            return False
    elif value is None:
        message.null = 0  # type: ignore[assignment]  # enum value as int
    elif kind is bool:
        message.bool = value
    elif kind is float:
        message.double = value
    elif kind is bytes:
        if channel is not None and len(value) >= LARGE:
            return False
        message.bytes = _checked(value)
    else:
        return False
    return True


def put(
    message: pb.Value,
    value: Any,
    by_value: bool = True,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> None:
    """Put ``value`` into ``message``, for a peer that accepts pickles.

    :param channel: takes what is large.
    :param definitions: what the session remembers.
    :raises SerializationError: when it can't be pickled.
    """
    if not put_scalar(message, value, channel):
        if type(value) in _BULKY:
            value = _bulk(value)
        _put_pickle(message.pickle, value, by_value, channel, definitions)


def encode(
    value: Any,
    by_value: bool = True,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> pb.Value:
    """Return ``value`` for a peer that accepts pickles; see :func:`put`."""
    message = pb.Value()
    put(message, value, by_value, channel, definitions)
    return message


class _Bulk:
    """Large bytes or a bytearray, in a pickle that refers to them. It is rebuilt as they are."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data

    def __reduce__(self) -> tuple[type, tuple[pickle.PickleBuffer]]:
        return type(self._data), (pickle.PickleBuffer(self._data),)


_BULKY = frozenset([bytes, bytearray])


def _bulk(value: Any) -> Any:
    """Return what to pickle for ``value``: pickle copies large bytes more than once."""
    return _Bulk(value) if type(value) in _BULKY and len(value) >= LARGE else value


def _put_pickle(
    message: pb.Pickle,
    value: Any,
    by_value: bool,
    channel: Lender | None,
    definitions: Numbering | None,
) -> None:
    data = _small_pickle(lambda: message, value, by_value, channel, definitions)
    if data is not None:
        message.data = data


def _small_pickle(
    message: Callable[[], pb.Pickle],
    value: Any,
    by_value: bool,
    channel: Lender | None,
    definitions: Numbering | None,
) -> bytes | None:
    """Return the pickle of ``value`` if it is small, and all that travels.

    Otherwise put it into the ``message``.
    """
    buffers: Buffers = []
    numbers: Numbers = {}
    data = _dumped(value, by_value, buffers, definitions, numbers)
    to_send = tuple(definitions.to_send(numbers)) if numbers and definitions is not None else ()
    if to_send:
        message().definitions.extend(to_send)
    if len(data) < LARGE and not buffers:
        if not to_send:
            return data
        message().data = data
        return None
    parts = [memoryview(data), *(buffer.raw() for buffer in buffers)]
    memory = channel.lend(parts) if channel is not None else None
    if memory is None:
        _checked_size(sum(part.nbytes for part in parts))
        message().data = data
        message().buffers.extend(map(bytes, buffers))
        return None
    message().memory.CopyFrom(memory)
    passing = _passages.current
    if channel is not None and passing is not None:
        passing.undo.append(functools.partial(channel.recall, [memory]))
    return None


# --- native values ---------------------------------------------------------------------------

Share = Callable[[Any], 'pb.Handle']
Resolve = Callable[['pb.Handle'], Any]


def encode_native(value: Any, share: Share, depth: int = 0) -> pb.Value:
    """Return ``value`` in native forms; what has none becomes a handle by ``share``.

    :raises SerializationError: from ``share``, when there is no handle for it either.
    """
    message = pb.Value()
    if put_scalar(message, value):
        return message
    native = None
    if depth < _MAX_DEPTH:
        native = _native(value, lambda part: encode_native(part, share, depth + 1))
    return pb.Value(handle=share(value)) if native is None else native


def _native(value: Any, encoded: Callable[[Any], pb.Value]) -> pb.Value | None:
    """Return the native form of what holds other values.

    :param encoded: makes the native forms of these.
    """
    kind = type(value)
    if kind in (list, tuple, *_VIEWS):
        return pb.Value(list=pb.ListValue(items=map(encoded, value)))
    if kind is dict:
        entries = [
            pb.MapEntry(key=encoded(key), value=encoded(item)) for key, item in value.items()
        ]
        return pb.Value(map=pb.MapValue(entries=entries))
    if kind is bytearray:
        return pb.Value(bytes=bytes(value))
    if kind is slice:
        with contextlib.suppress(TypeError, ValueError):  # not of ints of 64 bits
            return pb.Value(slice=pb.Slice(start=value.start, stop=value.stop, step=value.step))
    return None


def unshareable(value: Any) -> pb.Handle:
    """Refuse to make a handle: the ``share`` of those who can't."""
    raise SerializationError(
        f'{_described(value)} has no native form; only None, bool, int of 64 bits, float, str, '
        'bytes, list, dict and proxies travel without pickles, and not too deep in one another'
    )


def decode(
    value: pb.Value,
    resolve: Resolve,
    unpickle: bool,
    channel: Carrier | None = None,
    definitions: Definitions | None = None,
) -> Any:
    """Return the Python value.

    :param resolve: makes what a handle stands for.
    :param unpickle: whether pickles are accepted.
    :param channel: has what has come beside the message.
    :param definitions: what the session remembers.
    :raises SerializationError: for a pickle that is not accepted or can't be rebuilt.
    """
    kind = value.WhichOneof('kind')
    if kind in SCALAR_FORMS:
        return getattr(value, kind)
    if kind == 'pickle':
        return _unpickled(value.pickle, unpickle, channel, definitions)
    if kind == 'list':
        return [decode(item, resolve, unpickle) for item in value.list.items]
    if kind == 'map':
        return {
            _key(decode(entry.key, resolve, unpickle)): decode(entry.value, resolve, unpickle)
            for entry in value.map.entries
        }
    if kind == 'handle':
        return resolve(value.handle)
    if kind == 'slice':
        return slice(*(_optional(value.slice, name) for name in ('start', 'stop', 'step')))
    return None


SCALAR_FORMS = frozenset(['int64', 'string', 'bool', 'double', 'bytes'])
"""Kinds of values that are what they hold, and bring nothing along."""


def _unpickled(
    message: pb.Pickle, unpickle: bool, channel: Carrier | None, definitions: Definitions | None
) -> Any:
    if not unpickle:
        if channel is not None and message.HasField('memory'):
            channel.ignore([message.memory])
        raise SerializationError("this side accepts no pickles (serializer='native')")
    data = message.data
    buffers: Iterable[Any]
    if not data and channel is not None:
        data, *buffers = channel.borrow(message.memory)  # type: ignore[assignment]  # views
    else:  # whoever pickled them could write to them
        buffers = map(bytearray, message.buffers)
        if channel is not None and message.HasField('memory'):  # nobody will look at that
            channel.ignore([message.memory])
    if definitions is not None:
        definitions.receive(message.definitions)
    return loads_with(definitions, data, buffers)


def loads_with(definitions: Definitions | None, data: Any, buffers: Iterable[Any] = ()) -> Any:
    """Rebuild a pickled value that may name what a session remembers; see :func:`loads`."""
    if definitions is None or not definitions.has_any:
        return loads(data, buffers)
    return definitions.used_by(loads, data, buffers)


def _key(key: Any) -> Any:
    """Return ``key`` as a dict can use it: what came as a list was a tuple."""
    if isinstance(key, list):
        return tuple(map(_key, key))
    if isinstance(key, dict):
        raise SerializationError('a dict cannot be the key of a dict')
    return key


def _optional(message: pb.Slice, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]


def granted(value: pb.Value) -> Iterable[str]:
    """Return the ids of the handles that come with ``value``, each once per hold."""
    return () if value.WhichOneof('kind') in SCALAR_FORMS else _handles_in(value)


def _handles_in(value: pb.Value) -> Iterator[str]:
    kind = value.WhichOneof('kind')
    if kind == 'pickle':
        yield from value.pickle.granted
    elif kind == 'handle':
        yield value.handle.id
    elif kind == 'list':
        for item in value.list.items:
            yield from granted(item)
    elif kind == 'map':
        for entry in value.map.entries:
            yield from granted(entry.key)
            yield from granted(entry.value)


def _pickles_in(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Pickle]:
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


def memories(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Memory]:
    """Return what describes the memory that comes along with a message of ours."""
    return [found.memory for found in _pickles_in(message) if found.HasField('memory')]


def definitions_in(message: pb.SessionRequest | pb.SessionResponse) -> list[pb.Definition]:
    """Return the definitions that come along with a message of ours."""
    return [known for found in _pickles_in(message) for known in found.definitions]


def size_of(message: pb.SessionRequest | pb.SessionResponse) -> int:
    """Return how many bytes a message has, along with those that it has in memory."""
    return message.ByteSize() + sum(sum(memory.sizes) for memory in memories(message))


# --- calls -------------------------------------------------------------------------------------


_plain_pickle = pickle.dumps


def encode_arguments(
    request: Callable[[], pb.CallRequest],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    serializer: str,
    by_value: bool,
    share: Share,
    channel: Lender | None = None,
    definitions: Numbering | None = None,
) -> bytes | None:
    """Return the pickle of the arguments of a call if it is small, and all that travels.

    Otherwise put the arguments into the ``request``.

    :param channel: takes what is large.
    :param definitions: what the session remembers.
    """
    outer = _passages.current
    try:
        if serializer == 'native':
            with passage():
                message = request()
                message.args.extend(encode_native(value, share) for value in args)
                for name, value in kwargs.items():
                    message.kwargs[name].CopyFrom(encode_native(value, share))
            return None
        data = plain_arguments(args, kwargs)
        if data is not None:
            return data
        if not _BULKY.isdisjoint(map(type, args)):
            args = tuple(map(_bulk, args))
        with passage():
            arguments = tuple(args), dict(kwargs)
            pickle_of = functools.partial(_small_pickle, lambda: request().arguments)
            return pickle_of(arguments, by_value, channel, definitions)
    except BaseException:
        restore_passage(outer)
        raise


def plain_arguments(args: Sequence[Any], kwargs: Mapping[str, Any] = {}) -> bytes | None:
    """Return the pickle of arguments that are all scalars, and small; None for other ones."""
    if not _are_plain(args) or (kwargs and not _are_plain(kwargs.values())):
        return None
    keywords = dict(kwargs) if kwargs else {}
    data = _plain_pickle((tuple(args), keywords), PROTOCOL)  # there is nothing to look out for
    return data if len(data) < LARGE else None


def _are_plain(values: Iterable[Any]) -> bool:
    """Tell whether all values are scalars, and small by themselves."""
    for value in values:  # pickling what is large, to see that it is, would copy it
        kind = type(value)
        if kind not in OF_A_SIZE and (kind not in OF_ANY_LENGTH or len(value) >= LARGE):
            return False
    return True


def plain_pickle(scalars: list[Any]) -> bytes:
    """Return the pickle of a list of scalars, or of tuples of them."""
    return _plain_pickle(scalars, PROTOCOL)


def decode_plain(message: pb.Pickle, unpickle: bool) -> list[Any]:
    """Return what :func:`plain_pickle` has made a message of.

    :raises SerializationError: when it is not accepted or can't be rebuilt.
    """
    found: list[Any] = _unpickled(message, unpickle, None, None)
    return found


_BRIEF = 1 << 10
"""How many bytes the arguments of a call have at most, on average, that go with many others."""


def plain_bursts(arguments: Sequence[Sequence[Any]]) -> bytes | None:
    """Return the pickle of the arguments of many small calls; see :func:`plain_arguments`."""
    kinds = set(map(type, itertools.chain.from_iterable(arguments)))
    if not kinds <= OF_A_SIZE and not _are_plain(itertools.chain.from_iterable(arguments)):
        return None
    data = plain_pickle(list(map(tuple, arguments)))
    return data if len(data) < LARGE + len(arguments) * _BRIEF else None


def decode_arguments(
    message: pb.Pickle,
    unpickle: bool,
    channel: Carrier | None = None,
    definitions: Definitions | None = None,
) -> tuple[Sequence[Any], Mapping[str, Any]]:
    """Return the positional and keyword arguments that travel as one pickle.

    :raises SerializationError: when it is not accepted or can't be rebuilt.
    """
    arguments: tuple[Sequence[Any], Mapping[str, Any]] = _unpickled(
        message, unpickle, channel, definitions
    )
    return arguments
