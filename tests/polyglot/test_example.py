"""The example for callers in other languages does what its README shows."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest

from tests.conftest import require_tool
from tests.polyglot.programs import run
from tests.support import TRANSPORT
from tests.support.programs import EXAMPLES, ROOT
from tools import docs
from uactor.service.contract.lock import find_lock
from uactor.service.schema import schema_of, schema_text

pytestmark = [
    pytest.mark.polyglot,
    pytest.mark.timeout(600),  # compilers are slow at first
    pytest.mark.skipif(TRANSPORT != 'unix', reason='examples choose their own transport'),
]

EXAMPLE = EXAMPLES / 'polyglot'


@pytest.fixture
def compiled_go(tmp_path: Path) -> None:
    """Compile the client in Go, so that its compiler has no more to say of what it downloads."""
    copy = tmp_path / 'polyglot'
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns(*docs.MADE))
    run('buf', 'generate', folder=copy / 'go')
    run('go', 'vet', folder=copy / 'go')
    run('go', 'build', '-o', tmp_path, folder=copy / 'go')


@pytest.mark.usefixtures('compiled_go')
def test_the_readme_shows_what_a_terminal_answers() -> None:
    shown = docs.consoles((EXAMPLE / 'README.md').read_text())
    for tool in docs.missing_tools(shown):
        require_tool(tool)
    assert shown == docs.console(shown, EXAMPLE), 'run `make docs`'


def test_the_emitted_proto_passes_the_linter() -> None:
    assert run('buf', 'lint', folder=EXAMPLE) == ''


def test_the_lock_and_the_protos_are_those_of_the_actor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    schema = schema_of(importlib.import_module('manual').Manual, find_lock('manual'))
    assert schema.is_locked
    protos = EXAMPLE / 'proto'
    assert (protos / schema.file.name).read_text() == schema_text(schema)
    contract = 'uactor/v1/actor.proto'
    assert (protos / contract).read_text() == (ROOT / 'proto' / contract).read_text()
