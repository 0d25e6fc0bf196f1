"""Whole lines to files and pipes, beside a loop that goes on."""

from __future__ import annotations

import asyncio
import fcntl
import os
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.execution.orchestration.line_sink import LineSink

ATOMIC = 4096


class Pipe:
    """A pipe whose write end is the output."""

    def __init__(self, flags: int = 0) -> None:
        self.output, self.input = os.pipe2(os.O_CLOEXEC | flags)

    def fill(self) -> int:
        """Write until nothing fits any more; gives how much did."""
        count = 0
        os.set_blocking(self.input, False)
        try:
            while True:
                count += os.write(self.input, b"." * ATOMIC)
        except BlockingIOError:
            os.set_blocking(self.input, True)
            return count

    def take(self, size: int) -> bytes:
        """Exactly so many bytes."""
        data = b""
        while len(data) < size:
            part = os.read(self.output, size - len(data))
            assert part, "the pipe ended early"
            data += part
        return data

    def rest(self) -> list[bytes]:
        """What each read gives, until the writer has gone."""
        return list(iter(lambda: os.read(self.output, 1 << 20), b""))

    def hang_up(self) -> None:
        """Go as a reader."""
        if self.output >= 0:
            os.close(self.output)
            self.output = -1

    def end(self) -> None:
        """Go as the writer."""
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def close(self) -> None:
        self.hang_up()
        self.end()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@contextmanager
def opened(path: Path | str, flags: int = 0) -> Iterator[int]:
    descriptor = os.open(path, os.O_WRONLY | flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """A file system that is full, as far as this process can tell: a write beyond `size` bytes is cut, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def begun(sink: LineSink, *lines: bytes) -> asyncio.Task[None]:
    """A write, awaited until it waits."""
    task = asyncio.get_running_loop().create_task(sink.write(lines))
    await passes()
    return task


async def passes() -> None:
    """Let the loop go round as often as a full pipe takes pieces, and some more."""
    for _ in range(100):
        await asyncio.sleep(0)


def has_writer(descriptor: int) -> bool:
    return asyncio.get_running_loop().remove_writer(descriptor)


def packets_of(lines: list[bytes]) -> list[bytes]:
    """The pieces in which a pipe gets these lines: one in packet mode keeps them apart."""
    pipe = Pipe(os.O_DIRECT)
    try:
        with ThreadPoolExecutor(1) as threads:
            reading = threads.submit(pipe.rest)
            asyncio.run(LineSink(pipe.input, "out").write(lines))
            pipe.end()
            return reading.result(20)
    finally:
        pipe.close()


# -- files


async def test_lines_get_their_ends_and_follow_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with opened(path, os.O_CREAT) as descriptor:
        sink = LineSink(descriptor, "out.txt")
        await sink.write([b"one", b""])
        await sink.write([])
        await sink.write([b"\xff\r", b"x" * 100_000])
    assert path.read_bytes() == b"one\n\n\xff\r\n" + b"x" * 100_000 + b"\n"


async def test_the_descriptor_stays_open(tmp_path: Path, pipe: Pipe) -> None:
    with opened(tmp_path / "out.txt", os.O_CREAT) as descriptor:
        for one in (descriptor, pipe.input):
            await LineSink(one, "out").write([b"x"])
            fcntl.fcntl(one, fcntl.F_GETFD)


@pytest.mark.parametrize(
    ("before", "limit", "kept"),
    [
        (b"", 10, b"aaaa\nbbbb\n"),  # full at the end of a line
        (b"", 13, b"aaaa\nbbbb\n"),  # within the third
        (b"", 3, b""),  # within the first
        (b"head\n", 13, b"head\naaaa\n"),
        (b"head\n", 7, b"head\n"),
        (b"head\n", 5, b"head\n"),  # full before anything is written
    ],
)
@pytest.mark.parametrize("flags", [0, os.O_APPEND])
async def test_a_file_that_runs_full_ends_with_the_last_whole_line(
    tmp_path: Path, before: bytes, limit: int, kept: bytes, flags: int
) -> None:
    path = tmp_path / "out.txt"
    path.write_bytes(before)
    with opened(path, flags) as descriptor:
        os.lseek(descriptor, 0, os.SEEK_END)
        with file_size_limit(limit), pytest.raises(OSError, match=r"^\[Errno 27\] File too large: 'out\.txt'$") as failed:
            await LineSink(descriptor, "out.txt").write([b"aaaa", b"bbbb", b"cccc"])
        assert failed.value.__cause__ is None and failed.value.__context__ is None
    assert path.read_bytes() == kept


async def test_a_batch_that_has_no_room_leaves_the_batches_before_it(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    with opened(path, os.O_CREAT) as descriptor, file_size_limit(12):
        sink = LineSink(descriptor, "out.txt")
        await sink.write([b"aaaa", b"bbbb"])
        with pytest.raises(OSError, match="File too large"):
            await sink.write([b"cccc"])
    assert path.read_bytes() == b"aaaa\nbbbb\n"


# -- pipes


async def test_a_slow_reader_holds_up_the_write_and_not_the_loop(pipe: Pipe) -> None:
    filled = pipe.fill()
    writing = await begun(LineSink(pipe.input, "out"), b"one", b"two")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not writing.done()
    assert pipe.take(filled) == b"." * filled
    await writing
    assert pipe.take(8) == b"one\ntwo\n"
    assert not has_writer(pipe.input)


async def test_a_line_longer_than_a_pipe_goes_through_as_it_is_read(pipe: Pipe) -> None:
    long = bytes(range(11, 256)) * 2000
    writing = await begun(LineSink(pipe.input, "out"), b"before", long, b"after")
    expected = b"before\n" + long + b"\nafter\n"
    found = b""
    while len(found) < len(expected):
        assert not writing.done() or len(expected) - len(found) <= 1 << 16
        found += os.read(pipe.output, 5000)
        await passes()
    await writing
    assert found == expected


async def test_a_pipe_that_does_not_block_loses_nothing_to_whoever_fills_it_meanwhile(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    filled = 0

    def write_behind_another(descriptor: int, data: bytes) -> int:
        nonlocal filled
        monkeypatch.setattr(os, "write", write)
        filled = pipe.fill()
        os.set_blocking(descriptor, False)
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", write_behind_another)
    writing = await begun(LineSink(pipe.input, "out"), b"one")
    assert filled and not writing.done()
    pipe.take(filled)
    await writing
    assert pipe.take(4) == b"one\n"


@pytest.mark.parametrize("kind", ["file", "pipe"])
async def test_what_is_taken_only_in_part_is_written_on(tmp_path: Path, pipe: Pipe, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    path = tmp_path / "out.txt"
    with opened(path, os.O_CREAT) as descriptor:
        await LineSink(descriptor if kind == "file" else pipe.input, "out").write([b"one", b"twotwo", b"x"])
    assert (path.read_bytes() if kind == "file" else pipe.take(13)) == b"one\ntwotwo\nx\n"


@given(st.lists(st.integers(min_value=0, max_value=3 * ATOMIC) | st.sampled_from([ATOMIC - 2, ATOMIC - 1, ATOMIC]), max_size=12))
def test_a_pipe_gets_whole_lines_at_once_and_cuts_only_what_is_too_long_for_that(sizes: list[int]) -> None:
    lines = [bytes([65 + index]) * size for index, size in enumerate(sizes)]
    packets = packets_of(lines)
    assert b"".join(packets) == b"".join(line + b"\n" for line in lines)
    assert all(len(packet) <= ATOMIC for packet in packets)
    assert all(packet.endswith(b"\n") or (len(packet) == ATOMIC and b"\n" not in packet) for packet in packets)


def test_short_lines_share_a_piece() -> None:
    assert packets_of([b"one", b"two", b"x" * (ATOMIC - 9)]) == [b"one\ntwo\n" + b"x" * (ATOMIC - 9) + b"\n"]
    assert packets_of([b"one", b"two", b"x" * (ATOMIC - 8)]) == [b"one\ntwo\n", b"x" * (ATOMIC - 8) + b"\n"]
    assert packets_of([b"one", b"x" * ATOMIC, b"two"]) == [b"one\n", b"x" * ATOMIC, b"\n", b"two\n"]


# -- ends before the end


async def test_a_reader_that_has_gone_is_a_broken_pipe(pipe: Pipe) -> None:
    pipe.hang_up()
    with pytest.raises(BrokenPipeError) as failed:
        await LineSink(pipe.input, "standard output").write([b"one"])
    assert (failed.value.filename, failed.value.strerror) == ("standard output", "Broken pipe")


async def test_a_reader_that_goes_while_it_is_waited_for_is_a_broken_pipe(pipe: Pipe) -> None:
    pipe.fill()
    writing = await begun(LineSink(pipe.input, "out"), b"one")
    pipe.hang_up()
    with pytest.raises(BrokenPipeError):
        await writing
    assert not has_writer(pipe.input)


async def test_a_wait_that_is_cancelled_leaves_no_writer(pipe: Pipe) -> None:
    pipe.fill()
    writing = await begun(LineSink(pipe.input, "out"), b"one")
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert not has_writer(pipe.input)


async def test_a_wait_that_is_cancelled_as_there_is_room_again_disturbs_nobody(pipe: Pipe) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    filled = pipe.fill()
    writing = await begun(LineSink(pipe.input, "out"), b"one")
    pipe.take(filled)
    await asyncio.sleep(0)  # the loop has seen the room, and tells the sink after this test has gone on
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert problems == []


async def test_a_device_that_cannot_be_written_is_named() -> None:
    with opened("/dev/full") as descriptor, pytest.raises(OSError, match=r"No space left on device: 'out\.txt'$"):
        await LineSink(descriptor, "out.txt").write([b"one"])


async def test_what_goes_to_dev_null_is_gone() -> None:
    with opened("/dev/null") as descriptor:
        await asyncio.wait_for(LineSink(descriptor, "/dev/null").write([b"x" * 100_000] * 10), 20)


async def test_a_short_line_that_was_taken_in_part_is_ended_when_it_is_interrupted(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    sink = LineSink(pipe.input, "out")
    writing = asyncio.get_running_loop().create_task(sink.write([b"onetwothree"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert (pipe.take(12), sink.lines_written) == (b"onetwothree\n", 1)
