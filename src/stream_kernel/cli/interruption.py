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
    """While it is entered, the first of both signals calls `end` on the event loop, and each one after it `kill`.

    `number` is the signal that came last, or None.
    """

    def __init__(self, end: Callable[[], object], kill: Callable[[], object], *, is_inline: bool) -> None:
        """`is_inline` says that nodes run in this process and may hold the event loop."""
        self.number: int | None = None
        self._end = end
        self._kill = kill
        self._is_inline = is_inline
        self._before: dict[int, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> Interruption:
        self._loop = asyncio.get_running_loop()
        # A signal that whoever started this has ignored stays ignored: a job in the background hears no Ctrl-C.
        heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        is_first, self.number = self.number is None, number
        if self._is_inline and not is_first:
            # The first one is not heard: a node does not come back. No worker is left behind.
            if os.isatty(2):
                os.write(2, _SHOW_CURSOR)
            os._exit(128 + number)
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end if is_first else self._kill)
