"""Actors on another machine, which is a network namespace of this one here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.conftest import require_tool
from tests.support import TRANSPORT
from tests.support.peers import Peer

pytestmark = [
    pytest.mark.doors,
    pytest.mark.skipif(TRANSPORT != 'tcp', reason='Unix sockets reach no other machine'),
    pytest.mark.skipif(sys.platform != 'linux', reason='network namespaces are of Linux'),
]


class Network:
    """Two namespaces with a cable between them."""

    def __init__(self) -> None:
        self._ip = require_tool('ip')
        self.names = [f'uactor-{os.getpid()}-{end}' for end in 'ab']
        self.addresses = ['10.77.0.1', '10.77.0.2']

    def ip(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True, capture_output=True)

    def plug(self) -> None:
        ends = ['ua', 'ub']
        for name in self.names:
            self.ip('netns', 'add', name)
        self.ip(
            '-n', self.names[0], 'link', 'add', ends[0], 'type', 'veth', 'peer', 'name', ends[1]
        )
        self.ip('-n', self.names[0], 'link', 'set', ends[1], 'netns', self.names[1])
        for name, end, address in zip(self.names, ends, self.addresses, strict=True):
            self.ip('-n', name, 'addr', 'add', f'{address}/24', 'dev', end)
            self.ip('-n', name, 'link', 'set', end, 'up')
            self.ip('-n', name, 'link', 'set', 'lo', 'up')

    def cut(self) -> None:
        """Lose all packets from now on, without a word to either side."""
        for name, address in zip(self.names, reversed(self.addresses), strict=True):
            self.ip('-n', name, 'route', 'add', 'blackhole', f'{address}/32')

    def unplug(self) -> None:
        for name in self.names:
            subprocess.run([self._ip, 'netns', 'del', name], check=False, capture_output=True)

    def inside(self, index: int) -> list[str]:
        """Return the command that runs another one in a namespace."""
        return [self._ip, 'netns', 'exec', self.names[index]]


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network()
    if os.geteuid() != 0 and not os.environ.get('CI'):
        pytest.skip('only root makes network namespaces')
    try:
        network.plug()
        yield network
    finally:
        network.unplug()


OWNER = """
import uactor

class Remote(uactor.Actor):
    _options_ = {'address': ('10.77.0.2', 0), 'authkey': b'key', 'insecure': True}
    _method_to_typeid_ = {'lock': 'Lock', 'event': 'Event'}
    def __init__(self):
        import threading
        self._lock, self._event = threading.Lock(), threading.Event()
    def lock(self):
        return self._lock
    def event(self):
        return self._event

with Remote() as actor:
    say(actor.connection_address[1])
    listen()
    say(actor.lock().acquire(timeout=100))
    listen()
"""

CALLER = """
import uactor

(port,) = given
actor = uactor.Actor.connect(('10.77.0.2', port), b'key')
lock, event = (actor._manager.connection.call('', name, (), {}, actor._manager.create_proxy)
               for name in ('lock', 'event'))
say(lock.acquire())
try:
    event.wait()
except uactor.ActorDiedError as error:
    say(error.executed)
"""


@pytest.mark.timeout(150)
def test_a_peer_that_vanishes_without_a_word_is_missed_on_both_sides(network: Network) -> None:
    with Peer(OWNER, prefix=network.inside(1)) as owner:
        port = int(owner.read_line())
        with Peer(CALLER, port, prefix=network.inside(0)) as caller:
            assert caller.read_line() == 'True'
            network.cut()
            owner.resume()
            assert caller.read_line() == 'maybe'
            assert owner.read_line() == 'True'  # the lock of the vanished client is free
            caller.kill()
        owner.resume()
        assert owner.end() == 0
