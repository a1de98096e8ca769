"""Random values, random classes, random edits: what holds for all of them."""

# The annotations under test are written in all ways.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import datetime
import decimal
import inspect
import uuid
from pathlib import Path
from typing import Annotated, Any, Optional, Union, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.service.buf import buf, write
from tests.service.models import Box, Color, Movie, Node, Pair, Point, Point3
from tests.service.support import back, echo, there
from tests.service.test_lock import locked, make_class
from uactor.service.contract.breaks import find_breaks
from uactor.service.contract.lock import Lock
from uactor.service.mapping.markers import BigInt, UInt64, renamed_from
from uactor.service.schema import schema_of

pytestmark = pytest.mark.quick

INTS = st.integers(-(2**63), 2**63 - 1)
AWARE = st.datetimes(
    min_value=datetime.datetime(2, 1, 1),
    max_value=datetime.datetime(9998, 1, 1),
    timezones=st.sampled_from(
        [datetime.timezone.utc, datetime.timezone(datetime.timedelta(hours=-7))]
    ),
)
TEXT = st.text()
DURATIONS = st.timedeltas(datetime.timedelta(days=-(10**6)), datetime.timedelta(days=10**6))
POINTS = st.builds(Point, INTS, INTS)
POINTS3 = st.builds(Point3, INTS, INTS, st.none() | INTS)
NODES = st.recursive(
    st.builds(Node, TEXT),
    lambda inner: st.builds(
        Node, TEXT, st.lists(inner, max_size=3), inner, st.dictionaries(TEXT, inner, max_size=2)
    ),
    max_leaves=8,
)
MOVIES = st.fixed_dictionaries(
    {'title': TEXT}, optional={'year': st.none() | INTS, 'tags': st.lists(TEXT, max_size=2)}
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)

LEAVES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTS),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False)),
    (str, TEXT),
    (bytes, st.binary()),
    (Annotated[int, UInt64], st.integers(0, 2**64 - 1)),
    (Annotated[int, BigInt], st.integers()),
    (datetime.datetime, AWARE),
    (datetime.timedelta, DURATIONS),
    (datetime.date, st.dates()),
    (datetime.time, st.times()),
    (decimal.Decimal, st.decimals(allow_nan=False)),
    (uuid.UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Point, POINTS),
    (Point3, POINTS3),
    (Node, NODES),
    (Movie, MOVIES),
    (Pair, st.builds(Pair, INTS, TEXT | INTS)),
    (Box[str], st.builds(Box, TEXT, st.lists(TEXT, max_size=2))),
    (Any, JSON),
]
HASHABLE = [int, str, bool, uuid.UUID, Color, datetime.date]


LIST, DICT, SET, TUPLE, OPTIONAL = (cast(Any, each) for each in (list, dict, set, tuple, Optional))
"""What is filled with types that are chosen at run time."""


def compound(
    leaves: st.SearchStrategy[tuple[Any, Any]],
) -> st.SearchStrategy[tuple[Any, st.SearchStrategy[Any]]]:
    keys = st.sampled_from([(hint, values) for hint, values in LEAVES if hint in HASHABLE])
    return st.one_of(
        leaves.map(lambda each: (LIST[each[0]], st.lists(each[1], max_size=3))),
        leaves.map(lambda each: (OPTIONAL[each[0]], st.none() | each[1])),
        leaves.map(lambda each: (TUPLE[each[0], ...], st.lists(each[1], max_size=3).map(tuple))),
        st.tuples(leaves, leaves).map(
            lambda both: (TUPLE[both[0][0], both[1][0]], st.tuples(both[0][1], both[1][1]))
        ),
        st.tuples(keys, leaves).map(
            lambda both: (
                DICT[both[0][0], both[1][0]],
                st.dictionaries(both[0][1], both[1][1], max_size=3),
            )
        ),
        keys.map(lambda each: (SET[each[0]], st.sets(each[1], max_size=3))),
        st.lists(
            st.sampled_from(LEAVES[:5] + LEAVES[7:16]), min_size=2, max_size=4, unique_by=id
        ).map(_union),
    )


def _union(leaves: list[tuple[Any, Any]]) -> tuple[Any, Any]:
    hints = tuple(hint for hint, _ in leaves)
    return Union[hints], st.one_of([values for _, values in leaves])


HINTS = st.recursive(st.sampled_from(LEAVES), compound, max_leaves=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_every_value_of_every_annotation_comes_back_as_it_was(data: st.DataObject) -> None:
    hint, values = data.draw(HINTS)
    method = echo(hint)
    for value in data.draw(st.lists(values, min_size=1, max_size=4)):
        assert there(method, value) == value
        assert back(method, value) == value


# --- edits ---------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    'int': int,
    'optional': Optional[str],
    'list': list[int],
    'union': Union[int, str, None],
    'point': Point,
    'nested': list[list[int | None]],
}
Parameters = dict[str, tuple[str, bool]]
"""Kinds of parameters by name, and whether they have a default."""


def function(parameters: Parameters, olds: dict[str, str]) -> Any:
    def call(self, **kwargs) -> int: ...  # type: ignore[no-untyped-def]

    kind = inspect.Parameter.KEYWORD_ONLY
    made_of = []
    for name, (hint, has_default) in parameters.items():
        annotation = KINDS[hint]
        if name in olds:
            annotation = Annotated[annotation, renamed_from(olds[name])]
        default = None if has_default else inspect.Parameter.empty
        made_of.append(inspect.Parameter(name, kind, annotation=annotation, default=default))
    self = inspect.Parameter('self', inspect.Parameter.POSITIONAL_ONLY)
    call.__signature__ = inspect.Signature([self, *made_of])  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in made_of} | {'return': int}
    return call


@st.composite
def versions(draw: st.DrawFn) -> list[tuple[Parameters, dict[str, str]]]:
    """Return versions of a signature: additions, removals, reorderings and marked renames."""
    names = [f'p{index}' for index in range(6)]
    current: Parameters = {
        name: (draw(st.sampled_from(sorted(KINDS))), True)
        for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=4))
    }
    found: list[tuple[Parameters, dict[str, str]]] = [(current, {})]
    for _ in range(draw(st.integers(1, 5))):
        current, olds = dict(found[-1][0]), {}
        free = sorted({*names} - {*current})
        edit = draw(st.sampled_from(['add', 'remove', 'reorder', 'rename']))
        if edit == 'add' and free:
            current[draw(st.sampled_from(free))] = (draw(st.sampled_from(sorted(KINDS))), True)
        elif edit == 'reorder' and current:
            current = dict(draw(st.permutations(list(current.items()))))
        elif edit == 'rename' and current and free:
            old, new = draw(st.sampled_from(sorted(current))), draw(st.sampled_from(free))
            current = {new if name == old else name: kind for name, kind in current.items()}
            olds[new] = old
        elif edit == 'remove' and current:
            del current[draw(st.sampled_from(sorted(current)))]
        found.append((current, olds))
    return found


@settings(max_examples=100, deadline=None)
@given(versions=versions())
def test_no_number_and_no_name_ever_gets_another_meaning(
    versions: list[tuple[Parameters, dict[str, str]]],
) -> None:
    lock = Lock()
    seen: dict[Any, Any] = {}
    for parameters, olds in versions:
        lock = locked(make_class(call=function(parameters, olds)), lock)
        for name, each in lock.messages['CallRequest'].fields.items():
            assert seen.setdefault(each.number, (name, each.type)) == (name, each.type)
        assert locked(make_class(call=function(parameters, olds)), lock).dump() == lock.dump()


@settings(max_examples=100, deadline=None)
@given(versions=versions())
def test_additions_reorderings_and_marked_renames_are_no_breaks(
    versions: list[tuple[Parameters, dict[str, str]]],
) -> None:
    lock, before = Lock(), 0
    for parameters, olds in versions:
        new = locked(make_class(call=function(parameters, olds)), lock)
        found = find_breaks(lock, new)
        assert len(found) >= 1 if len(parameters) < before else not found, found
        lock, before = new, len(parameters)


@pytest.mark.processes
@pytest.mark.timeout(120)
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(versions=versions())
def test_buf_sees_no_break_whatever_the_edits(
    versions: list[tuple[Parameters, dict[str, str]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    lock, previous = Lock(), None
    for parameters, olds in versions:
        cls = make_class(call=function(parameters, olds))
        lock = locked(cls, lock)
        folder: Path = tmp_path_factory.mktemp('version')
        write(schema_of(cls, lock), folder)
        if previous is not None:
            assert buf('breaking', '--against', str(previous), folder=folder) == ''
        previous = folder
    assert buf('lint', folder=folder) == ''
