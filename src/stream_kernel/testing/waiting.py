"""Waiting for a condition without polling: who changes something rings, who waits looks again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

__all__ = ["WAIT_SECONDS", "Bell"]

T = TypeVar("T")
WAIT_SECONDS = 20.0
"""How long a wait of a test may take when it names no other time."""


class Bell:
    """Wakes all who wait. It may be rung in any thread, and waited for on any event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def ring(self) -> None:
        """Have everybody who waits look again."""
        for loop, woken in list(self._waiting):
            loop.call_soon_threadsafe(_wake, woken)

    async def until(self, find: Callable[[], T | None], what: str, timeout_seconds: float = WAIT_SECONDS) -> T:
        """What `find` gives as soon as it is not None. Raises `TimeoutError` that names `what`."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_seconds):
                while True:
                    # First in the list, then a look: a ring in between, from another thread, is not missed.
                    entry = (loop, loop.create_future())
                    self._waiting.append(entry)
                    try:
                        found = find()
                        if found is not None:
                            return found
                        await entry[1]
                    finally:
                        self._waiting.remove(entry)
        except TimeoutError:
            pass
        raise TimeoutError(f"{what} did not come about within {timeout_seconds:g} s")


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)
