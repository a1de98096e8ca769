"""Send classes and functions by value only once in a session.

Problem: to pickle a class by value and to rebuild it takes longer than ten calls.

Mechanism: each side of a session numbers the classes and functions that it sends. The definition
goes along with its number until the other side has answered a message that had it. So both sides
agree even when a message is never sent, is refused, or can't be rebuilt. In a pipelined session
the receiver reads messages in order, so it suffices that one message with the definition was sent.

Invariants: a class has one number as long as it lives. Its receivers fill it only once, so later
changes of a class never travel. A function brings along the globals and defaults that it uses, as
they are now. So a session remembers a function only if these are constants that the function does
not write.
"""

from __future__ import annotations

import dis
import functools
import itertools
import threading
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from uactor import _wire
from uactor.errors import SerializationError
from uactor.v1 import actor_pb2 as pb

_MOST = 1024
"""Most definitions that a session remembers in each direction."""
_LOST = 'a class or function has been lost on its way'
_CONSTANTS = frozenset([type(None), bool, int, float, complex, str, bytes])
_WRITERS = frozenset(['globals', 'exec', 'eval', 'vars'])
"""Built-in functions through which a function may write its globals."""

Dump = Callable[[Any], 'bytes | None']
"""Pickles an object by value; returns None if the pickle serves only once."""


class UnknownDefinitionError(SerializationError):
    """A pickle uses a number whose definition has not arrived."""


class _Sent:
    """A class or function that has a number.

    :ivar state: the state of a function when it was pickled; () for a class.
    :ivar data: the pickle, until the other side has it.
    """

    __slots__ = ('data', 'number', 'reference', 'state')

    def __init__(self, reference: Any, number: int, state: Any, data: bytes) -> None:
        self.reference = reference
        self.number = number
        self.state = state
        self.data: bytes | None = data


class Numbering(Protocol):
    """Numbers the classes and functions of a message."""

    def number(self, value: Any) -> int | None:
        """Return the number of a class or function.

        Return None if it has to travel in full.
        """
        ...

    def find_number(self, cls: type) -> int | None:
        """Return the number of a class; None while it has none."""
        ...

    def to_send(self, numbers: Iterable[int]) -> Iterable[pb.Definition]:
        """Return the definitions that a message with these numbers must bring along."""
        ...


class Definitions:
    """The definitions that one side of a session has sent and received.

    Threads may share this object.

    :param dump: pickles a class or function.
    :param load: rebuilds it.
    :ivar sent: what has a number, by its id.
    :ivar rebuilt: what was received and used, by number.
    :ivar unsure: whether a definition was sent that has not been confirmed.
    :ivar has_any: whether a definition was received.
    """

    def __init__(self, dump: Dump, load: Callable[[bytes], Any]) -> None:
        self._dump = dump
        self._load = load
        self.sent: dict[int, _Sent] = {}
        self._by_number: dict[int, _Sent] = {}
        self._numbers = itertools.count(1)
        self._received: dict[int, bytes] = {}
        self.rebuilt: dict[int, Any] = {}
        self.unsure = False
        self.has_any = False  # each call reads this

    # --- the sender ----------------------------------------------------------------------------

    def number(self, value: Any) -> int | None:
        """See :class:`Numbering`."""
        known = self.sent.get(id(value))
        if known is not None and known.reference() is not value:
            known = None  # another object had this id before
        state = _capture_state(value) if isinstance(value, types.FunctionType) else ()
        if state is None:
            return None
        if known is not None and known.state == state:
            return known.number
        return self._define(value, state)

    def find_number(self, cls: type) -> int | None:
        """See :class:`Numbering`."""
        sent = self.sent.get(id(cls))
        return sent.number if sent is not None and sent.reference() is cls else None

    def _define(self, value: Any, state: Any) -> int | None:
        if len(self._by_number) >= _MOST:
            return None
        data = self._dump(value)
        if data is None:
            return None
        number = next(self._numbers)  # atomic: no other thread gets this number
        sent = _Sent(weakref.ref(value), number, state, data)
        self.sent[id(value)] = self._by_number[number] = sent
        return number

    def to_send(self, numbers: Iterable[int]) -> Iterator[pb.Definition]:
        """See :class:`Numbering`."""
        for number in numbers:
            data = self._by_number[number].data
            if data is not None:
                self.unsure = True
                yield pb.Definition(number=number, data=data)

    def confirm(self, definitions: Sequence[pb.Definition]) -> None:
        """Record that the other side has these definitions before any later message."""
        self.unsure = False
        for definition in definitions:
            self._by_number[definition.number].data = None

    # --- the receiver --------------------------------------------------------------------------

    def receive(self, definitions: Sequence[pb.Definition]) -> None:
        """Keep a message's definitions, to rebuild each on its first use."""
        for definition in definitions:
            self.has_any = True
            if definition.number not in self.rebuilt:
                self._received[definition.number] = definition.data

    def get(self, number: int) -> Any:
        """Return the class or function of a number.

        :raises UnknownDefinitionError: when its definition has not arrived.
        """
        if number not in self.rebuilt:
            data = self._received.get(number)
            if data is not None:
                self.rebuilt.setdefault(number, self._load(data))
                self._received.pop(number, None)
            elif number not in self.rebuilt:  # nor has another thread rebuilt it meanwhile
                raise UnknownDefinitionError(_LOST)
        return self.rebuilt[number]

    def use_while(self, load: Callable[..., Any], *args: Any) -> Any:
        """Run ``load`` on a pickle that may use these definitions.

        They are available to this thread alone.
        """
        outer, _local.definitions = _local.definitions, self
        try:
            return load(*args)
        finally:
            _local.definitions = outer


class _Receiving(threading.local):
    definitions: Definitions | None = None


_local = _Receiving()


@_wire.implements(_wire.get_definition)
def _get_definition(number: int) -> Any:
    """Return the class or function of a number in a pickle."""
    if _local.definitions is None:
        raise UnknownDefinitionError(_LOST)
    return _local.definitions.get(number)


# --- what functions take along -------------------------------------------------------------------


def _capture_state(function: types.FunctionType) -> tuple[Any, ...] | None:
    """Return what a function brings along, in a form to compare.

    Return None if that can change unnoticed.
    """
    if function.__closure__ or function.__dict__ or function.__kwdefaults__:
        return None
    defaults = function.__defaults__ or ()
    names = _list_globals(function.__code__)
    if names is None or not all(map(_is_constant, defaults)):
        return None
    known = function.__globals__
    used = [(name, known[name]) for name in names if name in known]
    if not all(_is_constant(value) or isinstance(value, types.ModuleType) for _, value in used):
        return None
    annotations = function.__annotations__.items()
    if not all(isinstance(value, (str, type)) for _, value in annotations):
        return None
    told = map(_make_distinct, (used, enumerate(defaults), annotations))
    return function.__code__, function.__name__, function.__doc__, *told


def _is_constant(value: Any) -> bool:
    return type(value) in _CONSTANTS


def _make_distinct(values: Iterable[tuple[Any, Any]]) -> tuple[tuple[Any, type, str], ...]:
    """Return keys that differ whenever the values do.

    ``==`` does not distinguish 1 from True, nor 0.0 from -0.0.
    """
    return tuple((name, type(value), repr(value)) for name, value in values)


@functools.lru_cache(maxsize=1024)
def _list_globals(code: types.CodeType) -> tuple[str, ...] | None:
    """Return the names of the globals that a function reads.

    Return None if it may write one.
    """
    found: dict[str, None] = {}
    for instruction in dis.get_instructions(code):
        if instruction.opname in ('STORE_GLOBAL', 'DELETE_GLOBAL'):
            return None
        if instruction.opname == 'LOAD_GLOBAL':
            found[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            inner = _list_globals(constant)
            if inner is None:
                return None
            found.update(dict.fromkeys(inner))
    return None if not _WRITERS.isdisjoint(found) else tuple(found)
