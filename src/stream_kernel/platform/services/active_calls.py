"""The calls at work, counted for whoever wants to wait until none is left."""

from __future__ import annotations

import asyncio

__all__ = ["ActiveCalls"]


class ActiveCalls:
    """Used on one event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._idle: asyncio.Event | None = None

    def enter(self) -> None:
        self.count += 1

    def leave(self) -> None:
        self.count -= 1
        if not self.count and self._idle is not None:
            self._idle.set()
            self._idle = None

    async def until_idle(self, deadline: float) -> None:
        """Return when no call is at work; raises `TimeoutError` at `deadline`, a point on the loop's clock."""
        try:
            async with asyncio.timeout_at(deadline):
                while self.count:
                    if self._idle is None:
                        self._idle = asyncio.Event()
                    await self._idle.wait()
        except TimeoutError:
            problem = f"{self.count} calls did not end within the grace"
        else:
            return
        raise TimeoutError(problem)
