"""Bytes to lines: newline-delimited frames over any chunking, bounded in memory."""

from __future__ import annotations

from stream_kernel.errors import ProtocolViolation

__all__ = ["LineSplitter"]


class LineSplitter:
    """Collects chunks and gives whole lines.

    A frame is joined once, when its newline arrives, so that a frame in many chunks costs time in proportion to its size.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._held = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, without their newlines. Raises `ProtocolViolation` for a line over the limit."""
        if data and not self._parts and len(data) <= self._limit and data.find(b"\n") == len(data) - 1:
            return [data[:-1]]  # a line and nothing else, as most are
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._held = 0
        if rest:
            self._parts.append(rest)
            self._held += len(rest)
        if self._held > self._limit or (lines and max(map(len, lines)) > self._limit):
            raise ProtocolViolation(f"a line is longer than {self._limit} bytes")
        return lines

    @property
    def torn(self) -> int:
        """Bytes of a line whose newline has not come; at the end of the stream they are a torn frame."""
        return self._held
