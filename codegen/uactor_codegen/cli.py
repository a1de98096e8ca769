"""The command ``uactor-codegen``."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from uactor.service.contract.breaks import breaks
from uactor.service.contract.lock import Lock
from uactor.service.errors import LockError
from uactor_codegen.errors import CodegenError
from uactor_codegen.modules import ActorModule, load
from uactor_codegen.outputs import outputs, stale, write
from uactor_codegen.shapes import RUNTIME_FOLDER

_DESCRIPTION = """\
Write down the typed services of actor classes: .proto files, typed Python clients, and beside each
module its lock, from which names and numbers never move. The running actor serves the same.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status.

    0: done, or all is as it should be. 1: something is stale, or breaks callers. 2: it can't be
    done.
    """
    options = _parser().parse_args(arguments)
    if '' not in sys.path and os.getcwd() not in sys.path:  # as `python -m` has it
        sys.path.insert(0, os.getcwd())
    try:
        modules = load(options.classes)
        if options.against is not None and _report_breaks(options.against, modules):
            return 1
        texts = outputs(modules, options.output.resolve(), with_python=not options.no_python)
    except CodegenError as error:
        print(f'uactor-codegen: {error}', file=sys.stderr)
        return 2
    if options.check:
        return _check(stale(texts), options)
    changed = write(texts)
    for path in dict.fromkeys(map(_runtime_or_file, changed)):
        print(f'wrote {_shown(path)}')
    return 0


def _runtime_or_file(path: Path) -> Path:
    """Return the folder of the runtime for the files in it, and any other path as it is."""
    return next((folder for folder in path.parents if folder.name == RUNTIME_FOLDER), path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser('uactor-codegen', description=_DESCRIPTION)
    add = parser.add_argument
    add(
        'classes',
        nargs='+',
        metavar='MODULE:CLASS',
        help='an actor class',
    )
    add(
        *('-o', '--output'),
        type=Path,
        default=Path('generated'),
        metavar='DIR',
        help='folder for what is generated but the lock (default: generated)',
    )
    add('--no-python', action='store_true', help='leave the Python clients out')
    add('--check', action='store_true', help='write nothing; fail when a file is stale')
    add(
        '--against',
        type=Path,
        metavar='OLD_LOCK',
        help='an earlier lock file: write nothing and fail when its callers would break',
    )
    return parser


def _report_breaks(path: Path, modules: Sequence[ActorModule]) -> bool:
    """Tell of what breaks callers that know the lock at ``path``; return whether there is any."""
    if len(modules) > 1:
        raise CodegenError('--against takes the lock of one module: name the classes of one only')
    try:
        old = Lock.load(path)
    except (OSError, LockError) as error:
        raise CodegenError(f'{path} can not be read: {error}') from error
    found = breaks(old, modules[0].lock)
    for each in found:
        print(each, file=sys.stderr)
    if found:
        print(f'Callers of {path} would break: nothing is written.', file=sys.stderr)
    return bool(found)


def _check(paths: Iterable[Path], options: argparse.Namespace) -> int:
    paths = list(paths)
    for path in paths:
        print(f'stale: {_shown(path)}', file=sys.stderr)
    if paths:
        command = shlex.join(
            [
                *('uactor-codegen', *options.classes, '-o', str(options.output)),
                *(['--no-python'] if options.no_python else []),
            ]
        )
        print(f'Mend it with: {command}', file=sys.stderr)
    return 1 if paths else 0


def _shown(path: Path) -> str:
    """Return a path as it is best read from here."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
