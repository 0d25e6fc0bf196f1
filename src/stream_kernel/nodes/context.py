"""What a node may know of the call it works for."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

import msgspec

__all__ = ["NodeContext"]


class NodeContext(msgspec.Struct, kw_only=True, eq=False):
    """The second argument of every node. Can be built in a test: every argument has a default.

    `meta` is this message's own dict: changing it changes nothing elsewhere (return an `Envelope` to set meta).
    """

    trace_id: str | None = None
    reply_to: str | None = None
    run_id: str = ""
    scenario_id: str = ""
    group: str = ""
    worker_index: int = 0
    node: str = ""
    meta: dict[str, Any] = {}
    """None, when it is built, stands for an empty one."""
    deadline: float | None = None
    """A point on `time.monotonic()`; None: there is no limit."""

    def __post_init__(self) -> None:
        if self.meta is None:
            self.meta = {}

    def remaining_seconds(self) -> float:
        """Seconds until the deadline of the call, at least 0; infinity when there is none."""
        return math.inf if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger for this node; records carry `trace_id` and `run_id` as attributes."""
        logger = logging.getLogger(f"stream_kernel.node.{self.node}")
        return logging.LoggerAdapter(logger, {"trace_id": self.trace_id, "run_id": self.run_id})

    def __repr__(self) -> str:
        return f"NodeContext(node={self.node!r}, group={self.group!r}, trace_id={self.trace_id!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich shows, among the locals of a traceback too: no meta."""
        return [("node", self.node), ("group", self.group), ("trace_id", self.trace_id)]
