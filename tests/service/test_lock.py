"""The lock: numbers and names that never move."""

# The annotations under test are written in all ways.
# ruff: noqa: UP045

from __future__ import annotations

import dataclasses
import enum
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest

from tests.service.buf import buf
from tests.service.support import actor, transfer
from uactor.service.contract import numbering
from uactor.service.contract.lock import Lock, LockedEnum, LockedField, LockedMessage, find_lock
from uactor.service.contract.numbering import next_lock
from uactor.service.errors import LockError
from uactor.service.mapping.markers import LARGEST_NUMBER, field, renamed_from
from uactor.service.mapping.members import plan_service
from uactor.service.schema import schema_of, schema_text

pytestmark = pytest.mark.quick

EMPTY = Lock()


def make_class(name: str = 'Made', **members: Any) -> type:
    cls = actor(**members)
    return type(name, (cls,), {'__module__': 'made'})


def locked(cls: type, lock: Lock = EMPTY) -> Lock:
    return next_lock(lock, plan_service(cls))


def numbers(lock: Lock, message: str = 'CallRequest') -> dict[str, int]:
    return {name: each.number for name, each in lock.messages[message].fields.items()}


def history(*functions: Callable[..., Any]) -> Lock:
    lock = EMPTY
    for function in functions:
        lock = locked(make_class(call=function), lock)
    return lock


def ab(self: Any, a: int, b: int) -> None: ...
def ba(self: Any, b: int, a: int) -> None: ...
def cab(self: Any, c: int, a: int, b: int) -> None: ...
def only_a(self: Any, a: int) -> None: ...
def ac(self: Any, a: int, c: int) -> None: ...
def a_text(self: Any, a: str, b: int) -> None: ...


def test_numbers_follow_the_declaration_at_first() -> None:
    assert numbers(history(ab)) == {'a': 1, 'b': 2}


def test_numbers_stay_when_the_order_changes() -> None:
    assert numbers(history(ab, ba)) == {'a': 1, 'b': 2}
    assert numbers(history(ab, cab)) == {'a': 1, 'b': 2, 'c': 3}


def test_a_number_is_never_given_twice() -> None:
    lock = history(ab, only_a, ac)
    assert numbers(lock) == {'a': 1, 'c': 3}
    assert lock.messages['CallRequest'].reserved.numbers == [2]
    assert lock.messages['CallRequest'].reserved.names == ['b']


def test_a_name_that_comes_back_gets_another_name_and_number_on_the_wire() -> None:
    lock = history(ab, only_a, ab)
    assert numbers(lock) == {'a': 1, 'b_2': 3}
    method = schema_of(make_class(call=ab), lock).methods['Call']
    values = {'a': 5, 'b': 6}
    assert method.read_request(transfer(method.write_request((), values))) == ((), values)
    assert numbers(history(ab, only_a, ab, ab)) == {'a': 1, 'b_2': 3}


def test_another_type_is_another_number() -> None:
    lock = history(ab, a_text)
    assert numbers(lock) == {'a': 3, 'b': 2}
    assert lock.messages['CallRequest'].reserved.numbers == [1]
    assert lock.messages['CallRequest'].reserved.names == []


def test_reserved_stands_in_the_descriptor() -> None:
    message = schema_of(make_class(call=only_a), history(ab)).file.message_type[0]
    assert [(each.start, each.end) for each in message.reserved_range] == [(2, 3)]
    assert list(message.reserved_name) == ['b']


def pinned(self: Any, a: int, b: Annotated[int, field(7)], c: int) -> None: ...
def pinned_first(self: Any, a: Annotated[int, field(2)], b: int, c: int) -> None: ...
def clashing(self: Any, a: Annotated[int, field(2)], b: int) -> None: ...


def test_pins() -> None:
    assert numbers(history(pinned)) == {'a': 1, 'b': 7, 'c': 2}
    assert numbers(history(pinned_first)) == {'a': 2, 'b': 1, 'c': 3}
    lock = history(ab, pinned)
    assert numbers(lock) == {'a': 1, 'b': 7, 'c': 3}
    assert lock.messages['CallRequest'].reserved.numbers == [2]


def test_a_pin_to_what_is_or_was_another_field_is_an_error() -> None:
    with pytest.raises(LockError, match='pinned'):
        history(ab, clashing)
    with pytest.raises(LockError, match='pinned'):
        history(ab, only_a, clashing)


def renamed(self: Any, amount: Annotated[int, renamed_from('a')], b: int) -> None: ...
def renamed_unmarked(self: Any, amount: int, b: int) -> None: ...
def renamed_again(self: Any, sum: Annotated[int, renamed_from('amount')], b: int) -> None: ...
def renamed_and_new(self: Any, amount: int, b: int, a: str) -> None: ...


def test_a_renamed_parameter_keeps_number_and_name_on_the_wire() -> None:
    for versions in (
        (ab, renamed),
        (ab, renamed, renamed_unmarked),
        (ab, renamed, renamed_again),
    ):
        lock = history(*versions)
        assert numbers(lock) == {'a': 1, 'b': 2}
        assert not lock.messages['CallRequest'].reserved.names
        method = schema_of(make_class(call=versions[-1]), lock).methods['Call']
        _, kwargs = method.read_request(method.request_class(a=5, b=6))
        assert list(kwargs.values()) == [5, 6]
    assert numbers(history(renamed)) == {'a': 1, 'b': 2}


def test_a_new_parameter_may_have_the_name_that_another_gave_up() -> None:
    lock = history(ab, renamed, renamed_and_new)
    assert numbers(lock) == {'a': 1, 'b': 2, 'a_2': 3}


def test_a_parameter_may_be_renamed_to_what_another_was_called() -> None:
    lock = history(ab, renamed, renamed_unmarked)
    assert lock.messages['CallRequest'].names == {'amount': 'a'}

    def moved_up(self: Any, amount: int, a: Annotated[int, renamed_from('b')]) -> None: ...

    lock = locked(make_class(call=moved_up), lock)
    assert lock.messages['CallRequest'].names == {'amount': 'a', 'a': 'b'}


def test_a_name_of_one_that_is_gone_is_not_taken_over() -> None:
    def only_new_a(self: Any, a: int, b: int) -> None: ...

    lock = history(ab, renamed, only_new_a)
    assert numbers(lock) == {'a_2': 3, 'b': 2}


def test_a_name_that_comes_back_takes_none_of_another() -> None:
    def two(self: Any, a: int, b: int, b_2: int) -> None: ...
    def one(self: Any, a: int, b_2: int) -> None: ...

    assert numbers(history(two, one, two)) == {'a': 1, 'b_3': 4, 'b_2': 3}


def test_without_its_marker_a_rename_is_another_parameter() -> None:
    assert numbers(history(ab, renamed_unmarked)) == {'b': 2, 'amount': 3}


def union(self: Any, value: int | str) -> None: ...
def union_more(self: Any, value: bytes | str | int | None) -> None: ...
def union_less(self: Any, value: bytes | str) -> None: ...
def union_renamed(self: Any, other: Annotated[str | int, renamed_from('value')]) -> None: ...


def test_arms_of_a_union_keep_their_numbers() -> None:
    lock = history(union, union_more)
    assert numbers(lock) == {'value_int': 1, 'value_str': 2, 'value_bytes': 3}
    lock = history(union, union_more, union_less)
    assert numbers(lock) == {'value_str': 2, 'value_bytes': 3}
    assert lock.messages['CallRequest'].reserved.names == ['value_int']
    assert numbers(history(union, union_renamed)) == {'value_int': 1, 'value_str': 2}
    method = schema_of(make_class(call=union_renamed), history(union)).methods['Call']
    assert method.read_request(transfer(method.write_request(('a',)))) == ((), {'other': 'a'})


def nested_union(self: Any, values: list[int | str]) -> None: ...
def nested_union_more(self: Any, values: list[bytes | int | str]) -> None: ...


def test_arms_of_a_union_in_a_list_too() -> None:
    lock = history(nested_union, nested_union_more)
    assert numbers(lock, 'CallValues') == {'value_int': 1, 'value_str': 2, 'value_bytes': 3}


def new_enum(name: str, members: dict[str, int]) -> Any:
    functional: Any = enum.Enum
    return functional(name, members, module='made')


def color(*names: str) -> Any:
    members = {name: index for index, name in enumerate(names)}
    cls: Any = new_enum('Color', members)

    def call(self: Any, value: cls) -> None: ...

    call.__annotations__['value'] = cls
    return call


def values(lock: Lock, name: str = 'Color') -> dict[str, int]:
    return lock.enums[name].values


def test_values_of_an_enum_keep_their_numbers() -> None:
    lock = history(color('A', 'B'), color('C', 'B', 'A'), color('B', 'D'))
    assert values(lock) == {'COLOR_B': 2, 'COLOR_D': 4}
    assert lock.enums['Color'].reserved.numbers == [1, 3]
    assert lock.enums['Color'].reserved.names == ['COLOR_A', 'COLOR_C']
    again = color('A', 'B', 'D')
    lock = locked(make_class(call=again), lock)
    assert values(lock) == {'COLOR_A_2': 5, 'COLOR_B': 2, 'COLOR_D': 4}
    method = schema_of(make_class(call=again), lock).methods['Call']
    member = again.__annotations__['value'].A
    assert method.read_request(transfer(method.write_request((member,))))[1]['value'] is member


def literal(self: Any, value: Literal['a', 'b']) -> None: ...
def literal_more(self: Any, value: Literal['c', 'b', 'a']) -> None: ...


def test_two_enums_of_one_name_have_values_of_their_own() -> None:
    one, two = (color('A').__annotations__['value'] for _ in range(2))
    two.__module__ = 'elsewhere'
    lock = history(taking(one, two))
    assert values(lock) == {'COLOR_A': 1}
    assert values(lock, 'Color2') == {'COLOR2_A': 1}
    method = schema_of(make_class(call=taking(one, two)), lock).methods['Call']
    wire = {'p0': one.A, 'p1': two.A}
    assert method.read_request(transfer(method.write_request((), wire))) == ((), wire)


def test_enums_whose_values_would_clash_are_left_out() -> None:
    one = new_enum('Color', {'RED_A': 1})
    two = new_enum('ColorRed', {'A': 1})
    assert 'COLOR_RED_' in schema_of(make_class(call=taking(one, two))).unmapped['call']


def test_literals_too() -> None:
    lock = history(literal, literal_more)
    assert values(lock, 'CallValue') == {
        'CALL_VALUE_A': 1,
        'CALL_VALUE_B': 2,
        'CALL_VALUE_C': 3,
    }


def point(*fields: Any, module: str = 'made', name: str = 'Point') -> Any:
    cls = dataclasses.make_dataclass(name, fields)
    cls.__module__ = module
    return cls


def taking(*hints: Any) -> Any:
    def call(self, **kwargs) -> None: ...  # type: ignore[no-untyped-def]

    import inspect

    kind = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter(f'p{index}', kind, annotation=hint) for index, hint in enumerate(hints)
    ]
    self = inspect.Parameter('self', inspect.Parameter.POSITIONAL_ONLY)
    call.__signature__ = inspect.Signature([self, *parameters])  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters} | {'return': None}
    return call


def test_fields_of_a_class_keep_their_numbers() -> None:
    lock = history(
        taking(point(('x', int), ('y', int))),
        taking(point(('z', Optional[int]), ('y', int), ('x', int))),
    )
    assert numbers(lock, 'Point') == {'x': 1, 'y': 2, 'z': 3}


def test_a_class_that_moves_to_another_module_stays() -> None:
    lock = history(
        taking(point(('x', int), ('y', int))),
        taking(point(('y', int), ('x', int), module='elsewhere')),
    )
    assert numbers(lock, 'Point') == {'x': 1, 'y': 2}
    assert 'Point2' not in lock.messages


def test_two_classes_of_one_name_stay_distinct_and_keep_their_names() -> None:
    here, there = point(('x', int)), point(('y', int), module='there')
    lock = history(taking(here, there), taking(there, here))
    assert numbers(lock, 'Point') == {'x': 1}
    assert numbers(lock, 'Point2') == {'y': 1}


def test_a_class_that_comes_back_goes_on_where_it_was() -> None:
    first, then = point(('x', int), ('y', int)), point(('y', int))
    lock = history(taking(first), taking(int), taking(then))
    assert numbers(lock, 'Point') == {'y': 2}
    assert lock.messages['Point'].reserved.numbers == [1]


def test_a_method_that_is_gone_leaves_a_tombstone_and_comes_back_to_it() -> None:
    lock = locked(make_class(call=ab, other=ab))
    gone = locked(make_class(call=ab), lock)
    assert set(gone.services['MadeService'].methods) == {'Call'}
    assert set(gone.services['MadeService'].removed) == {'Other'}
    assert gone.messages['OtherRequest'].used_by == []
    again = locked(make_class(call=ab, other=ba), gone)
    assert not again.services['MadeService'].removed
    assert numbers(again, 'OtherRequest') == {'a': 1, 'b': 2}


def test_tombstones_are_not_in_the_file() -> None:
    lock = locked(make_class(call=ab, other=ab))
    file = schema_of(make_class(call=ab), lock).file
    assert [message.name for message in file.message_type] == ['CallRequest', 'CallResponse']


def test_classes_of_one_module_share_a_package_without_sharing_names() -> None:
    shared = point(('x', int))
    one, two = make_class('One', call=taking(shared)), make_class('Two', call=taking(int, shared))
    lock = locked(two, locked(one))
    methods = {name: service.methods['Call'] for name, service in lock.services.items()}
    assert methods['OneService'].request == 'CallRequest'
    assert methods['TwoService'].request == 'TwoServiceCallRequest'
    assert lock.messages['Point'].used_by == ['OneService', 'TwoService']
    assert locked(one, locked(two, lock)).dump() == lock.dump()
    without = locked(make_class('One', call=taking(int)), lock)
    assert without.messages['Point'].used_by == ['TwoService']


@pytest.mark.processes
def test_services_of_one_module_make_one_file(tmp_path: Path) -> None:
    shared = point(('x', int))
    classes = [
        make_class('One', call=taking(shared)),
        make_class('Two', call=taking(color('A')), other=ab),
    ]
    lock = EMPTY
    for cls in classes:
        lock = locked(cls, lock)
    schemas = [schema_of(cls, lock) for cls in classes]
    text = schema_text(*schemas)
    assert 'UNSTABLE' not in text
    assert text.count('service ') >= 2
    (tmp_path / 'made' / 'v1').mkdir(parents=True)
    (tmp_path / 'made' / 'v1' / 'made.proto').write_text(text)
    (tmp_path / 'buf.yaml').write_text('version: v2')
    assert buf('lint', folder=tmp_path) == ''


def test_a_dataclass_never_takes_the_name_of_a_request() -> None:
    lock = locked(make_class(call=taking(point(('x', int), name='CallRequest'))))
    assert lock.services['MadeService'].methods['Call'].request == 'CallRequest'
    assert numbers(lock, 'CallRequest2') == {'x': 1}


def test_updating_twice_changes_nothing() -> None:
    lock = history(ab, only_a, ab, union, renamed)
    assert locked(make_class(call=renamed), lock).dump() == lock.dump()


def test_a_lock_file_holds_all_of_a_lock(tmp_path: Path) -> None:
    lock = history(
        ab, only_a, ab, union, renamed, color('A'), color('B'), taking(point(('x', int)))
    )
    path = tmp_path / 'made.actors.lock.json'
    path.write_text(lock.dump())
    assert Lock.load(path).dump() == lock.dump()
    assert lock.dump().endswith('}\n')


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"version": 99}', '{"version": 1}'])
def test_a_text_that_is_no_lock_is_refused(text: str) -> None:
    with pytest.raises(LockError):
        Lock.parse(text)


def test_a_lock_of_another_version_is_an_error_about_the_version() -> None:
    text = history(ab).dump()
    assert Lock.parse(text).dump() == text
    later = json.dumps({**json.loads(text), 'version': 99})
    with pytest.raises(LockError, match='has version 99'):
        Lock.parse(later, 'this file')


def test_numbers_that_protobuf_keeps_for_itself_are_passed_over() -> None:
    assert numbering.next_number(18_999, ()) == 18_999
    assert numbering.next_number(19_000, ()) == 20_000
    assert numbering.next_number(18_998, range(18_998, 19_000)) == 20_000
    with pytest.raises(LockError, match='no field number is left'):
        numbering.next_number(LARGEST_NUMBER + 1, ())


def test_a_schema_is_locked_when_the_lock_is_up_to_date() -> None:
    lock = history(ab)
    assert schema_of(make_class(call=ab), lock).is_locked
    assert schema_of(make_class(call=ba), lock).is_locked
    assert not schema_of(make_class(call=cab), lock).is_locked
    assert not schema_of(make_class(call=ab)).is_locked


def test_a_class_newer_than_its_lock_gets_the_numbers_that_the_next_lock_will_have() -> None:
    lock = history(ab)
    newer = make_class(call=cab)
    assert schema_of(newer, lock).lock.dump() == locked(newer, lock).dump()


def test_the_fingerprint_is_that_of_the_contract() -> None:
    plain = schema_of(make_class(call=ab))
    assert schema_of(make_class(call=ba), plain.lock).fingerprint == plain.fingerprint
    assert schema_of(make_class(call=ab), plain.lock).fingerprint == plain.fingerprint
    assert schema_of(make_class(call=cab), plain.lock).fingerprint != plain.fingerprint

    def documented(self: Any, a: int, b: int) -> None:
        """Say something."""

    assert schema_of(make_class(call=documented)).fingerprint == plain.fingerprint

    def defaulted(self: Any, a: int, b: int = 1) -> None: ...

    assert schema_of(make_class(call=defaulted)).fingerprint != plain.fingerprint


def test_the_lock_is_found_beside_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / 'lockedpackage'
    package.mkdir()
    (package / '__init__.py').touch()
    (package / 'shop.py').touch()
    (tmp_path / 'lockedmodule.py').touch()
    text = history(ab).dump()
    (package / 'shop.actors.lock.json').write_text(text)
    (tmp_path / 'lockedmodule.actors.lock.json').write_text(text)
    for name in ('lockedpackage.shop', 'lockedmodule'):
        found = find_lock(name)
        assert found is not None
        assert found.dump() == text
    assert find_lock('lockedpackage') is None
    (package / 'lockedpackage.actors.lock.json').write_text(text)
    assert find_lock('lockedpackage') is not None
    assert find_lock('no.such.module') is None
    assert find_lock('__main__') is None
    sys.modules.pop('lockedpackage', None)


def test_a_lock_file_has_fields_and_values_by_number_and_all_else_by_name() -> None:
    field = LockedField(2, 'int64', 'int', 'error')
    fields = {'b': field, 'c': dataclasses.replace(field, number=3)}
    fields['a'] = dataclasses.replace(field, number=10)
    lock = Lock(
        messages={
            'Z': LockedMessage('z', fields=fields),
            'Y': LockedMessage('y', names={'q': 'r', 'p': 's'}),
        },
        enums={'E': LockedEnum('e', values={'Y': 10, 'Z': 9})},
    )
    data = json.loads(lock.dump())
    assert list(data['messages']) == ['Y', 'Z']
    assert list(data['messages']['Z']['fields']) == ['b', 'c', 'a']
    assert list(data['messages']['Y']['names']) == ['p', 'q']
    assert list(data['enums']['E']['values']) == ['Z', 'Y']


def test_a_value_that_comes_back_twice_gets_no_name_of_the_past() -> None:
    lock = history(color('A', 'B'), color('B'), color('A', 'B'), color('B'), color('A', 'B'))
    assert values(lock) == {'COLOR_A_3': 4, 'COLOR_B': 2}
    assert lock.enums['Color'].reserved.names == ['COLOR_A', 'COLOR_A_2']
