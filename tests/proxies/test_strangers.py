"""Handles that name an address which nobody of this process's family has given out."""

from __future__ import annotations

import contextlib
import os
import pathlib
import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import uactor
from tests.support import Actor
from tests.support.rpc import Client, client_of, get_dial_address, native
from uactor.core import auth
from uactor.core.addresses import Token, target
from uactor.proxies.base import BaseProxy, auto_proxy
from uactor.transport.lane import lane_path
from uactor.v1 import actor_pb2 as pb

KEY = b'the key of a stranger'


class Exploding:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, (self.mark,)


def explode(mark: str) -> str:
    pathlib.Path(mark).write_text(str(os.getpid()))
    return mark


class Bait(Actor):
    """Belongs to a caller, who has its code run in whoever reads its answers."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def bite(self) -> Exploding:
        """Return what runs code of the caller's own."""
        return Exploding(self.mark)

    def items(self) -> Any:
        """Return a proxy of a list that has it."""
        return uactor.proxy([Exploding(self.mark)], 'list')


class Keyed(Bait):
    """The same with a key of its own."""

    _options_ = {**Actor._options_, 'authkey': KEY}


class Taker(Actor):
    """Takes what it is given."""

    _exposed_ = (
        *('take', 'take_named', 'take_in', 'echo', 'first', 'shown', 'sent', 'bitten'),
        *('connect_to', 'kept', 'pickled', 'load', 'first_at_once', 'give', 'typeid'),
    )
    kept: Any = None

    def take(self, given: Any) -> str:
        """Keep something, and use it for nothing."""
        self.kept = given
        return type(given).__name__

    def take_named(self, *, given: Any) -> str:
        return self.take(given)

    def take_in(self, given: Any) -> str:
        return self.take(given[0] if isinstance(given, list) else next(iter(given.values())))

    def echo(self, given: Any) -> Any:
        return given

    def give(self) -> Any:
        return self.kept

    def typeid(self) -> str:
        return uactor.typeid(self.kept)

    def first(self) -> str:
        """Use what has been kept."""
        return str(self.kept[0])

    def first_at_once(self) -> list[str]:
        """Use what has been kept, on several threads at a time."""
        found: list[str] = []
        threads = [threading.Thread(target=lambda: found.append(self.first())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return found

    def bitten(self) -> str:
        return str(self.kept.bite())

    def shown(self) -> str:
        """Do with it what takes no connection."""
        return f'{self.kept!r} {uactor.typeid(self.kept)}'

    def pickled(self) -> bytes:
        return pickle.dumps(self.kept)

    def load(self, data: list[int]) -> str:
        return self.take(pickle.loads(bytes(data)))

    def sent(self, other: Any) -> str:
        """Send it on."""
        return str(other.take(self.kept))

    def connect_to(self, address: str, key: bytes) -> None:
        self.connection = Keyed.connect(address, key)


class Careful(Taker):
    """Reads no pickles."""

    _options_ = {**Actor._options_, 'serializer': 'native'}


class Listener:
    """Notes who connects, on all doors of an address."""

    def __init__(self, directory: str) -> None:
        self.address = f'unix:{directory}/s'
        self.connected: list[bytes] = []
        self._sockets = [self._listen(f'{directory}/s'), self._listen(lane_path(f'{directory}/s'))]

    def _listen(self, path: str) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection:
                    self.connected.append(connection.recv(1 << 12))

    def close(self) -> None:
        for listener in self._sockets:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with tempfile.TemporaryDirectory() as directory:
        found = Listener(directory)
        yield found
        found.close()


@pytest.fixture
def mark(tmp_path: pathlib.Path) -> pathlib.Path:
    return tmp_path / 'mark'


@pytest.fixture(scope='module')
def careful() -> Iterator[Any]:
    with Careful() as actor:
        yield actor


@pytest.fixture
def client(careful: Any) -> Iterator[Client]:
    with client_of(get_dial_address(careful)) as found:
        yield found


def handle_at(address: str, typeid: str = 'list') -> pb.Handle:
    return pb.Handle(id='0123456789abcdef.1', address=address, typeid=typeid)


def handle_of(items: Any) -> pb.Handle:
    token = items._token
    return pb.Handle(id=token.id, address=target(token.address), typeid=token.typeid)


# --- receipt -------------------------------------------------------------------------------------

WAYS: dict[str, Callable[[Client, pb.Handle], Any]] = {
    'argument': lambda client, handle: client.call('take', handle),
    'keyword': lambda client, handle: client.call('take_named', given=handle),
    'list': lambda client, handle: client.call('take_in', [handle]),
    'map': lambda client, handle: client.call('take_in', {'a': handle}),
    'attribute': lambda client, handle: client.set('kept', handle),
    'created': lambda client, handle: client.create('list', [handle]),
    'stream': lambda client, handle: list(client.stream('echo', [handle])),
}


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('typeid', ['list', 'auto', 'actor', 'of nobody'])
def test_a_stranger_is_not_dialled_when_its_handle_comes(
    client: Client, listener: Listener, way: str, typeid: str
) -> None:
    WAYS[way](client, handle_at(listener.address, typeid))
    assert listener.connected == []


def test_a_python_caller_has_no_stranger_dialled_either(careful: Any, mark: pathlib.Path) -> None:
    with Bait(str(mark)) as bait:
        assert careful.take(bait.items()) == 'ListProxy'
        assert careful.take(bait) == 'BaitProxy' or uactor.typeid(bait) == 'actor'
    assert not mark.exists()


@pytest.mark.parametrize('typeid', ['list', 'auto', 'actor'])
def test_a_stranger_is_refused_when_it_is_used(
    client: Client, listener: Listener, careful: Any, typeid: str
) -> None:
    client.call('take', handle_at(listener.address, typeid))
    for use in (careful.first, careful.bitten) if typeid == 'auto' else (careful.first,):
        with pytest.raises((uactor.AuthkeyError, TypeError), match=r'connect|subscript'):
            use()
    assert listener.connected == []


def test_code_of_a_caller_who_knows_the_key_is_not_run(careful: Any, mark: pathlib.Path) -> None:
    """R7: its own actor answers with a pickle, and is of the family."""
    with Bait(str(mark)) as bait:
        items = bait.items()
        careful.take(items)
        with pytest.raises(uactor.AuthkeyError, match='names; connect to that actor first'):
            careful.first()
        assert not mark.exists()


def test_a_use_that_needs_no_connection_makes_none(
    client: Client, careful: Any, listener: Listener
) -> None:
    handle = handle_at(listener.address)
    client.call('take', handle)
    assert 'ListProxy object' in careful.shown()
    assert careful.typeid() == 'list'
    assert client.call('give').address == listener.address
    assert listener.connected == []


def test_a_stranger_can_be_sent_on(listener: Listener) -> None:
    with Taker() as taker, Taker() as other, client_of(get_dial_address(taker)) as client:
        client.call('take', handle_at(listener.address))
        assert taker.sent(other) == 'ListProxy'
        assert 'ListProxy object' in other.shown()
    assert listener.connected == []


def test_a_stranger_is_pickled_as_one(client: Client, careful: Any, listener: Listener) -> None:
    client.call('take', handle_at(listener.address))
    data = [*careful.pickled()]
    with Careful() as other:
        assert other.load(data) == 'ListProxy'
        with pytest.raises(uactor.AuthkeyError):
            other.first()
    assert listener.connected == []


# --- use -----------------------------------------------------------------------------------------


def test_a_stranger_is_reached_once_the_actor_has_connected(mark: pathlib.Path) -> None:
    with Careful() as careful, Keyed(str(mark)) as keyed:
        items = keyed.items()
        items[0] = 'value'
        careful.take(items)
        with pytest.raises(uactor.AuthkeyError):
            careful.first()
        careful.connect_to(target(keyed.connection_address), KEY)
        assert careful.first_at_once() == ['value'] * 8
        assert careful.typeid() == 'list'
        careful.take(None)


def test_an_actor_in_the_keyring_is_held_at_receipt(mark: pathlib.Path) -> None:
    with Careful() as careful, Keyed(str(mark)) as keyed:
        careful.connect_to(target(keyed.connection_address), KEY)
        items = keyed.items()
        items[0] = 'value'
        careful.take(items)
        del items
        assert careful.first() == 'value'


def test_an_actor_whose_callers_send_pickles_uses_what_their_handles_name() -> None:
    """R8: they could run any code anyway; but it is dialled when it is used, and not before."""
    with Taker() as taker, client_of(get_dial_address(taker)) as client, Bait('') as bait:
        items = bait.items()
        items[0] = 'value'
        client.call('take', handle_of(items))
        assert taker.first() == 'value'


class Owning(Taker):
    """Has an actor of its own, which reads no pickles."""

    def __init__(self) -> None:
        self.inner = Careful()

    def pass_on(self) -> str:
        """Give its own list to its actor, which uses it."""
        self.inner.take(uactor.proxy(['own'], 'list'))
        return str(self.inner.first())


Owning._exposed_ = (*Taker._exposed_, 'pass_on')  # type: ignore[assignment]


def test_the_owner_of_an_actor_is_no_stranger() -> None:
    with Owning() as owner:
        assert owner.pass_on() == 'own'


# --- results -------------------------------------------------------------------------------------


class Baiting(Actor):
    """Has a bait that its callers know nothing of."""

    def __init__(self, mark: str) -> None:
        self.bait = Bait(mark)
        self.items = self.bait.items()

    def handle(self) -> bytes:
        return handle_of(self.items).SerializeToString()


class Echoing(Careful):
    """Reads no pickles, and has a key of its own."""

    _options_ = {**Careful._options_, 'authkey': KEY}


def test_a_stranger_in_a_result_is_not_dialled(listener: Listener) -> None:
    with Echoing() as echoing:
        metadata = auth.call_metadata(KEY)
        with client_of(get_dial_address(echoing), metadata) as client:
            client.call('take', handle_at(listener.address))
        found = echoing.give()
        assert uactor.typeid(found) == 'list'
        assert listener.connected == []
        with pytest.raises(uactor.AuthkeyError):
            found.append(1)
        del found
    assert listener.connected == []


def test_answers_of_an_actor_that_a_result_names_are_not_unpickled(mark: pathlib.Path) -> None:
    with Careful() as careful, Baiting(str(mark)) as baiting:
        with client_of(get_dial_address(careful)) as client:
            client.call('take', pb.Handle.FromString(baiting.handle()))
        found = careful.give()
        assert isinstance(found[0], uactor.BaseProxy)
        assert 'Exploding' in str(found[0])
        assert not mark.exists()


def test_native_values_name_handles() -> None:
    """The helper of these tests sends handles as they are."""
    assert native(handle_at('unix:/s')).handle.address == 'unix:/s'


def test_names_that_a_peer_chooses_take_no_place_of_the_proxy_s_own() -> None:
    """Python would call ``__del__`` by itself, and proxies call ``_callmethod``."""
    proxied: Any = Bait('')
    with proxied:
        manager = proxied._manager
        token = Token('auto', manager.address, proxied._id)
        names = ['items', '__del__', '_callmethod', '__reduce__', '__class__', '__getattr__']
        proxy: Any = auto_proxy(token, manager=manager, exposed=names, incref=False)
        assert proxy.items().copy
        assert type(proxy)._callmethod is BaseProxy._callmethod
        reduce: Any = type(proxy).__reduce__
        assert reduce is BaseProxy.__reduce__
        assert not hasattr(type(proxy), '__getattr__')
        assert '__del__' not in vars(type(proxy))
