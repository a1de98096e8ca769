"""The commands that look into a running actor: describe, call, handles."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host.typed.shop import Shop
from tests.support import Actor
from tests.support.rpc import KEY, get_dial_address
from uactor.cli.main import main

Command = Callable[..., tuple[str, str, int]]


@pytest.fixture(scope='module')
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture
def command(shop: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Command:
    """Runs a command about the shop; returns what it says, and its exit status."""
    (tmp_path / 'key').write_bytes(KEY + b'\n')

    def run(name: str, *words: str, address: str = get_dial_address(shop)) -> tuple[str, str, int]:
        status = main([name, '--authkey-file', str(tmp_path / 'key'), address, *words])
        said = capsys.readouterr()
        return said.out, said.err, status

    return run


def answer(said: tuple[str, str, int]) -> Any:
    output, errors, status = said
    assert (errors, status) == ('', 0)
    return json.loads(output)


# --- call ----------------------------------------------------------------------------------------


def test_a_method_is_called_with_json(command: Command, shop: Any) -> None:
    assert answer(command('call', 'variadic', '1', '2', 'a="b"')) == "(1, 2) {'a': 'b'}"
    before = shop.add(0)
    assert answer(command('call', 'add', '--', '-3')) == before - 3
    assert answer(command('call', 'raw', '{"a": [null, 1.5]}')) == {'it': {'a': [None, 1.5]}}
    assert answer(command('call', 'blob', '3')) == 'AAAA'


def test_an_attribute_is_read_and_written(command: Command, shop: Any) -> None:
    assert command('call', 'limit', '9') == ('', '', 0)
    assert answer(command('call', 'limit')) == shop.limit == 9
    output, errors, status = command('call', 'limit', '1', '2')
    assert (output, status) == ('', 1)
    assert errors == "uactor call: 'limit' is an attribute: give one value, to set it, or none\n"


def test_a_handle_is_shown_called_into_and_passed_back(command: Command) -> None:
    handle = answer(command('call', 'basket'))
    assert handle['typeid'] == 'list'
    ident = handle['handle'].removeprefix('@')
    assert answer(command('call', 'append', '"a"', '--handle', ident)) is None
    assert answer(command('call', 'size', handle['handle'])) == 1
    assert answer(command('call', 'pop', '--handle', handle['handle'])) == 'a'


def test_the_items_of_an_iterator_come_line_by_line(command: Command) -> None:
    output, errors, status = command('call', 'each', '2')
    assert (errors, status) == ('', 0)
    shown = [json.loads(part + '}') for part in output.split('}\n') if part]
    assert [each['repr'] for each in shown] == [
        f"Article(name='number {index}', kind=<Kind.BOOK: 'book'>, price=None)"
        for index in range(2)
    ]


@pytest.mark.parametrize(
    ('words', 'told'),
    [
        (['fail', '"sold out"'], 'tests.host.typed.shop.SoldOut: none left (FAILED_PRECONDITION)'),
        (['none'], "'Shop' object exposes no 'none' (UNIMPLEMENTED)"),
        (['raw', '18446744073709551616'], 'has no native form'),
        (['size', '@beef.1'], "the handle 'beef.1' is not of this actor process"),
    ],
)
def test_an_error_is_printed_in_one_line(command: Command, words: Any, told: str) -> None:
    output, errors, status = command('call', *words)
    assert (output, status) == ('', 1)
    assert errors.startswith('uactor call: ')
    assert told in errors
    assert errors.count('\n') == 1


def test_a_dict_with_keys_that_json_has_not_is_shown_as_pairs(command: Command) -> None:
    with Table() as actor:
        found = answer(command('call', 'by_number', address=get_dial_address(actor)))
    assert found == [[1, 'one'], [[2, 3], {'four': 4}]]


def test_an_error_between_items_is_raised_and_the_iterator_is_released(command: Command) -> None:
    with Table() as actor:
        output, errors, status = command('call', 'rows', address=get_dial_address(actor))
        assert (output, status) == ('1\n', 1)
        assert 'LookupError: in the second row' in errors
        handles = answer(command('handles', '--json', address=get_dial_address(actor)))['handles']
    assert [known['handle']['typeid'] for known in handles] == ['actor']


# --- describe and handles ------------------------------------------------------------------------


def test_describe_shows_all_in_columns(command: Command, shop: Any) -> None:
    output, errors, status = command('describe')
    assert (errors, status) == ('', 0)
    lines = output.splitlines()
    assert lines[0] == f'tests.host.typed.shop.Shop at {get_dial_address(shop)}'
    assert lines[1] == '  Sells articles.'
    [add] = [line.split('  ') for line in lines if line.startswith('  add(')]
    assert [cell.strip() for cell in add if cell] == ['add(by: int = 1) -> int', 'Add', 'Count on.']
    assert '  basket() -> list[Any], a handle: list ' in output
    [owner] = [line.split() for line in lines if line.startswith('  owner: ')]
    assert owner == ['owner:', 'str', 'GetOwner', 'SetOwner', 'Who', 'owns', 'it.']
    assert '  tests.host.typed.shop.v1.ShopService, numbers not locked' in output
    assert lines[-1] == "  untyped  parameter 'number': it has no annotation"
    heads = [line for line in lines if line[:1].strip()][1:]
    assert heads == [
        *('Methods', 'Attributes', 'Handles', 'Typed service', 'Not in the typed service')
    ]


def test_describe_and_handles_print_json(command: Command) -> None:
    described = answer(command('describe', '--json'))
    assert described['class_name'] == 'tests.host.typed.shop.Shop'
    assert described['typed_service']['unmapped'][0]['name'] == 'untyped'
    handles = answer(command('handles', '--json'))['handles']
    assert handles[0]['handle']['service'] == 'tests.host.typed.shop.v1.ShopService'
    assert described['handles'][0]['handle']['id'] == handles[0]['handle']['id']


def test_handles_lists_what_is_shared(command: Command) -> None:
    ident = answer(command('call', 'basket'))['handle'].removeprefix('@')
    lines = command('handles')[0].splitlines()
    assert lines[0].split() == ['id', 'typeid', 'holds', 'clients']
    [basket] = [line.split() for line in lines if line.split()[0] == ident]
    assert basket[1] == 'list'


# --- keys and addresses --------------------------------------------------------------------------


def test_the_authkey_comes_from_a_file_or_the_environment(
    shop: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv('UACTOR_AUTHKEY', raising=False)
    assert main(['handles', get_dial_address(shop)]) == 2
    assert capsys.readouterr().err == (
        'uactor handles: which authkey? Give --authkey-file, or set UACTOR_AUTHKEY\n'
    )
    monkeypatch.setenv('UACTOR_AUTHKEY', 'wrong')
    assert main(['handles', get_dial_address(shop)]) == 1
    assert 'has another authkey' in capsys.readouterr().err
    (tmp_path / 'key').write_bytes(KEY + b'\n')
    words = ['handles', get_dial_address(shop), '--authkey-file', str(tmp_path / 'key')]
    assert main(words) == 0
    with Keyed() as actor:
        monkeypatch.setenv('UACTOR_AUTHKEY', 'of the class')
        assert main(['call', get_dial_address(actor), 'five']) == 0
    assert capsys.readouterr().out.endswith('5\n')


class Keyed(Actor):
    _options_ = {**Actor._options_, 'authkey': b'of the class'}

    def five(self) -> int:
        return 5


class Table(Actor):
    def by_number(self) -> dict[Any, Any]:
        return {1: 'one', (2, 3): {'four': 4}}

    def rows(self) -> Iterator[int]:
        yield 1
        raise LookupError('in the second row')


def test_an_address_without_a_listener_is_an_error(command: Command, tmp_path: Path) -> None:
    for address, status in ((f'unix:{tmp_path}/s', 1), ('nowhere', 2)):
        output, errors, found = command('describe', address=address)
        assert (output, found) == ('', status)
        assert address in errors
        assert errors.count('\n') == 1
