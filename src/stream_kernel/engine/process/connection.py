"""A session over the pipes of one worker process, on the running event loop: bytes in, messages out, and one moment when it is over.

Reads and writes are direct and non-blocking; what a full pipe does not take waits in a buffer. It is over when the process ends,
when a pipe is closed, or when the protocol is broken: it is never resynchronised.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_kernel.engine.process.worker_process import WorkerProcess
from stream_kernel.errors import ProtocolViolation
from stream_kernel.protocol.messages import FromParent, FromWorker
from stream_kernel.protocol.session import Role, Session

__all__ = ["ENDED", "Connection"]

ENDED = "it ended"
"""The reason when the process is gone, by itself or by a signal."""
_PUMP_READS = 512
_CLOSED_PIPE_GRACE = 0.02
"""How long the end of a process may come after the end of its pipes, before the pipe counts as closed by a living process."""


class Connection:
    """Messages to and from one process. `on_message` is called for each one, on the loop; it may raise `ProtocolViolation`. `on_pause` is
    called after those that came together, when none of them was a violation.
    """

    def __init__(
        self,
        process: WorkerProcess,
        max_frame_bytes: int,
        on_message: Callable[[FromWorker | FromParent], None],
        on_pause: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self.session = Session(Role.PARENT, max_frame_bytes)
        self._on_message = on_message
        self._on_pause = on_pause
        self._unsent = bytearray()
        self._is_open = True
        self._can_send = True
        self._grace: asyncio.TimerHandle | None = None
        self.broke_protocol = False
        """Whether the process has said what it may not: nothing that it had may be given to another."""
        self.over: asyncio.Future[str] = self._loop.create_future()
        """Done when the connection is over, with a clean reason."""

    def open(self) -> None:
        """Start to watch the pipes and the process."""
        self._process.watch(on_readable=self._read_once, on_hang_up=self._on_hang_up, on_exit=self._on_exit)

    @property
    def is_sound(self) -> bool:
        """Whether nothing has been seen yet that will end it."""
        return self._is_open and self._grace is None and not self.over.done()

    def send(self, message: FromParent) -> bool:
        """Write a message, at once or as soon as the pipe takes it; False when nobody will ever read it."""
        frame = self.session.send(message)
        if not self._can_send:
            return False
        if not self._unsent:
            written = self._write(frame)
            if written == len(frame):
                return True
            if not self.is_sound:
                return False
            self._process.watch_writable(self._on_writable)
            frame = frame[written:]
        self._unsent += frame
        return self.is_sound

    def close_stdin(self) -> None:
        """Let the process read the end of its stdin. What it has not taken by now is dropped."""
        self._can_send = False
        self._process.unwatch_stdin()
        self._process.close_stdin()

    def pump(self) -> None:
        """Take everything that can be read now, so that no reply that has arrived counts as missing."""
        for _ in range(_PUMP_READS):
            if not (self._is_open and not self.broke_protocol and self._read_once()):
                return

    def close(self) -> None:
        """Stop watching. The process keeps its descriptors until it is closed."""
        if not self._is_open:
            return
        self._is_open = self._can_send = False
        if self._grace is not None:
            self._grace.cancel()
        self._process.unwatch_stdout()
        self._process.unwatch_stdin()
        self._unsent.clear()

    def _read_once(self) -> bool:
        """Read one chunk; False when there is nothing to read, or never again will be."""
        data = self._process.read()
        if data is None:
            return False
        if not data:
            self._process.unwatch_stdout()
            self._on_pipe_closed("its stdout was closed")
            return False
        try:
            for message in self.session.receive(data):
                self._on_message(message)
        except ProtocolViolation as violation:
            self.broke_protocol = True  # what follows must not be taken for messages
            self._process.unwatch_stdout()
            self.end(f"protocol violation: {violation}")
            return False
        self._on_pause()
        return True

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self._process.write(data)
        except OSError:
            self._on_hang_up()
            return 0

    def _on_writable(self) -> None:
        written = self._write(self._unsent)
        del self._unsent[:written]
        if not self._unsent:
            self._process.watch_writable(None)

    def _on_hang_up(self) -> None:
        self._on_pipe_closed("its stdin was closed")

    def _on_pipe_closed(self, reason: str) -> None:
        self._process.unwatch_stdin()
        if self._grace is None and self._is_open:
            self._grace = self._loop.call_later(_CLOSED_PIPE_GRACE, self.end, reason)

    def _on_exit(self) -> None:
        self.end(ENDED)

    def end(self, reason: str) -> None:
        """It is over, for this reason, unless it is already."""
        if not self.over.done():
            self.over.set_result(reason)
