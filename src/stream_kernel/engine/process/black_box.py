"""The parent's end of the breadcrumb: a small file in memory that a worker notes its work in, and that outlives it.

The layout is in `protocol/breadcrumb.py`. It is read with `pread` and not mapped: a worker that cuts its file short would bring down
whoever touches the mapping.
"""

from __future__ import annotations

import os
import struct
import tempfile

from stream_kernel.protocol.breadcrumb import BLACK_BOX_SIZE, STACKS_OFFSET, Progress, unpack_progress

__all__ = ["BlackBox"]

_WORDS = struct.Struct("@QQ")
_STACKS_LIMIT = 1 << 16
_STACKS_READ = 1 << 20
_NOTHING = (0, 0)
_READS = 8


class BlackBox:
    """Made for one incarnation of a worker, which inherits `fd`. After `close` it still tells what it knew last."""

    def __init__(self) -> None:
        """Raises `OSError`."""
        self.fd = _memory_file()
        self._is_open = True
        self._words = _NOTHING
        self._stacks = ""
        try:
            os.ftruncate(self.fd, BLACK_BOX_SIZE)
        except OSError:
            os.close(self.fd)
            raise

    def progress(self) -> Progress | None:
        """What the worker noted last of the command at work."""
        return unpack_progress(self._read_words()[0])

    def begun(self) -> float | None:
        """When that command began, in seconds of `time.monotonic()`."""
        nanoseconds = self._read_words()[1]
        return nanoseconds / 1e9 if nanoseconds else None

    def stacks(self) -> str:
        """The stacks that the worker has written, that of the current thread first; at most 64 KiB."""
        if self._is_open:
            written = os.pread(self.fd, _STACKS_READ, STACKS_OFFSET).decode("utf-8", "backslashreplace")
            self._stacks = "\n\n".join(sorted(written.strip().split("\n\n"), key=_rank))[:_STACKS_LIMIT]
        return self._stacks

    def close(self) -> None:
        """Take what is there and release the file."""
        if self._is_open:
            self._read_words()
            self.stacks()
            self._is_open = False
            os.close(self.fd)

    def _read_words(self) -> tuple[int, int]:
        if self._is_open:
            # A copy made while the worker writes may hold half of a word; two in a row that are the same do not.
            seen = b""
            for _ in range(_READS):
                before, seen = seen, os.pread(self.fd, _WORDS.size, 0)
                if seen == before:
                    break
            self._words = _WORDS.unpack(seen) if len(seen) == _WORDS.size else _NOTHING
        return self._words


def _rank(paragraph: str) -> int:
    """Its place among those that faulthandler writes: of many threads the current one comes last, and is the one that tells."""
    heads = ("Fatal", "Current thread", "Thread")
    return next((rank for rank, head in enumerate(heads) if paragraph.startswith(head)), len(heads))


def _memory_file() -> int:
    try:
        return os.memfd_create("stream_kernel black box")
    except (AttributeError, OSError):  # not Linux, or not allowed
        fd, path = tempfile.mkstemp(prefix="stream_kernel-")
        os.unlink(path)
        return fd
