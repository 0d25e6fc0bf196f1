"""Orders for faults: what a worker of a supervisor that was built for tests is to do to itself, and at which moment."""

from __future__ import annotations

import os
from typing import Any, Literal, TypedDict, Unpack

from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.errors import ConfigurationError
from stream_kernel.protocol.messages import FaultOrder
from stream_kernel.worker.faultpoints import ACTIONS, POINTS

__all__ = ["Actions", "Point", "chaos"]

Point = Literal["boot", "ready", "read", "before_node", "in_node", "after_node", "before_write", "mid_write", "after_write", "stop"]
_AT_MID_WRITE = ("kill", "stop", "exit", "hold")
_AT_A_FRAME = ("before_write", "after_write")


class Actions(TypedDict, total=False):
    """What a worker can do to itself, and at which point."""

    kill: Point
    """SIGKILL."""
    stop: Point
    """SIGSTOP."""
    exit: Point
    """`os._exit` with `code`."""
    segv: Point
    """A segmentation fault."""
    close_out: Point
    """Close its stdout, and live on."""
    close_in: Point
    """Close its stdin, and go on."""
    garbage: Point
    """Write a line that is no message, and go on."""
    duplicate: Point
    """Write the frame of a reply twice."""
    hold: Point
    """Open `fifo`, and go on when its writer has closed it."""
    hang_python: Point
    """Loop for ever in Python."""
    hang_c: Point
    """Sleep for ever in C code that holds the interpreter lock."""


def chaos(
    *,
    code: int | None = None,
    after_bytes: int | None = None,
    fifo: str | os.PathLike[str] | None = None,
    nth: int = 1,
    group: str | None = None,
    worker_index: int | None = None,
    generation: int | None = 1,
    **action: Unpack[Actions],
) -> PlannedFault:
    """A fault for the `chaos` list of a supervisor. One keyword names the action, its value the point: `chaos(kill="before_write")`.

    :param code: of `exit`: the exit code, from 0 to 255.
    :param after_bytes: of the point `mid_write`: how many bytes of the frame are written before.
    :param fifo: of `hold`: the FIFO that the worker opens for reading; it goes on when the writer has closed it.
    :param nth: at which passage of the point, counted from 1 in each incarnation of a worker.
    :param group: in the workers of this group; None: of all.
    :param worker_index: in this worker of the group, counted from 0; None: in all.
    :param generation: in this incarnation of a worker, counted from 1; None: in all, replacements too.
    :raises ConfigurationError: the arguments do not fit together; the text says which.
    """
    named, point = _chosen(dict(action))
    for name, value, least in (("nth", nth, 1), ("worker_index", worker_index, 0), ("generation", generation, 1)):
        if value is not None and value < least:
            raise ConfigurationError(f"chaos: {name} counts from {least}; it is {value}")
    path = None if fifo is None else os.fspath(fifo)
    argument = ":".join(
        text
        for text in (
            _needed(point == "mid_write", "after_bytes", _number("after_bytes", after_bytes), "the point mid_write"),
            _needed(named == "exit", "code", _number("code", code, most=255), "the action exit"),
            _needed(named == "hold", "fifo", path, "the action hold"),
        )
        if text is not None
    )
    return PlannedFault(
        order=FaultOrder(point=point, action=named, nth=nth, argument=argument),
        group=group,
        worker_index=worker_index,
        generation=generation,
    )


def _chosen(actions: dict[str, Any]) -> tuple[str, str]:
    """The one action that is named, and its point."""
    unknown = [name for name in actions if name not in ACTIONS]
    if unknown or len(actions) != 1:
        named = ", ".join(unknown or actions) or "none"
        raise ConfigurationError(f"chaos: name one action (there are: {', '.join(ACTIONS)}), not {named}")
    ((action, point),) = actions.items()
    if point not in POINTS:
        raise ConfigurationError(f"chaos: {action}={point!r}: there is no such point (there are: {', '.join(POINTS)})")
    if point == "mid_write" and action not in _AT_MID_WRITE:
        raise ConfigurationError(f"chaos: {action}='mid_write': in the middle of a frame there can only be {', '.join(_AT_MID_WRITE)}")
    if action == "duplicate" and point not in _AT_A_FRAME:
        raise ConfigurationError(f"chaos: duplicate={point!r}: there is a frame to write twice only at {' and '.join(_AT_A_FRAME)}")
    return action, point


def _number(name: str, value: int | None, most: int | None = None) -> str | None:
    if value is None:
        return None
    if value < 0 or (most is not None and value > most):
        raise ConfigurationError(f"chaos: {name} must be {'0 or more' if most is None else f'from 0 to {most}'}; it is {value}")
    return str(value)


def _needed(is_needed: bool, name: str, text: str | None, by: str) -> str | None:
    if is_needed and not text:
        raise ConfigurationError(f"chaos: {by} needs {name}=")
    if text is not None and not is_needed:
        raise ConfigurationError(f"chaos: {name}= is for {by} only")
    return text
