"""Names of sockets: one process has each, and no other takes or removes it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import uactor
from tests.support import eventually
from tests.support.programs import ROOT, environment
from uactor.errors import AddressError
from uactor.transport import unix_sockets
from uactor.transport.interfaces import connect_unix

RACE = """
import os, sys
from uactor.errors import AddressError
from uactor.transport import unix_sockets
path, serves = sys.argv[1], sys.argv[2] == 'grpc'
print('ready', flush=True)
for _ in sys.stdin:
    sock = None
    try:
        if serves:
            import socket
            sock = socket.socket(socket.AF_UNIX)

            def serve(made):
                sock.bind(made)
                sock.listen()
                return True

            unix_sockets.serve_at(path, serve)
        else:
            sock = unix_sockets.create_listener(path)
        print('took', flush=True)
    except AddressError as error:
        sock = None
        print(error, flush=True)
    sys.stdin.readline()
    if sock is not None:
        sock.close()
        {end}
    print('left', flush=True)
"""


@contextlib.contextmanager
def racers(path: Path, kinds: tuple[str, ...], end: str) -> Iterator[list[Any]]:
    code = RACE.replace('{end}', end)
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, '-c', code, str(path), kind],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    bufsize=1,
                    cwd=ROOT,
                    env=environment(),
                )
            )
            for kind in kinds
        ]


@pytest.mark.parametrize('end', ['unix_sockets.remove_own()', 'pass'], ids=['removed', 'left'])
def test_of_processes_that_listen_at_the_same_moment_one_succeeds(tmp_path: Path, end: str) -> None:
    """Whether the name is free, or left by one that was killed."""
    path = tmp_path / 's'
    with racers(path, ('plain', 'plain', 'grpc', 'grpc'), end) as processes:
        for process in processes:
            assert process.stdout.readline() == 'ready\n'
        for _ in range(150):
            for process in processes:
                process.stdin.write('\n')
            said = [process.stdout.readline() for process in processes]
            assert said.count('took\n') == 1, said
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))
            for process in processes:
                process.stdin.write('\n')
            assert [process.stdout.readline() for process in processes] == ['left\n'] * 4
        for process in processes:
            process.stdin.close()
    assert os.listdir(tmp_path) == ([] if 'remove' in end else ['s'])


def test_a_stopping_server_keeps_a_name_that_another_server_has_taken(tmp_path: Path) -> None:
    path = tmp_path / 's'
    first = unix_sockets.create_listener(str(path))
    first.close()  # as an actor does that ends, before it removes the name
    code = RACE.replace('{end}', 'pass')
    with subprocess.Popen(
        [sys.executable, '-c', code, str(path), 'plain'],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
        env=environment(),
    ) as second:
        assert second.stdin is not None
        assert second.stdout is not None
        second.stdout.readline()
        second.stdin.write('\n')
        assert second.stdout.readline() == 'took\n'
        unix_sockets.remove_own()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        second.kill()
        second.stdin.close()


def test_the_time_to_connect_is_none_for_what_is_sent_afterwards(tmp_path: Path) -> None:
    with (
        socket.create_server(str(tmp_path / 's'), family=socket.AF_UNIX),
        socket.socket(socket.AF_UNIX) as client,
    ):
        connect_unix(client, str(tmp_path / 's'), 20.0)
        size = struct.calcsize('@ll')
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, size) == bytes(size)


def test_a_lock_that_has_lost_its_name_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who had it has removed it, and another one has made and locked a new one."""
    name, lock, others, tries = tmp_path / 's.lock', fcntl.flock, [], []

    def flock(descriptor: int, operation: int) -> None:
        if not operation & fcntl.LOCK_EX:
            lock(descriptor, operation)
            return
        tries.append(operation)
        if len(tries) == 1:
            name.unlink()
            others.append(name.open('w'))
            lock(others[0], fcntl.LOCK_EX)
        elif len(tries) == 3:
            others[0].close()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, 'flock', flock)
    unix_sockets.create_listener(str(tmp_path / 's')).close()
    assert len(tries) == 3
    unix_sockets.remove_own()


def test_a_lock_that_a_killed_process_has_left_keeps_nobody_away(tmp_path: Path) -> None:
    (tmp_path / 's.lock').touch()
    unix_sockets.create_listener(str(tmp_path / 's')).close()
    unix_sockets.remove_own()
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_no_socket_is_never_removed(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('of somebody')
    (tmp_path / 'link').symlink_to(tmp_path / 'nowhere')
    for name in ('file', 'link'):
        with pytest.raises(AddressError, match='no socket'):
            unix_sockets.create_listener(str(tmp_path / name))
    assert sorted(os.listdir(tmp_path)) == ['file', 'link']


def test_a_process_that_is_stopped_keeps_its_name(tmp_path: Path) -> None:
    """Nobody answers there, and connections wait, more than there is room for."""
    path = str(tmp_path / 's')
    with contextlib.ExitStack() as stack:
        busy = stack.enter_context(socket.socket(socket.AF_UNIX))
        busy.bind(path)
        busy.listen(0)
        waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
        waiting.connect(path)
        with pytest.raises(AddressError, match='another process listens there'):
            unix_sockets.create_listener(path)


# --- whose lane it is --------------------------------------------------------------------------


class Named(uactor.Actor):
    """Tells which one it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def pid(self) -> int:
        return os.getpid()


def construct(name: str, directory: Path, **options: Any) -> Any:
    address = f'unix:{directory}/{name}'
    kind = type('Placed', (Named,), {'_options_': {'address': address, **options}})
    return kind(name)


@pytest.mark.parametrize('by', ['symlink', 'link', 'rename'])
@pytest.mark.parametrize('transport', ['auto', 'grpc'])
def test_a_lane_that_is_put_beside_an_address_leads_nobody_astray(
    tmp_path: Path, transport: str, by: str
) -> None:
    with construct('a', tmp_path, transport=transport) as one, construct('b', tmp_path) as other:
        with contextlib.suppress(FileNotFoundError):
            (tmp_path / 'al').unlink()
        getattr(os, by)(tmp_path / 'bl', tmp_path / 'al')
        assert Named.connect(f'unix:{tmp_path}/a').name() == 'a'
        assert one.name() == 'a'
        assert other.name() == 'b'


def test_an_address_may_have_other_names(tmp_path: Path) -> None:
    (tmp_path / 'real').mkdir()
    (tmp_path / 'alias').symlink_to(tmp_path / 'real')
    with construct('a', tmp_path / 'real'):
        connected: Any = Named.connect(f'unix:{tmp_path}/alias/a')
        assert connected.name() == 'a'
        assert type(connected._manager.connection.link.transport).__name__ == 'LaneTransport'


def test_a_lane_that_a_killed_actor_has_left_does_not_hide_its_successor(tmp_path: Path) -> None:
    first = construct('a', tmp_path)
    process = first._manager.process
    os.kill(first.pid(), signal.SIGKILL)
    process.join()
    with construct('a', tmp_path, transport='grpc'):
        assert os.listdir(tmp_path) == ['a']
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / 'al'))
        assert Named.connect(f'unix:{tmp_path}/a').name() == 'a'
        (tmp_path / 'al').unlink()
    eventually(lambda: not os.listdir(tmp_path))


def test_an_address_beside_which_another_actor_has_a_lane_is_taken(tmp_path: Path) -> None:
    with construct('a', tmp_path) as one:
        (tmp_path / 'a').unlink()  # somebody has cleared up too much
        for transport in ('grpc', 'auto'):
            with pytest.raises(AddressError, match='another process listens there'):
                construct('a', tmp_path, transport=transport)
        assert one.name() == 'a'
    assert os.listdir(tmp_path) == []
