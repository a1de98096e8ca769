"""The brake of the tests: a program that multiplies its processes is ended, and fails its test."""

from __future__ import annotations

import pathlib
import signal
import sys

import pytest

from tests.support import brake, eventually, is_running
from tests.support.peers import Peer
from tests.support.programs import get_output, run_python

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='the brake needs Linux')

CHAIN = """
import os, subprocess, sys, time
pids, depth = sys.argv[1], int(sys.argv[2])
with open(pids, 'a') as file:
    print(os.getpid(), file=file)
if depth:
    words = [sys.executable, '-S', '-c', {code}, pids, str(depth - 1)]
    child = subprocess.Popen(words, env={environment}, start_new_session=True)
{end}
"""
"""Starts itself again; the outermost brake is the depth."""


def chain(environment: str, end: str) -> str:
    code = 'sys.orig_argv[sys.orig_argv.index("-c") + 1]'
    return CHAIN.format(code=code, environment=environment, end=end)


def running(pids: pathlib.Path) -> list[int]:
    return [int(pid) for pid in pids.read_text().split() if is_running(int(pid))]


@pytest.mark.parametrize('environment', ['os.environ', '{}'])
def test_a_program_whose_processes_multiply_is_ended(
    environment: str, tmp_path: pathlib.Path
) -> None:
    pids = tmp_path / 'pids'
    with pytest.raises(AssertionError, match='which may have 4'):
        run_python('-S', '-c', chain(environment, 'time.sleep(50)'), str(pids), '40', most=4)
    eventually(lambda: not running(pids))


def test_processes_that_multiply_and_leave_their_parents_are_ended(tmp_path: pathlib.Path) -> None:
    pids = tmp_path / 'pids'
    end = 'if depth < 40: time.sleep(50)'
    with pytest.raises(AssertionError, match='which may have 4'):
        run_python('-S', '-c', chain('os.environ', end), str(pids), '40', most=4)
    eventually(lambda: not running(pids))


def test_a_program_with_as_many_processes_as_it_may_have_is_left_alone(
    tmp_path: pathlib.Path,
) -> None:
    end = f'child.wait() if depth else time.sleep({3 * brake.PERIOD_S})'  # the guard looks
    get_output(
        run_python('-S', '-c', chain('os.environ', end), str(tmp_path / 'pids'), '3', most=4)
    )


def test_a_peer_whose_processes_multiply_says_so() -> None:
    body = """
    import time
    for _ in range(20):  # its own brake
        if not os.fork():
            time.sleep(50)
            os._exit(0)
    time.sleep(50)
    """
    with Peer(body, most=10) as peer, pytest.raises(AssertionError, match='which may have 10'):
        peer.read_line()


def test_a_process_that_is_left_ends_with_pytest(tmp_path: pathlib.Path) -> None:
    """Also when pytest is killed."""
    body = """
    from tests.support import brake
    del os.environ[brake.VARIABLE]
    brake.begin(is_worker=False, grace=0.5)
    import subprocess
    say(subprocess.Popen(['sleep', '50'], start_new_session=True).pid)
    listen()
    """
    with Peer(body) as peer:
        pid = int(peer.read_line())
        peer.kill(signal.SIGKILL)
    eventually(lambda: not is_running(pid), timeout=10)
