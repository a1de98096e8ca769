"""The ``uactor`` command: an actor in the foreground, and a line that calls it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import uactor
from tests.conftest import require_tool
from tests.support import TRANSPORT, descendants, eventually, is_running
from tests.support.rpc import Client, call_request, client_of, failing
from uactor.cli.main import main

ROOT = Path(__file__).parents[2]
ADDRESS = ('--address', '127.0.0.1:0') if TRANSPORT == 'tcp' else ()

MODULE = """
import multiprocessing
import os
import signal
import time
import typing

import uactor


class Counter(uactor.Actor):
    def __init__(self, start: float = 0, *, step: int = 1, name: str = '') -> None:
        if isinstance(start, str):
            raise ValueError('a start\\nis a number')
        self.value, self.step, self.name = start, step, name

    _exposed_ = ('add', 'settings', 'family_key')

    def add(self, by: int) -> float:
        self.value += by * self.step
        return self.value

    def settings(self) -> list[typing.Any]:
        return [self.value, self.step, self.name]

    def family_key(self) -> bytes:
        return bytes(multiprocessing.current_process().authkey)


class Owner(uactor.Actor):
    class Inner(uactor.Actor):
        def pid(self) -> int:
            return os.getpid()

    def __init__(self) -> None:
        self._inner = Owner.Inner()

    def inner(self) -> typing.Any:
        return self._inner


class Configured(uactor.Actor):
    _options_ = {
        'address': ('localhost', 0), 'authkey': b'of the class', 'serializer': 'native'
    }

    def untyped(self, what):
        return 'untyped'

    def keyword(self, *, text: str, flag: bool, items: list[int] = (), **others: int) -> str:
        return f'{text} {flag}'


class OneAtATime(uactor.Actor):
    _options_ = {'concurrency': 1}

    def block(self, path: str) -> None:
        open(path, 'x').close()
        while not uactor.current_call().cancelled:
            time.sleep(0.001)

    def pid(self) -> int:
        return os.getpid()


class Misconfigured(uactor.Actor):
    _options_ = {'concurrency': 0}


class Bare(uactor.Actor):
    pass


class Slow(uactor.Actor):
    def __init__(self) -> None:
        print('constructing', flush=True)
        signal.pause()


class Plain:
    pass
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory to work in: with modules, and with one for temporary files that stays empty."""
    path = Path(tempfile.mkdtemp(prefix='u'))  # short, as the paths of sockets must be
    (path / 'tmp').mkdir()
    (path / 'mymodule.py').write_text(MODULE)
    (path / 'broken.py').write_text('import uactor\nuactor.no_such_name\n')
    (path / 'unreadable.py').write_text('def (')
    (path / 'needy.py').write_text('import no_such_module\n')
    yield path
    left = os.listdir(path / 'tmp')
    shutil.rmtree(path)
    assert left == []


class Served:
    """A ``uactor serve`` that runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.process = process
        self.greeting = process.stdout.readline().rstrip('\n')
        lines = iter(process.stdout.readline, '')
        self.typed_lines: list[str] = []
        while 'ActorService' not in (line := next(lines)):
            self.typed_lines.append(line)
        self.line = line.rstrip('\n')
        self.address = self.greeting.rpartition(' ')[2]

    @property
    def keyfile(self) -> Path:
        return Path(self.line.partition(' header ')[2].partition(')"')[0].strip("'"))

    @property
    def metadata(self) -> Any:
        return uactor.call_metadata(self.keyfile.read_bytes().removesuffix(b'\n'))

    @contextlib.contextmanager
    def client(self) -> Iterator[Client]:
        with client_of(self.address, self.metadata) as client:
            yield client


Serve = Callable[..., Served]


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    paths = [str(ROOT), *filter(None, [os.environ.get('PYTHONPATH')])]
    return {**os.environ, 'TMPDIR': str(home / 'tmp'), 'PYTHONPATH': os.pathsep.join(paths)}


@pytest.fixture
def start(home: Path, environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Starts the command; ends it with the test."""
    with contextlib.ExitStack() as stack:

        def begin(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, '-m', 'uactor', *words],
                cwd=home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.terminate)
            return process

        yield begin


@pytest.fixture
def serve(start: Callable[..., Any]) -> Serve:
    """Serves an actor, until the test ends."""
    return lambda *words: Served(start('serve', *words))


def wait_for_output(process: subprocess.Popen[str]) -> tuple[str, str, int]:
    """Wait for the end of the command; return what it said, and its exit status."""
    output, errors = process.communicate(timeout=20)
    return output, errors, process.returncode


# --- the line ------------------------------------------------------------------------------------


@pytest.fixture
def paste(environment: dict[str, str], home: Path) -> Callable[..., Any]:
    """Runs a line in bash, with a console script in the PATH, and returns the JSON it prints."""
    grpcurl = require_tool('grpcurl')
    script = console_script(home / 'bin')
    path = os.pathsep.join([str(script.parent), str(Path(grpcurl).parent), environment['PATH']])
    environment['PATH'] = path

    def run(line: str) -> Any:
        done = subprocess.run(
            ['bash', '-c', line],
            cwd='/',
            env=environment,
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_the_printed_line_works_in_bash(serve: Serve, paste: Any) -> None:
    served = serve('mymodule:Counter', *ADDRESS, '--', '10', 'step=2')
    assert served.greeting.startswith('Counter listens at ')
    assert paste(served.line) == {'result': {'int64': '16'}}
    assert paste(served.line) == {'result': {'int64': '22'}}
    [typed_line] = served.typed_lines
    assert paste(typed_line) == {'result': 28.0}


def console_script(directory: Path) -> Path:
    """Make what an installation makes of the entry point."""
    directory.mkdir()
    script = directory / 'uactor'
    script.write_text(
        f'#!{sys.executable}\nfrom uactor.cli.main import main\nraise SystemExit(main())\n'
    )
    script.chmod(0o755)
    return script


@pytest.mark.parametrize('directory', ['bin', 'not in the path'])
def test_the_printed_line_names_the_console_script_if_that_was_used(
    home: Path, environment: dict[str, str], paste: Any, directory: str
) -> None:
    (home / "it's a key").write_text('secret')
    script = home / 'bin' / 'uactor' if directory == 'bin' else console_script(home / directory)
    words = [str(script), 'serve', 'mymodule:Counter', '--authkey-file', "it's a key"]
    with subprocess.Popen(
        words, cwd=home, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            served = Served(process)
            name = 'uactor' if directory == 'bin' else f"'{script}'"
            assert f'-H "$({name} header ' in served.line
            assert paste(served.line) == {'result': {'int64': '3'}}
        finally:
            process.terminate()


def test_the_printed_line_has_arguments_as_annotated(serve: Serve, paste: Any) -> None:
    served = serve('mymodule:Configured')
    assert served.address.startswith('127.0.0.1:')  # as the class says
    assert served.keyfile.read_text() == 'of the class\n'
    assert paste(served.line) == {'result': {'string': 'text True'}}


def test_an_actor_without_methods_is_described(serve: Serve, paste: Any) -> None:
    assert paste(serve('mymodule:Bare').line)['className'] == 'mymodule.Bare'


# --- serving -------------------------------------------------------------------------------------


def test_arguments_are_json_by_position_and_by_name(serve: Serve) -> None:
    served = serve('mymodule:Counter', '--', '-1.5', 'step=-2', 'name="a=b -- c"')
    with served.client() as client:
        assert client.call('settings') == [-1.5, -2, 'a=b -- c']


def test_the_authkey_is_in_a_private_file_and_nowhere_else(serve: Serve) -> None:
    served = serve('mymodule:Counter')
    key = served.keyfile.read_text().strip()
    assert len(key) == 64
    assert stat.S_IMODE(served.keyfile.stat().st_mode) == 0o600
    assert stat.S_IMODE(served.keyfile.parent.stat().st_mode) == 0o700
    process = psutil.Process(served.process.pid)
    seen = [served.greeting, served.line, *process.cmdline(), *process.environ().values()]
    assert not any(key in text for text in seen)
    with served.client() as client:
        assert client.call('family_key') == key.encode()  # so that its own actors can be called


def test_an_authkey_of_ones_own_can_be_used_from_python(serve: Serve, home: Path) -> None:
    (home / 'key').write_bytes(b'a key\n')
    address = ADDRESS or ('--address', f'unix:{home}/s')
    served = serve('mymodule:Counter', *address, '--authkey-file', 'key')
    assert served.address.startswith(address[1].removesuffix('0'))
    counter: Any = uactor.Actor.connect(served.address, b'a key')
    assert counter._callmethod('add', (4,)) == 4
    with pytest.raises(uactor.AuthkeyError):
        uactor.Actor.connect(served.address, b'a key\n')
    del counter
    served.process.terminate()
    assert wait_for_output(served.process) == ('', '', 0)
    assert (home / 'key').read_bytes() == b'a key\n'
    assert not (home / 's').exists()


def test_the_concurrency_of_the_class_holds(serve: Serve, home: Path) -> None:
    served = serve('mymodule:OneAtATime', *ADDRESS)
    with served.client() as client:
        blocked = client.stub.Call.future(
            call_request('block', f'{home}/begun'), metadata=client.metadata
        )
        eventually((home / 'begun').exists)
        with failing('DEADLINE_EXCEEDED'):
            client.stub.Call(call_request('pid'), metadata=client.metadata, timeout=0.5)
        blocked.cancel()


@pytest.mark.usefixtures('usual_signals')
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=str)
def test_a_signal_ends_it_cleanly(serve: Serve, home: Path, number: int) -> None:
    served = serve('mymodule:Owner', *ADDRESS)
    [inner] = descendants(served.process.pid)
    assert os.listdir(home / 'tmp') != []
    served.process.send_signal(number)
    assert wait_for_output(served.process) == ('', '', 0)
    assert os.listdir(home / 'tmp') == []
    eventually(lambda: not is_running(inner.pid))


@pytest.mark.usefixtures('usual_signals')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGHUP], ids=str)
def test_a_signal_that_is_ignored_from_the_beginning_does_not_end_it(
    serve: Serve, home: Path, number: int
) -> None:
    """As under nohup, and in a job of a shell script."""
    signal.signal(number, signal.SIG_IGN)
    served = serve('mymodule:Owner', *ADDRESS)
    [inner] = descendants(served.process.pid)
    for pid in served.process.pid, inner.pid:
        os.kill(pid, number)
    with served.client() as client:
        client.rpc('Describe')
    assert is_running(inner.pid)
    served.process.terminate()
    assert wait_for_output(served.process) == ('', '', 0)
    assert os.listdir(home / 'tmp') == []


def test_a_signal_during_the_constructor_ends_it_cleanly(start: Any, home: Path) -> None:
    process = start('serve', 'mymodule:Slow')
    assert process.stdout.readline() == 'constructing\n'
    process.terminate()
    assert wait_for_output(process) == ('', '', 0)
    assert os.listdir(home / 'tmp') == []


def test_shutdown_ends_it_too(serve: Serve) -> None:
    served = serve('mymodule:Counter')
    with served.client() as client:
        client.rpc('Shutdown')
    assert wait_for_output(served.process) == ('', '', 0)


def test_a_nested_class_and_a_module_of_the_current_directory_are_found(serve: Serve) -> None:
    served = serve('mymodule:Owner.Inner')
    assert served.greeting.startswith('Owner.Inner listens at ')
    with served.client() as client, failing('UNIMPLEMENTED'):
        client.call('add', 1)


# --- what goes wrong -----------------------------------------------------------------------------


def run_refused(start: Any, *words: str) -> tuple[str, int]:
    """Return what the command says, in one line on its standard error, and its exit status."""
    output, errors, status = wait_for_output(start(*words))
    assert output == ''
    assert errors.count('\n') == 1, errors
    assert errors.startswith(f'uactor {words[0]}: ')
    return errors, status


@pytest.mark.parametrize(
    ('words', 'text'),
    [
        (['mymodule'], "'mymodule' names no class; write MODULE:CLASS"),
        (['nowhere:Counter'], "there is no module 'nowhere'"),
        (['mymodule.sub:Counter'], "there is no module 'mymodule.sub'"),
        (['needy:Counter'], "cannot import 'needy': ModuleNotFoundError: No module named"),
        (['broken:Counter'], 'broken.py:2'),
        (['unreadable:Counter'], 'SyntaxError'),
        (['mymodule:Lost'], "the module 'mymodule' has no 'Lost'"),
        (['mymodule:Plain'], 'no class derived from uactor.Actor'),
        (
            ['mymodule:Misconfigured'],
            '._options_: the concurrency of an actor is 1 or more',
        ),
        (['mymodule:Counter', '--', '{'], "the argument '{' is not JSON"),
        (['mymodule:Counter', '--', 'name=x'], "the argument 'x' is not JSON"),
        (['mymodule:Counter', '--', 'step=1', 'step=2'], "'step' is given twice"),
        (['mymodule:Counter', '--address', 'here'], "'here' is not an address"),
        (['mymodule:Counter', '--address', 'unix:here'], 'must be absolute'),
        (['mymodule:Counter', '--address', '0.0.0.0:0'], 'other machines'),
        (['mymodule:Counter', '--authkey-file', 'lost'], "lost': No such file"),
        (['mymodule:Counter', '--authkey-file', os.devnull], 'is empty'),
    ],
    ids=lambda value: ' '.join(value) if isinstance(value, list) else '',
)
def test_bad_input_is_refused_in_one_line(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    text: str,
) -> None:
    with in_process(home, monkeypatch):
        status = main(['serve', *words])
    output, errors = capsys.readouterr()
    assert (output, status) == ('', 2)
    assert errors.startswith('uactor serve: ')
    assert errors.count('\n') == 1
    assert text in errors


@contextlib.contextmanager
def in_process(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the command run in this process, where nothing comes to be served."""
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    monkeypatch.setattr(sys, 'modules', dict(sys.modules))
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ('argument', 'text'),
    [
        ('"x"', 'ValueError: a start is a number (HOME/mymodule.py:14)'),
        ('other=1', "TypeError: Counter.__init__() got an unexpected keyword argument 'other'"),
    ],
)
def test_an_error_of_the_constructor_is_printed(
    start: Any, home: Path, argument: str, text: str
) -> None:
    errors, status = run_refused(start, 'serve', 'mymodule:Counter', '--', argument)
    assert errors == f'uactor serve: {text}\n'.replace('HOME', str(home.resolve()))
    assert status == 1
    assert os.listdir(home / 'tmp') == []


def test_an_address_in_use_is_refused(start: Any, home: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as taken:
        address = '127.0.0.1:{}'.format(*taken.getsockname()[1:])
        errors, status = run_refused(start, 'serve', 'mymodule:Counter', '--address', address)
    assert (errors, status) == (
        f'uactor serve: cannot listen at {address}: Address already in use\n',
        2,
    )
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f'{home}/s')
        taken.listen()
        errors, status = run_refused(start, 'serve', 'mymodule:Counter', '--address', f'{home}/s')
    assert (status, 'another process listens there' in errors) == (2, True)


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize('content', [b'a key', b'a key\n'])
def test_header_prints_the_metadata(
    home: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (home / 'key').write_bytes(content)
    assert main(['header', str(home / 'key')]) == 0
    [(name, value)] = uactor.call_metadata(b'a key')
    assert capsys.readouterr().out == f'{name}: {value}\n'


def test_only_the_newline_at_its_end_is_no_part_of_a_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / 'key').write_bytes(b' a key \n\n')
    assert main(['header', str(tmp_path / 'key')]) == 0
    [(name, value)] = uactor.call_metadata(b' a key \n')
    assert capsys.readouterr().out == f'{name}: {value}\n'


def test_header_without_a_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['header', '/no/such/file']) == 2
    assert capsys.readouterr().err.count('\n') == 1


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(['--version'])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f'uactor {uactor.__version__}\n'


@pytest.mark.parametrize('words', [[], ['serve'], ['lost'], ['header', 'x', '--', '1']], ids=str)
def test_bad_usage_prints_an_error(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert 'usage: uactor' in capsys.readouterr().err
