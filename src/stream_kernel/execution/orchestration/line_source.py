"""Input lines from a descriptor, in batches: what is there is taken, nothing is waited for to fill a batch up.

Memory is bounded: a batch ends at its number of lines or at its bytes, and of a line that is too long no more is kept than its number.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from typing import Any, Literal

import msgspec

from stream_kernel.errors import PayloadError
from stream_kernel.execution.orchestration.readiness import Readiness
from stream_kernel.protocol.plain import decode_plain, encode_plain

__all__ = ["Line", "LineFormat", "LineSource", "LineSplitter"]

LineFormat = Literal["text", "jsonl"]
"""What the payload of a line is: the line itself, or the JSON value that it holds."""

_CHUNK_BYTES = 1 << 16
_LONGEST_ESCAPE = 6
"""Bytes of JSON that one byte of text may become."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(msgspec.Struct, frozen=True):
    """One line of the input. Lines count from 1."""

    number: int
    payload: Any
    problem: str | None = None
    """Why it has no payload: a sentence without its subject."""


class LineSplitter:
    """Bytes in, lines out, without their ends. A line of more than `max_line_bytes` is only its length."""

    def __init__(self, max_line_bytes: int) -> None:
        self._limit = max_line_bytes
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes | int]:
        """The lines that these bytes complete."""
        *ended, rest = data.split(b"\n")
        lines: list[bytes | int] = []
        for part in ended:
            self._hold(part)
            lines.append(self._take())
        self._hold(rest)
        return lines

    def last(self) -> list[bytes | int]:
        """At the end of the input: the last line, where it did not end."""
        return [self._take()] if self._size else []

    def _hold(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            self._held.clear()
        elif part:
            self._held.append(part)

    def _take(self) -> bytes | int:
        line = self._size if self._size > self._limit else b"".join(self._held)
        self._held.clear()
        self._size = 0
        return line


class LineSource:
    """Reads the lines of a descriptor, which it does not own."""

    def __init__(self, descriptor: int, name: str, *, line_format: LineFormat, batch_size: int, max_line_bytes: int) -> None:
        """`name` is what errors call the stream. A batch has at most `batch_size` lines, and ends once it holds `max_line_bytes`."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._descriptor = descriptor
        self._name = name
        self._decode = _decode_text if line_format == "text" else decode_plain
        self._batch_size = batch_size
        self._max_line_bytes = max_line_bytes
        self._splitter = LineSplitter(max_line_bytes)
        self._lines: deque[bytes | int] = deque()
        self._held = 0
        self._bytes_read = 0
        self._has_ended = False
        self._problem: OSError | None = None
        self._readiness = Readiness(descriptor, writes=False)
        self.lines_read = 0
        self.bytes_taken = 0
        """Bytes of the lines that have been given out, their ends included."""
        status = os.fstat(descriptor)
        self.size = status.st_size if stat.S_ISREG(status.st_mode) else None
        """Bytes of the input, where it is a file."""

    async def next_batch(self) -> list[Line]:
        """The next lines, at least one; none at the end of the input. Raises `OSError`, after the last whole line that could be read."""
        while not self._has_batch():
            await self._read()
        if self._problem is not None and not self._lines:
            raise self._problem
        return self._cut()

    def _has_batch(self) -> bool:
        if self._has_ended or self._problem is not None:
            return True
        if len(self._lines) >= self._batch_size or self._held >= self._max_line_bytes:
            return True
        return bool(self._lines) and not self._readiness.is_now

    async def _read(self) -> None:
        await self._readiness.wait()
        try:
            data = os.read(self._descriptor, _CHUNK_BYTES)
        except BlockingIOError:  # who shares the descriptor made it non-blocking, and took what was there
            return
        except OSError as error:
            self._problem = OSError(error.errno, error.strerror, self._name)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        self._has_ended = not data
        self._bytes_read += len(data)
        lines = self._splitter.feed(data) if data else self._splitter.last()
        self._lines.extend(lines)
        self._held += sum(map(_length, lines))

    def _cut(self) -> list[Line]:
        batch: list[Line] = []
        size = 0
        while self._lines and len(batch) < self._batch_size and size < self._max_line_bytes:
            raw = self._lines.popleft()
            size += _length(raw)
            self.bytes_taken = min(self.bytes_taken + _length(raw) + 1, self._bytes_read)  # the last line need not have an end
            batch.append(self._line(raw))
        self._held -= size
        return batch

    def _line(self, raw: bytes | int) -> Line:
        self.lines_read += 1
        number = self.lines_read
        if isinstance(raw, int):
            return Line(number, None, f"is {raw} bytes long, over execution_ipc.max_frame_bytes = {self._max_line_bytes}")
        if number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        try:
            payload = self._decode(raw)
            problem = self._refusal(payload, raw)
        except UnicodeDecodeError as error:
            return Line(number, None, f"is not UTF-8: byte {error.start + 1} of the line")
        except PayloadError as error:
            return Line(number, None, error.sentence)
        return Line(number, payload) if problem is None else Line(number, None, problem)

    def _refusal(self, payload: Any, raw: bytes) -> str | None:
        """What a boundary would refuse is refused here, so that it is in the modes that have none as well. Raises `PayloadError`."""
        if isinstance(payload, str) and len(raw) * _LONGEST_ESCAPE <= self._max_line_bytes:
            return None
        size = len(encode_plain(payload))
        if size <= self._max_line_bytes:
            return None
        return f"is {size} bytes long as a payload, over execution_ipc.max_frame_bytes = {self._max_line_bytes}"


def _length(raw: bytes | int) -> int:
    return raw if isinstance(raw, int) else len(raw)


def _decode_text(raw: bytes) -> str:
    return raw.removesuffix(b"\r").decode("utf-8")
