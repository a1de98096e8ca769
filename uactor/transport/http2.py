"""A bidirectional gRPC call on a blocking socket of its own.

It sends and receives on the threads of its callers. grpcio has threads of its own in between, which
take more time than all the rest of a small call; and neither forks nor signal handlers may meet
their locks. The protocol itself is in :mod:`uactor.transport.http2_stream`. Here are the socket,
the locks, and the waits.

No thread is kept for the replies that the peer is owed, as to its pings. The thread that receives
sends them; when none does, :meth:`Http2Call.attend` has to be called now and then.
"""

from __future__ import annotations

import collections
import contextlib
import queue
import select
import socket
import threading
from collections.abc import Callable
from socket import SocketType

from uactor.runtime.locks import release_fully, synchronized
from uactor.runtime.system_errors import is_own
from uactor.transport.buffers import Buffer
from uactor.transport.frames import GONE
from uactor.transport.http2_stream import (
    CallEnd,
    CallEnded,
    End,
    Event,
    FramesDue,
    Http2Stream,
    MessageReceived,
    StreamState,
    Unsent,
    WindowOpened,
)

_NO_SIGPIPE = getattr(socket, 'MSG_NOSIGNAL', 0)
"""Sending to a peer that has gone is an error, even where SIGPIPE would end the process."""

READ_BYTES = 1 << 13
"""How much is received at a time, except for long messages."""


class Http2Call:
    """A bidirectional gRPC call.

    One thread sends messages at a time; any number may receive.

    :param sock: a connection by which nothing has been sent.
    :param stream: the call on it, which has not begun; also an attribute.
    :param timeout: how long the peer may take to show that it speaks HTTP/2, in seconds.
    :raises CallEnd: if it does not.
    :ivar end: why the call has ended; None until this side has noticed that.
    :ivar is_sender_waiting: whether a sender waits for the peer to allow more.
    """

    def __init__(self, sock: SocketType, stream: Http2Stream, timeout: float) -> None:
        self.end: End | None = None
        self._socket = sock
        self.stream = stream
        self._lock = threading.RLock()  # while frames are built and sent, so that they stay whole
        self._receiving = threading.RLock()  # never twice by one thread: see release_fully()
        self._messages: collections.deque[bytes | bytearray] = collections.deque()
        self.is_sender_waiting = False
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()  # for that sender
        self._begin(timeout)

    def _begin(self, timeout: float) -> None:
        self._socket.settimeout(timeout)
        self._transmit(self.stream.begin)
        while self.stream.state is StreamState.GREETING and self.end is None:
            self._receive_some()
        if self.end is not None:
            raise CallEnd(self.end)
        self._socket.settimeout(None)

    def limit_messages(self, max_bytes: int) -> None:
        """End the call when a larger message comes; -1 for no limit."""
        self.stream.messages.max_bytes = max_bytes

    # --- sending -----------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message.

        :raises CallEnd: if the call has ended.
        """
        self._check_open()
        if self._transmit(self.stream.send, message):
            return
        unsent = Unsent(message)
        while unsent:
            self._wait_for_room()
            self._transmit(self.stream.send_part, unsent)

    def finish(self) -> None:
        """Send no more messages. The peer ends the call."""
        self._reply(self.stream.finish)

    def _check_open(self) -> None:
        if self.end is not None:
            raise CallEnd(self.end._replace(unread=True))

    @synchronized
    def _transmit(self, build: Callable[..., bytes], *values: object) -> bool:
        """Build frames and send them, while no other thread does.

        Return whether there were any.

        :raises CallEnd: if the connection has ended.
        """
        frames = build(*values)
        try:
            if frames:
                self._socket.sendall(frames, _NO_SIGPIPE)
        except OSError as error:
            if not is_own(error):
                raise
            raise CallEnd(End(None, error.strerror or str(error), unread=True)) from error
        return bool(frames)

    def _reply(self, build: Callable[..., bytes], *values: object) -> None:
        """Send frames without a message.

        If the peer has gone, the receiving thread notices that.
        """
        with contextlib.suppress(CallEnd):
            self._transmit(build, *values)

    def _wait_for_room(self) -> None:
        """Wait until more may be sent.

        :raises CallEnd: if the call has ended.
        """
        while self.stream.window.room_bytes <= 0:
            self._check_open()
            # A thread that opens the window, or stops receiving, sees from now on that this waits.
            self.is_sender_waiting = True
            try:
                if self._receiving.acquire(blocking=False):
                    if self.stream.window.room_bytes <= 0 and self.end is None:
                        self._receive_some()
                    self._receiving.release()
                else:
                    self._wakeups.get()
            except BaseException:
                release_fully(self._receiving)
                raise
        self.is_sender_waiting = False

    def _wake_sender(self) -> None:
        if self.is_sender_waiting:
            self._wakeups.put(None)

    # --- receiving ---------------------------------------------------------------------------

    def receive(self) -> bytes | bytearray:
        """Wait for the next message.

        :raises CallEnd: if there is none because the call has ended.
        """
        try:
            with self._receiving:
                while not self._messages:
                    if self.end is not None:
                        raise CallEnd(self.end)
                    self._receive_some()
                return self._messages.popleft()
        except BaseException:
            release_fully(self._receiving)
            raise
        finally:
            self._wake_sender()  # it can receive now

    def attend(self, timeout: float = 0.0) -> bool:
        """Act upon what has come, unless another thread receives.

        Return False if another thread receives.

        :param timeout: how long to wait for something, in seconds.
        """
        try:
            if not self._receiving.acquire(blocking=False):
                return False
            if self.end is None and self._poll(select.POLLIN, timeout):
                self._receive_some()
            self._receiving.release()
        except BaseException:
            release_fully(self._receiving)
            raise
        finally:
            self._wake_sender()  # it can receive now
        return True

    def _receive_some(self) -> None:
        """Receive once, and act upon what that completes.

        The caller holds the lock for receiving, unless it is the constructor.
        """
        partial = self.stream.messages.partial
        data, count = b'', 0
        try:
            if partial is not None and self.stream.direct_bytes > READ_BYTES:
                count = partial.receive_from(self._socket, self.stream.direct_bytes)
            else:
                data = self._socket.recv(READ_BYTES)
        except OSError as error:
            if not is_own(error, Buffer.receive_from):
                raise
            self.end = End(None, error.strerror or str(error))
            return
        events = self.stream.receive_direct(count) if count else self.stream.receive(data)
        for event in events:
            self._act_upon(event)

    def _act_upon(self, event: Event) -> None:
        if isinstance(event, MessageReceived):
            self._messages.append(event.message)
        elif isinstance(event, WindowOpened):
            self._wake_sender()
        elif isinstance(event, FramesDue):
            self._reply(lambda: event.frames)
        elif isinstance(event, CallEnded):
            self.end = event.end
        else:
            self._reply(self.stream.apply_settings, event.settings)
            self._wake_sender()  # the window may be larger now

    # --- the connection ----------------------------------------------------------------------

    @property
    def progress(self) -> int:
        """How much has been sent and received, in bytes."""
        return self.stream.progress

    def is_open(self) -> bool:
        """Return whether the peer is there.

        Any thread may call this, even after :meth:`close`.
        """
        return self.end is None and self.fileno() >= 0 and not self._poll(GONE, 0.0)

    def fileno(self) -> int:
        """Return the descriptor of the connection; negative once it is closed."""
        return self._socket.fileno()

    def hang_up(self) -> None:
        """End the connection, even while a thread receives. Any thread may."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError as error:  # the peer was faster
            if not is_own(error):
                raise

    def close(self) -> None:
        """Close the descriptor. No thread may be sending or receiving."""
        self._socket.close()

    def _poll(self, events: int, timeout: float) -> bool:
        poll, descriptor = select.poll(), self.fileno()
        if descriptor >= 0:
            poll.register(descriptor, events)
        return bool(poll.poll(timeout * 1000))
