"""Builds the replies of one command: in parts when they would exceed the limit."""

from __future__ import annotations

import time
from collections.abc import Callable

from stream_kernel.protocol.columns import OutputTable
from stream_kernel.protocol.messages import ExecuteBoundaryError, ExecuteBoundaryResult
from stream_kernel.reports import NodeTiming
from stream_kernel.routing.items import Emission, ItemFailure, Way
from stream_kernel.routing.packed import Packed

__all__ = ["ReplyBuilder"]


class ReplyBuilder:
    """Collects what the items of one command gave, and sends each part that is full."""

    def __init__(self, correlation_id: str, max_frame_bytes: int, send: Callable[[ExecuteBoundaryResult], None]) -> None:
        self._correlation_id = correlation_id
        self._limit = max_frame_bytes
        self._send = send
        self._terminal = OutputTable()
        self._onward = OutputTable()
        self._size = 0
        self._started = time.monotonic()

    def add(self, outcome: list[Emission] | ItemFailure) -> None:
        """Take what one item gave."""
        for output in outcome if isinstance(outcome, list) else (outcome,):
            size = output.size
            if self._size + size > self._limit:
                self._send_part()
            self._size += size
            (self._terminal if isinstance(output, ItemFailure) or output.terminal else self._onward).add(output)

    def add_one(self, index: int, packed: Packed, way: Way, steps: int) -> None:
        """Take one output that inherits everything."""
        size = packed.size + way.size
        if self._size + size > self._limit:
            self._send_part()
        self._size += size
        (self._terminal if way.terminal else self._onward).add_plain(index, packed, way, steps)

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

    def _send_part(self) -> None:
        if self._size:
            self._send(self._result(more=True))
            self._terminal, self._onward, self._size = OutputTable(), OutputTable(), 0

    def _result(self, *, more: bool, timing: tuple[NodeTiming, ...] = ()) -> ExecuteBoundaryResult:
        return ExecuteBoundaryResult(
            correlation_id=self._correlation_id,
            terminal_outputs=self._terminal.columns(),
            outputs=self._onward.columns(),
            executing_ms=self._elapsed_ms(),
            timing=timing,
            more=more,
        )

    def _elapsed_ms(self) -> float:
        return (time.monotonic() - self._started) * 1000
