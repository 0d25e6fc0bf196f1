"""Builds the replies of one command: in parts when they would exceed the limit, always at the end of an item."""

from __future__ import annotations

import time

from stream_kernel.protocol.columns import outputs_to_columns
from stream_kernel.protocol.messages import ExecuteBoundaryError, ExecuteBoundaryResult
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure

__all__ = ["ReplyBuilder"]


class ReplyBuilder:
    """Collects what the items of one command gave."""

    def __init__(self, correlation_id: str, max_frame_bytes: int) -> None:
        self._correlation_id = correlation_id
        self._limit = max_frame_bytes
        self._held: list[Emission | ItemFailure] = []
        self._size = 0
        self._started = time.monotonic()

    def add(self, outcome: list[Emission] | ItemFailure) -> list[ExecuteBoundaryResult]:
        """Take what one item gave; returns the parts that are full."""
        parts = []
        for output in outcome if isinstance(outcome, list) else [outcome]:
            size = output.size
            if self._held and self._size + size > self._limit:
                parts.append(self._result(more=True))
            self._held.append(output)
            self._size += size
        return parts

    def last(self, timing: tuple[NodeTiming, ...] = ()) -> ExecuteBoundaryResult:
        """The last part, or the only one."""
        return self._result(more=False, timing=timing)

    def error(self, failure: ItemFailure) -> ExecuteBoundaryError:
        """The reply of a command that failed as a whole; parts sent before it are void."""
        return ExecuteBoundaryError(
            correlation_id=self._correlation_id,
            category="transport" if failure.category == "transport" else "execution",
            message="remote handoff failed",
            index=failure.index,
            node=failure.node,
            reason=failure.reason,
            executed=failure.executed,
            exception_type=failure.exception_type,
            detail=failure.detail,
            executing_ms=self._elapsed_ms(),
        )

    def _result(self, *, more: bool, timing: tuple[NodeTiming, ...] = ()) -> ExecuteBoundaryResult:
        result = ExecuteBoundaryResult(
            correlation_id=self._correlation_id,
            terminal_outputs=outputs_to_columns([row for row in self._held if isinstance(row, ItemFailure) or row.terminal]),
            outputs=outputs_to_columns([row for row in self._held if isinstance(row, Emission) and not row.terminal]),
            executing_ms=self._elapsed_ms(),
            timing=timing,
            more=more,
        )
        self._held = []
        self._size = 0
        return result

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._started) * 1000
