"""Classes and functions that travel by value: sent once in a session, and then named by a number.

To pickle a class by value, and to make one of that, takes longer than some ten calls. So a session
remembers what it has sent. Each side numbers what it sends. A number goes along with its
definition until the other side surely has that: until there has been an answer to a message
with it. So nothing is out of step when a message is never sent, is refused, or can't be rebuilt.
In a pipelined session, where no request says that the last result has come, it is enough that one
with the definition is on its way: it is read before those that follow.

A class is the same one as long as it lives: its receivers have always filled it only once, and so
what is changed in it later does not travel. A function takes along what it uses of its module
and of what surrounds it, as that is at the moment. It is remembered only if all that is known not
to change, and not to be changed by the function.
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
"""How many definitions a session remembers in each direction."""
_LOST = 'a class or function has been lost on its way'
_CONSTANTS = frozenset([type(None), bool, int, float, complex, str, bytes])
_WRITERS = frozenset(['globals', 'exec', 'eval', 'vars'])
"""Built-in functions by which a function may write its globals."""

Dump = Callable[[Any], 'bytes | None']
"""Pickles something by value; None when the pickle is good only once."""


class UnknownDefinitionError(SerializationError):
    """A pickle names what has not come, or has been lost by an interrupt."""


class _Sent:
    """What has got a number.

    :ivar state: what it was when it was pickled, if that can change.
    :ivar data: its pickle, until the other side has it.
    """

    __slots__ = ('data', 'number', 'reference', 'state')

    def __init__(self, reference: Any, number: int, state: Any, data: bytes) -> None:
        self.reference = reference
        self.number = number
        self.state = state
        self.data: bytes | None = data


class Numbering(Protocol):
    """Numbers what a message has."""

    def number(self, value: Any) -> int | None:
        """Return the number of a class or function; None for what has to travel in full."""
        ...

    def find_number(self, cls: type) -> int | None:
        """Return the number that a class has got; None while it has none."""
        ...

    def to_send(self, numbers: Iterable[int]) -> Iterable[pb.Definition]:
        """Return the definitions that have to go along with a message that has such numbers."""
        ...


class Definitions:
    """What one side of a session has sent and received. Threads may use it at the same time.

    :param dump: pickles a class or function.
    :param load: makes it of that.
    """

    def __init__(self, dump: Dump, load: Callable[[bytes], Any]) -> None:
        self._dump = dump
        self._load = load
        self._sent: dict[int, _Sent] = {}
        self._by_number: dict[int, _Sent] = {}
        self._numbers = itertools.count(1)
        self._received: dict[int, bytes] = {}
        self._made: dict[int, Any] = {}
        self.unsure = False  # whether something has been sent that the other side may not have
        self.has_any = False  # whether something has been received: each call asks

    # --- the sender ----------------------------------------------------------------------------

    def number(self, value: Any) -> int | None:
        """See :class:`Numbering`."""
        known = self._sent.get(id(value))
        if known is not None and known.reference() is not value:
            known = None  # another one had its place in memory
        state = _capture_state(value) if isinstance(value, types.FunctionType) else ()
        if state is None:
            return None
        if known is not None and known.state == state:
            return known.number
        return self._define(value, state)

    def find_number(self, cls: type) -> int | None:
        """See :class:`Numbering`."""
        sent = self._sent.get(id(cls))
        return sent.number if sent is not None and sent.reference() is cls else None

    def _define(self, value: Any, state: Any) -> int | None:
        if len(self._by_number) >= _MOST:
            return None
        data = self._dump(value)
        if data is None:
            return None
        number = next(self._numbers)  # no other thread gets it
        sent = _Sent(weakref.ref(value), number, state, data)
        self._sent[id(value)] = self._by_number[number] = sent
        return number

    def to_send(self, numbers: Iterable[int]) -> Iterator[pb.Definition]:
        """See :class:`Numbering`."""
        for number in numbers:
            data = self._by_number[number].data
            if data is not None:
                self.unsure = True
                yield pb.Definition(number=number, data=data)

    def confirm(self, definitions: Sequence[pb.Definition]) -> None:
        """Know that the other side has these before whatever it is sent from now on."""
        self.unsure = False
        for definition in definitions:
            self._by_number[definition.number].data = None

    # --- the receiver --------------------------------------------------------------------------

    def receive(self, definitions: Sequence[pb.Definition]) -> None:
        """Take what comes along with a message. Nothing is made of it before it is used."""
        for definition in definitions:
            self.has_any = True
            if definition.number not in self._made:
                self._received[definition.number] = definition.data

    def get(self, number: int) -> Any:
        """Return what a number stands for.

        :raises UnknownDefinitionError: when that is not known.
        """
        if number not in self._made:
            data = self._received.get(number)
            if data is not None:
                self._made.setdefault(number, self._load(data))
                self._received.pop(number, None)
            elif number not in self._made:  # nor has another thread made it meanwhile
                raise UnknownDefinitionError(_LOST)
        return self._made[number]

    def use_while(self, load: Callable[..., Any], *args: Any) -> Any:
        """Return what ``load`` makes of a pickle that may use them, on this thread."""
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
    """Return what a number in a pickle stands for."""
    if _local.definitions is None:
        raise UnknownDefinitionError(_LOST)
    return _local.definitions.get(number)


# --- what functions take along -------------------------------------------------------------------


def _capture_state(function: types.FunctionType) -> tuple[Any, ...] | None:
    """Return what a function takes along, to be compared; None when it may change unseen."""
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
    """Return what differs when a value differs, even 1 from True, and 0.0 from -0.0."""
    return tuple((name, type(value), repr(value)) for name, value in values)


@functools.lru_cache(maxsize=1024)
def _list_globals(code: types.CodeType) -> tuple[str, ...] | None:
    """Return the names of the globals that a function reads; None when it may write any."""
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
