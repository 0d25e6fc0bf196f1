"""The words of a fault order: points in a worker's life, what the worker can do to itself there, and which goes with which.

The points, each with what has happened when it is reached:

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

from typing import Literal, TypedDict, get_args

__all__ = ["ACTIONS", "POINTS", "Actions", "Point", "argument_parts", "count_refusal", "misfit"]

Point = Literal["boot", "ready", "read", "before_node", "in_node", "after_node", "before_write", "mid_write", "after_write", "stop"]
POINTS: tuple[str, ...] = get_args(Point)


class Actions(TypedDict, total=False):
    """What a worker can do to itself, and at which point."""

    kill: Point
    """SIGKILL."""
    stop: Point
    """SIGSTOP; it goes on when it is continued."""
    exit: Point
    """`os._exit` with `code`."""
    segv: Point
    """A segmentation fault."""
    close_out: Point
    """Close its stdout, and live on, doing nothing."""
    close_in: Point
    """Close its stdin, and go on; what is sent from then on is never seen."""
    garbage: Point
    """Write a line that is no message, and go on."""
    duplicate: Point
    """Write the frame of a reply twice."""
    hold: Point
    """Open `fifo` for reading, and go on when its writer has closed it."""
    hang_python: Point
    """Loop for ever in Python."""
    hang_c: Point
    """Sleep for ever in C code that holds the interpreter lock."""


ACTIONS = tuple(Actions.__annotations__)

_AT_MID_WRITE = ("kill", "stop", "exit", "hold")
_AT_A_FRAME = ("before_write", "after_write")


def misfit(point: str, action: str) -> str | None:
    """Why this action cannot be at this point, or None."""
    if point not in POINTS:
        return f"there is no such point (there are: {', '.join(POINTS)})"
    if action not in ACTIONS:
        return f"there is no such action (there are: {', '.join(ACTIONS)})"
    if point == "mid_write" and action not in _AT_MID_WRITE:
        return f"in the middle of a frame there can only be {', '.join(_AT_MID_WRITE)}"
    if action == "duplicate" and point not in _AT_A_FRAME:
        return f"there is a frame to write twice only at {' and '.join(_AT_A_FRAME)}"
    return None


def count_refusal(name: str, value: int, least: int) -> str | None:
    """Why a number that counts from `least` cannot be `value`, or None."""
    return None if value >= least else f"{name} counts from {least}; it is {value}"


def argument_parts(point: str, action: str) -> tuple[str, ...]:
    """What the argument of such an order holds, in this order, with a colon between: of `after_bytes`, `code` and `fifo`."""
    at_point = ("after_bytes",) if point == "mid_write" else ()
    of_action = {"exit": ("code",), "hold": ("fifo",)}
    return (*at_point, *of_action.get(action, ()))
