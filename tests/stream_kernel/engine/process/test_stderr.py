"""The drain of a worker's stderr."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest

from stream_kernel.engine.process.stderr import StderrDrain
from virtual_clock import on_virtual_clock


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


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last look."""
    lines = [record.getMessage().removeprefix("g#0: ") for record in caplog.records]
    caplog.clear()
    return lines


async def logged_by_passes(caplog: pytest.LogCaptureFixture, passes: int) -> list[list[str]]:
    """What each of so many passes of the loop has logged, those that logged nothing left out."""
    seen = []
    for _ in range(passes):
        await asyncio.sleep(0)
        seen.append(logged(caplog))
    return [lines for lines in seen if lines]


@on_virtual_clock
async def test_a_flood_of_short_lines_is_logged_a_few_in_each_pass_of_the_loop_and_the_rest_is_counted(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    drain = StderrDrain(pipe[0], group="g", worker_id="g#0")
    drain.open()
    os.write(pipe[1], b"".join(b"%d\n" % n for n in range(9000)))
    by_passes = await logged_by_passes(caplog, 100)
    assert max(len(lines) for lines in by_passes) == 50
    assert [line for lines in by_passes for line in lines] == [str(n) for n in range(1000)]
    assert drain.tail() == tuple(str(n) for n in range(8950, 9000))
    await asyncio.sleep(1.5)  # nothing more is written, and the count is told all the same
    assert logged(caplog) == ["[lines left out: 8000]"]
    os.write(pipe[1], b"later\n")
    assert await logged_by_passes(caplog, 10) == [["later"]]
    drain.close()
    assert logged(caplog) == []


@on_virtual_clock
async def test_long_lines_are_logged_one_or_two_in_each_pass_of_the_loop(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    drain = StderrDrain(pipe[0], group="g", worker_id="g#0")
    drain.open()
    os.write(pipe[1], b"".join(b"%d" % n * 3000 + b"\n" for n in range(10)))
    assert [len(lines) for lines in await logged_by_passes(caplog, 20)] == [2] * 5
    drain.close()


@on_virtual_clock
async def test_in_a_flood_that_lasts_each_second_has_its_lines_and_its_count(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    drain = StderrDrain(pipe[0], group="g", worker_id="g#0")
    drain.open()
    for _ in range(6):
        os.write(pipe[1], b"x\n" * 700)
        await asyncio.sleep(0.5)
    drain.close()
    assert logged(caplog) == (["x"] * 1000 + ["[lines left out: 400]"]) * 3


@pytest.mark.parametrize(("count", "left_out"), [(150, 0), (900, 700), (1040, 840), (5000, 4950)])
async def test_at_its_end_the_last_lines_are_logged_and_the_others_counted(
    pipe: tuple[int, int], caplog: pytest.LogCaptureFixture, count: int, left_out: int
) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    await drained(pipe, b"".join(b"%d\n" % n for n in range(count - 1)), b"%d" % (count - 1))
    notice = [f"[lines left out: {left_out}]"] if left_out else []
    assert logged(caplog) == [*notice, *(str(n) for n in range(left_out, count))]
    await asyncio.sleep(0)
    assert logged(caplog) == []


async def test_at_its_end_long_lines_are_logged_up_to_a_bound_in_bytes(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stream_kernel")
    await drained(pipe, (b"x" * 999 + b"\n") * 60)
    notice, *lines = logged(caplog)
    assert (notice, lines) == ("[lines left out: 28]", ["x" * 999] * 32)


async def test_lines_that_nobody_logs_are_neither_kept_for_it_nor_counted(pipe: tuple[int, int], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "stream_kernel")
    await drained(pipe, b"x\n" * 5000)
    assert logged(caplog) == []
