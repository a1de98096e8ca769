"""A process that this one has started, as its owner sees it."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import queue
import select
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from uactor.launch import socket_pair
from uactor.launch.lifeline import (
    ANSWER,
    FAILED,
    READY,
    MessageReader,
    encode_message,
    split_request,
)
from uactor.launch.log_targets import LogTargets
from uactor.runtime.deferred import deferred
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.limits import validate_timeout
from uactor.runtime.locks import Latch, locked
from uactor.runtime.system_errors import is_own
from uactor.runtime.threads import OnDemandThread, attempt, report, start_daemon
from uactor.runtime.timers import timers

log = logging.getLogger('uactor.launch')

_TERM_TIMEOUT_S = 1.0
_HANDLING_TIMEOUT_S = 1.0
"""How long the end of a process waits, at least, for what it has told before, such as log records.
It waits as long as the process itself may take to end, if that is more."""
_READ_BYTES = 1 << 16

no_fork = threading.RLock()
"""Held while this process must not be forked. Nobody waits for another process meanwhile, but for
a new program to begin: it may have been stopped, and forks would hang with it."""

_new_lifelines: set[socket.socket] = set()
"""Both ends of those that have no process yet. A forked child would keep them open."""


@contextlib.contextmanager
def open_lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Make a lifeline whose process is started meanwhile. Children that are forked close it."""
    with no_fork:
        pair = socket.socketpair()
        _new_lifelines.update(pair)
    try:
        yield pair
    finally:
        _new_lifelines.difference_update(pair)


Handler = Callable[['ActorProcess', bytes], 'bytes | None']
"""Takes what an actor process tells its owner, or what it asks, and then returns the answer."""

_handlers: dict[bytes, Handler] = {}
_REQUEST_KINDS: set[bytes] = set()


def handle_messages(kind: bytes, handler: Handler) -> None:
    """Have ``handler`` take the messages of a kind, those of one process in their order.

    It runs on a thread of that process. What it raises is logged.
    """
    _handlers[kind] = handler


def handle_requests(kind: bytes, handler: Handler) -> None:
    """Have ``handler`` answer the questions of a kind; see :func:`handle_messages`.

    What it raises is logged, and the answer is empty then.
    """
    handle_messages(kind, handler)
    _REQUEST_KINDS.add(kind)


class ChildProcess(Protocol):
    """A process that this one has started, by itself or through another one.

    :ivar descriptor: becomes readable when it has ended; None where the system has no such thing.
    """

    pid: int
    descriptor: int | None

    def wait(self) -> int:
        """Wait until it has ended and return its exit status, negative for a signal."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal unless it has ended."""
        ...


class ActorProcess:
    """An actor process, with the methods of :class:`multiprocessing.Process`.

    :ivar name: what it is called, for people.
    :ivar log_targets: for whom its log records are.
    :param lifeline: the owner's end of the socket pair; its closing ends the process.
    :param directory: private directory that it makes for its socket, removed when it has ended.
    :param shutdown_timeout: how long it may take to end in order, in seconds; may be infinity.
    """

    def __init__(
        self,
        process: ChildProcess,
        lifeline: socket.socket,
        name: str,
        directory: str | None,
        shutdown_timeout: float,
        log_targets: LogTargets,
    ) -> None:
        self.name = name
        self.log_targets = log_targets
        self._process = process
        self._lifeline = lifeline
        self._directory = directory
        self._shutdown_timeout = shutdown_timeout
        self._owner_pid = os.getpid()
        self._exited = Latch()
        self._exitcode: int | None = None
        self._is_given_up = False
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._answer: queue.SimpleQueue[tuple[bytes, bytes] | None] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[tuple[bytes, bytes] | None] = queue.SimpleQueue()
        self._all_handled: Latch | None = None  # at the end of the thread that handles messages
        self._on_exit: list[Callable[[], None]] = []
        self._on_ending: list[Callable[[], None]] = []
        deferred.add_user()
        try:
            _processes[process.pid] = self
            OnDemandThread(f'uactor-watch-{name}', self._watch).ensure_running()
        except BaseException:  # in Python 3.12 there are no more threads at exit; KeyboardInterrupt
            _processes.pop(process.pid, None)
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_owned(self) -> bool:
        """Whether this process has started it, and not its parent before a fork."""
        return os.getpid() == self._owner_pid

    @property
    def exitcode(self) -> int | None:
        """Exit status, negative for a signal; None while it is alive."""
        return self._exitcode

    def is_alive(self) -> bool:
        """Tell whether the process has not ended yet."""
        return not self._exited.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended.

        :param timeout: how long at most, in seconds; None or infinity for any time.
        :raises TypeError: when the timeout is no number.
        :raises ValueError: when the timeout is NaN.
        """
        self._exited.wait(validate_timeout(timeout))

    def terminate(self) -> None:
        """Send SIGTERM: the process ends in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def give_up(self) -> None:
        """Kill the process because its start was interrupted; the log need not say so."""
        self._is_given_up = True
        self.kill()

    def _signal(self, number: int) -> None:
        if self.is_owned:
            self._process.send_signal(number)  # unless it has ended

    # --- what it says --------------------------------------------------------------------------

    def begin(self, messages: Sequence[bytes]) -> tuple[bytes, bytes] | None:
        """Send what the process is to be and return kind and data of its answer.

        None when it ends before it answers.
        """
        try:
            for message in messages:
                socket_pair.send_message(self._lifeline, message)
        except (BrokenPipeError, ConnectionResetError) as error:
            if not is_own(error, socket_pair.send_message):
                raise
            log.debug('%s does not listen: %s', self.name, error)
        return self._answer.get()

    def _watch(self) -> bool:
        """Take what the process says until it has ended, and let everybody know of that.

        Who waits in :meth:`join` goes on, whatever fails here.
        """
        self._read_messages()
        exitcode = self._process.wait()
        with self._lock:
            self._exitcode = exitcode
            callbacks, self._on_exit = self._on_exit, []
        attempt('to close a lifeline', self._close_lifeline)
        self._answer.put(None)
        if self._directory is not None:  # a killed process leaves its socket behind
            shutil.rmtree(self._directory, ignore_errors=True)
        if exitcode < 0 and not self._is_given_up:
            attempt('a log record', self._log_signal, -exitcode)
        for callback in callbacks:
            attempt(f'what follows the end of {self.name}', callback)
        _processes.pop(self.pid, None)
        deferred.remove_user()
        is_handled = self._await_handling()
        self._exited.set()
        if not is_handled:
            attempt('a log record', self._log_handling)
        return False

    def _log_signal(self, number: int) -> None:
        log.warning('%s was ended by signal %d', self.name, number)

    def _log_handling(self) -> None:
        log.warning('%s has ended, and what it has told is still being handled', self.name)

    def _await_handling(self) -> bool:
        """Wait, but not for ever, until what the process has told is handled."""
        if self._all_handled is None:
            return True
        self._messages.put(None)
        return self._all_handled.wait(max(_HANDLING_TIMEOUT_S, self._shutdown_timeout))

    def _read_messages(self) -> None:
        """Take messages until the process has ended, or at least its end of the lifeline has.

        A child that the process has left behind may keep that end open. So the process itself is
        watched too, where the system can do that.
        """
        reader, poll = MessageReader(), select.poll()
        descriptor = self._lifeline.fileno()
        if descriptor < 0:  # the start was interrupted, and the process ends
            return
        poll.register(descriptor, select.POLLIN)
        if self._process.descriptor is not None:
            poll.register(self._process.descriptor, select.POLLIN)
        while True:
            ready = [found for found, _ in poll.poll()]
            if descriptor in ready:
                data = self._receive()
                if not data:
                    return
                for kind, content in reader.feed(data):
                    self._dispatch(kind, content)
            elif ready:
                return

    def _receive(self) -> bytes:
        try:
            return self._lifeline.recv(_READ_BYTES)
        except OSError:  # it had not read everything when it ended, or the start was interrupted
            return b''

    def _dispatch(self, kind: bytes, content: bytes) -> None:
        if kind in (READY, FAILED):
            self._answer.put((kind, content))
            return
        if self._all_handled is None:
            self._start_handler_thread()
        if self._all_handled is None:
            self._handle(kind, content)
        else:
            self._messages.put((kind, content))

    def _start_handler_thread(self) -> None:
        """Get a thread for what may take long, so that the end of the process is seen at once."""
        try:
            start_daemon(
                f'uactor-messages-{self.name}', self._handle_messages, all_handled := Latch()
            )
            self._all_handled = all_handled
        except RuntimeError as error:
            log.debug('what %s says is handled where it is received: %s', self.name, error)

    def _handle_messages(self, all_handled: Latch) -> None:
        """Handle messages one after the other. Handlers may run code of the user."""
        try:
            while (message := self._messages.get()) is not None:
                self._handle(*message)
        finally:
            all_handled.set()

    def _handle(self, kind: bytes, content: bytes) -> None:
        number = b''
        if kind in _REQUEST_KINDS:
            number, content = split_request(content)
        answer: bytes | None = b''
        try:
            answer = _handlers[kind](self, content)
        except BaseException:  # also SystemExit: it is not for this thread
            report('what %s said could not be handled', self.name)
        if number:
            with contextlib.suppress(OSError), self._sending:  # it has ended meanwhile
                self._lifeline.sendall(
                    encode_message(ANSWER, number + (answer or b'')), socket_pair.NO_SIGPIPE
                )

    def _close_lifeline(self) -> None:
        with contextlib.suppress(OSError):  # a child that it has left behind may keep its end open
            self._lifeline.shutdown(socket.SHUT_RDWR)
        with self._sending:
            self._lifeline.close()

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the process has ended, on the thread that finds out."""
        if not self._await_exit(callback):
            callback()

    @locked
    def _await_exit(self, callback: Callable[[], None]) -> bool:
        if self._exitcode is None:
            self._on_exit.append(callback)
        return self._exitcode is None

    def on_ending(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` before the process is asked to end. It must be safe in finalizers."""
        self._on_ending.append(callback)

    def request_end(self) -> None:
        """Close the lifeline, upon which the process ends in order. Safe in finalizers."""
        if self.is_owned:
            for callback in self._on_ending:
                callback()
            try:
                self._lifeline.shutdown(socket.SHUT_WR)
            except OSError as error:  # it has ended already
                if not is_own(error):
                    raise
                log.debug('%s has ended already', self.name)

    def end(self) -> None:
        """Have the process end: ask, wait, SIGTERM, SIGKILL."""
        if self.is_owned and self.is_alive():
            log.debug('asking %s (pid %d) to end', self.name, self.pid)
            self.request_end()
            self.await_end(self._shutdown_timeout)

    def await_end(self, timeout: float) -> None:
        """Wait for the end of the process; send SIGTERM and then SIGKILL when it is late."""
        self.join(timeout)
        for number, patience in ((signal.SIGTERM, _TERM_TIMEOUT_S), (signal.SIGKILL, None)):
            if self._exitcode is not None:
                self.join(max(_HANDLING_TIMEOUT_S, self._shutdown_timeout))
                return
            log.warning('%s (pid %d) does not end; sending %s', self.name, self.pid, number.name)
            self._signal(number)
            self.join(patience)

    @contextlib.contextmanager
    def end_after(self, seconds: float) -> Iterator[threading.Event]:
        """Have the process end if the block takes longer than that; the event says so then."""
        expired = threading.Event()

        def end() -> None:
            log.warning('%s (pid %d) takes too long to shut down', self.name, self.pid)
            expired.set()
            self.end()

        if seconds == math.inf:
            yield expired
            return
        timer = timers.at(  # whose thread must not wait for a process
            time.monotonic() + seconds, lambda: start_daemon('uactor-end', end)
        )
        try:
            yield expired
        finally:
            timer.cancel()

    def end_soon(self) -> None:
        """Have the process end without waiting for it."""
        self.request_end()
        if self.is_alive():
            try:
                start_daemon('uactor-end', self.end)
            except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
                log.debug('%s is left to end_all(): %s', self.name, error)

    def __repr__(self) -> str:
        state = 'alive' if self.is_alive() else f'exitcode={self.exitcode}'
        return f'<ActorProcess {self.name} pid={self.pid} {state}>'


_processes: dict[int, ActorProcess] = {}
"""The processes that this one has started and that have not ended."""


def abandon_lifeline(ours: socket.socket) -> None:
    """End a process whose start has failed, by its lifeline.

    If it is being watched already, the thread that does closes the lifeline.
    """
    with contextlib.suppress(OSError):  # the other end has gone
        ours.shutdown(socket.SHUT_RDWR)
    if all(process._lifeline is not ours for process in list(_processes.values())):
        ours.close()


def end_interrupted_start(log_targets: LogTargets) -> None:
    """End the process of a start that did not come to its end, if there is one.

    :param log_targets: those that were made for that start.
    """
    for process in list(_processes.values()):
        if process.log_targets is log_targets:
            process.give_up()
            process.join()


def end_all() -> None:
    """End all processes that this one has started, at the same time."""
    beginning = time.monotonic()
    remaining = list(_processes.values())
    for process in remaining:
        log.debug('asking %s (pid %d) to end', process.name, process.pid)
        process.request_end()
    for process in remaining:
        passed = time.monotonic() - beginning
        process.await_end(max(0.0, process._shutdown_timeout - passed))


def _after_fork_in_child() -> None:
    """Close the lifelines: they are the parent's, and would outlive it here."""
    for process in _processes.values():
        process._lifeline.close()
    for end in _new_lifelines:
        end.close()
    _processes.clear()
    _new_lifelines.clear()
    no_fork.release()


at_fork(no_fork.acquire, no_fork.release, _after_fork_in_child)
