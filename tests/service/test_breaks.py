"""What breaks callers, and what does not."""

# The annotations under test are written in all ways.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from tests.service.models import Movie, Point
from tests.service.support import actor
from tests.service.test_lock import color, locked, make_class, point, taking
from uactor.service.contract.breaks import find_breaks
from uactor.service.contract.lock import (
    Lock,
    LockedEnum,
    LockedField,
    LockedMessage,
    LockedMethod,
    LockedService,
)
from uactor.service.mapping.markers import Int32, renamed_from

pytestmark = pytest.mark.quick


def change(old: Callable[..., Any], new: Callable[..., Any]) -> list[str]:
    first = locked(make_class(call=old))
    return [str(each) for each in find_breaks(first, locked(make_class(call=new), first))]


def call(annotations: dict[str, Any], result: Any = None, **defaults: Any) -> Any:
    """Return a method with these parameters."""
    import inspect

    kind = inspect.Parameter.KEYWORD_ONLY
    missing = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(name, kind, annotation=hint, default=defaults.get(name, missing))
        for name, hint in annotations.items()
    ]
    self = inspect.Parameter('self', inspect.Parameter.POSITIONAL_ONLY)

    def call(self, **kwargs): ...  # type: ignore[no-untyped-def]

    call.__signature__ = inspect.Signature([self, *parameters])  # type: ignore[attr-defined]
    call.__annotations__ = {**annotations, 'return': result}
    return call


HARMLESS: list[tuple[Any, Any]] = [
    (call({'a': int}), call({'a': int})),
    (call({'a': int, 'b': int}), call({'b': int, 'a': int})),
    (call({'a': int}), call({'a': int, 'b': int}, b=1)),
    (call({'a': int}), call({'a': int, 'b': Optional[int]})),
    (call({'a': int}), call({'a': int, 'b': list[int]})),
    (call({'a': int}), call({'a': int}, a=1)),
    (call({'a': int}), call({'a': Optional[int]})),
    (call({'a': int}), call({'b': Annotated[int, renamed_from('a')]})),
    (call({'a': Union[int, str]}), call({'a': Union[str, int, bytes]})),
    (call({'a': Union[int, str]}), call({'a': Union[str, int, None]})),
    (call({'a': list[int]}), call({'a': list[int]}, a=())),
    (call({'a': list[int]}), call({'a': tuple[int, ...]})),
    (call({'a': Literal['a']}), call({'a': Literal['a', 'b']})),
    (color('A'), color('B', 'A')),
    (call({}, point(('x', int))), call({}, point(('x', int), ('y', int)))),
    (call({}, Optional[int]), call({}, int)),
    (call({'a': int}, a=1), call({'a': int}, a=2)),
]


@pytest.mark.parametrize(('old', 'new'), HARMLESS)
def test_a_change_that_callers_can_cope_with_is_no_break(old: Any, new: Any) -> None:
    assert change(old, new) == []


BREAKS: list[tuple[Any, Any, str]] = [
    (call({'a': int}), call({}), 'CallRequest.a: the field is gone'),
    (call({'a': int}), call({'a': str}), 'CallRequest.a: its type was int64'),
    (call({'a': int}), call({'a': Annotated[int, Int32]}), 'its type was int64'),
    (call({'a': str}), call({'a': uuid.UUID}), 'CallRequest.a: it meant str'),
    (call({'a': list[str]}), call({'a': list[uuid.UUID]}), 'CallRequest.a: it meant str'),
    (call({'a': int}), call({'a': list[int]}), 'its type was int64'),
    (call({'a': int}), call({'a': Union[int, str]}), 'CallRequest.a: the field is gone'),
    (call({'a': Union[int, str]}), call({'a': Union[int, bytes]}), 'a_str: the field is gone'),
    (call({'a': int}), call({'b': int}), 'CallRequest.b: the field is new, and needed'),
    (call({'a': int}), call({'a': int, 'b': int}), 'b: the field is new, and needed'),
    (call({}), call({'b': Union[int, str]}), 'b_int: the field is new, and needed'),
    (
        call({'a': int}, a=1),
        call({'a': int}),
        'left out, it meant its default; now it means an error',
    ),
    (call({'a': Optional[int]}), call({'a': int}), 'left out, it meant None'),
    (call({'a': Optional[int]}), call({'a': int}, a=1), 'left out, it meant None'),
    (call({'a': int}, a=1), call({'a': Optional[int]}), 'now it means None'),
    (call({'a': Optional[int]}, a=1), call({'a': Optional[int]}), 'its type was OptionalInt'),
    (call({'a': list[int]}), call({'a': Optional[list[int]]}), 'its type was repeated int64'),
    (call({}, int), call({}, Optional[int]), 'CallResponse.result: it may be absent now'),
    (call({}, int), call({}), 'CallResponse.result: the field is gone'),
    (call({}, int), call({}, Iterator[int]), 'the server streams now'),
    (call({}, Iterator[int]), call({}, int), 'the server does not stream any more'),
    (call({'a': int}), call({'a': Iterator[int]}), 'the client streams now'),
    (call({'a': Literal['a', 'b']}), call({'a': Literal['a']}), 'A_B: the value is gone'),
    (color('A', 'B'), color('A'), 'Color.COLOR_B: the value is gone'),
    (
        call({'a': point(('x', int))}),
        call({'a': point(('x', int), ('y', int))}),
        'Point.y: the field is new, and needed',
    ),
    (
        call({}, list[list[point(('x', int))]]),  # type: ignore[misc]
        call({}, list[list[point(('x', Optional[int]))]]),  # type: ignore[misc]
        'Point.x: it may be absent now',
    ),
    (call({'a': Point}), call({'a': Movie}), 'its type was Point'),
]


@pytest.mark.parametrize(('old', 'new', 'reason'), BREAKS)
def test_a_change_that_callers_can_not_cope_with_is_a_break(
    old: Any, new: Any, reason: str
) -> None:
    found = change(old, new)
    assert any(reason in each for each in found), found


def test_a_lost_default_is_not_reported_where_the_type_has_changed() -> None:
    found = change(call({'a': int}, a=1), call({'a': str}))
    assert not any('no longer' in each for each in found), found


def test_a_field_of_a_result_only_may_be_needed() -> None:
    cls, more = point(('x', int)), point(('x', int), ('y', int))
    assert not change(call({}, cls), call({}, more))
    assert change(call({'a': cls}), call({'a': more}))


def test_methods_and_services_that_are_gone() -> None:
    both = actor(call=call({}), other=call({}))
    first = locked(both)
    assert [str(each) for each in find_breaks(first, locked(actor(call=call({})), first))] == [
        'MadeService.Other: the method is gone'
    ]
    assert [str(each) for each in find_breaks(first, Lock())] == [
        'MadeService: the service is gone'
    ]


def test_a_method_that_can_not_be_mapped_any_more_is_gone() -> None:
    assert change(call({'a': int}), call({'a': complex})) == [
        'MadeService.Call: the method is gone'
    ]


def test_another_package_is_a_break() -> None:
    first = locked(make_class(call=call({})))
    moved = type('Made', (actor(call=call({})),), {'__module__': 'elsewhere'})
    assert ['the package' in str(each) for each in find_breaks(first, locked(moved, first))] == [
        True
    ]


def test_a_break_has_a_path_and_a_reason() -> None:
    (found,) = find_breaks(locked(make_class(call=taking(int))), Lock())
    assert (found.path, found.reason) == ('MadeService', 'the service is gone')


# --- locks that are written out ------------------------------------------------------------------


INT = LockedField(1, 'int64', 'int', 'error')


def lock(
    request: dict[str, LockedField] | None = None,
    response: dict[str, LockedField] | None = None,
    enum: dict[str, int] | None = None,
    *,
    response_name: str = 'CallResponse',
) -> Lock:
    """Return a lock of a service with one method, and these fields and values."""
    method = LockedMethod('call', 'CallRequest', response_name)
    messages = {
        name: LockedMessage(name, ['MadeService'], fields=fields or {})
        for name, fields in (('CallRequest', request), (response_name, response))
    }
    enums = {'Color': LockedEnum('Color', ['MadeService'], values=enum or {})}
    return Lock(
        {'MadeService': LockedService('Made', 'made.v1', {'Call': method})}, messages, enums
    )


def reasons(old: Lock, new: Lock) -> list[str]:
    return [str(each) for each in find_breaks(old, new)]


def with_(field: LockedField, **changes: Any) -> dict[str, LockedField]:
    return {'a': dataclasses.replace(field, **changes)}


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({'number': 2}, 'its number was 1, and is 2 now'),
    ({'type': 'int32'}, 'its type was int64, and is int32 now'),
    ({'means': 'bool'}, 'it meant int, and is bool now'),
    ({'oneof': 'b'}, 'it has become an arm of a union, or ceased to be one'),
]


@pytest.mark.parametrize(('changes', 'reason'), CHANGES)
def test_each_change_of_a_field_is_a_break(changes: dict[str, Any], reason: str) -> None:
    before, after = with_(INT), with_(INT, **changes)
    assert reasons(lock(before), lock(after)) == [f'CallRequest.a: {reason}']
    assert reasons(lock({}, before), lock({}, after)) == [f'CallResponse.a: {reason}']


ABSENCES = ('error', 'default', 'omitted', 'none', 'empty')


@pytest.mark.parametrize('before', ABSENCES)
@pytest.mark.parametrize('after', ABSENCES)
def test_a_result_may_not_become_absent(before: Any, after: Any) -> None:
    old, new = lock({}, with_(INT, absent=before)), lock({}, with_(INT, absent=after))
    is_break = before in ('error', 'default') and after not in ('error', 'default')
    assert reasons(old, new) == ['CallResponse.a: it may be absent now'] * is_break


@pytest.mark.parametrize('before', ABSENCES)
@pytest.mark.parametrize('after', ABSENCES)
def test_the_absence_of_a_parameter_may_not_change_its_meaning(before: Any, after: Any) -> None:
    old, new = lock(with_(INT, absent=before)), lock(with_(INT, absent=after))
    assert len(reasons(old, new)) == (before not in ('error', after))


def test_a_new_parameter_must_be_optional() -> None:
    needed = ['CallRequest.a: the field is new, and needed']
    assert reasons(lock(), lock(with_(INT))) == needed
    assert reasons(lock(), lock(with_(INT, oneof='u'))) == needed
    assert reasons(lock(), lock({}, with_(INT))) == []
    for absent in ABSENCES[1:]:
        assert reasons(lock(), lock(with_(INT, absent=absent))) == []


def test_a_new_arm_of_a_known_union_is_no_break() -> None:
    arm, other = (dataclasses.replace(INT, number=n, oneof='u') for n in (1, 2))
    assert reasons(lock({'u_a': arm}), lock({'u_a': arm, 'u_b': other})) == []


def test_values_of_an_enum_that_callers_know_must_stay() -> None:
    field = with_(INT, type='repeated Color')
    old = lock(field, enum={'A': 1, 'B': 2})
    assert reasons(old, lock(field, enum={'A': 1, 'B': 2, 'C': 3})) == []
    assert reasons(old, lock(field, enum={'A': 2, 'C': 3})) == [
        'Color.A: its number was 1, and is 2 now',
        'Color.B: the value is gone',
    ]


def test_a_type_that_callers_do_not_know_may_change() -> None:
    assert reasons(lock(enum={'A': 1}), lock(enum={})) == []


def test_a_tombstone_is_not_compared_again() -> None:
    old = lock({}, with_(INT))
    new = lock({}, response_name='Other')
    new.messages['CallResponse'] = LockedMessage('CallResponse')
    assert reasons(old, new) == ['MadeService.Call: its response CallResponse is Other now']
