"""Ctrl-C and SIGTERM outside of a run: while the command is imported, while it gets ready, and while the interpreter ends.

Importing takes a while, so this is what comes first, and it imports next to nothing.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

__all__ = ["Interrupter", "deafen", "end_at_once", "hear_with"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def hear_with(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let both signals call `handler`. One that whoever started this has ignored stays ignored: a job in the background hears no Ctrl-C."""
    with suppress(ValueError):  # only the main thread has signals
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)


def end_at_once(number: int, frame: FrameType | None) -> None:
    """Nothing has been opened or started yet that would have to be left in order."""
    os._exit(128 + number)


def deafen() -> None:
    """The interpreter is about to take the handlers away: without them a signal would decide on the exit code."""
    with suppress(ValueError):
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)


class Interrupter:
    """The first signal raises `KeyboardInterrupt`, whichever it is, a second one ends the process. `number` is the first, or None."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.number is not None:
            os._exit(128 + number)
        self.number = number
        raise KeyboardInterrupt
