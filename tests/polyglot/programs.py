"""Programs in Go and TypeScript, whose stubs are generated from an emitted ``.proto``."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import require_tool
from tests.programs import EXAMPLES, ROOT

HERE = Path(__file__).parent


def run(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must go well; return what it prints.

    Compilers may take their time, and other programs, which are told of their ``environment``, not.
    """
    words = [require_tool(str(command[0])), *map(str, command[1:])]
    timeout = 500 if environment is None else 30
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def copied(name: str, workshop: Path) -> Path:
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
