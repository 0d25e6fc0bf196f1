"""A worker that floods its stderr with short lines: the event loop is never held up by them, and the writer hardly."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from stream_kernel import AsyncBoundarySupervisor, RuntimeConfig


async def longest_pass(work: asyncio.Task[object]) -> float:
    """The most time of the processor that this thread took between two passes of the loop, until `work` was done, in seconds."""
    longest = 0.0
    while not work.done():
        before = time.thread_time()
        await asyncio.sleep(0)
        longest = max(longest, time.thread_time() - before)
    return longest


@pytest.mark.fault("FAULT-24")
@pytest.mark.parametrize("level", [logging.WARNING, logging.INFO])
async def test_a_flood_of_empty_lines_holds_up_no_pass_of_the_loop(
    faulty: Callable[..., RuntimeConfig], caplog: pytest.LogCaptureFixture, level: int
) -> None:
    async with AsyncBoundarySupervisor(faulty({"g": ["stderr_flood"], "other": ["echo"]})) as supervisor:
        caplog.set_level(level, "stream_kernel")
        flood = {"text": "\n" * (1 << 16), "times": 64}
        work = asyncio.create_task(supervisor.call("stderr_flood", flood, timeout_seconds=60))
        assert await longest_pass(work) < 0.05
        assert await work == "written"
        assert await supervisor.call("echo", 1) == {"value": 1}
    seconds = 60  # at most, by the deadline of the call
    assert sum(record.name == "stream_kernel.worker.g" for record in caplog.records) < seconds * 1001
