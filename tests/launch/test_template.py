"""Rule 5: actors are forked from a template process, and nobody can tell by them."""

from __future__ import annotations

import atexit
import email
import faulthandler
import gc
import importlib
import json
import locale
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import random
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
import warnings
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

import uactor
from tests.support import LAUNCHERS, Actor, eventually, is_running, is_template, seed
from tests.support.peers import Peer
from tests.support.programs import ROOT, get_output, run_python
from uactor.launch import import_path
from uactor.launch import template as launch_template
from uactor.launch.interpreter import UNKNOWN_STATUS
from uactor.launch.template import templates
from uactor.launch.template_server import is_possible

pytestmark = [
    pytest.mark.pythons('forks and imports'),
    pytest.mark.oldest_python,
    pytest.mark.skipif(not is_possible(), reason='this system can have no templates'),
]


class Runner(Actor):
    """Runs functions."""

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def parent_of(actor: Any) -> int:
    """Return the process id of the parent of an actor process, as the kernel has it."""
    parent: int = actor.run(os.getppid)
    return parent


@pytest.fixture
def template() -> Iterator[psutil.Process]:
    """The template that the actors of a test come from, as long as nothing happens to it."""
    with Runner() as actor:
        yield psutil.Process(parent_of(actor))


# --- what it is like -----------------------------------------------------------------------------


def test_actors_are_forked_from_one_template_that_has_a_single_thread(
    template: psutil.Process,
) -> None:
    with Runner() as first, Runner() as second:
        assert parent_of(first) == parent_of(second) == template.pid
        assert is_template(template)
        assert template.num_threads() == 1
        assert template.ppid() == os.getpid()


def test_an_idle_template_does_nothing(template: psutil.Process) -> None:
    def switches() -> int:
        return sum(template.num_ctx_switches())

    eventually(lambda: template.status() == psutil.STATUS_SLEEPING)
    before = switches()
    with Runner() as actor:
        assert switches() > before
        eventually(lambda: template.status() == psutil.STATUS_SLEEPING)
        before = switches()
        assert actor.run(pow, 2, 3) == 8
        assert switches() == before


def test_a_template_keeps_no_file_of_its_owner_open(template: psutil.Process) -> None:
    files = {number.fd: number.path for number in template.open_files()}
    assert files == {}
    targets = [str(path.readlink()) for path in pathlib.Path(f'/proc/{template.pid}/fd').iterdir()]
    assert sorted(target.partition(':')[0] for target in targets) == ['/dev/null'] * 3 + ['socket']
    assert template.cwd() == '/'


def test_an_actor_shares_most_of_its_memory_with_its_template(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = """
import os, sys, uactor
class Numbered(uactor.Actor):
    def pid(self):
        return os.getpid()
with Numbered() as neighbour, Numbered() as actor:  # what two have is not one's own
    neighbour.pid()
    with open(f'/proc/{actor.pid()}/smaps_rollup') as lines:
        print(sum(int(line.split()[1]) for line in lines if line.startswith('Private_')))
"""
    taken = {}
    for launcher in LAUNCHERS:
        monkeypatch.setenv('UACTOR_LAUNCH', launcher)
        taken[launcher] = int(get_output(run_python('-c', program)))
    assert taken['template'] < taken['interpreter'] / 3


def test_an_actor_that_has_actors_gets_a_template_of_its_own(template: psutil.Process) -> None:
    def nest() -> tuple[int, int, int]:
        with Runner() as inner:
            parent = parent_of(inner)
            return parent, psutil.Process(parent).ppid(), os.getpid()

    with Runner() as outer:
        parent, grandparent, pid = outer.run(nest)
        assert parent != template.pid
        assert grandparent == pid
    eventually(lambda: not is_running(parent))


# --- nobody can tell -----------------------------------------------------------------------------


SIGNALS = 'SigPnd', 'ShdPnd', 'SigBlk', 'SigIgn', 'SigCgt'
"""What there is of signals, but for how many are queued for all processes of the user."""


def traits() -> dict[str, Any]:
    """Return what could tell a forked process from a fresh interpreter."""
    process = psutil.Process()
    tracker = multiprocessing.resource_tracker._resource_tracker  # noqa: SLF001  # of Python
    return {
        'streams': [
            (stream.name, stream.encoding, stream.errors, stream.line_buffering)
            for stream in (sys.stdin, sys.stdout, sys.stderr)
        ],
        'status': status('Umask', *SIGNALS, 'Cap', 'Uid', 'Gid', 'Groups', 'NSpgid', 'NSsid'),
        'limits': pathlib.Path('/proc/self/limits').read_text(),
        'priority': (process.nice(), process.cpu_affinity()),
        'name': pathlib.Path('/proc/self/comm').read_text(),
        'handlers': [repr(signal.getsignal(number))[:20] for number in range(1, 32)],
        'environment': dict(os.environ),
        'place': (sys.path, sys.argv, str(pathlib.Path.cwd())),
        'flags': (tuple(sys.flags), sys._xoptions, sys.warnoptions, sys.getrecursionlimit()),
        'warnings': [str(entry) for entry in warnings.filters],
        'loggers': [type(handler).__name__ for handler in logging.getLogger().handlers],
        'threads': sorted(thread.name.partition('-')[0] for thread in threading.enumerate()),
        'main thread': (threading.main_thread().native_id == os.getpid(), threading.stack_size()),
        'exit handlers': atexit._ncallbacks(),  # noqa: SLF001  # the only way to count them
        'multiprocessing': (
            multiprocessing.current_process().name,
            bytes(multiprocessing.current_process().authkey),
            multiprocessing.parent_process(),
            multiprocessing.active_children(),
            multiprocessing.get_start_method(),
            tracker._fd,  # type: ignore[attr-defined]  # noqa: SLF001  # whether one was inherited
        ),
        'collector': (gc.isenabled(), gc.get_threshold()),
        'faults': faulthandler.is_enabled(),
        'locale': (locale.setlocale(locale.LC_ALL), sys.getfilesystemencoding()),
        'temporary': tempfile.tempdir,
    }


def status(*names: str) -> list[str]:
    """Return what the kernel knows of this thread and its process."""
    lines = pathlib.Path('/proc/thread-self/status').read_text().splitlines()
    return [line for line in lines if line.startswith(names)]


def descriptors() -> list[str]:
    """Return what kinds of files this process has open."""
    links = list(pathlib.Path('/proc/self/fd').iterdir())
    return sorted(str(link.readlink()).partition(':')[0] for link in links if link.exists())


class Described(Actor):
    """Describes its process, as its main thread finds it."""

    def __init__(self) -> None:
        self.traits = traits()

    _exposed_ = ('traits',)


def traits_by(launcher: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the traits of an actor, the choice of the launcher left out."""
    monkeypatch.setenv('UACTOR_LAUNCH', launcher)
    with Described() as actor:
        found: dict[str, Any] = actor.traits
    assert found['environment'].pop('UACTOR_LAUNCH') == launcher
    return found


def test_a_forked_actor_is_like_one_of_a_fresh_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    forked = traits_by('template', monkeypatch)
    fresh = traits_by('interpreter', monkeypatch)
    assert forked == fresh


def test_a_forked_actor_has_no_files_that_one_of_a_fresh_interpreter_has_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for launcher in LAUNCHERS:
        monkeypatch.setenv('UACTOR_LAUNCH', launcher)
        with Runner() as first, Runner() as second:
            found += [first.run(descriptors), second.run(descriptors)]
    assert all(files == found[0] for files in found)


def test_each_actor_has_randomness_of_its_own() -> None:
    def draw() -> list[Any]:
        return [random.random(), secrets.token_hex(), uuid.uuid4(), os.urandom(8)]

    with Runner() as first, Runner() as second:
        assert not set(first.run(draw)) & set(second.run(draw))


def test_a_start_method_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('UACTOR_LAUNCH', 'magic')
    with pytest.raises(uactor.ActorStartError, match="'magic'"):
        Runner()


# --- what its owner changes ----------------------------------------------------------------------


def print_variable(name: bytes) -> bytes:
    """Return what a child process finds in its environment."""
    return subprocess.check_output(['printenv', name]).removesuffix(b'\n')


@pytest.mark.usefixtures('template', 'launcher')
def test_an_actor_has_the_environment_that_its_owner_has_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for value in ('one', 'two', os.fsdecode(b'not \xff UTF-8')):
        monkeypatch.setenv('TEST_VARIABLE', value)
        with Runner() as actor:
            for printenv in (os.environb.get, print_variable):
                assert actor.run(printenv, b'TEST_VARIABLE') == os.fsencode(value)
    monkeypatch.delenv('TEST_VARIABLE')
    with Runner() as actor:
        assert actor.run(os.environ.get, 'TEST_VARIABLE') is None


def test_another_template_is_made_for_variables_that_are_read_early(
    template: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hash_of_text() -> int:
        return hash('text')

    monkeypatch.setenv('PYTHONHASHSEED', '42')
    expected = int(subprocess.check_output([sys.executable, '-c', 'print(hash("text"))']))
    with Runner() as actor:
        assert actor.run(hash_of_text) == expected
        assert parent_of(actor) != template.pid
    assert is_running(template.pid)  # for its actor


def test_a_template_that_is_not_used_any_more_ends_with_its_last_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Runner() as actor:
        template = parent_of(actor)
        monkeypatch.setenv('MALLOC_ARENA_MAX', '3')
        with Runner() as other:
            assert parent_of(other) != template
        assert is_running(template)
        actor._manager.parent.process.kill()
        actor._manager.parent.process.join()
        assert actor._manager.parent.process.exitcode == -signal.SIGKILL
        eventually(lambda: not is_running(template))


SHADOW = """
import pathlib, sysconfig
own = pathlib.Path(sysconfig.get_path('stdlib'), 'queue.py')
exec(compile(own.read_text(), str(own), 'exec'))
shadow = True
"""


@pytest.mark.usefixtures('template', 'usual_launcher')
def test_a_module_of_the_user_takes_the_place_of_another_one_as_his_path_has_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'queue.py').write_text(SHADOW)

    def find() -> bool:
        import queue

        return hasattr(queue, 'shadow')

    with Runner() as actor:
        assert not actor.run(find)
    monkeypatch.syspath_prepend(str(tmp_path))
    with Runner() as actor:
        assert actor.run(find)
    monkeypatch.setattr(sys, 'path', ['', *sys.path[1:]])  # as in python -c
    with Runner() as actor:
        assert not actor.run(find)
    monkeypatch.chdir(tmp_path)
    with Runner() as actor:
        assert actor.run(find)


@pytest.mark.usefixtures('usual_launcher')
def test_an_actor_inherits_umask_signals_and_limits_of_its_owner(template: psutil.Process) -> None:
    usual = resource.getrlimit(resource.RLIMIT_CORE)
    mask = os.umask(0o027)
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, usual[1]))
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        found = describe()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        resource.setrlimit(resource.RLIMIT_CORE, usual)
        signal.signal(signal.SIGHUP, handler)
        os.umask(mask)
    assert found == (0o027, signal.SIG_IGN, (0, usual[1]), True)
    assert describe() == (mask, handler, usual, False)


class Inheriting(Actor):
    """Knows what its main thread has inherited."""

    def __init__(self) -> None:
        self.inherited = (
            int(status('Umask')[0].split()[1], 8),
            signal.getsignal(signal.SIGHUP),
            resource.getrlimit(resource.RLIMIT_CORE),
            signal.SIGUSR1 in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        )

    _exposed_ = ('inherited',)


def describe() -> Any:
    with Inheriting() as actor:
        return actor.inherited


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason='Python 3.13.0 does not start in a removed directory'
)
@pytest.mark.usefixtures('template')
def test_an_actor_can_be_started_where_the_directory_has_been_removed(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    with Runner() as actor:
        assert actor.run(os.readlink, '/proc/self/cwd') == f'{tmp_path} (deleted)'


REDIRECTED = """
import os, sys
from tests.support import Actor

class Speaker(Actor):
    def say(self, text):
        print(text)
        print(text, file=sys.stderr)
    def streams(self):
        return sys.stdout is None, sys.stderr is None

with Speaker() as speaker:
    speaker.say('before')
usual = os.dup(1), os.dup(2)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.dup2(file, 1)
os.dup2(file, 2)
with Speaker() as speaker:
    speaker.say('redirected')
    os.close(1)
    with Speaker() as silent:
        silent.say('said')
        closed = silent.streams()
os.dup2(usual[0], 1)
os.dup2(usual[1], 2)
print(closed, flush=True)
with Speaker() as speaker:
    speaker.say('after')
"""


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('way', ['command', 'input'])
def test_a_program_may_leave_the_directory_of_its_modules(tmp_path: pathlib.Path, way: str) -> None:
    """As in multiprocessing: what '' on the path has led to is found again."""
    module = 'import os\nfrom tests.support import Actor\nclass Teller(Actor):\n'
    (tmp_path / 'helper.py').write_text(module + '    def cwd(self): return os.getcwd()\n')
    code = 'import os, helper\nos.chdir("/")\nwith helper.Teller() as one: print(one.cwd())\n'
    if way == 'input':
        program = run_python('-', stdin=code, directory=tmp_path)
    else:
        program = run_python('-c', code, directory=tmp_path)
    assert get_output(program) == '/\n'


CLOSED = """
import os, sys
from tests.support import Actor

class Speaker(Actor):
    def streams(self):
        os.system('echo lost; echo lost >&2')
        return [os.readlink(f'/proc/self/fd/{number}') for number in range(3)]

numbers = [*map(int, sys.argv[2:])]
for number in numbers:
    os.close(number)
with Speaker() as speaker:
    found = speaker.streams()
    closed = [found[number] for number in numbers]
with open(sys.argv[1], 'w') as told:
    told.write(repr({*closed}))
"""


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('numbers', ['0', '1', '2', '12', '012'])
def test_nothing_takes_the_place_of_a_standard_stream_that_is_closed(
    numbers: str, tmp_path: pathlib.Path
) -> None:
    """What children of the actor write there would break one of its connections."""
    script, told = tmp_path / 'script.py', tmp_path / 'told'
    script.write_text(CLOSED)
    run_python(str(script), str(told), *numbers)
    assert told.read_text() == "{'/dev/null'}"


@pytest.mark.usefixtures('usual_launcher')
def test_an_actor_writes_where_its_owner_writes_then(tmp_path: pathlib.Path) -> None:
    script, file = tmp_path / 'script.py', tmp_path / 'file'
    script.write_text(REDIRECTED)
    program = run_python(str(script), str(file))
    assert program.stdout == 'before\n(True, False)\nafter\n'
    assert program.stderr == 'before\nafter\n'
    assert file.read_text() == 'redirected\nredirected\nsaid\n'


STARTUP = {
    'a thread': 'import threading; threading.Thread(target=threading.Event().wait, daemon=True)'
    '.start()',
    'a file': 'kept = open("/dev/zero")',
}


@pytest.mark.parametrize('what', STARTUP)
def test_an_interpreter_that_begins_with(what: str, tmp_path: pathlib.Path) -> None:
    """… can't be forked, and so actors are fresh ones."""
    (tmp_path / 'sitecustomize.py').write_text(STARTUP[what])
    body = """
    import logging
    logging.basicConfig(stream=sys.stdout, format='%(levelname)s %(name)s', level='WARNING')
    from tests.support import Actor

    class Child(Actor):
        def parent(self):
            return os.getppid()

    say(*[Child().parent() == os.getpid() for _ in range(2)])
    """
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    with Peer(body, variables={'PYTHONPATH': path}) as owner:
        assert owner.read_line() == 'WARNING uactor.launch'
        assert owner.read_line() == 'True True'
        assert owner.end() == 0


# --- how actors and templates end ----------------------------------------------------------------


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('status', [0, 7, -signal.SIGKILL, -signal.SIGSEGV])
@pytest.mark.unmeasured
def test_the_exit_status_of_an_actor_is_known(status: int) -> None:
    with Runner() as actor:
        process = actor._manager.parent.process
        end = (os._exit, status) if status >= 0 else (signal.raise_signal, -status)
        with pytest.raises(uactor.ActorDiedError):
            actor.run(*end)
        process.join()
        assert process.exitcode == status
        assert not process.is_alive()


def test_a_status_is_known_of_an_owner_that_ignores_the_end_of_its_children() -> None:
    usual = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with Runner() as actor:
            process = actor._manager.parent.process
            assert actor.run(signal.getsignal, signal.SIGCHLD) == signal.SIG_IGN
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL
    finally:
        signal.signal(signal.SIGCHLD, usual)


def test_actors_go_on_when_their_template_is_killed(
    template: psutil.Process, caplog: pytest.LogCaptureFixture
) -> None:
    with Runner() as actor, Runner() as killed:
        template.kill()
        eventually(lambda: not is_running(template.pid))
        assert actor.run(pow, 2, 3) == 8
        process = killed._manager.parent.process
        process.kill()
        process.join()
        assert process.exitcode == UNKNOWN_STATUS
        with Runner() as successor:
            assert parent_of(successor) not in (template.pid, os.getpid())
        assert actor.run(pow, 2, 3) == 8
    assert f'the template (pid {template.pid}) does not answer' in caplog.messages


def test_a_stopped_template_is_replaced_and_holds_nobody_up(
    template: psutil.Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A debugger stops it, for one."""
    monkeypatch.setattr(launch_template, 'REPLY_TIMEOUT_S', 0.5)
    ended = Runner()
    with Runner() as actor:
        os.kill(template.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(2) as pool:
            started = pool.submit(Runner)
            forked = pool.submit(fork_a_child)
            assert forked.result(30) == 7
            with started.result() as successor:
                assert parent_of(successor) != template.pid
        process = ended._manager.process
        ended.shutdown()
        assert process.exitcode == UNKNOWN_STATUS
        assert actor.run(pow, 2, 3) == 8


def fork_a_child() -> int:
    """Return the exit status of a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)  # Python 3.12 warns of threads
        pid = os.fork()
    if not pid:
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.unmeasured
def test_a_template_has_nothing_of_the_user_s_import_path(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'glob.py').write_text(f'open({str(tmp_path / "found")!r}, "w")')
    (tmp_path / 'script.py').write_text(
        'import uactor\nclass Child(uactor.Actor): pass\nChild().shutdown()\nprint(1)'
    )
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(tmp_path), *filter(None, sys.path)]))
    assert get_output(run_python(str(tmp_path / 'script.py'))) == '1\n'
    assert not (tmp_path / 'found').exists()


TWO_COPIES = """
import cloudpickle, uactor

class Child(uactor.Actor):
    def files(self):
        import cloudpickle, uactor
        return uactor.__file__, cloudpickle.__file__

with Child() as child:
    assert child.files() == (uactor.__file__, cloudpickle.__file__)
print(uactor.__file__)
"""


@pytest.mark.usefixtures('launcher')
@pytest.mark.parametrize('name', ['uactor', 'cloudpickle'])
@pytest.mark.parametrize('way', ['PYTHONPATH', 'directory'])
def test_an_actor_has_the_copy_of_uactor_that_its_owner_has(
    name: str, way: str, tmp_path: pathlib.Path
) -> None:
    """Of two copies, the interpreter alone would choose the installed one."""
    module = importlib.import_module(name)
    assert module.__file__
    shutil.copytree(pathlib.Path(module.__file__).parent, tmp_path / name)
    paths = [str(ROOT)] if way == 'directory' else [str(tmp_path), str(ROOT)]
    script = tmp_path / 'script.py' if way == 'directory' else tmp_path / 'scripts' / 'script.py'
    script.parent.mkdir(exist_ok=True)
    script.write_text(TWO_COPIES)
    program = run_python(str(script), variables={'PYTHONPATH': os.pathsep.join(paths)})
    used = tmp_path if name == 'uactor' else ROOT
    assert get_output(program) == f'{used}/uactor/__init__.py\n'


def test_a_start_goes_on_when_the_template_is_killed_after_the_fork(
    template: psutil.Process, tmp_path: pathlib.Path
) -> None:
    class Slow(Actor):
        def __init__(self, pipe: pathlib.Path) -> None:
            self.line = pipe.read_text()

        def read(self) -> str:
            return self.line

    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(Slow, pipe)
        with pipe.open('w') as writer:  # the constructor reads
            template.kill()
            eventually(lambda: not is_running(template.pid))
            writer.write('written')
        with start.result() as actor:
            assert actor.read() == 'written'


def test_a_start_for_which_the_template_is_killed_before_the_fork_takes_another_one(
    template: psutil.Process,
) -> None:
    template.suspend()
    with ThreadPoolExecutor(1) as pool:
        start = pool.submit(Runner)
        eventually(lambda: waiting_bytes(template.pid))
        template.kill()
        with start.result() as actor:
            assert parent_of(actor) not in (template.pid, os.getpid())


def waiting_bytes(pid: int) -> bool:
    """Tell whether this process waits for an answer of its template."""
    return templates.pids() == [pid] and any(
        frame.f_code.co_name == '_fork' for frame in stacks(sys._current_frames().values())
    )


def stacks(frames: Any) -> Iterator[Any]:
    for frame in frames:
        while frame is not None:
            yield frame
            frame = frame.f_back


FAMILY = """
from tests.support import Actor

class Child(Actor):
    def __init__(self, depth):
        self.inner = Child(depth - 1) if depth else None
    def pids(self):
        return [os.getpid(), os.getppid(), *(self.inner.pids() if self.inner else [])]

child = Child(1)
say(*child.pids())
"""


@pytest.mark.parametrize('end', ['', 'os._exit(0)', 'os.kill(os.getpid(), 9)', 'sys.exit()'])
def test_templates_end_with_their_owner(end: str) -> None:
    with Peer(FAMILY + end) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        assert len(set(pids)) == 4
        owner.end()
        eventually(lambda: not any(map(is_running, pids)))


def test_a_template_ends_with_its_owner_and_not_with_a_forked_child_of_that() -> None:
    code = """
if os.fork() == 0:
    listen()
    os._exit(0)
os.kill(os.getpid(), 9)
"""
    with Peer(FAMILY + code) as owner:
        pids = [int(pid) for pid in owner.read_line().split()]
        owner.process.wait()
        eventually(lambda: not any(map(is_running, pids)))


def test_a_forked_child_has_a_template_of_its_own(template: psutil.Process) -> None:
    body = """
    from tests.support import Actor

    class Child(Actor):
        def parent(self):
            return os.getppid()

    parent = Child().parent()
    pid = os.fork()
    if pid == 0:
        import psutil
        own = Child().parent()
        say(own != parent, psutil.Process(own).ppid() == os.getpid())
        os._exit(0)
    os.waitpid(pid, 0)
    say(Child().parent() == parent)
    """
    with Peer(body, options=['-W', 'ignore']) as owner:
        assert owner.read_line() == 'True True'
        assert owner.read_line() == 'True'
        assert owner.end() == 0


# --- many at once --------------------------------------------------------------------------------


def test_starts_of_several_threads_do_not_wait_for_a_constructor_that_hangs(
    template: psutil.Process, tmp_path: pathlib.Path
) -> None:
    class Slow(Actor):
        def __init__(self, pipe: pathlib.Path) -> None:
            pipe.read_text()

    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with ThreadPoolExecutor(9) as pool:
        slow = pool.submit(Slow, pipe)
        with pipe.open('w'):
            actors = list(pool.map(lambda _: Runner(), range(8)))
            assert {parent_of(actor) for actor in actors} == {template.pid}
            assert len({actor.run(os.getpid) for actor in actors}) == 8
            assert not slow.done()
        slow.result().shutdown()
    for actor in actors:
        actor.shutdown()


def test_first_starts_of_several_threads_share_a_template() -> None:
    body = """
    import threading
    from concurrent.futures import ThreadPoolExecutor
    from tests.support import Actor

    class Child(Actor):
        def parent(self):
            return os.getppid()

    with ThreadPoolExecutor(8) as pool:
        actors = list(pool.map(lambda _: Child(), range(8)))
    say(len({actor.parent() for actor in actors}))
    """
    with Peer(body) as owner:
        assert owner.read_line() == '1'
        assert owner.end() == 0


@pytest.mark.parametrize('count', [10, pytest.param(500, marks=pytest.mark.soak)])
def test_interrupts_at_any_moment_of_a_start_leave_nothing(launcher: str, count: int) -> None:
    body = """
    import random, signal
    from tests.support import Actor, descendants, eventually, is_running

    class Child(Actor):
        def pid(self):
            return os.getpid()

    count, number = given
    chance = random.Random(number)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    Child().shutdown()
    interrupts = 0
    while interrupts < count:
        try:
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.015))
            while True:
                Child()
        except KeyboardInterrupt:
            interrupts += 1
        except RuntimeError as error:
            # The waits of threading raise it when they are interrupted at a bad moment.
            if not isinstance(error.__context__, KeyboardInterrupt):
                raise
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    eventually(lambda: not any(is_running(process.pid) for process in descendants()))
    child = Child()
    eventually(lambda: [process.pid for process in descendants()] == [child.pid()])
    say('nothing is left')
    """
    with Peer(body, count, seed(), stderr=subprocess.DEVNULL) as owner:
        assert owner.read_line() == 'nothing is left'
        assert owner.end() == 0


def test_a_module_in_an_archive_takes_the_place_of_one_that_a_template_has(
    tmp_path: pathlib.Path,
) -> None:
    with zipfile.ZipFile(tmp_path / 'archive.zip', 'w') as archive:
        archive.writestr('json.py', '')
        archive.writestr('other.py', '')
    modules = {'json': str(json.__file__), 'email': str(email.__file__)}
    assert import_path.find_shadowed(modules, [str(tmp_path / 'archive.zip')]) == ('json',)
