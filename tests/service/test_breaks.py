"""What breaks callers, and what does not."""

# The annotations under test are written in all ways.
# ruff: noqa: UP007, UP045

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from tests.service.models import Movie, Point
from tests.service.support import actor
from tests.service.test_lock import color, locked, made, point, taking
from uactor.service.contract.breaks import find_breaks
from uactor.service.contract.lock import (
    Lock,
)
from uactor.service.mapping.markers import Int32, renamed_from

pytestmark = pytest.mark.quick


def change(old: Callable[..., Any], new: Callable[..., Any]) -> list[str]:
    first = locked(made(call=old))
    return [str(each) for each in find_breaks(first, locked(made(call=new), first))]


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
def test_what_callers_can_cope_with_is_no_break(old: Any, new: Any) -> None:
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
    (call({'a': int}, a=1), call({'a': int}), 'means its default without it no longer'),
    (call({'a': Optional[int]}), call({'a': int}), 'means None without it no longer'),
    (call({'a': Optional[int]}), call({'a': int}, a=1), 'means None without it no longer'),
    (call({'a': int}, a=1), call({'a': Optional[int]}), 'but means None without it'),
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
def test_what_callers_can_not_cope_with_is_a_break(old: Any, new: Any, reason: str) -> None:
    found = change(old, new)
    assert any(reason in each for each in found), found


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
    first = locked(made(call=call({})))
    moved = type('Made', (actor(call=call({})),), {'__module__': 'elsewhere'})
    assert ['the package' in str(each) for each in find_breaks(first, locked(moved, first))] == [
        True
    ]


def test_what_a_break_says() -> None:
    (found,) = find_breaks(locked(made(call=taking(int))), Lock())
    assert (found.path, found.reason) == ('MadeService', 'the service is gone')
