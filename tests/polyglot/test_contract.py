"""Clients in Go and TypeScript go through the mapping table, streams, handles and errors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.polyglot.contract import Contract
from tests.polyglot.programs import GO, TYPESCRIPT, run, run_client
from tests.support.programs import ROOT
from tests.support.rpc import KEYED, get_dial_address

pytestmark = [pytest.mark.polyglot, pytest.mark.timeout(600)]  # compilers are slow at first

SERVICES = [
    'contract.v1.ContractService',
    'grpc.health.v1.Health',
    'grpc.reflection.v1.ServerReflection',
    'grpc.reflection.v1alpha.ServerReflection',
    'uactor.v1.ActorService',
]


@pytest.fixture(scope='module')
def environment() -> Iterator[Mapping[str, str]]:
    """Where clients find the actor under test, and the authkey."""
    with Contract() as actor:
        yield {
            **os.environ,
            'CONTRACT_ADDRESS': get_dial_address(actor),
            'CONTRACT_AUTHORIZATION': KEYED[0][1],
        }


@pytest.fixture(scope='module')
def go_told(go_tests: Path, environment: Mapping[str, str]) -> str:
    return run_client(go_tests, '-test.v', environment=environment)


@pytest.fixture(scope='module')
def typescript_told(typescript: Path, environment: Mapping[str, str]) -> str:
    program = typescript / 'contract.test.js'
    return run_client('node', '--test-reporter=tap', program, environment=environment)


@pytest.mark.parametrize('name', GO)
def test_in_go(name: str, go_told: str) -> None:
    assert f'--- PASS: Test{name} ' in go_told


@pytest.mark.parametrize('name', TYPESCRIPT)
def test_in_typescript(name: str, typescript_told: str) -> None:
    assert re.search(rf'^ok \d+ - {name}$', typescript_told, re.MULTILINE), typescript_told


def test_both_languages_hold_the_actor_to_the_same() -> None:
    assert [name.lower() for name in GO] == [name.replace(' ', '').lower() for name in TYPESCRIPT]


@pytest.mark.parametrize('version', ['v1', 'v1alpha'])
def test_a_grpc_js_client_lists_and_finds_services_by_reflection(
    version: str, typescript: Path, environment: Mapping[str, str]
) -> None:
    symbols = ['contract.v1.ContractService', 'contract.v1.ContractService.Either']
    symbols += ['contract.v1.WidthsSeen', 'uactor.v1.Handle', 'no.such.Symbol']
    program = typescript / 'reflection.js'
    found = json.loads(run_client('node', program, version, *symbols, environment=environment))
    assert found['services'] == SERVICES
    assert all(found['files'][:-1])
    assert found['files'][-1] == 0


def test_programs_in_go_are_formatted() -> None:
    assert run('gofmt', '-l', 'tests/polyglot/go', 'examples/polyglot/go', folder=ROOT) == ''
