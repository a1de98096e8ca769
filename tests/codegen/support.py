"""The corpus, and runs of the command over it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from uactor_codegen.cli import main

ROOT = Path(__file__).parent.parent.parent
CORPUS = Path(__file__).parent / 'corpus'
RUNTIME = 'runtime'


@dataclasses.dataclass(frozen=True)
class Case:
    """A folder of the corpus."""

    name: str
    actors: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return CORPUS / self.name

    @property
    def expected(self) -> Path:
        return self.folder / 'expected'

    @property
    def module(self) -> str:
        return f'tests.codegen.corpus.{self.name}.actor'

    @property
    def targets(self) -> list[str]:
        return [f'{self.module}:{name}' for name in self.actors]

    @property
    def actor_class(self) -> Any:
        return getattr(importlib.import_module(self.module), self.actors[0])


CASES = [
    Case('scalars_defaults', ('Bank',)),
    Case('dataclasses', ('Drawing',)),
    Case('enums_unions', ('Painter',)),
    Case('optionals_collections', ('Store',)),
    Case('times_decimals', ('Clock',)),
    Case('streams', ('Feed',)),
    Case('properties_handles', ('Desk',)),
    Case('inheritance_generics', ('People',)),
    Case('locked_history', ('Journal',)),
    Case('shadowed_names', ('Names',)),
    Case('unmapped', ('Odd', 'Even')),
]
NAMES = [case.name for case in CASES]
BY_NAME = {case.name: case for case in CASES}


def run(
    *arguments: str | Path, cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    paths = [str(ROOT), str(ROOT / 'codegen')]
    return subprocess.run(
        [sys.executable, '-m', 'uactor_codegen', *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def generate(case: Case, folder: Path) -> None:
    """Do in this process what the command does for a case."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        assert main([*case.targets, '-o', str(folder)]) == 0, printed.getvalue()


def files_in(folder: Path) -> dict[str, str]:
    """Return the texts of all files below a folder, but for the runtime."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and not {RUNTIME, '__pycache__'} & set(path.parts)
    }
