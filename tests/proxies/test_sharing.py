"""Proxies travel as arguments and results, nested and pickled, to and from any actor."""

from __future__ import annotations

import collections
import copy
import dataclasses
import gc
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import grpc
import pytest

import uactor
from tests.support import Actor, eventually
from tests.support.peers import Peer
from tests.support.workshop import Workshop
from uactor.client.connection import ClientConnection
from uactor.core import auth
from uactor.host.holders import of_client
from uactor.host.objects.table import ObjectTable
from uactor.v1 import actor_pb2 as pb
from uactor.v1 import actor_pb2_grpc

pytestmark = [pytest.mark.doors]


class Bomb:
    """Goes off when it is unpickled, anywhere but in the actor that has made it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return explode, ()


def explode() -> None:
    raise OSError('bang')


class Trap(LookupError):
    """Can be unpickled in the actor that raises it, and not by its caller."""

    def __reduce__(self) -> tuple[Any, ...]:
        return spring, (os.getpid(), self.args)


def spring(pid: int, args: tuple[Any, ...]) -> Trap:
    if os.getpid() != pid:
        explode()
    return Trap(*args)


@dataclasses.dataclass
class Parcel:
    """Carries something, as a user's own class does."""

    content: Any
    more: dict[str, Any] = dataclasses.field(default_factory=dict)


class Shop(Workshop):
    """A workshop that passes on, keeps and fails with what it is given."""

    def __init__(self) -> None:
        self.kept: Any = None

    def keep(self, value: Any) -> None:
        self.kept = value

    def give(self) -> Any:
        return self.kept

    def echo(self, *args: Any, **kwargs: Any) -> Any:
        return (*args, kwargs)

    def relay(self, value: Any, *others: Any) -> Any:
        """Return ``value`` after it has been through all the other actors."""
        return others[0].relay(value, *others[1:]) if others else value

    def use(self, items: Any) -> Any:
        """Append to a list that lives somewhere, and return what it is like then."""
        items.append('used')
        return list(items)

    def is_own(self, proxy: Any) -> bool:
        """Tell whether a proxy of this actor's own object needs no connection."""
        return not isinstance(proxy._manager.connection, ClientConnection)

    def fail(self, error: Exception) -> None:
        raise error

    def share_after(self, event: Any) -> Any:
        event.wait()
        return uactor.proxy([1], 'list')

    def fail_with_own(self) -> None:
        raise LookupError(uactor.proxy([1], 'list'))

    def explode_among(self, *kinds: str) -> list[Any]:
        """Return proxies with something among them that can't be rebuilt."""
        return [Bomb() if kind == 'bomb' else uactor.proxy([1], kind) for kind in kinds]

    def forward_with_a_lock(self, owner: Any) -> Any:
        return [owner.share('list', [1]), threading.Lock()]

    def trap(self) -> None:
        raise Trap(uactor.proxy([1], 'list'))


def handles(actor: Any) -> dict[str, tuple[int, int]]:
    """Return holds and holders of an actor's shared objects, by id, over plain gRPC."""
    with grpc.insecure_channel(
        actor._token.target, [('grpc.default_authority', 'localhost')]
    ) as channel:
        stub = actor_pb2_grpc.ActorServiceStub(channel)
        metadata = uactor.call_metadata(auth.get_family_key())
        listed = stub.ListHandles(pb.ListHandlesRequest(), metadata=metadata).handles
    return {info.handle.id: (info.holds, info.clients) for info in listed}


@pytest.fixture(scope='module')
def shop() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture(scope='module')
def other() -> Iterator[Any]:
    with Shop() as actor:
        yield actor


@pytest.fixture(autouse=True)
def nothing_stays_shared(shop: Any, other: Any) -> Iterator[None]:
    """Check after each test that what it has shared is gone."""
    yield
    gc.collect()
    eventually(lambda: shop.shared() == other.shared() == 0)


# --- nested in values ----------------------------------------------------------------------------

WRAPPINGS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    'plain': (lambda proxy: proxy, lambda value: value),
    'list': (lambda proxy: [[proxy], 1], lambda value: value[0][0]),
    'tuple': (lambda proxy: (1, proxy), lambda value: value[1]),
    'dict': (lambda proxy: {'x': {'y': proxy}}, lambda value: value['x']['y']),
    'key': (lambda proxy: {proxy: 1}, lambda value: next(iter(value))),
    'set': (lambda proxy: {proxy}, lambda value: value.pop()),
    'deque': (lambda proxy: collections.deque([proxy]), lambda value: value[0]),
    'dataclass': (Parcel, lambda value: value.content),
    'nested': (lambda proxy: Parcel(1, {'x': [proxy]}), lambda value: value.more['x'][0]),
    'lambda': (lambda proxy: lambda: proxy, lambda value: value()),
    'method': (lambda proxy: proxy.append, lambda value: value.__self__),
    'exception': (lambda proxy: ValueError(proxy), lambda value: value.args[0]),
}


@pytest.mark.parametrize('wrapping', WRAPPINGS)
def test_a_proxy_arrives_inside_any_value(shop: Any, other: Any, wrapping: str) -> None:
    wrap, unwrap = WRAPPINGS[wrapping]
    items = shop._manager.list([1])
    for actor in (shop, other):
        arrived = unwrap(actor.relay(wrap(items)))
        assert type(arrived) is type(items)
        assert arrived == items
        arrived.append(2)
        del arrived
    assert list(items) == [1, 2, 2]


def test_proxies_arrive_as_keyword_arguments_and_in_any_number(shop: Any, other: Any) -> None:
    items = [shop._manager.list([number]) for number in range(3)]
    *arrived, named = other.echo(*items, *items, named=items[0])
    assert arrived == [*items, *items]
    assert named == {'named': items[0]}
    assert len(handles(shop)) == 4


@pytest.mark.parametrize('typeid', ['list', 'auto', 'actor', 'Event'])
def test_a_proxy_of_any_kind_keeps_it(shop: Any, other: Any, typeid: str) -> None:
    made = {
        'list': lambda: shop._manager.list(),
        'auto': lambda: shop.share('auto', Parcel(1)),
        'actor': lambda: shop,
        'Event': lambda: shop._manager.Event(),
    }
    proxy = made[typeid]()
    arrived = other.relay(proxy)
    assert uactor.typeid(arrived) == typeid
    assert type(arrived) is type(proxy)
    assert type(arrived._manager) is type(proxy._manager)
    assert arrived._token == proxy._token
    assert arrived == proxy


def test_an_object_is_used_by_whichever_actor_gets_its_proxy(shop: Any, other: Any) -> None:
    items = shop._manager.list()
    assert other.use(items) == ['used']
    assert shop.use(items) == ['used', 'used']
    assert list(items) == ['used', 'used']


def test_a_proxy_goes_through_three_actors_and_comes_back(shop: Any, other: Any) -> None:
    with Shop() as third:
        items = shop._manager.list([1])
        arrived = shop.relay(items, other, third, other)
        assert arrived == items
        assert third.relay(arrived, other).pop() == 1
        del arrived, items
        eventually(lambda: shop.shared() == 0)


def test_a_proxy_sent_home_reaches_its_object_without_a_connection(shop: Any, other: Any) -> None:
    items = shop._manager.list()
    assert shop.is_own(items)
    assert shop.is_own(other.relay(items))
    assert not other.is_own(items)
    assert shop.is_own(shop)


class Builder(uactor.Actor):
    """Gives itself away."""

    def __init__(self, **parts: int) -> None:
        self._parts = parts

    def add(self, name: str, value: int) -> Any:
        self._parts[name] = value
        return self

    def parts(self) -> dict[str, int]:
        return self._parts

    def itself_twice(self) -> list[Any]:
        return [self, {'me': self}]

    def give(self, other: Any) -> Any:
        return other.keep(self)

    def give_method(self, other: Any) -> Any:
        return other.keep(self.add)

    def copy(self) -> Any:
        return copy.copy(self).parts()


class NativeBuilder(Builder):
    _options_ = {'serializer': 'native'}


@pytest.mark.parametrize('cls', [Builder, NativeBuilder])
def test_an_actor_that_returns_itself_returns_its_proxy(cls: Any) -> None:
    with cls(cls=1) as builder:  # any keyword is an argument
        chained = builder.add('self', 2).add('other', 3)
        assert chained == builder
        assert chained.parts() == builder.parts() == {'cls': 1, 'self': 2, 'other': 3}
        twice = builder.itself_twice()
        assert twice == [builder, {'me': builder}]
        assert builder.copy() == builder.parts()


def test_an_actor_passes_itself_and_its_methods_on(other: Any) -> None:
    with Builder() as builder:
        builder.give(other)
        other.give().add('by', 1)
        builder.give_method(other)
        other.give()('method', 2)
        assert builder.parts() == {'by': 1, 'method': 2}
        other.keep(None)


def test_an_actor_keeps_what_it_is_given(shop: Any, other: Any) -> None:
    items = shop._manager.list([1])
    other.keep(items)
    del items
    gc.collect()
    assert shop.shared() == 1
    assert list(other.give()) == [1]
    other.keep(None)


def test_an_actor_that_holds_its_own_object_by_proxy_lets_go_of_it(shop: Any) -> None:
    shop.keep(shop._manager.list([1]))
    assert shop.shared() == 1
    assert list(shop.give()) == [1]
    shop.keep(None)


# --- callbacks -----------------------------------------------------------------------------------


def test_any_receiver_can_call_a_method_of_a_proxy(shop: Any, other: Any) -> None:
    items = shop._manager.list([3, 1, 2])
    assert other.run(items.pop) == 2
    other.run(items.append, 5)
    assert other.run(sorted, items) == [1, 3, 5]
    assert other.run(items.sort, *()) is None
    assert list(items) == [1, 3, 5]
    assert other.run(shop.relay, 'through the other') == 'through the other'
    assert shop.run(other.run, shop.shared) == 1


def test_a_method_of_an_auto_proxy_is_a_callback_too(shop: Any, other: Any) -> None:
    counter = shop.share('auto', collections.Counter('aab'))
    assert other.run(counter.most_common, 1) == [('a', 2)]


# --- exceptions ----------------------------------------------------------------------------------


def test_a_proxy_in_an_exception_arrives(shop: Any, other: Any) -> None:
    items = other._manager.list([1])
    with pytest.raises(KeyError) as raised:
        shop.fail(KeyError(items))
    assert raised.value.args == (items,)
    with pytest.raises(LookupError) as raised_by_owner:
        shop.fail_with_own()
    assert list(raised_by_owner.value.args[0]) == [1]
    del raised, raised_by_owner


# --- pickles -------------------------------------------------------------------------------------


@pytest.mark.parametrize('module', [pickle, cloudpickle])
@pytest.mark.parametrize('typeid', ['list', 'auto', 'actor'])
def test_a_pickled_proxy_reaches_the_same_object(shop: Any, module: Any, typeid: str) -> None:
    proxy = shop if typeid == 'actor' else shop.share(typeid, [1])
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        loaded = module.loads(module.dumps([proxy], protocol))[0]
        assert loaded == proxy
        assert type(loaded) is type(proxy)
        assert loaded._callmethod('__repr__') == str(proxy)


@pytest.mark.parametrize('module', [pickle, cloudpickle])
def test_a_pickle_keeps_the_object_until_it_is_loaded(shop: Any, module: Any) -> None:
    items = shop.share('list', [1])
    data = module.dumps(items)
    del items
    gc.collect()
    assert shop.shared() == 1
    loaded = module.loads(data)
    assert list(loaded) == [1]
    del loaded


def test_loading_a_pickle_uses_its_lease_up(shop: Any) -> None:
    items = shop.share('list', [1])
    ident = items._token.id
    data = pickle.dumps(items)
    assert handles(shop)[ident] == (2, 1)  # this process holds it, and a lease
    loaded = pickle.loads(data)
    assert handles(shop)[ident] == (2, 1)  # this process holds it twice
    again = pickle.loads(data)  # the object is there: it can be had again
    assert handles(shop)[ident] == (3, 1)
    del items, loaded, again
    eventually(lambda: ident not in handles(shop))
    with pytest.raises(uactor.HandleError):
        pickle.loads(data)


def test_a_pickled_method_of_a_proxy_can_be_called(shop: Any) -> None:
    items = shop.share('list', [1])
    append = pickle.loads(pickle.dumps(items.append))
    append(2)
    assert list(items) == [1, 2]


def test_a_proxy_of_a_local_class_is_pickled_by_value() -> None:
    class Local(Actor):
        def greet(self) -> str:
            return 'hello'

    with Local() as actor:
        assert pickle.loads(pickle.dumps(actor)).greet() == 'hello'
        loaded = pickle.loads(pickle.dumps(actor))
        assert type(loaded) is type(actor)


# --- releases ------------------------------------------------------------------------------------


def test_holds_are_counted_by_process(shop: Any, other: Any) -> None:
    items = shop._manager.list()
    ident = items._token.id
    assert handles(shop)[ident] == (1, 1)
    again = shop.relay(items)
    eventually(lambda: handles(shop)[ident] == (2, 1))  # once the actor's own proxy has gone
    other.keep([items, items])  # one proxy there
    eventually(lambda: handles(shop)[ident] == (3, 2))
    other.keep(None)
    eventually(lambda: handles(shop)[ident] == (2, 1))
    del again
    eventually(lambda: handles(shop)[ident] == (1, 1))
    del items
    eventually(lambda: ident not in handles(shop))


def test_an_actor_holds_no_object_that_it_has_only_used(shop: Any, other: Any) -> None:
    items = shop._manager.list()
    for _ in range(5):
        other.use(items)
        other.relay(items)
    eventually(lambda: handles(shop)[items._token.id] == (1, 1))


def test_forwarding_leaves_no_lease_behind_though_classes_travel_by_value(other: Any) -> None:
    class Local(Shop):
        def forward(self, owner: Any) -> Any:
            items = owner.share('list', [1])
            return [items, items, owner.relay(items)]

        def fail_with_forwarded(self, owner: Any) -> None:
            raise LookupError(owner.share('list', [1]))

    with Local() as owner, Local() as forwarder:
        assert [list(items) for items in forwarder.forward(owner)] == [[1]] * 3
        with pytest.raises(LookupError):
            forwarder.fail_with_forwarded(owner)
        gc.collect()
        eventually(lambda: owner.shared() == 0)


def test_a_result_that_nobody_takes_is_released(shop: Any) -> None:
    for _ in range(5):
        shop._manager.list()
    eventually(lambda: shop.shared() == 0)


@pytest.mark.parametrize('kinds', [('bomb', 'list'), ('list', 'bomb'), ('list', 'bomb', 'list')])
def test_objects_of_a_result_that_can_not_be_rebuilt_are_released(
    shop: Any, kinds: tuple[str, ...]
) -> None:
    kept = shop.share('list', [2])
    with pytest.raises(uactor.SerializationError, match='bang'):
        shop.explode_among(*kinds)
    gc.collect()
    eventually(lambda: shop.shared() == 1)
    assert list(kept) == [2]


def test_a_result_that_fails_after_a_forwarded_proxy_leaves_no_lease(shop: Any, other: Any) -> None:
    with pytest.raises(uactor.SerializationError):
        other.forward_with_a_lock(shop)
    eventually(lambda: shop.shared() == 0)


def test_objects_of_an_exception_that_can_not_be_rebuilt_are_released(shop: Any) -> None:
    with pytest.raises(uactor.RemoteError):
        shop.trap()
    gc.collect()
    eventually(lambda: shop.shared() == 0)


def test_a_proxy_in_an_exception_is_released_with_it(shop: Any) -> None:
    with pytest.raises(LookupError):
        shop.fail_with_own()
    gc.collect()
    eventually(lambda: shop.shared() == 0)


def test_also_when_it_comes_to_a_call_that_nobody_blocks_for(shop: Any) -> None:
    error = shop.fail_with_own.future().exception()
    assert isinstance(error, LookupError)
    assert list(error.args[0]) == [1]
    del error
    gc.collect()
    eventually(lambda: shop.shared() == 0)


def test_a_result_that_comes_after_the_deadline_is_released(shop: Any) -> None:
    event = shop._manager.Event()
    with pytest.raises(uactor.DeadlineError):
        shop.share_after.options(timeout=0.05)(event)
    event.set()
    del event
    gc.collect()
    eventually(lambda: shop.shared() == 0)


class NativeShop(Workshop):
    """Shares what has no native form."""

    _options_ = {'serializer': 'native'}

    def half(self) -> list[Any]:
        with Shop() as other:
            items = other.share('list', [])
        return [{1}, {2}, items]


def test_objects_shared_for_a_result_that_fails_are_released() -> None:
    with NativeShop() as shop:
        with pytest.raises(uactor.ActorDiedError):
            shop.half()
        assert shop.shared() == 0


def test_a_proxy_leads_to_the_actor_that_has_its_address_by_now(tmp_path: Path) -> None:
    body = """
    import pickle
    from tests.proxies.test_sharing import Shop
    path, items = given
    Shop._options_ = {'address': path}
    actor = Shop()
    shared = actor.share('list', items)
    say(pickle.dumps(shared).hex())
    listen()
    """
    kept = []
    for items in [1], [2]:
        with Peer(body, f'unix:{tmp_path}/s', items) as owner:
            kept.append(pickle.loads(bytes.fromhex(owner.read_line())))
            assert list(kept[-1]) == items
            owner.resume()
            assert owner.end() == 0


def test_leases_end_even_if_at_first_there_was_no_thread_to_end_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == 'uactor-leases':
            raise RuntimeError("can't start new thread")
        start(thread)

    table = ObjectTable(lambda value, typeid: (frozenset(), {}))
    client = of_client('client')
    entry = table.share([], 'list', client)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match='new thread'):
        patch.setattr(threading.Thread, 'start', refused)
        table.lease([entry.id], 0.01)
    table.lease([entry.id], 0.01)
    eventually(lambda: not table.leases)
    assert entry.holds == {client: 1}
