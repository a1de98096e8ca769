"""The style of generated Python: that of ``ruff format``, as it is by default."""

from __future__ import annotations

import subprocess
import sys

from uactor_codegen.errors import CodegenError

_COMMAND = (sys.executable, '-m', 'ruff')
_OPTIONS = (
    '--isolated',
    '--no-cache',
    '--target-version',
    'py310',
    '--stdin-filename',
    'x.py',
    '-',
)
_RULES = ('--quiet', '--select', 'I001', '--fix')


def formatted(source: str) -> str:
    """Return Python source with its imports sorted, and formatted.

    :raises CodegenError: when ruff is missing, or says that the source is none.
    """
    return _run('format', _run('check', source, *_RULES))


def _run(command: str, source: str, *options: str) -> str:
    done = subprocess.run(
        [*_COMMAND, command, *options, *_OPTIONS],
        input=source,
        capture_output=True,
        encoding='utf-8',
        check=False,
    )
    if done.returncode:
        raise CodegenError(f'ruff {command} fails; uactor-grpc[codegen] brings it: {done.stderr}')
    return done.stdout
