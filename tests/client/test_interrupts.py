"""A signal handler may raise between any two bytecodes: that goes through, and all recovers."""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import itertools
import os
import pathlib
import queue
import random
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import uactor
from tests.support import LAUNCHERS, TRANSPORT, Actor, descendants, eventually
from tests.support.interrupts import Interrupter, Interruption, in_thread, nothing_swallowed
from uactor.launch import template_server
from uactor.launch.template import templates
from uactor.runtime.locks import Latch
from uactor.transport import segments

pytestmark = [pytest.mark.pythons('where a signal handler runs')]


STRIDE = 61
"""Of so many bytecodes one is tried in the normal run. A prime: others might meet a loop."""

KEEN = 300
"""After so many small calls in a row a lane has a board, and looks there first."""


class Recorder(Actor):
    """Notes each call that it runs."""

    _method_to_typeid_ = {'shelf': 'list'}
    _exposed_ = (
        *('record', 'records', 'shelf', 'shelves', 'generate', 'queue', 'lock', 'event', 'mark'),
        *('nap', 'last', 'weigh'),
    )

    def __init__(self) -> None:
        self.mark = 0
        self._records: list[Any] = []
        self._shelves: list[list[Any]] = []
        self._queue: queue.Queue[Any] = queue.Queue()
        self._lock = threading.Lock()
        self._event = threading.Event()

    def record(self, ident: Any) -> Any:
        self._records.append(ident)
        return ident

    def weigh(self, ident: Any, data: bytearray) -> Any:
        self._records.append(ident)
        return ident, data

    def records(self) -> list[Any]:
        return self._records

    def last(self) -> int:
        return len(self._records)

    def nap(self, ident: Any, seconds: float) -> Any:
        time.sleep(seconds)
        self._records.append(ident)
        return ident

    def shelf(self, ident: Any) -> list[Any]:
        self._records.append(ident)
        return [ident]

    def generate(self, ident: Any) -> Iterator[Any]:
        self._records.append(ident)
        for number in range(3):
            yield ident, number

    def queue(self) -> Any:
        return uactor.proxy(self._queue, 'Queue')

    def lock(self) -> Any:
        return uactor.proxy(self._lock, 'Lock')

    def event(self) -> Any:
        return uactor.proxy(self._event, 'Event')


class Known:
    """Travels as a pickle."""

    def __init__(self, ident: int) -> None:
        self.ident = ident

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Known) and self.ident == other.ident

    def __hash__(self) -> int:
        return hash(self.ident)


class Calls:
    """What one can ask of a recorder. Each takes a number of the call, and returns it."""

    def __init__(self, recorder: Any) -> None:
        self.recorder = recorder
        self.lock = recorder.lock()
        self.queue = recorder.queue()
        self.event = recorder.event()
        self.event.set()

    def plain(self, ident: int) -> Any:
        return self.recorder.record(ident)

    def pickled(self, ident: int) -> Any:
        return self.recorder.record(Known(ident)).ident

    def large(self, ident: int) -> Any:
        return self.recorder.record((ident, bytearray(1 << 18)))[0]

    def lending(self, ident: int) -> Any:
        return self.recorder.weigh(ident, bytearray(1 << 20))[0]

    def lending_future(self, ident: int) -> Any:
        return self.recorder.weigh.future(ident, bytearray(1 << 20)).result()[0]

    def timed(self, ident: int) -> Any:
        return self.recorder.record.options(timeout=20)(ident)

    def future(self, ident: int) -> Any:
        return self.recorder.record.future(ident).result()

    def mapped(self, ident: int) -> Any:
        (value,) = self.recorder.record.map([ident])
        return value

    def stream(self, ident: int) -> Any:
        *_, (value, _) = self.recorder.generate.stream(ident)
        return value

    def shelf(self, ident: int) -> Any:
        return self.recorder.shelf(ident)[0]

    def attribute(self, ident: int) -> Any:
        self.recorder.mark = ident
        return self.recorder.mark

    def queue_get(self, ident: int) -> Any:
        self.queue.put(ident)
        found = self.queue.get()
        while found != ident:  # what was put, and not taken out, when a call was interrupted
            found = self.queue.get()
        return found

    def lock_pair(self, ident: int) -> Any:
        try:
            with self.lock:
                return ident
        except Interruption:  # the lock is this thread's, unless that has lost its session
            with contextlib.suppress(RuntimeError):
                self.lock.release()
            raise

    def take_lock(self) -> None:
        assert self.lock.acquire(timeout=10), 'a lock was not given back'
        self.lock.release()

    def event_wait(self, ident: int) -> Any:
        return self.event.wait(10) and ident


UNUSUAL = frozenset(['queue_get', 'lock_pair', 'event_wait', 'attribute'])
"""Those that are not recorded."""

NAMES = [name for name in vars(Calls) if not name.startswith('_') and name != 'take_lock']


@pytest.fixture(scope='module')
def recorder() -> Iterator[Any]:
    with Recorder() as recorder:
        yield recorder


def _flat(records: list[Any]) -> list[Any]:
    """Return the numbers of calls, whatever form they had."""
    known = (one[0] if isinstance(one, tuple) else one for one in records)
    return [one.ident if isinstance(one, Known) else one for one in known]


_numbers = itertools.count(1)


def _interrupt_everywhere(
    call: Callable[[int], Any],
    recorder: Any,
    stride: int,
    before: Callable[[], object] = lambda: None,
    kind: type[BaseException] = Interruption,
) -> set[int]:
    """Interrupt a call at one of ``stride`` bytecodes, each time another one; return its numbers.

    Every time what was raised comes out, nothing is swallowed, and both this thread and another
    one get the right answer to what they ask next.
    """
    idents = set()
    for at in itertools.count(1 + random.Random(stride).randrange(stride), stride):
        before()
        ident = next(_numbers)
        idents.add(ident)
        interrupter = Interrupter(at, kind)
        with nothing_swallowed() as swallowed:
            try:
                with interrupter:
                    value = call(ident)
            except kind as error:
                assert error is interrupter.raised, interrupter.place
            except BaseException as error:
                raise AssertionError(f'{error!r} after {interrupter.place}') from error
            else:
                assert interrupter.raised is None, f'swallowed at {interrupter.place}'
                assert value == ident
                del value
            assert sys.exc_info() == (None, None, None), interrupter.place
            following = next(_numbers)
            try:
                assert recorder.record(following) == following, interrupter.place
                if at % 5 == 0:
                    other = next(_numbers)
                    answer = in_thread(functools.partial(recorder.record, other))
                    assert answer == other, interrupter.place
            except Exception as error:
                raise AssertionError(f'{error!r} after {interrupter.place}') from error
        assert not swallowed, interrupter.place
        interrupter.forget_frames()
        if interrupter.raised is None:
            return idents
    raise AssertionError


def _check_ledger(recorder: Any) -> None:
    records = _flat(in_thread(recorder.records))
    assert len(records) == len(set(records)), 'a call has run twice'


def _strides(*scenarios: Any) -> list[Any]:
    return [
        *(pytest.param(STRIDE, one, id=str(one)) for one in scenarios),
        *(pytest.param(1, one, id=f'{one}-all', marks=pytest.mark.soak) for one in scenarios),
    ]


@pytest.mark.parametrize(('stride', 'name'), _strides(*NAMES))
def test_an_exception_at_any_bytecode_of_a_call_goes_through(
    recorder: Any, stride: int, name: str
) -> None:
    calls = Calls(recorder)
    call = getattr(calls, name)
    call(next(_numbers))
    _interrupt_everywhere(call, recorder, stride)
    _check_ledger(recorder)
    in_thread(calls.take_lock)


@pytest.mark.parametrize(('stride', 'name'), _strides('plain', 'attribute'))
def test_also_once_calls_come_so_fast_that_messages_are_looked_for(
    recorder: Any, stride: int, name: str
) -> None:
    def before() -> None:
        for _ in range(KEEN):
            recorder.last()

    _interrupt_everywhere(getattr(Calls(recorder), name), recorder, 7 * stride, before)
    _check_ledger(recorder)


@pytest.mark.parametrize(('stride', 'name'), _strides('plain', 'future'))
def test_also_while_a_session_opens(recorder: Any, stride: int, name: str) -> None:
    calls = Calls(recorder)

    def on_new_connection(ident: int) -> Any:
        with_own = Recorder.connect(recorder.connection_address, None)
        return with_own.record(ident)

    call = on_new_connection if name == 'plain' else calls.future
    _interrupt_everywhere(call, recorder, 3 * stride)
    _check_ledger(recorder)


def _storm(
    call: Callable[[int], Any], count: int, seed: int, swallowed: list[Any]
) -> tuple[set[int], set[int]]:
    """Interrupt calls by real signals at random moments; return those that did and didn't return.

    So many signals come. What the handler raises comes out of the call, unchanged, each time.
    """
    moments = random.Random(seed)
    returned, interrupted, raised = set[int](), set[int](), list[Interruption]()

    def late(*_: object) -> None:
        raised.append(Interruption(errno.ECONNRESET, 'too late'))
        raise raised[-1]

    usual = signal.signal(signal.SIGALRM, late)
    longest = 200e-6
    try:
        while len(raised) < count:
            ident, before = next(_numbers), len(raised)
            try:
                signal.setitimer(signal.ITIMER_REAL, moments.uniform(10e-6, longest))
                try:
                    assert call(ident) == ident
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Interruption as error:
                assert error is raised[-1]
                interrupted.add(ident)
                longest = max(100e-6, longest * 0.95)
            else:
                assert len(raised) == before, f'an exception was swallowed: {swallowed}'
                returned.add(ident)
                longest = min(20e-3, longest * 1.1)  # about every other call is interrupted
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)
    return returned, interrupted


@pytest.mark.parametrize('count', [10, pytest.param(2500, marks=pytest.mark.soak)])
@pytest.mark.parametrize('name', ['plain', 'large', 'shelf', 'timed'])
def test_a_ledger_of_calls_holds_under_real_signals(recorder: Any, name: str, count: int) -> None:
    """No call is run twice, none of those that returned not at all, and nothing is swallowed."""
    calls = Calls(recorder)
    with nothing_swallowed() as swallowed:
        call = getattr(calls, name)
        returned, interrupted = _storm(call, count, seed=count, swallowed=swallowed)
    assert not swallowed
    ran = _flat(in_thread(recorder.records))
    assert len(ran) == len(set(ran)), 'a call has run twice'
    assert returned <= set(ran)
    assert not returned & interrupted
    following = next(_numbers)
    assert in_thread(lambda: calls.plain(following)) == following


@pytest.mark.skipif(TRANSPORT != 'unix', reason='on the lane data is lent')
@pytest.mark.parametrize('stride', [STRIDE, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize('name', ['lending', 'lending_future'])
def test_no_interrupted_call_keeps_memory_lent(recorder: Any, name: str, stride: int) -> None:
    """Else so many are lent after a while that large data is copied into all messages."""
    call = getattr(Calls(recorder), name)
    call(next(_numbers))
    _interrupt_everywhere(call, recorder, stride)
    call(next(_numbers))

    gc.collect()
    eventually(lambda: segments.pool.counts()[1] == 0)


_BY_SESSIONS = (
    *('client/session.py', 'client/lane_transport.py'),
    'transport/',
)
"""Where an answer is on its way. After that it is the caller's, as what a function returns is."""


@pytest.mark.skipif(TRANSPORT != 'unix', reason='gRPC drops what a client sends last')
@pytest.mark.parametrize('stride', [7, pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize('name', ['lock', 'queue'])
def test_a_lock_or_item_of_an_interrupted_call_is_given_back(
    recorder: Any, name: str, stride: int
) -> None:
    calls = Calls(recorder)
    if name == 'lock':
        take, put = calls.lock.acquire, calls.lock.release
    else:
        take, put = calls.queue.get, functools.partial(calls.queue.put, 1)
        put()
    tried, lost = 0, []
    for at in itertools.count(1 + random.Random(stride).randrange(stride), stride):
        interrupter = Interrupter(at)
        try:
            with interrupter:
                take()
        except Interruption:
            tried += 1
            try:
                taken = in_thread(functools.partial(take, timeout=1.0))
            except queue.Empty:
                taken = False
            if not taken and interrupter.place.startswith(_BY_SESSIONS):
                lost.append(interrupter.place)
        put()
        interrupter.forget_frames()
        if interrupter.raised is None:
            break
    with contextlib.suppress(queue.Empty):
        take(timeout=0.0)
    if name == 'lock':
        put()
    assert tried > 10
    # Where something has been sent, or received, and isn't known to be yet.
    assert len(lost) <= 1 + tried // 100, lost


def test_an_alarm_limits_a_call_of_an_actor_that_lives_on(recorder: Any) -> None:
    def late(*_: object) -> None:
        raise TimeoutError('too late')

    usual = signal.signal(signal.SIGALRM, late)
    try:
        for call in (
            lambda: recorder.nap(0, 0.5),
            lambda: recorder.nap.options(timeout=20)(0, 0.5),
            lambda: recorder.nap.future(0, 0.5).result(),
            lambda: next(iter(recorder.nap.map([0], [0.5]))),
            lambda: recorder.queue().get(),
        ):
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(TimeoutError, match='too late') as caught:
                call()
            assert type(caught.value) is TimeoutError
            number = next(_numbers)
            assert recorder.record(number) == number
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


def _start_interrupted_after(seconds: float) -> tuple[float, bool]:
    """Start an actor, and interrupt that after a while; return how long it took, and whether."""

    def late(*_: object) -> None:
        raise Interruption('too late')

    usual = signal.signal(signal.SIGALRM, late)
    beginning = time.monotonic()
    interrupted = False
    try:
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds)
            try:
                with Recorder() as started:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    assert started.record(1) == 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except Interruption:
            interrupted = True
    finally:
        signal.signal(signal.SIGALRM, usual)
    return time.monotonic() - beginning, interrupted


@pytest.mark.parametrize('function', ['os.listdir', 'os.get_inheritable', 'os.pidfd_open'])
def test_an_exception_of_a_signal_handler_comes_out_of_a_start(
    function: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the errors of system calls are expected, and passed over."""
    name = function.partition('.')[2]
    real: Any = getattr(os, name)
    fired: list[str] = []

    def interrupted(*args: Any, **kwargs: Any) -> Any:
        if not fired:
            fired.append(function)
            signal.raise_signal(signal.SIGALRM)
        return real(*args, **kwargs)

    def late(*_: object) -> None:
        raise Interruption('too late')

    with Recorder() as started:
        assert started.record(1) == 1
    usual = signal.signal(signal.SIGALRM, late)
    # A directory that has not been looked through, a template that has not been started.
    monkeypatch.syspath_prepend(tmp_path)
    templates.end_all()
    template_server.is_possible.cache_clear()
    try:
        monkeypatch.setattr(os, name, interrupted)
        with pytest.raises(Interruption):
            Recorder()
    finally:
        signal.signal(signal.SIGALRM, usual)
    assert fired
    with Recorder() as started:
        assert started.record(1) == 1


def _process_descriptors() -> int:
    links = list(Path('/proc/self/fd').iterdir())
    return sum('pidfd' in str(link.readlink()) for link in links if os.path.lexists(link))


@pytest.mark.parametrize('launcher', LAUNCHERS)
@pytest.mark.parametrize('times', [5, pytest.param(300, marks=pytest.mark.soak)])
def test_an_alarm_during_a_start_leaves_no_process(
    launcher: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('UACTOR_LAUNCH', launcher)
    moments = random.Random(times)
    _start_interrupted_after(60)  # the first one may begin a template, too
    took, _ = _start_interrupted_after(60)
    before = {process.pid for process in descendants()}
    have = _process_descriptors()
    count = 0
    while count < times:
        _, interrupted = _start_interrupted_after(moments.uniform(1e-3, took))
        count += interrupted
        if not interrupted:  # the one that was measured took longer than most
            took = max(2e-3, took * 0.8)
    _, interrupted = _start_interrupted_after(60)
    assert not interrupted
    eventually(lambda: {process.pid for process in descendants()} <= before, timeout=30)
    gc.collect()
    eventually(lambda: _process_descriptors() <= have)


def test_a_latch_keeps_nothing_of_those_who_have_given_up_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []
    make, latch = threading.Lock, Latch()

    def noted() -> Any:
        lock = make()
        made.append(weakref.ref(lock))
        return lock

    with monkeypatch.context() as patch:
        patch.setattr(threading, 'Lock', noted)
        assert not latch.wait(0)
    gc.collect()
    assert made
    assert [reference() for reference in made] == [None] * len(made)
