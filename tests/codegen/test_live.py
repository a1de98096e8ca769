"""Generated clients, where there is neither uactor nor the actor's source, call live actors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.codegen.support import BY_NAME, NAMES, Case
from tests.support.rpc import KEY, dialled
from uactor.service.naming import snake

# All of the corpus is generated first, beside other tests.
pytestmark = [pytest.mark.pythons('annotations'), pytest.mark.timeout(240)]

HERE = Path(__file__).parent


def drive(
    folder: Path, case: Case, script: str, actor: Any, key: bytes = KEY, *more: str | Path
) -> str:
    """Run a script with the clients of a case; return what it prints."""
    module = f'made_{case.name}.{snake(case.actors[0])}_client'
    arguments = [
        folder,
        module,
        HERE / 'scripts' / f'{script}.py',
        dialled(actor),
        key.hex(),
        *more,
    ]
    done = subprocess.run(
        [sys.executable, '-I', '-W', 'error', HERE / 'driver.py', *map(str, arguments)],
        env={name: value for name, value in os.environ.items() if name != 'PYTHONPATH'},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ''), done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize('name', NAMES)
def test_values_go_there_and_back(name: str, generated: Path) -> None:
    case = BY_NAME[name]
    with case.actor_class() as actor:
        calls = case.folder / 'calls.py'
        made = drive(generated, case, 'round_trips', actor, KEY, calls)
    assert int(made) > 0


@pytest.mark.parametrize('script', ['errors', 'futures', 'streams', 'async_streams'])
def test_calls_fail_end_and_are_cancelled(script: str, generated: Path) -> None:
    case = BY_NAME['streams']
    with case.actor_class() as actor:
        assert drive(generated, case, script, actor) == 'done'


def test_handles_are_given_back(generated: Path) -> None:
    case = BY_NAME['properties_handles']
    with case.actor_class() as actor:
        assert drive(generated, case, 'handles', actor) == 'done'


@pytest.mark.parametrize('key', [b'', b'wrong'])
def test_calls_without_the_authkey_are_refused(key: bytes, generated: Path) -> None:
    case = BY_NAME['streams']
    with case.actor_class() as actor:
        assert drive(generated, case, 'refused', actor, key) == 'done'
