"""Nodes whose progress a test looks at from outside."""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stream_kernel import Envelope, NodeContext, node


def _meet(message: dict[str, Any], key: str) -> None:
    """Wait until a test opens the FIFO of this name for reading, where one is given: it knows then that this runs now."""
    if key in message:
        with Path(message[key]).open("w"):
            pass


@node(name="meet")
def meet(message: dict[str, Any], ctx: NodeContext) -> None:
    """Meet a test at the FIFO `here`, and again at `there`."""
    _meet(message, "here")
    _meet(message, "there")


@node(name="unfold", sends_to=["meet"])
def unfold(message: dict[str, Any], ctx: NodeContext) -> Iterator[Envelope]:
    """Send `first` on to the node `meet`, meet the test at `between`, send `second` on."""
    yield Envelope(message["first"], target="meet")
    _meet(message, "between")
    yield Envelope(message["second"], target="meet")


@node(name="time_left")
def time_left(message: dict[str, Any], ctx: NodeContext) -> dict[str, float]:
    """Meet a test at `here`, then at `there`; give the deadline, as two readings of the monotonic clock between which it lies."""
    meet(message, ctx)
    before = time.monotonic()
    remaining = ctx.remaining_seconds()
    return {"earliest": before + remaining, "latest": time.monotonic() + remaining}


def open_in_c(path: str) -> None:
    """Wait for the other side of a FIFO in C code that holds the interpreter lock."""
    os.close(ctypes.PyDLL(None).open(path.encode(), os.O_WRONLY))


def wait_beside() -> None:
    """What a thread does while the node is at work."""
    threading.Event().wait()


@node(name="hold_lock")
def hold_lock(message: dict[str, Any], ctx: NodeContext) -> str:
    """Hold the interpreter lock until a test opens the FIFO `here`; a second thread waits meanwhile."""
    threading.Thread(target=wait_beside, daemon=True).start()
    open_in_c(message["here"])
    return "back"


@node(name="backtrack")
def backtrack(message: Any, ctx: NodeContext) -> None:
    """Match a pattern for years, in C code that holds the interpreter lock."""
    re.match("(a+)+$", "a" * 100 + "b")
