"""Keep what the documents show true: examples, their output, and sessions in a terminal.

A mark before a fenced block says what it is made from:

    <!-- example: PATH -->   the file PATH
    <!-- output: PATH -->    what Python prints for the file PATH
    <!-- console -->         what a shell answers to the commands in it, which begin with '$ ';
                             the blocks of a document are one session

What differs from run to run (addresses, ids, keys, ports) is written as a fixed value
of the same form, so that the documents depend on nothing but the files of the project.
`make docs` refreshes all documents; with --check, they are compared.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 60

BLOCK = re.compile(
    r'^<!-- (?P<mark>example|output|console)(?:: (?P<path>\S+))? -->\n'
    r'(?P<fence>```\w+)\n(?P<body>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)

STABLE = (
    (re.compile(r'\buactor-\w{8}/s\b'), 'uactor-1a2b3c4d/s'),
    (re.compile(r'\b[0-9a-f]{8}\.(?=[0-9a-f]+\b)'), '1a2b3c4d.'),
    (re.compile(r'\bat 0x[0-9a-f]+'), 'at 0x7f0123456789'),
    (re.compile(r'("pythonVersion": )"[^"]+"'), r'\1"3.12.1"'),
)
"""What differs from run to run, and what is shown instead."""

PORT = '50051'
"""The port that consoles show; a free one is used in its place."""

Make = Callable[[str, str, str], str]
"""Makes the body of a block from its mark, path and present body."""


class DocumentError(Exception):
    """What a document shows can't be made."""


def documents() -> list[Path]:
    return [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]


def refreshed(text: str, make: Make) -> str:
    """Return a document with its marked blocks made anew."""

    def block(match: re.Match[str]) -> str:
        start = match[0][: match.start('body') - match.start()]
        return start + make(match['mark'], match['path'] or '', match['body']) + '```'

    return BLOCK.sub(block, text)


def stable(text: str) -> str:
    for pattern, shown in STABLE:
        text = pattern.sub(shown, text)
    return text


# --- examples ------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    """The environment of examples: this Python, with the project and its examples."""
    programs = [os.path.dirname(sys.executable), os.environ.get('PATH', '')]
    paths = [str(ROOT), str(ROOT / 'examples')]
    return {
        **os.environ,
        'PATH': os.pathsep.join(programs),
        'PYTHONPATH': os.pathsep.join(paths),
    }


def output(path: Path) -> str:
    """What an example prints.

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
    return stable(done.stdout)


# --- consoles ------------------------------------------------------------------------------------


class Console:
    """A shell in a directory of its own."""

    END = 'uactor-docs-end'

    def __init__(self, directory: str) -> None:
        with socket.socket() as probe:
            probe.bind(('localhost', 0))
            self._port = str(probe.getsockname()[1])
        self._shell = subprocess.Popen(
            ['bash', '--noprofile', '--norc'],
            cwd=directory,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        )

    def answers(self, body: str) -> str:
        """The block with the output of its commands made anew."""
        lines = []
        for command in commands(body):
            lines += [f'$ {command}', *self._run(command)]
        return '\n'.join(lines) + '\n'

    def _run(self, command: str) -> Iterator[str]:
        typed = command.replace(PORT, self._port)
        served = typed.endswith('&')  # goes on; it has said all when it has shown how to call it
        self._say(typed if served else f'{typed}\necho; echo {self.END}')
        text = ''.join(self._heard(served))
        if served:
            # What belongs to the next command must not be taken for the rest of this one's.
            self._say(f'echo {self.END}')
            text += ''.join(self._heard(False))
        return iter(stable(text.replace(self._port, PORT)).rstrip('\n').split('\n') if text.strip() else [])

    def _say(self, text: str) -> None:
        assert self._shell.stdin is not None
        self._shell.stdin.write(text + '\n')
        self._shell.stdin.flush()

    def _heard(self, served: bool) -> Iterator[str]:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            if line.rstrip('\n') == self.END:
                return
            yield line
            if served and 'grpcurl' in line and not line.rstrip().endswith('\\'):
                return
        raise DocumentError('the shell has ended')

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGTERM)
        self._shell.wait(TIMEOUT)
