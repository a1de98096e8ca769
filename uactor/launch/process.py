"""A process that this one has started, as its owner sees it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from uactor.forked import at_fork
from uactor.launch import frames
from uactor.reaper import reaper

log = logging.getLogger(__name__)

_TERM_TIMEOUT = 1.0

no_fork = threading.RLock()
"""Held while this process must not be forked. A child that is forked between the making of a
lifeline and its registration would keep it open."""


class Child(Protocol):
    """A process that this one has started, by itself or through another one."""

    pid: int

    def wait(self) -> int:
        """Wait until it has ended and return its exit status, negative for a signal."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal unless it has ended."""
        ...


class ActorProcess:
    """An actor process, with the methods of :class:`multiprocessing.Process`.

    :ivar name: what it is called, for people.
    :param lifeline: the owner's end of the socket pair; its closing ends the process.
    :param directory: private directory that it makes for its socket, removed when it has ended.
    :param shutdown_timeout: how long it may take to end in order, in seconds.
    """

    def __init__(
        self,
        process: Child,
        lifeline: socket.socket,
        name: str,
        directory: str | None,
        shutdown_timeout: float,
    ) -> None:
        self.name = name
        self._process = process
        self._lifeline = lifeline
        self._directory = directory
        self._shutdown_timeout = shutdown_timeout
        self._owner_pid = os.getpid()
        self._exited = threading.Event()
        self._exitcode: int | None = None
        self._lock = threading.Lock()
        self._conversing = threading.Lock()
        self._on_exit: list[Callable[[], None]] = []
        self._on_ending: list[Callable[[], None]] = []
        reaper.opened()
        _processes[process.pid] = self
        try:
            threading.Thread(target=self._watch, name=f'uactor-watch-{name}', daemon=True).start()
        except BaseException:  # in Python 3.12 there are no more threads at exit; KeyboardInterrupt
            _processes.pop(process.pid, None)
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def owned(self) -> bool:
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

        :param timeout: how long at most, in seconds.
        """
        self._exited.wait(timeout)

    def terminate(self) -> None:
        """Send SIGTERM: the process ends in order."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.owned:
            self._process.send_signal(number)  # unless it has ended

    def converse(self, messages: Sequence[bytes]) -> bytes | None:
        """Send ``messages`` over the lifeline and return the answer, or None if none comes."""
        with self._conversing:
            try:
                for message in messages:
                    frames.send(self._lifeline, message)
                return frames.receive(self._lifeline)
            except OSError as error:
                log.debug('%s does not listen: %s', self.name, error)
                return None

    def _watch(self) -> None:
        exitcode = self._process.wait()
        with self._lock:
            self._exitcode = exitcode
            callbacks, self._on_exit = self._on_exit, []
        self._hang_up()
        if self._directory is not None:  # a killed process leaves its socket behind
            shutil.rmtree(self._directory, ignore_errors=True)
        if exitcode < 0:
            log.warning('%s was ended by signal %d', self.name, -exitcode)
        for callback in callbacks:
            callback()
        _processes.pop(self.pid, None)
        reaper.closed()
        self._exited.set()

    def _hang_up(self) -> None:
        """Close the lifeline, once the answer of a process that has ended has been read."""
        with contextlib.suppress(OSError):  # a child that it has left behind may keep its end open
            self._lifeline.shutdown(socket.SHUT_RDWR)
        with self._conversing:
            self._lifeline.close()

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the process has ended, on the thread that finds out."""
        with self._lock:
            if self._exitcode is None:
                self._on_exit.append(callback)
                return
        callback()

    def on_ending(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` before the process is asked to end. It must be safe in finalizers."""
        self._on_ending.append(callback)

    def ask_to_end(self) -> None:
        """Close the lifeline, upon which the process ends in order. Safe in finalizers."""
        if self.owned:
            for callback in self._on_ending:
                callback()
            try:
                self._lifeline.shutdown(socket.SHUT_WR)
            except OSError:  # it has ended already
                log.debug('%s has ended already', self.name)

    def end(self) -> None:
        """Have the process end: ask, wait, SIGTERM, SIGKILL."""
        if self.owned and self.is_alive():
            log.debug('asking %s (pid %d) to end', self.name, self.pid)
            self.ask_to_end()
            self._see_it_end(self._shutdown_timeout)

    def _see_it_end(self, timeout: float) -> None:
        self.join(timeout)
        for number, patience in ((signal.SIGTERM, _TERM_TIMEOUT), (signal.SIGKILL, None)):
            if not self.is_alive():
                return
            log.warning('%s (pid %d) does not end; sending %s', self.name, self.pid, number.name)
            self._signal(number)
            self.join(patience)

    @contextlib.contextmanager
    def limited(self, seconds: float) -> Iterator[threading.Event]:
        """Have the process end if the block takes longer than that; the event says so then."""
        expired = threading.Event()

        def end() -> None:
            log.warning('%s (pid %d) takes too long to shut down', self.name, self.pid)
            expired.set()
            self.end()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield expired
        finally:
            timer.cancel()

    def end_soon(self) -> None:
        """Have the process end without waiting for it. Safe in finalizers."""
        self.ask_to_end()
        reaper.put(self._end_elsewhere)

    def _end_elsewhere(self) -> None:
        if self.is_alive():
            try:
                threading.Thread(target=self.end, name='uactor-end', daemon=True).start()
            except RuntimeError as error:  # in Python 3.12 there are no more threads at exit
                log.debug('%s is left to end_all(): %s', self.name, error)

    def __repr__(self) -> str:
        state = 'alive' if self.is_alive() else f'exitcode={self.exitcode}'
        return f'<ActorProcess {self.name} pid={self.pid} {state}>'


_processes: dict[int, ActorProcess] = {}
"""The processes that this one has started and that have not ended."""


def end_all() -> None:
    """End all processes that this one has started, at the same time."""
    beginning = time.monotonic()
    remaining = list(_processes.values())
    for process in remaining:
        log.debug('asking %s (pid %d) to end', process.name, process.pid)
        process.ask_to_end()
    for process in remaining:
        passed = time.monotonic() - beginning
        process._see_it_end(max(0.0, process._shutdown_timeout - passed))


def _after_fork_in_child() -> None:
    """Close the lifelines: they are the parent's, and would outlive it here."""
    for process in _processes.values():
        process._lifeline.close()
    _processes.clear()
    no_fork.release()


at_fork(no_fork.acquire, no_fork.release, _after_fork_in_child)
