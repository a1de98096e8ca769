"""Run Python programs, and compare their output with their comments."""

from __future__ import annotations

import io
import os
import pathlib
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Mapping

from tests.support import brake

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / 'examples'

Finished = subprocess.CompletedProcess[str]


def environment() -> dict[str, str]:
    """Return the environment for programs that import uactor, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(paths)}


def run_python(
    *arguments: str,
    stdin: str = '',
    directory: pathlib.Path = ROOT,
    variables: Mapping[str, str] = {},
    most: int = brake.MOST_OF_A_PROGRAM,
) -> Finished:
    """Run Python, with warnings as errors, until it and all its actors have ended.

    The actors share its output streams, whose end this awaits.

    :param variables: of its environment, in addition to those of this process.
    :param most: how many processes there may be at a time; with more, all are killed.
    :raises AssertionError: if there were more.
    """
    try:
        return subprocess.run(
            [sys.executable, '-W', 'error', *arguments],
            input=stdin,
            cwd=directory,
            env={**environment(), **variables, **brake.variables(most)},
            capture_output=True,
            text=True,
            timeout=50,  # a brake, for a machine that is busy
        )
    finally:
        brake.check()


def get_output(program: Finished) -> str:
    """Return the output of a program that has succeeded without a warning."""
    assert (program.returncode, program.stderr) == (0, '')
    return program.stdout


def comments(source: str) -> Iterator[str]:
    """Yield the comments of a program."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string.removeprefix('# ')


def is_as_promised(printed: str, source: str) -> bool:
    """Return whether the output is that of the comments '# prints …', in their order.

    An ellipsis in a comment stands for what differs from run to run.
    """
    promised = [line[len('prints ') :] for line in comments(source) if line.startswith('prints ')]
    pattern = '\n'.join(re.escape(line).replace('…', '.*') for line in promised)
    return re.fullmatch(pattern + '\n', printed) is not None
