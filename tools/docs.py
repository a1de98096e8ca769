"""Keep what the documents show true: examples, their output, and sessions in a terminal.

A mark before a fenced block says what it is made from:

    <!-- example: PATH -->   the file PATH
    <!-- output: PATH -->    what Python prints for the file PATH
    <!-- console -->         what a shell answers to the commands in it, which begin with '$ ';
                             all such blocks of a document are one session, in an empty directory;
                             for the README of an example in a copy of the example's directory

What differs from run to run (addresses, ids, ports) is shown as a fixed value of the same
form, so that a document depends on nothing but the files of the project. `make docs` runs
this file; with --check it compares and writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = (ROOT, ROOT / 'examples', ROOT / 'examples/guide')
TIMEOUT = 60

BLOCK = re.compile(
    r'(?P<start>^<!-- (?P<mark>example|output|console)(?:: (?P<path>\S+))? -->\n```\w+\n)'
    r'(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)

PORT, HOME, PROJECT, INCARNATION = '50051', '/home/me', '/home/me/uactor', '1a2b3c4d'
"""What consoles show instead of a free port, the session's directory, the checkout, and what
the ids of an actor process's objects begin with."""

HANDLE = re.compile(r'(?:"id": "|^  )([0-9a-f]{8})\.', re.MULTILINE)

SHOWN = (
    (re.compile(r'\buactor-\w{8}/'), 'uactor-1a2b3c4d/'),
    (re.compile(r'\bat 0x[0-9a-f]+'), 'at 0x7f0123456789'),
    (re.compile(r'("pythonVersion": )"[^"]+"'), r'\1"3.12.1"'),
)
"""What differs from run to run, and what is shown instead."""

TOOLS = ('buf', 'go', 'grpcurl', 'node', 'npm', 'uactor')
"""What consoles may need."""

MADE = ('gen', 'build', '__pycache__')
"""What is made in the directory of an example, and so no part of it."""


class DocumentError(Exception):
    """What a document shows can't be made."""


def documents() -> list[Path]:
    return [
        ROOT / 'README.md',
        ROOT / 'CONTRIBUTING.md',
        *sorted((ROOT / 'docs').rglob('*.md')),
        *sorted((ROOT / 'examples').rglob('README.md')),
    ]


def refreshed(text: str, example: Path | None = None) -> str:
    """Return a document with its marked blocks made anew.

    Without the tools that consoles need, these stay as they are.

    :param example: the directory of the example that it is the README of.
    """
    answers = iter(console(consoles(text), example))

    def block(match: re.Match[str]) -> str:
        if match['mark'] == 'console':
            body = next(answers)
        else:
            body = made(match['mark'], ROOT / match['path'])
        return f'{match["start"]}{body}```'

    return BLOCK.sub(block, text)


def consoles(text: str) -> list[str]:
    """Return the console blocks of a document."""
    return [match['body'] for match in BLOCK.finditer(text) if match['mark'] == 'console']


def made(mark: str, path: Path) -> str:
    """Return what a block shows that is made from a file."""
    return path.read_text() if mark == 'example' else output(path)


def shown(text: str) -> str:
    for pattern, instead in SHOWN:
        text = pattern.sub(instead, text)
    return text


# --- examples ------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The environment of what is run: this Python, the project and its examples."""
    programs = [str(Path(sys.executable).parent), os.environ.get('PATH', '')]
    paths = [*map(str, IMPORTED), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'PATH': ':'.join(programs), 'PYTHONPATH': ':'.join(paths)}


def output(path: Path) -> str:
    """Return what an example prints.

    Raises DocumentError when it fails or complains.
    """
    done = subprocess.run(
        [sys.executable, '-W', 'error', str(path)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode or done.stderr:
        raise DocumentError(f'{path} ends with {done.returncode} and says:\n{done.stderr}')
    return shown(done.stdout)


# --- consoles ------------------------------------------------------------------------------------


def missing_tools(bodies: Sequence[str]) -> list[str]:
    """Return the tools that the commands of a session need and that are not installed."""
    typed = '\n'.join(command for body in bodies for command in commands(body))
    path = environment()['PATH']
    return [
        name
        for name in TOOLS
        if re.search(rf'(^|[ (]){name} ', typed, re.MULTILINE) and not shutil.which(name, path=path)
    ]


def example_of(document: Path) -> Path | None:
    """Return the directory of the example that a document is the README of."""
    return document.parent if ROOT / 'examples' in document.resolve().parents else None


def console(bodies: Sequence[str], example: Path | None = None) -> list[str]:
    """Return the blocks of a session with the answers made anew.

    :param example: the directory that it works in a copy of; none for an empty one.
    """
    if not bodies or missing_tools(bodies):
        return list(bodies)
    with Session(example) as session:
        return [
            ''.join(f'$ {typed}\n{session.answer(typed)}' for typed in commands(body))
            for body in bodies
        ]


def commands(body: str) -> Iterator[str]:
    """Yield the commands of a block; one goes on in the next line after a backslash."""
    for match in re.finditer(r'^\$ ((?:.*\\\n)*.*)$', body, re.MULTILINE):
        yield match[1]


class Session:
    """Commands typed one after the other, in a directory of its own.

    They may name what earlier answers have shown: it is taken for what it stands for.
    """

    def __init__(self, example: Path | None = None) -> None:
        self._stack = contextlib.ExitStack()
        directory = tempfile.TemporaryDirectory(prefix='docs-')
        self._directory = self._stack.enter_context(directory)
        if example is not None:
            ignored = shutil.ignore_patterns(*MADE)
            shutil.copytree(example, self._directory, ignore=ignored, dirs_exist_ok=True)
            Path(self._directory, 'node_modules').symlink_to(ROOT / 'node_modules')
        with socket.socket() as probe:
            probe.bind(('localhost', 0))
            port = str(probe.getsockname()[1])
        self._stands_for = {PORT: port, HOME: self._directory, PROJECT: str(ROOT)}

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def answer(self, typed: str) -> str:
        """Run a command and return what it says; with '&' at its end, go on meanwhile."""
        for stand_in, real in self._stands_for.items():
            typed = typed.replace(stand_in, real)
        said = self._serve(typed[:-2]) if typed.endswith(' &') else self._run(typed)
        handle = HANDLE.search(said)
        if handle is not None:
            self._stands_for[INCARNATION] = handle[1]
        for stand_in, real in self._stands_for.items():
            said = said.replace(real, stand_in)
        return shown(said if said.endswith('\n') or not said else f'{said}\n')

    def _run(self, command: str) -> str:
        return self._start(command, subprocess.PIPE).communicate(timeout=TIMEOUT)[0]

    def _serve(self, command: str) -> str:
        path = Path(self._directory, 'served')
        with path.open('w') as file:
            server = self._start(f'exec {command}', file)
        self._stack.callback(server.wait, TIMEOUT)
        self._stack.callback(server.terminate)
        deadline = time.monotonic() + TIMEOUT
        # It has said all when it has shown how to call it.
        while not re.search('^grpcurl.*ActorService.*\n', path.read_text(), re.MULTILINE):
            if server.poll() is not None or time.monotonic() > deadline:
                raise DocumentError(f'{command} does not serve:\n{path.read_text()}')
            time.sleep(0.05)
        return path.read_text()

    def _start(self, command: str, stdout: int | IO[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ['bash', '-c', command],
            cwd=self._directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )


# --- the command ---------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Refresh the documents, or compare them with what they should be."""
    parser = argparse.ArgumentParser(description='Refresh what the documents show.')
    parser.add_argument('--check', action='store_true', help='compare, write nothing')
    parser.add_argument('documents', nargs='*', type=Path, default=documents())
    options = parser.parse_args(arguments)

    stale = False
    for path in options.documents:
        before = path.read_text()
        missing = ', '.join(missing_tools(consoles(before)))
        if missing:
            print(f'no {missing}: the consoles of {path} are left as they are', file=sys.stderr)
        try:
            after = refreshed(before, example_of(path))
        except DocumentError as error:
            print(f'{path}: {error}', file=sys.stderr)
            stale = True
            continue
        if before == after:
            continue
        if options.check:
            stale = True
            lines = before.splitlines(True), after.splitlines(True)
            sys.stderr.writelines(difflib.unified_diff(*lines, str(path), 'as it should be'))
        else:
            path.write_text(after)
            print(f'wrote {path}')
    return int(stale)


if __name__ == '__main__':
    sys.exit(main())
