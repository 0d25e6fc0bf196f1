"""Drains a worker's stderr: the last lines into a bounded ring, each line escaped into the log."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque

__all__ = ["StderrDrain"]

_CHUNK = 1 << 16
_LAST_READS = 64
_KEPT_LINES = 50
_LINE_LIMIT = 2_000
"""Longer lines are cut, in characters."""


class StderrDrain:
    """Reads until the end of the stream, whoever writes: nobody ever blocks on a full pipe."""

    def __init__(self, fd: int, *, group: str, worker_id: str) -> None:
        self._fd = fd
        self._logger = logging.getLogger(f"stream_kernel.worker.{group}")
        self._worker_id = worker_id
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._rest = b""
        self._is_open = False

    def open(self) -> None:
        self._is_open = True
        asyncio.get_running_loop().add_reader(self._fd, self._read_once)

    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first, control characters escaped."""
        return tuple(self._lines)

    def close(self) -> None:
        """Take what is left and stop reading."""
        for _ in range(_LAST_READS):
            if not (self._is_open and self._read_once()):
                break
        self._stop()
        if self._rest:
            self._keep(self._rest)
            self._rest = b""

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
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._keep(line)
        if len(rest) > 4 * _LINE_LIMIT:  # a line without end
            self._keep(rest)
            rest = b""
        self._rest = rest
        return True

    def _stop(self) -> None:
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._fd)

    def _keep(self, line: bytes) -> None:
        text = line[: 4 * _LINE_LIMIT].decode("utf-8", "backslashreplace")[:_LINE_LIMIT]
        if not text.isprintable():
            text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
        self._lines.append(text)
        self._logger.info("%s: %s", self._worker_id, text)
