"""What the documents say and show is true."""

from __future__ import annotations

import ast
import inspect
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import uactor
from tests.conftest import require_tool
from tests.support import TRANSPORT
from tests.support.programs import ROOT, get_output, run_python
from tools import docs
from uactor import errors
from uactor.codec import values

pytestmark = pytest.mark.skipif(TRANSPORT != 'unix', reason='examples choose their own transport')

DOCUMENTS = [*docs.documents(), ROOT / 'CHANGELOG.md']
PACKAGE = Path(uactor.__file__).parent

every_document = pytest.mark.parametrize('path', DOCUMENTS, ids=lambda path: path.name)


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def section(name: str, heading: str) -> str:
    """Return the text of a document from a heading to the next one of its level."""
    _, found, rest = text_of(name).partition(f'\n## {heading}\n')
    assert found, f'{name} has no section {heading!r}'
    return rest.partition('\n## ')[0]


def guide(page: str) -> str:
    """Return the text of a page of the guide."""
    return text_of(f'docs/guide/{page}.md')


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, heads and rules left out."""
    lines = [line.strip('|').split('|') for line in text.splitlines() if line.startswith('| ')]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if '---' not in row]


def codes(text: str) -> list[str]:
    """Return what a text has in code type."""
    return [code.strip("'") for code in re.findall(r'`([^`]+)`', text)]


# --- what they show -------------------------------------------------------------------------


MADE = [
    pytest.param(match['mark'], match['path'], match['body'], id=f'{match["mark"]}:{match["path"]}')
    for path in DOCUMENTS
    for match in docs.BLOCK.finditer(path.read_text())
    if match['path']
]


@pytest.mark.parametrize(('mark', 'source', 'body'), MADE)
def test_a_document_shows_an_example_and_its_output(mark: str, source: str, body: str) -> None:
    assert body == docs.made(mark, ROOT / source), 'run `make docs`'


@pytest.mark.parametrize('name', ['README.md', 'docs/testing.md', 'docs/wire.md'])
def test_a_document_shows_what_a_terminal_answers(name: str) -> None:
    shown = docs.consoles(text_of(name))
    for tool in docs.missing_tools(shown):
        require_tool(tool)
    assert shown == docs.console(shown), 'run `make docs`'


@every_document
def test_every_program_and_session_in_a_document_is_made_from_the_real_one(path: Path) -> None:
    marked = docs.BLOCK.sub('', path.read_text())
    assert not re.search(r'^```(python|console)', marked, re.MULTILINE)


@every_document
def test_no_document_names_a_place_of_the_machine_it_was_written_on(path: Path) -> None:
    assert str(ROOT) not in path.read_text()


def test_a_block_that_is_not_as_it_should_be_is_noticed(tmp_path: Path) -> None:
    (tmp_path / 'new.py').write_text('print(1 + 1)\n')
    start = f'A\n\n<!-- example: {tmp_path}/new.py -->\n```python\n'
    middle = f'```\nB\n<!-- output: {tmp_path}/new.py -->\n```text\n'
    stale = f'{start}print(0)\n{middle}```\nC\n```text\nD\n```\n'
    right = f'{start}print(1 + 1)\n{middle}2\n```\nC\n```text\nD\n```\n'
    assert docs.refreshed(stale) == docs.refreshed(right) == right


def test_an_example_that_complains_is_no_example(tmp_path: Path) -> None:
    (tmp_path / 'bad.py').write_text('raise SystemExit("no")\n')
    with pytest.raises(docs.DocumentError, match='no'):
        docs.output(tmp_path / 'bad.py')


# --- links ----------------------------------------------------------------------------------


def links(text: str) -> Iterator[tuple[str, str]]:
    """Yield path and fragment of the links within the project."""
    for target in re.findall(r'\]\(([^)]+)\)', text):
        if '://' not in target:
            path, _, fragment = target.partition('#')
            yield path, fragment


def anchors(text: str) -> set[str]:
    """Return what the headings of a document can be linked by."""
    prose = re.sub(r'^```.*?^```', '', text, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r'^#+ (.+)$', prose, re.MULTILINE)
    return {re.sub(r'[^\w\- ]', '', heading).lower().replace(' ', '-') for heading in headings}


@every_document
def test_links_lead_somewhere(path: Path) -> None:
    for target, fragment in links(path.read_text()):
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), target
        assert not fragment or fragment in anchors(found.read_text()), f'{target}#{fragment}'


@every_document
def test_every_document_is_reached_from_the_readme(path: Path) -> None:
    reached = {(ROOT / target).resolve() for target, _ in links(text_of('README.md'))}
    assert path in {*reached, ROOT / 'README.md'}


# --- tables ---------------------------------------------------------------------------------


def test_every_public_error_has_its_cause_and_remedy_in_the_table() -> None:
    table = {
        name: bases
        for row in rows(guide('errors'))
        for names, _, bases in [row[0].partition(' (')]
        for name in codes(names)
    }
    public = {
        name: value
        for name, value in vars(uactor).items()
        if name in uactor.__all__ and isinstance(value, type) and issubclass(value, Exception)
    }
    for name, error in public.items():
        assert name in table, f'{name} is missing'
        for base in error.__bases__:
            root = base in (uactor.UActorException, Exception)
            assert root or base.__name__ in table[name], f'{name} derives from {base.__name__}'


def test_every_logger_and_level_is_in_the_table() -> None:
    table = rows(section('docs/guide/logging.md', 'What uactor logs'))
    written = {(codes(row[0])[0], row[1]) for row in table[1:]}
    assert written == set(logging_calls())


def logging_calls() -> Iterator[tuple[str, str]]:
    """Yield logger and level of all calls in the package that log."""
    levels = {'exception': 'ERROR'}
    for path in PACKAGE.rglob('*.py'):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id='log' | 'to'), attr=level)):
                    yield logger_of(tree), levels.get(level, level.upper())
                case ast.Call(func=ast.Name(id='report'), keywords=[ast.keyword(arg='to')]):
                    yield logger_of(tree), 'ERROR'  # see uactor.runtime.threads


def logger_of(tree: ast.Module) -> str:
    """Return the name of the logger of a module."""
    for node in tree.body:
        match node:
            case ast.Assign(value=ast.Call(func=ast.Attribute(attr='getLogger'), args=[name])):
                assert isinstance(name, ast.Constant), 'the name of a logger never moves'
                return str(name.value)
    raise AssertionError('a module that logs has a logger')


def test_every_typeid_is_in_the_table() -> None:
    written = {name for row in rows(guide('proxies')) for name in codes(row[0])}
    assert written == set(uactor.Actor.manager_class.typeids())


def test_every_option_is_in_the_table() -> None:
    written = {name for row in rows(guide('actors')) for name in codes(row[0])}
    taken = set(inspect.signature(uactor.ActorManager).parameters) - {'parent'}
    assert taken <= written
    attributes = {name for name in vars(uactor.Actor) if re.fullmatch(r'_[a-z_]+[a-z]_', name)}
    assert written == taken | attributes | {'manager_class', 'proxy_class'}


def test_every_serializer_is_in_the_table() -> None:
    written = {name for row in rows(guide('values')) for name in codes(row[0])}
    assert written == set(values.SERIALIZERS)


def test_every_status_is_in_the_table() -> None:
    table = {codes(row[0])[0]: row[1] for row in rows(section('docs/wire.md', 'Statuses'))[1:]}
    for error, status in errors.STATUS:
        assert status in table
        assert error is BaseException or error.__name__ in table[status], error.__name__


def test_every_rpc_is_in_the_table() -> None:
    from uactor.v1 import actor_pb2

    written = {name for row in rows(section('docs/wire.md', 'Calls')) for name in codes(row[0])}
    assert written == set(actor_pb2.DESCRIPTOR.services_by_name['ActorService'].methods_by_name)


def test_every_public_name_is_in_the_reference() -> None:
    documented = re.findall(r'^::: uactor\.(\w+)$', text_of('docs/reference.md'), re.MULTILINE)
    assert sorted(documented) == sorted(set(uactor.__all__) - {'AuthKeyError'})


def test_every_room_is_in_the_table() -> None:
    table = rows(section('docs/architecture.md', 'Rooms'))
    written = {name.rstrip('/') for row in table for name in codes(row[0])}
    assert written == {path.name for path in PACKAGE.iterdir() if path.name != '__pycache__'}


def test_every_hazard_has_its_tests() -> None:
    tests = {
        name
        for path in (ROOT / 'tests').rglob('test_*.py')
        for name in re.findall(r'^(?:async )?def (test_\w+)', path.read_text(), re.MULTILINE)
    }
    for _, _, held_by in rows(text_of('docs/hazards.md')):
        names = codes(held_by)
        assert held_by == 'held by' or names
        assert set(names) <= tests, held_by


def test_the_changelog_tells_of_changes_by_their_kind() -> None:
    kinds = set(re.findall(r'^### (.+)$', text_of('CHANGELOG.md'), re.MULTILINE))
    assert kinds <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'}


# --- the demo -------------------------------------------------------------------------------

DEMO = (
    r'1\. An actor is an object in a process of its own',
    r"index\.search\('shared memory'\)\n +-> multiprocessing\.shared_memory\.SharedMemory",
    r"'asyncio\.locks' in modules\n +-> True",
    r"-> KeyError\('no\.such\.module'\)",
    r'in docstring\n +\|     return self\._docstrings\[name\]',
    r"kwargs={'limit': 1}\)\n +-> {'name': 'heapq'",
    r'-> int64: \d{4,}\n',
    r'without the authkey\n +-> StatusCode\.UNAUTHENTICATED',
    r'\| WARNING uactor\.launch: Index was ended by signal 9',
    r'-> ActorDiedError',
    r'-> \[0, -9\]\n$',
)


def test_the_demo_shows_what_it_says() -> None:
    printed = get_output(run_python('examples/demo.py'))
    for expected in DEMO:
        assert re.search(expected, printed), f'{expected!r} is not in:\n{printed}'
    assert '"string": "heapq"' in printed or shutil.which('grpcurl') is None
