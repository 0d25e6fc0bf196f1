"""Faults on purpose, at exact moments of a worker's life: for tests of what a supervisor makes of them.

A worker loads this only when its bootstrap message orders faults. The points, each with what has happened when it is reached:

* `boot`: the bootstrap message has been read, nothing of it imported;
* `ready`: the nodes are built, the `ready` frame is not written;
* `read`: a command is the next to be run, and nothing of it is done: it is not in the breadcrumb, its inputs are not decoded;
* `before_node`: a node is about to work, and the breadcrumb does not name it yet;
* `in_node`: the breadcrumb names the node and its time is running; its code comes next;
* `after_node`: the node's code has given control back, with outputs or with an exception, and nothing has been made of that;
* `before_write`: a frame of a reply is encoded, none of it is written;
* `mid_write`: so many bytes of it are written;
* `after_write`: all of it is;
* `stop`: the stop message has been read, no context of a node is left.

Each step of a generator passes the three points of a node, and so does leaving it early. A reply in parts passes those of a write with
each part.
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
from stream_kernel.protocol.messages import FaultOrder
from stream_kernel.worker.stdio import Wire

__all__ = ["ACTIONS", "POINTS", "FaultPoints"]

POINTS = ("boot", "ready", "read", "before_node", "in_node", "after_node", "before_write", "mid_write", "after_write", "stop")
ACTIONS = {
    "kill": "SIGKILL to itself",
    "stop": "SIGSTOP to itself; it goes on when it is continued",
    "exit": "end at once with the exit code `argument`",
    "segv": "read from address 0",
    "close_out": "close the write end of the wire and do nothing any more",
    "close_in": "close the read end of the wire and go on; what is sent from then on is never seen",
    "garbage": "write a line that is no frame, and go on",
    "duplicate": "write the frame of the reply twice; at `before_write` and `after_write`",
    "hold": "open the FIFO `argument` for reading, and go on when the other side has closed it",
    "hang_python": "loop for ever in Python code",
    "hang_c": "sleep for ever in C code that holds the interpreter lock",
}
_AT_MID_WRITE = ("kill", "stop", "exit", "hold")
_AT_WRITE = ("before_write", "after_write")
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
        after_bytes, argument = 0, order.argument
        refusal = _refusal(order)
        if refusal is None and order.point == "mid_write":
            first, _, argument = order.argument.partition(":")
            refusal = _number_refusal("bytes", first)
            after_bytes = 0 if refusal else int(first)
        if refusal is None and order.action == "exit":
            refusal = _number_refusal("exit code", argument)
        if refusal is None and order.action == "hold" and not argument:
            refusal = "names no FIFO"
        if refusal is not None:
            raise WorkerBootstrapError(
                f"group '{group}': the fault '{order.action}' at '{order.point}' cannot be brought about: it {refusal}", group=group
            )
        return _Fault(self._action(order.action, argument), order.point, order.nth, after_bytes)

    def _action(self, name: str, argument: str) -> Callable[[], None]:
        actions: dict[str, Callable[[], None]] = {
            "kill": _kill,
            "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
            "exit": lambda: os._exit(int(argument)),
            "segv": _segv,
            "close_out": self._close_out,
            "close_in": self._close_in,
            "garbage": lambda: self._wire.write(_GARBAGE),
            "duplicate": lambda: self._wire.write(self._frame),
            "hold": lambda: _hold(argument),
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


def _refusal(order: FaultOrder) -> str | None:
    """Why the order makes no sense, whatever its argument is; None when it does."""
    if order.point not in POINTS:
        return f"is at none of the points {', '.join(POINTS)}"
    if order.action not in ACTIONS:
        return f"is none of the actions {', '.join(ACTIONS)}"
    if order.nth < 1:
        return f"is ordered for passage {order.nth}, and passages count from 1"
    if order.point == "mid_write" and order.action not in _AT_MID_WRITE:
        return f"is none of those at that point: {', '.join(_AT_MID_WRITE)}"
    if order.action == "duplicate" and order.point not in _AT_WRITE:
        return f"needs a frame: it can be at {' and '.join(_AT_WRITE)}"
    return None


def _number_refusal(what: str, text: str) -> str | None:
    return None if text.isascii() and text.isdigit() else f"needs a number as its {what}, not '{text}'"


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
