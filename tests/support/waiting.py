"""Ways to wait: bounded polling for conditions that no event announces, and blocking waits beside an event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["HANG_SECONDS", "in_thread", "until"]

R = TypeVar("R")
HANG_SECONDS = 1.5
"""The deadline of a node that has to say before that it hangs: not so near that a busy machine does not get there."""


def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Return when `condition` holds; fail when it does not come to."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come about in time"
        time.sleep(0.002)


async def in_thread(blocking: Callable[..., R], *arguments: object) -> R:
    """What `blocking` gives, run in a thread that is gone afterwards (those of `asyncio.to_thread` stay)."""
    with ThreadPoolExecutor(1) as threads:
        return await asyncio.get_running_loop().run_in_executor(threads, blocking, *arguments)
