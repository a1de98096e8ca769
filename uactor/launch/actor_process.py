"""An actor process, as its owner sees it."""

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
    LifelineReader,
    encode_message,
    split_request,
)
from uactor.launch.log_targets import LogTargets
from uactor.runtime.deferred import deferred
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.limits import validate_timeout
from uactor.runtime.locks import Latch, synchronized
from uactor.runtime.system_errors import is_own
from uactor.runtime.threads import OnDemandThread, attempt, report, start_daemon
from uactor.runtime.timers import timers

log = logging.getLogger('uactor.launch')

_TERM_TIMEOUT_S = 1.0
_HANDLING_TIMEOUT_S = 1.0
"""How long the owner waits at least, after the end of a process, until the messages of that process
are handled, such as log records. If the process may take longer to end, so may this."""
_READ_BYTES = 1 << 16

no_fork = threading.RLock()
"""Held while this process must not be forked. A thread that holds it never waits for another
process, except for a new program to begin: that process may be stopped, and forks would hang."""

_new_lifelines: set[socket.socket] = set()
"""Both ends of the lifelines without a process yet. A forked child would keep them open."""


@contextlib.contextmanager
def open_lifeline() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Open a lifeline while its process is started.

    Children that are forked meanwhile close it.
    """
    with no_fork:
        pair = socket.socketpair()
        _new_lifelines.update(pair)
    try:
        yield pair
    finally:
        _new_lifelines.difference_update(pair)


Handler = Callable[['ActorProcess', bytes], 'bytes | None']
"""Handles a message of an actor process, or a request, to which it returns the answer."""

_handlers: dict[bytes, Handler] = {}
_REQUEST_KINDS: set[bytes] = set()


def handle_messages(kind: bytes, handler: Handler) -> None:
    """Register the handler for a kind of messages.

    It gets the messages of a process in their order, on a thread for that process. Its exceptions
    are logged.
    """
    _handlers[kind] = handler


def handle_requests(kind: bytes, handler: Handler) -> None:
    """Register the handler for a kind of requests; see :func:`handle_messages`.

    If it raises, the exception is logged, and the answer is empty.
    """
    handle_messages(kind, handler)
    _REQUEST_KINDS.add(kind)


class ChildProcess(Protocol):
    """A process that this one has started, directly or by a template.

    :ivar descriptor: becomes readable when the process ends; None if the system has no pidfds.
    """

    pid: int
    descriptor: int | None

    def wait(self) -> int:
        """Wait for its end and return its exit status.

        The status is negative if a signal has ended the process.
        """
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal unless it has ended."""
        ...


class ActorProcess:
    """An actor process, with the methods of :class:`multiprocessing.Process`.

    :ivar name: its name in log records.
    :ivar log_targets: the handlers and loggers that get its log records.
    :param lifeline: the owner's end of the socket pair; closing it ends the process.
    :param directory: the private directory that it creates for its socket. It is removed when the
        process has ended.
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
        """Whether this process has started it.

        It is false in a forked child, whose parent has started it.
        """
        return os.getpid() == self._owner_pid

    @property
    def exitcode(self) -> int | None:
        """Exit status, negative for a signal; None while it is alive."""
        return self._exitcode

    def is_alive(self) -> bool:
        """Return whether the process is alive."""
        return not self._exited.is_set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the process has ended.

        :param timeout: how long at most, in seconds; None or infinity for any time.
        :raises TypeError: if the timeout is not a number.
        :raises ValueError: if the timeout is NaN.
        """
        self._exited.wait(validate_timeout(timeout))

    def terminate(self) -> None:
        """Send SIGTERM, upon which the process ends in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def give_up(self) -> None:
        """Kill the process because its start was interrupted, without a log record."""
        self._is_given_up = True
        self.kill()

    def _signal(self, number: int) -> None:
        if self.is_owned:
            self._process.send_signal(number)  # unless it has ended

    # --- its messages --------------------------------------------------------------------------

    def begin(self, messages: Sequence[bytes]) -> tuple[bytes, bytes] | None:
        """Send the first messages and return kind and data of the answer.

        The answer is None when the process ends before it answers.
        """
        try:
            for message in messages:
                socket_pair.send_message(self._lifeline, message)
        except (BrokenPipeError, ConnectionResetError) as error:
            if not is_own(error, socket_pair.send_message):
                raise
            log.debug('%s does not read: %s', self.name, error)
        return self._answer.get()

    def _watch(self) -> bool:
        """Read messages until the process has ended, and then publish its end.

        Threads in :meth:`join` wake up even if a step in here fails.
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
        log.warning('%s has ended, and its last messages are still being handled', self.name)

    def _await_handling(self) -> bool:
        """Wait for the process's messages to be handled, for a limited time."""
        if self._all_handled is None:
            return True
        self._messages.put(None)
        return self._all_handled.wait(max(_HANDLING_TIMEOUT_S, self._shutdown_timeout))

    def _read_messages(self) -> None:
        """Read until the process ends or closes its end of the lifeline.

        A child that the process leaves behind may keep that end open. So this watches the process
        itself, too, where the system has pidfds.
        """
        reader, poll = LifelineReader(), select.poll()
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
        except OSError:  # it ended with data unread, or the start was interrupted
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
        """Start a thread for slow handlers.

        They would otherwise hide the end of the process.
        """
        try:
            start_daemon(
                f'uactor-messages-{self.name}', self._handle_messages, all_handled := Latch()
            )
            self._all_handled = all_handled
        except RuntimeError as error:
            log.debug('messages of %s are handled where they are read: %s', self.name, error)

    def _handle_messages(self, all_handled: Latch) -> None:
        """Handle messages one after the other.

        Handlers may run code of the program.
        """
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
        except BaseException:  # also SystemExit, which must not end this thread
            report('a message of %s could not be handled', self.name)
        if number:
            with contextlib.suppress(OSError), self._sending:  # it has ended meanwhile
                self._lifeline.sendall(
                    encode_message(ANSWER, number + (answer or b'')), socket_pair.NO_SIGPIPE
                )

    def _close_lifeline(self) -> None:
        with contextlib.suppress(OSError):  # a child that it leaves behind may keep its end open
            self._lifeline.shutdown(socket.SHUT_RDWR)
        with self._sending:
            self._lifeline.close()

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the process has ended.

        The thread that watches the process calls it. After the end, this thread does so at once.
        """
        if not self._await_exit(callback):
            callback()

    @synchronized
    def _await_exit(self, callback: Callable[[], None]) -> bool:
        if self._exitcode is None:
            self._on_exit.append(callback)
        return self._exitcode is None

    def on_ending(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` before the end is requested.

        It must be safe in finalizers.
        """
        self._on_ending.append(callback)

    def request_end(self) -> None:
        """Shut the lifeline down, upon which the process ends in order.

        This is safe in finalizers.
        """
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
        """End the process: request it, wait, send SIGTERM, send SIGKILL."""
        if self.is_owned and self.is_alive():
            log.debug('requesting the end of %s (pid %d)', self.name, self.pid)
            self.request_end()
            self.await_end(self._shutdown_timeout)

    def await_end(self, timeout: float) -> None:
        """Wait for the end of the process.

        When it is late, send SIGTERM and then SIGKILL.
        """
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
        """End the process if the block takes longer.

        The event that is yielded is set then.
        """
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
        """Request the end of the process without waiting for it."""
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
"""The actor processes of this process that have not ended."""


def abandon_lifeline(ours: socket.socket) -> None:
    """End a process whose start has failed, by its lifeline.

    If a thread watches the process already, that thread closes the lifeline.
    """
    with contextlib.suppress(OSError):  # the other end has gone
        ours.shutdown(socket.SHUT_RDWR)
    if all(process._lifeline is not ours for process in list(_processes.values())):
        ours.close()


def end_interrupted_start(log_targets: LogTargets) -> None:
    """End the process of an interrupted start, if it exists.

    :param log_targets: the object that was created for that start.
    """
    for process in list(_processes.values()):
        if process.log_targets is log_targets:
            process.give_up()
            process.join()


def end_all() -> None:
    """End all actor processes of this process at the same time."""
    beginning = time.monotonic()
    remaining = list(_processes.values())
    for process in remaining:
        log.debug('requesting the end of %s (pid %d)', process.name, process.pid)
        process.request_end()
    for process in remaining:
        passed = time.monotonic() - beginning
        process.await_end(max(0.0, process._shutdown_timeout - passed))


def _after_fork_in_child() -> None:
    """Close the parent's lifelines, which would otherwise stay open after its end."""
    for process in _processes.values():
        process._lifeline.close()
    for end in _new_lifelines:
        end.close()
    _processes.clear()
    _new_lifelines.clear()
    no_fork.release()


at_fork(no_fork.acquire, no_fork.release, _after_fork_in_child)
