"""The worker's private wire.

It is claimed before any user code is imported: file descriptors 0 and 1 are moved to private close-on-exec descriptors, 0 then
points to /dev/null and 1 to stderr. So `print`, C output, `input()` and child processes cannot touch a frame.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Collection

__all__ = ["Wire", "claim_wire", "drop_inherited"]

_CHUNK = 1 << 16
"""What one read asks for. Python allocates all of it before each read: from 128 KiB on that means fresh pages, and some 10 µs."""


class Wire:
    """Blocking reads and whole writes on two private descriptors. In a forked child it is shut, and ends the child when used."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd
        self.spin_seconds = 0.0
        """How long `read` polls before it blocks."""
        self._owner = os.getpid()
        self._poller = select.poll()
        self._poller.register(read_fd, select.POLLIN | select.POLLHUP)
        os.register_at_fork(after_in_child=self._close_in_child)

    def read(self) -> bytes:
        """The next bytes; empty at the end of the stream."""
        self.check_owner()
        if self.spin_seconds:
            self._spin()
        return os.read(self.read_fd, _CHUNK)

    def _spin(self) -> None:
        """Poll until something has come, or the parent has hung up, or the time is over.

        Each poll lets go of the interpreter lock, so that threads of nodes run meanwhile.
        """
        end = time.monotonic() + self.spin_seconds
        while not self._poller.poll(0) and time.monotonic() < end:
            pass

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
        if self.read_fd >= 0:  # otherwise it is a child's child, which may have given the numbers to others
            os.close(self.read_fd)
            os.close(self.write_fd)
            self.read_fd = self.write_fd = -1


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


def drop_inherited(keep: Collection[int]) -> None:
    """Close all other descriptors that came from the parent: some event loops hand on copies of the wire, and what the parent left open.

    Those are the ones that a child process would inherit too; what Python opens itself is not.
    """
    with contextlib.suppress(FileNotFoundError):  # there is no such folder: nothing can be told
        for fd in map(int, os.listdir("/dev/fd")):
            with contextlib.suppress(OSError):  # that of the folder itself
                if fd > 2 and fd not in keep and os.get_inheritable(fd):
                    os.close(fd)
