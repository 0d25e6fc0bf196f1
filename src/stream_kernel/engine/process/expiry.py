"""The last moments of a worker whose command has passed its deadline: it is stopped, looked at, and ended with its stacks written.

First it is stopped, so that between a look at its pipe and its end it can answer nothing, and can begin nothing for another caller. When
it has not answered by then, it writes its stacks and ends by that: a node that our signal wakes from a system call never goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from stream_kernel.engine.process.worker_process import WorkerProcess

__all__ = ["Expiry"]

_FREEZE_SECONDS = 0.003
"""A process that runs on another processor takes some microseconds to stop."""
_STACKS_SECONDS = 0.022


class Expiry:
    """`has_answered` tells whether the command's reply has come; `conclude` is called once, with whether it had come before the end."""

    def __init__(self, process: WorkerProcess, has_answered: Callable[[], bool], conclude: Callable[[bool], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._process = process
        self._has_answered = has_answered
        self._conclude = conclude
        self._state: Literal["stopped", "ending", "over"] = "stopped"
        process.freeze()
        self._timer = self._loop.call_later(_FREEZE_SECONDS, self._decide)

    def close(self) -> None:
        """`conclude` is not called any more."""
        self._state = "over"
        self._timer.cancel()

    def process_ended(self) -> None:
        """The process is gone. Concludes, when it has ended by what was asked of it here."""
        if self._state == "ending":
            self._finish(is_late=False)

    def _decide(self) -> None:
        if self._has_answered():
            self._process.thaw()
            self._finish(is_late=True)
        else:
            self._state = "ending"
            self._process.end_with_stacks()
            self._timer = self._loop.call_later(_STACKS_SECONDS, lambda: self._finish(is_late=False))

    def _finish(self, *, is_late: bool) -> None:
        self.close()
        self._conclude(is_late)
