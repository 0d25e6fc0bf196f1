"""What PID 1 of a container owes: the orphans of its PID namespace become its children, and when they end nobody else reaps them.

Only what was inherited is reaped. The status of a worker belongs to its supervisor; so a child is taken only when it was found dead twice
and is no worker's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

__all__ = ["Reaper", "reaping"]

_INTERVAL_SECONDS = 1.0


class Reaper:
    """Reaps the dead children of this process that nobody waits for."""

    def __init__(self, awaited: Callable[[], Collection[int]]) -> None:
        """`awaited` gives the processes whose end somebody waits for."""
        self._awaited = awaited
        self._suspects: set[int] = set()

    def scan(self) -> list[int]:
        """Look once: reap those that the last look has found dead too. Gives their numbers."""
        dead = set(_dead_children()) - set(self._awaited())
        reaped = [pid for pid in sorted(dead & self._suspects) if _reap(pid)]
        self._suspects = dead.difference(reaped)
        return reaped


@asynccontextmanager
async def reaping(awaited: Callable[[], Collection[int]]) -> AsyncIterator[None]:
    """As PID 1, reap every second within the block; any other process inherits nothing."""
    if os.getpid() != 1:
        yield
        return
    reaper = Reaper(awaited)

    async def scan() -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            reaper.scan()

    scanning = asyncio.create_task(scan(), name="stream_kernel reaper")
    try:
        yield
    finally:
        scanning.cancel()


def _dead_children() -> Iterator[int]:
    # Not every kernel lists the children of a process; the parent of each process is known to all.
    mine = str(os.getpid())
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it is gone
            state, parent = entry.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if (state, parent) == ("Z", mine):
                yield int(entry.parent.name)


def _reap(pid: int) -> bool:
    with suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return False
