"""The examples of the reference documentation run unchanged, wherever a program can come from.

Each file in examples/reference is one of them, as it was written, with the imports that it
leaves out.
"""

from __future__ import annotations

import pathlib
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel

import uactor
from tests.support import TRANSPORT, in_full
from tests.support.programs import (
    EXAMPLES,
    Finished,
    comments,
    environment,
    get_output,
    run_python,
)

pytestmark = pytest.mark.skipif(TRANSPORT != 'unix', reason='examples choose their own transport')

REFERENCE = EXAMPLES / 'reference'
LIST_PROXY = 'uactor.proxies.containers.ListProxy'

TYPES_PRINTED = {
    'result_proxies': [LIST_PROXY, LIST_PROXY],
    'serialized_proxies': ['list', LIST_PROXY],
    'synchronization': [],
    'asynchronous': [],
}
"""The examples that print something, and the types that the documentation left out of it."""

SPELLINGS = ['AuthKeyError', 'AuthkeyError']

Run = Callable[[pathlib.Path], Finished]
"""Runs a file in its directory."""


def as_script(path: pathlib.Path) -> Finished:
    return run_python(path.name, directory=path.parent)


def from_stdin(path: pathlib.Path) -> Finished:
    return run_python(stdin=path.read_text(), directory=path.parent)


def as_command(path: pathlib.Path) -> Finished:
    return run_python('-c', path.read_text(), directory=path.parent)


@pytest.fixture(params=[as_script, *in_full(from_stdin, as_command)], ids=lambda run: run.__name__)
def run(request: pytest.FixtureRequest) -> Run:
    return request.param


class Notebook:
    """A Jupyter kernel."""

    def __init__(self, client: BlockingKernelClient) -> None:
        self._client = client

    def run(self, source: str) -> tuple[str, str]:
        """Run a cell; return what it printed, and the name of its exception or ''."""
        printed: list[str] = []

        def receive(message: dict[str, dict[str, str]]) -> None:
            printed.append(message['content'].get('text', ''))

        reply = self._client.execute_interactive(source, output_hook=receive, timeout=30)
        return ''.join(printed), reply['content'].get('ename', '')


@pytest.fixture(scope='module')
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    own = str(tmp_path_factory.mktemp('jupyter'))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('JUPYTER_PLATFORM_DIRS', '1')
        patch.setenv('PYTHONPATH', environment()['PYTHONPATH'])
        for variable in ('IPYTHONDIR', 'JUPYTER_CONFIG_DIR', 'JUPYTER_DATA_DIR'):
            patch.setenv(variable, own)
        manager, client = start_new_kernel(kernel_name='python3', cwd=str(REFERENCE))
    yield Notebook(client)
    client.stop_channels()
    manager.shutdown_kernel()


def check_output(example: str, printed: str) -> None:
    """Compare with the comments of an example, which name no types."""
    documented = '\n'.join(comments((REFERENCE / f'{example}.py').read_text())) + '\n'
    assert without_times(without_types(printed)) == without_times(documented)
    assert re.findall(r"<class '(.*?)'>", printed) == TYPES_PRINTED[example]


def without_types(text: str) -> str:
    return re.sub(r"<class '.*?'> ", '', text)


def without_times(text: str) -> str:
    return re.sub(r'\d+\.\d+s', 'some seconds', text)


@pytest.mark.parametrize('example', TYPES_PRINTED)
def test_an_example_prints_what_it_says(run: Run, example: str) -> None:
    check_output(example, get_output(run(REFERENCE / f'{example}.py')))


@pytest.mark.parametrize('example', TYPES_PRINTED)
def test_an_example_prints_what_it_says_in_a_notebook(notebook: Notebook, example: str) -> None:
    printed, error = notebook.run((REFERENCE / f'{example}.py').read_text())
    assert error == ''
    check_output(example, printed)


# --- forwarding ----------------------------------------------------------------------------------


@pytest.fixture(params=SPELLINGS)
def fallback(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> pathlib.Path:
    """The example that catches the error, under both of its names."""
    shutil.copy(REFERENCE / 'proxy_forwarding.py', tmp_path)
    path = tmp_path / 'forwarding_fallback.py'
    source = (REFERENCE / path.name).read_text()
    assert source.count(SPELLINGS[0]) == 1
    path.write_text(source.replace(SPELLINGS[0], request.param))
    return path


def test_the_error_has_two_spellings() -> None:
    assert uactor.AuthKeyError is uactor.AuthkeyError


def test_forwarding_is_rejected_before_connecting(run: Run) -> None:
    program = run(REFERENCE / 'forwarding_rejected.py')
    assert (program.returncode, program.stdout) == (1, '')
    assert program.stderr.splitlines()[-1].startswith('uactor.errors.AuthkeyError: ')


def test_forwarding_works_after_connecting(run: Run) -> None:
    assert get_output(run(REFERENCE / 'forwarding_connected.py')) == ''


def test_connecting_can_be_the_fallback(run: Run, fallback: pathlib.Path) -> None:
    assert get_output(run(fallback)) == ''


def test_forwarding_is_rejected_before_connecting_in_a_notebook(notebook: Notebook) -> None:
    source = (REFERENCE / 'forwarding_rejected.py').read_text()
    assert notebook.run(source) == ('', 'AuthkeyError')


def test_forwarding_works_after_connecting_in_a_notebook(notebook: Notebook) -> None:
    assert notebook.run((REFERENCE / 'forwarding_connected.py').read_text()) == ('', '')


def test_connecting_can_be_the_fallback_in_a_notebook(
    notebook: Notebook, fallback: pathlib.Path
) -> None:
    assert notebook.run(fallback.read_text()) == ('', '')
