"""Random edits of random signatures: what breaks callers is reported, and nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.test_lock import locked, make_class
from tests.service.test_properties import KINDS, Parameters, function
from uactor.service.contract.breaks import find_breaks
from uactor.service.contract.lock import Lock

NAMES = [f'p{index}' for index in range(6)]
KIND = st.sampled_from(sorted(KINDS))
SIGNATURES = st.dictionaries(
    st.sampled_from(NAMES), st.tuples(KIND, st.booleans()), min_size=1, max_size=4
)
TELLS = ('optional', 'list', 'union')
"""Kinds whose absence says something even without a default."""


def lock_of(parameters: Parameters, lock: Lock | None = None, **members: Any) -> Lock:
    cls = make_class(call=function(parameters, {}), **members)
    return locked(cls, Lock() if lock is None else lock)


@st.composite
def breaking(draw: st.DrawFn) -> tuple[Parameters, Parameters, str]:
    """Return a signature, the same with one edit that breaks callers, and the kind of the edit."""
    old = draw(SIGNATURES)
    new = dict(old)
    name = draw(st.sampled_from(sorted(old)))
    kind, has_default = old[name]
    free = sorted({*NAMES} - {*old})
    edits = ['remove', 'rename', 'retype', 'need']
    edit = draw(st.sampled_from([*edits, 'demand'] if has_default and kind not in TELLS else edits))
    if edit == 'remove':
        del new[name]
    elif edit == 'rename':  # without a mark
        new = {free[0] if each == name else each: what for each, what in old.items()}
    elif edit == 'retype':
        other = draw(KIND.filter(lambda other: other != kind))
        new[name] = other, has_default
    elif edit == 'need':  # a new parameter, without a default
        new[free[0]] = draw(st.sampled_from(sorted({*KINDS} - {*TELLS, 'nested'}))), False
    else:  # a default is gone
        new[name] = kind, False
    return old, dict(draw(st.permutations(list(new.items())))), edit


@settings(max_examples=200, deadline=None)
@given(edit=breaking())
def test_every_edit_that_breaks_callers_is_reported(
    edit: tuple[Parameters, Parameters, str],
) -> None:
    old, new, kind = edit
    before = lock_of(old)
    after = lock_of(new, before)
    assert find_breaks(before, after), kind
    assert not find_breaks(after, lock_of(new, after))


@settings(max_examples=50, deadline=None)
@given(parameters=SIGNATURES, others=SIGNATURES)
def test_methods_come_without_a_break_and_go_with_one(
    parameters: Parameters, others: Parameters
) -> None:
    one = lock_of(parameters)
    two = lock_of(parameters, one, other=function(others, {}))
    assert not find_breaks(one, two)
    found = find_breaks(two, lock_of(parameters, two))
    assert 'MadeService.Other: the method is gone' in map(str, found)
