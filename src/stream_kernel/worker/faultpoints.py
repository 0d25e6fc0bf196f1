"""Faults on purpose, at exact moments of a worker's life: for tests of what a supervisor makes of them.

A worker loads this only when its bootstrap message orders faults. Points and actions are those of `stream_kernel.protocol.faults`.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NoReturn

import msgspec

from stream_kernel.errors import WorkerBootstrapError
from stream_kernel.protocol.faults import argument_parts, count_refusal, misfit
from stream_kernel.protocol.messages import FaultOrder
from stream_kernel.worker.stdio import Wire

__all__ = ["FaultPoints"]

_GARBAGE = b"this is no frame\n"


class _Fault(msgspec.Struct, frozen=True):
    """An order that was understood. `after_bytes` is for `mid_write` alone."""

    act: Callable[[], None]
    point: str
    nth: int
    after_bytes: int = 0


class FaultPoints:
    """Counts how often each point is passed, and brings about what was ordered for that passage."""

    def __init__(self, group: str, orders: Iterable[FaultOrder], wire: Wire) -> None:
        """Raises `WorkerBootstrapError` for an order that cannot be followed."""
        self._wire = wire
        self._frame = b""
        self._passages: Counter[str] = Counter()
        self._faults = [self._understood(group, order) for order in orders]

    def reach(self, point: str) -> None:
        """This point is passed now."""
        for fault in self._due(point):
            fault.act()

    def around(self, note: Callable[[int, str], None]) -> Callable[[int, str], None]:
        """`note` between the two points before a node."""

        def noted(index: int, node: str) -> None:
            self.reach("before_node")
            note(index, node)
            self.reach("in_node")

        return noted

    def after_node(self) -> None:
        """A node has given control back."""
        self.reach("after_node")

    def write_reply(self, frame: bytes) -> None:
        """Write a frame of a reply, and pass the points of a write."""
        self._frame = frame
        self.reach("before_write")
        written = 0
        for fault in sorted(self._due("mid_write"), key=lambda fault: fault.after_bytes):
            self._wire.write(frame[written : fault.after_bytes])
            written = max(written, fault.after_bytes)
            fault.act()
        self._wire.write(frame[written:])
        self.reach("after_write")

    def _due(self, point: str) -> list[_Fault]:
        self._passages[point] += 1
        return [fault for fault in self._faults if fault.point == point and fault.nth == self._passages[point]]

    # -- orders

    def _understood(self, group: str, order: FaultOrder) -> _Fault:
        refusal = misfit(order.point, order.action) or count_refusal("nth", order.nth, 1)
        names = argument_parts(order.point, order.action)
        parts = dict(zip(names, order.argument.split(":", max(0, len(names) - 1)), strict=False))
        for name in names:
            refusal = refusal or _part_refusal(name, parts.get(name, ""))
        if refusal is not None:
            raise WorkerBootstrapError(
                f"group '{group}': the fault '{order.action}' at '{order.point}' cannot be brought about: {refusal}", group=group
            )
        return _Fault(self._action(order.action, parts), order.point, order.nth, int(parts.get("after_bytes", 0)))

    def _action(self, name: str, parts: dict[str, str]) -> Callable[[], None]:
        actions: dict[str, Callable[[], None]] = {
            "kill": _kill,
            "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
            "exit": lambda: os._exit(int(parts["code"])),
            "segv": _segv,
            "close_out": self._close_out,
            "close_in": self._close_in,
            "garbage": lambda: self._wire.write(_GARBAGE),
            "duplicate": lambda: self._wire.write(self._frame),
            "hold": lambda: _hold(parts["fifo"]),
            "hang_python": _hang_python,
            "hang_c": _hang_c,
        }
        return actions[name]

    def _close_out(self) -> NoReturn:
        os.close(self._wire.write_fd)
        while True:
            signal.pause()

    def _close_in(self) -> None:
        # The number must stay taken, or the next file that a node opens would be read as the wire.
        reader, _ = os.pipe()
        os.dup2(reader, self._wire.read_fd, inheritable=False)
        os.close(reader)


def _part_refusal(name: str, text: str) -> str | None:
    """Why a part of the argument cannot be this, or None."""
    if name == "fifo":
        return None if text else "fifo names no FIFO"
    return None if text.isascii() and text.isdigit() else f"{name} must be a number, not '{text}'"


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _segv() -> None:
    import ctypes

    ctypes.string_at(0)


def _hold(path: str) -> None:
    with Path(path).open("rb") as fifo:
        fifo.read()


def _hang_python() -> NoReturn:
    while True:
        pass


def _hang_c() -> NoReturn:
    import ctypes

    library = ctypes.PyDLL(None)  # unlike CDLL, it keeps the lock during a call
    while True:
        library.sleep(3600)
