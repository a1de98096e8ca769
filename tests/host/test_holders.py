"""Whatever a session says of itself, it has only its own holds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

import uactor
from tests.support.raw_session import KEY, STREAM_KINDS, open_session
from tests.support.rpc import Client, channel_to, get_dial_address
from uactor.host.holders import ANONYMOUS, LOCAL, count_clients, of_client, of_lease
from uactor.v1 import actor_pb2 as pb

RESERVED = ('local', 'anonymous', 'lease', 'client', 'session', '', 'session 1', '1')


class Keeper(uactor.Actor):
    """Has an object of which the actor itself has the only proxy."""

    _options_ = {'authkey': KEY}

    def __init__(self) -> None:
        self._own = uactor.proxy([1, 2], 'list')

    def own(self) -> str:
        return self._own._token.id

    def own_is_there(self) -> bool:
        return list(self._own) == [1, 2]


@pytest.fixture(scope='module')
def keeper() -> Iterator[Any]:
    with Keeper() as actor:
        yield actor


@pytest.fixture
def client(keeper: Any) -> Iterator[Client]:
    with channel_to(get_dial_address(keeper)) as channel:
        yield Client(channel, uactor.call_metadata(KEY))


def lease_of(client: Client, handle: str) -> str:
    """Take a lease and return its id."""
    return str(client.rpc('RetainHandle', handles=[handle], as_lease=True).lease_id)


def exists(client: Client, handle: str) -> bool:
    return any(known.handle.id == handle for known in client.rpc('ListHandles').handles)


@pytest.mark.parametrize('stream', STREAM_KINDS)
@pytest.mark.parametrize('name', RESERVED)
def test_no_name_of_a_session_frees_what_others_hold(
    keeper: Any, client: Client, stream: str, name: str
) -> None:
    anonymous, leased = client.create('list').id, client.create('list').id
    lease = lease_of(client, leased)
    client.rpc('ReleaseHandle', handles=[leased])  # the lease alone has it
    with open_session(keeper, stream) as nameless:
        other = nameless.enter('').create('list')
        handles = [keeper.own(), anonymous, leased, other]
        for claimed in (name, f'{name} {lease}', f'lease {lease}'):
            with open_session(keeper, stream) as thief:
                thief.enter(claimed)
                thief.send(releases=[*handles, *handles])
                assert thief.exists(other)
                thief.leave()
        assert keeper.own_is_there()
        assert exists(client, anonymous)
        assert exists(client, leased)
        assert nameless.exists(other)
        client.rpc('RetainHandle', handles=[leased], lease_id=lease)
        client.rpc('ReleaseHandle', handles=[anonymous, leased])


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_sessions_without_a_name_are_clients_by_themselves(keeper: Any, stream: str) -> None:
    with open_session(keeper, stream) as one, open_session(keeper, stream) as other:
        handle = one.enter('').create('list')
        other.enter('')
        other.send(releases=[handle])
        other.leave()
        assert one.exists(handle)


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_the_handle_of_an_anonymous_hold_is_no_lease(
    keeper: Any, client: Client, stream: str
) -> None:
    handle, own = client.create('list').id, client.create('list').id
    with open_session(keeper, stream) as thief:
        thief.enter('thief')
        request = pb.RetainHandleRequest(handles=[own], lease_id=handle)
        assert thief.ask(retain_handle=request).HasField('retained')
        thief.leave()
    assert exists(client, handle)
    client.rpc('ReleaseHandle', handles=[handle, own])


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_a_lease_ends_by_its_id_alone(keeper: Any, client: Client, stream: str) -> None:
    handle = client.create('list').id
    lease = lease_of(client, handle)
    client.rpc('ReleaseHandle', handles=[handle])
    with open_session(keeper, stream) as session:
        session.enter('receiver')
        session.send(releases=[lease[:-1], lease.upper() + 'x', f'lease {lease}', ''])
        assert session.exists(handle)
        session.send(releases=[lease])
        assert not session.exists(handle)


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_a_release_that_comes_with_a_cancellation_is_carried_out(keeper: Any, stream: str) -> None:
    with open_session(keeper, stream) as session:
        session.enter('impatient', pipelined=True)
        handle = session.create('list')
        assert session.exists(handle)
        session.send(cancel=pb.Cancel(request_id=999), releases=[handle])
        assert not session.exists(handle)


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_a_session_goes_on_when_another_request_is_given_up(keeper: Any, stream: str) -> None:
    with open_session(keeper, stream) as session:
        session.enter('patient')
        handle = session.create('list')
        session.ask(cancel=pb.Cancel(request_id=999))
        assert session.exists(handle)


@pytest.mark.parametrize('stream', STREAM_KINDS)
def test_a_number_that_was_given_up_too_late_may_come_again(keeper: Any, stream: str) -> None:
    with open_session(keeper, stream) as session:
        session.enter('thrifty', pipelined=True)
        handle = session.create('list')
        call = pb.CallRequest(handle=handle, method='__len__')
        again = pb.SessionRequest(id=77, call=call).SerializeToString()
        session.stream.put(again)
        assert session.receive().result.int64 == 0
        session.send(cancel=pb.Cancel(request_id=77))
        assert session.exists(handle)
        session.stream.put(again)
        assert session.receive().HasField('result')


def test_releases_of_what_nobody_has_do_nothing(keeper: Any, client: Client) -> None:
    handle = client.create('list').id
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(open_session(keeper, 'lane')).enter('c')
        session.send(releases=['', 'x', handle, handle, f'{handle}x', keeper.own()])
        assert session.exists(handle)
    client.rpc('ReleaseHandle', handles=[handle])
    assert not exists(client, handle)


def test_a_session_called_local_waits_for_its_turn_like_others() -> None:
    """The calls of the actor itself are the only ones that pass by its mailbox."""

    class Single(Keeper):
        _options_ = {'authkey': KEY, 'concurrency': 1}

        def __init__(self) -> None:
            self.running = self.most = 0

        def busiest(self) -> int:
            return self.most

        def work(self) -> None:
            self.running += 1
            self.most = max(self.most, self.running)
            time.sleep(0.05)  # so that another one would begin
            self.running -= 1

    with Single() as actor, contextlib.ExitStack() as stack:
        sessions = [
            stack.enter_context(open_session(actor, 'lane')).enter('local') for _ in range(3)
        ]
        for session in sessions:
            session.send(call=pb.CallRequest(method='work'))
        for session in sessions:
            assert session.receive().HasField('result')
        assert actor.busiest() == 1


def test_kinds_of_holders_are_never_the_same() -> None:
    holders = [LOCAL, ANONYMOUS, of_lease('local'), of_client('local'), of_client('anonymous')]
    holders += [of_client(''), of_client(''), of_client('1'), of_lease('1')]
    assert len(set(holders)) == len(holders)
    assert count_clients(holders) == 5
