"""Who does not know an actor's authkey gets no proxy of it; and nobody gets to see the key."""

from __future__ import annotations

import base64
import gc
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.proxies.test_sharing import Parcel, Shop
from tests.support import TRANSPORT, descendants, eventually, get_own_host
from uactor.client.connection import ClientConnection
from uactor.core import auth
from uactor.core.addresses import target

pytestmark = [pytest.mark.doors]

ROOT = pathlib.Path(__file__).parents[2]
KEY = b'\xf0\x9f\x94\x91 the key that nobody sees'


class Keyed(Shop):
    """A shop with a key of its own."""

    _options_ = {'authkey': KEY}


class Owner(Shop):
    """Owns a keyed shop, whose key its callers do not know by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Keyed()

    def inner_address(self) -> Any:
        return self.inner.connection_address

    def inner_proxy(self, typeid: str) -> Any:
        return self.inner if typeid == 'actor' else self.inner.share(typeid, [1])

    def inner_parcel(self) -> Parcel:
        return Parcel(None, {'x': [self.inner]})

    def inner_failure(self) -> None:
        raise LookupError(self.inner)

    def pickled(self, typeid: str) -> bytes:
        self.keep(self.inner_proxy(typeid))
        return pickle.dumps(self.kept)

    def connect_to(self, address: Any, key: bytes) -> None:
        self.connection = Keyed.connect(address, key)

    def end_inner(self) -> None:
        self.inner.shutdown()


@pytest.fixture(scope='module', autouse=True)
def helpers() -> None:
    """Start the helper process of multiprocessing, which stays until the end."""
    multiprocessing.resource_tracker.ensure_running()


@pytest.fixture
def owner() -> Iterator[Any]:
    with Owner() as actor:
        yield actor


@pytest.fixture(scope='module')
def stranger() -> Iterator[Any]:
    """An actor that knows no key but that of the family."""
    with Owner() as actor:
        yield actor


@pytest.fixture
def directory() -> Iterator[pathlib.Path]:
    """A directory whose path is short enough for a socket."""
    with tempfile.TemporaryDirectory() as path:
        yield pathlib.Path(path)


# --- receiving proxies ---------------------------------------------------------------------------


@pytest.mark.parametrize('typeid', ['actor', 'list', 'auto'])
def test_a_proxy_of_an_actor_with_its_own_key_needs_a_connection(owner: Any, typeid: str) -> None:
    address = owner.inner_address()
    with pytest.raises(uactor.AuthkeyError, match='another authkey'):
        owner.inner_proxy(typeid)
    with Keyed.connect(address, KEY) as inner:
        proxy = owner.inner_proxy(typeid)
        assert uactor.typeid(proxy) == typeid
        assert proxy._token.address == inner.connection_address
        assert str(proxy)


def test_a_proxy_inside_a_value_is_refused_at_receipt_too(owner: Any) -> None:
    with pytest.raises(uactor.AuthkeyError):
        owner.inner_parcel()


def test_an_exception_with_a_refused_proxy_arrives_as_text(owner: Any) -> None:
    with pytest.raises(uactor.RemoteError, match='LookupError') as raised:
        owner.inner_failure()
    assert raised.value.__cause__ is not None
    assert isinstance(raised.value.__cause__.__cause__, uactor.AuthkeyError)


def test_a_pickle_is_refused_when_it_is_loaded(owner: Any) -> None:
    data = owner.pickled('list')
    with pytest.raises(uactor.AuthkeyError):
        pickle.loads(data)
    inner = Keyed.connect(owner.inner_address(), KEY)
    assert list(pickle.loads(data)) == [1]
    assert inner.shared() == 1


def test_an_argument_is_refused_before_the_method_runs(stranger: Any) -> None:
    with Keyed() as keyed:
        items = keyed.share('list', [1])
        stranger.keep('nothing')
        with pytest.raises(uactor.AuthkeyError):
            stranger.keep(items)
        with pytest.raises(uactor.AuthkeyError):
            stranger.run(items.append, 2)
        assert stranger.give() == 'nothing'
        assert list(items) == [1]
        stranger.connect_to(keyed.connection_address, KEY)
        assert stranger.use(items) == [1, 'used']


def test_an_argument_of_a_constructor_is_refused_too() -> None:
    before = {process.pid for process in descendants()}
    with Keyed() as keyed:
        with pytest.raises(uactor.AuthkeyError):
            Holder(keyed)
        pid = keyed.run(os.getpid)
        eventually(lambda: {process.pid for process in descendants()} - before == {pid})


class Holder(Shop):
    def __init__(self, given: Any) -> None:
        super().__init__()
        self.kept = given


def test_an_actor_reached_by_connect_is_forwarded_to_who_is_connected_too(
    owner: Any, stranger: Any
) -> None:
    inner = Keyed.connect(owner.inner_address(), KEY)
    with pytest.raises(uactor.AuthkeyError):
        stranger.relay(inner)
    assert owner.relay(inner) == inner
    stranger.connect_to(owner.inner_address(), KEY)
    assert stranger.relay(inner) == inner


def test_a_proxy_of_an_actor_with_its_own_key_is_no_secret_to_the_actor_itself() -> None:
    with Keyed() as keyed:
        items = keyed.share('list', [])
        assert keyed.relay(items) == items
        assert keyed.relay(keyed) == keyed
        assert keyed.use(items) == ['used']


def test_a_proxy_passes_through_an_actor_that_knows_the_key(owner: Any) -> None:
    with Keyed.connect(owner.inner_address(), KEY) as inner:
        items = inner.share('list', [1])
        assert owner.relay(items) == items
        assert inner.relay(items, owner) == items


def load(data: bytes, pipe: Any, address: Any = None) -> None:
    """Load a pickled proxy in a worker and tell what comes of it."""
    if address is not None:
        Keyed.connect(address, KEY)
    try:
        pipe.send(pickle.loads(data)._getvalue())
    except uactor.AuthkeyError as error:
        pipe.send(type(error))


@pytest.mark.parametrize(
    ('method', 'connects', 'expected'),
    [('spawn', False, uactor.AuthkeyError), ('spawn', True, [1]), ('fork', False, [1])],
)
@pytest.mark.filterwarnings('ignore:.*multi-threaded.*:DeprecationWarning')
def test_a_worker_knows_keys_only_if_it_was_forked_or_has_connected(
    method: str, connects: bool, expected: Any
) -> None:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    with Keyed() as keyed, ours, theirs:
        items = keyed.share('list', [1])
        address = keyed.connection_address if connects else None
        worker = context.Process(target=load, args=(pickle.dumps(items), theirs, address))
        worker.start()
        assert ours.poll(30)
        assert ours.recv() == expected
        worker.join()


PROGRAM = """
import pickle, sys
from tests.client.test_authkeys import KEY, Shop
import uactor
data, address, key = pickle.loads(sys.stdin.buffer.read())
try:
    pickle.loads(data)
except uactor.AuthkeyError:
    print('refused')
Shop.connect(address, key)
print(pickle.loads(data))
"""


def test_another_program_is_of_another_family(stranger: Any) -> None:
    given = (
        pickle.dumps(stranger.share('list', [1])),
        stranger.connection_address,
        auth.get_family_key(),
    )
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM],
        input=pickle.dumps(given),
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().splitlines() == ['refused', '[1]']


# --- different errors ----------------------------------------------------------------------------


def test_wrong_key_refused_connection_and_dead_actor_are_different_errors(stranger: Any) -> None:
    address = stranger.connection_address
    with pytest.raises(uactor.AuthkeyError, match='another authkey') as wrong:
        Shop.connect(address, b'wrong')
    assert not isinstance(wrong.value, (uactor.ActorDiedError, uactor.ActorUnreachableError))
    actor = Shop()
    items, gone = actor.share('list', []), actor.connection_address
    actor.shutdown()
    with pytest.raises(uactor.ActorUnreachableError, match='is the actor running') as refused:
        Shop.connect(gone, auth.get_family_key())
    assert not isinstance(refused.value, (uactor.ActorDiedError, uactor.AuthkeyError))
    with pytest.raises(uactor.ActorDiedError, match='has ended') as died:
        items.append(1)
    assert not isinstance(died.value, (uactor.ActorUnreachableError, uactor.AuthkeyError))
    for error in (wrong, refused, died):
        assert str(error.value.args[0]).count('127.0.0.1' if TRANSPORT == 'tcp' else 'unix:')


def test_a_pickle_of_a_dead_actor_is_refused_when_it_is_loaded(stranger: Any) -> None:
    actor = Shop()
    data = pickle.dumps(actor.share('list', []))
    actor.shutdown()
    with pytest.raises(uactor.ActorDiedError):  # this process has known it
        pickle.loads(data)
    with pytest.raises(uactor.ActorUnreachableError):
        stranger.run(pickle.loads, data)


def test_the_key_of_an_actor_that_has_ended_is_forgotten() -> None:
    actor = Keyed()
    address = actor._token.target
    assert auth.keyring.knows(address)
    assert auth.keyring.candidates(address) == (KEY, auth.get_family_key())
    actor.shutdown()
    assert not auth.keyring.knows(address)
    assert auth.keyring.candidates(address) == (auth.get_family_key(),)


def test_an_argument_whose_actor_has_died_says_so(stranger: Any) -> None:
    actor = Shop()
    items = actor.share('list', [])
    actor.shutdown()
    with pytest.raises(uactor.ActorUnreachableError):
        stranger.keep(items)


def test_a_proxy_of_an_earlier_actor_at_the_same_address_is_stale(directory: pathlib.Path) -> None:
    class Fixed(Shop):
        _options_ = {'address': f'unix:{directory}/socket'}

    with Fixed() as actor:
        items = actor.share('list', [1])
        data = pickle.dumps(items)
    with Fixed() as successor:
        with pytest.raises(uactor.StaleHandleError):
            pickle.loads(data)
        with pytest.raises(uactor.ActorDiedError):
            items.append(2)
        assert successor.shared() == 0


# --- actors of several names ---------------------------------------------------------------------


def other_name(address: Any, directory: pathlib.Path) -> Any:
    """Return another address by which the same actor is reached."""
    if isinstance(address, tuple):
        return 'localhost', address[1]
    link = directory / 'link'
    link.symlink_to(address.removeprefix('unix:'))
    return f'unix:{link}'


def test_proxies_of_an_actor_come_the_way_that_was_connected(
    owner: Any, directory: pathlib.Path
) -> None:
    reached = other_name(owner.inner_address(), directory)
    inner = Keyed.connect(reached, KEY)
    for proxy in (inner.share('list', [1]), *inner.echo(inner), owner.inner_proxy('auto')):
        if isinstance(proxy, uactor.BaseProxy):
            assert proxy._token.address == inner.connection_address == reached
            assert str(proxy)
    assert inner.is_own(inner)
    assert inner.use(inner.share('list', [])) == ['used']


def test_capture_names_an_actor_that_is_not_connected_any_more(
    owner: Any, directory: pathlib.Path
) -> None:
    given = owner.inner_address()
    reached = other_name(given, directory)
    Keyed.connect(reached, KEY, capture=[given])
    gc.collect()
    assert owner.inner_proxy('list')._token.target == target(reached)
    assert pickle.loads(owner.pickled('list'))._token.target == target(reached)


# --- secrecy -------------------------------------------------------------------------------------

FORMS: list[Callable[[bytes], bytes]] = [
    lambda key: key,
    lambda key: repr(key)[2:-1].encode(),
    lambda key: key.hex().encode(),
    lambda key: base64.b64encode(key).rstrip(b'='),
    lambda key: base64.urlsafe_b64encode(key).rstrip(b'='),
]


def shows_a_key(data: bytes | str) -> bool:
    """Tell whether text or bytes have one of this process's keys in them, however encoded."""
    data = data if isinstance(data, bytes) else data.encode('utf-8', 'surrogateescape')
    return any(form(key) in data for key in (KEY, auth.get_family_key()) for form in FORMS)


def test_the_search_finds_keys() -> None:
    assert shows_a_key(repr({'authkey': KEY}))
    assert shows_a_key(pickle.dumps(KEY))
    assert shows_a_key(str(uactor.call_metadata(KEY)))
    assert not shows_a_key('authkey')


def look_inside() -> list[str]:
    """Return how the actor process shows what knows its key."""
    host = get_own_host()
    known = (
        host,
        host.connection,
        host.context,
        host.context.requests,
        host.actor_class.manager_class,
        auth.keyring,
    )
    return [*map(repr, known), repr(vars(host.connection)), repr(os.environ), repr(sys.argv)]


def test_no_repr_shows_a_key() -> None:
    with Keyed() as keyed:
        items = keyed.share('list', [])
        remote = Keyed.connect(keyed.connection_address, KEY)
        known = (
            *(keyed, items, remote, keyed._manager, remote._manager, items._manager),
            *(keyed._manager.process, keyed._token, items._manager.connection, auth.keyring),
            *(keyed._manager.process and keyed._manager.process.__dict__, items.__dict__),
        )
        assert not [thing for thing in known if shows_a_key(f'{thing!r} {thing!s}')]
        assert not [text for text in keyed.run(look_inside) if shows_a_key(text)]


def test_no_pickle_shows_a_key() -> None:
    with Keyed() as keyed:
        for proxy in (keyed, keyed.share('list', []), keyed.share('auto', [])):
            assert not shows_a_key(pickle.dumps(proxy))
            assert not shows_a_key(keyed.run(pickle.dumps, proxy))


@pytest.mark.parametrize('actor_class', [Keyed, Shop])
def test_no_command_line_or_environment_shows_a_key(actor_class: type[Shop]) -> None:
    with actor_class() as actor:
        process = pathlib.Path('/proc', str(actor.run(os.getpid)))
        for name in ('cmdline', 'environ', 'comm'):
            assert not shows_a_key((process / name).read_bytes())


def log_to(path: str) -> None:
    logging.basicConfig(filename=path, level=logging.DEBUG, force=True)


def test_no_log_shows_a_key(
    caplog: pytest.LogCaptureFixture, tmp_path: pathlib.Path, stranger: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    with Keyed() as keyed:
        keyed.run(log_to, str(tmp_path / 'log'))
        keyed.run(logging.debug, 'the log has begun')
        pickle.loads(pickle.dumps(keyed.share('list', [])))
        with pytest.raises(uactor.AuthkeyError):
            Keyed.connect(keyed.connection_address, b'wrong')
        with pytest.raises(uactor.AuthkeyError) as refused:
            stranger.keep(keyed)
    text = (tmp_path / 'log').read_text()
    assert 'the log has begun' in text
    assert not shows_a_key(text)
    assert not shows_a_key(caplog.text)
    assert not shows_a_key(f'{refused.value!r} {refused.value.__cause__}')


def test_a_wrong_key_is_not_shown_either(stranger: Any) -> None:
    with pytest.raises(uactor.AuthkeyError) as wrong:
        Keyed.connect(stranger.connection_address, KEY)
    chain: BaseException | None = wrong.value
    while chain is not None:
        assert not shows_a_key(f'{chain!r} {chain}')
        chain = chain.__cause__


def test_a_connection_knows_which_of_its_keys_has_fit() -> None:
    with uactor.Actor() as actor:
        keys = b'another key', auth.get_family_key()
        connection = ClientConnection(actor._token.target, keys, 'cloudpickle')
        assert connection.has_family_key
