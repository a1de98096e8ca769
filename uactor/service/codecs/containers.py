"""The containers that an annotation can name."""

from __future__ import annotations

import collections
import collections.abc as abc
from typing import Any

_ANY_ORDER = (list, tuple, collections.deque, abc.Sequence, abc.Set, abc.ValuesView)
CONTAINERS: dict[Any, tuple[str, tuple[type, ...], Any]] = {
    list: ('list', (list,), list),
    tuple: ('tuple_of_any_length', (tuple,), tuple),
    collections.deque: ('deque', (collections.deque,), collections.deque),
    set: ('set', (set,), set),
    frozenset: ('frozenset', (frozenset,), frozenset),
    abc.Sequence: ('sequence', (abc.Sequence,), list),
    abc.MutableSequence: ('sequence', (abc.MutableSequence,), list),
    abc.Collection: ('collection', _ANY_ORDER, list),
    abc.Iterable: ('collection', _ANY_ORDER, list),
    abc.Set: ('set', (abc.Set,), frozenset),
    abc.MutableSet: ('set', (abc.MutableSet,), set),
}
"""By annotation: the kind, the accepted classes, and the constructor that takes the elements."""

MAPPINGS: dict[Any, tuple[str, type, Any]] = {
    dict: ('dict', dict, dict),
    abc.Mapping: ('dict', abc.Mapping, dict),
    abc.MutableMapping: ('dict', abc.MutableMapping, dict),
    collections.OrderedDict: ('ordered_dict', collections.OrderedDict, collections.OrderedDict),
    collections.Counter: ('counter', collections.Counter, collections.Counter),
}
"""By annotation: the kind, the accepted class, and the constructor that takes the entries."""
