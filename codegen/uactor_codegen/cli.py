"""The command ``uactor-codegen``."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from uactor.service.contract.breaks import find_breaks
from uactor.service.contract.lock import Lock
from uactor.service.errors import LockError
from uactor_codegen.annotations import RUNTIME_FOLDER
from uactor_codegen.errors import CodegenError
from uactor_codegen.modules import ActorModule, load_modules
from uactor_codegen.outputs import collect_texts, find_stale, write_stale

_DESCRIPTION = """\
Generate .proto files and typed Python clients for the typed services of actor classes, and update
the lock beside each module, which keeps names and numbers. The running actor serves the same.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    * 0: the files are written, or up to date.
    * 1: a file is stale, or callers would break.
    * 2: an error has stopped the command.
    """
    options = _create_parser().parse_args(arguments)
    here = str(Path.cwd())
    if '' not in sys.path and here not in sys.path:  # as with `python -m`
        sys.path.insert(0, here)
    try:
        modules = load_modules(options.classes)
        if options.against is not None and _report_breaks(options.against, modules):
            return 1
        texts = collect_texts(modules, options.output.resolve(), with_python=not options.no_python)
    except CodegenError as error:
        print(f'uactor-codegen: {error}', file=sys.stderr)
        return 2
    if options.check:
        return _report_stale(find_stale(texts), options)
    changed = write_stale(texts)
    for path in dict.fromkeys(map(_runtime_or_file, changed)):
        print(f'wrote {_display_path(path)}')
    return 0


def _runtime_or_file(path: Path) -> Path:
    """Return the path, or for a file of the runtime that folder."""
    return next((folder for folder in path.parents if folder.name == RUNTIME_FOLDER), path)


def _create_parser() -> argparse.ArgumentParser:
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
        help='folder for all generated files but the lock (default: generated)',
    )
    add('--no-python', action='store_true', help='leave the Python clients out')
    add('--check', action='store_true', help='write nothing; fail if a file is stale')
    add(
        '--against',
        type=Path,
        metavar='OLD_LOCK',
        help='an earlier lock file: write nothing and fail if its callers would break',
    )
    return parser


def _report_breaks(path: Path, modules: Sequence[ActorModule]) -> bool:
    """Print what would break callers of the lock at ``path``.

    Return whether anything would.
    """
    if len(modules) > 1:
        raise CodegenError(
            '--against takes the lock of one module: name classes of that module only'
        )
    try:
        old = Lock.load(path)
    except (OSError, LockError) as error:
        raise CodegenError(f'{path} can not be read: {error}') from error
    found = find_breaks(old, modules[0].lock)
    for each in found:
        print(each, file=sys.stderr)
    if found:
        print(f'Callers of {path} would break: nothing is written.', file=sys.stderr)
    return bool(found)


def _report_stale(paths: Iterable[Path], options: argparse.Namespace) -> int:
    paths = list(paths)
    for path in paths:
        print(f'stale: {_display_path(path)}', file=sys.stderr)
    if paths:
        command = shlex.join(
            [
                *('uactor-codegen', *options.classes, '-o', str(options.output)),
                *(['--no-python'] if options.no_python else []),
            ]
        )
        print(f'To update, run: {command}', file=sys.stderr)
    return 1 if paths else 0


def _display_path(path: Path) -> str:
    """Return a path, relative to the working directory if it is inside."""
    resolved, here = path.resolve(), Path.cwd()
    return str(resolved.relative_to(here)) if resolved.is_relative_to(here) else str(resolved)
