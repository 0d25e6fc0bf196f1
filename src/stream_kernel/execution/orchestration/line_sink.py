"""Output lines to a descriptor: whole lines only, each batch out before the next, never blocking the event loop on a slow reader."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator, Sequence

from stream_kernel.execution.orchestration.readiness import Readiness

__all__ = ["LineSink"]

_PIPE_BUF = 4096
"""As much as a pipe that can be written to takes at once, and in one piece."""

_REST_SECONDS = 1.0
"""How long an interrupted writer goes on to end its line."""


class LineSink:
    """Writes lines to a descriptor, which it does not own."""

    def __init__(self, descriptor: int, name: str) -> None:
        """`name` is what errors call the stream."""
        self._descriptor = descriptor
        self._name = name
        self.lines_written = 0
        """Whole lines that are out, also of a write that failed or was interrupted."""
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._readiness = Readiness(descriptor, writes=True)

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write lines, given without their ends. Raises `OSError`; a file then ends with the last whole line that fitted."""
        try:
            await self._write(lines)
        except OSError as error:
            problem = OSError(error.errno, error.strerror, self._name)
        else:
            return
        raise problem

    async def _write(self, lines: Sequence[bytes]) -> None:
        if self._is_file:
            self._write_file(b"".join(line + b"\n" for line in lines))
            return
        for data in _pieces(lines):
            await self._readiness.wait()
            done = self._put(data, 0)
            if done < len(data):
                await self._put_rest(data, done)
            else:
                self.lines_written += data.count(b"\n")

    def _write_file(self, data: bytes) -> None:
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError:
            whole = data.rfind(b"\n", 0, done) + 1
            if whole < done:
                os.ftruncate(self._descriptor, os.lseek(self._descriptor, 0, os.SEEK_CUR) - (done - whole))
            done = whole
            raise
        finally:
            self.lines_written += data.count(b"\n", 0, done)

    def _put(self, data: bytes, done: int) -> int:
        """Put what can be taken now; gives how much is out."""
        try:
            return done + os.write(self._descriptor, memoryview(data)[done : done + _PIPE_BUF])
        except BlockingIOError:  # whoever shares the descriptor may have made it non-blocking, and filled it meanwhile
            return done

    async def _put_rest(self, data: bytes, done: int) -> None:
        """Put what could not be taken at once: when that is interrupted, a reader that goes on reading gets the rest of its line."""
        putting = asyncio.create_task(self._put_all(data, done), name="stream_kernel write")
        try:
            await asyncio.shield(putting)
        finally:
            if not putting.done():
                await asyncio.wait([putting], timeout=_REST_SECONDS)
                putting.cancel()
                await asyncio.gather(putting, return_exceptions=True)

    async def _put_all(self, data: bytes, done: int) -> None:
        while done < len(data):
            await self._readiness.wait()
            done = self._put(data, done)
        self.lines_written += data.count(b"\n")


def _pieces(lines: Sequence[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a pipe takes at once; a line that is longer than that comes alone."""
    piece = b""
    for line in lines:
        if piece and len(piece) + len(line) + 1 > _PIPE_BUF:
            yield piece
            piece = b""
        piece += line + b"\n"
    if piece:
        yield piece
