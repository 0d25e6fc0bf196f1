"""Lines of an input, from any cutting of its bytes, in batches that wait for nothing but their first line."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_kernel.execution.orchestration.line_source import Line, LineFormat, LineSource, LineSplitter
from waiting import in_thread

LIMIT = 8


class Pipe:
    """A pipe whose read end is the input."""

    def __init__(self) -> None:
        self.output, self.input = os.pipe()

    def feed(self, data: bytes) -> None:
        os.write(self.input, data)

    def hang_up(self) -> None:
        if self.input >= 0:
            os.close(self.input)
            self.input = -1

    def close(self) -> None:
        self.hang_up()
        os.close(self.output)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def source_of(
    descriptor: int, *, name: str = "in.txt", line_format: LineFormat = "text", batch_size: int = 100, max_line_bytes: int = 1 << 16
) -> LineSource:
    return LineSource(descriptor, name, line_format=line_format, batch_size=batch_size, max_line_bytes=max_line_bytes)


async def batches(source: LineSource) -> list[list[Line]]:
    found = []
    while batch := await source.next_batch():
        found.append(batch)
    return found


async def lines_of(path: Path, data: bytes, **options: Any) -> list[Line]:
    path.write_bytes(data)
    with opened(path) as descriptor:
        return list(itertools.chain(*await batches(source_of(descriptor, **options))))


async def begun(source: LineSource) -> asyncio.Task[list[Line]]:
    """The next batch, awaited until it waits."""
    task = asyncio.get_running_loop().create_task(source.next_batch())
    await asyncio.sleep(0)
    return task


def has_reader(descriptor: int) -> bool:
    return asyncio.get_running_loop().remove_reader(descriptor)


# -- cutting


def chunked(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(
    st.lists(st.binary(max_size=2 * LIMIT).map(lambda line: line.replace(b"\n", b"")), max_size=8),
    st.binary(max_size=2 * LIMIT).map(lambda line: line.replace(b"\n", b"")),
    st.lists(st.integers(min_value=0), max_size=12),
)
def test_any_cutting_gives_the_same_lines(lines: list[bytes], rest: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter(LIMIT)
    stream = b"".join(line + b"\n" for line in lines) + rest
    found = [line for chunk in chunked(stream, cuts) for line in splitter.feed(chunk)] + splitter.last()
    whole = [*lines, rest] if rest else lines
    assert found == [line if len(line) <= LIMIT else len(line) for line in whole]
    assert splitter.last() == []


def test_only_a_newline_ends_a_line() -> None:
    text = "a\r\x0b\x0c\x1c\x85\u2028b\x00"
    assert LineSplitter(100).feed(f"{text}\n\n".encode()) == [text.encode(), b""]


def test_a_line_that_is_too_long_costs_no_memory() -> None:
    splitter = LineSplitter(1 << 20)
    chunk = bytearray(1 << 16)
    tracemalloc.start()
    try:
        for _ in range(100):
            assert splitter.feed(bytes(chunk)) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1 << 16
    assert splitter.feed(b"\nnext\n") == [100 << 16, b"next"]


# -- batches


async def test_a_pipe_gives_what_is_there_and_does_not_wait_to_fill_a_batch(pipe: Pipe) -> None:
    source = source_of(pipe.output)
    pipe.feed(b"one\ntwo\nthr")
    assert await source.next_batch() == [Line(1, "one"), Line(2, "two")]
    pipe.feed(b"ee\n")
    assert await source.next_batch() == [Line(3, "three")]


async def test_the_first_line_of_a_batch_is_waited_for(pipe: Pipe) -> None:
    source = source_of(pipe.output)
    waiting = await begun(source)
    pipe.feed(b"be")
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    pipe.feed(b"gun\n")
    assert await waiting == [Line(1, "begun")]
    assert not has_reader(pipe.output)


async def test_what_came_beyond_a_batch_is_the_next_without_a_wait(pipe: Pipe) -> None:
    source = source_of(pipe.output, batch_size=2)
    pipe.feed(b"1\n2\n3\n")
    assert [line.number for line in await source.next_batch()] == [1, 2]
    assert [line.number for line in await source.next_batch()] == [3]


async def test_a_pipe_that_is_hung_up_ends_after_its_last_line(pipe: Pipe) -> None:
    source = source_of(pipe.output)
    waiting = await begun(source)
    await in_thread(pipe.hang_up)
    assert await waiting == []
    assert await source.next_batch() == []


async def test_a_last_line_need_not_end(pipe: Pipe) -> None:
    pipe.feed(b"one\ntwo")
    pipe.hang_up()
    assert await batches(source_of(pipe.output)) == [[Line(1, "one"), Line(2, "two")]]


@pytest.mark.parametrize("batch_size", [1, 7, 5000, 100_000])
async def test_a_file_fills_its_batches(tmp_path: Path, batch_size: int) -> None:
    path = tmp_path / "in.txt"
    path.write_text("".join(f"line {n}\n" for n in range(1, 10_001)))
    with opened(path) as descriptor:
        found = await batches(source_of(descriptor, batch_size=batch_size, max_line_bytes=1 << 20))
    sizes = [len(batch) for batch in found]
    assert all(size == batch_size for size in sizes[:-1]) and sizes[-1] <= batch_size
    assert list(itertools.chain(*found)) == [Line(n, f"line {n}") for n in range(1, 10_001)]


async def test_a_batch_ends_once_it_holds_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"aaaa\nbbb\nc\ndddddddd\ne\n" + b"f" * 9 + b"\ng\n")
    with opened(path) as descriptor:
        found = await batches(source_of(descriptor, max_line_bytes=LIMIT))
    assert [[line.number for line in batch] for batch in found] == [[1, 2, 3], [4], [5, 6], [7]]


async def test_no_more_is_read_than_a_batch_takes(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes((b"x" * 1023 + b"\n") * 1000)
    with opened(path) as descriptor:
        source = source_of(descriptor, batch_size=1_000_000, max_line_bytes=10_000)
        assert len(await source.next_batch()) == 10
        assert os.lseek(descriptor, 0, os.SEEK_CUR) <= 1 << 16
        assert sum(len(batch) for batch in await batches(source)) == 990


async def test_a_batch_of_no_line_is_refused() -> None:
    with opened("/dev/null") as descriptor, pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        source_of(descriptor, batch_size=0)


async def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    assert await lines_of(tmp_path / "empty", b"") == []
    with opened("/dev/null") as descriptor:
        source = source_of(descriptor)
        assert await source.next_batch() == []
        assert (source.lines_read, source.bytes_taken, source.size) == (0, 0, None)


async def test_it_says_how_far_it_is(tmp_path: Path, pipe: Pipe) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes("äöü\r\n\n".encode() + b"x" * 20 + b"\nlast\n")
    with opened(path) as descriptor:
        source = source_of(descriptor, batch_size=1, max_line_bytes=10)
        assert (source.size, source.bytes_taken, source.lines_read) == (35, 0, 0)
        seen = []
        while await source.next_batch():
            seen.append((source.lines_read, source.bytes_taken))
        assert seen == [(1, 8), (2, 9), (3, 30), (4, 35)]
    assert source_of(pipe.output).size is None


async def test_a_last_line_without_an_end_is_all_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "in.txt"
    path.write_bytes(b"one\ntwo")
    with opened(path) as descriptor:
        source = source_of(descriptor)
        await source.next_batch()
        assert source.bytes_taken == source.size == 7


# -- what a line is


async def test_a_text_is_the_line_without_its_end(tmp_path: Path) -> None:
    data = "one\r\n two \n\n\r\nfünf \U0001f600\r\r\n\ufeffsix\n".encode()
    payloads = [line.payload for line in await lines_of(tmp_path / "in.txt", data)]
    assert payloads == ["one", " two ", "", "", "fünf \U0001f600\r", "\ufeffsix"]


@pytest.mark.parametrize(("line_format", "payloads"), [("text", ['{"n":1}', "2"]), ("jsonl", [{"n": 1}, 2])])
async def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path, line_format: LineFormat, payloads: list[Any]) -> None:
    found = await lines_of(tmp_path / "in.txt", b'\xef\xbb\xbf{"n":1}\r\n2\r\n', line_format=line_format)
    assert [line.payload for line in found] == payloads


async def test_a_text_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    found = await lines_of(tmp_path / "in.txt", b"fine\nab\xffc\nfine again\ncut \xc3")
    assert [line.payload for line in found] == ["fine", None, "fine again", None]
    assert [line.problem for line in found] == [None, "is not UTF-8: byte 3 of the line", None, "is not UTF-8: byte 5 of the line"]


async def test_jsonl_gives_values_of_any_kind(tmp_path: Path) -> None:
    data = b'{"a": [1, 2.5]}\nnull\n "text" \r\ntrue\n[]\n'
    found = await lines_of(tmp_path / "in.jsonl", data, line_format="jsonl")
    assert [line.payload for line in found] == [{"a": [1, 2.5]}, None, "text", True, []]
    assert [line.problem for line in found] == [None] * 5


@pytest.mark.parametrize(
    "line", [b"", b"{", b"{} {}", b"'a'", b"NaN", b'"\xff"', b"\xef\xbb\xbf1", b"[" * 100_000], ids=lambda line: str(line[:8])
)
async def test_a_line_that_is_not_json_is_refused_and_the_others_are_not(tmp_path: Path, line: bytes) -> None:
    found = await lines_of(tmp_path / "in.jsonl", b"1\n" + line + b"\n3\n", line_format="jsonl", max_line_bytes=1 << 20)
    assert found == [Line(1, 1), Line(2, None, "is not JSON that can be read back"), Line(3, 3)]


@pytest.mark.parametrize("line_format", ["text", "jsonl"])
async def test_a_line_that_is_too_long_says_how_long_it_is_and_the_others_stay(tmp_path: Path, line_format: LineFormat) -> None:
    data = b"1\n" + b"2" * 9 + b"\n" + b"3" * 6 + b"\n" + b"4" * 200_000
    found = await lines_of(tmp_path / "in.txt", data, line_format=line_format, max_line_bytes=LIMIT)
    kept: tuple[Any, Any] = (1, 333333) if line_format == "jsonl" else ("1", "333333")
    assert [line.payload for line in found] == [kept[0], None, kept[1], None]
    assert [line.problem for line in found] == [
        None,
        "is 9 bytes long, over execution_ipc.max_frame_bytes = 8",
        None,
        "is 200000 bytes long, over execution_ipc.max_frame_bytes = 8",
    ]


@pytest.mark.parametrize(
    ("line_format", "line", "problem"),
    [
        ("text", b'"' * 4, "is 10 bytes long as a payload, over execution_ipc.max_frame_bytes = 8"),
        ("text", b"\0", None),
        ("jsonl", b"1e-9", None),
        ("jsonl", b"1E400", "is not JSON that can be read back"),
        ("jsonl", b"[9e999]", "is not JSON that can be read back"),
    ],
)
async def test_what_a_boundary_would_refuse_is_refused_in_every_mode(
    tmp_path: Path, line_format: LineFormat, line: bytes, problem: str | None
) -> None:
    (found,) = await lines_of(tmp_path / "in.txt", line, line_format=line_format, max_line_bytes=LIMIT)
    assert found.problem == problem


async def test_an_integer_that_no_boundary_carries_is_refused_with_its_place(tmp_path: Path) -> None:
    (found,) = await lines_of(tmp_path / "in.jsonl", b'{"n":1' + b"0" * 30 + b"}", line_format="jsonl", max_line_bytes=1 << 20)
    assert found.payload is None and found.problem is not None and found.problem.startswith("at $.n: ")


# -- ends before the end


async def test_a_wait_that_is_cancelled_leaves_no_reader_and_loses_no_line(pipe: Pipe) -> None:
    source = source_of(pipe.output)
    pipe.feed(b"on")
    waiting = await begun(source)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not has_reader(pipe.output)
    pipe.feed(b"e\n")
    assert await source.next_batch() == [Line(1, "one")]


async def test_a_wait_that_is_cancelled_as_bytes_come_in_disturbs_nobody(pipe: Pipe) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))
    source = source_of(pipe.output)
    waiting = await begun(source)
    pipe.feed(b"one\n")
    await asyncio.sleep(0)  # the loop has seen the bytes, and tells the source after this test has gone on
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert problems == []
    assert await source.next_batch() == [Line(1, "one")]


async def test_a_stream_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with opened(tmp_path) as descriptor:
        with pytest.raises(IsADirectoryError) as failed:
            await source_of(descriptor, name="the input").next_batch()
        assert (failed.value.filename, failed.value.strerror) == ("the input", "Is a directory")
        assert failed.value.__cause__ is None and failed.value.__context__ is None


async def test_lines_before_a_read_error_are_given_first(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [b"one\ntwo\nth", b"ree\nfo"]

    def read(descriptor: int, size: int) -> bytes:
        if not parts:
            raise OSError(errno.EIO, "Input/output error")
        return parts.pop(0)

    pipe.feed(b"readable")
    source = source_of(pipe.output, name="standard input")
    monkeypatch.setattr(os, "read", read)
    assert await source.next_batch() == [Line(1, "one"), Line(2, "two"), Line(3, "three")]
    with pytest.raises(OSError, match="Input/output error: 'standard input'"):
        await source.next_batch()
