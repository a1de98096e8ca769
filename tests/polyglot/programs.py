"""Programs in Go and TypeScript, whose stubs are generated from an emitted ``.proto``."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import require_tool
from tests.support.programs import EXAMPLES, ROOT

HERE = Path(__file__).parent


def run(*command: str | Path, folder: Path) -> str:
    """Run a program that must go well; return what it prints. Compilers may take their time."""
    done = _run(command, timeout=500, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_client(*command: str | Path, environment: Mapping[str, str]) -> str:
    """Run a client, whether it goes well or not; return what it tells."""
    done = _run(command, timeout=50, env=environment)
    return done.stdout + done.stderr


def _run(command: Sequence[str | Path], **options: Any) -> subprocess.CompletedProcess[str]:
    words = [require_tool(str(command[0])), *map(str, command[1:])]
    return subprocess.run(words, capture_output=True, text=True, check=False, **options)


def copy_folder(name: str, workshop: Path) -> Path:
    """Return a copy of the folder ``name`` in ``workshop``, where its stubs are generated.

    The workshop has a folder ``proto``; packages of npm are found beside it.
    """
    modules = workshop / 'node_modules'
    if not modules.exists():
        modules.symlink_to(ROOT / 'node_modules')
    folder = workshop / name
    shutil.copytree(HERE / name, folder, ignore=shutil.ignore_patterns('gen', 'build'))
    run('buf', 'generate', folder=folder)
    return folder


def add_error_details(protos: Path) -> None:
    """Add the messages that details of errors have."""
    shutil.copytree(EXAMPLES / 'polyglot/proto/google', protos / 'google')


def sentences(name: str, pattern: str) -> list[str]:
    """Return the names of the tests in a file."""
    return re.findall(pattern, (HERE / name).read_text(), re.MULTILINE)


GO = sentences('go/contract_test.go', r'^func Test(\w+)\(')
TYPESCRIPT = sentences('typescript/src/contract.test.ts', r'^test\("(.+)",')
