"""The last moments of a worker whose command has passed its deadline: its stacks are taken, within a bound, before it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stream_kernel.engine.process.worker_process import WorkerProcess

__all__ = ["Expiry"]

_LONGEST_SECONDS = 0.025
_LOOK_SECONDS = 0.003


class Expiry:
    """Asks for the stacks, waits until they are written or the time is over, and calls `conclude` with them (None: there were none)."""

    def __init__(self, process: WorkerProcess, conclude: Callable[[str | None], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._conclude = conclude
        self._seen = ""
        self._before = len(process.stacks())
        """How much was written when it was asked before, for another command."""
        self._until = self._loop.time() + _LONGEST_SECONDS
        process.ask_for_stacks()
        self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)

    def close(self) -> None:
        """Stop waiting; `conclude` is not called any more."""
        self._timer.cancel()

    def _look(self) -> None:
        stacks = self._process.stacks()[self._before :]
        if (stacks and stacks == self._seen) or self._loop.time() >= self._until:
            self._conclude(stacks or None)
        else:  # there is no mark at the end: what has not grown since the last look is whole
            self._seen = stacks
            self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
