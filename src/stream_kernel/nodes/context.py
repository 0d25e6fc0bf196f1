"""What a node may know of the call it works for."""

from __future__ import annotations

import logging
import math
import time
from typing import Any

__all__ = ["NodeContext"]


class NodeContext:
    """The second argument of every node. Can be built in a test: every argument has a default.

    `meta` is this message's own dict: changing it changes nothing elsewhere (return an `Envelope` to set meta).
    """

    __slots__ = ("_deadline", "group", "meta", "node", "reply_to", "run_id", "scenario_id", "trace_id", "worker_index")

    def __init__(
        self,
        *,
        trace_id: str | None = None,
        reply_to: str | None = None,
        run_id: str = "",
        scenario_id: str = "",
        group: str = "",
        worker_index: int = 0,
        node: str = "",
        meta: dict[str, Any] | None = None,
        deadline: float | None = None,
    ) -> None:
        """`deadline` is a point on `time.monotonic()`; None: there is no limit."""
        self.trace_id = trace_id
        self.reply_to = reply_to
        self.run_id = run_id
        self.scenario_id = scenario_id
        self.group = group
        self.worker_index = worker_index
        self.node = node
        self.meta: dict[str, Any] = {} if meta is None else meta
        self._deadline = deadline

    def remaining_seconds(self) -> float:
        """Seconds until the deadline of the call, at least 0; infinity when there is none."""
        return math.inf if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger for this node; records carry `trace_id` and `run_id` as attributes."""
        logger = logging.getLogger(f"stream_kernel.node.{self.node}")
        return logging.LoggerAdapter(logger, {"trace_id": self.trace_id, "run_id": self.run_id})

    def __repr__(self) -> str:
        return f"NodeContext(node={self.node!r}, group={self.group!r}, trace_id={self.trace_id!r})"
