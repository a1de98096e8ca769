"""The errors of uactor: each can come about, be caught as what it is, and travel."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import uactor
from tests.support import Actor
from uactor import errors
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

PUBLIC = [getattr(errors, name) for name in errors.__all__]


class Subject(Actor):
    """Comes to grief in many ways."""

    _method_to_typeid_ = {'numbers': 'list', 'lock': 'RLock'}

    def __init__(self, dies: bool = False) -> None:
        if dies:
            os._exit(3)

    def numbers(self) -> list[int]:
        return [1, 2]

    def lock(self) -> Any:
        return threading.RLock()

    def thread_lock(self) -> Any:
        return threading.Lock()

    def odd(self) -> None:
        raise Odd(number=1)


class Odd(Exception):
    def __init__(self, *, number: int) -> None:
        super().__init__(f'odd {number}')


@pytest.fixture(scope='module')
def subject() -> Iterator[Any]:
    with Subject() as actor:
        yield actor


# --- each comes about -----------------------------------------------------------------------


def test_a_proxy_error_comes_of_sharing_outside_actors() -> None:
    with pytest.raises(uactor.ProxyError, match='inside an actor process'):
        uactor.proxy([])


def test_an_authkey_error_comes_of_another_key(subject: Any) -> None:
    with pytest.raises(uactor.AuthkeyError) as caught:
        Subject.connect(subject.connection_address, b'wrong')
    assert isinstance(caught.value, uactor.ProxyError)
    assert b'wrong'.decode() not in str(caught.value)
    assert uactor.AuthKeyError is uactor.AuthkeyError


class Gone:
    """What has a hold no longer than it is made."""


def test_a_handle_error_comes_of_an_object_that_is_gone(subject: Any) -> None:
    numbers = subject.numbers()
    numbers._manager.connection.hold(Gone(), numbers._id)
    subject.numbers()  # takes the release along
    with pytest.raises(uactor.HandleError) as caught:
        numbers.append(3)
    assert type(caught.value) is uactor.HandleError


def test_a_stale_handle_error_comes_of_a_handle_of_an_earlier_actor(tmp_path: Path) -> None:
    class Fixed(Subject):
        _options_ = {'address': f'unix:{tmp_path}/s'}

    with Fixed() as actor:
        numbers = pickle.dumps(actor.numbers())
        itself = pickle.dumps(actor)
    with Fixed():
        for stale in (numbers, itself):
            with pytest.raises(uactor.StaleHandleError):
                pickle.loads(stale)


def test_a_not_exposed_error_comes_of_a_name_that_is_not_exposed(subject: Any) -> None:
    with pytest.raises(uactor.NotExposedError) as caught:
        subject._callmethod('missing')
    assert isinstance(caught.value, AttributeError)


def test_a_thread_owned_error_comes_of_a_lock_outside_sessions(subject: Any) -> None:
    lock = subject.lock()
    options = [('grpc.default_authority', 'localhost')]
    key = bytes(multiprocessing.current_process().authkey)
    with grpc.insecure_channel(lock._token.target, options) as channel:
        stub = actor_pb2_grpc.ActorServiceStub(channel)
        request = pb.CallRequest(handle=lock._token.id, method='acquire')
        with pytest.raises(grpc.RpcError) as caught:
            stub.Call(request, metadata=uactor.call_metadata(key))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert 'ThreadOwnedError' in str(caught.value.details())


def test_an_unreachable_error_comes_of_an_address_where_nothing_listens(tmp_path: Path) -> None:
    with pytest.raises(uactor.ActorUnreachableError) as caught:
        Subject.connect(f'unix:{tmp_path}/s', b'key')
    assert isinstance(caught.value, ConnectionRefusedError)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_a_died_error_comes_of_a_dead_actor() -> None:
    actor: Any = Subject()
    process = actor._manager.process
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(uactor.ActorDiedError) as caught:
        actor.numbers()
    assert caught.value.executed == 'no'
    assert isinstance(caught.value, BrokenPipeError)
    assert isinstance(caught.value, EOFError)


def test_a_start_error_comes_of_a_process_that_ends_in_the_constructor() -> None:
    with pytest.raises(uactor.ActorStartError, match='exit code 3'):
        Subject(dies=True)


@pytest.mark.parametrize('address', ['nowhere', ('localhost', 'port'), 'unix:relative', 5, ''])
def test_an_address_error_comes_of_what_is_no_address(address: Any) -> None:
    with pytest.raises(uactor.AddressError) as caught:
        uactor.Actor.connect(address, b'key')
    assert isinstance(caught.value, OSError)


def test_a_serialization_error_comes_of_what_cannot_be_pickled(subject: Any) -> None:
    with pytest.raises(uactor.SerializationError) as caught:
        subject.thread_lock()
    assert isinstance(caught.value, (pickle.PicklingError, TypeError))
    assert caught.value.executed == 'yes'


def test_a_remote_error_comes_of_an_exception_that_cannot_be_rebuilt(subject: Any) -> None:
    with pytest.raises(uactor.RemoteError) as caught:
        subject.odd()
    assert str(caught.value) == f'{__name__}.Odd: odd 1'
    assert isinstance(caught.value.__cause__, uactor.RemoteTraceback)


# That a VersionError comes of another version is tested in test_values and test_handshake.


# --- as classes ------------------------------------------------------------------------------


@pytest.mark.parametrize('cls', PUBLIC, ids=lambda cls: cls.__name__)
def test_every_error_is_public_and_has_the_one_root(cls: type[Exception]) -> None:
    assert issubclass(cls, uactor.UActorException)
    assert getattr(uactor, cls.__name__) is cls
    assert cls.__name__ in uactor.__all__


def test_no_error_is_forgotten() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    assert {kind for kind in kinds if issubclass(kind, uactor.UActorException)} == set(PUBLIC)


ARGUMENTS = {
    'ActorDiedError': ('it has ended', 'no'),
    'RemoteError': ('module.Name', 'text', 'Traceback …'),
}


@pytest.mark.parametrize('cls', PUBLIC, ids=lambda cls: cls.__name__)
def test_every_error_is_the_same_after_pickling(cls: type[Exception]) -> None:
    error = cls(*ARGUMENTS.get(cls.__name__, ('what it says',)))
    error.attribute = [1]  # type: ignore[attr-defined]
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert (str(copy), copy.args, vars(copy)) == (str(error), error.args, vars(error))


def test_the_attributes_of_errors_say_what_their_text_says() -> None:
    remote = uactor.RemoteError('module.Name', 'text', 'Traceback …')
    assert (remote.type_name, remote.message, remote.traceback) == remote.args
    assert str(remote) == 'module.Name: text'
    assert str(uactor.RemoteError('module.Name', '')) == 'module.Name'
    assert 'Traceback …' in str(uactor.RemoteTraceback('Traceback …'))
    assert uactor.ActorDiedError().executed == 'maybe'


# --- as gRPC status ----------------------------------------------------------------------------


def test_the_table_of_status_names_codes_that_there_are() -> None:
    assert all(code in grpc.StatusCode.__members__ for _, code in errors.STATUS)


def test_no_line_of_the_table_hides_a_later_one() -> None:
    kinds = [kind for kind, _ in errors.STATUS]
    for index, kind in enumerate(kinds):
        assert not [earlier for earlier in kinds[:index] if issubclass(kind, earlier)], kind


@pytest.mark.parametrize('cls', PUBLIC, ids=lambda cls: cls.__name__)
def test_every_error_has_a_status(cls: type[Exception]) -> None:
    error = cls(*ARGUMENTS.get(cls.__name__, ('what it says',)))
    assert errors.find_status(error, 'asked') in grpc.StatusCode.__members__


def test_callers_may_retry_only_what_has_not_run() -> None:
    error = uactor.ActorDiedError('another actor', 'no')
    assert errors.find_status(error, 'asked') == 'UNAVAILABLE'
    assert errors.find_status(error, 'running') == 'UNKNOWN'


# --- from their text -----------------------------------------------------------------------------

TOLD = [
    ValueError('text'),
    KeyError('key'),
    KeyError(('a', 1)),
    KeyError(7),
    IndexError(),
    StopIteration(),
    SystemExit(3),
    SystemExit('text'),
    KeyboardInterrupt(),
    queue.Empty(),
    queue.Full(),
    threading.BrokenBarrierError(),
    multiprocessing.TimeoutError(),
    uactor.HandleError('text'),
    uactor.ActorDiedError('text'),
]


@pytest.mark.parametrize('error', TOLD, ids=repr)
def test_builtins_and_what_proxies_raise_come_back_from_their_text(error: BaseException) -> None:
    rebuilt = errors.rebuild_exception(errors.get_type_name(type(error)), str(error), 'Traceback …')
    assert type(rebuilt) is type(error)
    assert rebuilt.args == error.args


NOT_TOLD = [
    UnicodeDecodeError('utf-8', b'', 0, 1, 'five arguments'),
    Odd(number=1),
    pickle.PicklingError('another module'),
]


@pytest.mark.parametrize('error', NOT_TOLD, ids=lambda error: type(error).__name__)
def test_other_exceptions_become_remote_errors(error: BaseException) -> None:
    name = errors.get_type_name(type(error))
    rebuilt = errors.rebuild_exception(name, str(error), 'Traceback …')
    assert isinstance(rebuilt, uactor.RemoteError)
    assert rebuilt.args == (name, str(error), 'Traceback …')


@pytest.mark.parametrize('name', ['builtins', 'exec', 'int', 'os.system', 'uactor.errors.Literal'])
def test_nothing_but_exceptions_is_made_from_a_name(name: str) -> None:
    assert isinstance(errors.rebuild_exception(name, 'true', ''), uactor.RemoteError)


@pytest.mark.parametrize(
    'name', [name for name, kind in vars(builtins).items() if isinstance(kind, type)]
)
def test_every_builtin_is_rebuilt_with_its_text_or_becomes_a_remote_error(name: str) -> None:
    rebuilt = errors.rebuild_exception(name, 'text', '')
    assert 'text' in str(rebuilt)
    assert type(rebuilt).__name__ in (getattr(builtins, name).__name__, 'RemoteError')
