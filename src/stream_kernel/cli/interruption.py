"""Ctrl-C and SIGTERM during a run: the first ends it in order, a second one waits for nothing."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from types import FrameType

from stream_kernel.cli.signals import hear_with

__all__ = ["Interruption"]

_FAREWELL_SECONDS = 1.0
"""How long what is said at the end may take before a signal cuts it off: it waits for whoever should read it."""
_SHOW_CURSOR = b"\x1b[?25h\n"
"""A bar hides it."""


class Interruption:
    """While it is entered, the first of both signals calls `end` on the event loop, and each one after it `kill`.

    `number` is the signal that came last, or None. What comes after it was left changes nothing: the run has ended, and what is said of it
    is being written. The handler stays for that.
    """

    def __init__(self, end: Callable[[], object], kill: Callable[[], object], *, is_inline: bool) -> None:
        """`is_inline` says that nodes run in this process and may hold the event loop."""
        self.number: int | None = None
        self._end = end
        self._kill = kill
        self._is_inline = is_inline
        self._loop: asyncio.AbstractEventLoop | None = None
        self._left = 0.0

    def __enter__(self) -> Interruption:
        self._loop = asyncio.get_running_loop()
        hear_with(self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        self._left = time.monotonic()
        self._loop = None

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._loop is None:
            if time.monotonic() > self._left + _FAREWELL_SECONDS:
                _end_at_once(number)
            return
        is_first, self.number = self.number is None, number
        if self._is_inline and not is_first:
            # The first one is not heard: a node does not come back. No worker is left behind.
            _end_at_once(number)
        self._loop.call_soon_threadsafe(self._end if is_first else self._kill)


def _end_at_once(number: int) -> None:
    if os.isatty(2):
        os.write(2, _SHOW_CURSOR)
    os._exit(128 + number)
