"""Numbering: plans that are written out, without annotations."""

from __future__ import annotations

import inspect

import pytest

from uactor.service.codecs.fields import SingleField
from uactor.service.codecs.messages import ModelCodec
from uactor.service.codecs.methods import ServiceMethod
from uactor.service.codecs.part import MessagePlan, Part
from uactor.service.codecs.plan import Plan
from uactor.service.codecs.scalars import IntCodec, TextCodec
from uactor.service.contract.lock import Lock, LockedEnum, LockedField, LockedMessage
from uactor.service.contract.numbering import assign_numbers, next_lock, next_number, type_text
from uactor.service.errors import LockError
from uactor.service.mapping.markers import IMPLEMENTATION_NUMBERS, LARGEST_NUMBER
from uactor.service.model import EnumPlan, External, FieldPlan

pytestmark = pytest.mark.quick


def parts(*names: str, pins: dict[str, int] | None = None) -> list[Part]:
    return [Part(name, name, SingleField(IntCodec()), pin=(pins or {}).get(name)) for name in names]


def plan(*request: Part, service: str = 'ShopService', rpc: str = 'Buy') -> Plan:
    """Return the plan of a service with one method, whose response is empty."""
    method = ServiceMethod(
        rpc,
        rpc.lower(),
        'call',
        '',
        inspect.Signature(),
        MessagePlan(f'request of {service}.{rpc}', f'{rpc}Request', parts=list(request)),
        MessagePlan(f'response of {service}.{rpc}', f'{rpc}Response'),
    )
    return Plan('shop.v1', service, 'Shop', '', [method], {}, [])


def model_part(key: str, wanted: str) -> Part:
    """Return a part that is a message of its own, with one field."""
    message = MessagePlan(key, wanted, parts=parts('x'))
    return Part(key, key, SingleField(ModelCodec(dict, message, key, is_generic=False)))


def numbers(lock: Lock, message: str = 'BuyRequest') -> dict[str, int]:
    return {name: field.number for name, field in lock.messages[message].fields.items()}


def test_the_largest_number_is_given_out() -> None:
    assert next_number(LARGEST_NUMBER, ()) == LARGEST_NUMBER
    with pytest.raises(LockError, match='no field number is left'):
        next_number(LARGEST_NUMBER, (LARGEST_NUMBER,))


@pytest.mark.parametrize('number', [IMPLEMENTATION_NUMBERS[0], IMPLEMENTATION_NUMBERS[-1]])
def test_numbers_of_implementations_are_not_given_out(number: int) -> None:
    assert next_number(number, ()) == IMPLEMENTATION_NUMBERS[-1] + 1


def test_a_gap_is_never_filled() -> None:
    lock = next_lock(Lock(), plan(*parts('a', 'b', 'c')))
    lock = next_lock(lock, plan(*parts('a')))
    lock = next_lock(lock, plan(*parts('a', 'd')))
    assert numbers(lock) == {'a': 1, 'd': 4}
    assert lock.messages['BuyRequest'].reserved.numbers == [2, 3]
    assert lock.messages['BuyRequest'].reserved.names == ['b', 'c']
    assert lock.messages['BuyRequest'].next == 5


def test_the_lock_that_is_followed_stays_as_it_is() -> None:
    first = next_lock(Lock(), plan(*parts('a')))
    text = first.dump()
    next_lock(first, plan(*parts('b')))
    assert first.dump() == text


def test_numbers_pass_over_pins_that_come_later() -> None:
    lock = next_lock(Lock(), plan(*parts('a', 'b', 'c', pins={'c': 2})))
    assert numbers(lock) == {'a': 1, 'b': 3, 'c': 2}


def test_a_pin_moves_a_field_and_reserves_its_number() -> None:
    lock = next_lock(Lock(), plan(*parts('a', 'b')))
    lock = next_lock(lock, plan(*parts('a', 'b', pins={'a': 9})))
    assert numbers(lock) == {'a': 9, 'b': 2}
    assert lock.messages['BuyRequest'].reserved.numbers == [1]


def test_a_type_in_use_hides_a_tombstone_of_the_same_key() -> None:
    key = 'request of ShopService.Buy'
    live = LockedMessage(
        key, used_by=['ShopService'], fields={'a': LockedField(7, 'int64', 'int', 'error')}
    )
    gone = LockedMessage(key, fields={'a': LockedField(3, 'int64', 'int', 'error')})
    for messages in ({'One': live, 'Two': gone}, {'Two': gone, 'One': live}):
        lock = next_lock(Lock(messages=messages), plan(*parts('a')))
        assert lock.services['ShopService'].methods['Buy'].request == 'One'
        assert numbers(lock, 'One') == {'a': 7}


def test_the_users_of_a_type_are_sorted() -> None:
    lock = Lock()
    for service in ('ZooService', 'ArkService'):
        lock = next_lock(lock, plan(model_part('shop.Animal', 'Animal'), service=service))
    assert lock.messages['Animal'].used_by == ['ArkService', 'ZooService']


@pytest.mark.parametrize('taken', ['ShopService', 'ZooService', 'ZooClient', 'AsyncShopClient'])
def test_no_message_has_the_name_of_a_service_or_client(taken: str) -> None:
    lock = next_lock(Lock(), plan(service='ZooService'))
    lock = next_lock(lock, plan(model_part('shop.Odd', taken), rpc='Sell'))
    assert f'{taken}2' in lock.messages
    assert taken not in lock.messages


def test_no_message_has_the_name_of_an_enum() -> None:
    lock = Lock(enums={'Color': LockedEnum('shop.Color')})
    lock = next_lock(lock, plan(model_part('paint.Color', 'Color')))
    assert 'Color2' in lock.messages


def test_a_second_request_of_the_same_name_is_prefixed_by_its_service() -> None:
    lock = next_lock(next_lock(Lock(), plan()), plan(service='ZooService'))
    assert lock.services['ZooService'].methods['Buy'].request == 'ZooServiceBuyRequest'
    assert lock.services['ZooService'].methods['Buy'].response == 'ZooServiceBuyResponse'


def test_a_plan_gets_the_names_and_numbers_of_its_lock() -> None:
    first = next_lock(Lock(), plan(*parts('a', 'b')))
    current = plan(*parts('b', 'c'))
    assign_numbers(current, next_lock(first, current))
    request = current.methods[0].request
    assert request.name == 'BuyRequest'
    assert [(field.name, field.number) for field in request.fields] == [('b', 2), ('c', 3)]
    assert request.reserved.numbers == [1]


COLOR = EnumPlan('paint.Color', 'Color', '', [])


@pytest.mark.parametrize(
    ('field', 'text'),
    [
        (FieldPlan('a', 'int64', 'int'), 'int64'),
        (FieldPlan('a', 'int64', 'int', repeated=True), 'repeated int64'),
        (FieldPlan('a', 'int64', 'int', key_type='string'), 'map<string, int64>'),
        (FieldPlan('a', COLOR, 'color'), 'Color3'),
        (FieldPlan('a', External('google.protobuf.Value', 'x'), 'any'), 'google.protobuf.Value'),
        (FieldPlan('a', MessagePlan('shop.Point', 'Point'), 'point', repeated=True), 'repeated P'),
    ],
)
def test_types_are_written_as_a_proto_does(field: FieldPlan, text: str) -> None:
    assert type_text(field, {'paint.Color': 'Color3', 'shop.Point': 'P'}) == text


def test_another_type_of_a_field_is_another_number() -> None:
    lock = next_lock(Lock(), plan(*parts('a')))
    text = Part('a', 'a', SingleField(TextCodec()))
    lock = next_lock(lock, plan(text))
    assert numbers(lock) == {'a': 2}
    assert lock.messages['BuyRequest'].reserved.names == []
