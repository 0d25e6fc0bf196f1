"""The worker's private wire.

It is claimed before any user code is imported: file descriptors 0 and 1 are moved to private close-on-exec descriptors, 0 then
points to /dev/null and 1 to stderr. So `print`, C output, `input()` and child processes cannot touch a frame.
"""

from __future__ import annotations

import os
import select
import sys

__all__ = ["Wire", "claim_wire"]

_CHUNK = 1 << 18


class Wire:
    """Blocking reads and whole writes on two private descriptors. In a forked child it is shut, and ends the child when used."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self._owner = os.getpid()
        self._poller = select.poll()
        self._poller.register(read_fd, select.POLLIN | select.POLLHUP)
        os.register_at_fork(after_in_child=self._close_in_child)

    def read(self) -> bytes:
        """The next bytes; empty at the end of the stream."""
        self.check_owner()
        return os.read(self.read_fd, _CHUNK)

    def readable(self) -> bool:
        """Whether `read` would return at once."""
        return bool(self._poller.poll(0))

    def write(self, frame: bytes) -> None:
        """Write all of `frame`."""
        self.check_owner()
        view = memoryview(frame)
        while view:
            view = view[os.write(self.write_fd, view) :]

    def check_owner(self) -> None:
        """End the process if it is a forked copy."""
        if os.getpid() != self._owner:
            # A node forked, and the child came back here instead of ending: it must neither answer nor take commands.
            os._exit(0)

    def _close_in_child(self) -> None:
        os.close(self.read_fd)
        os.close(self.write_fd)


def claim_wire() -> Wire:
    """Take the pipes away from descriptors 0 and 1."""
    import fcntl

    read_fd = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, 3)
    write_fd = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    # What nodes print must be in the log when the worker is killed, not in a buffer.
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return Wire(read_fd, write_fd)
