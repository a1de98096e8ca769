"""The house rules of the design: imports run downward only, and functions are short."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import uactor

PACKAGE = Path(uactor.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if 'v1' not in path.parts)
ANY = frozenset(['*'])
MAX_LINES = 60

COMMON = frozenset(
    [
        *(
            'errors',
            'v1',
            '_wire',
            'wire',
            'inherited',
            'forked',
            'buffers',
            'descriptors',
            'memory',
        ),
        *('chunks', 'board', 'lane'),
        *('turns', 'cores', 'limits', 'threads', 'timers', 'system_errors', 'locks', 'weakrefs'),
        *('calls', 'auth', 'handles', 'local', 'definitions', 'values', 'failures', 'usual'),
    ]
)

# From the ground up: a room may import what its line names, and what is its own. A name on the
# right always stands on the left of an earlier line: imports run downward only.
ROOMS: dict[str, frozenset[str]] = {
    # What went wrong can be said everywhere, so that errors know nobody.
    'errors': frozenset(),
    # The generated modules of the contract.
    'v1': frozenset(),
    # Signal handlers: whose error it is, locks and waits that they can interrupt.
    'system_errors': frozenset(),
    'locks': frozenset(),
    'weakrefs': frozenset(),
    # The names that pickles contain, and what implements them.
    '_wire': frozenset(['weakrefs']),
    # Tools: loading gRPC, forks and what they leave open, threads for those who may not wait.
    'wire': frozenset(['system_errors']),
    'inherited': frozenset(),
    'limits': frozenset(),
    'threads': frozenset(['errors', 'locks', 'system_errors']),
    'forked': frozenset(['threads']),
    'reaper': frozenset(['locks', 'threads']),
    'timers': frozenset(['forked', 'limits', 'locks', 'threads']),
    # What a method can know of the call that runs it.
    'calls': frozenset(['errors']),
    # What is received of somebody who announces more than comes.
    'buffers': frozenset(),
    # Descriptors that are kept for when there are no others.
    'descriptors': frozenset(['forked', 'locks', 'system_errors']),
    # Memory that processes share; descriptors, not values.
    'memory': frozenset(
        [
            *('errors', 'v1', 'forked', 'threads', 'locks', 'weakrefs', 'system_errors'),
            'descriptors',
        ]
    ),
    'chunks': frozenset(['errors', 'v1', 'buffers']),
    # Messages between processes of one host, in memory and on Unix sockets.
    'board': frozenset(['memory']),
    'turns': frozenset(['locks']),
    'cores': frozenset(),
    'lane': frozenset(['board', 'turns', 'cores', 'system_errors', 'buffers', 'descriptors']),
    # Keys and names of objects: no values, no connections.
    'auth': frozenset(['errors']),
    'handles': frozenset(['errors', 'system_errors']),
    # The slot for this process's host, through which client and host meet unseen.
    'local': frozenset(['handles', 'forked']),
    # What receives results that nobody blocks for: proxies make it, connections fill it.
    'futures': frozenset(['errors', 'local', 'forked', 'locks', 'threads', 'weakrefs']),
    # What travels. Both sides share it, and so it knows neither.
    'definitions': frozenset(['errors', 'v1', '_wire']),
    'values': frozenset(
        ['errors', 'v1', '_wire', 'memory', 'definitions', 'system_errors', 'weakrefs']
    ),
    'failures': frozenset(['errors', 'v1', 'values']),
    'usual': frozenset(['v1', 'wire', 'memory']),
    # An actor class as a typed service: annotations, not processes.
    'service': frozenset(['errors', 'v1', '_wire', 'values']),
    # The calling side and the actor process never import each other.
    'client': COMMON | {'reaper', 'futures'},
    'host': COMMON | {'service', 'futures'},
    # How a process comes to be. It carries bytes, and knows only of its own what they mean: what
    # an actor process takes over, and log records.
    'launch': frozenset(
        [
            *('errors', 'wire', 'limits', 'threads', 'timers', 'forked', 'reaper', 'handles'),
            *('locks', 'system_errors', 'values', 'weakrefs'),
        ]
    ),
    # Joins launch and client: an actor process that was started, or is connected to.
    'manager': frozenset(
        [
            *('errors', 'v1', '_wire', 'limits', 'auth', 'handles', 'local', 'values', 'failures'),
            *('client', 'launch', 'reaper', 'system_errors', 'weakrefs'),
        ]
    ),
    # Proxies reach their objects through their manager's connection, or the slot.
    'proxies': frozenset(
        [
            *('errors', 'v1', '_wire', 'limits', 'handles', 'local', 'values', 'failures'),
            'futures',
            *('manager', 'reaper', 'system_errors'),
        ]
    ),
    # What stands for actors that a module starts while it is imported for a start.
    'standins': frozenset(['errors', '_wire', 'handles', 'values', 'launch', 'manager', 'proxies']),
    # What users subclass.
    'actor': frozenset(
        [
            *('errors', 'limits', 'futures', 'handles', 'local', 'values', 'launch', 'manager'),
            *('proxies', 'standins'),
        ]
    ),
    # The composition root of the actor process: gives the host what it must not import.
    'entry': ANY,
    'frozen': ANY,
    '_pyinstaller': frozenset(),
    # The command is a user of the library, with what it shows; the package root only names things.
    'samples': ANY,
    'inspection': ANY,
    'cli': ANY,
    '__main__': ANY,
    '__init__': ANY,
}


def room_of(path: Path) -> str:
    """Return the room that a module is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of whatever a module imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path}:{node.lineno}: imports are absolute'
            for alias in node.names:
                yield node.lineno, f'{node.module}.{alias.name}'


def own_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and room of what a module imports of this package."""
    for line, name in imported(path):
        package, _, rest = name.partition('.')
        if package == 'uactor':
            yield line, rest.partition('.')[0]


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    allowed = ROOMS[room] | {room}
    if allowed >= ANY:
        return
    wrong = [f'{path}:{line}: {name}' for line, name in own_imports(path) if name not in allowed]
    assert not wrong


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_below_imports_from_the_package_root(path: Path) -> None:
    if room_of(path) in ('cli', '__main__', '__init__'):
        return
    wrong = [f'{path}:{line}: {name}' for line, name in own_imports(path) if name not in ROOMS]
    assert not wrong


def test_imports_run_downward_only() -> None:
    below: set[str] = set()
    for room, allowed in ROOMS.items():
        assert allowed <= below or allowed == ANY, room
        below.add(room)


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in MODULES} | {'v1'} <= set(ROOMS)


@pytest.mark.parametrize(
    'name',
    [
        *('answers', 'dispatcher', 'exchange', 'loop', 'mailbox', 'objects', 'pipeline'),
        *('primitives', 'waiting', 'workers'),
    ],
)
def test_what_runs_user_code_knows_no_grpc(name: str) -> None:
    names = [name for _, name in imported(PACKAGE / 'host' / f'{name}.py')]
    assert not [name for name in names if name.partition('.')[0] in ('grpc', 'google')]


def test_importing_uactor_does_not_load_grpc() -> None:
    code = 'import sys, uactor; print([name for name in sys.modules if name.startswith("grpc")])'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == '[]'


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_are_short(path: Path) -> None:
    lengths = {
        f'{path}:{node.lineno} {node.name}': (node.end_lineno or 0) - node.lineno + 1
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}
