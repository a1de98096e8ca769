"""Formats generated Python in the default style of ``ruff format``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from uactor_codegen.errors import CodegenError

_COMMAND = (sys.executable, '-m', 'ruff')
_OPTIONS = ('--quiet', '--isolated', '--no-cache', '--target-version', 'py310')
_RULES = ('--select', 'I001', '--fix')


def format_sources(sources: Sequence[str]) -> list[str]:
    """Return Python sources, formatted and with sorted imports.

    One run of ruff takes all of them, since its start takes longer than a file.

    :raises CodegenError: when ruff is missing, or refuses a source.
    """
    with tempfile.TemporaryDirectory(prefix='uactor-codegen-') as folder:
        # No import can name a module that is a number.
        paths = [Path(folder, f'{number}.py') for number in range(len(sources))]
        for path, source in zip(paths, sources, strict=True):
            path.write_text(source, encoding='utf-8', newline='\n')
        _run('check', folder, *_RULES)
        _run('format', folder)
        return [path.read_bytes().decode('utf-8') for path in paths]


def _run(command: str, folder: str, *options: str) -> None:
    done = subprocess.run(
        [*_COMMAND, command, *options, *_OPTIONS, folder],
        capture_output=True,
        encoding='utf-8',
        check=False,
    )
    if done.returncode:
        output = done.stdout + done.stderr
        raise CodegenError(f'ruff {command} fails; uactor-grpc[codegen] installs ruff: {output}')
