"""What is generated for the corpus is what is expected, in good style, and the same everywhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.codegen.support import BY_NAME, CASES, NAMES, ROOT, RUNTIME, files_in, generate, run
from tests.conftest import require_tool
from uactor.service.contract.lock import SUFFIX, Lock, find_lock
from uactor.service.schema import schema_of, schema_text

# All of the corpus is generated first, beside other tests.
pytestmark = pytest.mark.timeout(240)

_BUF = """version: v2
lint:
  use: [STANDARD]
"""


@pytest.mark.parametrize('name', NAMES)
def test_the_output_is_the_expected_one(name: str, generated: Path) -> None:
    assert files_in(generated / f'made_{name}') == files_in(BY_NAME[name].expected)


@pytest.mark.parametrize('name', NAMES)
def test_the_lock_beside_the_module_is_current(name: str, tmp_path: Path) -> None:
    case = BY_NAME[name]
    lock = case.folder / f'actor{SUFFIX}'
    before = lock.read_bytes()
    generate(case, tmp_path)
    assert lock.read_bytes() == before


@pytest.mark.parametrize('name', NAMES)
def test_the_proto_is_that_of_the_schema_which_is_served(name: str, generated: Path) -> None:
    case = BY_NAME[name]
    module = importlib.import_module(case.module)
    lock = find_lock(case.module)
    schemas = [schema_of(getattr(module, actor), lock) for actor in sorted(case.actors)]
    assert all(schema.is_locked for schema in schemas)
    path = generated / f'made_{name}' / schemas[0].file.name
    assert path.read_text() == schema_text(*schemas)


def test_the_output_depends_neither_on_the_folder_nor_on_hashes(
    generated: Path, tmp_path: Path
) -> None:
    targets = [
        target for name in ('dataclasses', 'enums_unions') for target in BY_NAME[name].targets
    ]
    made = []
    for seed in ('1', '2'):
        folder = tmp_path / seed / 'deep'
        folder.mkdir(parents=True)
        done = run(*reversed(targets), '-o', 'out', cwd=folder, PYTHONHASHSEED=seed)
        assert done.returncode == 0, done.stderr
        made.append(files_in(folder))
    assert made[0] == made[1]


def test_generated_python_is_formatted(generated: Path) -> None:
    for command in (['format', '--check'], ['check', '--select', 'E9,F,I']):
        done = subprocess.run(
            [sys.executable, '-m', 'ruff', *command, '--isolated', '--no-cache', generated],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


USE = """
from collections.abc import Iterator
from concurrent.futures import Future
from typing import cast

from typing_extensions import assert_type
from uactor import Results, Stream

from made_streams.feed_proxy import FeedProxy
from tests.codegen.corpus.streams.actor import Feed

feed = cast(FeedProxy, Feed())
assert_type(feed.fail('text'), int)
assert_type(feed.fail.future('text'), Future[int])
assert_type(feed.fail.map(['text']), Results[int])
assert_type(feed.ticks.stream(3), Stream[int])
assert_type(feed.ticks(3, start=1), Iterator[int])

async def main() -> None:
    assert_type(await feed.fail.aio('text'), int)
    async for tick in feed.ticks.options(timeout=1.0).stream(3):
        assert_type(tick, int)
"""


@pytest.fixture
def sources(generated: Path) -> Iterator[Path]:
    """A folder with all that is generated, and a program that uses some of it."""
    program = generated / 'use.py'
    program.write_text(USE)
    yield generated
    program.unlink()


def test_generated_python_and_its_use_pass_mypy_in_strict_mode(
    sources: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'mypy', '--strict', '--python-version', '3.10'),
            *('--config-file', '', '--cache-dir', tmp_path, sources),
        ],
        cwd=ROOT,
        env={**os.environ, 'MYPYPATH': str(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_generated_python_and_its_use_pass_pyright_in_strict_mode(sources: Path) -> None:
    tool = require_tool('pyright')
    config = sources / 'pyrightconfig.json'
    settings = {
        'typeCheckingMode': 'strict',
        'reportMissingModuleSource': 'none',
        'extraPaths': [str(ROOT)],
        # The runtime is the same in all of them, and takes most of the time.
        'exclude': [f'made_{name}/{RUNTIME}' for name in NAMES[1:]],
    }
    config.write_text(json.dumps(settings))
    done = subprocess.run(
        [tool, '--project', config, '--pythonpath', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize('name', NAMES)
def test_the_proto_passes_buf_lint(name: str, generated: Path) -> None:
    folder = generated / f'made_{name}'
    (folder / 'buf.yaml').write_text(_BUF)
    tool = require_tool('buf')
    done = subprocess.run([tool, 'lint'], cwd=folder, capture_output=True, text=True, check=False)
    (folder / 'buf.yaml').unlink()
    assert (done.returncode, done.stdout) == (0, '')


# --- the runtime ---------------------------------------------------------------------------------


def statements(path: Path) -> list[str]:
    """Return the statements of a module, but for its imports."""
    return [
        ast.dump(statement)
        for statement in ast.parse(path.read_text()).body
        if not isinstance(statement, (ast.Import, ast.ImportFrom, ast.If))
    ]


def test_the_runtime_is_a_copy_of_what_the_actor_reads_and_writes_by(generated: Path) -> None:
    service, own = ROOT / 'uactor' / 'service', ROOT / 'codegen' / 'uactor_codegen' / 'runtime'
    runtime = generated / f'made_{CASES[0].name}' / RUNTIME
    paths = {path.relative_to(runtime) for path in runtime.rglob('*.py')}
    assert paths >= {path.relative_to(service) for path in (service / 'codecs').glob('*.py')}
    for path in paths:
        origin = own / path if (own / path).exists() else service / path
        assert statements(runtime / path) == statements(origin), path


def test_the_runtime_is_the_same_in_each_output(generated: Path) -> None:
    texts = {
        tuple(
            path.read_text()
            for path in sorted((generated / f'made_{name}' / RUNTIME).rglob('*.py'))
        )
        for name in NAMES
    }
    assert len(texts) == 1


# --- the two clients -----------------------------------------------------------------------------


def plain(annotation: Any) -> Any:
    """Return an annotation of an asynchronous client as the blocking one has it."""
    if not isinstance(annotation, str):
        return annotation
    annotation = re.sub(r' \| [\w.]+\.AsyncIterable\[.*', '', annotation)
    return annotation.replace('AsyncStream', 'Stream')


@pytest.mark.parametrize('name', NAMES)
def test_both_clients_have_the_same_methods(
    name: str, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(generated))
    (path,) = [*(generated / f'made_{name}').glob(f'{BY_NAME[name].actors[0].lower()}_client.py')]
    module: Any = importlib.import_module(f'made_{name}.{path.stem}')
    actor = BY_NAME[name].actors[0]
    blocking, other = (getattr(module, f'{kind}{actor}Client') for kind in ('', 'Async'))
    names = [each for each in vars(blocking) if not each.startswith('_')]
    assert names == [each for each in vars(other) if not each.startswith('_')]
    assert len(names) > 0
    for each in names:
        mine, others = (inspect.signature(getattr(cls, each)) for cls in (blocking, other))
        assert list(mine.parameters) == list(others.parameters)
        for parameter, its in zip(
            mine.parameters.values(), others.parameters.values(), strict=True
        ):
            assert parameter == its.replace(annotation=plain(its.annotation))
        assert mine.return_annotation == plain(others.return_annotation)
        assert inspect.getdoc(getattr(blocking, each)) == inspect.getdoc(getattr(other, each))


def test_the_history_stays_in_the_lock() -> None:
    lock = Lock.load(BY_NAME['locked_history'].folder / f'actor{SUFFIX}')
    entry = lock.messages['Entry']
    numbers = {name: field.number for name, field in entry.fields.items()}
    assert numbers == {'name': 1, 'weight': 9, 'state': 3, 'color_2': 5}
    assert entry.reserved.names == ['color', 'gone']
    assert list(lock.services['JournalService'].removed) == ['Drop']
