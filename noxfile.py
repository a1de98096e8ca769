"""Which checks run under which Python, and over which transport.

Nox chooses what runs. Each session runs a target of the Makefile, which owns the environments.
`.ci/run` runs the sessions that have the tag `ci` or `full`. The marks of a test say why it runs
in a session: `pyproject.toml` explains them. What follows `--` goes to pytest:

    make matrix ARGS=--list
    make matrix ARGS="--session 'tests(3.13-tcp)' -- -k name"
"""

import functools
import re
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

import nox

SUPPORTED = ('3.10', '3.11', '3.12', '3.13')
TRANSPORTS = ('unix', 'grpc', 'tcp')

ALL = 'not polyglot and not soak'
USUAL = f'{ALL} and not full'

LIMIT_S = 1800
LONG_LIMIT_S = 4 * 3600
LOGS = Path('build', 'matrix')

# Output goes on while it is kept, and an interrupted pytest says what it was about.
STEP = (
    'log=$1; shift; mkdir -p "${log%/*}"; '
    'timeout --signal=INT --kill-after=60 "$@" 2>&1 </dev/null | tee "$log"'
)

nox.needs_version = '>=2024.4.15'
session = functools.partial(nox.session, venv_backend='none')


def get_version(interpreter: str) -> str:
    """Return the minor version of an interpreter, or '' if it can't make environments."""
    code = 'import ensurepip, sys, venv; print("%d.%d" % sys.version_info[:2])'
    try:
        done = subprocess.run([interpreter, '-c', code], capture_output=True, text=True)
    except OSError:
        return ''
    return '' if done.returncode else done.stdout.strip()


@functools.cache
def find_interpreter(version: str) -> str:
    """Return the newest interpreter of a minor version, or '' if there is none that works."""
    built = Path.home().glob(f'.pyenv/versions/{version}.*/bin/python')
    newest_first = sorted(built, key=lambda path: _numbers_in(path.parts[-3]), reverse=True)
    for candidate in [*map(str, newest_first), f'python{version}']:
        if get_version(candidate) == version:
            return candidate
    return ''


def _numbers_in(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', text)]


@functools.cache
def choose_default() -> tuple[str, str]:
    """Return the version and the interpreter of most sessions."""
    version = get_version('python3')
    if version in SUPPORTED:
        return version, 'python3'
    found = [version for version in SUPPORTED if find_interpreter(version)]
    return (found[0], find_interpreter(found[0])) if found else ('', 'python3')


def make(
    session: nox.Session,
    target: str,
    *,
    version: str = '',
    venv: str = '.venv',
    arguments: Sequence[str] = (),
    limit_s: int = LIMIT_S,
) -> None:
    """Make a target within a time limit, in the environment of a version of Python."""
    default, interpreter = choose_default()
    if version and version != default:
        interpreter, venv = find_interpreter(version), f'.venv-{version}'
    if not interpreter:
        session.skip(f'no Python {version} on this machine')
    command = ['make', '--keep-going', f'PYTHON={interpreter}', f'VENV={venv}']
    command += [f'ARGS={shlex.join(arguments)}', target]
    log = LOGS / f'{session.name}.log'
    step = ['bash', '-o', 'pipefail', '-c', STEP, 'step', str(log), str(limit_s)]
    session.run(*step, *command, external=True)


def run_tests(
    session: nox.Session, version: str, transport: str, marks: str, *arguments: str
) -> None:
    """Run the tests that have certain marks."""
    chosen = ['-m', marks, *arguments, *session.posargs]
    make(session, f'test-{transport}', version=version, arguments=chosen)


@session(tags=['ci', 'full'])
def lint(session: nox.Session) -> None:
    """Check style, types, contract and generated files."""
    make(session, 'lint')


@session(tags=['ci'])
def usual(session: nox.Session) -> None:
    """Run the tests under the default Python over the local lane, which is what users meet."""
    run_tests(session, '', 'unix', USUAL)


@session(tags=['ci', 'full'])
def polyglot(session: nox.Session) -> None:
    """Run the clients in Go and TypeScript, which no version of Python changes."""
    make(session, 'test-polyglot', arguments=session.posargs)


@session(tags=['ci'], allow_parallel=True)
def oldest(session: nox.Session) -> None:
    """Run what the oldest Python changes, over gRPC on a Unix socket."""
    # Of grpcurl, an interpreter is only the other end.
    run_tests(session, SUPPORTED[0], 'grpc', f'oldest_python and {USUAL}', '-k', 'not grpcurl')


@session(tags=['ci'], allow_parallel=True)
def newest(session: nox.Session) -> None:
    """Run what a version of Python changes, and what meets the wire, over TCP."""
    version = next(filter(find_interpreter, reversed(SUPPORTED)), '')
    run_tests(session, version, 'tcp', f'(pythons or doors) and {USUAL}')


@session(default=False, tags=['full'], allow_parallel=True)
@nox.parametrize(
    'version, transport',
    [
        nox.param(version, transport, id=f'{version}-{transport}')
        for version in SUPPORTED
        for transport in TRANSPORTS
    ],
)
def tests(session: nox.Session, version: str, transport: str) -> None:
    """Run all tests, each in all its forms."""
    run_tests(session, version, transport, ALL)


@session(default=False, tags=['full'])
def coverage(session: nox.Session) -> None:
    """Check which share of the branches the tests reach."""
    make(session, 'coverage', arguments=session.posargs)


@session(tags=['ci', 'full'])
def demo(session: nox.Session) -> None:
    """Run the demo with nothing but the runtime dependencies."""
    make(session, 'demo', venv='.venv-demo')


@session(tags=['ci'])
def site(session: nox.Session) -> None:
    """Build the documentation site."""
    make(session, 'docs-site')


@session(default=False, tags=['full'])
def site_in_browser(session: nox.Session) -> None:
    """Build the documentation site, and look at it in Chromium."""
    make(session, 'docs-browser')


@session(default=False)
def soak(session: nox.Session) -> None:
    """Run the tests that take minutes."""
    make(session, 'soak', arguments=session.posargs, limit_s=LONG_LIMIT_S)
