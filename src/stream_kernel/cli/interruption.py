"""Ctrl-C and SIGTERM during a run: the first ends it in order, a second one waits for nothing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Interruption"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHOW_CURSOR = b"\x1b[?25h\n"
"""A bar hides it."""


class Interruption:
    """While it is entered, both signals cancel the task that entered it. `number` is the signal that came, or None."""

    def __init__(self, *, is_inline: bool) -> None:
        """`is_inline` says that nodes run in this process and may hold the event loop."""
        self.number: int | None = None
        self._is_inline = is_inline
        self._before: dict[int, Any] = {}
        self._cancel: Callable[[], object] = lambda: None

    def __enter__(self) -> Interruption:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        self._cancel = lambda: loop.call_soon_threadsafe(task.cancel)
        # A signal that whoever started this has ignored stays ignored: a job in the background hears no Ctrl-C.
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._end) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._is_inline and self.number is not None:
            # The first one is not heard: a node does not come back. No worker is left behind.
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
        self.number = number
        self._cancel()
