"""Fixtures for programs in other languages; what they are made of is compiled once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.polyglot.contract import Contract
from tests.polyglot.programs import add_error_details, copy_folder, run
from tests.service.buf import write
from uactor.service.schema import schema_of


@pytest.fixture(scope='session')
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the ``.proto`` of the actor under test."""
    folder = tmp_path_factory.mktemp('workshop')
    write(schema_of(Contract), folder / 'proto')
    add_error_details(folder / 'proto')
    return folder


@pytest.fixture(scope='session')
def go_tests(workshop: Path) -> Path:
    """The compiled tests in Go."""
    require_tool('go')
    folder = copy_folder('go', workshop)
    run('go', 'vet', folder=folder)
    run('go', 'test', '-c', '-o', 'contract.test', folder=folder)
    return folder / 'contract.test'


@pytest.fixture(scope='session')
def typescript(workshop: Path) -> Path:
    """The folder of the compiled programs in TypeScript."""
    require_tool('node')
    folder = copy_folder('typescript', workshop)
    run('tsc', folder=folder)
    return folder / 'build'
