"""The rules of the house: imports run downward, without circles; functions are short."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import uactor

pytestmark = pytest.mark.quick

PACKAGE = Path(uactor.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob('*.py') if 'v1' not in path.parts)
TESTS = Path(__file__).parent.parent
TEST_MODULES = sorted(path for path in TESTS.rglob('*.py') if 'corpus' not in path.parts)
ANY = frozenset(['*'])
MAX_LINES = 60
MAX_WORDS = 12

BELOW = frozenset(['errors', 'v1', 'runtime', '_wire', 'core', 'transport', 'codec'])

# From the ground up: a room may import the rooms that its line names, and itself. A name on the
# right always stands on the left of an earlier line: imports run downward only.
ROOMS: dict[str, frozenset[str]] = {
    # What can go wrong, which can be said everywhere; the contract, generated.
    'errors': frozenset(),
    'v1': frozenset(),
    # What Python, the operating system and gRPC need to be told.
    'runtime': frozenset(['errors']),
    # The names in pickles, which never move.
    '_wire': frozenset(['runtime']),
    # The words that all layers share. Client and host meet here, unseen by each other.
    'core': frozenset(['errors', 'runtime']),
    # How bytes get there: no values, no methods.
    'transport': frozenset(['errors', 'v1', 'runtime', 'core']),
    # How values and failures become messages. Both sides share it, and so it knows neither.
    'codec': frozenset(['errors', 'v1', 'runtime', '_wire', 'transport']),
    # How a class becomes a typed contract: annotations, not processes.
    'service': frozenset(['errors', 'v1', '_wire', 'codec']),
    # The calling side and the actor process never import each other, nor what starts a process.
    'client': BELOW,
    'host': BELOW | {'service'},
    'launch': frozenset(['errors', 'runtime', 'core', 'codec']),
    # What the class of an actor may say, validated.
    'options': BELOW | {'client'},
    # Joins launch and client: an actor process that was started, or is connected to.
    'manager': BELOW | {'client', 'launch', 'options'},
    # What users hold. Proxies reach their objects through their manager, or the slot.
    'proxies': BELOW | {'launch', 'manager'},
    # What users subclass.
    'actor': BELOW | {'launch', 'manager', 'options', 'proxies'},
    # The composition root of the actor process: gives the host what it must not import.
    'bootstrap': ANY,
    'frozen': ANY,
    '_pyinstaller': frozenset(),
    # The command is a user of the library; the package root only names things.
    'cli': ANY,
    '__main__': ANY,
    '__init__': ANY,
}


def room_of(path: Path) -> str:
    """Return the room that a module is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def list_imports(path: Path) -> Iterator[tuple[int, str]]:
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
    for line, name in list_imports(path):
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


# --- no circles ----------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts).removesuffix('.__init__')


def module_graph() -> dict[str, set[str]]:
    """Return which modules each module imports, for types or at any time."""
    paths = {module_name(path): path for path in MODULES}
    graph = {}
    for module, path in paths.items():
        names = [name for _, name in list_imports(path) if name.startswith('uactor')]
        found = {name if name in paths else name.rpartition('.')[0] for name in names}
        graph[module] = (found & set(paths)) - {module}
    return graph


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = module_graph()
    # The root only names things, and a module of a package that is imported imports its root.
    del graph['uactor']
    while leaves := {module for module, found in graph.items() if not found & set(graph)}:
        for module in leaves:
            del graph[module]
    assert not {module: found & set(graph) for module, found in graph.items()}


# Folders of a room, from the ground up: a folder may import those before it, and itself. Files
# of the room itself stand beside them.
FOLDERS = {
    'service': ['codecs', 'mapping', 'contract'],
    'host': ['objects', 'execution', 'sessions', 'grpc'],
}


@pytest.mark.parametrize('room', FOLDERS)
def test_the_folders_of_a_room_import_downward(room: str) -> None:
    order = FOLDERS[room]
    for index, folder in enumerate(order):
        above = tuple(f'uactor.{room}.{name}.' for name in order[index + 1 :])
        for path in (PACKAGE / room / folder).glob('*.py'):
            wrong = [
                f'{line}: {name}' for line, name in list_imports(path) if name.startswith(above)
            ]
            assert not wrong, path
    assert {path.name for path in (PACKAGE / room).iterdir() if path.is_dir()} - {
        '__pycache__'
    } == {*order}


# --- words ---------------------------------------------------------------------------------------


def test_a_class_name_is_used_once() -> None:
    found: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(str(path))
    assert not {name: paths for name, paths in found.items() if len(paths) > 1}


IRREGULAR = frozenset(
    [
        *('built', 'found', 'gave', 'given', 'held', 'kept', 'known', 'made', 'sent', 'shown'),
        *('taken', 'told', 'took', 'written', 'drawn', 'left', 'lost', 'met', 'paid', 'said'),
    ]
)
ALLOWED = frozenset(
    [
        # Public names, and those of protocols that Python or uActor defines.
        *('renamed_from', 'cancelled', 'locked', 'executed', 'connected', '__reversed__'),
        # What the field calls a method that runs with the lock of its object.
        'synchronized',
        # The participle is that of a noun: the typed service.
        'typed_service_name',
    ]
)


def is_participle(name: str) -> bool:
    """Return whether the name of a function begins with a participle."""
    first = name.strip('_').partition('_')[0]
    return first in IRREGULAR or (len(first) > 4 and first.endswith('ed') and first[-3] != 'e')


def test_no_function_is_named_by_a_participle() -> None:
    wrong = [
        f'{path}:{node.lineno}: {node.name}'
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if is_participle(node.name) and node.name not in ALLOWED
    ]
    assert not wrong


def is_helper(node: ast.stmt) -> bool:
    """Return whether tests call this function: no test, no fixture, no method of an actor."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return False
    is_fixture = any('fixture' in ast.unparse(decorator) for decorator in node.decorator_list)
    is_method = bool(node.args.args) and node.args.args[0].arg == 'self'
    return not (node.name.startswith('test_') or is_fixture or is_method)


def test_no_helper_of_tests_is_named_by_a_participle() -> None:
    wrong = [
        f'{path}:{node.lineno}: {node.name}'
        for path in TEST_MODULES
        for node in filter(is_helper, ast.parse(path.read_text()).body)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        if is_participle(node.name) and node.name not in ALLOWED
    ]
    assert not wrong


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_first_line_of_a_docstring_is_short(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first_lines = [
        (ast.get_docstring(node) or '').partition('\n\n')[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, documented)
    ]
    assert not [line for line in first_lines if len(line.split()) > MAX_WORDS]


RETIRED = re.compile(
    r'\b(porch|knock\w*|front door|board|misfit|unmappable|reaper|surroundings|whoever|somebody'
    r'|bury|tidy|passage|outcomes|ticket)\b',
    re.IGNORECASE,
)


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_retired_word_comes_back(path: Path) -> None:
    text = path.read_text()
    wrong = [
        f'{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}'
        for match in RETIRED.finditer(text)
    ]
    assert not wrong


# --- the host ------------------------------------------------------------------------------------


@pytest.mark.parametrize('room', ['execution', 'objects', 'sessions'])
def test_rooms_that_run_user_code_do_not_import_grpc(room: str) -> None:
    for path in (PACKAGE / 'host' / room).glob('*.py'):
        names = [name for _, name in list_imports(path)]
        assert not [name for name in names if re.match(r'grpc|uactor\.host\.grpc', name)]


@pytest.mark.processes
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
