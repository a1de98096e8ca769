"""Rules 1, 2 and 5: how actor processes begin and end, in order and not, and what they leave."""

from __future__ import annotations

import atexit
import contextlib
import gc
import logging
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

import uactor
from tests.support import TRANSPORT, Actor, count_waiters, descendants, eventually, seed
from tests.support.peers import Peer
from tests.support.programs import get_output, run_python
from uactor.client.link import Link
from uactor.launch import actor_process

pytestmark = [pytest.mark.pythons('how processes start and end'), pytest.mark.oldest_python]


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A directory with a short path, in which actors that this process starts listen."""
    with tempfile.TemporaryDirectory(prefix='t', dir='/tmp') as path:
        monkeypatch.setattr(tempfile, 'tempdir', path)
        yield pathlib.Path(path)


def usage(directory: pathlib.Path) -> dict[str, int]:
    """Return how much of everything this process has."""
    gc.collect()
    this = psutil.Process()
    return {
        'threads': threading.active_count(),
        'native threads': this.num_threads(),
        'descriptors': this.num_fds(),
        'processes': len(this.children(recursive=True)),
        'files': len(list(directory.iterdir())),
        'links': sum(isinstance(thing, Link) for thing in gc.get_objects()),
    }


def is_as(before: dict[str, int], directory: pathlib.Path) -> None:
    """Assert that this process soon has no more of anything than it had."""

    def excess() -> dict[str, int]:
        after = usage(directory)
        return {name: after[name] for name in after if after[name] > before[name]}

    with contextlib.suppress(AssertionError):
        eventually(lambda: not excess(), timeout=20)
    assert not excess(), f'{before}\n{what_there_is()}'


def what_there_is() -> str:
    """Return what threads do, and what has links."""
    frames = sys._current_frames().values()
    doing = [''.join(traceback.format_stack(frame)) for frame in frames]
    links = [thing for thing in gc.get_objects() if isinstance(thing, Link)]
    having = [[type(owner).__name__ for owner in gc.get_referrers(link)] for link in links]
    return '\n'.join([*doing, *map(str, having)])


# --- calls that race with the end ----------------------------------------------------------------


class Tally(Actor):
    """Outlives others and knows which of their calls have run."""

    _method_to_typeid_ = {'numbers': 'list'}

    def __init__(self) -> None:
        self._numbers: list[int] = []

    def numbers(self) -> list[int]:
        return self._numbers

    def pid(self) -> int:
        return os.getpid()


class Racer(Actor):
    """Notes each call elsewhere before it answers."""

    def __init__(self, numbers: Any) -> None:
        self._numbers = numbers

    def run(self, number: int) -> int:
        self._numbers.append(number)
        return number


@pytest.fixture(scope='module')
def tally() -> Iterator[Any]:
    with Tally() as actor:
        yield actor


def test_an_exit_callback_runs_also_when_the_actor_has_ended() -> None:
    actor, ended = Tally(), threading.Event()
    process = actor._manager.process
    process.on_exit(ended.set)
    assert not ended.is_set()
    actor.shutdown()
    assert ended.wait(20)
    ended.clear()
    process.on_exit(ended.set)
    assert ended.is_set()


def race(racer: Any, numbers: range, started: threading.Semaphore) -> dict[int, str]:
    """Call until the actor has ended; return for each call whether it has been executed."""
    outcomes: dict[int, str] = {}
    for number in numbers:
        try:
            assert racer.run(number) == number
            outcomes[number] = 'yes'
        except uactor.ActorDiedError as error:
            outcomes[number] = error.executed
            if error.executed == 'no':
                break
        started.release()
    return outcomes


@pytest.mark.parametrize(
    'end', [Actor.shutdown, 'terminate', 'kill'], ids=['shutdown', 'terminate', 'kill']
)
def test_calls_that_race_with_the_end_of_an_actor_end_and_none_runs_twice(
    tally: Any, end: Any
) -> None:
    callers, calls = 8, 1000
    numbers = tally.numbers()
    del numbers[:]
    racer = Racer(numbers)
    started = threading.Semaphore(0)
    with ThreadPoolExecutor(callers) as pool:
        futures = [
            pool.submit(race, racer, range(first, first + calls), started)
            for first in range(0, callers * calls, calls)
        ]
        for _ in range(100):
            started.acquire()
        if isinstance(end, str):
            getattr(racer._manager.process, end)()
        else:
            racer.shutdown()
        outcomes = {key: value for future in futures for key, value in future.result().items()}
    noted = list(numbers)
    assert len(noted) == len(set(noted))
    assert {number for number, executed in outcomes.items() if executed == 'yes'} <= set(noted)
    assert not {number for number, executed in outcomes.items() if executed == 'no'} & set(noted)
    assert list(outcomes.values()).count('no') == callers


def test_a_call_after_the_end_has_certainly_not_run() -> None:
    actor = Tally()
    actor.shutdown()
    with pytest.raises(uactor.ActorDiedError) as caught:
        actor.pid()
    assert caught.value.executed == 'no'


# --- constructors that fail ----------------------------------------------------------------------


class Unlucky(ValueError):
    """An error with a constructor of its own."""

    def __init__(self, number: int, *, reason: str) -> None:
        super().__init__(number, reason)
        self.number, self.reason = number, reason

    def __reduce__(self) -> tuple[Any, ...]:
        return _unlucky, (self.number, self.reason)


def _unlucky(number: int, reason: str) -> Unlucky:
    return Unlucky(number, reason=reason)


class Failing(Actor):
    """Does not come to be."""

    def __init__(self, fail: Callable[..., Any], *args: Any) -> None:
        self.inner = Tally()
        fail(*args)


def raise_unlucky() -> None:
    raise Unlucky(13, reason='black cat')


def die(number: int) -> None:
    os.kill(os.getpid(), number)


FAILURES: dict[str, tuple[Any, ...]] = {
    'an error': (Unlucky, raise_unlucky),
    'sys.exit': (SystemExit, sys.exit, 3),
    'an interrupt': (KeyboardInterrupt, signal.default_int_handler, 2, None),
    'os._exit': (uactor.ActorStartError, os._exit, 0),
    'SIGKILL': (uactor.ActorStartError, die, signal.SIGKILL),
    'SIGTERM': (uactor.ActorStartError, die, signal.SIGTERM),
    'arguments': (uactor.SerializationError, threading.Lock()),
}


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('failure', FAILURES)
@pytest.mark.unmeasured
def test_a_constructor_that_fails_raises_at_the_call_and_leaves_nothing(
    tally: Any, directory: pathlib.Path, failure: str
) -> None:
    expected, *arguments = FAILURES[failure]
    before = usage(directory)
    with pytest.raises(expected):
        Failing(*arguments)
    is_as(before, directory)


def test_the_error_of_a_constructor_comes_as_it_was_raised() -> None:
    with pytest.raises(Unlucky) as caught:
        Failing(raise_unlucky)
    assert (caught.value.number, caught.value.reason) == (13, 'black cat')
    assert 'in raise_unlucky' in str(caught.value.__cause__)


def test_a_class_that_cannot_be_sent_is_refused_at_the_call() -> None:
    class Local(Actor):
        lock = threading.Lock()

    with pytest.raises(uactor.SerializationError, match='cannot send'):
        Local()


# --- ends that hang ------------------------------------------------------------------------------


class Hanging(Actor):
    """Does not end by itself."""

    _options_ = {'shutdown_timeout': 0.2}

    def __init__(self, *, at_exit: bool = False, stubborn: bool = False) -> None:
        self._hangs = not at_exit
        if at_exit:
            atexit.register(self.hang, stubborn)

    def hang(self, stubborn: bool) -> None:
        if stubborn:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)

    def shutdown(self) -> None:
        if self._hangs:
            time.sleep(60)


def steps(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what has been logged of the end of a process, in short."""
    known = ('requesting', 'too long', 'SIGTERM', 'SIGKILL', 'signal 15', 'signal 9')
    return [word for message in caplog.messages for word in known if word in message]


def test_an_actor_whose_exit_hangs_is_ended_by_sigterm(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        actor_process, '_TERM_TIMEOUT_S', 30.0
    )  # it needs less, but on a busy machine
    caplog.set_level(logging.DEBUG, 'uactor')
    actor = Hanging(at_exit=True)
    actor.shutdown()
    assert actor._manager.process.exitcode == -signal.SIGTERM
    assert steps(caplog) == ['requesting', 'SIGTERM', 'signal 15']


@pytest.mark.usefixtures('usual_launcher')
def test_an_actor_that_ignores_sigterm_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, 'uactor')
    with Hanging(at_exit=True, stubborn=True) as actor:
        stubborn = actor._manager.parent.process
    assert stubborn.exitcode == -signal.SIGKILL
    assert steps(caplog) == ['requesting', 'SIGTERM', 'SIGKILL', 'signal 9']


@pytest.mark.parametrize('leave', ['shutdown', '__exit__'])
def test_an_actor_whose_shutdown_hangs_is_ended(
    leave: str, caplog: pytest.LogCaptureFixture
) -> None:
    actor = Hanging()
    getattr(actor, leave)(*([None] * 3 if leave == '__exit__' else []))
    assert not actor._manager.process.is_alive()
    assert steps(caplog)[0] == 'too long'


def test_an_actor_may_take_the_time_to_end_that_it_has(caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Actor):
        _options_ = {'shutdown_timeout': 30}

        def __init__(self, path: pathlib.Path) -> None:
            atexit.register(self.finish, path)

        def finish(self, path: pathlib.Path) -> None:
            time.sleep(2.5)  # longer than an actor may take whose owner has been killed
            path.write_text('finished')

    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, 'result')
        with Slow(path):
            pass
        assert path.read_text() == 'finished'
    assert steps(caplog) == []


# --- cycles --------------------------------------------------------------------------------------


def cycle(_: int) -> None:
    with Tally() as actor:
        actor.numbers().append(1)


@pytest.mark.parametrize('count', [25, pytest.param(500, marks=pytest.mark.soak)])
def test_cycles_of_start_and_stop_leave_nothing(directory: pathlib.Path, count: int) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cycle, range(4)))
    cycle(0)
    before = usage(directory)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cycle, range(count)))
    cycle(0)
    is_as(before, directory)


# --- Ctrl-C --------------------------------------------------------------------------------------


@pytest.mark.usefixtures('launcher')
def test_ctrl_c_is_for_the_owner_and_its_actors_go_on() -> None:
    body = """
    import time
    from tests.support import Actor

    class Sleeper(Actor):
        def nap(self):
            print('asleep', flush=True)
            time.sleep(60)
        def pid(self):
            return os.getpid()

    sleeper = Sleeper()
    pid = sleeper.pid()
    try:
        sleeper.nap()
    except KeyboardInterrupt:
        interrupted = True
    say(interrupted and sleeper.pid() == pid)
    listen()
    """
    with Peer(body, start_new_session=True, stderr=subprocess.PIPE) as owner:
        assert owner.read_line() == 'asleep'
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.read_line() == 'True'
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.end() == -signal.SIGINT
        assert owner.process.stderr is not None
        with owner.process.stderr as errors:
            assert errors.read().count(b'Traceback') == 1  # of the owner


@pytest.mark.usefixtures('launcher')
def test_ctrl_c_during_a_start_leaves_no_actor(directory: pathlib.Path) -> None:
    body = """
    from tests.support import Actor

    class Endless(Actor):
        def __init__(self):
            print('begun', flush=True)
            while True:
                pass

    try:
        Endless()
    except KeyboardInterrupt:
        say(os.listdir(os.environ['TMPDIR']))
    """
    with Peer(body, variables={'TMPDIR': str(directory)}, start_new_session=True) as owner:
        assert owner.read_line() == 'begun'
        os.killpg(owner.pid, signal.SIGINT)
        assert owner.read_line() == '[]'
        assert owner.end() == 0


class Waiting(Actor):
    """Has an event, and knows who waits for it, and for whom it waits itself."""

    _method_to_typeid_ = {'event': 'Event', 'things': 'list'}

    def __init__(self) -> None:
        self._event = threading.Event()

    def event(self) -> threading.Event:
        return self._event

    def things(self) -> list[int]:
        return []

    def waiting(self) -> int:
        return count_waiters(self._event)

    def expected(self) -> int:
        """Return how many clients are given a moment to come back."""
        return sum(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_a_client_that_was_interrupted_in_its_only_call_keeps_what_it_holds() -> None:
    body = """
    actor, event = given
    things = actor.things()
    try:
        event.wait()
    except KeyboardInterrupt:
        say('interrupted')
    listen()
    things.append(1)
    say(list(things))
    """
    with Waiting() as actor, Peer(body, actor, actor.event()) as peer:
        eventually(actor.waiting)
        peer.process.send_signal(signal.SIGINT)
        assert peer.read_line() == 'interrupted'
        eventually(lambda: not actor.waiting() and not actor.expected())
        peer.resume()
        assert peer.read_line() == '[1]'
        assert peer.end() == 0


def test_interrupts_at_any_moment_leave_the_client_usable(tally: Any) -> None:
    body = """
    import random, signal
    actor, seed = given
    chance = random.Random(seed)
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupts = 0
    while interrupts < 200:
        try:
            while True:  # Python drops what is raised in a finalizer
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0001, 0.004))
                for _ in range(1000):
                    actor.pid()
        except KeyboardInterrupt:
            interrupts += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    say(actor.pid())
    """
    with Peer(body, tally, seed(), stderr=subprocess.DEVNULL) as peer:
        assert int(peer.read_line()) == tally.pid()
        assert peer.end() == 0


# --- where actors can be started -----------------------------------------------------------------

HEADING = """
import os, sys, threading
import uactor
from tests.support import Actor

print('main runs')
os.register_at_fork(before=lambda: print('forked'))

class Greeter(Actor):
    def __init__(self, depth=0):
        self.inner = Greeter(depth - 1) if depth else None
    def greet(self, name):
        return self.inner.greet(name) if self.inner else f'hello {name}'

def greet(depth=0):
    with Greeter(depth) as greeter:
        print(greeter.greet('you') + '\\n', end='', flush=True)  # whole: threads print, too
"""

PLACES = {
    'the main thread': 'greet()',
    'other threads': """
threads = [threading.Thread(target=greet) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
""",
    'an actor': 'greet(depth=1)',
    'a thread that ends': """
greeters = []
thread = threading.Thread(target=lambda: greeters.append(Greeter()))
thread.start()
thread.join()
print(greeters.pop().greet('you'))
""",
    'an event loop': """
import asyncio
async def main():
    greet()
asyncio.run(main())
""",
}


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('place', PLACES)
def test_an_actor_can_be_started_from(place: str, tmp_path: pathlib.Path) -> None:
    """The main module runs once, without a guard, and its process is never forked."""
    script = tmp_path / 'script.py'
    script.write_text(HEADING + PLACES[place])
    printed = set(get_output(run_python(str(script))).splitlines())
    assert printed == {'main runs', 'hello you'}


@pytest.mark.parametrize('options', [['-'], ['-c', HEADING + 'greet()'], ['-i', '-q']])
def test_an_actor_can_be_started_from_a_program_without_a_file(options: list[str]) -> None:
    typed = '' if '-c' in options else HEADING.replace('\n\ndef', '\n\n\ndef') + '\ngreet()\n'
    program = run_python(*options, stdin=typed)
    assert program.returncode == 0
    assert program.stdout.splitlines() == ['main runs', 'hello you']


@pytest.mark.usefixtures('usual_launcher')
@pytest.mark.parametrize('method', ['fork', 'spawn', 'forkserver'])
def test_an_actor_can_be_started_from_a_multiprocessing_worker(
    method: str, tmp_path: pathlib.Path
) -> None:
    script = tmp_path / 'script.py'
    script.write_text(f"""
import multiprocessing, warnings
from tests.support import Actor

class Greeter(Actor):
    def greet(self, name):
        return f'hello {{name}}'

def work(_):
    return Greeter().greet('you')

if __name__ == '__main__':
    with Greeter() as greeter:  # so that there is something not to be inherited
        context = multiprocessing.get_context({method!r})
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', DeprecationWarning)  # of forks, where threads are
            worker = context.Process(target=work, args=(0,))
            worker.start()
            worker.join()
            with context.Pool(2) as pool:
                greetings = pool.map(work, range(4))
            pool.join()
        print(worker.exitcode, *greetings, sep=', ')
        print(greeter.greet('me'))
""")
    printed = get_output(run_python(str(script)))
    assert printed == '0, hello you, hello you, hello you, hello you\nhello me\n'


# --- what an actor takes over --------------------------------------------------------------------


class Surrounded(Actor):
    """Tells of what its process has taken over from its owner."""

    def __init__(self, call: Callable[..., Any], *args: Any) -> None:
        self.result = call(*args)

    _exposed_ = ('result', 'log')

    def log(self, name: str, text: str) -> None:
        logging.getLogger(name).debug(text)


@pytest.mark.usefixtures('usual_launcher')
def test_the_import_path_and_the_directory_follow(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'found_by_path_only.py').write_text('answer = 42')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['program', '--option'])

    def look() -> tuple[Any, ...]:
        import found_by_path_only  # type: ignore[import-not-found]

        return found_by_path_only.answer, str(pathlib.Path.cwd()), sys.path, sys.argv

    with Surrounded(look) as actor:
        assert actor.result == (42, str(tmp_path), sys.path, ['program', '--option'])


@pytest.mark.usefixtures('usual_launcher')
def test_warning_filters_follow() -> None:
    def warn() -> str:
        warnings.warn('ignored', UserWarning, stacklevel=1)
        try:
            warnings.warn('an error', RuntimeWarning, stacklevel=1)
        except RuntimeWarning as error:
            return str(error)
        return 'none'

    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter('error', RuntimeWarning)
        warnings.simplefilter('ignore', UserWarning)
        with Surrounded(warn) as actor:
            assert actor.result == 'an error'


class OwnWarning(UserWarning):
    """Of a module that the actor has to import."""


@pytest.mark.usefixtures('usual_launcher')
def test_warning_filters_follow_for_categories_of_the_actor_s_modules() -> None:
    def warn() -> str:
        try:
            warnings.warn('own', OwnWarning, stacklevel=1)
        except OwnWarning:
            return 'raised'
        return 'none'

    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter('error', OwnWarning)
        with Surrounded(warn) as actor:
            assert actor.result == 'raised'


@pytest.mark.usefixtures('usual_launcher')
def test_warning_filters_of_modules_of_the_actor_come_before_those_of_its_owner(
    tmp_path: pathlib.Path,
) -> None:
    """As when they are imported in a process that has been forked."""
    (tmp_path / 'quiet.py').write_text(
        """
import os, warnings, uactor
if os.environ.get('IS_OWNER') != str(os.getpid()):
    warnings.simplefilter('ignore', UserWarning)

class Quiet(uactor.Actor):
    def warn(self):
        warnings.warn('unheard')
        return 'nothing'
"""
    )
    program = """
import os, sys, warnings
os.environ['IS_OWNER'] = str(os.getpid())
sys.path.insert(0, sys.argv[1])
import quiet
warnings.simplefilter('error', UserWarning)
with quiet.Quiet() as actor:
    print(actor.warn())
"""
    assert get_output(run_python('-c', program, str(tmp_path))) == 'nothing\n'


@pytest.mark.usefixtures('usual_launcher')
def test_warning_filters_import_nothing_into_the_actor() -> None:
    import numpy.exceptions

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', numpy.exceptions.ComplexWarning)
        with Surrounded(lambda: 'numpy' in sys.modules) as actor:
            assert actor.result is False


@pytest.mark.usefixtures('usual_launcher')
def test_the_set_up_of_logging_follows(tmp_path: pathlib.Path) -> None:
    path = tmp_path / 'log'
    logger, quiet = logging.getLogger('test.lifecycle'), logging.getLogger('test.quiet')
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter('%(levelname)s %(name)s: %(message)s'))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    quiet.setLevel(logging.ERROR)
    try:
        with Surrounded(logging.getLogger('test.quiet').getEffectiveLevel) as actor:
            assert actor.result == logging.ERROR
            actor.log('test.lifecycle.child', 'from the actor')
            actor.log('test.quiet', 'unheard')
        assert path.read_text() == 'DEBUG test.lifecycle.child: from the actor\n'
    finally:
        logger.removeHandler(handler)
        handler.close()
        logger.setLevel(logging.NOTSET)
        quiet.setLevel(logging.NOTSET)


@pytest.mark.usefixtures('usual_launcher')
def test_the_interpreter_has_the_same_options(tmp_path: pathlib.Path) -> None:
    script = tmp_path / 'script.py'
    script.write_text("""
import sys
from tests.support import Actor

class Flagged(Actor):
    def flags(self):
        return tuple(sys.flags), sys._xoptions

with Flagged() as actor:
    print(actor.flags() == (tuple(sys.flags), sys._xoptions))
""")
    assert get_output(run_python('-O', '-B', '-X', 'dev', str(script))) == 'True\n'


# --- addresses -----------------------------------------------------------------------------------


def listening_at(address: Any, **options: Any) -> Any:
    """Return an actor class that listens at ``address``."""

    class Listening(uactor.Actor):
        _options_ = {'address': address, **options}

        def answer(self) -> int:
            return 42

    return Listening


def test_an_explicit_socket_is_removed_with_its_actor(directory: pathlib.Path) -> None:
    path = directory / 'uactor-of-mine'
    path.mkdir()
    (path / 'precious').touch()
    with listening_at(f'unix:{path}/s')() as actor:
        assert actor.connection_address == f'unix:{path}/s'
        assert actor.answer() == 42
        assert stat.S_IMODE((path / 's').stat().st_mode) & 0o077 == 0
    assert list(path.iterdir()) == [path / 'precious']


@pytest.mark.skipif(TRANSPORT == 'tcp', reason='of the sockets that uactor chooses')
def test_a_socket_is_in_a_directory_that_only_its_user_can_enter(directory: pathlib.Path) -> None:
    with Tally() as actor:
        path = pathlib.Path(str(actor.connection_address).removeprefix('unix:'))
        assert path.parent.parent == directory
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert len(os.fsencode(path)) <= 100
    assert not list(directory.iterdir())


@pytest.mark.skipif(TRANSPORT == 'tcp', reason='of the sockets that uactor chooses')
def test_a_long_path_of_the_temporary_directory_does_no_harm(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ('x' * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, 'tempdir', str(long))
    with Tally() as actor:
        assert len(actor.connection_address) <= 105


@pytest.mark.parametrize(
    'address',
    ['unix:/tmp/' + 'x' * 100, 'unix:relative', 'nowhere', 'host:port', ('host',), ('h', 70000)],
)
def test_an_address_that_is_none_is_refused_before_anything_starts(address: Any) -> None:
    before = list(descendants())
    with pytest.raises(uactor.AddressError):
        listening_at(address)()
    assert list(descendants()) == before


def test_a_socket_in_use_is_not_taken_over(directory: pathlib.Path) -> None:
    cls = listening_at(f'unix:{directory}/s')
    with cls() as actor:
        with pytest.raises(uactor.AddressError, match='another process'):
            cls()
        assert actor.answer() == 42


def test_a_socket_that_a_killed_actor_has_left_is_replaced(directory: pathlib.Path) -> None:
    cls = listening_at(f'unix:{directory}/s')
    actor = cls()
    actor._manager.process.kill()
    actor._manager.process.join()
    assert (directory / 's').exists()
    with cls() as successor:
        assert successor.answer() == 42


def test_a_file_at_the_address_is_not_touched(directory: pathlib.Path) -> None:
    path = directory / 'file'
    path.write_text('precious')
    with pytest.raises(uactor.AddressError, match='no socket'):
        listening_at(f'unix:{path}')()
    assert path.read_text() == 'precious'


def test_a_port_in_use_is_refused() -> None:
    with (
        socket.create_server(('127.0.0.1', 0)) as server,
        pytest.raises(uactor.AddressError, match='in use'),
    ):
        listening_at(server.getsockname())()


def test_listening_beyond_this_machine_has_to_be_accepted() -> None:
    with pytest.raises(uactor.AddressError, match='insecure'):
        listening_at(('0.0.0.0', 0))()
    with listening_at(('0.0.0.0', 0), insecure=True)() as actor:
        assert actor.answer() == 42


def test_a_proxy_server_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ('http_proxy', 'https_proxy', 'grpc_proxy', 'all_proxy'):
        monkeypatch.setenv(name, 'http://127.0.0.1:1')
        monkeypatch.setenv(name.upper(), 'http://127.0.0.1:1')
    with listening_at(('localhost', 0))() as actor:
        assert actor.answer() == 42


class _Ending:
    """Ends when its time is up, as far as a clock of the test goes."""

    pid = 1

    def __init__(self, name: str, clock: list[float]) -> None:
        self.name, self._clock = name, clock
        self._shutdown_timeout = 3.0
        self.told: list[float] = []

    def request_end(self) -> None:
        self.told.append(-1.0)

    def await_end(self, timeout: float) -> None:
        self.told.append(timeout)
        self._clock[0] += timeout


def test_processes_that_do_not_end_are_waited_for_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [100.0]
    ending: Any = {number: _Ending(str(number), clock) for number in range(3)}
    monkeypatch.setattr(actor_process, '_processes', ending)
    monkeypatch.setattr(time, 'monotonic', lambda: clock[0])
    actor_process.end_all()
    assert [one.told for one in ending.values()] == [[-1.0, 3.0], [-1.0, 0.0], [-1.0, 0.0]]
