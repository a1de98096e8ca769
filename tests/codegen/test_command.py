"""The command: what it writes, checks and refuses, and how it tells."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.codegen.support import run

SOURCE = """
import uactor


class Counter(uactor.Actor):
    _exposed_ = ('add', 'reset')

    def add(self, by: int = 1) -> int:
        return by

    def reset(self) -> None: ...


class Gauge(uactor.Actor):
    _exposed_ = ('level',)

    def level(self) -> float:
        return 1.0
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a module, and what is generated for one of its classes."""
    (tmp_path / 'shop.py').write_text(SOURCE)
    done = run('shop:Counter', '-o', 'out', cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, '')
    return tmp_path


def edit(project: Path, old: str, new: str) -> None:
    path = project / 'shop.py'
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    shutil.rmtree(project / '__pycache__', ignore_errors=True)


def test_it_writes_proto_lock_and_clients(project: Path) -> None:
    names = {str(path.relative_to(project)) for path in project.rglob('*') if path.is_file()}
    assert {
        'out/shop/v1/shop.proto',
        'shop.actors.lock.json',
        'out/__init__.py',
        'out/counter_client.py',
        'out/runtime/__init__.py',
    } <= names


def test_files_that_are_current_are_not_written_again(project: Path) -> None:
    done = run('shop:Counter', '-o', 'out', cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    done = run('shop:Counter', '-o', 'out', '--check', cwd=project)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')


def test_a_check_names_what_is_stale_and_what_mends_it(project: Path) -> None:
    edit(project, 'by: int = 1', 'by: int = 1, to: str = ""')
    before = (project / 'shop.actors.lock.json').read_text()
    done = run('shop:Counter', '-o', 'out', '--check', cwd=project)
    assert (done.returncode, done.stdout) == (1, '')
    assert done.stderr.splitlines() == [
        'stale: out/counter_client.py',
        'stale: out/counter_proxy.py',
        'stale: out/shop/v1/shop.proto',
        'stale: shop.actors.lock.json',
        'To update, run: uactor-codegen shop:Counter -o out',
    ]
    assert (project / 'shop.actors.lock.json').read_text() == before
    assert run('shop:Counter', '-o', 'out', cwd=project).returncode == 0
    assert run('shop:Counter', '-o', 'out', '--check', cwd=project).returncode == 0


def test_a_check_without_python_suggests_a_command_without_python(project: Path) -> None:
    done = run('shop:Counter', '-o', 'protos', '--no-python', '--check', cwd=project)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        'stale: protos/shop/v1/shop.proto',
        'To update, run: uactor-codegen shop:Counter -o protos --no-python',
    ]


@pytest.mark.parametrize('name', ['out/runtime/client.py', 'out/counter_client.py'])
def test_a_check_notices_files_that_were_touched(name: str, project: Path) -> None:
    with (project / name).open('a') as file:
        file.write('# touched\n')
    done = run('shop:Counter', '-o', 'out', '--check', cwd=project)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == f'stale: {name}'


def test_breaks_are_listed_and_nothing_is_written(project: Path) -> None:
    old = project / 'old.json'
    shutil.copy(project / 'shop.actors.lock.json', old)
    edit(project, 'by: int = 1', 'by: str')
    edit(project, "'reset')", ')')
    done = run('shop:Counter', '-o', 'out', '--against', old.name, cwd=project)
    assert done.returncode == 1
    assert 'AddRequest.by: its type was int64, and is string now' in done.stderr
    assert 'CounterService.Reset: the method is gone' in done.stderr
    assert (project / 'shop.actors.lock.json').read_text() == old.read_text()


def test_a_lock_is_held_against_the_classes_of_one_module_only(project: Path) -> None:
    (project / 'bank.py').write_text(SOURCE)
    words = 'shop:Counter', 'bank:Gauge', '-o', 'out', '--against', 'shop.actors.lock.json'
    done = run(*words, cwd=project)
    assert done.returncode == 2
    assert 'name classes of that module only' in done.stderr
    assert not (project / 'bank.actors.lock.json').exists()


def test_a_change_that_breaks_nobody_passes_and_is_written(project: Path) -> None:
    old = project / 'old.json'
    shutil.copy(project / 'shop.actors.lock.json', old)
    edit(project, 'by: int = 1', 'to: str = "", by: int = 1')
    done = run('shop:Counter', '-o', 'out', '--against', old.name, cwd=project)
    assert (done.returncode, done.stderr) == (0, '')
    assert (project / 'shop.actors.lock.json').read_text() != old.read_text()


def test_other_classes_of_the_file_stay_in_it(project: Path) -> None:
    assert run('shop:Gauge', '-o', 'out', cwd=project).returncode == 0
    proto = (project / 'out/shop/v1/shop.proto').read_text()
    assert 'service CounterService' in proto
    assert 'service GaugeService' in proto
    assert run('shop:Counter', '-o', 'out', '--check', cwd=project).returncode == 0


def test_a_class_that_is_gone_is_a_break(project: Path) -> None:
    assert run('shop:Gauge', '-o', 'out', cwd=project).returncode == 0
    old = project / 'old.json'
    shutil.copy(project / 'shop.actors.lock.json', old)
    edit(project, 'class Gauge', 'class Meter')
    done = run('shop:Counter', '-o', 'out', '--against', old.name, cwd=project)
    assert done.returncode == 1
    assert 'GaugeService: the service is gone' in done.stderr
    assert run('shop:Counter', '-o', 'out', cwd=project).returncode == 0
    assert 'Gauge' not in (project / 'out/shop/v1/shop.proto').read_text()


def test_python_can_be_left_out(project: Path) -> None:
    done = run('shop:Counter', '-o', 'protos', '--no-python', cwd=project)
    assert done.returncode == 0
    files = [str(path) for path in (project / 'protos').rglob('*') if path.is_file()]
    assert files == [str(project / 'protos/shop/v1/shop.proto')]


@pytest.mark.parametrize(
    ('target', 'reason'),
    [
        ('shop', "'shop' is not MODULE:CLASS"),
        ('nowhere:Counter', 'nowhere can not be imported'),
        ('shop:Nothing', 'shop has no Nothing'),
        ('shop:uactor', 'shop:uactor is no actor class'),
    ],
)
def test_an_impossible_command_prints_an_error(target: str, reason: str, project: Path) -> None:
    done = run(target, '-o', 'out', cwd=project)
    assert done.returncode == 2
    assert done.stderr.startswith(f'uactor-codegen: {reason}')


def test_a_lock_that_can_not_be_read_stops_it(project: Path) -> None:
    (project / 'shop.actors.lock.json').write_text('{}')
    done = run('shop:Counter', '-o', 'out', cwd=project)
    assert done.returncode == 2
    assert 'is not a lock file of uactor' in done.stderr
    done = run('shop:Counter', '-o', 'out', '--against', 'nowhere.json', cwd=project)
    assert done.returncode == 2
