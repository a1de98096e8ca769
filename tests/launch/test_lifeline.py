"""What actor processes and their owners say to each other beside calls."""

from __future__ import annotations

import itertools
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support import Actor
from uactor.errors import ActorDiedError
from uactor.launch import actor_process, lifeline
from uactor.launch.actor_process import ActorProcess
from uactor.launch.lifeline import LifelineReader, encode_message

MESSAGES = [(b'a', b''), (b'b', b'x'), (b'c', b'y' * 300), (b'a', b'\0')]


@pytest.mark.parametrize('size', [1, 2, 8, 9, 10, 11, 100, 1000])
def test_messages_are_cut_out_of_bytes_however_they_come(size: int) -> None:
    data = b''.join(itertools.starmap(encode_message, MESSAGES))
    reader = LifelineReader()
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    assert [found for part in parts for found in reader.feed(part)] == MESSAGES


class Talker(Actor):
    """Talks to its owner."""

    def tell(self, kind: bytes, *words: bytes) -> None:
        for word in words:
            self._lifeline().send(kind, word)

    def ask(self, kind: bytes, word: bytes) -> bytes:
        return self._lifeline().request(kind, word)

    def pid(self) -> int:
        return os.getpid()

    @staticmethod
    def _lifeline() -> lifeline.Lifeline:
        found = lifeline.get_current()
        assert found is not None
        return found


@pytest.fixture
def told() -> queue.SimpleQueue[bytes]:
    """What actors say; they are answered in upper case, if they ask for that."""
    found: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def answer(sender: ActorProcess, word: bytes) -> bytes:
        if word == b'fail':
            raise SystemExit('on purpose')
        return word.upper()

    actor_process.handle_messages(b't', lambda sender, word: found.put(word))
    actor_process.handle_requests(b'q', answer)
    return found


def test_an_ordinary_process_has_no_lifeline() -> None:
    assert lifeline.get_current() is None


def test_messages_of_an_actor_come_in_their_order(told: queue.SimpleQueue[bytes]) -> None:
    words = [b'%d' % number * 1000 for number in range(500)]
    with Talker() as talker:
        talker.tell(b't', *words)
        assert [told.get(timeout=10) for _ in words] == words


def test_messages_of_an_actor_have_been_handled_when_it_has_ended(
    told: queue.SimpleQueue[bytes],
) -> None:
    with Talker() as talker:
        talker.tell(b't', b'last')
    assert told.get_nowait() == b'last'


def test_questions_of_several_threads_get_their_own_answers(
    told: queue.SimpleQueue[bytes],
) -> None:
    talker: Any = Talker()
    with talker:
        words = [b'word %d' % number for number in range(100)]
        asked: list[Any] = [talker.ask.future(b'q', word) for word in words]
        assert [one.result() for one in asked] == [word.upper() for word in words]


@pytest.mark.parametrize('kind', [b'q', b'?'])
def test_a_handler_that_fails_leaves_those_after_it_alone(
    kind: bytes, told: queue.SimpleQueue[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with Talker() as talker:
        if kind == b'q':
            assert talker.ask(b'q', b'fail') == b''
        else:
            talker.tell(kind, b'of a kind that nobody handles')
        assert talker.ask(b'q', b'word') == b'WORD'
    assert 'could not be handled' in caplog.text


def test_a_question_ends_with_the_owner(told: queue.SimpleQueue[bytes]) -> None:
    ours, theirs = socket.socketpair()
    line = lifeline.Lifeline(theirs)
    server = threading.Thread(target=line.deliver_answers)
    server.start()

    def hang_up() -> None:
        ours.recv(100)
        ours.close()

    threading.Thread(target=hang_up).start()
    with theirs, pytest.raises(ActorDiedError) as raised:
        line.request(b'q', b'word')
    server.join()
    assert raised.value.executed == 'no'
    with pytest.raises(ActorDiedError):
        line.request(b'q', b'word')


def end_by_signal(talker: Any) -> None:
    os.kill(talker.pid(), signal.SIGKILL)


@pytest.mark.parametrize('end', [end_by_signal, lambda talker: talker.shutdown()])
def test_the_end_of_a_process_is_seen_while_a_handler_takes_its_time(
    end: Callable[[Any], None], told: queue.SimpleQueue[bytes]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait(sender: ActorProcess, word: bytes) -> None:
        begun.set()
        go_on.wait(30)

    actor_process.handle_messages(b't', wait)
    talker = Talker()
    talker.tell(b't', b'word')
    assert begun.wait(10)
    end(talker)
    talker._manager.join(10)
    assert not talker._manager.process.is_alive()
    go_on.set()
