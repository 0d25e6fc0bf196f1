"""Orders for faults: what a worker of a supervisor that was built for tests is to do to itself, and at which moment."""

from __future__ import annotations

import os
from typing import Any, Unpack

from stream_kernel.engine.process.fault_plan import PlannedFault
from stream_kernel.errors import ConfigurationError
from stream_kernel.protocol.faults import ACTIONS, Actions, Point, argument_parts, count_refusal, misfit
from stream_kernel.protocol.messages import FaultOrder

__all__ = ["Actions", "Point", "chaos"]


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
        refusal = None if value is None else count_refusal(name, value, least)
        if refusal is not None:
            raise ConfigurationError(f"chaos: {refusal}")
    given = {
        "after_bytes": _number("after_bytes", after_bytes),
        "code": _number("code", code, most=255),
        "fifo": None if fifo is None else os.fspath(fifo),
    }
    parts = argument_parts(point, named)
    for name, text in given.items():
        _check_needed(name, text, is_needed=name in parts)
    argument = ":".join(given[name] or "" for name in parts)
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
    refusal = misfit(point, action)
    if refusal is not None:
        raise ConfigurationError(f"chaos: {action}={point!r}: {refusal}")
    return action, point


def _number(name: str, value: int | None, most: int | None = None) -> str | None:
    if value is None:
        return None
    if value < 0 or (most is not None and value > most):
        raise ConfigurationError(f"chaos: {name} must be {'0 or more' if most is None else f'from 0 to {most}'}; it is {value}")
    return str(value)


def _check_needed(name: str, text: str | None, *, is_needed: bool) -> None:
    by = {"after_bytes": "the point mid_write", "code": "the action exit", "fifo": "the action hold"}[name]
    if is_needed and not text:
        raise ConfigurationError(f"chaos: {by} needs {name}=")
    if text is not None and not is_needed:
        raise ConfigurationError(f"chaos: {name}= is for {by} only")
