"""Drains a worker's stderr: the last lines into a bounded ring, and into the log what it can take, each line escaped.

Whatever a worker writes, the work in one pass of the event loop is bounded: a flood of short lines must not hold up anybody's replies.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import deque
from collections.abc import Iterable, Sequence

from stream_kernel.observability.quiet import QuietLogger
from stream_kernel.printable import printable

__all__ = ["StderrDrain"]

_CHUNK = 1 << 16
_LAST_READS = 64
_KEPT_LINES = 50
_LINE_LIMIT = 2_000
"""Longer lines are cut, in characters."""
_BYTE_LIMIT = 4 * _LINE_LIMIT
"""So many bytes of a line may be needed for that."""
_LINES_PER_SECOND = 1_000
"""What is logged of one worker; the rest is counted."""
_LINES_AT_ONCE, _BYTES_AT_ONCE = 50, 1 << 12
"""What is logged in one pass of the event loop; a record takes up to 40 µs, with its handlers."""
_LAST_LINES, _LAST_BYTES = 200, 1 << 15
"""What is logged when the drain is closed."""


class StderrDrain:
    """Reads until the end of the stream, whoever writes: nobody ever blocks on a full pipe."""

    def __init__(self, fd: int, *, group: str, worker_id: str) -> None:
        self._fd = fd
        self._log = _PacedLog(QuietLogger(f"stream_kernel.worker.{group}"), worker_id)
        self._lines: deque[bytes] = deque(maxlen=_KEPT_LINES)
        self._rest = b""
        self._is_open = False

    def open(self) -> None:
        self._is_open = True
        asyncio.get_running_loop().add_reader(self._fd, self._read_once)

    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first, control characters escaped."""
        return tuple(_readable(line) for line in self._lines)

    def close(self) -> None:
        """Take what is left and stop reading."""
        for _ in range(_LAST_READS):
            if not (self._is_open and self._read_once()):
                break
        self._stop()
        if self._rest:
            self._keep(self._rest)
            self._rest = b""
        self._log.close(self._lines)

    def _read_once(self) -> bool:
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._stop()
            return False
        lines, newline, rest = (self._rest + data).rpartition(b"\n")
        if newline:
            self._keep(lines)
        if len(rest) > 4 * _LINE_LIMIT:  # a line without end
            self._keep(rest)
            rest = b""
        self._rest = rest
        return True

    def _stop(self) -> None:
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._fd)

    def _keep(self, lines: bytes) -> None:
        # Split from the end, and escaped when they are asked for: lines that nobody will see cost nothing.
        self._lines.extend(line[:_BYTE_LIMIT] for line in lines.rsplit(b"\n", _KEPT_LINES))
        self._log.add(lines)


class _PacedLog:
    """Logs lines, a few of them in each pass of the event loop and so many in a second, and says how many it has left out."""

    def __init__(self, logger: QuietLogger, worker_id: str) -> None:
        self._logger = logger
        self._worker_id = worker_id
        self._waiting: deque[bytes] = deque()
        self._next_pass: asyncio.Handle | None = None
        self._second_ends = 0.0
        self._room = 0
        self._left_out = 0
        self._telling: asyncio.TimerHandle | None = None

    def add(self, text: bytes) -> None:
        """Log these lines in later passes, or count them."""
        if not self._logger.is_enabled_for(logging.INFO):
            return
        loop = asyncio.get_running_loop()
        if loop.time() >= self._second_ends:
            self._tell_left_out()
            self._second_ends = loop.time() + 1.0
            self._room = max(0, _LINES_PER_SECOND - len(self._waiting))
        lines = text.split(b"\n", self._room)
        if len(lines) > self._room:
            self._left_out += lines.pop().count(b"\n") + 1
            if self._telling is None:
                self._telling = loop.call_at(self._second_ends, self._tell_left_out)
        self._room -= len(lines)
        self._wait(line[:_BYTE_LIMIT] for line in lines)

    def close(self, tail: Sequence[bytes]) -> None:
        """Log the last of what waits and was left out, as far as the `tail` has it, and count the rest."""
        for scheduled in (self._next_pass, self._telling):
            if scheduled is not None:
                scheduled.cancel()
        known = list(tail)[-self._left_out :] if self._left_out else []
        has_gap = len(known) < self._left_out
        last = _last_of(known if has_gap else [*self._waiting, *known])
        left_out = len(self._waiting) + self._left_out - len(last)
        self._waiting = deque([_notice(left_out), *last] if left_out else last)
        self._left_out = 0
        while self._waiting:
            self._log_next()

    def _wait(self, lines: Iterable[bytes]) -> None:
        self._waiting.extend(lines)
        if self._waiting and self._next_pass is None:
            self._next_pass = asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._next_pass = None
        lines, size = _LINES_AT_ONCE, _BYTES_AT_ONCE
        while self._waiting and lines > 0 and size > 0:
            lines -= 1
            size -= self._log_next()
        self._wait(())

    def _tell_left_out(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
            self._wait([_notice(self._left_out)])
            self._left_out = 0

    def _log_next(self) -> int:
        """Gives the bytes of it."""
        line = self._waiting.popleft()
        self._logger.info("%s: %s", self._worker_id, _readable(line))
        return len(line)


def _notice(left_out: int) -> bytes:
    return b"[lines left out: %d]" % left_out


def _last_of(lines: Sequence[bytes]) -> list[bytes]:
    """As many of the last lines as may be logged at the end."""
    sizes = itertools.accumulate(len(line) for line in reversed(lines[-_LAST_LINES:]))
    count = sum(size < _LAST_BYTES for size in sizes)
    return list(lines[len(lines) - count :])


def _readable(line: bytes) -> str:
    return printable(line.decode("utf-8", "backslashreplace")[:_LINE_LIMIT])
