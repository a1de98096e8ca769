"""Whatever a method raises or returns has a defined outcome, and the actor goes on."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import functools
import gc
import multiprocessing
import os
import pickle
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

import uactor
from tests.support import Actor, count_shared_objects, eventually
from tests.support.programs import environment, get_output, run_python
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

pytestmark = [
    pytest.mark.pythons('tracebacks and exception groups'),
    pytest.mark.oldest_python,
]

# --- exceptions of users --------------------------------------------------------------------


class Plain(Exception):
    """Takes what it is given."""


class Prefixing(Exception):
    """Makes its text of its argument, as many do."""

    def __init__(self, name: str) -> None:
        super().__init__(f'no such thing: {name}')
        self.name = name


class Extra(Exception):
    """Needs more than its text."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


class KeywordOnly(Exception):
    def __init__(self, *, text: str) -> None:
        super().__init__(text)


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__('has a lock')
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError('no text')


class Quitting(Exception):
    """Ends the process of whoever asks it for anything."""

    def __str__(self) -> str:
        sys.exit('asked for my text')

    def __reduce__(self) -> Any:
        sys.exit('asked for my pickle')


class Incomparable(Exception):
    __hash__ = Exception.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError('not to be compared')


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    number: int


class Holding(Exception):
    """Brings a proxy along."""


class StrangeArgs(Exception):
    args = 5  # type: ignore[assignment]


class Homebound(Exception):
    """Can be rebuilt in the process that it comes from only."""

    def __reduce__(self) -> Any:
        return only_in, (os.getpid(), Homebound)


def only_in(pid: int, make: Callable[[], Any]) -> Any:
    """Return what ``make`` makes, in the process ``pid`` only."""
    if os.getpid() != pid:
        raise LookupError('not in this process')
    return make()


# --- results of users -----------------------------------------------------------------------


class Refusing:
    """Raises when it is pickled."""

    def __reduce__(self) -> Any:
        raise Mute


class HomeboundResult:
    """Can't be unpickled in any other process."""

    def __reduce__(self) -> Any:
        return only_in, (os.getpid(), HomeboundResult)


class Away:
    """Can't be unpickled in the process that it was made in."""

    def __init__(self) -> None:
        self.pid = os.getpid()

    def __reduce__(self) -> Any:
        return not_in, (self.pid,)


def not_in(pid: int) -> Away:
    if os.getpid() == pid:
        raise LookupError('not in this process')
    return Away()


def nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class BrokenProperty(Actor):
    _exposed_ = ('broken',)

    @property
    def broken(self) -> int:
        raise Prefixing('broken')

    @broken.setter
    def broken(self, value: int) -> None:
        raise Extra('not settable', value)


class Faulty(BrokenProperty):
    """Raises and returns whatever it is told to."""

    def __init__(self, make: Callable[[], BaseException] | None = None) -> None:
        self._items = [1, 2]
        if make is not None:
            raise make()

    def ping(self) -> int:
        return threading.get_ident()

    def raise_(self, make: Callable[..., BaseException], *args: Any) -> None:
        raise make(*args)

    def raise_from(self, error: BaseException | None, *, cause: BaseException) -> None:
        raise error from cause  # type: ignore[misc]

    def raise_while(self, *errors: BaseException) -> None:
        """Raise the first error while the second is handled, and so on."""
        first, *others = errors
        try:
            if others:
                self.raise_while(*others)
        finally:
            raise first

    def raise_in_circle(self) -> None:
        one, other = Plain('one'), Plain('other')
        one.__cause__, other.__cause__ = other, one
        raise one

    def raise_with_proxy(self, other: Any = None) -> None:
        error = Holding()
        error.proxy = other or uactor.proxy([1, 2], 'list')  # type: ignore[attr-defined]
        raise error

    def recurse(self, depth: int = 0) -> int:
        return self.recurse(depth + 1) + 1

    def make(self, make: Callable[..., Any], *args: Any) -> Any:
        """Return what ``make`` makes."""
        return make(*args)

    def share(self) -> Any:
        return uactor.proxy(self._items, 'list')

    def shared(self) -> int:
        """Return how many objects are shared, the actor itself not counted."""
        return count_shared_objects()

    def take(self, value: Any) -> None:
        """Take an argument."""

    def spawn(self, daemon: bool) -> None:
        """Start a thread that never ends."""
        threading.Thread(target=threading.Event().wait, daemon=daemon).start()


@pytest.fixture(scope='module')
def actor() -> Iterator[Any]:
    with Faulty() as actor:
        yield actor


@pytest.fixture
def faulty(actor: Any) -> Iterator[Any]:
    """An actor that goes on after the test: the same session still works."""
    thread = actor.ping()
    yield actor
    assert actor.ping() == thread


def catch(function: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    """Return the exception that a call raises, whose cause is the traceback in the actor."""
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # any that the caller wants
        function(*args, **kwargs)
    assert isinstance(caught.value.__cause__, uactor.RemoteTraceback)
    return caught.value


def transfer(error: BaseException) -> uactor.RemoteError:
    assert isinstance(error, uactor.RemoteError)
    return error


def after_traceback(error: BaseException) -> BaseException | None:
    """Return what follows the remote traceback in the chain of causes."""
    assert error.__cause__ is not None
    return error.__cause__.__cause__


# --- exceptions come back as raised ---------------------------------------------------------


@pytest.mark.parametrize(
    'make',
    [
        lambda: ValueError('text', 2),
        lambda: OSError(2, 'No such file', 'name'),
        lambda: UnicodeDecodeError('utf-8', b'x', 0, 1, 'reason'),
        lambda: StopIteration(3),
        lambda: KeyError(float('nan')),
        lambda: asyncio.CancelledError('text'),
        lambda: Plain('text', [1, 2]),
    ],
)
def test_an_exception_comes_back_as_it_was_raised(faulty: Any, make: Any) -> None:
    error, original = catch(faulty.raise_, make), make()
    assert (type(error), str(error), repr(error.args)) == (
        type(original),
        str(original),
        repr(original.args),
    )


def test_its_cause_is_the_traceback_in_the_actor(faulty: Any) -> None:
    trace = catch(faulty.raise_, Plain, 'text').__cause__
    assert isinstance(trace, uactor.RemoteTraceback)
    lines = trace.traceback.splitlines()
    assert lines[0] == 'Traceback (most recent call last):'
    assert lines[1].endswith('in raise_')  # the user's frames only
    assert lines[-1] == f'{__name__}.Plain: text'


@pytest.mark.unmeasured
def test_the_end_of_another_actor_says_that_this_one_has_run(faulty: Any) -> None:
    items, same = faulty.share(), faulty.share()
    other: Any = Faulty()
    del same  # released along with the call, and once only
    error = catch(faulty.make, other.make, os._exit, 1)
    assert isinstance(error, uactor.ActorDiedError)
    assert error.executed == 'yes'
    faulty.ping()
    assert items[0] == 1


def test_an_exception_that_prefixes_its_argument_does_so_once(faulty: Any) -> None:
    error = catch(faulty.raise_, Prefixing, 'spoon')
    assert isinstance(error, Prefixing)
    assert (str(error), error.name) == ('no such thing: spoon', 'spoon')


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda: Extra('an extra argument', 5), 'an extra argument'),
        (lambda: KeywordOnly(text='a keyword'), 'a keyword'),
        (Unpicklable, 'has a lock'),
    ],
)
def test_an_exception_that_cannot_be_rebuilt_becomes_a_remote_error(
    faulty: Any, make: Any, text: str
) -> None:
    error = transfer(catch(faulty.raise_, make))
    name = type(make()).__name__
    assert (error.type_name, error.message) == (f'{__name__}.{name}', text)
    assert error.traceback.endswith(f'{__name__}.{name}: {text}\n')
    assert 'in raise_' in error.traceback


def with_notes(make: Callable[..., BaseException], *args: Any) -> BaseException:
    error = make(*args)
    error.__notes__ = ['a note']  # type: ignore[attr-defined]  # from 3.11 on
    return error


def test_notes_come_along(faulty: Any) -> None:
    error = catch(faulty.raise_, with_notes, Plain)
    assert error.__notes__ == ['a note']  # type: ignore[attr-defined]


@pytest.mark.skipif(sys.version_info < (3, 11), reason='notes came with Python 3.11')
def test_notes_are_in_the_text_of_a_remote_error(faulty: Any) -> None:
    assert 'a note' in transfer(catch(faulty.raise_, with_notes, Unpicklable)).traceback


def test_attributes_come_along(faulty: Any) -> None:
    error = Plain()
    error.attribute = {'a': 1}  # type: ignore[attr-defined]
    assert vars(catch(faulty.raise_, lambda: error)) == {'attribute': {'a': 1}}


def test_an_exception_without_a_text_comes_back(faulty: Any) -> None:
    assert type(catch(faulty.raise_, Mute)) is Mute


@pytest.mark.parametrize('make', [Incomparable, StrangeArgs])
def test_an_exception_with_unusual_methods_is_raised(faulty: Any, make: Any) -> None:
    assert type(catch(faulty.raise_, make)) is make


@pytest.mark.parametrize('make', [Quitting, functools.partial(Frozen, 1)])
def test_an_exception_that_refuses_to_travel_becomes_a_remote_error(faulty: Any, make: Any) -> None:
    name = type(make()).__name__
    assert transfer(catch(faulty.raise_, make)).type_name == f'{__name__}.{name}'


def test_an_exception_that_only_the_actor_can_rebuild_comes_with_the_reason(faulty: Any) -> None:
    error = transfer(catch(faulty.raise_, Homebound))
    assert error.type_name == f'{__name__}.Homebound'
    assert 'not in this process' in str(after_traceback(error))


def test_text_that_is_no_unicode_is_an_error(faulty: Any) -> None:
    assert catch(faulty.raise_, Plain, '\ud800').args == ('\ud800',)
    assert transfer(catch(faulty.raise_, lambda: Extra('\ud800', 1))).message == '\\ud800'


def test_a_property_may_raise(faulty: Any) -> None:
    assert type(catch(lambda: faulty.broken)) is Prefixing
    with pytest.raises(uactor.RemoteError, match='not settable'):
        faulty.broken = 5


def test_an_exception_of_main_is_caught_there() -> None:
    program = """
        import uactor

        class MyError(Exception):
            pass

        class Local(MyError):
            def __init__(self, *, detail):
                super().__init__(detail)

        class Actor(uactor.Actor):
            def fail(self):
                raise MyError('on purpose', 5)
            def fail_locally(self):
                raise Local(detail='odd')

        with Actor() as actor:
            try:
                actor.fail()
            except MyError as error:
                print(repr(error))
            try:
                actor.fail_locally()
            except uactor.RemoteError as error:
                print(error)
    """
    printed = get_output(run_python('-', stdin=textwrap.dedent(program)))
    assert printed == "MyError('on purpose', 5)\n__main__.Local: odd\n"


# --- chains and groups ----------------------------------------------------------------------


def test_a_cause_follows_the_remote_traceback(faulty: Any) -> None:
    error = catch(faulty.raise_from, Plain('effect'), cause=KeyError('cause'))
    cause = after_traceback(error)
    assert (type(cause), cause.args) == (KeyError, ('cause',))  # type: ignore[union-attr]
    assert 'direct cause' in str(error.__cause__)


def test_a_context_follows_the_remote_traceback(faulty: Any) -> None:
    error = catch(faulty.raise_while, Plain('3'), Plain('2'), KeyError('1'))
    second = after_traceback(error)
    assert second is not None
    assert (error.args, second.args) == (('3',), ('2',))
    assert type(second.__cause__) is KeyError


def test_from_none_hides_the_context(faulty: Any) -> None:
    def fail() -> BaseException:
        error = Plain('effect')
        error.__context__, error.__suppress_context__ = KeyError('hidden'), True
        return error

    error = catch(faulty.raise_, fail)
    assert after_traceback(error) is None
    assert 'hidden' not in str(error.__cause__)


def test_a_cause_that_cannot_be_sent_is_in_the_text(faulty: Any) -> None:
    def fail() -> BaseException:
        error = Plain('effect')
        error.__cause__ = Unpicklable()
        return error

    error = catch(faulty.raise_, fail)
    assert type(error) is Plain
    assert after_traceback(error) is None
    assert 'has a lock' in str(error.__cause__)


def test_a_chain_may_be_a_circle(faulty: Any) -> None:
    error = catch(faulty.raise_in_circle)
    other = after_traceback(error)
    assert other is not None
    assert (error.args, other.args, other.__cause__) == (('one',), ('other',), None)


def test_an_exception_that_has_passed_two_actors_tells_of_both(faulty: Any) -> None:
    error = catch(faulty.make, faulty.raise_, Plain, 'text')
    assert type(error) is Plain
    assert str(error.__cause__).count('in raise_') == 1
    assert 'in make' in str(error.__cause__)
    remote = transfer(catch(faulty.make, faulty.raise_, Unpicklable))
    assert remote.type_name == f'{__name__}.Unpicklable'


needs_groups = pytest.mark.skipif(sys.version_info < (3, 11), reason='groups came with Python 3.11')


def group(message: str, exceptions: list[Exception]) -> Exception:
    made: Exception = vars(builtins)['ExceptionGroup'](message, exceptions)
    return made


@needs_groups
def test_a_group_comes_back_with_its_exceptions(faulty: Any) -> None:
    def fail() -> Any:
        return group('group', [Plain('one'), group('inner', [KeyError(2)])])

    error: Any = catch(faulty.raise_, fail)
    one, inner = error.exceptions
    assert (type(one), one.args, inner.message) == (Plain, ('one',), 'inner')
    assert type(inner.exceptions[0]) is KeyError


@needs_groups
def test_a_group_that_cannot_be_rebuilt_becomes_a_remote_error(
    faulty: Any,
) -> None:
    def fail() -> Any:
        return group('group', [Plain('one'), Extra('two', 2)])

    error = transfer(catch(faulty.raise_, fail))
    assert error.type_name == 'ExceptionGroup'
    assert 'Plain: one' in error.traceback
    assert 'Extra: two' in error.traceback


# --- exceptions with proxies ----------------------------------------------------------------


def test_a_proxy_in_an_exception_is_held_by_who_catches_it(faulty: Any) -> None:
    before = faulty.shared()
    error: Any = catch(faulty.raise_with_proxy)
    assert list(error.proxy) == [1, 2]
    error.proxy.append(3)
    assert error.proxy[2] == 3
    assert faulty.shared() == before + 1
    del error
    gc.collect()
    assert eventually(lambda: faulty.shared() == before)


def test_an_exception_may_bring_the_proxy_of_another_actor(faulty: Any) -> None:
    error: Any = catch(faulty.raise_with_proxy, faulty.share())
    assert list(error.proxy) == [1, 2]


def test_a_proxy_of_an_actor_that_failed_to_start_is_an_error() -> None:
    def fail() -> BaseException:
        error = Holding('with a proxy')
        error.proxy = uactor.proxy([], 'list')  # type: ignore[attr-defined]
        return error

    error = transfer(catch(Faulty, fail))
    assert error.message == 'with a proxy'


# --- what ends other programs ---------------------------------------------------------------


@pytest.mark.parametrize(
    ('kind', 'args'),
    [(SystemExit, (3,)), (SystemExit, ()), (KeyboardInterrupt, ()), (GeneratorExit, ('text',))],
)
def test_exceptions_that_would_end_a_program_reach_the_caller(
    faulty: Any, kind: Any, args: Any
) -> None:
    error = catch(faulty.raise_, kind, *args)
    assert (type(error), error.args) == (kind, args)
    assert getattr(error, 'code', None) == (args[0] if kind is SystemExit and args else None)


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, GeneratorExit, Extra, Quitting])
def test_every_exception_is_a_status_for_plain_grpc(faulty: Any, kind: Any) -> None:
    options = [('grpc.default_authority', 'localhost')]
    key = bytes(multiprocessing.current_process().authkey)
    arguments = pickle.dumps(((kind, 'text', 1)[: 3 if kind is Extra else 1], {}))
    with grpc.insecure_channel(faulty._token.target, options) as channel:
        stub = actor_pb2_grpc.ActorServiceStub(channel)
        request = pb.CallRequest(method='raise_', arguments=pb.Pickle(data=arguments))
        with pytest.raises(grpc.RpcError) as caught:
            stub.Call(request, metadata=uactor.call_metadata(key), timeout=10)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert kind.__name__ in str(caught.value.details())


def test_recursion_without_end_is_an_error(faulty: Any) -> None:
    assert type(catch(faulty.recurse)) is RecursionError


@pytest.mark.parametrize('kind', [SystemExit, KeyboardInterrupt, Plain, Unpicklable])
def test_an_exception_of_a_constructor_reaches_the_maker_of_the_actor(kind: Any) -> None:
    error = catch(Faulty, kind)
    assert type(error) is (uactor.RemoteError if kind is Unpicklable else kind)


# --- values that can't travel ---------------------------------------------------------------


def generate() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize('make', [threading.Lock, socket.socket, Refusing])
def test_a_result_that_cannot_be_pickled_is_an_error(faulty: Any, make: Any) -> None:
    error = catch(faulty.make, make)
    assert isinstance(error, uactor.SerializationError)
    assert error.executed == 'yes'


def test_a_result_that_cannot_be_rebuilt_is_an_error(faulty: Any) -> None:
    with pytest.raises(uactor.SerializationError, match='not in this process') as caught:
        faulty.make(HomeboundResult)
    assert isinstance(caught.value.__cause__, LookupError)
    assert caught.value.executed == 'yes'


@pytest.mark.parametrize('make', [threading.Lock, generate, Refusing])
def test_an_argument_that_cannot_be_pickled_is_an_error(faulty: Any, make: Any) -> None:
    with pytest.raises(uactor.SerializationError, match='cannot send') as caught:
        faulty.take([make()])
    assert caught.value.executed == 'no'


def test_an_argument_that_cannot_be_rebuilt_is_an_error(faulty: Any) -> None:
    error = catch(faulty.take, HomeboundResult())
    assert isinstance(error, uactor.SerializationError)
    assert 'not in this process' in str(error)
    assert error.executed == 'no'


def test_a_result_that_fails_after_a_proxy_leaves_no_hold(faulty: Any) -> None:
    before = faulty.shared()
    with pytest.raises(uactor.SerializationError):
        faulty.make(lambda: [uactor.proxy([], 'list'), HomeboundResult()])
    with pytest.raises(uactor.SerializationError):
        faulty.make(lambda: [uactor.proxy([], 'list'), threading.Lock()])
    gc.collect()
    assert eventually(lambda: faulty.shared() == before)


def test_lists_in_lists_travel_up_to_some_depth(faulty: Any) -> None:
    assert faulty.make(nest, 100) == nest(100)
    error = catch(faulty.make, nest, 100_000)
    assert isinstance(error, uactor.SerializationError)
    with pytest.raises(uactor.SerializationError):
        faulty.take(nest(100_000))


# --- side effects ---------------------------------------------------------------------------


@pytest.mark.parametrize('daemon', [True, False])
def test_threads_that_never_end_hinder_no_call_and_no_end(daemon: bool) -> None:
    actor: Any = Faulty()
    actor.spawn(daemon)
    assert actor.ping()
    process = actor._manager.process
    actor.shutdown()
    assert process.exitcode == 0


TALKING = textwrap.dedent(
    """
    import sys, threading
    import uactor

    class Talking(uactor.Actor):
        def __init__(self):
            self.gate = threading.Event()
        def talk(self):
            print('first')
            self.gate.wait()
            print('second')
        def open(self):
            self.gate.set()

    with Talking() as actor:
        talking = threading.Thread(target=actor.talk)
        talking.start()
        sys.stdin.readline()
        actor.open()
        talking.join()
    """
)


def test_the_output_of_an_actor_arrives_line_by_line() -> None:
    with subprocess.Popen(
        [sys.executable, '-c', TALKING],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stdout.readline() == 'first\n'  # while the method is running
        program.stdin.write('\n')
        program.stdin.flush()
        assert program.stdout.readline() == 'second\n'


def test_log_records_of_an_actor_go_where_its_owner_logs() -> None:
    program = """
        import logging, sys
        import uactor

        logging.basicConfig(level='INFO', format='%(levelname)s %(message)s', stream=sys.stdout)
        logging.getLogger('quiet').setLevel('ERROR')

        class Actor(uactor.Actor):
            def log(self):
                logging.getLogger('some.name').info('told')
                logging.getLogger('quiet').info('not told')
                logging.getLogger('some.name').debug('not told either')

        with Actor() as actor:
            actor.log()
    """
    assert get_output(run_python('-', stdin=textwrap.dedent(program))) == 'INFO told\n'
