"""The drain of a worker's stderr."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from stream_kernel.engine.process.stderr import StderrDrain


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


async def drained(pipe: tuple[int, int], *chunks: bytes) -> tuple[str, ...]:
    drain = StderrDrain(pipe[0], group="g", worker_id="g#0")
    drain.open()
    for chunk in chunks:
        os.write(pipe[1], chunk)
        drain._read_once()
    drain.close()
    drain.close()
    return drain.tail()


async def test_lines_are_joined_over_chunks_and_the_last_needs_no_end(pipe: tuple[int, int]) -> None:
    assert await drained(pipe, b"one\ntw", b"o\nthree") == ("one", "two", "three")


async def test_only_the_last_lines_are_kept(pipe: tuple[int, int]) -> None:
    tail = await drained(pipe, b"".join(b"%d\n" % n for n in range(1000)))
    assert tail == tuple(str(n) for n in range(950, 1000))


async def test_long_lines_are_cut(pipe: tuple[int, int]) -> None:
    tail = await drained(pipe, b"x" * 30_000, b"x" * 30_000 + b"\nshort\n")
    assert all(len(line) <= 2000 for line in tail)
    assert tail[-1] == "short"


async def test_what_a_terminal_would_obey_is_escaped(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    assert await drained(pipe, b"\x1b[31m red \r\x00 \xff \xc3\xa9 \xe2\x80\xae\n") == (r"\x1b[31m red \r\x00 \xff é \u202e",)
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("stream_kernel.worker.g", r"g#0: \x1b[31m red \r\x00 \xff é \u202e")
    ]


async def test_what_is_in_the_pipe_at_the_end_is_taken(pipe: tuple[int, int]) -> None:
    drain = StderrDrain(pipe[0], group="g", worker_id="g#0")
    drain.open()
    os.write(pipe[1], b"last words\n")
    drain.close()
    assert drain.tail() == ("last words",)
