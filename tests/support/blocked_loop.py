"""An event loop with virtual time that does not come round for a while."""

from __future__ import annotations

import asyncio

from virtual_clock import VirtualClockLoop

__all__ = ["block"]


def block(seconds: float) -> None:
    """Let so much time pass on the running loop, which sees nothing of it: as if a callback took so long, or the machine had slept."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualClockLoop)
    loop._now += seconds
