"""What comes out of a call: envelopes, terminal events and the consolidated result.

Value classes are `msgspec.Struct`: about ten times cheaper to build than a frozen dataclass. They are checked on construction,
so that a wrong type is an error where it is made and not three hops later. The checks are spelled out: a call for each costs more than all.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from stream_kernel.reports import Category, Delivery

__all__ = ["BoundaryFailure", "Envelope", "RoutingResult", "TerminalEvent", "TerminalStatus", "make_exact"]

TerminalStatus = Literal["success", "error", "cancelled", "timeout"]
_STATUSES = frozenset({"success", "error", "cancelled", "timeout"})
_CATEGORIES = frozenset({"transport", "timeout", "execution", "input"})
_DELIVERIES = frozenset({"not_executed", "executed", "maybe_executed"})


def make_exact(owner: msgspec.Struct, *names: str) -> None:
    """Make plain strings of those of these fields that are of a class derived from `str`: an encoder may refuse them, and in a table
    they are equal to plain ones. Raises `TypeError` for the first field that is neither a string nor None.
    """
    for name in names:
        value = getattr(owner, name)
        if isinstance(value, str):
            msgspec.structs.force_setattr(owner, name, str.__str__(value))
        elif value is not None:
            raise TypeError(f"{type(owner).__name__}.{name} must be a string or None, not {type(value).__name__}")


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A payload with its correlation. As a node's output, what is None (or an empty `meta`) is inherited from the input.

    The garbage collector does not look into it, as thousands may be alive. A payload that holds its own envelope would never be freed.
    """

    payload: Any
    trace_id: str | None = None
    target: str | None = None
    """As a node's output: the node that gets it; None routes by type."""
    reply_to: str | None = None
    meta: dict[str, Any] = {}
    type: str | None = None
    """Tag (`module:qualname`) of the payload's class, set on what a call returns; None for plain JSON."""

    def __post_init__(self) -> None:
        if not (
            (self.trace_id is None or self.trace_id.__class__ is str)
            and (self.target is None or self.target.__class__ is str)
            and (self.reply_to is None or self.reply_to.__class__ is str)
            and (self.type is None or self.type.__class__ is str)
        ):
            make_exact(self, "trace_id", "target", "reply_to", "type")
        if not isinstance(self.meta, dict):
            raise TypeError(f"Envelope.meta must be a dict, not {self.meta.__class__.__name__}")


class BoundaryFailure(msgspec.Struct, frozen=True, gc=False):
    """Why one input failed, as data: what the exception of a whole call would say."""

    category: Category
    delivery: Delivery
    group: str | None
    node: str | None
    message: str
    is_poison: bool = False
    """Two workers died with this input at work: it was not tried a third time."""

    def __post_init__(self) -> None:
        if self.category not in _CATEGORIES:
            raise ValueError(f"BoundaryFailure.category must be one of {sorted(_CATEGORIES)}, not {self.category!r}")
        if self.delivery not in _DELIVERIES:
            raise ValueError(f"BoundaryFailure.delivery must be one of {sorted(_DELIVERIES)}, not {self.delivery!r}")
        if not isinstance(self.message, str):
            raise TypeError(f"BoundaryFailure.message must be a string, not {type(self.message).__name__}")
        make_exact(self, "category", "delivery", "group", "node", "message")


class TerminalEvent(msgspec.Struct, frozen=True):
    """How the work for one trace ended. A node may return one to end its chain; a collected failure comes as one."""

    status: TerminalStatus
    payload: Any = None
    error: str | None = None
    failure: BoundaryFailure | None = None

    def __post_init__(self) -> None:
        if self.status not in _STATUSES:
            raise ValueError(f"TerminalEvent.status must be one of {sorted(_STATUSES)}, not {self.status!r}")
        make_exact(self, "status", "error")
        if self.failure is not None and not isinstance(self.failure, BoundaryFailure):
            raise TypeError(f"TerminalEvent.failure must be a BoundaryFailure, not {type(self.failure).__name__}")


class RoutingResult(msgspec.Struct, frozen=True):
    """The consolidated result of a call. `execute_boundary` fills `terminal_outputs`; the other two stay empty."""

    local_deliveries: list[Envelope] = []
    boundary_deliveries: list[Any] = []
    terminal_outputs: list[Envelope] = []

    def __post_init__(self) -> None:
        for name in ("local_deliveries", "boundary_deliveries", "terminal_outputs"):
            if not isinstance(getattr(self, name), list):
                raise TypeError(f"RoutingResult.{name} must be a list")
