"""Template processes: fresh interpreters that have imported everything and started nothing.

Each fork of a template is an actor process, and takes a tenth of the time of a fresh interpreter.
The template can be forked since it has a single thread, and no gRPC channel or server. It handles
one request after the other, each on a connection of its own that the owner sends. It ends with its
owner.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import marshal
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence

from uactor.launch import interpreter, socket_pair, template_server
from uactor.launch.actor_process import no_fork
from uactor.launch.fingerprint import Fingerprint, take_fingerprint
from uactor.launch.import_path import find_shadowed, make_absolute
from uactor.launch.interpreter import UNKNOWN_STATUS
from uactor.launch.standard_streams import is_inheritable
from uactor.runtime.fork_hooks import at_fork
from uactor.runtime.grpc_loader import copy_environment
from uactor.runtime.system_errors import is_own
from uactor.runtime.weakrefs import descriptors_of

log = logging.getLogger('uactor.launch')

REPLY_TIMEOUT_S = 5.0
"""How long a template may take to answer. It takes a millisecond, unless a debugger has stopped it.
Then another template replaces it."""
IMPORT_TIMEOUT_S = 60.0
"""How long a template may take to import everything. It takes a fifth of a second."""

_STANDARD_STREAMS = 1, 2

_SOCKET_FUNCTIONS = (
    *(
        socket_pair.send_message,
        socket_pair.send_descriptors,
        socket_pair.receive_message,
        socket_pair.receive_exactly,
    ),
    socket.recv_fds,
)
"""The functions that make the system calls between a template and its owner."""


class TemplateDiedError(Exception):
    """The template has ended or does not answer. It may have forked."""


class ForkedProcess:
    """An actor process that a template has forked.

    It is not a child of this process.

    :ivar pid: its process id.
    :ivar descriptor: its pidfd, which refers to it even if another process gets its id.
    """

    def __init__(self, template: Template, pid: int, descriptor: int) -> None:
        self.pid = pid
        self._template = template
        self.descriptor: int | None = descriptor
        self._pidfd = descriptor
        self._lock = threading.Lock()
        self._descriptors = descriptors_of(self)
        self._descriptors.append(descriptor)

    def wait(self) -> int:
        """Wait for its end and return its exit status.

        The status is negative if a signal has ended the process.
        """
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        ended.poll()
        with self._lock:
            os.close(self._descriptors.pop())
        return self._template.reap(self.pid)

    def send_signal(self, number: int) -> None:
        """Send a signal to the process unless it has ended."""
        with self._lock:
            try:
                if self._descriptors:
                    signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError as error:
                if not is_own(error):
                    raise


class Template:
    """A template process, as its owner sees it.

    :ivar fingerprint: the fixed traits of all its forks.
    """

    def __init__(self, fingerprint: Fingerprint, variables: Mapping[bytes, bytes]) -> None:
        self.fingerprint = fingerprint
        self._variables = variables
        self._control, theirs = socket.socketpair()
        self._lock = threading.RLock()
        self._running = 0
        self._retired = False
        self._is_silent = False
        self._modules: dict[str, str] = {}
        stderr = None if is_inheritable(2) else subprocess.DEVNULL
        try:
            with theirs:
                self._process = interpreter.spawn(
                    theirs,
                    interpreter.TEMPLATE,
                    variables,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                )
        except BaseException:
            self._control.close()
            raise

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def prepare(self) -> bool:
        """Wait for the template's imports and return whether it can be forked."""
        try:
            self._control.settimeout(IMPORT_TIMEOUT_S)
            reply = socket_pair.receive_message(self._control)
            self._control.settimeout(REPLY_TIMEOUT_S)
        except OSError as error:
            if not is_own(error, *_SOCKET_FUNCTIONS):
                raise
            log.debug('the template does not answer: %s', error)
            reply = None
        if reply is not None and reply[:1] == template_server.READY:
            self._modules = marshal.loads(reply[1:])
            log.debug('the template has started (pid %d)', self.pid)
            return True
        reason = 'it has ended' if reply is None else reply[1:].decode()
        log.warning('actors start without a template, which takes longer: %s', reason)
        return False

    def find_shadowed(self, path: Sequence[str]) -> tuple[str, ...]:
        """Return the names of its modules that an import path replaces."""
        return find_shadowed(self._modules, make_absolute(path))

    def fork(self, lifeline: socket.socket) -> ForkedProcess:
        """Fork an actor process.

        :param lifeline: the end of the lifeline for the process.
        :raises TemplateDiedError: if the template has ended or does not answer.
        :raises OSError: if no more processes or files are available.
        """
        with self._lock:
            self._running += 1
        try:
            return self._fork(lifeline)
        except BaseException:
            self._forget_one()
            raise

    def _fork(self, lifeline: socket.socket) -> ForkedProcess:
        streams = [number for number in _STANDARD_STREAMS if is_inheritable(number)]
        directory = os.open('.', os.O_PATH | os.O_DIRECTORY)
        try:
            with self._connect() as connection:
                descriptors = [lifeline.fileno(), directory, *streams]
                socket_pair.send_descriptors(connection, template_server.FORK, descriptors)
                socket_pair.send_message(
                    connection, marshal.dumps((*self._compare_environment(), streams))
                )
                flags = socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL
                data, received, *_ = socket.recv_fds(connection, template_server.PID.size, 1, flags)
        finally:
            os.close(directory)
        if len(data) != template_server.PID.size:
            raise TemplateDiedError('it has ended')
        [pid] = template_server.PID.unpack(data)
        if pid < 0:
            raise OSError(-pid, f'cannot fork: {os.strerror(-pid)}')
        if not received:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return ForkedProcess(self, pid, received[0])

    def _compare_environment(self) -> tuple[list[bytes], dict[bytes, bytes]]:
        """Return the variables that differ from the template's environment.

        These are the names of the variables that have gone since the template was started, and
        those that are new or have changed.
        """
        then, now = self._variables, copy_environment()
        gone = [name for name in then if name not in now]
        return gone, {name: value for name, value in now.items() if then.get(name) != value}

    def reap(self, pid: int) -> int:
        """Return the exit status of a forked process that has ended."""
        reply = None
        if not self._is_silent:  # else each of its actors would wait for the timeout again
            with contextlib.suppress(TemplateDiedError), self._connect() as connection:
                connection.sendall(template_server.REAP, socket_pair.NO_SIGPIPE)
                socket_pair.send_message(connection, template_server.PID.pack(pid))
                reply = socket_pair.receive_message(connection)
        self._forget_one()
        status: int | None = None if reply is None else marshal.loads(reply)
        return UNKNOWN_STATUS if status is None else status

    @contextlib.contextmanager
    def _connect(self) -> Iterator[socket.socket]:
        """Open a connection to the template for one request.

        :raises TemplateDiedError: if the template does not answer.
        """
        with no_fork:  # a child would keep it open, and hide the end of the template
            ours, theirs = socket.socketpair()
            ours.settimeout(REPLY_TIMEOUT_S)
            try:
                with theirs:
                    socket_pair.send_descriptors(self._control, b'.', [theirs.fileno()])
            except BaseException as error:
                ours.close()
                if isinstance(error, OSError) and is_own(error, *_SOCKET_FUNCTIONS):
                    raise self._give_up(error) from error
                raise
        with ours:
            try:
                yield ours
            except OSError as error:
                if not is_own(error, Template._fork, Template.reap, *_SOCKET_FUNCTIONS):
                    raise
                raise self._give_up(error) from error

    def _give_up(self, error: OSError) -> TemplateDiedError:
        self._is_silent = True
        return TemplateDiedError(str(error))

    def _forget_one(self) -> None:
        with self._lock:
            self._running -= 1
        self._end_when_idle()

    def retire(self) -> None:
        """Stop forking, and end when all forked processes have ended."""
        with self._lock:
            self._retired = True
        self._end_when_idle()

    def _end_when_idle(self) -> None:
        with self._lock:
            if self._retired and not self._running:
                self.end()

    def end(self) -> None:
        """Kill the template, which has nothing to lose."""
        with self._lock:
            self._control.close()
            self._process.kill()
            self._process.wait()
        templates.forget(self)

    def abandon(self) -> None:
        """Close the control socket, which would keep the parent's template alive."""
        self._control.close()


class Templates:
    """The current template of this process, and those with running actors."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all templates, in a forked process."""
        self._choosing = threading.RLock()
        self._current: Template | None = None
        self._all: set[Template] = set()
        self._unfit: Fingerprint | None = None

    def choose(self) -> Template | None:
        """Return a template for this thread's next start, or None if impossible."""
        if not template_server.is_possible():
            return None
        variables = copy_environment()
        wanted = take_fingerprint(variables)
        with self._choosing:
            current = self._current
            if current is not None and current.fingerprint != wanted:
                log.debug('the template has become unsuitable; another one replaces it')
                self._current = None
                current.retire()
            if self._current is None and wanted != self._unfit:
                self._current = self._start(wanted, variables)
            return self._current

    def _start(self, wanted: Fingerprint, variables: Mapping[bytes, bytes]) -> Template | None:
        with no_fork:
            template = Template(wanted, variables)
            self._all.add(template)
        try:
            if template.prepare():
                return template
        except BaseException:  # KeyboardInterrupt
            template.end()
            raise
        template.end()
        self._unfit = wanted
        return None

    def discard(self, template: Template) -> None:
        """Stop using a template that does not answer."""
        log.warning('the template (pid %d) does not answer', template.pid)
        with self._choosing:
            if self._current is template:
                self._current = None
        template.retire()

    def forget(self, template: Template) -> None:
        """Remove a template that has ended."""
        self._all.discard(template)

    def end_all(self) -> None:
        """End all templates of this process."""
        with self._choosing:
            self._current = None
        for template in list(self._all):
            template.end()

    def pids(self) -> list[int]:
        """Return the process ids of all templates."""
        return [template.pid for template in self._all]

    def after_fork_in_child(self) -> None:
        """Abandon the templates of the parent."""
        for template in self._all:
            template.abandon()
        self.reset()


templates = Templates()
"""The templates of this process."""

at_fork(in_child=templates.after_fork_in_child)
