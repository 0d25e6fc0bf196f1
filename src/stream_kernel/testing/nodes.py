"""Nodes that misbehave on demand, for tests of what a program makes of it. Each gives back a message that asks for nothing."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Any

from stream_kernel.nodes.context import NodeContext
from stream_kernel.nodes.decorator import node

__all__ = ["crashing_node", "hanging_node", "leaking_node"]

_held: list[bytes] = []
_MIB = 1 << 20


@node(name="crashing_node")
def crashing_node(message: Any, ctx: NodeContext) -> Any:
    """End the worker process for `{"exit_code": 3}` or `{"signal": "SIGSEGV"}`."""
    asked = message if isinstance(message, dict) else {}
    if "exit_code" in asked:
        os._exit(asked["exit_code"])
    if "signal" in asked:
        _die_of(signal.Signals[asked["signal"]])
    return message


def _die_of(number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    time.sleep(1)  # another thread may be the one that takes it
    raise RuntimeError(f"{number.name} does not end a process")


@node(name="hanging_node")
def hanging_node(message: Any, ctx: NodeContext) -> Any:
    """Never come back for `{"hang": "python"}` (busy), `{"hang": "sleep"}` and `{"hang": "gil"}` (C code that holds the GIL)."""
    how = message.get("hang") if isinstance(message, dict) else None
    if how == "python":
        while True:
            pass
    library = ctypes.PyDLL(None) if how == "gil" else ctypes.CDLL(None)  # unlike CDLL, PyDLL keeps the GIL during a call
    while how in ("gil", "sleep"):
        library.sleep(3600)
    return message


@node(name="leaking_node")
def leaking_node(message: Any, ctx: NodeContext) -> Any:
    """Take so many MiB for `{"leak_mib": 64}` and never give them back; gives `{"held_mib": ...}`, all that it holds."""
    if not (isinstance(message, dict) and "leak_mib" in message):
        return message
    _held.append(b"\1" * (message["leak_mib"] * _MIB))  # zeros would take no memory before they are changed
    return {"held_mib": sum(map(len, _held)) // _MIB}
